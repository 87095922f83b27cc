"""What lags say: where stamps lie, when a clock was set, who is late, how long a tool averages.

All of it rests on `alignment.estimate_lag`, whose model and sign hold here: a lag is how much later
the estimator shows what the meter has seen.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from .alignment import Lag, estimate_lag
from .energy import EnergyCurve, Pieces

__all__ = [
    "CommonLag",
    "Offsets",
    "Response",
    "StampConvention",
    "common_lag",
    "estimate_lags",
    "estimate_response",
    "identify_stamp",
    "piecewise_lag",
]

Floats = npt.NDArray[np.float64]
StampAt = Literal["start", "middle", "end"]
_NS = 1e9
_SHARE: dict[StampAt, float] = {"start": 0.0, "middle": 0.5, "end": 1.0}


@dataclass(frozen=True, slots=True)
class StampConvention:
    """Where in its averaging window a meter's stamp lies; `stamp_at` is None where undecided.

    `residual_s` is what the lag leaves unexplained by that convention, `u_s` the standard
    uncertainty of the lag; `reason` says why it is undecided.
    """

    stamp_at: StampAt | None
    residual_s: float
    u_s: float
    reason: str


def identify_stamp(lag: Lag, window_s: float, declared: StampAt = "end") -> StampConvention:
    """Tell from a lag where in its window a meter's stamp lies.

    `lag` was estimated with the meter's windows laid as `declared` says. A stamp that truly lies at
    the share s of its window w instead of s₀ shows as a lag of w (s₀ - s), if the estimator itself
    is on time. Decided where one convention lies within w/5 and u(λ) is below w/16; a late
    estimator looks the same, so the answer holds as far as its delay is known to be small against
    w/2.
    """
    if not lag.resolved:
        return StampConvention(None, math.nan, math.nan, f"the lag is not resolved: {lag.reason}")
    left = {
        name: lag.offset_s - window_s * (_SHARE[declared] - share) for name, share in _SHARE.items()
    }
    best = min(left, key=lambda name: abs(left[name]))
    if lag.u_s > window_s / 16:
        reason = f"u(lag) is {lag.u_s:.2g} s, too much for windows of {window_s:g} s"
        return StampConvention(None, left[best], lag.u_s, reason)
    if abs(left[best]) > window_s / 5:
        reason = (
            f"the nearest convention ({best}) leaves {left[best]:+.3g} s; "
            "one of the two sides is late besides"
        )
        return StampConvention(None, left[best], lag.u_s, reason)
    return StampConvention(best, left[best], lag.u_s, "")


@dataclass(frozen=True, slots=True)
class Offsets:
    """The lag of each part of a recording between steps of a clock.

    `lags` has one entry more than `steps_ns`, the instants (meter clock) of the steps;
    `u_steps_ns` is half the span in which each may lie: a step is located only where the load
    changes.
    """

    lags: tuple[Lag, ...]
    steps_ns: tuple[int, ...]
    u_steps_ns: tuple[int, ...]


def piecewise_lag(
    meter: Pieces, estimator: Pieces, *, most_s: float | None = None, most_steps: int = 3
) -> Offsets:
    """Estimate the lag by parts, and find where a clock was set inside the recording.

    For every lag of a grid and every split of the meter's windows the misfit of both sides (each
    with its own lag, and an intercept and gain of its own) follows from running sums; the best
    split is taken if it lowers the misfit to less than half and the two lags differ by five of
    their uncertainties and a twentieth of the meter's window. Splits are sought again inside the
    parts, at most `most_steps` in all. A recording without a step comes back as one part.
    """
    bounds = [(0, meter.start_ns.size)]
    lags = [estimate_lag(meter, estimator, most_s=most_s)]
    steps: dict[int, tuple[int, int]] = {}
    i = 0
    while i < len(bounds):
        lo, hi = bounds[i]
        split = (
            None if len(steps) >= most_steps else _split(_part(meter, lo, hi), estimator, most_s)
        )
        if split is None:
            i += 1
            continue
        at, half_ns = split
        left, right = _part(meter, lo, lo + at), _part(meter, lo + at, hi)
        two = [estimate_lag(part, estimator, most_s=most_s) for part in (left, right)]
        apart = abs(two[0].offset_s - two[1].offset_s)
        window_s = float(np.median(meter.duration_s))
        told = all(x.resolved for x in two)
        if not told or apart < max(5 * math.hypot(two[0].u_s, two[1].u_s), 0.05 * window_s):
            i += 1
            continue
        steps[lo + at] = (int(meter.start_ns[lo + at]), half_ns)
        bounds[i : i + 1] = [(lo, lo + at), (lo + at, hi)]
        lags[i : i + 1] = two
    ordered = [steps[key] for key in sorted(steps)]
    return Offsets(tuple(lags), tuple(s[0] for s in ordered), tuple(s[1] for s in ordered))


def _part(cut: Pieces, lo: int, hi: int) -> Pieces:
    return Pieces(cut.start_ns[lo:hi], cut.end_ns[lo:hi], cut.start_w[lo:hi], cut.end_w[lo:hi])


_LEAST_PART = 20


def _split(meter: Pieces, estimator: Pieces, most_s: float | None) -> tuple[int, int] | None:
    """Return the first window of the second part, and half the span it may lie in, ns."""
    if meter.start_ns.size < 2 * _LEAST_PART or not estimator.start_ns.size:
        return None
    window_s = float(np.median(meter.duration_s))
    most = most_s if most_s is not None else max(5.0, 2.0 * window_s)
    # Only windows that the estimator covers at every lag of the search may speak.
    covered = np.flatnonzero(
        (meter.start_ns / _NS >= estimator.start_ns[0] / _NS + most)
        & (meter.end_ns / _NS <= estimator.end_ns[-1] / _NS - most)
    )
    if covered.size < 2 * _LEAST_PART:
        return None
    skipped = int(covered[0])
    meter = _part(meter, skipped, int(covered[-1]) + 1)
    n = meter.start_ns.size
    grid = np.linspace(-most, most, 2 * round(most / max(min(window_s, most) / 8, most / 100)) + 1)
    curve = EnergyCurve(estimator)
    y = meter.energy_j / meter.duration_s
    y = y - y.mean()
    before = np.full(n + 1, np.inf)
    after = np.full(n + 1, np.inf)
    whole = np.inf
    for lag in grid:
        energy, seen = curve.between(meter.start_ns + lag * _NS, meter.end_ns + lag * _NS)
        x = np.divide(energy, seen, out=np.zeros_like(energy), where=seen > 0)
        x = x - x.mean()
        head = _misfits(x, y)
        before = np.minimum(before, head)
        after = np.minimum(after, _misfits(x[::-1], y[::-1])[::-1])
        whole = min(whole, float(head[-1]))
    both = before + after
    inner = slice(_LEAST_PART, n - _LEAST_PART + 1)
    at = int(np.argmin(both[inner])) + _LEAST_PART
    if not both[at] < 0.5 * whole:
        return None
    near = np.flatnonzero(both[inner] < both[at] * (1 + 9.0 / n)) + _LEAST_PART
    first, last = int(near[0]), min(int(near[-1]), n - 1)
    middle = (first + last) // 2
    half = int(meter.start_ns[last] - meter.start_ns[first]) // 2 + round(window_s * _NS)
    return middle + skipped, half


def _misfits(x: Floats, y: Floats) -> Floats:
    """Return the residual sum of squares of y = a + b x over the first k rows, k = 0 ... n."""
    k = np.arange(1, x.size + 1)
    sx, sy = np.cumsum(x), np.cumsum(y)
    sxx = np.cumsum(x * x) - sx * sx / k
    sxy = np.cumsum(x * y) - sx * sy / k
    syy = np.cumsum(y * y) - sy * sy / k
    with np.errstate(divide="ignore", invalid="ignore"):
        explained = np.where(sxx > 1e-12 * max(float(sxx[-1]), 1e-300), sxy * sxy / sxx, 0.0)
    return np.concatenate([[0.0], np.maximum(syy - explained, 0.0)])


@dataclass(frozen=True, slots=True)
class CommonLag:
    """What several estimators say of one meter: their common lag, and whether they agree.

    `offset_s` is the weighted mean of the resolved lags, `u_s` its standard uncertainty, widened by
    the Birge ratio where they disagree; `chi_squared` on `n` - 1 degrees of freedom. Where all
    agree on a lag that is not zero, it is the meter that is late or early.
    """

    offset_s: float
    u_s: float
    chi_squared: float
    n: int
    agree: bool


def estimate_lags(
    meter: Pieces, estimators: Mapping[str, Pieces], *, most_s: float | None = None
) -> dict[str, Lag]:
    """Return the lag of each of several estimators behind one meter."""
    return {key: estimate_lag(meter, own, most_s=most_s) for key, own in estimators.items()}


def common_lag(lags: Mapping[str, Lag]) -> CommonLag:
    """Combine the lags of several estimators behind one meter (weighted mean, Birge ratio).

    They agree where χ² is below its 99 % point, approximated by Wilson and Hilferty (1931).
    """
    told = [lag for lag in lags.values() if lag.resolved and lag.u_s > 0]
    n = len(told)
    if not n:
        return CommonLag(math.nan, math.nan, math.nan, 0, False)
    value = np.array([lag.offset_s for lag in told])
    weight = 1 / np.array([lag.u_s for lag in told]) ** 2
    mean = float(weight @ value / weight.sum())
    chi = float(weight @ (value - mean) ** 2)
    u = 1 / math.sqrt(float(weight.sum()))
    if n == 1:
        return CommonLag(mean, u, 0.0, 1, True)
    freedom = n - 1
    bound = freedom * (1 - 2 / (9 * freedom) + 2.326 * math.sqrt(2 / (9 * freedom))) ** 3
    return CommonLag(mean, u * max(1.0, math.sqrt(chi / freedom)), chi, n, chi <= bound)


@dataclass(frozen=True, slots=True)
class Response:
    """How long a running average an estimator shows, s, and its lag behind the meter besides.

    `window_s` is 0 where the readings follow the meter at once; `step_s` is the grid's spacing
    there, so that u(window) is about `step_s`/√12 at least. `improvement` is the misfit without
    averaging over that with it.
    """

    window_s: float
    step_s: float
    lag: Lag
    improvement: float


def estimate_response(
    meter: Pieces, estimator: Pieces, *, most_s: float = 2.0, steps: int = 20
) -> Response:
    """Estimate the running average (boxcar) that an estimator shows, against a faster meter.

    Each reading of the estimator is taken for the mean over the τ seconds that end at its stamp,
    and compared with the meter's mean over exactly that window; the τ with the smallest misfit over
    a grid from the estimator's own cadence to `most_s` is returned, with the lag there (its sign as
    everywhere: positive where the estimator is late). The meter must resolve τ: its windows should
    be shorter than a tenth of it. Example: `nvidia-smi` shows a mean over 1 s on many cards.
    """
    end = estimator.end_ns
    power = estimator.energy_j / estimator.duration_s
    cadence = float(np.median(estimator.duration_s))
    taus = np.linspace(min(cadence, most_s / steps), most_s, steps)
    best: tuple[float, float, Lag] | None = None
    first = math.nan
    for tau in taus:
        window = round(tau * _NS)
        view = Pieces(end - window, end, power, power)
        lag = estimate_lag(view, meter, most_s=most_s)
        misfit = lag.residual_w**2 if lag.resolved else math.inf
        first = misfit if math.isnan(first) else first
        if best is None or misfit < best[0]:
            best = (misfit, float(tau), lag)
    step = float(taus[1] - taus[0])
    if best is None or not best[2].resolved:
        none = best[2] if best else estimate_lag(meter, estimator, most_s=most_s)
        return Response(math.nan, step, none, math.nan)
    misfit, tau_s, found = best
    lag = Lag(
        -found.offset_s, found.u_s, True, "", found.residual_w, found.n, -found.skew, found.u_skew,
        found.ambiguity, found.t_ref_ns,
    )  # fmt: skip
    return Response(tau_s, step, lag, first / misfit if misfit > 0 else math.inf)
