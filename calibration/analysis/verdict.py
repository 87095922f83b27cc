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

from .model import Fitted
from .points import Points
from .results import Reason, Validation, VerdictKind
from .uncertainty import Interval
from .validation import HeldOut, above_idle_energy_error, idle_reference, levels

__all__ = ["RULES", "Evidence", "Rule", "judge"]

Floats = npt.NDArray[np.float64]


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
        Rule("non_monotone", 0, "the correction decreases somewhere in its domain",
             "more work cannot need less power", "refuse"),
        Rule("workload_dependence", 15, "held-out error above idle over 15 % on average",
             "a correction that misses by this much on an unseen workload is a statement of error",
             "downgrade"),
        Rule("transfer_failure", 0.2, "the mean held-out error lies outside the stated interval "
             "for more than a fifth of the groups", "the interval does not hold", "refuse"),
        Rule("moved_baseline", 0.02, "the idle power of the sessions differs by more than 2 % and "
             "three of its uncertainties", "a state that no input sees has changed", "flag"),
        Rule("meter_too_coarse", 0.05, "the resolution exceeds 5 % of the reference's range",
             "steps of the display, not of the machine, would be fitted", "refuse"),
        Rule("implausible_gain", 4, "a gain for a power input below 1/4 or above 4",
             "no supply or sensor is that wrong; units or scope are", "downgrade"),
        Rule("extrapolation", 0, "a held-out group lies outside the range of the others",
             "its error is one of extrapolation", "flag"),
        Rule("wrong_mode", 1, "the input was recorded in more than one mode",
             "a tool in another mode is another input", "refuse"),
        Rule("lagging_reference", 0.25, "the reference and every input disagree in time by more "
             "than a quarter of the meter's window", "the reference's stamps are late or early",
             "flag"),
        Rule("lag_unresolved", 0, "the recording does not determine the lag of an input",
             "short segments may then mix two levels", "flag"),
    )
}  # fmt: skip


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
        message = _CHECKS[code](evidence, rule)
        if message:
            reasons.append(Reason(code, message, rule.consequence))
    consequences = {r.consequence for r in reasons}
    if "refuse" in consequences:
        return "refused", tuple(reasons)
    return ("error_statement" if "downgrade" in consequences else "correction"), tuple(reasons)


def _groups(e: Evidence, rule: Rule) -> str:
    if e.validation.groups >= rule.threshold:
        return ""
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
    if np.all(np.diff(curve) >= rule.threshold):
        return ""
    return f"the correction decreases within {x.min():.3g} to {x.max():.3g}."


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


def _transfer(e: Evidence, rule: Rule) -> str:
    if e.held is None or e.bounds is None:
        return ""
    error = e.held.error_w(e.points)
    half = e.bounds.half_width_w
    outside = [
        g
        for g in e.held.names
        if abs(error[e.held.members(g)].mean()) > half[e.held.members(g)].mean()
    ]
    if len(outside) <= rule.threshold * len(e.held.names):
        return ""
    return f"{len(outside)} of {len(e.held.names)} groups lie outside the interval: " + ", ".join(
        outside[:5]
    )


def _baseline(e: Evidence, rule: Rule) -> str:
    idle = idle_reference(e.points)
    sessions = np.array(e.points.session)
    seen = {s: float(idle[sessions == s][0]) for s in set(e.points.session)}
    values = np.array([v for v in seen.values() if not math.isnan(v)])
    if values.size < 2:
        return ""
    u = float(np.mean(e.points.reference_u_w[e.points.idle]))
    spread = float(values.max() - values.min())
    if spread <= max(rule.threshold * float(values.mean()), 3 * math.sqrt(2) * u):
        return ""
    return f"idle power differs by {spread:.1f} W between sessions."


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


def _extrapolated(e: Evidence, _: Rule) -> str:
    if e.held is None:
        return ""
    names = [g for g in e.held.names if e.held.extrapolated[e.held.members(g)].any()]
    return f"held out beyond the range of the others: {', '.join(names[:5])}." if names else ""


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


_CHECKS: dict[str, Callable[[Evidence, Rule], str]] = {
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
    "meter_too_coarse": _coarse,
    "implausible_gain": _gain,
    "extrapolation": _extrapolated,
    "wrong_mode": _mode,
    "lagging_reference": _lagging,
    "lag_unresolved": _unresolved,
}
