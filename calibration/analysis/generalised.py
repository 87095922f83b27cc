"""The straight line when the errors of the points depend on each other.

A meter's gain error is the same in every point, so the points cannot average it out; a covariance
matrix says so. ISO/TS 28037:2010, sections 9 (y only) and 10 (x and y).
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from ..errors import FitError, InputError
from .linear import finite, least_squares
from .straight import StraightLine

__all__ = ["generalised"]

Floats = npt.NDArray[np.float64]
_STEPS = 100


def generalised(x: npt.ArrayLike, y: npt.ArrayLike, covariance: npt.ArrayLike) -> StraightLine:
    """Fit a straight line with the full covariance matrix of the points.

    `x`, `y` have shape (n,). `covariance` is (n, n), of the errors of y (x exact), or (2n, 2n), of
    x_1...x_n, y_1...y_n, in the units of x and y; absolute, never rescaled. With V = L Lᵀ,

    - (n, n): ordinary least squares of L⁻¹y on L⁻¹[1 x];
    - (2n, 2n): Gauss-Newton over ξ_1...ξ_n, a, b for f = L⁻¹[x - ξ; y - a - bξ], each step by QR;
      cov(a, b) is the lower right 2 × 2 block of (JᵀJ)⁻¹ at the solution.

    Memory and time of the second grow as n² and n³: points, not samples.

    Raises:
        InputError: the shape is neither, the matrix is not symmetric or not positive definite.
        FitError: all points at one x, or no convergence.

    """
    x, y = finite("x", x), finite("y", y)
    if x.ndim != 1 or y.shape != x.shape:
        raise InputError(f"Expected x and y of one shape (n,); got {x.shape} and {y.shape}.")
    n = x.size
    matrix = finite("covariance", covariance)
    if matrix.shape not in ((n, n), (2 * n, 2 * n)):
        raise InputError(
            f"covariance: expected shape ({n}, {n}) for y or ({2 * n}, {2 * n}) for x and y; got "
            f"{matrix.shape}."
        )
    if not np.allclose(matrix, matrix.T, rtol=1e-9, atol=0.0):
        raise InputError("covariance: expected a symmetric matrix; it is not.")
    try:
        lower = np.asarray(np.linalg.cholesky(0.5 * (matrix + matrix.T)), dtype=np.float64)
    except np.linalg.LinAlgError as error:
        raise InputError(
            "covariance: expected a positive definite matrix; got one that is not. Every point "
            "needs some error of its own."
        ) from error
    if n < 2 or not np.any(x != x[0]):
        raise FitError("Expected at least 2 points at different x.")
    return _of_y(x, y, lower) if matrix.shape[0] == n else _of_both(x, y, lower)


def _of_y(x: Floats, y: Floats, lower: Floats) -> StraightLine:
    design = np.linalg.solve(lower, np.column_stack([np.ones_like(x), x]))
    whitened = np.linalg.solve(lower, y)
    fit = least_squares(design, whitened, 1.0, method="fast")
    return _result(fit.coefficients, fit.covariance, fit.chi_squared, x.size, 0)


def _of_both(x: Floats, y: Floats, lower: Floats) -> StraightLine:
    n = x.size
    centre = float(x.mean())  # conditions the step; undone in the end
    start = least_squares(np.column_stack([np.ones(n), x - centre]), y, method="fast")
    unknown = np.concatenate([x - centre, start.coefficients])
    data = np.concatenate([x - centre, y])
    identity = np.eye(n)
    previous, steps = math.inf, 0
    for _ in range(_STEPS):
        steps += 1
        xi, a, b = unknown[:n], unknown[n], unknown[n + 1]
        residual = np.linalg.solve(lower, data - np.concatenate([xi, a + b * xi]))
        upper = np.hstack([identity, np.zeros((n, 2))])
        below = np.hstack([b * identity, np.ones((n, 1)), xi[:, None]])
        q, r = np.linalg.qr(np.linalg.solve(lower, np.vstack([upper, below])))
        change = np.linalg.solve(r, q.T @ residual)
        inverse = np.linalg.solve(r, np.eye(n + 2))
        unknown = unknown + change
        block = (inverse @ inverse.T)[n:, n:]
        # In units of the uncertainty: far below it, or no longer shrinking.
        moved = float(np.max(np.abs(change[n:]) / np.sqrt(np.diag(block))))
        if moved < 1e-12 or (moved < 1e-7 and moved >= previous):
            break
        previous = moved
    else:
        raise FitError(
            f"The generalised fit did not converge in {_STEPS} steps. Check the covariance matrix, "
            "or measure over a wider range."
        )
    xi, a, b = unknown[:n], unknown[n], unknown[n + 1]
    residual = np.linalg.solve(lower, data - np.concatenate([xi, a + b * xi]))
    back = np.array([[1.0, -centre], [0.0, 1.0]])
    return _result(back @ unknown[n:], back @ block @ back.T, float(residual @ residual), n, steps)


def _result(
    values: Floats, covariance: Floats, chi_squared: float, n: int, steps: int
) -> StraightLine:
    return StraightLine(
        intercept=float(values[0]),
        slope=float(values[1]),
        u_intercept=math.sqrt(covariance[0, 0]),
        u_slope=math.sqrt(covariance[1, 1]),
        covariance=float(covariance[0, 1]),
        chi_squared=chi_squared,
        dof=n - 2,
        absolute=True,
        method="generalised",
        iterations=steps,
    )
