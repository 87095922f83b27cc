"""How often a sensor renews its number, found from its readings.

A GPU's or a board's power sensor shows one number until it has the next: asked more often, it
repeats itself. The period is not guessed: where the readings do not tell, the answer is `None`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from statistics import median
from typing import Final

__all__ = ["looks", "update_period_s"]

_LEAST_CHANGES: Final = 6
# Looks further apart than half an update do not see every one.
_DENSE: Final = 0.5


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
