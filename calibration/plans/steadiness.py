"""When a machine counts as steady: the one place that says it, for bench and analysis alike.

Two questions, two criteria.

*Is this stretch one level?* Every value stays within ±max(2 %, 2 resolutions) of the mean of the
stretch so far; two values in a row outside end it (`Stretch`).

*Has the machine warmed up?* The slope of a straight line through the last 60 s of power is below
0.2 % of its mean a minute. Fans and leakage follow a change of load within 10 s to 300 s, and show
as residual drift after it. Where the power scatters so much that its slope is not known to 0.2 % a
minute, a slope within two of its standard uncertainties counts as none: nobody can tell more from
these data, and `resolved` says so (`thermal_trend`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

__all__ = ["SLOPE_PER_MIN", "SPAN_S", "TOLERANCE", "Stretch", "Trend", "thermal_trend"]

TOLERANCE: Final = 0.02
SPAN_S: Final = 60.0
SLOPE_PER_MIN: Final = 0.002
_LEAST: Final = 10


class Stretch:
    """The present stretch of one level, fed value by value.

    `least_w` is the tolerance that holds at least, W: two resolutions of the meter.
    """

    __slots__ = ("_least_w", "_misses", "_total_w", "count")

    def __init__(self, least_w: float = 0.0) -> None:
        self._least_w = least_w
        self.count, self._total_w, self._misses = 0, 0.0, 0

    @property
    def mean_w(self) -> float:
        """Return the mean of the values that belong to it, W; NaN before the first."""
        return self._total_w / self.count if self.count else math.nan

    def add(self, power_w: float) -> bool:
        """Take the next value, W; return False when it ends the stretch: the second one outside.

        A new stretch then begins with it.
        """
        mean_w = self._total_w / self.count if self.count else power_w
        if abs(power_w - mean_w) <= max(TOLERANCE * abs(mean_w), self._least_w):
            self._total_w += power_w
            self.count, self._misses = self.count + 1, 0
            return True
        self._misses += 1
        if self._misses < 2:
            return True
        self.count, self._total_w, self._misses = 1, power_w, 0
        return False


@dataclass(frozen=True, slots=True)
class Trend:
    """The drift of power over the last minute: a share of its mean per minute, 1/min.

    `u_per_min` is its standard uncertainty from the scatter about the line. `steady` is the
    verdict; `resolved` is False where the scatter hides slopes of the limit's size. All are False
    or NaN where there is less than `SPAN_S` of data.
    """

    per_min: float
    u_per_min: float
    steady: bool
    resolved: bool


def thermal_trend(
    t_s: Sequence[float],
    power_w: Sequence[float],
    *,
    span_s: float = SPAN_S,
    limit_per_min: float = SLOPE_PER_MIN,
) -> Trend:
    """Tell from power readings whether the machine has warmed up by the last of them.

    The least-squares line through the readings of the last `span_s` seconds; `t_s` (s, rising) and
    `power_w` (W) are of equal length, the power of one unchanged load. At least ten readings that
    cover nine tenths of the span are needed: before that, nothing is steady.
    """
    first = next((i for i, t in enumerate(t_s) if t >= t_s[-1] - span_s), 0)
    t, p = t_s[first:], power_w[first:]
    n = len(t)
    if n < _LEAST or t[-1] - t[0] < 0.9 * span_s:
        return Trend(math.nan, math.nan, False, False)
    mean_t, mean_p = math.fsum(t) / n, math.fsum(p) / n
    s_tt = math.fsum((a - mean_t) ** 2 for a in t)
    slope = math.fsum((a - mean_t) * (b - mean_p) for a, b in zip(t, p, strict=True)) / s_tt
    rest = math.fsum((b - mean_p - slope * (a - mean_t)) ** 2 for a, b in zip(t, p, strict=True))
    u = math.sqrt(rest / (n - 2) / s_tt)
    if not mean_p > 0:
        return Trend(math.nan, math.nan, False, False)
    per_min, u_per_min = 60 * slope / mean_p, 60 * u / mean_p
    steady = abs(per_min) <= max(limit_per_min, 2 * u_per_min)
    return Trend(per_min, u_per_min, steady, 2 * u_per_min <= limit_per_min)
