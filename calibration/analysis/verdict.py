"""The verdict: may this be published as a correction, only as an error statement, or not at all.

Every reason has one row in `RULES`: its threshold, where the threshold comes from, and what follows
(`refuse`, `downgrade` to an error statement, `flag`). `wattcal fit --explain` prints the table.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from .model import Fitted, fit_form
from .points import Finding, Points
from .results import Reason, Validation, VerdictKind
from .uncertainty import Interval, student_t
from .validation import HeldOut, above_idle_energy_error, idle_reference, levels

__all__ = ["RULES", "Evidence", "Rule", "judge"]

Floats = npt.NDArray[np.float64]
# An interval that misses a fifth of the groups does not hold at 95 %.
_MOST_OUTSIDE = 0.2
_LEAST_COVERED = 0.9
_LEAST_COVERED_GROUP = 0.5
_BASELINE_FLAG = 0.02
# NVML power readings of every generation renew within 100 ms or faster (Yang et al., SC24).
_NVML_PERIOD_S = 0.1


@dataclass(frozen=True, slots=True)
class Rule:
    """One reason: when it applies, why there, and what follows."""

    code: str
    threshold: float
    text: str
    source: str
    consequence: Literal["refuse", "downgrade", "flag"]


RULES: dict[str, Rule] = {
    rule.code: rule
    for rule in (
        Rule("too_few_groups", 4, "fewer than 4 groups in all, idle being one",
             "a between-group variance needs three degrees of freedom", "refuse"),
        Rule("too_few_levels", 5, "fewer than 5 levels of the input",
             "a straight line with two levels cannot show that it is one", "refuse"),
        Rule("range_too_short", 0.05, "the reference spans less than 5 % of its mean",
             "below it the gain rests on noise and drift", "refuse"),
        Rule("collinear", 30, "condition of the centred, scaled inputs above 30, or a coefficient "
             "changes sign between folds", "Belsley, Kuh and Welsch 1980, section 3.2", "refuse"),
        Rule("no_relation", 2, "a gain below 2 of its standard uncertainties",
             "not distinguishable from zero at 95 %", "refuse"),
        Rule("not_better_than_null", 0.9, "held-out error above idle not a tenth below that of a "
             "null model that ignores the tool, or a tenth above that of a gain alone",
             "Fahad et al. 2019, Energies 12:2204", "refuse"),
        Rule("non_monotone", 0.01, "the correction falls by more than 1 % of its rise somewhere in "
             "its domain", "more work cannot need less power", "refuse"),
        Rule("workload_dependence", 15, "held-out error above idle over 15 % on average",
             "a correction that misses by this much on an unseen workload is a statement of error",
             "downgrade"),
        Rule("transfer_failure", 0.15, "a workload's mean held-out error exceeds 15 % of the "
             "power range and the 99 % limit (Student's t, Bonferroni) that the scatter of the "
             "others allows; or more than a fifth of the groups lie outside the interval; or the "
             "interval holds less than 90 % of the held-out points or half of a group (downgrade)",
             "what holds for the others does not hold for this one", "refuse"),
        Rule("drift", 0.02, "each half of one recording, predicted from the other, is off by more "
             "than 2 % of its energy", "blocks of one recording share what drifts", "flag"),
        Rule("moved_baseline", 0.05, "idle power moves within a session by more than 5 % of the "
             "power range; between sessions that nothing re-zeroes by more than 5 % of idle "
             "(downgrade); by more than 2 % of the power range, re-zeroed or not (flag)",
             "a state that no input sees has changed (Jay et al. 2023: idle moved by 10 % in days)",
             "refuse"),
        Rule("unseen_component", 2, "at zero input the reference is above twice the largest "
             "reading of the inputs", "most of the power is of parts that no input sees; energy "
             "above idle holds while they keep their state", "flag"),
        Rule("window_mismatch", 0.02, "energies differ by a constant per run of more than 2 % of "
             "the shortest, and four of its uncertainties", "a reference and a tool that start or "
             "stop apart differ per run, not per second", "downgrade"),
        Rule("aliased_load", 10, "a part-time sensor, and a load whose period is below 10 of the "
             "sensor's", "Yang, Adamek and Armour, SC24: 25 ms of every 100 ms seen", "refuse"),
        Rule("meter_too_coarse", 0.05, "the resolution exceeds 5 % of the reference's range",
             "steps of the display, not of the machine, would be fitted", "refuse"),
        Rule("implausible_gain", 4, "a gain for a power input below 1/4 or above 4",
             "no supply or sensor is that wrong; units or scope are", "downgrade"),
        Rule("extrapolation", 1, "a workload lies further from the range of the others than that "
             "range is wide (refuse), or outside it at all (flag)",
             "its error is one of extrapolation", "refuse"),
        Rule("wrong_mode", 1, "the input was recorded in more than one mode",
             "a tool in another mode is another input", "refuse"),
        Rule("lagging_reference", 0.25, "the reference and every input disagree in time by more "
             "than a quarter of the meter's window", "the reference's stamps are late or early",
             "flag"),
        Rule("lag_unresolved", 0, "the recording does not determine the lag of an input",
             "short segments may then mix two levels", "flag"),
        Rule("time_jump", 0, "the stamps of a stream go back, or jump by more than 60 cadences",
             "a clock was set; rows on the other side belong to another time", "flag"),
        Rule("register_reset", 0, "an energy register begins again in mid-run",
             "its difference over the run is short by what it held", "flag"),
        Rule("missing_as_zero", 0.01, "over 1 % of a power reading is exactly 0 while the machine "
             "runs", "a missing value was written as 0", "refuse"),
        Rule("unit_scale", 500, "a reading changes by a factor above 500 in mid-run, or differs "
             "by a power of ten from what the other streams allow",
             "a unit or a scale changed", "refuse"),
        Rule("stalled", 20, "a register stands still for 20 of its updates and ten seconds",
             "the source stopped and kept its last value", "flag"),
        Rule("suspended", 0.5, "the machine slept for over half a second",
             "clock_gettime(2): monotonic time stands still meanwhile", "flag"),
        Rule("several_wraps", 1, "a gap in which a register may have wrapped more than once",
             "its energy cannot be known; left out", "flag"),
        Rule("implausible", 1, "a register moved by more than the stated power can do",
             "left out", "flag"),
    )
}  # fmt: skip


Consequence = Literal["refuse", "downgrade", "flag"]


@dataclass(frozen=True, slots=True, eq=False)
class Evidence:
    """What the rules look at."""

    points: Points
    inputs: tuple[str, ...]
    fitted: Fitted | None
    held: HeldOut | None
    validation: Validation
    bounds: Interval | None


def judge(evidence: Evidence) -> tuple[VerdictKind, tuple[Reason, ...]]:
    """Apply every rule; the gravest consequence decides."""
    reasons = []
    for code, rule in RULES.items():
        check = _CHECKS.get(code)
        found = check(evidence, rule) if check is not None else ""
        message, consequence = (found, rule.consequence) if isinstance(found, str) else found
        if message:
            reasons.append(Reason(code, message, consequence))
    reasons += [_from_finding(f) for f in evidence.points.findings if _concerns(evidence, f)]
    consequences = {r.consequence for r in reasons}
    if "refuse" in consequences:
        return "refused", tuple(reasons)
    return ("error_statement" if "downgrade" in consequences else "correction"), tuple(reasons)


def _concerns(e: Evidence, finding: Finding) -> bool:
    return not finding.inputs or bool(set(finding.inputs) & set(e.inputs))


def _from_finding(finding: Finding) -> Reason:
    """Return what was found in the recording as a reason, with its rule's consequence."""
    rule = RULES.get(finding.code)
    consequence = finding.consequence or (rule.consequence if rule is not None else "flag")
    return Reason(finding.code, finding.message, consequence)


