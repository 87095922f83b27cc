"""The straight line as a result: what it predicts, and what an observed y says about x."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ..errors import FitError

__all__ = ["InverseInterval", "StraightLine"]

# Below this slope/u(slope) the linearised uncertainty of x is no longer one: use Fieller's set.
FIELLER_BELOW = 10.0


@dataclass(frozen=True, slots=True)
class InverseInterval:
    """An x for an observed y and the interval that holds it with the stated probability.

    `method` is `linear` (x ± k·u) or `fieller`; `bounded` is False when Fieller's set does not end
    (the slope is not distinguishable from zero): then `low` and `high` are infinite.
    """

    x: float
    low: float
    high: float
    k: float
    method: str
    bounded: bool


@dataclass(frozen=True, slots=True, eq=False)
class StraightLine:
    """y = intercept + slope·x, with standard uncertainties and their covariance.

    `intercept` and its uncertainty are in the unit of y, `slope` in that of y over x. `absolute`
    says that the uncertainties of the points were given, `False` that they come from the scatter of
    the residuals; `method` is `ols`, `wls`, `york`, `generalised`, `deming` or `huber`;
    `iterations` counts the steps of an iterative method. `digits` are the decimal digits that the
    arithmetic guarantees of slope and intercept, NaN where it makes no statement.
    """

    intercept: float
    slope: float
    u_intercept: float
    u_slope: float
    covariance: float
    chi_squared: float
    dof: int
    absolute: bool = True
    method: str = "wls"
    iterations: int = 0
    digits: float = math.nan

    def predict(self, x: float, u_x: float = 0.0) -> tuple[float, float]:
        """Return y and u(y) at x (ISO/TS 28037:2010, section 11.2).

        u²(y) = u_a² + x²·u_b² + 2x·cov(a, b) + b²·u_x²
        """
        variance = self._line_variance(x) + self.slope**2 * u_x**2
        return self.intercept + self.slope * x, math.sqrt(variance)

    def inverse(self, y: float, u_y: float = 0.0) -> tuple[float, float]:
        """Return x and u(x) for an observed y (ISO/TS 28037:2010, section 11.1).

        x = (y - a)/b    u²(x) = (u_y² + u_a² + x²·u_b² + 2x·cov(a, b))/b²

        Raises:
            FitError: the slope is zero.

        """
        if self.slope == 0:
            raise FitError("Expected a line with a slope to find x from y; got a flat one.")
        x = (y - self.intercept) / self.slope
        return x, math.sqrt(u_y**2 + self._line_variance(x)) / abs(self.slope)

    def inverse_interval(
        self, y: float, u_y: float = 0.0, *, probability: float = 0.95
    ) -> InverseInterval:
        """Return x for an observed y with its coverage interval.

        x ± k·u(x) while slope/u(slope) is at least 10. Below, Fieller's set: every x with
        (y - a - b·x)² ≤ k²·(u_y² + u_a² + x²·u_b² + 2x·cov(a, b)), which has no end when
        b² ≤ k²·u_b². k is the normal quantile for uncertainties that were given, else Student's t
        at `dof`. Source: Fieller, J. R. Stat. Soc. B 16 (1954) 175.
        """
        from scipy.special import ndtri, stdtrit

        tail = 0.5 + probability / 2
        k = float(ndtri(tail) if self.absolute else stdtrit(float(self.dof), tail))
        if self.u_slope == 0 or abs(self.slope) >= FIELLER_BELOW * self.u_slope:
            x, u = self.inverse(y, u_y)
            return InverseInterval(x, x - k * u, x + k * u, k, "linear", bounded=True)
        x = (y - self.intercept) / self.slope if self.slope != 0 else math.nan
        square = self.slope**2 - (k * self.u_slope) ** 2
        if square <= 0:
            return InverseInterval(x, -math.inf, math.inf, k, "fieller", bounded=False)
        distance = y - self.intercept
        half = distance * self.slope + k**2 * self.covariance
        rest = distance**2 - k**2 * (u_y**2 + self.u_intercept**2)
        root = math.sqrt(max(half**2 - square * rest, 0.0))
        low, high = (half - root) / square, (half + root) / square
        return InverseInterval(x, low, high, k, "fieller", bounded=True)

    def _line_variance(self, x: float) -> float:
        return max(self.u_intercept**2 + x * (x * self.u_slope**2 + 2 * self.covariance), 0.0)
