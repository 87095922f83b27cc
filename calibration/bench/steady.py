"""How steady the present step is, by the criteria of the plans, for whoever looks on."""

from __future__ import annotations

import math
from typing import Final

from ..plans import Stretch
from .warm_up import WarmUp

__all__ = ["Steadiness"]

_LOOK_S: Final = 1.0


class Steadiness:
    """Follows the power of one step once a second; all times are seconds since it began.

    `level_s` is how long the power has held one level (`plans.Stretch`; `least_w` is its least
    tolerance, W), `slope_per_min` the drift of the last minute as a share of the power, 1/min, and
    `steady` whether that counts as none (`plans.thermal_trend`). NaN and False: not known yet.
    """

    def __init__(self, settle_s: float, least_w: float) -> None:
        self._trend, self._stretch = WarmUp(settle_s), Stretch(least_w)
        self._looked_s, self._began_s, self.level_s = -math.inf, 0.0, 0.0

    def look(self, since_s: float, power_w: float | None) -> None:
        """Take what the meter shows at present, W."""
        if since_s - self._looked_s < _LOOK_S or power_w is None or not math.isfinite(power_w):
            return
        self._looked_s = since_s
        first = not self._stretch.count
        if not self._stretch.add(power_w) or first:
            self._began_s = since_s
        self.level_s = since_s - self._began_s
        self._trend.look(since_s, power_w)

    @property
    def slope_per_min(self) -> float:
        """Return the drift of the last minute, 1/min."""
        return self._trend.trend.per_min

    @property
    def steady(self) -> bool:
        """Return whether the machine has warmed up to this load."""
        return self._trend.trend.steady