def _groups(e: Evidence, rule: Rule) -> str:
    if e.validation.groups >= rule.threshold:
        known = set(e.points.workload) - {"unmarked"}
        if e.validation.scheme != "block" or e.points.blocks or not known:
            return ""
        # Steps of one workload are no groups of their own: their error is that of the workload.
        found = len(set(e.points.workload))
        if found >= rule.threshold:
            return ""
        return (
            f"{found} groups (workloads); at least {rule.threshold:g} are needed, idle being one. "
            "Record more workloads."
        )
    return (
        f"{e.validation.groups} groups ({e.validation.scheme}); at least {rule.threshold:g} are "
        "needed, idle being one. Record more workloads."
    )


def _levels(e: Evidence, rule: Rule) -> str:
    fewest = min((levels(e.points.inputs[k].value) for k in e.inputs), default=0)
    if fewest >= rule.threshold:
        return ""
    return f"{fewest} levels of the input; at least {rule.threshold:g} are needed."


def _range(e: Evidence, rule: Rule) -> str:
    y = e.points.reference_w
    share = float(y.max() - y.min()) / max(abs(float(y.mean())), 1e-12)
    if share >= rule.threshold:
        return ""
    return f"the reference spans {100 * share:.1f} % of its mean; vary the load more."


def _collinear(e: Evidence, rule: Rule) -> str:
    if e.fitted is None or len(e.inputs) < 2:
        return ""
    if e.fitted.condition > rule.threshold:
        return f"the inputs go together (condition {e.fitted.condition:.0f}); leave one out."
    if e.held is not None and e.held.slopes.size:
        signs = np.sign(e.held.slopes)
        for key, column in zip(e.inputs, signs.T, strict=False):
            if np.any(column > 0) and np.any(column < 0):
                return f"the coefficient of {key} changes sign between folds; leave one input out."
    return ""


