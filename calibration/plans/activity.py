"""What workloads keep busy, roughly: for predictions only, never for a correction.

Shares of the CPU's, the memory's and the GPU's power above idle that a workload draws at level 1.
They are round figures by kind of work (a loop on all cores is the whole of the CPU; copies stall it
and keep the memory busy; one core of many is taken for a quarter), good enough to tell whether a
plan moves two inputs apart.
"""

from __future__ import annotations

from typing import Final

__all__ = ["COMPONENT", "activity"]

COMPONENT: Final = {
    "rapl_package": 0,
    "rapl_core": 0,
    "cpu_load": 0,
    "codecarbon_cpu": 0,
    "rapl_dram": 1,
    "codecarbon_ram": 1,
    "nvml": 2,
    "codecarbon_gpu": 2,
}
"""Which of the three an input sees, by its id; an input that sees several is not listed."""
_ONE_CORE: Final = 0.25
_SHARES: Final = {
    "idle": (0.0, 0.0, 0.0),
    "memory-copy": (0.7, 1.0, 0.0),
    "memory-read": (0.7, 0.8, 0.0),
    "memory-latency": (0.6, 0.3, 0.0),
    "cache-copy": (0.9, 0.05, 0.0),
    "mixed": (0.85, 0.4, 0.0),
    "disk-light": (0.05, 0.02, 0.0),
    "network-light": (0.1, 0.02, 0.0),
    "inference": (0.2, 0.2, 0.0),
    "gpu-matmul": (0.1, 0.05, 1.0),
    "gpu-copy": (0.1, 0.05, 0.7),
    "gpu-square": (0.1, 0.05, 1.0),
}


def activity(workload: str) -> tuple[float, float, float]:
    """Return the shares of CPU, memory and GPU that a workload draws at level 1, each 0 to 1."""
    name = workload.partition("@")[0]
    for ending, part in (("-half", 0.5), ("-1", _ONE_CORE)):
        if name.endswith(ending):
            cpu, memory, gpu = activity(name.removesuffix(ending))
            return cpu * part, memory * part, gpu * part
    return _SHARES.get(name, (1.0, 0.03, 0.0))
