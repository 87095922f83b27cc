"""What a corrected power is worth: components by how they add, and the interval they make.

The components follow GUM 4 and 5; their correlation classes say how they add over time and jobs:
`full` (the meter's gain and offset: the same error in every reading), `within_session` (the offset,
redrawn at every power-up), `within_workload` (lack of fit), `independent` (averages out).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from .model import Fitted
from .points import Points
from .results import Component
from .stability import half_to_half
from .validation import HeldOut, group_conformal, idle_reference

__all__ = [
    "BetweenGroups",
    "Interval",
    "between_groups",
    "components",
    "held_out_interval",
    "interval",
    "student_t",
]

Floats = npt.NDArray[np.float64]
_DAY_S = 86400.0
# With few sessions the offset's spread cannot be known. Idle power of one server moved by more than
# a tenth within days while its gain stayed (Jay et al., CCGrid 2023, data of 2022-03-31 to 04-02).
ASSUMED_SESSION_SHARE = 0.05
# An assumed figure is not known for certain: one that may be wrong by a quarter has 1/2 x 4^2 = 8
# degrees of freedom (GUM G.4.2). So U at idle is 11.5 % of it, and holds where a part that no input
# sees rests in another of two states a tenth of idle apart; with k = 1.96 it would not.
_ASSUMED_DOF = 8.0
LEAST_SESSIONS = 3
LEAST_SPAN_DAYS = 7.0
_OVER_THE_WORST = 1.15


def student_t(dof: Floats | float, probability: float = 0.95) -> Floats:
    """Return the two-sided coverage factor of Student's t for `dof` degrees of freedom."""
    from scipy.special import stdtrit

    return np.asarray(stdtrit(np.maximum(dof, 1.0), 0.5 + probability / 2))


def components(
    points: Points, fitted: Fitted, held: HeldOut | None, idle_w: float | None
) -> tuple[Component, ...]:
    """Return the uncertainty components of a corrected power, standard uncertainties.

    Without held-out errors, lack of fit falls back on the fit's own scatter.
    """
    found = [*_meter(points), _session(points, fitted, idle_w), *_gain_drift(points, fitted)]
    noise, lack = _own_scatter(points, fitted)
    if held is None:
        if fitted.dof > 0:  # as many coefficients as points leave no scatter to judge by
            found += [lack, noise]
        return tuple(found)
    error = held.error_w(points)
    index = np.array([held.names.index(g) for g in held.labels])
    count = np.bincount(index)
    means = np.bincount(index, error) / count
    within = error - means[index]
    freedom = points.n - len(held.names)
    between = between_groups(points, fitted, held)
    m, groups = len(held.names), f"held-out {held.scheme}s"
    source = {
        "group_conformal": f"group-conformal: 95 % of {m} {groups} stay within",
        "student_t": f"Student's t with the variance between {m} {groups}",
        "worst_group": f"the worst of {m} {groups}, beyond what their variance says",
    }[between.interval]
    found.append(
        Component(
            "lack_of_fit", "absolute", between.u_w, "within_workload", "A", "normal",
            f"{source}, but U reaches the worst by {_OVER_THE_WORST:g}; less the points' and the "
            "coefficients' own", dof=between.dof,
        )
    )  # fmt: skip
    if freedom > 0:
        found.append(
            Component(
                "residual", "absolute", float(np.sqrt(within @ within / freedom)), "independent",
                "A", "normal", f"scatter of the held-out errors inside a {held.scheme}",
                dof=float(freedom), correlation_time_s=noise.correlation_time_s,
            )
        )  # fmt: skip
    elif fitted.dof > 0:
        found.append(noise)
    return tuple(found)


@dataclass(frozen=True, slots=True)
class BetweenGroups:
    """The interval of a new group's mean error: what it rests on and its half-width, W.

    `u_w` is the lack of fit of the published U, with `dof`: what makes this interval, or the guard
    where that is wider, beyond what other components hold.
    """

    interval: Literal["group_conformal", "student_t", "worst_group"]
    half_width_w: float
    u_w: float
    dof: float


