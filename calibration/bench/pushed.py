"""The sampler of a tool in a process of its own, which measures when it likes."""

from __future__ import annotations

from typing import Final

from ..errors import EstimatorError
from ..estimators import PushedEstimator
from ..instruments import Reading
from ..recording.streams import StreamWriter
from ..recording.writer import RunWriter
from .outage import Outage
from .watts import LiveWatts

__all__ = ["PushedSampler"]

_DRAIN_NS: Final = 200_000_000
# A tool that has sent nothing for so many of its cadences, and this long, has stalled.
_SILENCE_CADENCES: Final = 5.0
_SILENCE_S: Final = 2.0


class PushedSampler:
    """Collects what a tool in a process of its own sends; its death costs this stream only."""

    def __init__(
        self, estimator: PushedEstimator, sink: StreamWriter, writer: RunWriter, begin_ns: int
    ) -> None:
        self.stream, self.faults = sink.descriptor.stream, 0
        self.watts = LiveWatts(sink.descriptor)
        self._estimator, self._sink = estimator, sink
        self._begin_ns = self._heard_ns = begin_ns
        patience_s = _SILENCE_CADENCES * estimator.cadence_s + _SILENCE_S
        self._patience_ns = round(patience_s * 1e9)
        self._silent = Outage(writer, self.stream, "stalled")
        self._ended = Outage(writer, self.stream, "ended")

    def step(self, now_ns: int) -> int | None:
        """Write what has arrived."""
        try:
            self._write(self._estimator.drain(), now_ns)
        except EstimatorError as error:
            self.faults += 1
            self._ended.happened(now_ns, str(error))
            return None
        if now_ns - self._heard_ns > self._patience_ns:
            if not self._silent.open:
                self.faults += 1
                self._silent.happened(self._heard_ns, "It has sent nothing for a while.")
        elif self._silent.open:
            self._silent.over(now_ns)
        return now_ns + _DRAIN_NS

    def _write(self, readings: tuple[Reading, ...], now_ns: int) -> None:
        for reading in readings:
            if reading.t_request_ns < self._begin_ns:
                continue  # it was running before the recording began
            self._sink.append(
                reading.t_request_ns, reading.t_reply_ns, reading.values, reading.fault
            )
            self._heard_ns = now_ns
            self.faults += reading.fault is not None
            self.watts.take(reading.t_reply_ns, reading.values)

    def finish(self, now_ns: int) -> None:
        """Let the tool measure once more and write what comes."""
        if not self._ended.open:
            try:
                self._write(self._estimator.finish(), now_ns)
                self._write(self._estimator.drain(), now_ns)
            except EstimatorError as error:
                self._ended.happened(now_ns, str(error))
        self._silent.over(None)
        self._ended.over(None)
