"""The straight line with uncertainties in both variables, correlated or not.

York, Evensen, Martínez and De Basabe Delgado, Am. J. Phys. 72 (2004) 367. Written with variances
instead of weights, so that either uncertainty may be zero.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from ..errors import FitError, InputError
from .linear import finite
from .straight import StraightLine

__all__ = ["york"]

Floats = npt.NDArray[np.float64]
_BLOCK = 8192  # four arrays of it stay in the second-level cache
_SMALL = 2048
_STEPS = 500


def york(
    x: npt.ArrayLike,
    y: npt.ArrayLike,
    u_x: npt.ArrayLike,
    u_y: npt.ArrayLike,
    correlation: npt.ArrayLike = 0.0,
) -> StraightLine:
    """Fit a straight line to points with uncertain x and y.

        W = 1/(u_y² + b²u_x² - 2 b r u_x u_y)    X̄, Ȳ: W-weighted means    U = X - X̄, V = Y - Ȳ
        β = W [U u_y² + bV u_x² - (bU + V) r u_x u_y]    b ← ΣWβV / ΣWβU    a = Ȳ - b X̄
        adjusted x = X̄ + β, x̄ their mean:  u_b² = 1/ΣW(x - x̄)²  u_a² = 1/ΣW + x̄²u_b²  cov = -x̄u_b²

    `x` and `y` have shape (n,); `u_x`, `u_y` (standard uncertainties in the units of x and y,
    absolute, never rescaled) and `correlation` (between the errors of one point) (n,) or scalar.
    Uncertainties are evaluated at the adjusted points, as York 2004 does.

    Raises:
        InputError: shapes that do not fit, negative or non-finite values, both u zero at a point.
        FitError: fewer than two points, all at one x, or no convergence.

    """
    x, y = finite("x", x), finite("y", y)
    if x.ndim != 1 or y.shape != x.shape:
        raise InputError(f"Expected x and y of one shape (n,); got {x.shape} and {y.shape}.")
    n = x.size
    if n < 2:
        raise FitError(f"Expected at least 2 points for a straight line; got {n}.")
    u_x, u_y, r = (_spread(*item, n) for item in (("u_x", u_x), ("u_y", u_y), ("r", correlation)))
    if np.any(u_x < 0) or np.any(u_y < 0) or np.any(np.abs(r) >= 1):
        raise InputError("Expected u_x and u_y of zero or more and correlations inside ±1.")
    if np.any((u_x == 0) & (u_y == 0)):
        raise InputError("Expected an uncertainty of x or y at every point; got a point with none.")
    problem = _Problem(x, y, u_x, u_y, r)
    slope, steps = _iterate(problem, _first_slope(x, y, u_x, u_y))
    return problem.line(slope, steps)


def _spread(name: str, values: npt.ArrayLike, n: int) -> Floats:
    """Return a scalar as a view of n equal values, an array as it is."""
    array = finite(name, values)
    return np.broadcast_to(array, (n,)) if array.ndim == 0 else finite(name, array, (n,))


def _dot(a: Floats, b: Floats) -> float:
    """Return Σab: correctly summed for small n, by BLAS over a block for large."""
    if a.size <= _SMALL:
        return math.fsum((a * b).tolist())
    return float(a @ b)


def _first_slope(x: Floats, y: Floats, u_x: Floats, u_y: Floats) -> float:
    """Return the least-squares slope of a few thousand points; the iteration does the rest."""
    some = slice(None, None, max(1, x.size // 4096))
    x, y, u_x, u_y = x[some], y[some], u_x[some], u_y[some]
    dx, dy = x - x.mean(), y - y.mean()
    sxx, syy = float(dx @ dx), float(dy @ dy)
    if not sxx > 0:
        raise FitError("Expected points at different x; got one x only.")
    if not np.any(u_x > 0):
        return float(dx @ dy) / sxx
    ratio = float(np.mean(u_y**2)) / float(np.mean(u_x**2))  # Deming with the mean variances
    sxy = float(dx @ dy)
    if sxy == 0:
        return 0.0
    difference = syy - ratio * sxx
    return (difference + math.sqrt(difference**2 + 4 * ratio * sxy**2)) / (2 * sxy)


class _Problem:
    """The points of one fit, walked through in blocks that stay in cache."""

    def __init__(self, x: Floats, y: Floats, u_x: Floats, u_y: Floats, r: Floats) -> None:
        self.n = x.size
        self.correlated = bool(np.any(r != 0))
        # Shifting by a typical point keeps sums of large numbers out of the means.
        self.x0, self.y0 = float(x[:: max(1, x.size // 64)].mean()), float(y[0])
        self.x, self.y, self.u_x, self.u_y, self.r = x, y, u_x, u_y, r
        self.weight = np.empty(self.n)
        self.blocks = [slice(i, i + _BLOCK) for i in range(0, self.n, _BLOCK)]

    def _means(self, b: float) -> tuple[float, float, float]:
        """Return ΣW and the W-weighted means of x - x0 and y - y0."""
        total, sum_x, sum_y = [], [], []
        for k in self.blocks:
            vx, vy = self.u_x[k] * self.u_x[k], self.u_y[k] * self.u_y[k]
            w = vx * (b * b) + vy
            if self.correlated:
                w -= 2 * b * self.r[k] * self.u_x[k] * self.u_y[k]
            np.divide(1.0, w, out=w)
            self.weight[k] = w
            total.append(_dot(w, np.ones_like(w)))
            sum_x.append(_dot(w, self.x[k] - self.x0))
            sum_y.append(_dot(w, self.y[k] - self.y0))
        weight = math.fsum(total)
        return weight, math.fsum(sum_x) / weight, math.fsum(sum_y) / weight

    def _beta(self, k: slice, b: float, mean_x: float, mean_y: float) -> tuple[Floats, ...]:
        """Return U, V and β of one block."""
        u, v = self.x[k] - (self.x0 + mean_x), self.y[k] - (self.y0 + mean_y)
        vx, vy = self.u_x[k] * self.u_x[k], self.u_y[k] * self.u_y[k]
        beta = u * vy + (b * v) * vx
        if self.correlated:
            beta -= (b * u + v) * (self.r[k] * self.u_x[k] * self.u_y[k])
        beta *= self.weight[k]
        return u, v, beta

    def step(self, b: float) -> float:
        """Return the next slope."""
        _, mean_x, mean_y = self._means(b)
        over, under = [], []
        for k in self.blocks:
            u, v, beta = self._beta(k, b, mean_x, mean_y)
            beta *= self.weight[k]
            over.append(_dot(beta, v))
            under.append(_dot(beta, u))
        denominator = math.fsum(under)
        if denominator == 0:
            raise FitError("Expected points that show a slope; x and y are not related.")
        return math.fsum(over) / denominator

    def line(self, b: float, steps: int) -> StraightLine:
        """Return the line at the converged slope, its uncertainties at the adjusted points."""
        total, mean_x, mean_y = self._means(b)
        sum_beta, chi_squared = [], []
        for k in self.blocks:
            u, v, beta = self._beta(k, b, mean_x, mean_y)
            residual = v - b * u
            sum_beta.append(_dot(self.weight[k], beta))
            chi_squared.append(_dot(self.weight[k] * residual, residual))
        mean_beta = math.fsum(sum_beta) / total
        spread = []
        for k in self.blocks:
            beta = self._beta(k, b, mean_x, mean_y)[2] - mean_beta
            spread.append(_dot(self.weight[k] * beta, beta))
        sxx = math.fsum(spread)
        if not sxx > 0:
            raise FitError("Expected points at different x; the adjusted points have one x only.")
        u2_slope = 1.0 / sxx
        adjusted = self.x0 + mean_x + mean_beta
        return StraightLine(
            intercept=self.y0 + mean_y - b * (self.x0 + mean_x),
            slope=b,
            u_intercept=math.sqrt(1.0 / total + adjusted**2 * u2_slope),
            u_slope=math.sqrt(u2_slope),
            covariance=-adjusted * u2_slope,
            chi_squared=math.fsum(chi_squared),
            dof=self.n - 2,
            absolute=True,
            method="york",
            iterations=steps,
        )


def _iterate(problem: _Problem, b: float) -> tuple[float, int]:
    """Repeat York's step until the slope stays, or wavers in its last bits."""
    previous = math.inf
    for steps in range(1, _STEPS + 1):
        following = problem.step(b)
        change = abs(following - b)
        b = following
        small = change <= 1e-13 * abs(b)
        if change <= 1e-15 * abs(b) or (small and change >= previous):
            return b, steps
        previous = change
    raise FitError(
        f"The fit with uncertainties in both variables did not converge in {_STEPS} steps; it "
        f"stands at a slope of {b:.6g}. Check u_x and u_y, or measure over a wider range."
    )
