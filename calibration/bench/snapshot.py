"""The state of a recording, for whoever looks on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["Snapshot"]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The state of a recording, for whoever looks on.

    `index` is the step's number, -1 while the machine warms up (`workload` is `None` then).
    `watts` holds what each source reads (NaN: nothing yet), `faults` how many rows failed.
    `step_left_s` is what is left of the present step, s. The first source's power has held one
    level for `level_s` and drifts by `slope_per_min` of it a minute (NaN: not known yet), which is
    `steady` or not. `trouble` says what is wrong with the disk.
    """

    t_s: float
    total_s: float
    index: int
    steps: int
    workload: str | None
    level: float | None
    watts: Mapping[str, float]
    faults: Mapping[str, int]
    step_left_s: float
    level_s: float
    slope_per_min: float
    steady: bool
    trouble: str | None