def between_groups(points: Points, fitted: Fitted, held: HeldOut) -> BetweenGroups:
    """Return the 95 % interval of a new group's mean error from m held-out ones.

    From 19 groups on it is the group-conformal one, without a distribution. Below, it is Student's
    t with the variance between the groups: u² = mean(e²) of their held-out mean errors, with
    m - p degrees of freedom, p the terms of the function. It covers 94 to 96 % of new groups for
    normal group effects from 4 groups on. The largest of m scores is a conformal bound too, at the
    level m/(m + 1) (Vovk, Gammerman and Shafer 2005, section 2.2): as a guard against effects that
    are not normal the interval is never narrower than that. `benchmarks/groups.py` prints what
    both hold.

    The guard is no statistic: an interval that leaves out a whole group that was seen is none for
    the next of its kind, so the published U reaches the worst group and, by a margin of 15 %, most
    of its points, however many groups there are.

    Part of a held-out error is the fold's own uncertainty and the noise of its points. Both are
    stated as components of their own, and only the rest is lack of fit.
    """
    error = held.error_w(points)
    index = np.array([held.names.index(g) for g in held.labels])
    count = np.bincount(index)
    means = np.bincount(index, error) / count
    stated2 = np.bincount(index, held.variance) / count
    stated2 += np.bincount(index, np.full(points.n, fitted.noise_w**2)) / count**2
    stated = float(np.mean(stated2))
    m = means.size
    dof = float(max(m - len(fitted.terms), 1))
    k = float(student_t(dof))
    kind: Literal["group_conformal", "student_t", "worst_group"] = "group_conformal"
    half_w = group_conformal(error, held.labels)
    if half_w is None:
        by_t, worst = k * math.sqrt(float(np.mean(means**2))), float(np.abs(means).max())
        kind, half_w = ("student_t", by_t) if by_t >= worst else ("worst_group", worst)
    # Less than the standard error of their mean square, so few groups cannot tell from nothing.
    unseen = stated * math.sqrt(2 / m)
    reach_w = max(half_w, _OVER_THE_WORST * float(np.abs(means).max()))
    return BetweenGroups(kind, half_w, math.sqrt(max((reach_w / k) ** 2 - stated, unseen)), dof)


def _own_scatter(points: Points, fitted: Fitted) -> tuple[Component, Component]:
    """Return noise and lack of fit as the fit itself sees them.

    Scatter beyond the points' own u counts as lack of fit where the χ² test rejects them at 5 %
    (ISO/TS 28037:2010, 6.3); below that it is noise that the u did not quite hold, and averages.
    """
    from scipy.special import chdtri

    dof = float(max(fitted.dof, 1))
    accepted = fitted.chi_squared <= float(chdtri(dof, 0.05))
    noise_w = math.hypot(fitted.noise_w, fitted.lack_of_fit_w if accepted else 0.0)
    time_s = fitted.noise_time_s
    noise = Component(
        "residual", "absolute", noise_w, "independent", "A", "normal",
        "noise of the points' means, scaled to their scatter about the fit", dof=dof,
        correlation_time_s=float(np.median(points.duration_s)) if time_s is None else time_s,
    )  # fmt: skip
    lack = Component(
        "lack_of_fit", "absolute", 0.0 if accepted else fitted.lack_of_fit_w, "within_workload",
        "A", "normal", "scatter of the points about the fit beyond their own u; nothing was held "
        "out", dof=dof,
    )  # fmt: skip
    return noise, lack


def _meter(points: Points) -> list[Component]:
    meter = points.reference
    if meter is None:
        limit = 0.02
        return [
            Component(
                "meter_gain", "relative", limit / math.sqrt(3), "full", "B", "rectangular",
                f"the meter is not named; ±{100 * limit:g} % of reading assumed", status="assumed",
            )
        ]  # fmt: skip
    found = [
        Component(
            "meter_gain", "relative", meter.u_gain, "full", "B", "rectangular",
            f"{meter.meter}: {meter.source}", status="assumed" if meter.assumed else "measured",
        )
    ]  # fmt: skip
    if meter.u_offset_w > 0:
        found.append(
            Component(
                "meter_offset", "absolute", meter.u_offset_w, "full", "B", "rectangular",
                f"{meter.meter}: {meter.source}",
                status="assumed" if meter.assumed else "measured",
            )
        )  # fmt: skip
    return found


