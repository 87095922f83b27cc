"""How much later an estimator shows what the meter has seen: the lag, with its uncertainty.

Model: meter window k has the mean power y_k; the estimator's cumulative energy is E(t). With the
lag λ, y_k = a + b [E(u_k) - E(u_k - w_k)] / w_k, u_k = t_k + λ. A coarse grid over λ, with a and
b solved at each point, finds the basin; Gauss-Newton on (a, b, λ) finds its bottom, and (JᵀJ)⁻¹
s² the standard error. A load that never changes carries no information, and one that repeats has
several basins: both are said, not hidden.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from .energy import EnergyCurve, Pieces

__all__ = ["Lag", "estimate_lag"]

Floats = npt.NDArray[np.float64]
_MOST_WINDOWS = 4000
_NS = 1e9
# The best of some eighty lags explains pure noise by chance: an F of 10 does so in 1 of 10,000.
_LEAST_F = 25.0


@dataclass(frozen=True, slots=True)
class Lag:
    """The lag of an estimator behind the meter, s, with its standard uncertainty.

    `resolved` is False when the recording does not determine it (`reason` says why); `offset_s`
    is then 0. `residual_w` is the RMS of the alignment model, `n` the number of meter windows
    used.
    """

    offset_s: float
    u_s: float
    resolved: bool
    reason: str
    residual_w: float
    n: int


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
            return replace(other, offset_s=-other.offset_s)
    return lag


def _search(meter: Pieces, estimator: Pieces, most_s: float | None) -> tuple[Lag, float]:
    """Return the lag, and the share of the meter's variance that it leaves unexplained."""
    start, end, power = _coarsen(meter)
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
    if rival is not None and misfit[rival] < 1.15 * misfit[best] + 1e-12 * flat:
        reason = f"{grid[best]:+.3g} s and {grid[rival]:+.3g} s fit equally well"
        return _none(reason, start.size), 1.0
    lag = _refine(curve, start, end, power, float(grid[best]), step)
    if lag.resolved and not lag.u_s < 0.25 * max(window_s, step):
        return _none(f"too few edges: its uncertainty is {lag.u_s:.2g} s", start.size), 1.0
    return lag, lag.residual_w**2 * power.size / flat


def _none(reason: str, n: int) -> Lag:
    return Lag(0.0, float("nan"), False, reason, float("nan"), n)


def _coarsen(meter: Pieces) -> tuple[Floats, Floats, Floats]:
    """Merge neighbouring meter windows so that at most a few thousand remain."""
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


def _mean_power(curve: EnergyCurve, start: Floats, end: Floats, lag_s: float) -> Floats:
    energy, observed = curve.between(start + lag_s * _NS, end + lag_s * _NS)
    return np.divide(energy, observed, out=np.zeros_like(energy), where=observed > 0)


def _solve(
    curve: EnergyCurve, start: Floats, end: Floats, power: Floats, lag_s: float
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
    """Gauss-Newton from the grid's best point; the standard error from (JᵀJ)⁻¹ s²."""
    _, gain, rss, x = _solve(curve, start, end, power, lag_s)
    covariance = np.full((3, 3), np.nan)
    for _ in range(30):
        slope = (curve.power_at(end + lag_s * _NS) - curve.power_at(start + lag_s * _NS)) / (
            (end - start) / _NS
        )
        jacobian = np.column_stack([np.ones_like(x), x, gain * slope])
        intercept = power.mean() - gain * x.mean()
        residual = power - intercept - gain * x
        change, _, rank, _ = np.linalg.lstsq(jacobian, residual, rcond=None)
        if rank < 3:
            return _none("the load has no edges, so no lag shows", x.size)
        s2 = rss / max(x.size - 3, 1)
        covariance = np.linalg.inv(jacobian.T @ jacobian) * s2
        move = float(np.clip(change[2], -step_s, step_s))
        for _ in range(8):  # halve a step that climbs
            _, new_gain, new_rss, new_x = _solve(curve, start, end, power, lag_s + move)
            if new_rss <= rss:
                break
            move /= 2
        else:
            break
        lag_s, gain, rss, x = lag_s + move, new_gain, new_rss, new_x
        if abs(move) < 1e-7:
            break
    u_s = float(np.sqrt(covariance[2, 2]))
    return Lag(lag_s, u_s, True, "", float(np.sqrt(rss / max(x.size - 3, 1))), x.size)