def _relation(e: Evidence, rule: Rule) -> str:
    if e.fitted is None or e.fitted.form == "offset":
        return ""
    for i, term in enumerate(e.fitted.terms):
        if term.basis == "input" and term.power == 1 and e.fitted.form in ("gain", "affine"):
            u = math.sqrt(max(e.fitted.covariance[i, i], 0.0))
            if not term.value > rule.threshold * u:
                return (
                    f"the gain of {term.input} is {term.value:.3g} with u {u:.2g}: no relation to "
                    "the meter shows."
                )
    return ""


def _null(e: Evidence, rule: Rule) -> str:
    if e.held is None or e.fitted is None:
        return ""
    held, points, what = e.held, e.points, "energy above idle"
    predictors = {"": (held.prediction_w, held.prediction_idle_w)}
    predictors |= {k: (held.nulls_w[k], held.nulls_idle_w[k]) for k in held.nulls_w}
    if e.fitted.form == "gain":  # the correction is that null model
        del predictors["gain_only"]
    if not points.idle.any():
        what = "energy"
        wrong = {
            k: 100 * float(np.mean(np.abs(p - points.reference_w) / points.reference_w))
            for k, (p, _) in predictors.items()
        }
    else:
        wrong = {
            k: above_idle_energy_error(points, p, at_idle) or math.nan
            for k, (p, at_idle) in predictors.items()
        }
    own, null = wrong[""], {k: v for k, v in wrong.items() if k and not math.isnan(v)}
    # A gain alone also reads the tool: a draw with it says that the intercept adds nothing, not
    # that the tool does. So it has to win; the nulls that ignore the tool only have to draw.
    bars = {
        k: v / rule.threshold if k == "gain_only" else v * rule.threshold for k, v in null.items()
    }
    best = min(bars, key=lambda k: bars[k], default=None)
    if best is None or math.isnan(own) or own < bars[best]:
        return ""
    return (
        f"held-out {what}: {own:.1f} % error with the tool, {null[best]:.1f} % with the null model "
        f"{best}; it takes less than {bars[best]:.1f} % to say that the tool adds anything."
    )


def _monotone(e: Evidence, rule: Rule) -> str:
    if e.fitted is None or len(e.inputs) != 1:
        return ""
    key = e.inputs[0]
    x = e.points.inputs[key].value
    curve = e.fitted.predict({key: np.linspace(x.min(), x.max(), 201)})
    fall = float(np.max(np.maximum.accumulate(curve) - curve))
    if fall <= rule.threshold * float(np.ptp(curve)):
        return ""
    return (
        f"the correction falls by {fall:.3g} W within {x.min():.3g} to {x.max():.3g} "
        f"(rise {np.ptp(curve):.3g} W)."
    )


