"""What a fit decided by itself, each with its reason; `wattcal fit --explain` prints them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from .model import Fitted
from .points import Points
from .uncertainty import BetweenGroups, between_groups
from .validation import HeldOut

__all__ = ["choices", "form_choice"]

_LAG_SHARE = 0.02


def form_choice(scores: Mapping[str, float], chosen: str, scheme: str, told: bool) -> str:
    """Say which form was taken and why; `scores` are root mean square held-out errors, W."""
    if told:
        return f"form: {chosen}, as told"
    tried = ", ".join(f"{form} {rms:.3g} W" for form, rms in scores.items())
    if chosen == "affine":
        why = "the default; a curve would have to beat it by one standard error and a fifth of the "
        why += "mean square, a gain alone to be no worse"
    elif chosen == "gain":
        why = "no worse than a line, with one parameter fewer"
    else:
        why = "better than the line by one standard error over the groups and a fifth of the square"
    curves = "; blocks of one recording cannot speak for a curve" if scheme == "block" else ""
    return f"form: {chosen}, {why}{curves}; held-out RMS: {tried or 'nothing was held out'}"


def choices(
    points: Points, inputs: Sequence[str], fitted: Fitted | None, held: HeldOut | None, scheme: str,
    told: bool,
) -> tuple[str, ...]:  # fmt: skip
    """Return a sentence for every choice but the form: groups, zero, weights, inputs, lag, k."""
    found = [_scheme(points, scheme, told)]
    if fitted is None:
        return tuple(found)
    sessions = len(fitted.session_offset_w)
    if fitted.form != "gain" and sessions > 1:
        found.append(
            f"intercepts: one for each of {sessions} sessions, their mean in the model; pooled, "
            "baselines that differ would bend the gain"
        )
    if held is not None and held.rezeroed:
        found.append("zero: a held-out session takes it from its own idle points, nothing else")
    u_w = math.sqrt(float(np.mean(points.reference_u_w**2)))
    if fitted.lack_of_fit_w > 0:
        found.append(
            f"weights: 1/(u² + s²), u = {u_w:.2g} W (root mean square) as stated and s = "
            f"{fitted.lack_of_fit_w:.2g} W, the least for which χ² is no more than its degrees of "
            "freedom"
        )
    else:
        found.append(
            f"weights: 1/u² as stated, u = {u_w:.2g} W (root mean square); the points scatter no "
            "more than that"
        )
    found += [_errors(key, points, fitted) for key in inputs]
    found += [text for key in inputs if (text := _lag(key, points))]
    if held is not None:
        found.append(_interval(between_groups(points, fitted, held), len(held.names)))
    return tuple(found)


def _interval(between: BetweenGroups, m: int) -> str:
    if between.interval == "group_conformal":
        return f"interval: group-conformal; {m} groups are enough for it"
    few = f"{m} groups are too few for a conformal one"
    if between.interval == "student_t":
        return f"interval: Student's t with the between-group variance; {few}"
    return f"interval: the worst held-out group, beyond Student's t; {few}"


def _scheme(points: Points, scheme: str, told: bool) -> str:
    workloads, sessions = len(set(points.workload)), len(set(points.session))
    if told:
        return f"held out: {scheme}, as told"
    if scheme == "workload":
        return f"held out: each of {workloads} workloads in turn; three are enough for that"
    if scheme == "session":
        return f"held out: each of {sessions} sessions in turn; {workloads} workload(s) are too few"
    why = "the points are windows without marks" if points.blocks else f"{workloads} workload(s)"
    return f"held out: blocks; {why}, and {sessions} session(s) are too few to hold one out"


def _errors(key: str, points: Points, fitted: Fitted) -> str:
    if key in fitted.reliability:
        return (
            f"errors of {key}: they flatten its gain by λ = {fitted.reliability[key]:.4f}, below "
            "0.995, and were taken out (errors in variables)"
        )
    if points.inputs[key].u is None:
        return f"errors of {key}: not known, taken as none"
    return f"errors of {key}: they flatten its gain by less than 0.5 %, which is left as it is"


def _lag(key: str, points: Points) -> str:
    lag = points.inputs[key].lag
    if lag is None:
        return ""
    if not lag.resolved:
        return f"lag of {key}: not resolved ({lag.reason}), taken as 0"
    text = f"lag of {key}: {lag.offset_s:+.3f} s (u {lag.u_s:.3f} s)"
    window_s = None if points.reference is None else points.reference.window_s
    if abs(lag.offset_s) <= 3 * lag.u_s:
        return f"{text}, below three u: not shifted"
    if window_s is not None and abs(lag.offset_s) <= _LAG_SHARE * window_s:
        return f"{text}, below 2 % of the meter's window: not shifted"
    return f"{text}: shifted"
