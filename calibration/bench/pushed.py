"""The sampler of a tool in a process of its own, which measures when it likes."""

from __future__ import annotations

from typing import Final

from ..errors import EstimatorError
from ..estimators import PushedEstimator
from ..instruments import Reading
from ..recording.streams import StreamWriter
from ..recording.writer import RunWriter
from .costs import Child, Jitter
from .outage import Outage
from .watts import LiveWatts

__all__ = ["PushedSampler"]

_DRAIN_NS: Final = 200_000_000
# A tool that has sent nothing for so many of its cadences, and this long, has stalled.
_SILENCE_CADENCES: Final = 5.0
_SILENCE_S: Final = 2.0
_LOOK_NS: Final = 1_000_000_000
# No tool under test needs a tenth of it; one that leaks must not take the machine with it.
MOST_RSS_BYTES: Final = 2 << 30


class PushedSampler:
    """Collects what a tool in a process of its own sends; its death costs this stream only."""

    def __init__(
        self, estimator: PushedEstimator, sink: StreamWriter, writer: RunWriter, begin_ns: int
    ) -> None:
        self.stream, self.faults = sink.descriptor.stream, 0
        self.watts = LiveWatts(sink.descriptor)
        self.jitter = Jitter()
        pid = getattr(estimator, "pid", None)
        self.child = None if pid is None else Child(pid)
        self._looked_ns, self._read_ns = begin_ns, 0
        self._estimator, self._sink = estimator, sink
        self._begin_ns = self._heard_ns = begin_ns
        patience_s = _SILENCE_CADENCES * estimator.cadence_s + _SILENCE_S
        self._patience_ns = round(patience_s * 1e9)
        self._silent = Outage(writer, self.stream, "stalled")
        self._ended = Outage(writer, self.stream, "ended")
        self._is_over = False

    def step(self, now_ns: int) -> int | None:
        """Write what has arrived."""
        try:
            self._write(self._estimator.drain(), now_ns)
        except EstimatorError as error:
            self._has_ended(now_ns, str(error))
            return None
        if self.child is not None and now_ns - self._looked_ns >= _LOOK_NS:
            self._looked_ns = now_ns
            self.child.look()
            used = self.child.rss_bytes or 0
            if used > MOST_RSS_BYTES:
                self._estimator.close()
                self._has_ended(
                    now_ns,
                    f"It had {used / 1e9:.1f} GB of memory, more than the "
                    f"{MOST_RSS_BYTES / 1e9:.1f} GB that a tool may have, and was ended.",
                )
                return None
        if now_ns - self._heard_ns > self._patience_ns:
            if not self._silent.open:
                self.faults += 1
                self._silent.happened(self._heard_ns, "It has sent nothing for a while.")
        elif self._silent.open:
            self._silent.over(now_ns)
        return now_ns + _DRAIN_NS

    def resume(self, now_ns: int) -> None:
        """Go on after a rest, which was no stall."""
        self._heard_ns, self._read_ns = now_ns, 0

    def _has_ended(self, now_ns: int, why: str) -> None:
        """Write it down at once: whoever records may die too."""
        self.faults += 1
        self._silent.over(now_ns)
        self._ended.happened(now_ns, why)
        self._ended.over(None)
        self._is_over = True

    def _write(self, readings: tuple[Reading, ...], now_ns: int) -> None:
        for reading in readings:
            if reading.t_request_ns < self._begin_ns:
                continue  # it was running before the recording began
            self._sink.append(
                reading.t_request_ns, reading.t_reply_ns, reading.values, reading.fault
            )
            self._heard_ns = now_ns
            if self._read_ns:
                between_s = (reading.t_request_ns - self._read_ns) / 1e9
                self.jitter.add(between_s - self._estimator.cadence_s)
            self._read_ns = reading.t_request_ns
            self.faults += reading.fault is not None
            self.watts.take(reading.t_reply_ns, reading.values)

    def finish(self, now_ns: int) -> None:
        """Let the tool measure once more and write what comes."""
        if not self._is_over:
            try:
                self._write(self._estimator.finish(), now_ns)
                self._write(self._estimator.drain(), now_ns)
            except EstimatorError as error:
                self._ended.happened(now_ns, str(error))
        self._silent.over(None)
        self._ended.over(None)
