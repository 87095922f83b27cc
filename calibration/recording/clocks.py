"""The clocks of this machine: a suspend and a clock that was set, told from time that passes."""

from __future__ import annotations

import time
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path
from typing import Final

from .documents import Clock, Fault

__all__ = ["jumps", "read_clocks", "suspends"]

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
# The same limits as in the analysis of clock documents (`analysis.counters.clock_findings`).
_SLEPT_NS: Final = 500_000_000
_SET_NS: Final = 50_000_000
_SLEW: Final = 5e-4  # NTP slews by 500 ppm at most (adjtimex(2))
_QUICK_NS: Final = 1_000_000
_TRIES: Final = 3


def read_clocks() -> Clock:
    """Look at all clocks of this machine at once.

    A look that was interrupted between two clocks is taken again, at most twice.
    """
    boottime = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
    for _ in range(_TRIES):
        begin_ns = time.monotonic_ns()
        boottime_ns, wall_ns = time.clock_gettime_ns(boottime), time.time_ns()
        end_ns = time.monotonic_ns()
        if end_ns - begin_ns < _QUICK_NS:
            break
    return Clock(
        monotonic_ns=(begin_ns + end_ns) // 2,
        boottime_ns=boottime_ns,
        wall_ns=wall_ns,
        boot_id=_boot_id(),
    )


def jumps(before: Clock, after: Clock) -> tuple[Fault, ...]:
    """Return what happened to the clocks between two looks: `suspended`, `clock_set`, or nothing.

    CLOCK_BOOTTIME goes on while the machine sleeps and CLOCK_MONOTONIC does not (clock_gettime(2)),
    so their difference grows by the time slept. What the wall clock gained beyond both was set.
    """
    passed_ns = after.monotonic_ns - before.monotonic_ns
    slept_ns = after.boottime_ns - before.boottime_ns - passed_ns
    slept_ns = slept_ns if slept_ns > _SLEPT_NS else 0
    set_ns = after.wall_ns - before.wall_ns - passed_ns - slept_ns
    said = []
    if slept_ns:
        said.append(("suspended", f"The machine slept for {slept_ns / 1e9:.3g} s."))
    if abs(set_ns) > _SET_NS + _SLEW * passed_ns:
        said.append(("clock_set", f"The wall clock was set by {set_ns / 1e9:+.3g} s."))
    return tuple(
        Fault(
            stream=None,
            code=code,
            message=message,
            t_opened_ns=before.monotonic_ns,
            t_ended_ns=after.monotonic_ns,
        )
        for code, message in said
    )


def suspends(clocks: Iterable[Clock]) -> tuple[tuple[int, int, float], ...]:
    """Return begin and end (monotonic ns) of the spans that hold a suspend, and how long it was, s.

    `CLOCK_BOOTTIME` goes on while the machine sleeps and `CLOCK_MONOTONIC` does not, so their
    difference grows by the time slept; half a second is more than any delay between two reads.
    """
    looks = list(clocks)
    found = []
    for a, b in pairwise(looks):
        slept = (b.boottime_ns - b.monotonic_ns - a.boottime_ns + a.monotonic_ns) / 1e9
        if slept > 0.5 and a.boot_id == b.boot_id:
            found.append((a.monotonic_ns, b.monotonic_ns, slept))
    return tuple(found)


def _boot_id() -> str | None:
    return _BOOT_ID.read_text().strip() if _BOOT_ID.exists() else None
