"""The workloads that a plan may name: which kernel, on how many cores."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Final

from ..errors import InputError

__all__ = ["WORKLOADS", "Workload", "available_cores", "workload"]


@dataclass(frozen=True, slots=True)
class Workload:
    """One workload: `kernel` on `cores` worker processes (`None`: one on each core we may use)."""

    name: str
    kernel: str | None
    cores: int | None
    operation: str
    summary: str

    def workers(self, cores: int) -> int:
        """Return how many worker processes it keeps busy on a machine of so many cores."""
        if self.kernel is None:
            return 0
        return cores if self.cores is None else min(self.cores, cores)


WORKLOADS: Final = (
    Workload("idle", None, 0, "", "nothing of ours runs"),
    Workload("cpu-int", "integer-loop", None, "loop turns", "integer loop on all cores"),
    Workload("cpu-int-1", "integer-loop", 1, "loop turns", "integer loop on one core"),
    Workload("cpu-matmul", "matrix-product", None, "multiply-adds", "numpy matrix product"),
    Workload("memory-copy", "memory-copy", None, "bytes", "copies of large buffers"),
)


def workload(name: str) -> Workload:
    """Return the workload of that name.

    Raises:
        InputError: there is none; the message lists those there are.

    """
    for entry in WORKLOADS:
        if entry.name == name:
            return entry
    known = ", ".join(w.name for w in WORKLOADS)
    raise InputError(f"Expected a workload of {known}; got {name!r}.")


def available_cores() -> int:
    """Return how many logical cores this process may use."""
    return len(os.sched_getaffinity(0))