def _session(points: Points, fitted: Fitted, idle_w: float | None) -> Component:
    """Return the offset between sessions: measured from enough, else assumed, never zero."""
    offsets = np.array(list(fitted.session_offset_w.values()))
    times = points.start_unix_s[np.isfinite(points.start_unix_s)]
    span_days = float(times.max() - times.min()) / _DAY_S if times.size else 0.0
    floor_w = ASSUMED_SESSION_SHARE * (
        idle_w if idle_w is not None else float(points.reference_w.min())
    )
    spread_w = float(np.std(offsets, ddof=1)) if offsets.size > 1 else 0.0
    if offsets.size >= LEAST_SESSIONS and span_days >= LEAST_SPAN_DAYS:
        return Component(
            "session_offset", "absolute", spread_w * math.sqrt(1 + 1 / offsets.size),
            "within_session", "A", "normal",
            "standard deviation of the session intercepts, and of their mean",
            dof=float(offsets.size - 1),
            sessions=offsets.size, span_days=span_days,
        )  # fmt: skip
    return Component(
        "session_offset", "absolute", max(floor_w, spread_w), "within_session", "B", "normal",
        f"assumed: {offsets.size} session(s) over {span_days:.1f} days do not show how the offset "
        f"moves; {100 * ASSUMED_SESSION_SHARE:g} % of idle power, or their spread if larger",
        dof=_ASSUMED_DOF, status="assumed", sessions=offsets.size, span_days=span_days,
    )  # fmt: skip


def _gain_drift(points: Points, fitted: Fitted) -> list[Component]:
    """Return what the halves of a single recording make of each other, as an error of the gain.

    Blocks of one recording share what drifts, so their held-out errors do not hold it. A re-zero
    does not take it out, and it is the same for all of a later stretch: class `full`.
    """
    halves = half_to_half(points, fitted)
    if halves is None:
        return []
    return [
        Component(
            "gain_drift", "relative", max(abs(b) for b in halves), "full", "A", "normal",
            "the larger of two: mean power of the second half of the recording predicted from the "
            "first, and of the first from the second",
        )
    ]  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class Interval:
    """Standard uncertainty (W), coverage factor and half-width U = k·u (W) of each prediction."""

    u_w: Floats
    k: Floats

    @property
    def half_width_w(self) -> Floats:
        """Return U, W."""
        return self.k * self.u_w


def interval(
    variance: Floats,
    dof: float,
    power_w: Floats,
    parts: tuple[Component, ...],
    *,
    without: tuple[str, ...] = (),
) -> Interval:
    """Combine coefficient variance (W²) and components; k from Welch-Satterthwaite (GUM G.4)."""
    total = variance.copy()
    fourth = variance**2 / dof if dof > 0 else np.zeros_like(variance)
    for part in parts:
        if part.correlation in without:
            continue
        u = part.u * np.abs(power_w) if part.kind == "relative" else np.full(power_w.size, part.u)
        total = total + u**2
        if part.dof:
            fourth = fourth + u**4 / part.dof
    freedom = np.divide(total**2, fourth, out=np.full(total.size, 1e6), where=fourth > 0)
    return Interval(np.sqrt(total), student_t(np.minimum(freedom, 1e6)))


def held_out_interval(
    points: Points, held: HeldOut, dof: float, parts: tuple[Component, ...]
) -> Interval:
    """Return the interval against which the same meter can judge a held-out point.

    The meter's own gain and offset are in both sides of that comparison, and so is the session's
    offset unless whole sessions were held out: they are left out, and the reference's own standard
    uncertainty comes in, so that the coverage of the rest can fail.
    """
    without = ("full",) if held.scheme in ("session", "date") else ("full", "within_session")
    if held.rezeroed:
        without = ("full", "within_session")
    if len(held.names) == points.n:  # the residual is then the points' own u, which is added here
        without = (*without, "independent")
    return interval(
        held.variance + points.reference_u_w**2, dof, held.prediction_w, parts, without=without
    )


def idle_power(points: Points) -> float | None:
    """Return the mean idle power over the sessions, W, or None without idle points."""
    idle = idle_reference(points)
    return None if np.all(np.isnan(idle)) else float(np.nanmean(idle))
