"""Straight lines: one function, and which method the given uncertainties call for."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ..errors import FitError, InputError
from .generalised import generalised
from .linear import LeastSquares, finite, least_squares, weights
from .straight import InverseInterval, StraightLine
from .york import york

__all__ = ["InverseInterval", "LeastSquares", "StraightLine", "least_squares", "straight_line"]

Floats = npt.NDArray[np.float64]
EXACT_POINTS = 1024
_BLOCK = 8192


def straight_line(
    x: npt.ArrayLike,
    y: npt.ArrayLike,
    u_x: npt.ArrayLike | None = None,
    u_y: npt.ArrayLike | None = None,
    covariance: npt.ArrayLike | None = None,
    *,
    correlation: npt.ArrayLike = 0.0,
) -> StraightLine:
    """Fit y = a + b·x with the method that the given uncertainties call for.

    - none: ordinary least squares, the variance from the scatter, RSS/(n - 2);
    - `u_y`: weighted least squares, weights 1/u_y² (ISO/TS 28037:2010, section 6);
    - `u_x` (and `u_y`): York 2004 (ISO/TS 28037, section 7), with `correlation` between the errors
      of one point (section 8); `u_x` alone takes y as exact;
    - `covariance`: generalised, (n, n) of the y (section 9) or (2n, 2n) of x_1...x_n, y_1...y_n
      (section 10).

    `x`, `y` have shape (n,); `u_x`, `u_y`, `correlation` (n,) or scalar, in the units of x and y.
    Uncertainties given are absolute and never rescaled. Up to 1024 points a (weighted) line is
    solved exactly and rounded once; beyond, `digits` says what the arithmetic guarantees.

    Raises:
        InputError: shapes that do not fit, values that are not finite, uncertainties not positive.
        FitError: fewer than two points (three without uncertainties), or all at one x.

    """
    x, y = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    if x.ndim != 1:
        raise InputError(f"x: expected shape (n,); got {x.shape}.")
    if y.shape != x.shape:
        raise InputError(f"y: expected shape {x.shape}, that of x; got {y.shape}.")
    given = covariance is not None or u_x is not None or u_y is not None
    least = 2 if given else 3
    if x.size < least:
        raise FitError(f"Expected at least {least} points for a straight line; got {x.size}.")
    if covariance is not None:
        if u_x is not None or u_y is not None:
            raise InputError("Expected `covariance` or u_x and u_y, not both: put them into it.")
        return generalised(x, y, covariance)
    if u_x is not None and np.any(u_x):
        return york(x, y, u_x, 0.0 if u_y is None else u_y, correlation)
    if u_x is not None and u_y is None:
        raise InputError("u_x: expected an uncertainty above zero when u_y is not given; got zero.")
    if x.size > EXACT_POINTS:
        return _fast(x, y, u_y)
    x, y = finite("x", x), finite("y", y)
    u = None if u_y is None else weights(u_y, x.size)
    _need_different(x)
    return _exact(x, y, u)


def _need_different(x: Floats) -> None:
    if not np.any(x != x[0]):
        raise FitError("Expected points at different x; got one x only.")


def _exact(x: Floats, y: Floats, u_y: Floats | None) -> StraightLine:
    fit = least_squares(np.column_stack([np.ones_like(x), x]), y, u_y, method="exact")
    u_intercept, u_slope = fit.standard_errors
    return StraightLine(
        intercept=float(fit.coefficients[0]),
        slope=float(fit.coefficients[1]),
        u_intercept=float(u_intercept),
        u_slope=float(u_slope),
        covariance=float(fit.covariance[0, 1]),
        chi_squared=fit.chi_squared,
        dof=fit.dof,
        absolute=u_y is not None,
        method="ols" if u_y is None else "wls",
        digits=fit.digits,
    )


def _fast(x: Floats, y: Floats, u_y: npt.ArrayLike | None) -> StraightLine:
    """Sum once, in blocks that stay in cache, what is left after a provisional line.

    The provisional line goes through a few thousand of the points. Taking it off first leaves sums
    of small numbers, so that one pass is as good as two. Values are looked at only when the sums
    show that one of them is not finite.
    """
    u = None if u_y is None else np.asarray(u_y, dtype=np.float64)
    if u is not None and (u.ndim == 0 or u.shape != x.shape):
        u = weights(u, x.size)
    some = slice(None, None, x.size // 1024)
    x0, y0 = float(x[some].mean()), float(y[some].mean())
    dx = x[some] - x0
    with np.errstate(invalid="ignore", over="ignore"):
        sxx = float(dx @ dx)
        b0 = float(dx @ (y[some] - y0)) / sxx if sxx > 0 else 0.0
    for _ in range(2):
        with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
            s = _sums(x, y, u, x0, y0, b0)
        if not np.all(np.isfinite(s)):
            finite("x", x)
            finite("y", y)
            if u is not None:
                weights(u, x.size)
            raise InputError("Expected sums of squares below 1e308; rescale x, y or u_y.")
        w, wx, wy, wxx, wxy, wyy = s
        mean_x, mean_y = wx / w, wy / w
        sxx, sxy = wxx - wx * mean_x, wxy - wx * mean_y
        if mean_x * wx <= 0.5 * wxx:
            break
        x0 += mean_x  # the sample was not typical of all points
        y0 += b0 * mean_x
    if sxx <= w * (1e-12 * (abs(x0) + abs(mean_x))) ** 2:
        _need_different(x)
    if not sxx > 0:
        raise FitError("Expected points at different x; got x that differ by rounding only.")
    more = sxy / sxx
    slope = b0 + more
    chi_squared = max(wyy - wy * mean_y - more * sxy, 0.0)
    variance = 1.0 if u_y is not None else chi_squared / (x.size - 2)
    centre = x0 + mean_x
    u2_slope = variance / sxx
    intercept = (y0 + mean_y - more * mean_x) - b0 * x0 - more * x0
    # Rounding of y - (y0 + b0·dx), of the sums (blocks of 8192, pairs of them) and of the result.
    size = abs(y0) + abs(b0 * x0) + np.sqrt(abs(wyy) / w)
    lost = 2.0**-53 * 64 * (size + abs(slope) * np.sqrt(sxx / w))
    worst = max(
        lost / max(abs(intercept), 1e-300) * (1 + abs(centre) / np.sqrt(sxx / w)),
        lost / max(abs(slope) * np.sqrt(sxx / w), 1e-300),
    )
    return StraightLine(
        intercept=intercept,
        slope=slope,
        u_intercept=float(np.sqrt(variance / w + centre**2 * u2_slope)),
        u_slope=float(np.sqrt(u2_slope)),
        covariance=-centre * u2_slope,
        chi_squared=chi_squared,
        dof=x.size - 2,
        absolute=u_y is not None,
        method="ols" if u_y is None else "wls",
        digits=float(np.clip(-np.log10(max(worst, 1e-16)), 0.0, 15.0)),
    )


def _sums(
    x: Floats, y: Floats, u_y: Floats | None, x0: float, y0: float, b0: float
) -> tuple[float, ...]:
    """Return Σw, Σwd, Σwe, Σwdd, Σwde, Σwee with d = x - x0 and e = y - y0 - b0·d."""
    room, ones = np.empty((4, _BLOCK)), np.ones(_BLOCK)
    found = []
    for i in range(0, x.size, _BLOCK):
        part = slice(i, i + _BLOCK)
        d, e, w, spare = room[:, : x[part].size]
        one = ones[: d.size]
        np.subtract(x[part], x0, out=d)
        np.subtract(y[part], y0, out=e)
        np.multiply(d, b0, out=spare)
        np.subtract(e, spare, out=e)
        if u_y is None:
            found.append((d.size, d @ one, e @ one, d @ d, d @ e, e @ e))
            continue
        np.divide(1.0, u_y[part], out=w)  # the root of the weight
        if not w.min() > 0:
            raise InputError("u_y: expected positive, finite standard uncertainties; got others.")
        np.multiply(d, w, out=d)
        np.multiply(e, w, out=e)
        found.append((w @ w, w @ d, w @ e, d @ d, d @ e, e @ e))
    return tuple(float(v) for v in np.sum(np.array(found, dtype=np.float64), axis=0))
