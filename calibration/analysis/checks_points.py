"""Checks of a verdict on what the points and the fitted function show by themselves.

Each takes the evidence and its rule's threshold (`verdict.RULES`) and returns what was found.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from .evidence import Check, Evidence, Found
from .points import Points
from .scale import unit_change
from .validation import idle_reference, levels

__all__ = ["POINT_CHECKS"]

_BASELINE_FLAG = 0.02
# NVML power readings of every generation renew within 100 ms or faster (Yang et al., SC24).
_NVML_PERIOD_S = 0.1


def _groups(e: Evidence, threshold: float) -> str:
    if e.validation.groups >= threshold:
        known = set(e.points.workload) - {"unmarked"}
        if e.validation.scheme != "block" or e.points.blocks or not known:
            return ""
        # Steps of one workload are no groups of their own: their error is that of the workload.
        found = len(set(e.points.workload))
        if found >= threshold:
            return ""
        return (
            f"{found} groups (workloads); at least {threshold:g} are needed, idle being one. "
            "Record more workloads."
        )
    return (
        f"{e.validation.groups} groups ({e.validation.scheme}); at least {threshold:g} are "
        "needed, idle being one. Record more workloads."
    )


def _levels(e: Evidence, threshold: float) -> str:
    fewest = min((levels(e.points.inputs[k].value) for k in e.inputs), default=0)
    if fewest >= threshold:
        return ""
    return f"{fewest} levels of the input; at least {threshold:g} are needed."


def _range(e: Evidence, threshold: float) -> str:
    y = e.points.reference_w
    share = float(y.max() - y.min()) / max(abs(float(y.mean())), 1e-12)
    if share >= threshold:
        return ""
    return f"the reference spans {100 * share:.1f} % of its mean; vary the load more."


def _collinear(e: Evidence, threshold: float) -> str:
    if e.fitted is None or len(e.inputs) < 2:
        return ""
    if e.fitted.condition > threshold:
        return f"the inputs go together (condition {e.fitted.condition:.0f}); leave one out."
    if e.held is not None and e.held.slopes.size:
        signs = np.sign(e.held.slopes)
        for key, column in zip(e.inputs, signs.T, strict=False):
            if np.any(column > 0) and np.any(column < 0):
                return f"the coefficient of {key} changes sign between folds; leave one input out."
    return ""


def _monotone(e: Evidence, threshold: float) -> str:
    if e.fitted is None or len(e.inputs) != 1:
        return ""
    key = e.inputs[0]
    x = e.points.inputs[key].value
    curve = e.fitted.predict({key: np.linspace(x.min(), x.max(), 201)})
    fall = float(np.max(np.maximum.accumulate(curve) - curve))
    if fall <= threshold * float(np.ptp(curve)):
        return ""
    return (
        f"the correction falls by {fall:.3g} W within {x.min():.3g} to {x.max():.3g} "
        f"(rise {np.ptp(curve):.3g} W)."
    )


def _baseline(e: Evidence, threshold: float) -> Found:
    inside = _baseline_inside(e, threshold)
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
    if not rezeroed and spread > threshold * float(values.mean()):
        return f"{text}. Hold out sessions, which re-zeroes each on its idle.", "downgrade"
    return f"{text}; absolute power needs a re-zero.", "flag"


def _baseline_inside(e: Evidence, threshold: float) -> str:
    """Say whether idle, less what the inputs say of it, moves within a session."""
    sessions = np.array(e.points.session)
    rest, what = e.points.reference_w, "idle power"
    if e.fitted is not None:
        what = "what no input sees of the idle power"
        rest = rest - e.fitted.predict({k: e.points.inputs[k].value for k in e.inputs})
    for session in dict.fromkeys(e.points.session):
        own = sessions == session
        idle = own & e.points.idle
        if np.count_nonzero(idle) < 2:
            continue
        moved = float(np.ptp(rest[idle]))
        reach = float(np.ptp(e.points.reference_w[own]))
        u = float(np.max(e.points.reference_u_w[idle]))
        if moved > max(threshold * reach, 3 * math.sqrt(2) * u):
            return (
                f"{what} moves by {moved:.3g} W within session {session} "
                f"({100 * moved / reach:.0f} % of its power range); something changed its state."
            )
    return ""


def _unseen(e: Evidence, threshold: float) -> str:
    """Say where power must be of something that no input sees: at zero input, or in one group."""
    if e.fitted is None or any(e.points.inputs[k].unit != "W" for k in e.inputs):
        return ""
    zero = float(e.fitted.predict({k: np.zeros(1) for k in e.inputs})[0])
    largest = float(np.sum([e.points.inputs[k].value for k in e.inputs], axis=0).max())
    if e.fitted.form in ("affine", "hinge", "quadratic") and zero > threshold * largest:
        return (
            f"{zero:.0f} W of the reference belong to what no input sees (the inputs read at most "
            f"{largest:.0f} W); read energy above idle, and re-zero for absolute power."
        )
    if e.held is None or e.held.scheme != "workload":
        return ""
    missed = -e.held.error_w(e.points)
    for name in e.held.names:
        own = e.held.members(name)
        more = float(missed[own].mean())
        if more > float(np.ptp(e.points.reference_w[~own])) and not np.all(e.points.idle[own]):
            return (
                f"{name} takes {more:.0f} W more than the inputs say of it, more than all others "
                "span: a component that no input sees works there."
            )
    return ""


def _window(e: Evidence, threshold: float) -> str:
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
    if abs(energy) <= max(threshold * abs(least), 4 * u):
        return ""
    alone = least_squares(design[:, :-1], points.reference_w)
    if solution.chi_squared > 0.5 * alone.chi_squared:  # it must explain most of the misfit
        return ""
    mean_w = float(points.reference_w.mean())
    return (
        f"the energies differ by {energy:+.3g} J per run, whatever its length (about "
        f"{energy / mean_w:+.2g} s at the mean power): reference and tool start or stop apart."
    )


def _aliased(e: Evidence, threshold: float) -> str:
    return aliased_text(e.points, e.inputs, threshold)


def aliased_text(points: Points, inputs: Iterable[str], threshold: float) -> str:
    """Say which input's sensor cannot follow a pulsed load of these points; empty where none."""
    periods = points.load_period_s
    if periods is None or not np.any(np.isfinite(periods)):
        return ""
    load_s = float(np.nanmin(periods))
    for key in inputs:
        column = points.inputs[key]
        averaged = "average" in (column.mode or "").lower()
        # Of a table nobody knows which cards stand behind it; a run's descriptor says.
        unknown = key.startswith("nvml") and not averaged
        part_time = unknown if column.observed_share is None else column.observed_share < 1
        sensor_s = column.period_s or _NVML_PERIOD_S
        if part_time and load_s < threshold * sensor_s:
            return (
                f"{key}: the load repeats every {load_s:.3g} s, the sensor looks every "
                f"{sensor_s:.3g} s and sees a part of it only; what it catches is chance."
            )
    return ""


