"""In which order to do things: shuffled, so that level is not confounded with time.

A staircase that only climbs makes a machine's warming up look like a steeper line. Steps are
therefore shuffled within blocks; of many seeded shuffles the one is taken in which level and time
are least correlated; and idle anchors at the start, between blocks and at the end show whether the
zero has moved meanwhile. Where every cell is done twice, the second order is one in which it is
reached from the other side, from below after from above: what then differs is hysteresis (fans and
leakage remember). (Randomised complete blocks: Box, Hunter & Hunter, Statistics for
Experimenters, 2nd ed., section 4.2.)
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Final

from ..errors import InputError
from .plan import IDLE, Plan, PlanStep

__all__ = ["both_sides", "level_time_correlation", "shuffled_plan"]

_CANDIDATES: Final = 200
_SWAPS: Final = 400


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
    parts: int | None = None,
    opening: Sequence[PlanStep] = (),
    between: Sequence[PlanStep] = (),
    closing: Sequence[PlanStep] = (),
) -> Plan:
    """Build a plan that does every (workload, level) cell once per block, in shuffled order.

    Idle anchors of `idle_s` seconds stand at the start, between blocks, between the `parts` of a
    block (two parts of a single block, else one), and at the end. `opening` and `closing` stand
    before and after all of it, `between` after every anchor inside. The same arguments always give
    the same plan.
    """
    if not cells:
        raise InputError(f"Plan {name} needs at least one (workload, level); got none.")
    if repeats < 1:
        raise InputError(f"Plan {name} must be done at least once; got repeats={repeats}.")
    rng = random.Random(seed)
    done: list[PlanStep] = []
    stretches: list[list[PlanStep]] = []
    pieces = parts or (2 if repeats == 1 and len(cells) > 1 else 1)
    for _ in range(repeats):
        block = _balanced([PlanStep(w, v, step_s) for w, v in cells], rng, done)
        done += block
        size = -(-len(block) // pieces)
        stretches += [block[i : i + size] for i in range(0, len(block), size)]
    anchor = PlanStep(IDLE, 0.0, idle_s)
    steps = [*opening, anchor]
    for number, stretch in enumerate(stretches):
        steps += [*(between if number else ()), *stretch, anchor]
    steps += closing
    return Plan(name, seed, tuple(steps), warm_up_s=warm_up_s, settle_s=settle_s)


def both_sides(steps: Sequence[PlanStep]) -> tuple[int, int]:
    """Return how many cells are reached both from below and from above, and how many could be.

    A cell is a workload at a level; it could be reached from both sides if it is done at least
    twice and another level lies on either side of its own (idle is level 0).
    """
    sides: dict[tuple[str, float], set[bool]] = {}
    times: dict[tuple[str, float], int] = {}
    before: float | None = None
    for step in steps:
        if step.purpose != "measure":
            continue
        if step.workload != IDLE:
            cell = (step.workload, step.level)
            times[cell] = times.get(cell, 0) + 1
            if before is not None and before != step.level:
                sides.setdefault(cell, set()).add(before < step.level)
        before = step.level
    top = max((level for _, level in times), default=0.0)
    could = [cell for cell, n in times.items() if n > 1 and cell[1] < top]
    return sum(len(sides.get(cell, ())) == 2 for cell in could), len(could)


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


def _balanced(
    steps: list[PlanStep], rng: random.Random, done: Sequence[PlanStep]
) -> list[PlanStep]:
    """Return the least confounded of many shuffles, and the one most unlike what was `done`."""

    def score(order: list[PlanStep]) -> float:
        r = abs(level_time_correlation(order))
        if not done:
            return r
        both, could = both_sides([*done, *order])
        return r + 1.0 - both / max(could, 1)

    best, least = steps, float("inf")
    for _ in range(_CANDIDATES):
        candidate = steps[:]
        rng.shuffle(candidate)
        new = score(candidate)
        if new < least:
            best, least = candidate, new
    for _ in range(_SWAPS if done and len(steps) > 1 else 0):
        i, j = rng.sample(range(len(best)), 2)
        candidate = best[:]
        candidate[i], candidate[j] = best[j], best[i]
        new = score(candidate)
        if new < least:
            best, least = candidate, new
    return best
