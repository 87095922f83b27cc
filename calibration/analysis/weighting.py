"""Weighted least squares whose weights the points' own scatter judges."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from .linear import least_squares

__all__ = ["Solved", "Weighted", "chi_squared_scale", "with_lack_of_fit"]

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Solved:
    """A solution with its variance: lack of fit s (W), scale of the stated u, effective dof.

    `chi_squared` is that of the stated u alone; `noise_w` the points' own u, scaled, as a root mean
    square; `noise_time_s` the time over which it averages (None: the length of a point).
    """

    coefficients: Floats
    covariance: Floats
    dof: int
    lack_w: float
    scale: float
    effective_dof: float
    chi_squared: float
    noise_w: float
    noise_time_s: float | None = None


class Weighted:
    """Weighted least squares for variances base + t·slope, all in a basis that stays the same."""

    __slots__ = ("base", "design", "slope", "y")

    def __init__(self, design: Floats, y: Floats, base: Floats, slope: Floats) -> None:
        self.design, self.y, self.base, self.slope = design, y, base, slope

    def solve(self, t: float) -> tuple[Floats, Floats, float]:
        """Return coefficients, their covariance and χ² for one t."""
        weight = 1.0 / (self.base + t * self.slope)
        weighted = self.design * weight[:, None]
        inverse = np.asarray(np.linalg.inv(self.design.T @ weighted), dtype=np.float64)
        coefficients = inverse @ (weighted.T @ self.y)
        residual = self.y - self.design @ coefficients
        return coefficients, inverse, float(weight @ (residual * residual))

    def match(self, dof: int, start: float) -> float:
        """Return the t at which χ² equals `dof`; χ² falls with t. 0 where it does not reach it.

        Newton's method on 1/χ², which is nearly linear in t, between bounds that it may not leave.
        """
        low, high = 0.0, math.inf
        t = start
        for _ in range(80):
            coefficients, _, chi2 = self.solve(t)
            low, high = (t, high) if chi2 > dof else (low, t)
            residual = self.y - self.design @ coefficients
            weight = 1.0 / (self.base + t * self.slope)
            falls = float((weight * weight * self.slope) @ (residual * residual))  # -dχ²/dt
            step = (chi2 - dof) * chi2 / (dof * falls) if falls > 0 else math.inf
            new = t + step
            if not low < new < high:
                new = 0.5 * (low + high) if math.isfinite(high) else 4 * t
            if abs(new - t) <= 1e-10 * max(new, 1e-300) or new < 1e-14 * start:
                return new
            t = new
        return t


def with_lack_of_fit(design: Floats, y: Floats, u_y: Floats) -> Solved:
    """Find the smallest s with χ²(1/(u² + s²)) ≤ n - p; where the u_y suffice, scale them.

    The points' own scatter is the judge in both directions, so that Student's t with n - p degrees
    of freedom holds for normal errors of any size: u_y that are too small are widened by s, those
    that are too large are scaled by √(χ²/(n - p)), unless the points scatter implausibly little.
    """
    floor = 1e-9 * max(float(np.max(np.abs(y))), 1e-9)
    u_y = np.maximum(u_y, floor)
    first = least_squares(design, y, u_y, method="fast")
    dof = first.dof
    scale = chi_squared_scale(first.chi_squared, dof)
    chi2, noise = first.chi_squared, math.sqrt(scale * float(np.mean(u_y**2)))
    if dof <= 0 or chi2 <= dof:
        covariance = first.covariance * scale
        root = math.sqrt(scale)
        return Solved(first.coefficients, covariance, dof, 0.0, root, float(dof), chi2, noise)
    norm = np.sqrt(np.sum(design**2, axis=0))
    system = Weighted(design / norm, y, u_y**2, np.ones(y.size))
    s2 = system.match(dof, float(first.residuals @ first.residuals) / dof)
    found = least_squares(design, y, np.sqrt(u_y**2 + s2), method="fast")
    lack = math.sqrt(s2)
    return Solved(found.coefficients, found.covariance, dof, lack, 1.0, float(dof), chi2, noise)


# Below this quantile of χ² the stated u hold something that the scatter cannot show (a resolution,
# a type B limit): they are kept as they are.
_IMPLAUSIBLY_QUIET = 0.005


def chi_squared_scale(chi_squared: float, dof: int) -> float:
    """Return the factor of the stated variances, χ²/dof, between a plausible one and 1."""
    if dof <= 0 or chi_squared >= dof or chi_squared < _least_chi_squared(dof):
        return 1.0
    return chi_squared / dof


@lru_cache(maxsize=1024)
def _least_chi_squared(dof: int) -> float:
    from scipy.special import chdtri

    return float(chdtri(float(dof), 1 - _IMPLAUSIBLY_QUIET))
