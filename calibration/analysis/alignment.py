"""How much later an estimator shows what the meter has seen: the lag, with its uncertainty.

Model: meter window k has the mean power y_k; the estimator's cumulative energy is E(t). With the
lag λ and the skew κ of the two clocks,

    y_k = a + b [E(u_k) - E(u_k - w_k)] / w_k,    u_k = t_k + λ + κ (t_k - t_ref).

A coarse grid over λ, with a and b solved at each point, finds the basin; Gauss-Newton on (a, b, λ,
κ) finds its bottom, and (JᵀJ)⁻¹ s² the standard errors. The derivative of a window's mean with
respect to λ is taken over a twentieth of the window, so that noise of single samples does not pass
for edges. t_ref is chosen such that λ and κ do not correlate: there u(λ) is smallest. A load that
never changes carries no information, and one that repeats has several basins: both are said, not
hidden, and `ambiguity` is the ratio of their misfits.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from .energy import EnergyCurve, Pieces

__all__ = ["Lag", "alignment_uncertainty", "coarsen", "estimate_lag", "power_slope"]

Floats = npt.NDArray[np.float64]
_MOST_WINDOWS = 4000
_NS = 1e9
# The best of some eighty lags explains pure noise by chance: an F of 10 does so in 1 of 10,000.
_LEAST_F = 25.0
# Over this share of a meter window on both sides the slope of its mean is taken.
_BLUR = 0.05


@dataclass(frozen=True, slots=True)
class Lag:
    """The lag of an estimator behind the meter, s, with its standard uncertainty.

    `resolved` is False when the recording does not determine it (`reason` says why); `offset_s`
    is then 0. `residual_w` is the RMS of the alignment model, `n` the number of meter windows
    used. `offset_s` holds at `t_ref_ns`; `skew` (s/s) with its standard uncertainty `u_skew` says
    how it grows from there, NaN where the recording has too few edges to tell. `ambiguity` is the
    misfit of the second-best lag over that of the best: infinite where there is no second, 1 where
    both fit equally well.
    """

    offset_s: float
    u_s: float
    resolved: bool
    reason: str
    residual_w: float
    n: int
    skew: float = math.nan
    u_skew: float = math.nan
    ambiguity: float = math.inf
    t_ref_ns: float = math.nan

    def at(self, t_ns: npt.ArrayLike) -> Floats:
        """Return the lag at instants of the meter's clock, s: with the skew where it is known."""
        t = np.asarray(t_ns, dtype=np.float64)
        if not (math.isfinite(self.skew) and math.isfinite(self.t_ref_ns)):
            return np.full(t.shape, self.offset_s)
        return np.asarray(self.offset_s + self.skew * (t - self.t_ref_ns) / _NS)


def estimate_lag(meter: Pieces, estimator: Pieces, *, most_s: float | None = None) -> Lag:
    """Estimate how much later the estimator shows what the meter has seen.

    `most_s` bounds the search on both sides; by default five seconds, or two meter windows if those
    are longer. Where both sides average over long windows, the one that is late is the one that
    mixes neighbours, and only the other can be shifted so that they agree: both ways are tried, and
    the better one counts.
    """
    lag, unexplained = _search(meter, estimator, most_s)
    long = float(np.median(meter.duration_s)) if meter.start_ns.size else 0.0
    if estimator.start_ns.size and float(np.median(estimator.duration_s)) >= 0.5 * long:
        other, still = _search(estimator, meter, most_s)
        if other.resolved and still < 0.5 * unexplained:
            return replace(other, offset_s=-other.offset_s, skew=-other.skew)
    return lag