def _coarse(e: Evidence, threshold: float) -> str:
    meter = e.points.reference
    if meter is None or not meter.resolution_w:
        return ""
    reach = float(e.points.reference_w.max() - e.points.reference_w.min())
    if meter.resolution_w <= threshold * reach:
        return ""
    return f"the meter resolves {meter.resolution_w:g} W of a range of {reach:.3g} W."


def _gain(e: Evidence, threshold: float) -> str:
    if e.fitted is None or e.fitted.form not in ("gain", "affine"):
        return ""
    for term in e.fitted.terms:
        power = term.input is not None and e.points.inputs[term.input].unit == "W"
        if power and not 1 / threshold <= term.value <= threshold:
            return f"the gain of {term.input} is {term.value:.3g}; check units and scope."
    return ""


def _unit(e: Evidence, threshold: float) -> str:
    """Say where a power input would need another unit, not another scope, to fit the reference."""
    changed = unit_change(e.points, e.inputs)
    if changed:
        return changed
    if e.fitted is None or e.fitted.form not in ("gain", "affine"):
        return ""
    for i, term in enumerate(e.fitted.terms):
        if term.input is None or e.points.inputs[term.input].unit != "W":
            continue
        if 1 / threshold <= abs(term.value) <= threshold:
            continue
        if abs(term.value) <= 2 * math.sqrt(max(e.fitted.covariance[i, i], 0.0)):
            continue  # no relation, of whatever size
        return (
            f"the gain of {term.input} is {term.value:.3g}: no scope differs that much; one of the "
            "two is in another unit or has lost its scale."
        )
    return ""


def _mode(e: Evidence, threshold: float) -> str:
    for key in e.inputs:
        modes = [m or "unknown" for m in e.points.inputs[key].modes]
        if len(modes) > threshold:
            return f"{key} was recorded in several modes: {', '.join(modes)}."
    return ""


def _lagging(e: Evidence, threshold: float) -> str:
    meter = e.points.reference
    lags = [c.lag for c in e.points.inputs.values()]
    known = [lag for lag in lags if lag is not None and lag.resolved]
    window = meter.window_s if meter is not None else None
    if not known or len(known) < len(lags) or not window:
        return ""
    if all(lag.offset_s < -threshold * window for lag in known):
        late = -max(lag.offset_s for lag in known)
        return f"the reference's stamps are {late:.1f} s late; the inputs were shifted."
    return ""


def _unresolved(e: Evidence, _: float) -> str:
    for key in e.inputs:
        lag = e.points.inputs[key].lag
        if lag is not None and not lag.resolved:
            return f"{key}: {lag.reason}; taken as 0."
    return ""


def _errors_in_variables(e: Evidence, _: float) -> str:
    if e.fitted is None or not e.fitted.reliability:
        return ""
    by = ", ".join(f"{k} by {100 * (1 - v):.1f} %" for k, v in e.fitted.reliability.items())
    return f"noise of the inputs flattens their gains ({by}); fitted with errors in both variables."


POINT_CHECKS: dict[str, Check] = {
    "too_few_groups": _groups,
    "too_few_levels": _levels,
    "range_too_short": _range,
    "collinear": _collinear,
    "non_monotone": _monotone,
    "moved_baseline": _baseline,
    "unseen_component": _unseen,
    "window_mismatch": _window,
    "aliased_load": _aliased,
    "meter_too_coarse": _coarse,
    "implausible_gain": _gain,
    "unit_scale": _unit,
    "errors_in_variables": _errors_in_variables,
    "wrong_mode": _mode,
    "lagging_reference": _lagging,
    "lag_unresolved": _unresolved,
}
