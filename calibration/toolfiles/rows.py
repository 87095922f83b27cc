"""One run as a tool reports it, and a whole file of them: SI units, and what bears on the mode."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, Literal, TypeAlias

__all__ = ["Tool", "ToolFile", "ToolRow", "flagged", "overlapping"]

Tool: TypeAlias = Literal["codecarbon", "carbontracker", "zeus", "csv"]

SHORT_S: Final = 60.0
_TOUCHING_S: Final = 2.0
"""Runs that overlap by less are taken to follow each other: the stamps are whole seconds, and the
durations count up to 1.5 s of start-up."""


@dataclass(frozen=True, slots=True)
class ToolRow:
    """One run as a tool reports it.

    `energies_j` maps the tool's own field or the input's id (plain CSV) to J, `energies_u_j` what
    the tool's way of measuring leaves uncertain of it; `lacks` says why a field has no energy.
    `ratios` holds columns without unit (a CPU load); `facts` are what the file says about
    how the numbers were made, as text. `end_s` counts seconds on the file's own clock.
    """

    where: str
    id: str
    tool: Tool
    duration_s: float
    duration_u_s: float
    energies_j: Mapping[str, float]
    energies_u_j: Mapping[str, float] = field(default_factory=dict)
    lacks: Mapping[str, str] = field(default_factory=dict)
    ratios: Mapping[str, float] = field(default_factory=dict)
    facts: Mapping[str, str] = field(default_factory=dict)
    end_s: float | None = None
    session: str | None = None
    workload: str | None = None
    flags: tuple[str, ...] = ()

    @property
    def start_s(self) -> float | None:
        """Return when the run began, s on the file's own clock, None where that is not said."""
        return None if self.end_s is None else self.end_s - self.duration_s

    @property
    def machine(self) -> tuple[str, str]:
        """Return what the file says of the machine: CPU and GPU model."""
        return self.facts.get("cpu_model", ""), self.facts.get("gpu_model", "")


@dataclass(frozen=True, slots=True)
class ToolFile:
    """A whole file: which tool wrote it, its rows, and its SHA-256."""

    path: Path
    tool: Tool
    rows: tuple[ToolRow, ...]
    sha256: str


def flagged(row: ToolRow, flag: str) -> ToolRow:
    """Return the row with one flag more."""
    return replace(row, flags=(*row.flags, flag))


def overlapping(rows: tuple[ToolRow, ...]) -> tuple[tuple[int, ...], ...]:
    """Group the indices of rows that overlap in time on one machine, each group in file order.

    A row without a time stands alone: nothing says that it overlaps.
    """
    order = sorted(
        (i for i, r in enumerate(rows) if r.start_s is not None),
        key=lambda i: (rows[i].machine, rows[i].start_s),
    )
    groups: list[list[int]] = [[i] for i, r in enumerate(rows) if r.start_s is None]
    current: list[int] = []
    end_s = -math.inf
    for i in order:
        start_s, own_end_s = rows[i].start_s or 0.0, rows[i].end_s or 0.0
        joins = current and rows[current[0]].machine == rows[i].machine
        # Two short runs may lie wholly within the tolerance, hence half of either as a bound.
        slack_s = min(_TOUCHING_S, rows[i].duration_s / 2)
        if joins and start_s < end_s - slack_s:
            current.append(i)
            end_s = max(end_s, own_end_s)
        else:
            current = [i]
            groups.append(current)
            end_s = own_end_s
    return tuple(tuple(sorted(g)) for g in sorted(groups, key=min))
