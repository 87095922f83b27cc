"""Readings and points that share their errors: correlation in time, and quantisation.

Neighbouring readings of a steady power are not independent, and neither are the means of
neighbouring steps where the noise is slower than a step. The noise is taken as a first-order
process, AR(1) in readings and Ornstein-Uhlenbeck between points (Box, Jenkins and Reinsel, Time
Series Analysis, chapter 3): one number, the correlation time, says how both add.

A meter's resolution is a second error that repeats (`analysis.rounding`): what noise within a mean
leaves of it is common to points of one level.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from .line import LeastSquares
from .points import Points
from .rounding import before_rounding, harmonics, left_by_rounding

__all__ = ["Dependence", "SteadyMeans", "dependence_of", "mean_variance", "steady_means"]

Floats = npt.NDArray[np.float64]
_MOST_RHO = 0.999
_GRID = 240


def mean_variance(n: Floats | float, rho: Floats | float) -> Floats:
    """Return the variance of the mean of n AR(1) readings of unit variance.

    v = [n (1-ρ²) - 2 ρ (1-ρⁿ)] / [n² (1-ρ)²], exactly; about (1+ρ)/(1-ρ)/n where n is large
    against the correlation time.
    """
    n, rho = np.asarray(n, dtype=np.float64), np.asarray(rho, dtype=np.float64)
    top = n * (1 - rho**2) - 2 * rho * (1 - rho**n)
    return np.asarray(top / (n * (1 - rho)) ** 2)


@dataclass(frozen=True, slots=True, eq=False)
class SteadyMeans:
    """Means of steady segments: power and its standard uncertainty, W, both of shape (segments,).

    `u_w` holds the scatter with its correlation and the resolution. `correlation_time_s` is the
    integral one, dt (1+ρ)/(1-ρ); `quantisation_w` is the part of `u_w` common to one level.
    """

    power_w: Floats
    u_w: Floats
    correlation_time_s: float
    quantisation_w: float


def steady_means(
    segments: Sequence[Floats] | Floats,
    *,
    cadence_s: float = 1.0,
    resolution_w: float = 0.0,
) -> SteadyMeans:
    """Return the mean of each steady segment with its standard uncertainty.

    `segments` are the readings (W) of each segment, `cadence_s` apart; an array holds one in each
    row. With r the readings less
    their segment's mean, the autocorrelation ρ is that for which the expectation of
    Σ r_t r_{t+1} / Σ r_t² equals what was found, over segments of just these lengths: the usual
    ratio is biased low by the removal of the means, by 0.1 at ρ = 0.97 and 50 readings. σ² follows
    from E[Σ r²] = σ² Σ n (1 - v(n, ρ)) and u² = σ² v(n, ρ), v as in `mean_variance`. Segments of
    ten readings or more use their own scatter where they differ among one another in it. What the
    resolution leaves comes from `analysis.rounding.left_by_rounding`.

    A correlation time beyond the segments' own length cannot be told from a drift; it is cut there.
    """
    count, power, own, products = _about_their_means(segments)
    total = float(own.sum())
    readings = float(count.sum())
    lengths = tuple(sorted(Counter(count.tolist()).items()))
    q = resolution_w
    sigma = before_rounding(math.sqrt(total / max(readings - count.size, 1.0)), q)
    # Rounding that the noise dithers is white: it is in Σ r² but not in the products.
    white = q * q / 12 * (readings - count.size) if sigma > 0.4 * q else 0.0
    ratio = products / (total - white) if total > white else 0.0
    rho = _rho(ratio, lengths)
    rho = min(rho, math.exp(-1.0 / max(sorted(count.tolist())[count.size // 2], 2.0)))
    v = mean_variance(count, rho)
    freedom = count * (1 - v)
    slow = max(total - white, 0.0) / max(float(freedom.sum()), 1e-300)
    variance = np.full(count.size, slow)
    if float(count.min()) >= 10 and float(freedom.min()) >= 5 and _unequal(own, freedom):
        variance = np.maximum(own - white * count / readings, 0.0) / freedom
    common = left_by_rounding(power, own == 0, 1 / v, sigma, q)
    u = np.sqrt(variance * v + (q * q / 12 if white else 0.0) / count + common**2)
    return SteadyMeans(power, u, cadence_s * (1 + rho) / (1 - rho), common)


def _about_their_means(
    segments: Sequence[Floats] | Floats,
) -> tuple[Floats, Floats, Floats, float]:
    """Return the lengths, the means, Σ r² of each and Σ r_t r_{t+1} of all segments."""
    if isinstance(segments, np.ndarray) or len({s.size for s in segments}) == 1:
        block = np.asarray(segments)
        power = block.mean(axis=1)
        residual = block - power[:, None]
        own = np.einsum("ij,ij->i", residual, residual)
        products = float(np.einsum("ij,ij->", residual[:, 1:], residual[:, :-1]))
        return np.full(power.size, float(block.shape[1])), power, own, products
    power = np.array([float(s.mean()) for s in segments])
    pieces = [s - p for s, p in zip(segments, power, strict=True)]
    own = np.array([float(r @ r) for r in pieces])
    count = np.array([float(s.size) for s in segments])
    return count, power, own, sum(float(r[1:] @ r[:-1]) for r in pieces)


def _unequal(own: Floats, freedom: Floats) -> bool:
    """Whether segments differ in scatter (Bartlett's idea, a generous limit: a ratio of ten)."""
    scatter = np.sort(own / freedom)
    return bool(scatter[-1] > 10 * max(float(scatter[scatter.size // 2]), 1e-300))


@lru_cache(maxsize=256)
def _ratios(lengths: tuple[tuple[float, int], ...]) -> tuple[Floats, Floats]:
    """Return ρ and the expected lag-1 ratio of residuals about means of segments so long.

    E[Σ r_t r_{t+1}] = σ² [(n-1) ρ - (n+1) v + 2 (1-ρⁿ)/(n (1-ρ))] for one segment of n readings.
    """
    rho = 1 - np.logspace(0, math.log10(1 - _MOST_RHO), _GRID)
    rho = np.concatenate([np.linspace(-0.5, -0.005, 60), rho])
    top, bottom = np.zeros(rho.size), np.zeros(rho.size)
    for n, times in lengths:
        if n < 2:
            continue
        v = mean_variance(n, rho)
        top += times * ((n - 1) * rho - (n + 1) * v + 2 * (1 - rho**n) / (n * (1 - rho)))
        bottom += times * n * (1 - v)
    return rho, np.divide(top, bottom, out=np.zeros(rho.size), where=bottom > 0)


def _rho(ratio: float, lengths: tuple[tuple[float, int], ...]) -> float:
    rho, expected = _ratios(lengths)
    if not np.any(np.diff(expected) > 0):
        return 0.0
    return max(float(np.interp(ratio, np.maximum.accumulate(expected), rho)), 0.0)


@dataclass(frozen=True, slots=True, eq=False)
class Dependence:
    """What points share: when they were taken, how slow the noise is, the step of the meter.

    `start_s`, `duration_s` have shape (n,); `session` holds n labels: sessions are independent.
    `correlation_time_s` is the integral correlation time, None where it must be found from the
    points; `quantisation_w` is the standard uncertainty that points of one level share, of shape
    (n,), and `resolution_w` the step itself. `inputs_u` holds the standard uncertainty of an
    input's means, in the input's unit, shape (n,), where it is known.
    """

    start_s: Floats
    duration_s: Floats
    session: tuple[str, ...]
    correlation_time_s: float | None
    quantisation_w: Floats
    resolution_w: float
    inputs_u: Mapping[str, Floats] = field(default_factory=dict)

    def select(self, keep: npt.NDArray[np.bool_]) -> Dependence:
        """Return what the points for which `keep` is true share."""
        return Dependence(
            start_s=self.start_s[keep],
            duration_s=self.duration_s[keep],
            session=tuple(s for s, k in zip(self.session, keep.tolist(), strict=True) if k),
            correlation_time_s=self.correlation_time_s,
            quantisation_w=self.quantisation_w[keep],
            resolution_w=self.resolution_w,
            inputs_u={k: u[keep] for k, u in self.inputs_u.items()},
        )

    def in_time(self, correlation_time_s: float) -> Floats:
        """Return the correlations of the points' means, shape (n, n).

        For an Ornstein-Uhlenbeck process of time constant T = τ/2, two windows of lengths D and E
        with a gap g between them have cov = T² (1-e^{-D/T}) (1-e^{-E/T}) e^{-g/T}/(D E), and a
        single one var = 2 T²/D² (D/T - 1 + e^{-D/T}).
        """
        t = max(0.5 * correlation_time_s, 1e-9)
        d = self.duration_s / t
        spread = np.sqrt(2 * (d - 1 + np.exp(-d)))
        end = self.start_s + self.duration_s
        gap = np.maximum(self.start_s[None, :] - end[:, None], self.start_s[:, None] - end[None, :])
        part = (1 - np.exp(-d)) / spread
        found = part[:, None] * part[None, :] * np.exp(-np.maximum(gap, 0.0) / t)
        if len(set(self.session)) > 1:
            _, label = np.unique(np.array(self.session), return_inverse=True)
            found[label[:, None] != label[None, :]] = 0.0
        np.fill_diagonal(found, 1.0)
        return np.asarray(found)

    def averaging_time(self, correlation_time_s: float) -> float:
        """Return the time over which the noise of a point averages out, s.

        A point's own u² is that of a mean over its length D; over a long time t the variance of the
        mean is u² τ/t with τ = D / (1 - T/D (1-e^{-D/T})): D itself where the noise is fast.
        """
        d = float(np.sort(self.duration_s)[self.duration_s.size // 2])
        t = max(0.5 * correlation_time_s, 1e-9)
        return d / (1 - t / d * (1 - math.exp(-d / t)))

    def quantisation_dof(self, power_w: Floats) -> float:
        """Return the degrees of freedom of `quantisation_w`, infinite where it is all of q/√12.

        Where noise takes part of the rounding away, how much is left was seen at as many levels as
        there are counts m among the points' powers (W). A mean of m squares of rectangular errors
        has the relative variance 0.8/m, and dof = 2/that (GUM G.3.3).
        """
        whole_w = 0.999 * self.resolution_w / math.sqrt(12)
        if self.resolution_w <= 0 or float(self.quantisation_w.min()) >= whole_w:
            return math.inf
        return 2.5 * float(np.unique(np.rint(power_w / self.resolution_w)).size)

    def in_level(self, design: Floats, line: LeastSquares, own2: Floats) -> Floats:
        """Return the correlations of rounding to q between points on a fitted line, (n, n).

        The rounding error is a sawtooth of the power, smoothed by the noise: two powers δ apart
        share it to Σ_k h_k cos(2π k δ/q) with the weights of `analysis.rounding.harmonics`, and
        where δ is known to u_δ only, each term is worth exp(-2 π² k² u_δ²/q²) of that. Points of
        one level share it wholly, distant ones not at all. `own2` is the variance of each point's
        own noise, W², (n,), of which the line is as uncertain as of the rounding.
        """
        n = self.start_s.size
        if self.resolution_w <= 0:
            return np.eye(n)
        power = design @ line.coefficients
        apart = power[:, None] - power[None, :]
        # The line's own uncertainty, with rounding shared by what lies within half a step.
        near = np.maximum(1 - np.abs(apart) / (0.5 * self.resolution_w), 0.0)
        solver = np.linalg.pinv(design)
        u2 = float(np.mean(self.quantisation_w**2))
        spread = design @ solver @ (u2 * near + np.diag(own2)) @ solver.T @ design.T
        apart = apart * (2 * np.pi / self.resolution_w)
        own = np.diag(spread)
        blur = (own[:, None] + own[None, :] - 2 * spread) * (2 * np.pi / self.resolution_w) ** 2
        blur = np.maximum(blur, 0.0)
        found = np.zeros((n, n))
        weights = harmonics(math.sqrt(u2), self.resolution_w, self.quantisation_dof(power))
        for k, weight in enumerate(weights.tolist(), start=1):
            if weight > 1e-4:
                found += weight * np.cos(k * apart) * np.exp(-0.5 * k * k * blur)
        return found


def dependence_of(points: Points) -> Dependence | None:
    """Return what the points share, or None where nothing is known of it.

    Windows cut from an unmarked recording are left out: what they share is the work they ran.
    """
    if points.blocks or points.n > _MOST_POINTS:
        return None
    meter = points.reference
    known = np.all(np.isfinite(points.start_unix_s)) and np.all(points.duration_s > 0)
    q = (meter.resolution_w or 0.0) if meter is not None else 0.0
    left = points.quantisation_w
    quantised = np.full(points.n, q / math.sqrt(12))
    if left is not None:
        quantised = np.where(np.isnan(left), quantised, left)
        q = q or math.sqrt(12) * float(quantised.max())  # a step cannot be finer than that
    times = points.correlation_time_s
    time_s = None
    if times is not None and not np.any(np.isnan(times)):
        time_s = float(np.median(times))
    if not known:
        time_s = 0.0
    start = points.start_unix_s if known else np.arange(points.n) * 1e9
    return Dependence(
        start_s=np.asarray(start - float(start.min()), dtype=np.float64),
        duration_s=points.duration_s,
        session=points.session,
        correlation_time_s=time_s,
        quantisation_w=quantised,
        resolution_w=q,
        inputs_u={k: c.u for k, c in points.inputs.items() if c.u is not None},
    )


# The covariance of the points is a full matrix: beyond this many its factorisation costs seconds.
_MOST_POINTS = 600
