"""A straight line from sums: constant memory, in any order, merged across recordings.

Each block is summed about its own means, and blocks are joined as Chan, Golub and LeVeque do
(The American Statistician 37 (1983) 242), so that no large numbers cancel.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..errors import FitError, InputError
from .linear import finite, weights
from .straight import StraightLine

__all__ = ["Moments"]


@dataclass(frozen=True, slots=True)
class Moments:
    """What a straight line needs of its points: n, Σw, the means, and the centred sums.

    `sxx` = Σw(x - x̄)², `sxy` = Σw(x - x̄)(y - ȳ), `syy` = Σw(y - ȳ)²; w = 1/u_y², or 1 where no
    uncertainty is given (`absolute` False). `Moments()` holds no points.
    """

    n: int = 0
    weight: float = 0.0
    mean_x: float = 0.0
    mean_y: float = 0.0
    sxx: float = 0.0
    sxy: float = 0.0
    syy: float = 0.0
    absolute: bool = False

    def add(self, x: npt.ArrayLike, y: npt.ArrayLike, u_y: npt.ArrayLike | None = None) -> Moments:
        """Return these moments with the points of one block added.

        `x`, `y` have shape (n,), `u_y` (n,) or scalar: absolute, and given for all blocks or none.

        Raises:
            InputError: shapes that do not fit, values that are not finite or u_y not positive,
                blocks with and without uncertainties.

        """
        x = finite("x", x)
        if x.ndim != 1:
            raise InputError(f"x: expected shape (n,); got {x.shape}.")
        y = finite("y", y, x.shape)
        if x.size == 0:
            return self
        w = np.ones(x.size) if u_y is None else weights(u_y, x.size) ** -2
        total = float(w.sum())
        mean_x, mean_y = float(w @ x) / total, float(w @ y) / total
        dx, dy = x - mean_x, y - mean_y
        # The means are rounded; what is left of them is taken off again.
        left_x, left_y = float(w @ dx), float(w @ dy)
        wdx = w * dx
        return self.merge(
            Moments(
                n=x.size,
                weight=total,
                mean_x=mean_x,
                mean_y=mean_y,
                sxx=float(wdx @ dx) - left_x**2 / total,
                sxy=float(wdx @ dy) - left_x * left_y / total,
                syy=float((w * dy) @ dy) - left_y**2 / total,
                absolute=u_y is not None,
            )
        )

    def merge(self, other: Moments) -> Moments:
        """Return the moments of both sets of points.

        Raises:
            InputError: one set has uncertainties and the other has none.

        """
        if self.n == 0 or other.n == 0:
            return other if self.n == 0 else self
        if self.absolute != other.absolute:
            raise InputError("Expected u_y for all blocks or for none; got both kinds.")
        weight = self.weight + other.weight
        dx, dy = other.mean_x - self.mean_x, other.mean_y - self.mean_y
        share = other.weight / weight
        between = self.weight * share
        return Moments(
            n=self.n + other.n,
            weight=weight,
            mean_x=self.mean_x + share * dx,
            mean_y=self.mean_y + share * dy,
            sxx=self.sxx + other.sxx + between * dx * dx,
            sxy=self.sxy + other.sxy + between * dx * dy,
            syy=self.syy + other.syy + between * dy * dy,
            absolute=self.absolute,
        )

    def line(self) -> StraightLine:
        """Return the (weighted) least-squares line (ISO/TS 28037:2010, section 6).

        χ² is Syy - b·Sxy: of its digits as many are lost as 1 - r² has leading zeros.

        Raises:
            FitError: fewer than two points (three without uncertainties), or all at one x.

        """
        least = 2 if self.absolute else 3
        if self.n < least:
            raise FitError(f"Expected at least {least} points for a straight line; got {self.n}.")
        if not self.sxx > 0:
            raise FitError("Expected points at different x; got one x only.")
        slope = self.sxy / self.sxx
        chi_squared = max(self.syy - slope * self.sxy, 0.0)
        variance = 1.0 if self.absolute else chi_squared / (self.n - 2)
        u2_slope = variance / self.sxx
        return StraightLine(
            intercept=self.mean_y - slope * self.mean_x,
            slope=slope,
            u_intercept=math.sqrt(variance / self.weight + self.mean_x**2 * u2_slope),
            u_slope=math.sqrt(u2_slope),
            covariance=-self.mean_x * u2_slope,
            chi_squared=chi_squared,
            dof=self.n - 2,
            absolute=self.absolute,
            method="wls" if self.absolute else "ols",
        )
