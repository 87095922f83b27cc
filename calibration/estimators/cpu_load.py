"""CPU load: the share of time that the cores were busy, the simplest estimator of all.

Busy is user, system and interrupt time (proc(5), /proc/stat); idle, waiting for a disk and time
that a hypervisor took away (steal) are not. The busy time is divided by our own clock's time and
the number of cores, because Linux keeps the idle time of a core that sleeps only roughly: it may
even go back. Times come in clock ticks (10 ms): the load of a short window is coarse.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from ..errors import NotAvailable
from ..instruments import Reading
from ..recording.documents import ChannelInfo, Descriptor

__all__ = ["CpuLoad", "ProcStat"]

_PROC_STAT: Final = Path("/proc/stat")
_LINE: Final = 256
_IRQ, _SOFTIRQ = 5, 6


class CpuLoad:
    """The mean load of all cores, 0 to 1, since the reading before.

    `busy_s` returns the busy time of all cores together since the machine was started, s.

    Raises:
        NotAvailable: there is no /proc/stat.

    """

    since_previous = True

    def __init__(
        self,
        *,
        id: str = "cpu-load",
        cadence_s: float = 0.2,
        busy_s: Callable[[], float] | None = None,
        cores: int | None = None,
        now_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self.id, self.cadence_s, self._now_ns = id, cadence_s, now_ns
        self._file: ProcStat | None = None
        if busy_s is None:
            self._file = ProcStat()
            busy_s = self._file.busy_s
        self._busy = busy_s
        self._cores = cores or os.cpu_count() or 1
        self._tick_s = 1 / os.sysconf("SC_CLK_TCK")
        self._last_ns, self._last_busy_s = now_ns(), math.nan
        self.read()

    def descriptor(self) -> Descriptor:
        """Return what the one channel means."""
        return Descriptor(
            stream=self.id,
            role="estimator",
            source="/proc/stat",
            channels=(
                ChannelInfo(
                    name="cpu_load",
                    quantity="load",
                    unit="1",
                    kind="mean",
                    window_s=self.cadence_s,
                    stamp_at="end",
                    resolution=self._tick_s / (self._cores * self.cadence_s),
                    plausible=(0.0, 1.0),
                    input="cpu_load",
                ),
            ),
            cadence_s=self.cadence_s,
            mode="machine",
            scope=("all logical cores",),
            configuration={
                "logical_cores": self._cores,
                "tick_s": self._tick_s,
                "busy": "user + nice + system + irq + softirq",
            },
        )

    def read(self) -> Reading:
        """Return the mean load since the reading before, 0 to 1.

        The ticks of the last moment may belong to the moment before: a load above 1 by no more than
        that is 1, anything beyond is a fault, and so are times that went back.
        """
        t_request_ns = self._now_ns()
        try:
            busy_s = self._busy()
        except (OSError, ValueError):
            busy_s = math.nan
        t_reply_ns = self._now_ns()
        available_s = self._cores * (t_reply_ns - self._last_ns) / 1e9
        worked_s = busy_s - self._last_busy_s
        self._last_ns, self._last_busy_s = t_reply_ns, busy_s
        fault = None
        if math.isnan(worked_s):
            fault = "unreadable"
        elif available_s <= 0 or worked_s < 0:
            fault = "reset"
        elif worked_s > available_s + 2 * self._cores * self._tick_s:
            fault = "implausible"
        if fault is not None:
            return Reading(t_request_ns, t_reply_ns, fault=fault)
        return Reading(t_request_ns, t_reply_ns, {"cpu_load": min(worked_s / available_s, 1.0)})

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()


class ProcStat:
    """The busy time of all cores in the first line of /proc/stat, s, read through an open file.

    `cpu user nice system idle iowait irq softirq steal guest guest_nice`, in clock ticks; the time
    of guests is part of user and nice already (proc(5)).
    """

    def __init__(self, path: Path = _PROC_STAT) -> None:
        self._ticks_per_s = os.sysconf("SC_CLK_TCK")
        try:
            self.file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise NotAvailable(
                f"Expected the CPU times in {path}; it cannot be read ({error.strerror}). They "
                "need Linux, and /proc inside a container."
            ) from None

    def busy_s(self) -> float:
        """Return the time that all cores together have worked since the machine was started, s."""
        name, *ticks = os.pread(self.file, _LINE, 0).split(b"\n", 1)[0].split()
        if name != b"cpu" or len(ticks) < _SOFTIRQ + 1:
            raise ValueError("no line of CPU times")
        busy = int(ticks[0]) + int(ticks[1]) + int(ticks[2])
        return (busy + int(ticks[_IRQ]) + int(ticks[_SOFTIRQ])) / self._ticks_per_s

    def close(self) -> None:
        """Close the file; closing twice is harmless."""
        if self.file >= 0:
            os.close(self.file)
            self.file = -1
