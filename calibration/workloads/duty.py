"""How a worker keeps a duty cycle: busy for a share of each period of CPU time, asleep otherwise.

The share is held against the worker's own CPU time, not the clock on the wall, so that a worker
that had to wait for its core makes up for it soon after; a debt of more than two periods is
forgiven, or a long wait would be followed by a long rush. Each period's length is drawn anew,
±25 % about its mean: a load of a fixed period can beat against a meter or estimator that samples
at a fixed rate (some GPUs look at 25 ms of every 100 ms: Yang, Adamek & Armour, arXiv 2312.02741),
one that wanders cannot. Where that beat is what is looked for, a square wave of a chosen period is
asked for, and the period stands still.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Final

__all__ = ["DutyCycle", "Phase"]

_WANDER: Final = 0.25


@dataclass(frozen=True, slots=True)
class Phase:
    """One period: busy until `busy_until_cpu_s` of CPU time or `end_s`, then asleep to `end_s`."""

    busy_until_cpu_s: float
    end_s: float


class DutyCycle:
    """The schedule of one worker at one level; all times are seconds of the caller's clocks."""

    def __init__(
        self,
        level: float,
        period_s: float,
        *,
        wall_s: float,
        cpu_s: float,
        wander: float = _WANDER,
    ) -> None:
        self._level, self._period_s, self._wander = level, period_s, wander
        self._end_s, self._target_s = wall_s, cpu_s
        # Seeded alike on purpose: that the period wanders matters, not where to.
        self._rng = random.Random(1)

    def next(self, *, wall_s: float, cpu_s: float) -> Phase:
        """Return what to do in the period that begins now."""
        length_s = self._period_s * self._rng.uniform(1 - self._wander, 1 + self._wander)
        end_s = wall_s + length_s
        target_s = self._target_s + self._level * (end_s - self._end_s)
        self._target_s = min(target_s, cpu_s + 2 * self._period_s)
        self._end_s = end_s
        return Phase(self._target_s, end_s)
