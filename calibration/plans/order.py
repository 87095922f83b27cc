"""In which order to do things: shuffled, so that level is not confounded with time.

A staircase that only climbs makes a machine's warming up look like a steeper line. Steps are
therefore shuffled within blocks; of many seeded shuffles the one is taken in which level and time
are least correlated; and idle anchors at the start, between blocks and at the end show whether the
zero has moved meanwhile. (Randomised complete blocks: Box, Hunter & Hunter, Statistics for
Experimenters, 2nd ed., section 4.2.)
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Final

from ..errors import InputError
from .plan import IDLE, Plan, PlanStep

__all__ = ["level_time_correlation", "shuffled_plan"]

_CANDIDATES: Final = 200


def shuffled_plan(
    name: str,
    cells: Sequence[tuple[str, float]],
    *,
    seed: int,
    step_s: float,
    idle_s: float,
    repeats: int = 1,
    warm_up_s: float = 0.0,
    settle_s: float = 0.0,
) -> Plan:
    """Build a plan that does every (workload, level) cell once per block, in shuffled order.

    Idle anchors of `idle_s` seconds stand at the start, between blocks, in the middle of a single
    block, and at the end. The same arguments always give the same plan.
    """
    if not cells:
        raise InputError(f"Plan {name} needs at least one (workload, level); got none.")
    if repeats < 1:
        raise InputError(f"Plan {name} must be done at least once; got repeats={repeats}.")
    rng = random.Random(seed)
    blocks = [_balanced([PlanStep(w, v, step_s) for w, v in cells], rng) for _ in range(repeats)]
    if repeats == 1 and len(cells) > 1:
        half = (len(cells) + 1) // 2
        blocks = [blocks[0][:half], blocks[0][half:]]
    anchor = PlanStep(IDLE, 0.0, idle_s)
    steps = [anchor]
    for block in blocks:
        steps += [*block, anchor]
    return Plan(name, seed, tuple(steps), warm_up_s=warm_up_s, settle_s=settle_s)


def level_time_correlation(steps: Sequence[PlanStep]) -> float:
    """Return Pearson's correlation of level with position among the busy steps, 1."""
    levels = [s.level for s in steps if s.workload != IDLE]
    n = len(levels)
    if n < 2:
        return 0.0
    mean_level, mean_position = sum(levels) / n, (n - 1) / 2
    s_xy = sum((v - mean_level) * (i - mean_position) for i, v in enumerate(levels))
    s_xx = sum((v - mean_level) ** 2 for v in levels)
    s_yy = sum((i - mean_position) ** 2 for i in range(n))
    return float(s_xy / (s_xx * s_yy) ** 0.5) if s_xx > 0 else 0.0


def _balanced(steps: list[PlanStep], rng: random.Random) -> list[PlanStep]:
    """Return the least confounded of many shuffles."""
    best, best_r = steps, float("inf")
    for _ in range(_CANDIDATES):
        candidate = steps[:]
        rng.shuffle(candidate)
        r = abs(level_time_correlation(candidate))
        if r < best_r:
            best, best_r = candidate, r
    return best
