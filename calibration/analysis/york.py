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
    x, y = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    if x.ndim != 1 or y.shape != x.shape:
        raise InputError(f"Expected x and y of one shape (n,); got {x.shape} and {y.shape}.")
    n = x.size
    if n < 2:
        raise FitError(f"Expected at least 2 points for a straight line; got {n}.")
    u_x, u_y, r = (np.asarray(values, dtype=np.float64) for values in (u_x, u_y, correlation))
    for name, values in (("u_x", u_x), ("u_y", u_y), ("correlation", r)):
        if values.shape not in ((), (n,)):
            raise InputError(f"{name}: expected shape () or ({n},); got {values.shape}.")
    if not (u_x.min() >= 0 and u_y.min() >= 0 and r.min() > -1 and r.max() < 1):
        raise InputError("Expected finite u_x and u_y of zero or more and correlations inside ±1.")
    if (u_x.min() == 0 or u_y.min() == 0) and np.any((u_x == 0) & (u_y == 0)):
        raise InputError("Expected an uncertainty of x or y at every point; got a point with none.")
    u_x, u_y, r = (np.broadcast_to(values, (n,)) for values in (u_x, u_y, r))
    problem = _Problem(x, y, u_x, u_y, r)
    with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
        slope, steps = _iterate(problem, _first_slope(x, y, u_x, u_y))
    if not math.isfinite(slope):  # only now look at a million values one by one
        for name, values in (("x", x), ("y", y), ("u_x", u_x), ("u_y", u_y)):
            finite(name, values)
        raise FitError(
            "Expected sums of squares below 1e308; rescale x, y and their uncertainties."
        )
    return problem.line(slope, steps)


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
    if sxx == 0:
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
        self.correlated = bool(np.any(r))
        self.x, self.y, self.u_x, self.u_y, self.r = x, y, u_x, u_y, r
        some = slice(None, None, max(1, x.size // 1024))
        self.mean_x, self.mean_y = float(x[some].mean()), float(y[some].mean())
        self.blocks = [slice(i, i + _BLOCK) for i in range(0, self.n, _BLOCK)]
        self.room = np.empty((6, min(_BLOCK, self.n)))
        self.ones = np.ones(min(_BLOCK, self.n))

    def _block(self, k: slice, b: float) -> tuple[Floats, Floats, Floats, Floats, Floats]:
        """Return W, U, V and β of one block, about the present means, and room for more."""
        size = self.x[k].size
        w, u, v, beta, vx, spare = self.room[:, :size]
        u_x, u_y = self.u_x[k], self.u_y[k]
        np.subtract(self.x[k], self.mean_x, out=u)
        np.subtract(self.y[k], self.mean_y, out=v)
        np.multiply(u_x, u_x, out=vx)
        np.multiply(u_y, u_y, out=beta)
        np.multiply(vx, b * b, out=w)
        np.add(w, beta, out=w)
        if self.correlated:
            shared = self.r[k] * u_x * u_y
            w -= 2 * b * shared
        np.divide(1.0, w, out=w)
        np.multiply(beta, u, out=beta)
        np.multiply(vx, v, out=vx)
        np.multiply(vx, b, out=vx)
        np.add(beta, vx, out=beta)
        if self.correlated:
            beta -= (b * u + v) * shared
        np.multiply(beta, w, out=beta)
        return w, u, v, beta, spare

    def step(self, b: float) -> float:
        """Return the next slope; take the means along, one step behind it.

        With the means of the step before, one pass does; both arrive at York's fixed point.
        """
        found = []
        for k in self.blocks:
            w, u, v, beta, spare = self._block(k, b)
            one = self.ones[: w.size]
            np.multiply(w, beta, out=spare)
            found.append((_dot(w, one), _dot(w, u), _dot(w, v), _dot(spare, v), _dot(spare, u)))
        total, sum_u, sum_v, over, under = (math.fsum(row) for row in zip(*found, strict=True))
        if under == 0:
            raise FitError("Expected points that show a slope; x and y are not related.")
        self.mean_x += sum_u / total
        self.mean_y += sum_v / total
        return over / under

    def line(self, b: float, steps: int) -> StraightLine:
        """Return the line at the converged slope, its uncertainties at the adjusted points."""
        found = []
        for k in self.blocks:
            w, u, v, beta, spare = self._block(k, b)
            one = self.ones[: w.size]
            np.multiply(u, b, out=u)
            np.subtract(v, u, out=v)  # the residual
            sums = (_dot(w, one), _dot(w, beta), _dot(w, v))
            np.multiply(w, beta, out=spare)
            np.multiply(w, v, out=w)
            found.append((*sums, _dot(spare, beta), _dot(w, v)))
        total, sum_beta, left, squares, chi_squared = (
            math.fsum(row) for row in zip(*found, strict=True)
        )
        sxx = squares - sum_beta * (sum_beta / total)
        if not sxx > 0:
            raise FitError("Expected points at different x; the adjusted points have one x only.")
        u2_slope = 1.0 / sxx
        adjusted = self.mean_x + sum_beta / total
        return StraightLine(
            intercept=self.mean_y + left / total - b * self.mean_x,
            slope=b,
            u_intercept=math.sqrt(1.0 / total + adjusted**2 * u2_slope),
            u_slope=math.sqrt(u2_slope),
            covariance=-adjusted * u2_slope,
            chi_squared=chi_squared - left * (left / total),
            dof=self.n - 2,
            absolute=True,
            method="york",
            iterations=steps,
        )


def _iterate(problem: _Problem, b: float) -> tuple[float, int]:
    """Repeat York's step until the slope stays, wavers in its last bits, or is not finite."""
    before = math.inf
    for steps in range(1, _STEPS + 1):
        following = problem.step(b)
        change = abs(following - b)
        b = following
        if not math.isfinite(b):
            return b, steps
        # What is still to come, from the rate at which the changes shrink.
        rate = change / before if before > 0 else 0.0
        to_come = change * rate / (1 - rate) if rate < 1 else math.inf
        wavers = change <= 1e-13 * abs(b) and change >= before
        if steps > 2 and (change <= 1e-15 * abs(b) or to_come <= 1e-17 * abs(b) or wavers):
            return b, steps
        before = change
    raise FitError(
        f"The fit with uncertainties in both variables did not converge in {_STEPS} steps; it "
        f"stands at a slope of {b:.6g}. Check u_x and u_y, or measure over a wider range."
    )
