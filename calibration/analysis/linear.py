"""Linear least squares: exact while small, by orthogonal factorisation when large.

The fast path scales columns by powers of two (exact in binary) and solves by Householder QR, never
by the normal equations (Golub and Van Loan, Matrix Computations, section 5.3).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..errors import FitError, InputError
from .exact import ExactFit, column, solve, to_float

__all__ = ["EXACT_COST", "LeastSquares", "exact_result", "finite", "least_squares", "weights"]

Floats = npt.NDArray[np.float64]
# Multiplications of long integers, n·p·(p + 1): some ten milliseconds.
EXACT_COST = 12_000
METHODS = ("auto", "exact", "fast")
CORRECTLY_ROUNDED = 15.0  # decimal digits of a result with one rounding, 2⁻⁵³
_EPSILON = 2.0**-53
# Beyond it the fast path has no digit left to promise; exactly solved, what is left of the answer
# is decided by the last bit of the inputs.
FAST_CONDITION, EXACT_CONDITION = 1e12, 1e15


@dataclass(frozen=True, slots=True, eq=False)
class LeastSquares:
    """Coefficients (p,), their covariance (p, p), residuals (n,), χ² and dof.

    With weights 1/u² the covariance is absolute; without any it is scaled by the residual variance.
    `condition` is that of the scaled design. `digits` are the decimal digits that the arithmetic
    guarantees of every coefficient: 15 when solved exactly, else from the condition number.
    """

    coefficients: Floats
    covariance: Floats
    residuals: Floats
    chi_squared: float
    dof: int
    condition: float
    digits: float = 0.0

    @property
    def standard_errors(self) -> Floats:
        """Return the standard uncertainty of each coefficient."""
        return np.asarray(np.sqrt(np.diag(self.covariance)))


def finite(name: str, values: npt.ArrayLike, shape: tuple[int, ...] | None = None) -> Floats:
    """Return `values` as finite float64 of the given shape (any shape if None).

    Raises:
        InputError: the shape differs, or a value is NaN or infinite.

    """
    array = np.asarray(values, dtype=np.float64)
    if shape is not None and array.shape != shape:
        raise InputError(f"{name}: expected shape {shape}; got {array.shape}.")
    if not np.all(np.isfinite(array)):
        raise InputError(f"{name}: expected finite numbers; got NaN or infinity. Leave them out.")
    return array


def weights(u_y: npt.ArrayLike, n: int) -> Floats:
    """Return standard uncertainties as shape (n,), positive and finite; a scalar holds for all.

    Raises:
        InputError: one is not positive and finite, or the shape is neither () nor (n,).

    """
    u = np.asarray(u_y, dtype=np.float64)
    u = finite("u_y", np.full(n, u) if u.ndim == 0 else u, (n,))
    if not np.all(u > 0):
        raise InputError("u_y: expected positive standard uncertainties; got zero or less.")
    if not (u.min() > 1e-140 and u.max() < 1e140):
        raise InputError("u_y: expected values between 1e-140 and 1e140; rescale y and u_y.")
    return u


def least_squares(
    design: npt.ArrayLike,
    y: npt.ArrayLike,
    u_y: npt.ArrayLike | None = None,
    *,
    method: str = "auto",
) -> LeastSquares:
    """Solve the linear model y = design @ b by least squares.

        b = argmin Σ ((y_i - Σ_j a_ij b_j)/u_i)²    cov(b) = (AᵀWA)⁻¹, W = diag(1/u²)

    `design` has shape (n, p), `y` (n,), `u_y` (n,) or a scalar, in the unit of y: absolute standard
    uncertainties that are never rescaled. Without them cov(b) is scaled by the residual variance
    RSS/(n - p); it is NaN when n = p. `method` is `exact` (integer arithmetic, each result rounded
    once), `fast` (QR, for many solves or rows) or `auto`: exact up to n·p·(p + 1) = 12,000.

    Sources: ISO/TS 28037:2010, section 6; GUM (JCGM 100), H.3; see `analysis.exact` for `exact`.

    Raises:
        InputError: shapes that do not fit, values that are not finite, an unknown method.
        FitError: there are fewer rows than columns, or the columns are linearly dependent.

    """
    design = finite("design", design)
    if design.ndim != 2:
        raise InputError(f"design: expected shape (n, p); got {design.shape}.")
    n, p = design.shape
    y = finite("y", y, (n,))
    if n < p:
        raise FitError(f"Expected at least {p} points for {p} coefficients; got {n}.")
    if method not in METHODS:
        raise InputError(f"method: expected one of {', '.join(METHODS)}; got {method!r}.")
    u = None if u_y is None else weights(u_y, n)
    if method == "exact" or (method == "auto" and design.size * (p + 1) <= EXACT_COST):
        return _exact(design, y, u)
    return _fast(design, y, u)


def _exact(design: Floats, y: Floats, u_y: Floats | None) -> LeastSquares:
    condition = _condition(_scaled(design if u_y is None else design / u_y[:, None])[0])
    found = None
    if condition <= EXACT_CONDITION:
        weight = None if u_y is None else column(1.0 / u_y**2)
        found = solve([column(c) for c in design.T], column(y), weight)
    if found is None:
        raise _dependent(condition)
    return exact_result(found, condition, absolute=u_y is not None)


def exact_result(found: ExactFit, condition: float, *, absolute: bool) -> LeastSquares:
    """Round a rational solution once; without absolute uncertainties scale by RSS/(n - p)."""
    p, n = len(found.coefficients), found.residuals.size
    try:
        inverse = np.array([[to_float(v) for v in row] for row in found.inverse])
        chi_squared = to_float(found.chi_squared)
        coefficients = np.array([to_float(b) for b in found.coefficients])
    except OverflowError as error:
        raise InputError("Expected results below 1e308; rescale the inputs or y.") from error
    if not absolute:
        inverse = inverse * (chi_squared / (n - p) if n > p else np.nan)
    return LeastSquares(
        coefficients=coefficients,
        covariance=inverse,
        residuals=found.residuals,
        chi_squared=chi_squared,
        dof=n - p,
        condition=condition,
        digits=CORRECTLY_ROUNDED,
    )


def _scaled(weighted: Floats) -> tuple[Floats, Floats]:
    """Return the columns scaled by powers of two to norms between 0.7 and 1.4, and the scales."""
    largest = np.max(np.abs(weighted), axis=0)
    if not np.all(largest > 0):
        raise FitError("Expected inputs that vary; got a column of zeros.")
    rough = np.exp2(np.frexp(largest)[1] - 1.0)  # keeps the squares in range
    norm = np.sqrt(np.sum((weighted / rough) ** 2, axis=0))
    scale = rough * np.exp2(np.rint(np.log2(norm)))
    return weighted / scale, scale


def _condition(scaled: Floats) -> float:
    return float(np.linalg.cond(np.linalg.qr(scaled, mode="r")))


def _dependent(condition: float) -> FitError:
    return FitError(
        f"Expected independent inputs; got columns that are linearly dependent (condition "
        f"{condition:.1g}). Leave one input out, or vary the load more."
    )


def _fast(design: Floats, y: Floats, u_y: Floats | None) -> LeastSquares:
    n, p = design.shape
    weight = np.ones(n) if u_y is None else 1.0 / u_y
    scaled_design, scale = _scaled(design * weight[:, None])
    q, r = np.linalg.qr(scaled_design)
    condition = float(np.linalg.cond(r))
    if not condition < FAST_CONDITION:
        raise _dependent(condition)
    unscaled = np.linalg.solve(r, np.eye(p))
    scaled = unscaled @ (q.T @ (y * weight))
    # One step of refinement recovers the digits that forming q.T @ y has lost.
    scaled = scaled + unscaled @ (q.T @ ((y - design @ (scaled / scale)) * weight))
    coefficients = scaled / scale
    residuals = y - design @ coefficients
    chi_squared = float(np.sum((residuals * weight) ** 2))
    inverse = unscaled / scale[:, None]
    covariance = inverse @ inverse.T
    if u_y is None:
        covariance = covariance * (chi_squared / (n - p) if n > p else np.nan)
    digits = _guaranteed_digits(scaled, condition, n, float(np.sqrt(chi_squared)))
    return LeastSquares(coefficients, covariance, residuals, chi_squared, n - p, condition, digits)


def _guaranteed_digits(scaled: Floats, condition: float, n: int, residual: float) -> float:
    """Return the decimal digits of the worst coefficient that the error bound leaves.

    Error of the scaled coefficients ≤ c·2⁻⁵³·(κ‖x‖ + κ²‖r‖), c = p·√n for the rounding of the
    factors (Golub and Van Loan, section 5.3.8, with c from Higham, Accuracy and Stability,
    section 20.2, in its statistical form).
    """
    growth = scaled.size * np.sqrt(n) * _EPSILON
    error = growth * condition * (float(np.linalg.norm(scaled)) + condition * residual)
    smallest = float(np.min(np.abs(scaled)))
    if not smallest > error:
        return 0.0
    return float(min(CORRECTLY_ROUNDED, -np.log10(error / smallest))) if error > 0 else 15.0