def _workload(e: Evidence, rule: Rule) -> str:
    after = e.validation.after
    if after is None or after.above_idle_mape_pct is None:
        return ""
    if after.above_idle_mape_pct <= rule.threshold:
        return ""
    return (
        f"held-out power above idle is wrong by {after.above_idle_mape_pct:.0f} % on average "
        f"(limit {rule.threshold:g} %): the relation is not one line for all loads."
    )


def _transfer(e: Evidence, rule: Rule) -> str | tuple[str, Consequence]:
    if e.held is None or e.bounds is None:
        return ""
    error = e.held.error_w(e.points)
    half = e.bounds.half_width_w
    outside = [
        g
        for g in e.held.names
        if abs(error[e.held.members(g)].mean()) > half[e.held.members(g)].mean()
    ]
    if len(outside) <= _MOST_OUTSIDE * len(e.held.names):
        unlike = _unlike_the_others(e, e.held, rule)
        return unlike or _not_covered(e, e.held, np.abs(error) <= half)
    return f"{len(outside)} of {len(e.held.names)} groups lie outside the interval: " + ", ".join(
        outside[:5]
    )


def _not_covered(
    e: Evidence, held: HeldOut, inside: npt.NDArray[np.bool_]
) -> str | tuple[str, Consequence]:
    """Say whether the stated 95 % interval misses what was held out."""
    share = float(inside.mean())
    by_group = {g: float(inside[held.members(g)].mean()) for g in held.names}
    worst = min(by_group, key=lambda g: by_group[g])
    if share >= _LEAST_COVERED and by_group[worst] >= _LEAST_COVERED_GROUP:
        return ""
    return (
        f"the stated 95 % interval holds {100 * share:.0f} % of the held-out points, and "
        f"{100 * by_group[worst]:.0f} % of those of {worst}."
    ), "downgrade"


