"""When a warm-up may end: the meter's live power once a second, by the criterion of the plans."""

from __future__ import annotations

import math
from collections import deque
from typing import Any, Final

from ..plans import Trend, thermal_trend
from ..plans.steadiness import SPAN_S

__all__ = ["WarmUp"]

_LOOK_S: Final = 1.0


class WarmUp:
    """Follows the power of one unchanged load; all times are seconds since the load began.

    What the meter shows in the first `settle_s` seconds may still be of the load before: a jump
    among the readings would pass for scatter, and scatter hides a slope.
    """

    def __init__(self, settle_s: float) -> None:
        self._settle_s = settle_s
        self._seen: deque[tuple[float, float]] = deque()
        self.trend = Trend(math.nan, math.nan, False, False)

    def look(self, since_s: float, power_w: float | None) -> bool:
        """Take what the meter shows, W; return whether the machine is thermally steady by now."""
        if since_s < self._settle_s:
            return False
        if self._seen and since_s - self._seen[-1][0] < _LOOK_S:
            return self.trend.steady
        if power_w is not None and math.isfinite(power_w):
            self._seen.append((since_s, power_w))
            while since_s - self._seen[0][0] > SPAN_S:
                self._seen.popleft()
            times, powers = zip(*self._seen, strict=True)
            self.trend = thermal_trend(times, powers)
        return self.trend.steady

    def report(self) -> dict[str, Any]:
        """Return what a step document says of it; the slope is `null` where none was found."""
        slope = self.trend.per_min
        return {
            "steady": self.trend.steady,
            "slope_per_min": slope if math.isfinite(slope) else None,
        }
