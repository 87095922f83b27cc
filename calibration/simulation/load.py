"""The CPU load of this machine, from differences of the counters in /proc/stat.

Line format after proc(5): `cpuN user nice system idle iowait irq softirq steal guest guest_nice`,
in jiffies (USER_HZ, mostly 1/100 s). `guest` is already contained in `user`. At 100 jiffies a
second an interval of 0.1 s resolves the load of n processors in steps of 1/(10 n): that is coarse,
and no matter here, because the simulation takes the resulting number for its truth.
"""

from __future__ import annotations

import os
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from ..errors import NotAvailable

__all__ = ["PROC_STAT", "CpuTimes", "load_between", "parse_cpu_times", "read_cpu_times", "usable"]

PROC_STAT = Path("/proc/stat")


@dataclass(frozen=True, slots=True)
class CpuTimes:
    """Jiffies since boot, summed over the processors asked for: working ones and all of them."""

    busy: int
    total: int


def usable() -> frozenset[int]:
    """Return the processors that this process may run on; the load is theirs."""
    return frozenset(os.sched_getaffinity(0))


def parse_cpu_times(text: str, cpus: Collection[int]) -> CpuTimes:
    """Return the times of `cpus` in the text of /proc/stat.

    User, nice, system, irq and softirq are work. Idle, iowait and steal are not: a processor that
    another guest holds does no work of ours.
    """
    busy = total = seen = 0
    for line in text.splitlines():
        if not line.startswith("cpu") or not line[3:4].isdigit():
            continue
        name, *columns = line.split()
        if int(name[3:]) not in cpus:
            continue
        try:
            user, nice, system, idle, iowait, irq, softirq, steal = map(int, columns[:8])
        except ValueError:
            raise NotAvailable(
                f"Expected eight numbers after {name} in /proc/stat; got {line!r}. "
                "The simulated machine needs Linux's CPU times."
            ) from None
        work = user + nice + system + irq + softirq
        busy += work
        total += work + idle + iowait + steal
        seen += 1
    if not seen:
        raise NotAvailable(
            "Expected a line per processor in /proc/stat and found none of ours. "
            "The simulated machine follows this machine's CPU load and cannot run without it."
        )
    return CpuTimes(busy, total)


def read_cpu_times(cpus: Collection[int], path: Path = PROC_STAT) -> CpuTimes:
    """Read the times of `cpus` now, in jiffies."""
    try:
        text = path.read_text(encoding="ascii")
    except OSError as error:
        raise NotAvailable(
            f"Expected to read {path}; got {error.strerror}. "
            "The simulated machine follows this machine's CPU load and cannot run without it."
        ) from None
    return parse_cpu_times(text, cpus)


def load_between(before: CpuTimes, after: CpuTimes) -> float | None:
    """Return the working share of the time between two looks, 0 to 1; None if none has passed."""
    total = after.total - before.total
    if total <= 0:
        return None
    # The idle columns are estimates on a tickless kernel and may step back by a jiffy.
    return min(max((after.busy - before.busy) / total, 0.0), 1.0)