def _drift(e: Evidence, rule: Rule) -> str:
    """Fit each half of a recording and predict the other; blocks share whatever drifts."""
    points = e.points
    if e.fitted is None or not points.blocks or points.n < 40 or len(set(points.session)) > 1:
        return ""
    order = np.argsort(points.start_unix_s, kind="stable")
    halves = np.zeros(points.n, dtype=bool)
    halves[order[: points.n // 2]] = True
    data = {k: points.inputs[k].value for k in e.inputs}
    units = {k: points.inputs[k].unit for k in e.inputs}
    found = []
    for train in (halves, ~halves):
        kept = {k: x[train] for k, x in data.items()}
        if any(levels(x) < 2 for x in kept.values()):
            return ""
        session = [points.session[i] for i in np.flatnonzero(train)]
        fold = fit_form(
            e.fitted.form,
            kept,
            points.reference_w[train],
            points.reference_u_w[train],
            session,
            units,
        )
        error = fold.predict({k: x[~train] for k, x in data.items()}) - points.reference_w[~train]
        found.append(100 * float(error.sum() / points.reference_w[~train].sum()))
    if max(abs(b) for b in found) <= 100 * rule.threshold:
        return ""
    return (
        f"the first half predicts the second with a bias of {found[0]:+.1f} %, the second the "
        f"first with {found[1]:+.1f} %; another recording may differ by as much."
    )


def _unlike_the_others(e: Evidence, held: HeldOut, rule: Rule) -> str:
    """Say which group errs by more than a group like the others could."""
    m = len(held.names)
    k = float(student_t(held.others_dof, 1 - 0.01 / m))
    error = held.error_w(e.points)
    for name, scatter in zip(held.names, held.others_w, strict=True):
        own = held.members(name)
        if np.all(e.points.idle[own]):
            continue
        bias = float(error[own].mean())
        reach = float(np.ptp(e.points.reference_w[~own]))
        if abs(bias) > max(rule.threshold * reach, k * scatter):
            return (
                f"{name}, held out, is wrong by {bias:+.3g} W on average; the others scatter by "
                f"{scatter:.2g} W about their line. Fit it apart, or find what else it uses."
            )
    return ""


def _baseline(e: Evidence, rule: Rule) -> str | tuple[str, Consequence]:
    inside = _baseline_inside(e, rule)
    if inside:
        return inside
    idle = idle_reference(e.points)
    sessions = np.array(e.points.session)
    seen = {s: float(idle[sessions == s][0]) for s in set(e.points.session)}
    values = np.array([v for v in seen.values() if not math.isnan(v)])
    if values.size < 2:
        return ""
    u = float(np.mean(e.points.reference_u_w[e.points.idle]))
    spread = float(values.max() - values.min())
    reach = max(float(np.ptp(e.points.reference_w[sessions == s])) for s in seen)
    if spread <= max(_BASELINE_FLAG * reach, 3 * math.sqrt(2) * u):
        return ""
    text = (
        f"idle power differs by {spread:.1f} W between sessions ({100 * spread / values.mean():.1f}"
        f" % of idle, {100 * spread / max(reach, 1e-12):.0f} % of the power range)"
    )
    rezeroed = e.held is not None and e.held.rezeroed
    if not rezeroed and spread > rule.threshold * float(values.mean()):
        return f"{text}. Hold out sessions, which re-zeroes each on its idle.", "downgrade"
    return f"{text}; absolute power needs a re-zero.", "flag"


def _baseline_inside(e: Evidence, rule: Rule) -> str:
    """Say whether idle, less what the inputs say of it, moves within a session."""
    sessions = np.array(e.points.session)
    rest = e.points.reference_w
    if e.fitted is not None:
        rest = rest - e.fitted.predict({k: e.points.inputs[k].value for k in e.inputs})
    for session in dict.fromkeys(e.points.session):
        own = sessions == session
        idle = own & e.points.idle
        if np.count_nonzero(idle) < 2:
            continue
        moved = float(np.ptp(rest[idle]))
        reach = float(np.ptp(e.points.reference_w[own]))
        u = float(np.max(e.points.reference_u_w[idle]))
        if moved > max(rule.threshold * reach, 3 * math.sqrt(2) * u):
            return (
                f"idle power moves by {moved:.3g} W within session {session} "
                f"({100 * moved / reach:.0f} % of its power range); something that no input sees "
                "changed its state."
            )
    return ""


def _unseen(e: Evidence, rule: Rule) -> str:
    if e.fitted is None or any(e.points.inputs[k].unit != "W" for k in e.inputs):
        return ""
    zero = float(e.fitted.predict({k: np.zeros(1) for k in e.inputs})[0])
    largest = float(np.sum([e.points.inputs[k].value for k in e.inputs], axis=0).max())
    if e.fitted.form not in ("affine", "hinge", "quadratic") or zero <= rule.threshold * largest:
        return ""
    return (
        f"{zero:.0f} W of the reference belong to what no input sees (the inputs read at most "
        f"{largest:.0f} W); read energy above idle, and re-zero for absolute power."
    )


def _window(e: Evidence, rule: Rule) -> str:
    """Fit y = a_s + Σ b x + c/T: c is an energy per run, J."""
    from .line import least_squares

    points, seconds = e.points, e.points.duration_s
    names = sorted(set(points.session))
    if e.fitted is None or float(seconds.max()) < 1.5 * float(seconds.min()) or points.blocks:
        return ""
    columns = [np.array([s == name for s in points.session], dtype=np.float64) for name in names]
    columns += [points.inputs[k].value for k in e.inputs]
    design = np.column_stack([*columns, 1 / seconds])
    if design.shape[0] < design.shape[1] + 4 or np.linalg.matrix_rank(design) < design.shape[1]:
        return ""
    solution = least_squares(design, points.reference_w)
    energy, u = float(solution.coefficients[-1]), math.sqrt(float(solution.covariance[-1, -1]))
    least = float((points.reference_w * seconds).min())
    if abs(energy) <= max(rule.threshold * abs(least), 4 * u):
        return ""
    alone = least_squares(design[:, :-1], points.reference_w)
    if solution.chi_squared > 0.5 * alone.chi_squared:  # it must explain most of the misfit
        return ""
    mean_w = float(points.reference_w.mean())
    return (
        f"the energies differ by {energy:+.3g} J per run, whatever its length (about "
        f"{energy / mean_w:+.2g} s at the mean power): reference and tool start or stop apart."
    )


def _aliased(e: Evidence, rule: Rule) -> str:
    periods = e.points.load_period_s
    if periods is None or not np.any(np.isfinite(periods)):
        return ""
    load_s = float(np.nanmin(periods))
    for key in e.inputs:
        column = e.points.inputs[key]
        averaged = "average" in (column.mode or "").lower()
        part_time = column.observed_share < 1 or (key.startswith("nvml") and not averaged)
        sensor_s = column.period_s or _NVML_PERIOD_S
        if part_time and load_s < rule.threshold * sensor_s:
            return (
                f"{key}: the load repeats every {load_s:.3g} s, the sensor looks every "
                f"{sensor_s:.3g} s and sees a part of it only; what it catches is chance."
            )
    return ""


def _coarse(e: Evidence, rule: Rule) -> str:
    meter = e.points.reference
    if meter is None or not meter.resolution_w:
        return ""
    reach = float(e.points.reference_w.max() - e.points.reference_w.min())
    if meter.resolution_w <= rule.threshold * reach:
        return ""
    return f"the meter resolves {meter.resolution_w:g} W of a range of {reach:.3g} W."


def _gain(e: Evidence, rule: Rule) -> str:
    if e.fitted is None or e.fitted.form not in ("gain", "affine"):
        return ""
    for term in e.fitted.terms:
        power = term.input is not None and e.points.inputs[term.input].unit == "W"
        if power and not 1 / rule.threshold <= term.value <= rule.threshold:
            return f"the gain of {term.input} is {term.value:.3g}; check units and scope."
    return ""


def _extrapolated(e: Evidence, rule: Rule) -> str | tuple[str, Consequence]:
    if e.held is None:
        return ""
    for name in e.held.names:
        own = e.held.members(name)
        far = float(e.held.distance[own].mean())
        if far > rule.threshold and not np.all(e.points.idle[own]):
            return (
                f"{name} lies {far:.2g} times the range of all others away from them; nothing in "
                "between was measured. Record levels there."
            )
    names = [g for g in e.held.names if e.held.extrapolated[e.held.members(g)].any()]
    if not names:
        return ""
    return f"held out beyond the range of the others: {', '.join(names[:5])}.", "flag"


def _mode(e: Evidence, rule: Rule) -> str:
    for key in e.inputs:
        modes = [m or "unknown" for m in e.points.inputs[key].modes]
        if len(modes) > rule.threshold:
            return f"{key} was recorded in several modes: {', '.join(modes)}."
    return ""


def _lagging(e: Evidence, rule: Rule) -> str:
    meter = e.points.reference
    lags = [e.points.inputs[k].lag for k in e.inputs]
    known = [lag for lag in lags if lag is not None and lag.resolved]
    window = meter.window_s if meter is not None else None
    if not known or len(known) < len(lags) or not window:
        return ""
    if all(lag.offset_s < -rule.threshold * window for lag in known):
        late = -max(lag.offset_s for lag in known)
        return f"the reference's stamps are {late:.1f} s late; the inputs were shifted."
    return ""


def _unresolved(e: Evidence, _: Rule) -> str:
    for key in e.inputs:
        lag = e.points.inputs[key].lag
        if lag is not None and not lag.resolved:
            return f"{key}: {lag.reason}; taken as 0."
    return ""


_CHECKS: dict[str, Callable[[Evidence, Rule], str | tuple[str, Consequence]]] = {
    "too_few_groups": _groups,
    "too_few_levels": _levels,
    "range_too_short": _range,
    "collinear": _collinear,
    "no_relation": _relation,
    "not_better_than_null": _null,
    "non_monotone": _monotone,
    "workload_dependence": _workload,
    "transfer_failure": _transfer,
    "moved_baseline": _baseline,
    "drift": _drift,
    "unseen_component": _unseen,
    "window_mismatch": _window,
    "aliased_load": _aliased,
    "meter_too_coarse": _coarse,
    "implausible_gain": _gain,
    "extrapolation": _extrapolated,
    "wrong_mode": _mode,
    "lagging_reference": _lagging,
    "lag_unresolved": _unresolved,
}
