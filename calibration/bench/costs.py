"""What the observation itself costs: processor time by thread and by process, and how late it asks.

Every figure is counted by the kernel (clock_gettime(2), CLOCK_THREAD_CPUTIME_ID and
CLOCK_PROCESS_CPUTIME_ID; proc(5) for a tool in a process of its own) from the beginning of the
recording on, and stands in the run once a minute and at its end.
"""

from __future__ import annotations

import contextlib
import math
import signal
import time
from collections.abc import Callable, Iterable
from itertools import accumulate
from typing import Final, Protocol

from ..recording.documents import Cost, SourceCost
from ..recording.writer import RunWriter

__all__ = ["EVERY_S", "Child", "Jitter", "Ledger", "Observed"]

EVERY_S: Final = 60.0
_LEAST_S: Final = 1e-6
_BINS_PER_OCTAVE: Final = 8
_BINS: Final = 30 * _BINS_PER_OCTAVE  # up to a quarter of an hour


class Jitter:
    """How far from their time the samples of one source were taken, in constant memory.

    A histogram whose bins grow by 9 % each from 1 µs on; a quantile is the upper edge of its bin.
    """

    __slots__ = ("_bins", "count")

    def __init__(self) -> None:
        self._bins, self.count = [0] * (_BINS + 1), 0

    def add(self, off_s: float) -> None:
        """Count one sample that was so many seconds off, in either direction."""
        octaves = math.log2(max(abs(off_s), _LEAST_S) / _LEAST_S)
        self._bins[min(math.ceil(_BINS_PER_OCTAVE * octaves), _BINS)] += 1
        self.count += 1

    def quantile_s(self, share: float) -> float | None:
        """Return what `share` of the samples were off at most, s; `None` before the first."""
        if not self.count:
            return None
        counts = enumerate(accumulate(self._bins))
        number = next(i for i, n in counts if n >= share * self.count)
        return float(_LEAST_S * 2 ** (number / _BINS_PER_OCTAVE))


class Child:
    """A tool's own process, with what it has started: processor time and memory.

    Once it has ended the last figures stay.
    """

    def __init__(self, pid: int) -> None:
        import psutil

        self._gone = psutil.Error
        self._process: psutil.Process | None = None
        self._begin_s = self._cpu_s = 0.0
        self.rss_bytes: int | None = None
        with contextlib.suppress(psutil.Error):
            self._process = psutil.Process(pid)
        self.look()
        self._begin_s = self._cpu_s

    @property
    def cpu_s(self) -> float:
        """Return the processor time since the recording began, s."""
        return self._cpu_s - self._begin_s

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal, if it is still there."""
        if self._process is not None:
            with contextlib.suppress(self._gone):
                self._process.send_signal(number)

    def look(self) -> None:
        """Take its present figures."""
        if self._process is None:
            return
        with contextlib.suppress(self._gone), self._process.oneshot():
            self._cpu_s = sum(self._process.cpu_times()[:4])
            # 0 once it has ended and nobody has taken note of it yet
            self.rss_bytes = self._process.memory_info().rss or self.rss_bytes


class Observed(Protocol):
    """What a sampler tells of itself."""

    @property
    def stream(self) -> str:
        """Return the name of its stream."""
        ...

    @property
    def jitter(self) -> Jitter | None:
        """Return how far from its time it was asked; `None` for a stream of blocks."""
        ...

    @property
    def child(self) -> Child | None:
        """Return the process of its own that its tool runs in."""
        ...


class Ledger:
    """Writes the costs of one recording; made and used in the thread that follows the plan."""

    def __init__(self, writer: RunWriter, now_ns: Callable[[], int]) -> None:
        self._writer, self._now_ns = writer, now_ns
        self._begin_ns = self._written_ns = now_ns()
        self._process_s, self._thread_s = time.process_time(), time.thread_time()
        self.view_s = 0.0

    def show(self, view: Callable[[], None]) -> None:
        """Let somebody look on; what that takes is counted apart."""
        begin_s = time.thread_time()
        try:
            view()
        finally:
            self.view_s += time.thread_time() - begin_s

    def write(self, sources: Iterable[tuple[Observed, float]], *, at_once: bool = False) -> None:
        """Write what it cost so far, if a minute has passed; a source with its thread's time, s."""
        now_ns = self._now_ns()
        if not at_once and now_ns - self._written_ns < EVERY_S * 1e9:
            return
        self._written_ns = now_ns
        self._writer.cost(
            Cost(
                t_ns=now_ns,
                elapsed_s=(now_ns - self._begin_ns) / 1e9,
                process_cpu_s=time.process_time() - self._process_s,
                writer_cpu_s=self._writer.keeper.cpu_s,
                plan_cpu_s=time.thread_time() - self._thread_s - self.view_s,
                view_cpu_s=self.view_s,
                sources=tuple(_of(source, cpu_s) for source, cpu_s in sources),
            )
        )


def _of(source: Observed, cpu_s: float) -> SourceCost:
    child, jitter = source.child, source.jitter
    if child is not None:
        child.look()
    return SourceCost(
        stream=source.stream,
        cpu_s=cpu_s,
        child_cpu_s=None if child is None else child.cpu_s,
        child_rss_bytes=None if child is None else child.rss_bytes,
        jitter_p50_s=None if jitter is None else jitter.quantile_s(0.50),
        jitter_p99_s=None if jitter is None else jitter.quantile_s(0.99),
    )
