"""What the demo asks of the machine: four loads and idle, eight levels, in shuffled order."""

from __future__ import annotations

from typing import Final

from ..plans.order import shuffled_plan
from ..plans.plan import Plan

__all__ = ["CELLS", "HELD_OUT", "SECONDS", "SEED", "demo_plan"]

SEED: Final = 20
SECONDS: Final = 62.0
HELD_OUT: Final = "memory-copy"
# Each level once; the loads of the workloads overlap, so that none is alone in its range.
CELLS: Final = (
    ("cpu-int", 0.3),
    ("cpu-int", 1.0),
    ("cpu-int-1", 0.5),
    ("cpu-int-1", 0.8),
    ("cpu-matmul", 0.4),
    ("cpu-matmul", 0.9),
    (HELD_OUT, 0.6),
    (HELD_OUT, 0.7),
)
_WARM_UP_S: Final = 1.0
_ANCHORS: Final = 3
# The meter shows the mean of one second and renews it once a second: two seconds after a change
# no old power is left in what it shows.
_SETTLE_S: Final = 2.0


def demo_plan(seconds: float = SECONDS) -> Plan:
    """Return the demo's plan, which takes `seconds` in all."""
    step_s = (seconds - _WARM_UP_S) / (len(CELLS) + _ANCHORS)
    return shuffled_plan(
        "demo",
        CELLS,
        seed=SEED,
        step_s=step_s,
        idle_s=step_s,
        warm_up_s=_WARM_UP_S,
        settle_s=min(_SETTLE_S, 0.6 * step_s),
    )
