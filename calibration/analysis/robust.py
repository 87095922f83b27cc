"""Two fits for points that a line does not describe: outliers, and a knee.

Outliers are rare wrong points. Structure, such as a lagging meter, looks like them and is not: a
robust fit hides it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..errors import FitError, InputError
from .linear import LeastSquares, finite, least_squares, weights
from .straight import StraightLine

__all__ = ["Hinge", "RobustLine", "hinge", "robust_line"]

Floats = npt.NDArray[np.float64]
HUBER_K = 1.345  # 95 % efficiency at the normal distribution (Huber, Robust Statistics, 1981)
_MAD = 0.6744897501960817  # the normal distribution's upper quartile
_STEPS = 100


@dataclass(frozen=True, slots=True, eq=False)
class RobustLine:
    """A line, the weight of each point (n,) in it (1: full; small: an outlier), and the scale.

    `scale` is the standard deviation of the good points, from the median absolute deviation.
    """

    line: StraightLine
    weight: Floats
    scale: float


def robust_line(x: npt.ArrayLike, y: npt.ArrayLike, *, k: float = HUBER_K) -> RobustLine:
    """Fit a straight line with Huber's weights, repeated until it stays.

        s = median|r|/0.6745    w = min(1, k s/|r|)    b, a ← weighted least squares
        cov = K² · [Σψ²/(n - 2)]/m² · (XᵀX)⁻¹,  ψ = min(max(r, -k s), k s),  m = share of |r| < k s,
        K = 1 + (2/n)(1 - m)/m

    `x`, `y` have shape (n,). With more than half of the points on the line exactly, the scale is
    zero and that line is the answer. Source: Huber, Robust Statistics (1981), sections 7.6, 7.8.

    Raises:
        InputError: shapes that do not fit, values that are not finite.
        FitError: fewer than three points, all at one x, or no convergence.

    """
    x = finite("x", x)
    if x.ndim != 1:
        raise InputError(f"x: expected shape (n,); got {x.shape}.")
    y = finite("y", y, x.shape)
    n = x.size
    if n < 3:
        raise FitError(f"Expected at least 3 points for a straight line; got {n}.")
    centre = float(x.mean())
    d = x - centre
    if not np.any(d != d[0]):
        raise FitError("Expected points at different x; got one x only.")
    a, b = _weighted(d, y, np.ones(n))
    size = float(np.max(np.abs(y))) or 1.0
    steps = 0
    while steps < _STEPS:
        steps += 1
        residual = y - (a + b * d)
        scale = float(np.median(np.abs(residual))) / _MAD
        w = np.minimum(1.0, k * scale / np.maximum(np.abs(residual), 1e-300))
        if scale <= 1e-14 * size:
            w = (np.abs(residual) <= 1e-12 * size).astype(np.float64)
        before = a, b
        a, b = _weighted(d, y, w)
        moved = abs(a - before[0]) + abs(b - before[1]) * float(np.max(np.abs(d)))
        if moved <= 1e-10 * scale or moved <= 1e-14 * size:
            break
    else:
        raise FitError(
            f"The robust fit did not converge in {_STEPS} steps. Look at the points: a robust fit "
            "is for few outliers."
        )
    residual = y - (a + b * d)
    inside = float(np.mean(np.abs(residual) <= k * scale)) or 1.0 / n
    psi = np.clip(residual, -k * scale, k * scale)
    factor = (1 + 2 * (1 - inside) / (n * inside)) / inside
    variance = factor**2 * float(psi @ psi) / (n - 2)
    sxx, mean = float(d @ d), float(d.mean())
    u2_slope = variance / sxx
    x0 = centre + mean
    line = StraightLine(
        intercept=a - b * centre,
        slope=b,
        u_intercept=math.sqrt(variance / n + x0**2 * u2_slope),
        u_slope=math.sqrt(u2_slope),
        covariance=-x0 * u2_slope,
        chi_squared=float(w @ residual**2),
        dof=n - 2,
        absolute=False,
        method="huber",
        iterations=steps,
    )
    return RobustLine(line, w, scale)


def _weighted(d: Floats, y: Floats, w: Floats) -> tuple[float, float]:
    """Return intercept and slope of the weighted line, by centred sums."""
    total = float(w.sum())
    mean_d, mean_y = float(w @ d) / total, float(w @ y) / total
    dd = d - mean_d
    wdd = w * dd
    sxx = float(wdd @ dd)
    if not sxx > 0:
        raise FitError("Expected the points that agree to lie at different x; they do not.")
    slope = float(wdd @ (y - mean_y)) / sxx
    return mean_y - slope * mean_d, slope


@dataclass(frozen=True, slots=True, eq=False)
class Hinge:
    """y = b0 + b1·x + b2·max(x - knot, 0): the fit of the three coefficients, and the knot.

    `fit.covariance` holds for that knot; `fit.dof` counts it as a parameter where it was searched.
    """

    knot: float
    fit: LeastSquares

    def predict(self, x: npt.ArrayLike) -> Floats:
        """Return y at x, in the shape of x."""
        x = finite("x", x)
        b0, b1, b2 = self.fit.coefficients
        return np.asarray(b0 + b1 * x + b2 * np.maximum(x - self.knot, 0.0))


def hinge(
    x: npt.ArrayLike,
    y: npt.ArrayLike,
    knot: float | None = None,
    u_y: npt.ArrayLike | None = None,
) -> Hinge:
    """Fit two straight lines that meet at a knot.

    `x`, `y` have shape (n,), `u_y` (n,) or scalar, absolute. Without `knot` (unit of x) the one of
    least χ² is taken from the observed x that leave two different x on both sides. Source: Hudson,
    J. Am. Stat. Assoc. 61 (1966) 1097.

    Raises:
        InputError: shapes that do not fit, values that are not finite, a knot outside the x.
        FitError: fewer than five different x to search a knot in, three to fit a given one.

    """
    x = finite("x", x)
    if x.ndim != 1:
        raise InputError(f"x: expected shape (n,); got {x.shape}.")
    y = finite("y", y, x.shape)
    u = None if u_y is None else weights(u_y, x.size)
    different = np.unique(x)
    if knot is not None:
        if not different[0] < knot < different[-1]:
            raise InputError(
                f"knot: expected a value between {different[0]:g} and {different[-1]:g}; got "
                f"{knot:g}."
            )
        return Hinge(knot, least_squares(_bent(x, knot), y, u))
    if different.size < 5:
        raise FitError(f"Expected at least 5 different x to find a knot; got {different.size}.")
    candidates = different[2:-2]
    if candidates.size > 200:  # a finer search than the points can tell apart
        candidates = np.quantile(candidates, np.linspace(0, 1, 200))
    squares = [least_squares(_bent(x, c), y, u, method="fast").chi_squared for c in candidates]
    best = float(candidates[int(np.argmin(squares))])
    fit = least_squares(_bent(x, best), y, u)
    dof = fit.dof - 1
    covariance = fit.covariance
    if u is None:
        covariance = covariance * (fit.dof / dof if dof > 0 else math.nan)
    return Hinge(
        best,
        LeastSquares(
            coefficients=fit.coefficients,
            covariance=covariance,
            residuals=fit.residuals,
            chi_squared=fit.chi_squared,
            dof=dof,
            condition=fit.condition,
            digits=fit.digits,
        ),
    )


def _bent(x: Floats, knot: float) -> Floats:
    return np.column_stack([np.ones_like(x), x, np.maximum(x - knot, 0.0)])