def _search(meter: Pieces, estimator: Pieces, most_s: float | None) -> tuple[Lag, float]:
    """Return the lag, and the share of the meter's variance that it leaves unexplained."""
    start, end, power = coarsen(meter)
    curve = EnergyCurve(estimator)
    if start.size < 6 or not estimator.start_ns.size:
        return _none("fewer than six meter windows", start.size), 1.0
    window_s = float(np.median(end - start)) / _NS
    most = most_s if most_s is not None else max(5.0, 2.0 * window_s)
    # Only windows that the estimator covers at every lag of the search may speak.
    inside = (start / _NS >= estimator.start_ns[0] / _NS + most) & (
        end / _NS <= estimator.end_ns[-1] / _NS - most
    )
    if np.count_nonzero(inside) >= 6:
        start, end, power = start[inside], end[inside], power[inside]

    step = max(min(window_s, most) / 8.0, most / 400.0)
    grid = np.arange(-round(most / step), round(most / step) + 1) * step
    misfit = np.array([_solve(curve, start, end, power, lag)[2] for lag in grid])
    best = int(np.argmin(misfit))
    flat = float(np.sum((power - power.mean()) ** 2))
    explained = (flat - misfit[best]) * (power.size - 3)
    if not (misfit[best] < 0.9 * flat and explained > _LEAST_F * misfit[best]):
        return _none("the load hardly changes, so no lag shows", start.size), 1.0
    if best in (0, grid.size - 1):
        reason = f"the best fit lies at the edge of the search, {grid[best]:+.3g} s"
        return _none(reason, start.size), 1.0
    rival = _second_basin(misfit, best)
    least = 1e-12 * flat
    if rival is not None and misfit[rival] < 1.15 * misfit[best] + least:
        reason = f"{grid[best]:+.3g} s and {grid[rival]:+.3g} s fit equally well"
        ratio = float((misfit[rival] + least) / (misfit[best] + least))
        return replace(_none(reason, start.size), ambiguity=ratio), 1.0
    lag = _refine(curve, start, end, power, float(grid[best]), step)
    if rival is not None and lag.resolved:
        best_misfit = max(lag.residual_w**2 * max(lag.n - 3, 1), least)
        lag = replace(lag, ambiguity=float(misfit[rival]) / best_misfit)
    if lag.resolved and not lag.u_s < 0.25 * max(window_s, step):
        return _none(f"too few edges: its uncertainty is {lag.u_s:.2g} s", start.size), 1.0
    return lag, lag.residual_w**2 * power.size / flat


def _none(reason: str, n: int) -> Lag:
    return Lag(0.0, float("nan"), False, reason, float("nan"), n)


