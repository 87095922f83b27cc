"""What crosses between a tool's adapter and the judge: numbers with what they claim to be."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from ..simulation.stage import Truth

__all__ = ["Claim", "Figure", "Outcome", "Part", "Quantity"]

Part: TypeAlias = Literal["package", "dram", "psys", "gpu"]
Quantity: TypeAlias = Literal["energy_j", "power_w", "duration_s"]


@dataclass(frozen=True, slots=True)
class Claim:
    """What a field of a tool claims to be, by its documentation.

    `parts` are the parts of a machine whose energy or mean power it is (empty: a duration).
    `devices` is set where it is one of several numbers, one a device: its place among them.
    """

    field: str
    quantity: Quantity
    parts: frozenset[Part]
    device: int | None = None

    @property
    def unit(self) -> str:
        """Return its unit."""
        return {"energy_j": "J", "power_w": "W", "duration_s": "s"}[self.quantity]


@dataclass(frozen=True, slots=True)
class Figure:
    """One number that a tool reported, in SI units, with its claim; None: it left it out.

    `window` is which of the tool's windows it belongs to, from 0.
    """

    claim: Claim
    value: float | None
    window: int = 0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one tool did in one scenario.

    `windows_ns` are, for each window, four monotonic instants in ns: before and after it was asked
    to begin, before and after it was asked to end. What a tool measures lies between the outer two
    and holds the inner two. `truth` is what the scene did meanwhile. `file_says` and `log_says` are
    the source of its CPU figures as its result file and its log name it, None where they are
    silent. `cpu_s` is the CPU time of the tool's process in those windows. `error` is why it gave
    nothing, in a sentence: what it said itself (`refused`), or how it broke.
    """

    tool: str
    version: str
    scenario: str
    figures: tuple[Figure, ...]
    windows_ns: tuple[tuple[int, int, int, int], ...]
    truth: Truth | None
    file_says: str | None = None
    log_says: str | None = None
    cpu_s: float | None = None
    error: str | None = None
    refused: bool = False
