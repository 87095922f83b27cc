"""CPU load: the share of time that the cores were busy, the simplest estimator of all.

Busy is everything but idle and waiting for a disk; time that a hypervisor took away (steal) is
neither ours nor idle and counts as elapsed only. Linux keeps these times in clock ticks (10 ms):
the load of a short window is coarse.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable

from ..errors import NotInstalled
from ..instruments import Reading
from ..recording.documents import ChannelInfo, Descriptor

__all__ = ["CpuLoad", "CpuTimes"]

# (busy, elapsed) of all cores together since the machine was started, s
CpuTimes = Callable[[], tuple[float, float]]


class CpuLoad:
    """The mean load of all cores, 0 to 1, since the reading before."""

    since_previous = True

    def __init__(
        self,
        *,
        id: str = "cpu-load",
        cadence_s: float = 0.2,
        cpu_times: CpuTimes | None = None,
        now_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self.id, self.cadence_s, self._now_ns = id, cadence_s, now_ns
        self._times = cpu_times or _psutil_times()
        self._busy_s, self._elapsed_s = self._times()

    def descriptor(self) -> Descriptor:
        """Return what the one channel means."""
        cores = os.cpu_count() or 1
        tick_s = 1 / os.sysconf("SC_CLK_TCK")
        return Descriptor(
            stream=self.id,
            role="estimator",
            source="psutil.cpu_times",
            channels=(
                ChannelInfo(
                    name="cpu_load",
                    quantity="load",
                    unit="1",
                    kind="mean",
                    window_s=self.cadence_s,
                    stamp_at="end",
                    resolution=tick_s / (cores * self.cadence_s),
                    plausible=(0.0, 1.0),
                    input="cpu_load",
                ),
            ),
            cadence_s=self.cadence_s,
            mode="busy = not idle, not iowait, not steal",
            scope=("all logical cores",),
            configuration={"logical_cores": cores, "tick_s": tick_s},
        )

    def read(self) -> Reading:
        """Return the mean load since the reading before, 0 to 1."""
        t_request_ns = self._now_ns()
        try:
            busy_s, elapsed_s = self._times()
        except OSError as error:
            return Reading(t_request_ns, self._now_ns(), fault=f"unreadable: {error}")
        t_reply_ns = self._now_ns()
        busy, elapsed = busy_s - self._busy_s, elapsed_s - self._elapsed_s
        if elapsed <= 0:
            return Reading(t_request_ns, t_reply_ns, fault="too soon: no tick since the last one")
        self._busy_s, self._elapsed_s = busy_s, elapsed_s
        if not 0 <= busy <= elapsed:
            return Reading(t_request_ns, t_reply_ns, fault="reset: the times went back")
        return Reading(t_request_ns, t_reply_ns, {"cpu_load": busy / elapsed})

    def close(self) -> None:
        """Do nothing: no file stays open."""


def _psutil_times() -> CpuTimes:
    try:
        import psutil
    except ImportError:
        raise NotInstalled(
            "CPU load needs psutil, which is not installed: pip install 'wattcal[lab]'"
        ) from None

    def times() -> tuple[float, float]:
        t = psutil.cpu_times()
        # Time of guests is part of user and nice already (proc(5), /proc/stat).
        parts = {k: getattr(t, k, 0.0) for k in ("user", "nice", "system", "irq", "softirq")}
        busy_s = sum(parts.values())
        rest_s = sum(getattr(t, k, 0.0) for k in ("idle", "iowait", "steal"))
        return busy_s, busy_s + rest_s

    return times