def coarsen(meter: Pieces) -> tuple[Floats, Floats, Floats]:
    """Merge neighbouring meter windows, so that at most a few thousand remain: ns, ns, mean W."""
    times = max(1, -(-meter.start_ns.size // _MOST_WINDOWS))
    n = meter.start_ns.size // times
    first = np.arange(n) * times
    energy = np.add.reduceat(meter.energy_j, first) if n else np.zeros(0)
    length = np.add.reduceat(meter.duration_s, first) if n else np.zeros(0)
    start = meter.start_ns[first]
    last = np.append(first[1:], n * times) - 1 if n else first
    end = meter.end_ns[last]
    whole = (end - start) / _NS <= 1.5 * np.maximum(length, 1e-12)
    if n and n * times < meter.start_ns.size:
        energy[-1] = np.sum(meter.energy_j[first[-1] : last[-1] + 1])
        length[-1] = np.sum(meter.duration_s[first[-1] : last[-1] + 1])
    return (
        start[whole].astype(np.float64),
        end[whole].astype(np.float64),
        energy[whole] / length[whole],
    )


def _mean_power(curve: EnergyCurve, start: Floats, end: Floats, lag_s: float | Floats) -> Floats:
    energy, observed = curve.between(start + lag_s * _NS, end + lag_s * _NS)
    return np.divide(energy, observed, out=np.zeros_like(energy), where=observed > 0)


def _solve(
    curve: EnergyCurve, start: Floats, end: Floats, power: Floats, lag_s: float | Floats
) -> tuple[float, float, float, Floats]:
    """Return intercept (W), gain, residual sum of squares and the estimator's means at one lag."""
    x = _mean_power(curve, start, end, lag_s)
    dx, dy = x - x.mean(), power - power.mean()
    sxx = float(dx @ dx)
    gain = float(dx @ dy) / sxx if sxx > 0 else 0.0
    residual = dy - gain * dx
    return float(power.mean() - gain * x.mean()), gain, float(residual @ residual), x


def _second_basin(misfit: Floats, best: int) -> int | None:
    """Return the lowest local minimum that a ridge separates from the best one."""
    inner = np.flatnonzero((misfit[1:-1] < misfit[:-2]) & (misfit[1:-1] < misfit[2:])) + 1
    rivals = []
    for i in inner[inner != best]:
        low, high = min(i, best), max(i, best)
        if misfit[low : high + 1].max() > 1.5 * misfit[i]:
            rivals.append(int(i))
    return min(rivals, key=lambda i: misfit[i]) if rivals else None


def _refine(
    curve: EnergyCurve, start: Floats, end: Floats, power: Floats, lag_s: float, step_s: float
) -> Lag:
    """Gauss-Newton from the grid's best point; the standard errors from (JᵀJ)⁻¹ s²."""
    middle = 0.5 * (start + end)
    slope = _window_slope(curve, start, end, lag_s)
    weight = float(slope @ slope)
    reference = float(slope**2 @ (middle - middle[0])) / weight + middle[0] if weight > 0 else 0.0
    since = (middle - reference) / _NS
    spread = float((slope * since) @ (slope * since))
    # The skew needs edges at both ends: it must move the windows against each other.
    free = 2 if spread > 1e-6 * weight * float(np.ptp(since)) ** 2 else 1
    at = np.array([lag_s, 0.0])[:free]

    def solve(theta: Floats) -> tuple[float, float, Floats]:
        shift = theta[0] + (theta[1] * since if free == 2 else 0.0)
        _, gain, rss, x = _solve(curve, start, end, power, shift)
        return gain, rss, x

    gain, rss, x = solve(at)
    covariance = np.full((2 + free, 2 + free), np.nan)
    for _ in range(30):
        shift = at[0] + (at[1] * since if free == 2 else 0.0)
        slope = gain * _window_slope(curve, start, end, shift)
        columns = [np.ones_like(x), x - x.mean(), slope, slope * since][: 2 + free]
        jacobian = np.column_stack(columns)
        size = np.sqrt(np.sum(jacobian**2, axis=0))
        if not np.all(size > 0):
            return _none("the load has no edges, so no lag shows", x.size)
        residual = power - power.mean() - gain * (x - x.mean())
        change, _, rank, _ = np.linalg.lstsq(jacobian / size, residual, rcond=1e-9)
        if rank < 2 + free:
            if free == 2:
                free, at = 1, at[:1]
                covariance = np.full((3, 3), np.nan)
                continue
            return _none("the load has no edges, so no lag shows", x.size)
        scaled = jacobian / size
        covariance = np.linalg.inv(scaled.T @ scaled) / np.outer(size, size)
        move = (change / size)[2:]
        most = max(abs(float(move[0])), abs(float(move[-1])) * float(np.ptp(since)) * (free - 1))
        move *= min(1.0, step_s / most) if most > 0 else 1.0
        for _ in range(12):  # halve a step that climbs
            new = solve(at + move)
            if new[1] <= rss:
                break
            move = move / 2
        else:
            break
        at = at + move
        gain, rss, x = new
        if most < 1e-7:
            break
    s2 = rss / max(x.size - 2 - free, 1)
    u = np.sqrt(np.diag(covariance) * s2)
    return Lag(
        float(at[0]),
        float(u[2]),
        True,
        "",
        math.sqrt(s2),
        x.size,
        skew=float(at[1]) if free == 2 else math.nan,
        u_skew=float(u[3]) if free == 2 else math.nan,
        t_ref_ns=float(reference),
    )


def _window_slope(curve: EnergyCurve, start: Floats, end: Floats, lag_s: float | Floats) -> Floats:
    """Return how fast each window's mean power changes with the lag, W/s."""
    half_s = _BLUR * float(np.median(end - start)) / _NS
    later = _mean_power(curve, start, end, lag_s + half_s)
    earlier = _mean_power(curve, start, end, lag_s - half_s)
    return np.asarray((later - earlier) / (2 * half_s))


def power_slope(
    estimator: Pieces, start_ns: npt.ArrayLike, end_ns: npt.ArrayLike, lag_s: float = 0.0
) -> Floats:
    """Return how fast an estimator's mean over each window changes with the lag, W/s.

    ∂x/∂λ = [P(end + λ) - P(start + λ)] / (end - start), with P averaged over a tenth of the window.
    """
    start, end = np.asarray(start_ns, dtype=np.float64), np.asarray(end_ns, dtype=np.float64)
    if not start.size:
        return np.zeros(0)
    return _window_slope(EnergyCurve(estimator), start, end, lag_s)


def alignment_uncertainty(
    lag: Lag, estimator: Pieces, start_ns: npt.ArrayLike, end_ns: npt.ArrayLike
) -> Floats:
    """Return what the uncertainty of the lag contributes to each window's mean power, W.

    u(x) = |∂x/∂λ| u(λ), with u(λ)² = u_s² + u_skew² (t - t_ref)² at the window's middle: nothing in
    the middle of a plateau, much where a window holds an edge. It is the same λ for all windows of
    a recording, so these contributions are fully correlated within it, with the sign of
    `power_slope`. NaN where the lag is not resolved.
    """
    start, end = np.asarray(start_ns, dtype=np.float64), np.asarray(end_ns, dtype=np.float64)
    if not lag.resolved:
        return np.full(start.shape, np.nan)
    u = np.full(start.shape, lag.u_s)
    if math.isfinite(lag.u_skew) and math.isfinite(lag.t_ref_ns):
        u = np.hypot(u, lag.u_skew * (0.5 * (start + end) - lag.t_ref_ns) / _NS)
    return np.asarray(np.abs(power_slope(estimator, start, end, lag.offset_s)) * u)
