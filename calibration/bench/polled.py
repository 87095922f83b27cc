"""Samplers of polled sources: an estimator that reads the host, a meter behind a port."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from ..estimators import Estimator
from ..instruments import DriverError, Meter, Reading, Transient, TransportError
from ..recording.streams import StreamWriter
from ..recording.writer import RunWriter
from .costs import Child, Jitter
from .outage import Outage
from .port import MeterPort
from .schedule import Schedule
from .watts import LiveWatts

__all__ = ["MeterSampler", "PolledSampler"]

# More missed ticks at once than this are one fault: a machine that slept for a night.
_MISSED_ROWS: Final = 10


class _Ticking:
    """Ticks, late and missed ones: what every polled source shares."""

    def __init__(
        self, stream: str, sink: StreamWriter, writer: RunWriter, cadence_s: float, begin_ns: int
    ) -> None:
        self.stream, self.faults = stream, 0
        self.watts = LiveWatts(sink.descriptor)
        self.jitter = Jitter()
        self._sink = sink
        self._schedule = Schedule(begin_ns, max(round(cadence_s * 1e9), 1))
        self._expected = 0
        self._late = Outage(writer, stream, "late")
        self._missed = Outage(writer, stream, "missed")

    def due(self, now_ns: int) -> bool:
        """Whether a tick is due; those that are over are recorded as missed."""
        tick = self._schedule.last(now_ns)
        if tick < self._expected:
            return False
        missed = self._schedule.missed(self._expected, now_ns)
        for index in missed[:_MISSED_ROWS]:
            self.write(Reading(self._schedule.tick_ns(index), now_ns, fault="missed"))
        if len(missed) > _MISSED_ROWS:
            self._missed.happened(
                self._schedule.tick_ns(missed[_MISSED_ROWS]),
                "The source or the machine was busy or asleep; no rows were written for these.",
                len(missed) - _MISSED_ROWS,
            )
            self._missed.over(now_ns)
        off_ns = now_ns - self._schedule.tick_ns(tick)
        self.jitter.add(off_ns / 1e9)
        if 2 * off_ns > self._schedule.cadence_ns:
            self._late.happened(now_ns, "Asked more than half a cadence after its time.")
        self._expected = tick + 1
        return True

    def resume(self, now_ns: int) -> None:
        """Go on with the next tick; those that are over were not meant to be taken."""
        self._expected = max(self._expected, self._schedule.last(now_ns) + 1)

    def next_ns(self) -> int:
        """Return when the next tick is due."""
        return self._schedule.tick_ns(self._expected)

    def write(self, reading: Reading, *, window_ns: int | None = None) -> None:
        """Write one row, good or failed."""
        self._sink.append(
            reading.t_request_ns,
            reading.t_reply_ns,
            reading.values,
            reading.fault,
            window_ns=window_ns,
        )
        if reading.fault is None:
            self.watts.take(reading.t_reply_ns, reading.values)
        else:
            self.faults += 1

    def finish(self, now_ns: int) -> None:
        """Write the faults that still stand open."""
        self._late.over(now_ns)


class PolledSampler:
    """Asks an estimator that reads counters of the host."""

    child: Child | None = None

    def __init__(
        self, estimator: Estimator, sink: StreamWriter, writer: RunWriter, begin_ns: int
    ) -> None:
        self._estimator = estimator
        self._ticking = _Ticking(
            sink.descriptor.stream, sink, writer, estimator.cadence_s, begin_ns
        )
        self._previous_ns: int | None = None

    @property
    def stream(self) -> str:
        """Return the name of its stream."""
        return self._ticking.stream

    @property
    def faults(self) -> int:
        """Return how many rows failed."""
        return self._ticking.faults

    @property
    def watts(self) -> LiveWatts:
        """Return what it reads at present."""
        return self._ticking.watts

    @property
    def jitter(self) -> Jitter:
        """Return how long after its ticks it was asked."""
        return self._ticking.jitter

    def step(self, now_ns: int) -> int:
        """Take a reading if one is due."""
        if self._ticking.due(now_ns):
            reading = self._estimator.read()
            if not self._estimator.since_previous:
                self._ticking.write(reading)
            else:
                self._write_mean(reading)
        return self._ticking.next_ns()

    def resume(self, now_ns: int) -> None:
        """Go on after a rest; the first mean behind it would be one over the rest."""
        self._ticking.resume(now_ns)
        self._previous_ns = None

    def _write_mean(self, reading: Reading) -> None:
        """Write a mean since the reading before with that window; the first one has none."""
        t_ns = (reading.t_request_ns + reading.t_reply_ns) // 2
        if self._previous_ns is not None:
            window_ns = t_ns - self._previous_ns if reading.fault is None else None
            self._ticking.write(reading, window_ns=window_ns)
        self._previous_ns = t_ns

    def finish(self, now_ns: int) -> None:
        """Write the faults that still stand open."""
        self._ticking.finish(now_ns)


class MeterSampler:
    """Asks a polled meter, and opens it again when it has vanished."""

    child: Child | None = None

    def __init__(
        self,
        meter: Meter,
        sink: StreamWriter,
        writer: RunWriter,
        begin_ns: int,
        *,
        now_ns: Callable[[], int],
        reopen: Callable[[], Meter] | None,
    ) -> None:
        descriptor = sink.descriptor
        self._ticking = _Ticking(
            descriptor.stream, sink, writer, descriptor.cadence_s or 1.0, begin_ns
        )
        self._now_ns = now_ns
        self._port = MeterPort(meter, reopen, Outage(writer, descriptor.stream, "outage"))

    @property
    def stream(self) -> str:
        """Return the name of its stream."""
        return self._ticking.stream

    @property
    def faults(self) -> int:
        """Return how many rows failed."""
        return self._ticking.faults

    @property
    def watts(self) -> LiveWatts:
        """Return what it reads at present."""
        return self._ticking.watts

    @property
    def jitter(self) -> Jitter:
        """Return how long after its ticks it was asked."""
        return self._ticking.jitter

    def step(self, now_ns: int) -> int:
        """Take a reading if one is due."""
        if self._ticking.due(now_ns):
            self._ticking.write(self._reading(now_ns))
        return self._ticking.next_ns()

    def _reading(self, now_ns: int) -> Reading:
        meter = self._port.get(now_ns)
        if meter is None:
            return Reading(now_ns, now_ns, fault="gone")
        try:
            reading = meter.read()
        except DriverError as error:
            if isinstance(error, TransportError) and not isinstance(error, Transient):
                self._port.lost(now_ns, str(error))
            return Reading(now_ns, self._now_ns(), fault=error.code)
        self._port.answered(reading.t_reply_ns)
        return reading

    def finish(self, now_ns: int) -> None:
        """Write the faults that still stand open, and close a meter that was opened here."""
        self._port.finish()
        self._ticking.finish(now_ns)
