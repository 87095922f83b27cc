"""Hours of recording with a clock of its own, and how much memory they take.

Two polled sources at 10 Hz and a stream of 1 kHz go through the real samplers and the real writer,
whose thread is stepped by hand. What is measured is the resident memory after each tenth.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import psutil

from calibration.bench.polled import PolledSampler
from calibration.instruments import Reading
from calibration.recording.clocks import read_clocks
from calibration.recording.documents import ChannelInfo, Descriptor
from calibration.recording.files import AppendFile
from calibration.recording.writer import RunWriter, new_start

__all__ = ["Memory", "record_hours"]

S = 10**9
_TURN_NS = 400_000_000


@dataclass(frozen=True, slots=True)
class Memory:
    """Resident memory after each tenth of the recording, and after it was sealed, bytes."""

    rows: int
    tenths: tuple[int, ...]
    sealed: int

    @property
    def growth(self) -> int:
        """Return by how much it grew from the second tenth to the last, bytes."""
        return self.tenths[-1] - self.tenths[1]


class Source:
    """A counter that is read; every hundredth reading fails."""

    cadence_s = 0.1
    since_previous = False

    def __init__(self, id: str) -> None:
        self.id, self.now_ns, self.count = id, 0, 0

    def descriptor(self) -> Descriptor:
        channels = tuple(
            ChannelInfo(name=n, quantity="energy", unit="J", kind="counter") for n in ("a_j", "b_j")
        )
        return Descriptor(stream=self.id, role="estimator", source="hours", channels=channels)

    def read(self) -> Reading:
        self.count += 1
        if self.count % 100 == 0:
            return Reading(self.now_ns, self.now_ns + 1000, fault="unreadable")
        value = 1e-3 * self.count
        return Reading(self.now_ns, self.now_ns + 1000, {"a_j": value, "b_j": 2 * value})

    def close(self) -> None: ...


RAILS = Descriptor(
    stream="rails",
    role="meter",
    source="hours",
    channels=(ChannelInfo(name="a_v", quantity="voltage", unit="V", kind="mean", scale=(1, 10)),),
    arrival="streamed",
    tick_rate_hz=1000.0,
)


def record_hours(hours: float, folder: Path) -> Memory:
    """Record for so long; nobody waits, and the disk is not waited for either."""
    with patch.object(AppendFile, "sync", lambda self: None):
        return _recorded(hours, folder)


def _recorded(hours: float, folder: Path) -> Memory:
    now_ns = begin_ns = 10**12
    process = psutil.Process()
    start = read_clocks()

    def clocks() -> Any:
        passed = now_ns - begin_ns
        return type(start)(
            monotonic_ns=start.monotonic_ns + passed,
            boottime_ns=start.boottime_ns + passed,
            wall_ns=start.wall_ns + passed,
            boot_id=start.boot_id,
        )

    head = new_start("simulated", "s")
    run = RunWriter.create(folder / "run", start=head, live=False, clocks=clocks)
    sources = [Source("one"), Source("two")]
    samplers = [PolledSampler(s, run.open_stream(s.descriptor()), run, begin_ns) for s in sources]
    rails = run.open_stream(RAILS)
    end_ns, turn_ns = begin_ns + round(hours * 3600 * S), begin_ns
    tenth_ns, tenths, ticks = (end_ns - begin_ns) // 10, [], 0
    while now_ns < end_ns:
        for source, sampler in zip(sources, samplers, strict=True):
            source.now_ns = now_ns
            sampler.step(now_ns)
        block = np.arange(ticks, ticks + 100)
        rails.append_block(now_ns, now_ns + 1, block, {"a_v": (block % 977).astype(np.int16)})
        ticks += 100
        now_ns += S // 10
        if now_ns - turn_ns >= _TURN_NS:
            turn_ns = now_ns
            run.keeper.turn()
        if now_ns - begin_ns >= tenth_ns * (len(tenths) + 1):
            tenths.append(process.memory_info().rss)
    for sampler in samplers:
        sampler.finish(now_ns)
    stop = run.seal("success")
    return Memory(sum(stop.rows.values()), tuple(tenths), process.memory_info().rss)
