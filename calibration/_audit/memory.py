"""The power that CodeCarbon assumes for memory, from the memory's size alone.

No version of CodeCarbon reads a memory counter. Until 2.x it takes 3 W for every 8 GB (0.375 W/GB);
from 3.0 on 5 W for each memory module (1.5 W on ARM) of a *guessed* number of modules, with a
discount above four, eight and sixteen, and two modules at least (CodeCarbon documentation,
"Methodology", section RAM).
"""

from __future__ import annotations

import math
from typing import Final

__all__ = ["OLD_W_PER_GB", "assumed_power_w", "guessed_modules"]

OLD_W_PER_GB: Final = 0.375
_X86_W: Final = 5.0
_ARM_W: Final = 1.5
_SIZES_GB: Final = (128, 64, 32, 16, 8, 4)
_STEPS: Final = ((4, 1.0), (8, 0.9), (16, 0.8), (32, 0.7))
"""Up to so many modules, each further one counts for this share."""


def guessed_modules(size_gb: float) -> int:
    """Return how many memory modules CodeCarbon 3 takes a size for."""
    for limit_gb, modules in ((2, 1), (16, 2), (64, 4), (128, 8)):
        if size_gb <= limit_gb:
            return modules
    size = next(s for s in _SIZES_GB if s <= size_gb / 8)
    return min(32, math.ceil(size_gb / size))


def assumed_power_w(size_gb: float, *, arm: bool = False) -> float:
    """Return the power in W that CodeCarbon 3 takes for a memory of this size."""
    modules, each_w = guessed_modules(size_gb), _ARM_W if arm else _X86_W
    total_w, before = 0.0, 0
    for limit, share in _STEPS:
        total_w += each_w * share * max(0, min(modules, limit) - before)
        before = limit
    return max(2 * each_w, total_w)
