"""Drift: has the baseline moved, or the gain? An alarm with a stated rate of false ones.

Residuals are divided by their standard uncertainty and summed, two-sided (E. S. Page, Biometrika 41
(1954) 100):

    C⁺_i = max(0, C⁺_{i-1} + z_i - k)        C⁻_i = max(0, C⁻_{i-1} - z_i - k)

and either above h raises the alarm. For independent normal z the mean number of residuals up to the
alarm, the run length, solves Page's integral equation

    L(s) = 1 + L(0) Φ(k - s) + ∫₀ʰ L(x) φ(x + k - s) dx

which is solved here by quadrature (24 to 96 Gauss-Legendre nodes: eight digits and more for any h
that matters); two sides together alarm after 1/(1/L⁺ + 1/L⁻) (K. W. Kemp, J. R. Statist. Soc. B 23
(1961) 149). k is half the change to be found, in units of u; h follows from the false alarms that
are allowed. Neighbouring seconds share their error, so what is summed are means over blocks long
against the correlation time (`block_means`).

- Offset: residuals of idle against the re-zero (`offset_residuals`).
- Gain: residuals of load above idle against the gain (`gain_residuals`). What a workload does to
  the gain (the lack of fit) stays the same while it runs, so one step gives one residual.

What it takes, at one false alarm a month (`design_alarm`, mean delays): 1 % of 50 W of idle, read
every second with 0.3 W of noise correlated over 1.5 s, is found in 38 s of idle after a re-zero of
300 s, and in 56 s after one of 50 s. 2 % of gain at 75 W above idle is found in 2.5 minute-long
steps where the lack of fit is 0.4 W, but only in 7 of them at 0.75 W and in 24 at 1.5 W: what the
workloads do to the gain bounds what can be said of it.

An alarm asks for a verification run; it never changes a profile. `control_chart` judges the
sequence of those runs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from ..errors import InputError
from .model import term_values
from .points import Points
from .results import Term
from .rezero import Rezero

__all__ = [
    "MONTH_S",
    "Alarm",
    "ControlChart",
    "Cusum",
    "Residuals",
    "block_means",
    "control_chart",
    "cusum",
    "design_alarm",
    "gain_residuals",
    "offset_residuals",
    "run_length",
    "threshold_for",
]

Floats = npt.NDArray[np.float64]
MONTH_S = 30 * 86_400.0
_LEAST_ALLOWANCE = 0.25
_SQRT_2 = math.sqrt(2)


@dataclass(frozen=True, slots=True, eq=False)
class Residuals:
    """Deviations from a calibration, in W or as a fraction of the gain, each with its standard u.

    `value` and `u` have shape (n,); `duration_s` is how long each was observed.
    """

    value: Floats
    u: Floats
    duration_s: Floats

    @property
    def standardised(self) -> Floats:
        """Return value / u."""
        return np.asarray(self.value / self.u)


@dataclass(frozen=True, slots=True, eq=False)
class Cusum:
    """The two sums after every residual; `alarm` is the index of the first above `threshold`.

    `began` is the index of the residual after which the sum that alarmed was zero last: the likely
    beginning of the change.
    """

    upper: Floats
    lower: Floats
    allowance: float
    threshold: float
    alarm: int | None
    direction: Literal["up", "down"] | None
    began: int | None


@dataclass(frozen=True, slots=True)
class Alarm:
    """An alarm for changes of `change` or more (W, or a fraction of the gain) and what it costs.

    `delay_s` is the mean time from the change to the alarm, from the sum's zero; `false_alarm_s`
    the mean time between false ones.
    """

    change: float
    u: float
    block_s: float
    allowance: float
    threshold: float
    delay_s: float
    false_alarm_s: float


@dataclass(frozen=True, slots=True)
class ControlChart:
    """Verification runs in order of time: their E_n, and whether calibration still holds.

    `outside` holds the indices with |E_n| > 1. `trend` is the index at which the sum of 2 E_n left
    its limit although no single run did. `false_alarm_runs` is the mean number of runs to a false
    trend. `action` is `extend` (same coefficients, a later review) or `recalibrate`.
    """

    e_n: tuple[float, ...]
    outside: tuple[int, ...]
    trend: int | None
    false_alarm_runs: float
    action: Literal["extend", "recalibrate"]


def run_length(shift: float, allowance: float, threshold: float) -> float:
    """Return the mean number of residuals up to the alarm of a two-sided CUSUM from zero.

    `shift` is the mean of the residuals, `allowance` k and `threshold` h, all in units of u.
    """
    if not (threshold > 0 and allowance >= 0):
        raise InputError(
            f"Expected a threshold above 0 and an allowance of at least 0; got {threshold:g} and "
            f"{allowance:g}."
        )
    rate = sum(1 / _one_sided(side * shift, allowance, threshold) for side in (1, -1))
    return 1 / rate


def _one_sided(shift: float, allowance: float, threshold: float) -> float:
    nodes, weights = np.polynomial.legendre.leggauss(min(96, 24 + int(6 * threshold)))
    x, w = 0.5 * threshold * (nodes + 1), 0.5 * threshold * weights
    drift = allowance - shift
    # L at the nodes and at zero, together: L(0) stands in every row.
    s = np.append(x, 0.0)
    kernel = np.zeros((s.size, s.size))
    kernel[:, :-1] = (
        w * np.exp(-0.5 * (x[None, :] + drift - s[:, None]) ** 2) / math.sqrt(2 * math.pi)
    )
    kernel[:, -1] = [0.5 * math.erfc((v - drift) / _SQRT_2) for v in s]
    return float(np.linalg.solve(np.eye(s.size) - kernel, np.ones(s.size))[-1])


def threshold_for(run_length_0: float, allowance: float, *, bias: float = 0.0) -> float:
    """Return h at which a false alarm comes after `run_length_0` residuals in the mean.

    `bias` is how far the residuals' mean may lie from zero without any change, in units of u.

    Raises:
        InputError: the run length is not above 2, or allowance less bias is below 0.25, where h
            would be so large that no change is found in time.

    """
    if not run_length_0 > 2 or not allowance - bias >= _LEAST_ALLOWANCE:
        raise InputError(
            "Expected a run length above 2 and an allowance of at least "
            f"{_LEAST_ALLOWANCE:g} above the bias; got {run_length_0:g}, {allowance:g} and "
            f"{bias:g}."
        )
    low, high = 1e-3, 1.0
    while run_length(bias, allowance, high) < run_length_0:
        low, high = high, 2 * high
    while high - low > 1e-6:
        middle = 0.5 * (low + high)
        if run_length(bias, allowance, middle) < run_length_0:
            low = middle
        else:
            high = middle
    return high


def design_alarm(
    change: float, u: float, block_s: float, *, u_zero: float = 0.0, false_alarm_s: float = MONTH_S
) -> Alarm:
    """Return the alarm that finds `change` soon, at one false alarm per `false_alarm_s`.

    `u` is the standard uncertainty of one block's residual, `u_zero` that of the zero or gain which
    all residuals share, in the unit of `change`: the rate of false alarms holds where the zero is
    wrong by `u_zero`, and the delay where that hides the change. The allowance is half the change;
    never above 2 u, so that a large change waits for a second residual, not for a rare one.

    Raises:
        InputError: a number is not positive, or the change is too small: use longer blocks.

    """
    if not (change > 0 and u > 0 and u_zero >= 0 and block_s > 0 and false_alarm_s > 2 * block_s):
        raise InputError(
            "Expected a change, its u, a block and a time between false alarms above 0; got "
            f"{change:g}, {u:g}, {block_s:g} s, {false_alarm_s:g} s."
        )
    allowance, bias = min(0.5 * change / u, 2.0), u_zero / u
    if allowance - bias < _LEAST_ALLOWANCE:
        raise InputError(
            f"Expected a change of at least half its standard uncertainty beyond that of the zero; "
            f"{change:g} is {change / u:.2g} u, and the zero's is {bias:.2g} u. Use longer blocks, "
            "or a longer re-zero."
        )
    threshold = threshold_for(false_alarm_s / block_s, allowance, bias=bias)
    return Alarm(
        change=change,
        u=u,
        block_s=block_s,
        allowance=allowance,
        threshold=threshold,
        delay_s=block_s * run_length(change / u - bias, allowance, threshold),
        false_alarm_s=block_s * run_length(bias, allowance, threshold),
    )


def cusum(z: Floats, allowance: float, threshold: float) -> Cusum:
    """Return both sums of standardised residuals `z`, shape (n,), in order of time.

    Each is its walk less the walk's lowest value so far, which is the recursion without a loop.

    Raises:
        InputError: a residual is not finite; leave out what was not observed.

    """
    z = np.asarray(z, dtype=np.float64)
    if not np.isfinite(z).all():
        raise InputError("Expected finite residuals; leave out what was not observed.")
    sums = []
    for side in (1.0, -1.0):
        walk = np.cumsum(side * z - allowance)
        sums.append(walk - np.minimum(np.minimum.accumulate(walk), 0.0) if z.size else walk)
    upper, lower = sums
    above = np.flatnonzero((upper > threshold) | (lower > threshold))
    if not above.size:
        return Cusum(upper, lower, allowance, threshold, None, None, None)
    alarm = int(above[0])
    up = bool(upper[alarm] > threshold)
    zeros = np.flatnonzero((upper if up else lower)[:alarm] == 0)
    began = int(zeros[-1]) + 1 if zeros.size else 0
    return Cusum(upper, lower, allowance, threshold, alarm, "up" if up else "down", began)


def block_means(residual: Floats, duration_s: Floats, block_s: float) -> tuple[Floats, Floats]:
    """Return the means of windows over blocks of `block_s`, and the seconds seen in each.

    A window belongs to the block that holds its middle, counted in observed time. What is left over
    at the end belongs to no block.

    Raises:
        InputError: there is no whole block, or windows are longer than blocks.

    """
    end = np.cumsum(duration_s)
    whole = int((end[-1] + 1e-6) // block_s) if end.size else 0
    block = np.floor((end - 0.5 * duration_s) / block_s).astype(np.int64)
    kept = block < whole
    seconds = np.bincount(block[kept], weights=duration_s[kept], minlength=whole)
    if whole < 1 or (seconds == 0).any():
        raise InputError(
            f"Expected at least one whole block of {block_s:g} s, and windows shorter than it."
        )
    energy = np.bincount(block[kept], weights=(residual * duration_s)[kept], minlength=whole)
    return np.asarray(energy / seconds), np.asarray(seconds, dtype=np.float64)


def offset_residuals(
    windows: Points, terms: Sequence[Term], zero: Rezero, *, block_s: float = 10.0
) -> Residuals:
    """Return the deviation of idle from a re-zero in blocks, W.

    `windows` are idle meter windows later in the session (`analysis.rezero.idle_windows`). The u of
    a block is the noise that the re-zero found, scaled to the block's length as noise averages
    (blocks are long against its correlation time: three times at least, five are better), and the
    meter's resolution. It must not come from the windows themselves: a change would hide in it.

    Raises:
        InputError: there is no whole block, or it is shorter than three correlation times.

    """
    if block_s < 3 * zero.correlation_time_s:
        raise InputError(
            f"Expected blocks of at least three correlation times; {block_s:g} s are too short for "
            f"{zero.correlation_time_s:.1f} s."
        )
    seen = np.isfinite(windows.reference_w)
    for name in {t.input for t in terms if t.input is not None}:
        seen &= np.isfinite(windows.inputs[name].value)
    kept = windows.select(seen)
    residual = kept.reference_w - _function(terms, kept) - zero.intercept_w
    mean, seconds = block_means(residual, kept.duration_s, block_s)
    u_w = np.hypot(zero.u_noise_w * np.sqrt(zero.idle_s / seconds), zero.u_resolution_w)
    return Residuals(mean, u_w, seconds)


def gain_residuals(
    points: Points, terms: Sequence[Term], zero: Rezero, *, lack_of_fit_w: float
) -> Residuals:
    """Return the relative deviation of power above idle from the profile's gain, one a point.

    r = (y - ȳ) / (f(x) - f(x̄)) - 1, with f the function of the profile; u is that of the
    point, of the re-zero and of the lack of fit, over f(x) - f(x̄). Points less than four times
    that u above idle say nothing about a gain and are left out.
    """
    rise = _function(terms, points) + zero.intercept_w - zero.idle_w
    u_w = np.sqrt(points.reference_u_w**2 + zero.u_w**2 + lack_of_fit_w**2)
    kept = np.isfinite(rise) & np.isfinite(points.reference_w) & (rise > 4 * u_w)
    value = (points.reference_w[kept] - zero.idle_w) / rise[kept] - 1
    return Residuals(value, u_w[kept] / rise[kept], points.duration_s[kept])


def _function(terms: Sequence[Term], points: Points) -> Floats:
    """Return the function without its constant, W."""
    inputs = {t.input: points.inputs[t.input].value for t in terms if t.input is not None}
    if not inputs:
        return np.zeros(points.n)
    value = np.array([0.0 if t.basis == "const" else t.value for t in terms])
    return np.asarray(term_values(terms, inputs) @ value)


def control_chart(e_n: Sequence[float], *, false_alarm_runs: float = 200.0) -> ControlChart:
    """Judge the verification runs of a profile, in order of time.

    E_n = error / U with U the expanded uncertainty of the difference (ISO 13528:2022, 9.7). A run
    with |E_n| > 1 asks for a new calibration, and so does a CUSUM of 2 E_n with k = 1/2 (U holds
    two u): several runs that are each inside and lie on one side. What the runs share with the
    calibration, its meter above all, makes E_n smaller than normal, so that false alarms are rarer
    than `false_alarm_runs` says.

    Raises:
        InputError: there is no run, or an E_n is not finite.

    """
    values = np.asarray(e_n, dtype=np.float64)
    if not values.size:
        raise InputError("Expected at least one verification run; got none.")
    found = cusum(2 * values, 0.5, threshold_for(false_alarm_runs, 0.5))
    outside = tuple(int(i) for i in np.flatnonzero(np.abs(values) > 1))
    return ControlChart(
        e_n=tuple(float(v) for v in values),
        outside=outside,
        trend=found.alarm,
        false_alarm_runs=false_alarm_runs,
        action="recalibrate" if outside or found.alarm is not None else "extend",
    )
