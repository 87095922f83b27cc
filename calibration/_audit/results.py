"""What an audit says: of which joules it is known how they came about, and on what evidence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

__all__ = ["ORIGINS", "Audit", "AuditRow", "Origin", "Part", "Remark", "Step"]

Origin: TypeAlias = Literal["counted", "sampled", "modelled", "assumed", "unknown"]

ORIGINS: Final[Mapping[Origin, str]] = {
    "counted": "differences of a hardware energy counter (RAPL, NVML)",
    "sampled": "readings of a hardware power sensor, times time",
    "modelled": "a power that a formula derives from the load, times time",
    "assumed": "a constant power, times time",
    "unknown": "the file does not show how it was made",
}


@dataclass(frozen=True, slots=True)
class Part:
    """Some joules of one row: which component, how they came about, and how that is known.

    `energy_j` is in J; `evidence` is one sentence about numbers that stand in the file.
    """

    component: str
    energy_j: float
    origin: Origin
    evidence: str


@dataclass(frozen=True, slots=True)
class Remark:
    """Something about a row that its reader should know: a short `code` and one sentence."""

    code: str
    message: str


@dataclass(frozen=True, slots=True)
class AuditRow:
    """One run of a tool: its duration in s as the file states it, its energy by part in J."""

    where: str
    id: str
    duration_s: float | None
    parts: tuple[Part, ...]
    remarks: tuple[Remark, ...]

    @property
    def energy_j(self) -> float:
        """Return the sum of the parts, J."""
        return sum(p.energy_j for p in self.parts)

    def by_origin(self) -> dict[Origin, float]:
        """Return J by origin; every origin is a key."""
        return {o: sum(p.energy_j for p in self.parts if p.origin == o) for o in ORIGINS}


@dataclass(frozen=True, slots=True)
class Step:
    """What to do next: a short `code`, one sentence, and a line to paste (None: nothing to run)."""

    code: str
    message: str
    command: str | None = None


@dataclass(frozen=True, slots=True)
class Audit:
    """A whole file: the tool and its version, the rows, what to do next, what to write.

    `version` is None where the file does not name it or holds several. `sentence` may be printed
    beside the number in a publication.
    """

    path: str
    sha256: str
    tool: str
    version: str | None
    rows: tuple[AuditRow, ...]
    remarks: tuple[Remark, ...]
    steps: tuple[Step, ...]
    sentence: str

    @property
    def energy_j(self) -> float:
        """Return the energy of all rows, J."""
        return sum(r.energy_j for r in self.rows)

    def by_origin(self) -> dict[Origin, float]:
        """Return J of all rows by origin; every origin is a key."""
        return {o: sum(r.by_origin()[o] for r in self.rows) for o in ORIGINS}
