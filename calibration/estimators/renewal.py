"""How often a sensor renews its number, and over how long it averages: found from its readings.

A GPU's or a board's power sensor shows one number until it has the next: asked more often, it
repeats itself. And the number is often the mean of a while (1 s on many GPUs, up to a minute on a
BMC), which nobody can tell from steady readings: only a step of the load shows it, because a
moving mean climbs along a straight line that is as long as its window. Neither is guessed: where
the readings do not tell, the answer is `None`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from statistics import median
from typing import Final

__all__ = ["averaging_window_s", "looks", "update_period_s"]

_LEAST_CHANGES: Final = 6
# Looks further apart than half an update do not see every one.
_DENSE: Final = 0.5
# A step must stand this many times above the scatter of the level before and after it.
_CLEAR: Final = 20.0
_LOW, _HIGH = 0.2, 0.8
# Between these heights a moving mean is renewed this often, or its slope is not seen.
_LEAST_ON_SLOPE: Final = 3


def looks(
    read: Callable[[], float | None],
    *,
    last_s: float,
    every_s: float,
    now_ns: Callable[[], int],
    sleep: Callable[[float], None],
) -> tuple[list[int], list[float]]:
    """Read again and again for `last_s` seconds; return instants (ns) and values.

    It stops early once enough changes were seen; a look that gives `None` is left out.
    """
    t_ns: list[int] = []
    values: list[float] = []
    changes, end_ns = 0, now_ns() + round(last_s * 1e9)
    while now_ns() < end_ns and changes < 2 * _LEAST_CHANGES:
        value = read()
        if value is not None:
            changes += bool(values) and value != values[-1]
            t_ns.append(now_ns())
            values.append(value)
        sleep(every_s)
    return t_ns, values


def update_period_s(t_ns: Sequence[int], values: Sequence[float]) -> float | None:
    """Return how often a sensor renews its value, s, from repeated reads at `t_ns`.

    Two changes lie a whole number of updates apart (a new value may equal the old one). `None`
    where fewer than six changes were seen, or where the looks were too far apart to see each.
    """
    changed = [t for t, a, b in zip(t_ns[1:], values, values[1:], strict=False) if a != b]
    if len(changed) < _LEAST_CHANGES:
        return None
    gaps = [b - a for a, b in pairwise(changed)]
    # A look comes late by less than half an update, so these are gaps of one update.
    usual = median(g for g in gaps if g < 1.5 * min(gaps))
    if median(b - a for a, b in pairwise(t_ns)) > _DENSE * usual:
        return None
    updates = sum(max(round(gap / usual), 1) for gap in gaps)
    return float((changed[-1] - changed[0]) / updates / 1e9)


def averaging_window_s(t_ns: Sequence[int], values: Sequence[float]) -> float | None:
    """Return over how long a sensor averages, s, from its readings across one step of the load.

    `values` begin at one level and end at another. The mean over a window w passes from 20 % to
    80 % of the way in 0.6 w. `None` where there is no clear step, or where fewer than three
    renewals fall between these heights: the window is then no longer than a few updates.
    """
    if len(values) < 4 * _LEAST_CHANGES:
        return None
    ends = len(values) // 5
    first, last = values[:ends], values[-ends:]
    before, after = median(first), median(last)
    scatter = max(median(abs(v - m) for v in part) for part, m in ((first, before), (last, after)))
    rise = after - before
    if rise == 0 or abs(rise) < _CLEAR * scatter:
        return None
    # Only the instants at which the value was renewed tell something; between them it is held.
    renewed = [
        (t, (b - before) / rise)
        for t, a, b in zip(t_ns[1:], values, values[1:], strict=False)
        if a != b
    ]
    low, high = _crossing(renewed, _LOW), _crossing(renewed, _HIGH)
    if low is None or high is None:
        return None
    if sum(low < t < high for t, _ in renewed) < _LEAST_ON_SLOPE:
        return None
    return float((high - low) / (_HIGH - _LOW) / 1e9)


def _crossing(points: Sequence[tuple[int, float]], height: float) -> float | None:
    """Return when a rising line through the points passes a height for the first time, ns."""
    for (t_a, a), (t_b, b) in pairwise(points):
        if a < height <= b:
            return t_a + (t_b - t_a) * (height - a) / (b - a)
    return None
