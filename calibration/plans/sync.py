"""The sync preamble: an irregular square wave that makes the offset of two clocks unambiguous.

Full load and idle alternate; the time between edges is drawn from 1.2 s to 3.2 s in tenths of a
second. What an alignment can go wrong on is the autocorrelation of the pattern: wherever it comes
near 1 away from zero, a wrong lag fits almost as well as the right one. A square wave of one period
has such a peak at every multiple of it. So of many seeded draws, each bettered by seeded changes of
single edges, the pattern is taken whose autocorrelation is flattest: whose largest value outside
the main peak, over all lags up to half its length, is smallest. The main peak is as wide as the
shortest time between edges. (The idea is that of the low-autocorrelation binary sequences, Golay,
IEEE Trans. Inf. Theory 23:43, 1977; here with a least run length.)

The least time between edges is above one second, so that each window of a meter at 1 Hz holds one
edge at most. An edge of height h, W, in a meter with windows of w seconds and noise of σ watts
tells the lag to σ w / h; n of them to σ w / (h √n): many short steps of full height tell more
than few long ones. A meter whose windows are longer than the pulses sees its mean only, and has
to be aligned on the plan's own steps.
"""

from __future__ import annotations

import functools
import random
from collections.abc import Sequence
from typing import Final

from ..errors import InputError
from .plan import IDLE, PlanStep

__all__ = ["peak_sidelobe", "sync_intervals", "sync_preamble"]

GRID_S: Final = 0.1
SHORTEST_S: Final = 1.2
LONGEST_S: Final = 3.2
_DRAWS: Final = 20
_CHANGES: Final = 60


def sync_preamble(
    duration_s: float, *, seed: int, workload: str = "cpu-int"
) -> tuple[PlanStep, ...]:
    """Return the steps of a preamble that lasts `duration_s`; it begins and ends with load.

    Raises:
        InputError: it is shorter than three pulses.

    """
    return tuple(
        PlanStep(workload, 1.0, length, "sync")
        if i % 2 == 0
        else PlanStep(IDLE, 0.0, length, "sync")
        for i, length in enumerate(sync_intervals(duration_s, seed))
    )


@functools.cache
def sync_intervals(duration_s: float, seed: int) -> tuple[float, ...]:
    """Return the times between edges, s, an odd number of them that add up to `duration_s`."""
    total, least, most = (round(t / GRID_S) for t in (duration_s, SHORTEST_S, LONGEST_S))
    # A mean a third of the way from the shortest to the longest: dense, and still irregular.
    count = max(round(total / (least + 0.35 * (most - least))), 1) // 2 * 2 + 1
    if count < 5 or not least * count <= total <= most * count:
        raise InputError(
            f"A sync preamble must last at least {5 * LONGEST_S:g} s; got {duration_s:g}."
        )
    rng = random.Random(seed)
    best: list[int] = []
    best_score = 2.0
    for _ in range(_DRAWS):
        lengths = _draw(rng, count, total, least, most)
        score = _peak(lengths, least)
        for _ in range(_CHANGES):
            i, j = rng.sample(range(count), 2)
            moved = rng.randint(1, 6)
            if lengths[i] - moved < least or lengths[j] + moved > most:
                continue
            changed = lengths[:]
            changed[i] -= moved
            changed[j] += moved
            new = _peak(changed, least)
            if new < score:
                lengths, score = changed, new
        if score < best_score:
            best, best_score = lengths, score
    return tuple(round(n * GRID_S, 3) for n in best)


def peak_sidelobe(intervals_s: Sequence[float]) -> float:
    """Return the largest autocorrelation of a square wave outside its main peak, 0 to 1.

    The wave is +1 and -1 by turns, sampled every 0.1 s; r(k) is the mean of the product with
    itself k samples later, over the whole length; lags up to half of it count. A wave of one period
    comes out near 1.
    """
    lengths = [round(t / GRID_S) for t in intervals_s]
    return _peak(lengths, min(lengths))


def _draw(rng: random.Random, count: int, total: int, least: int, most: int) -> list[int]:
    """Return `count` lengths in least..most that add up to `total`."""
    lengths = [least] * count
    left = total - least * count
    while left:
        i = rng.randrange(count)
        piece = min(rng.randint(1, 8), left, most - lengths[i])
        lengths[i] += piece
        left -= piece
    return lengths


def _peak(lengths: Sequence[int], guard: int) -> float:
    """Return the peak sidelobe; bits of one integer are the samples, so that XOR multiplies."""
    wave, n, up = 0, 0, True
    for length in lengths:
        if up:
            wave |= ((1 << length) - 1) << n
        n, up = n + length, not up
    worst = 0.0
    for lag in range(guard, n // 2 + 1):
        overlap = n - lag
        differ = ((wave ^ (wave >> lag)) & ((1 << overlap) - 1)).bit_count()
        worst = max(worst, (overlap - 2 * differ) / n)
    return worst
