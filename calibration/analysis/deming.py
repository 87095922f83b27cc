"""Errors in both variables: whether they matter, and Deming's closed form."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..errors import FitError, InputError
from .linear import finite
from .straight import StraightLine

__all__ = ["ATTENUATION_LIMIT", "Attenuation", "attenuation", "deming"]

# A gain 0.5 % too small is as large as the errors that a good reference leaves: switch there.
ATTENUATION_LIMIT = 0.995


@dataclass(frozen=True, slots=True)
class Attenuation:
    """The share of a gain that least squares finds when x is uncertain, and what follows.

    `factor` is λ; `matters` says that it is below 0.995 and that the fit has to take u_x into
    account; `reason` says so in words.
    """

    factor: float
    matters: bool
    reason: str


def attenuation(x: npt.ArrayLike, u_x: npt.ArrayLike) -> Attenuation:
    """Return by how much the errors of x flatten a least-squares slope.

        λ = Var(x)/(Var(x) + u_x²)    Var(x) = s_x² - u_x², the variance of the true x

    s_x² is the variance of the x observed, which contains their errors. `x` has shape (n,), `u_x`
    (n,) or scalar, in the unit of x: its mean square counts. λ is 0 where u_x explains all of s_x.
    Source: Fuller, Measurement Error Models (1987), section 1.1.

    Raises:
        InputError: fewer than two x, shapes that do not fit, values not finite, a negative u_x.

    """
    x = finite("x", x)
    u = finite("u_x", u_x)
    if x.ndim != 1 or x.size < 2 or u.shape not in ((), x.shape):
        raise InputError(
            f"Expected x of shape (n,) and u_x of () or (n,); got {x.shape}, {u.shape}."
        )
    if np.any(u < 0):
        raise InputError("u_x: expected standard uncertainties of zero or more; got less.")
    noise, observed = float(np.mean(u**2)), float(np.var(x, ddof=1))
    factor = 1.0 if noise == 0 else max(observed - noise, 0.0) / observed if observed else 0.0
    matters = factor < ATTENUATION_LIMIT
    lost = 100 * (1 - factor)
    reason = f"errors of the input flatten the gain by {lost:.2g} % "
    reason += (
        f"(over {100 * (1 - ATTENUATION_LIMIT):.1g} %): fitted with uncertainties in both variables"
        if matters
        else f"(up to {100 * (1 - ATTENUATION_LIMIT):.1g} % is left alone): ordinary weights"
    )
    return Attenuation(factor, matters, reason)


def deming(x: npt.ArrayLike, y: npt.ArrayLike, ratio: float) -> StraightLine:
    """Fit a line to points whose errors have one known ratio of variances, δ = σ_y²/σ_x².

        b = [s_yy - δ s_xx + √((s_yy - δ s_xx)² + 4 δ s_xy²)] / (2 s_xy)    a = ȳ - b x̄
        σ_x² = Σ(y - a - bx)² / ((δ + b²)(n - 2))

    `x`, `y` have shape (n,); `ratio` is in the unit of y² over x². Uncertainties come from the
    scatter and are evaluated at the adjusted points, as York 2004 does; `chi_squared` is
    (n - 2)·σ_x², in the unit of x². Source: Deming, Statistical
    Adjustment of Data (1943); Fuller (1987), section 1.3.

    Raises:
        InputError: shapes that do not fit, values that are not finite, a ratio not positive.
        FitError: fewer than three points, or x and y show no relation (s_xy = 0).

    """
    x = finite("x", x)
    if x.ndim != 1:
        raise InputError(f"x: expected shape (n,); got {x.shape}.")
    y = finite("y", y, x.shape)
    if not (ratio > 0 and math.isfinite(ratio)):
        raise InputError(f"ratio: expected σ_y²/σ_x² above zero; got {ratio:g}.")
    n = x.size
    if n < 3:
        raise FitError(f"Expected at least 3 points for a straight line; got {n}.")
    mean_x, mean_y = float(x.mean()), float(y.mean())
    dx, dy = x - mean_x, y - mean_y
    sxx, sxy, syy = float(dx @ dx), float(dx @ dy), float(dy @ dy)
    if not abs(sxy) > 1e-14 * math.sqrt(sxx * syy):
        raise FitError("Expected x and y that are related; their covariance is zero.")
    difference = syy - ratio * sxx
    root = math.hypot(difference, 2 * math.sqrt(ratio) * sxy)
    # Of the two forms of the same root, the one in which nothing cancels.
    slope = (
        (difference + root) / (2 * sxy) if difference > 0 else 2 * ratio * sxy / (root - difference)
    )
    residual = dy - slope * dx
    scatter = float(residual @ residual)
    variance_x = scatter / ((ratio + slope**2) * (n - 2))
    adjusted = dx + slope * residual / (ratio + slope**2)
    u2_slope = variance_x * (ratio + slope**2) / float(adjusted @ adjusted)
    return StraightLine(
        intercept=mean_y - slope * mean_x,
        slope=slope,
        u_intercept=math.sqrt(variance_x * (ratio + slope**2) / n + mean_x**2 * u2_slope),
        u_slope=math.sqrt(u2_slope),
        covariance=-mean_x * u2_slope,
        chi_squared=scatter / (ratio + slope**2),
        dof=n - 2,
        absolute=False,
        method="deming",
    )
