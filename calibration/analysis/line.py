"""Least squares for calibration functions: orthogonal factorisation, never the normal equations.

Columns are centred where there is an intercept and scaled by powers of two (exact in binary), then
solved by Householder QR (Golub and Van Loan, Matrix Computations, section 5.3).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..errors import FitError

__all__ = ["LeastSquares", "StraightLine", "least_squares", "straight_line"]

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class LeastSquares:
    """Coefficients (p,), their covariance (p, p), residuals (n,), χ² and dof.

    With weights 1/u² the covariance is absolute; without any it is scaled by the residual variance.
    `condition` is that of the scaled design.
    """

    coefficients: Floats
    covariance: Floats
    residuals: Floats
    chi_squared: float
    dof: int
    condition: float

    @property
    def standard_errors(self) -> Floats:
        """Return the standard uncertainty of each coefficient."""
        return np.asarray(np.sqrt(np.diag(self.covariance)))


def least_squares(design: Floats, y: Floats, u_y: Floats | None = None) -> LeastSquares:
    """Solve the linear model y = design @ b by QR.

    `design` has shape (n, p), `y` and `u_y` (n,); `u_y` are absolute standard uncertainties and are
    never rescaled. Without them the variance comes from the residuals, RSS/(n - p).

    Raises:
        FitError: there are fewer rows than columns, or the columns are linearly dependent.

    """
    design, y = np.asarray(design, dtype=np.float64), np.asarray(y, dtype=np.float64)
    n, p = design.shape
    if n < p:
        raise FitError(f"Expected at least {p} points for {p} coefficients; got {n}.")
    weight = np.ones(n) if u_y is None else 1.0 / np.asarray(u_y, dtype=np.float64)
    weighted = design * weight[:, None]
    norm = np.sqrt(np.sum(weighted**2, axis=0))
    if not np.all(norm > 0):
        raise FitError("Expected inputs that vary; got a column of zeros.")
    scale = np.exp2(np.rint(np.log2(norm)))
    q, r = np.linalg.qr(weighted / scale)
    condition = float(np.linalg.cond(r))
    if not condition < 1e12:
        raise FitError(
            f"Expected independent inputs; got columns that are linearly dependent (condition "
            f"{condition:.1g}). Leave one input out, or vary the load more."
        )
    scaled = np.linalg.solve(r, q.T @ (y * weight))
    # One step of refinement recovers the digits that forming q.T @ y has lost.
    scaled = scaled + np.linalg.solve(r, q.T @ ((y - design @ (scaled / scale)) * weight))
    coefficients = scaled / scale
    residuals = y - design @ coefficients
    chi_squared = float(np.sum((residuals * weight) ** 2))
    inverse = np.linalg.solve(r, np.eye(p)) / scale[:, None]
    covariance = inverse @ inverse.T
    if u_y is None:
        covariance = covariance * (chi_squared / (n - p) if n > p else np.nan)
    return LeastSquares(coefficients, covariance, residuals, chi_squared, n - p, condition)


@dataclass(frozen=True, slots=True, eq=False)
class StraightLine:
    """y = intercept + slope·x, with standard uncertainties and their covariance."""

    intercept: float
    slope: float
    u_intercept: float
    u_slope: float
    covariance: float
    chi_squared: float
    dof: int

    def predict(self, x: float, u_x: float = 0.0) -> tuple[float, float]:
        """Return y and u(y) at x (ISO/TS 28037:2010, section 11.2)."""
        variance = (
            self.u_intercept**2
            + x * x * self.u_slope**2
            + 2 * x * self.covariance
            + self.slope**2 * u_x**2
        )
        return self.intercept + self.slope * x, float(np.sqrt(variance))

    def inverse(self, y: float, u_y: float = 0.0) -> tuple[float, float]:
        """Return x and u(x) for an observed y (ISO/TS 28037:2010, section 11.1)."""
        x = (y - self.intercept) / self.slope
        variance = u_y**2 + self.u_intercept**2 + x * x * self.u_slope**2 + 2 * x * self.covariance
        return x, float(np.sqrt(variance) / abs(self.slope))


def straight_line(x: Floats, y: Floats, u_y: Floats | None = None) -> StraightLine:
    """Fit a straight line by (weighted) least squares, centred (ISO/TS 28037:2010, section 6).

    `x`, `y`, `u_y` have shape (n,). `u_y` are absolute and never rescaled; without them they come
    from the residual scatter, RSS/(n - 2).

    Raises:
        FitError: fewer than two points (three without `u_y`), or all at one x.

    """
    x, y = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    least = 2 if u_y is not None else 3
    if x.size < least:
        raise FitError(f"Expected at least {least} points for a straight line; got {x.size}.")
    weight = np.ones(x.size) if u_y is None else 1.0 / np.asarray(u_y, dtype=np.float64) ** 2
    total = float(np.sum(weight))
    centre_x, centre_y = float(weight @ x) / total, float(weight @ y) / total
    dx, dy = x - centre_x, y - centre_y
    sxx = float(weight @ (dx * dx))
    if not sxx > 0:
        raise FitError("Expected points at different x; got one x only.")
    slope = float(weight @ (dx * dy)) / sxx
    residual = dy - slope * dx
    chi_squared = float(weight @ (residual * residual))
    variance = 1.0 if u_y is not None else chi_squared / (x.size - 2)
    u2_slope = variance / sxx
    u2_intercept = variance / total + centre_x**2 * u2_slope
    return StraightLine(
        intercept=centre_y - slope * centre_x,
        slope=slope,
        u_intercept=float(np.sqrt(u2_intercept)),
        u_slope=float(np.sqrt(u2_slope)),
        covariance=-centre_x * u2_slope,
        chi_squared=chi_squared,
        dof=x.size - 2,
    )
