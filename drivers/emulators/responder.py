"""What stands between an emulated instrument and its client: answers, a stream, and the faults.

The device itself is a plain object without threads or time of its own (`Device`, `Streamer`);
`Responder` puts the faults between it and its client, whatever line carries the bytes.
"""

from __future__ import annotations

import heapq
import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol, TypeGuard

from .faults import NOT_IN_STREAMS, FaultPlan, faults_of

__all__ = ["Device", "Pending", "Responder", "Sent", "Streamer", "at_another_speed"]

_STREAM_FAULT_S: Final = 0.1  # chance decides once in this time about the fate of a stream
_LOG: Final = 200_000


class Device(Protocol):
    """What is behind the line: knows its measurand and its protocol, nothing of faults.

    A device may have more: `faults`, its format's own versions of the faults in `BY_FORMAT`;
    `reset_counters()`; `latency_s`, how long it takes to answer; `ready_s`, the instant (monotonic
    seconds) before which the answer just taken is not given.
    """

    def advance(self, t_s: float) -> None:
        """Let time pass until `t_s` (monotonic seconds)."""
        ...

    def take(self, buffer: bytes) -> tuple[bytes, bytes, bytes]:
        """Split (question, answer, rest) off the bytes received; no question: more are needed."""
        ...

    def reboot(self) -> None:
        """Restart: forget what does not survive a loss of power."""
        ...


class Streamer(Device, Protocol):
    """A device that also talks by itself, at a speed of its own."""

    baud: int

    def due(self, t_s: float) -> bytes:
        """Return what is to be sent by `t_s` (monotonic seconds) and is not sent yet."""
        ...

    def sent(self, count: int) -> None:
        """Take note that the line took the first `count` bytes of what was due."""
        ...


@dataclass(frozen=True, slots=True)
class Sent:
    """One answer: when (monotonic ns), to what, what was meant, and what fault it suffered.

    Of a stream only the damaged pieces are noted; their `request` is empty.
    """

    t_ns: int
    request: bytes
    answer: bytes
    fault: str | None


class Responder:
    """Answers and talks for a device, with faults; keeps a log of the last answers."""

    def __init__(self, device: Device, faults: FaultPlan | None = None) -> None:
        self.device = device
        self.streamer: Streamer | None = device if _talks(device) else None
        self.faults = faults or FaultPlan()
        possible = faults_of(device)
        for name in self.faults.rates:
            if name not in possible:
                raise ValueError(
                    f"This device has the faults {', '.join(possible)}; it has no {name}."
                )
        self.log: deque[Sent] = deque(maxlen=_LOG)
        self.unplug_until_s: float | None = None
        self._buffer = b""
        self._held = (b"", b"")  # the last question and its answer
        self._away_until_s = 0.0
        self._fate_s = 0.0

    def receive(self, data: bytes, t_ns: int) -> list[tuple[float, bytes]]:
        """Take what the client wrote at `t_ns`; return (instant in s, bytes) still to be sent."""
        t_s = t_ns * 1e-9
        self.device.advance(t_s)
        self._buffer += data
        out: list[tuple[float, bytes]] = []
        while True:
            request, answer, self._buffer = self.device.take(self._buffer)
            if not request:
                return out
            if t_s < self._away_until_s or not answer:
                continue
            out += self._deliver(self.faults.next(), request, answer, t_ns)

    def stream(self, t_ns: int) -> tuple[int, list[tuple[float, bytes]]]:
        """Return how many bytes of a stream are due, and (instant in s, bytes) that arrive."""
        if self.streamer is None:
            return 0, []
        t_s = t_ns * 1e-9
        self.streamer.advance(t_s)
        due = self.streamer.due(t_s)
        if not due:
            return 0, []
        fault = None
        if t_s >= self._fate_s:
            self._fate_s, fault = t_s + _STREAM_FAULT_S, self.faults.next()
        if t_s < self._away_until_s:
            return len(due), []
        if fault is None or fault in NOT_IN_STREAMS:
            self._held = (b"", due)
            return len(due), [(t_s, due)]
        return len(due), self._deliver(fault, b"", due, t_ns)

    def _deliver(
        self, fault: str | None, request: bytes, answer: bytes, t_ns: int
    ) -> list[tuple[float, bytes]]:
        t_s = t_ns * 1e-9
        held_request, held = self._held
        if fault == "held" and held and held_request == request:
            answer = held
        if fault == "counter_reset":
            self._reset_counters()
        if fault == "reboot":
            self.device.reboot()
            self._away_until_s = t_s + self.faults.away_s
        if fault == "unplug":
            self.unplug_until_s = t_s + self.faults.away_s
        own = getattr(self.device, "faults", {})
        arriving = self.faults.deliver(fault, request, answer, before=held, own=own)
        self._held = (request, answer)
        self.log.append(Sent(t_ns, request, answer, fault))
        ready_s = max(t_s, getattr(self.device, "ready_s", t_s)) if request else t_s
        ready_s += getattr(self.device, "latency_s", 0.0) if request else 0.0
        return [(ready_s + d.delay_s, d.data) for d in arriving]

    def _reset_counters(self) -> None:
        """Reset them now: this answer was made before, the next one shows it."""
        reset: Callable[[], None] | None = getattr(self.device, "reset_counters", None)
        if reset is None:
            raise ValueError("This device has no counters to reset.")
        reset()


def _talks(device: Device) -> TypeGuard[Streamer]:
    return hasattr(device, "due")


class Pending:
    """What is on its way: (instant in s, bytes), the earliest first, in the order of adding."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, bytes]] = []
        self._serial = 0

    @property
    def next_s(self) -> float:
        """Return when the next piece arrives; infinity if nothing is on its way."""
        return self._heap[0][0] if self._heap else math.inf

    def add(self, pieces: list[tuple[float, bytes]], delay_s: float = 0.0) -> None:
        """Send these off, each `delay_s` seconds later than it says."""
        for t_s, data in pieces:
            self._serial += 1
            heapq.heappush(self._heap, (t_s + delay_s, self._serial, data))

    def pop(self) -> tuple[float, bytes]:
        """Take the next piece."""
        t_s, _, data = heapq.heappop(self._heap)
        return t_s, data

    def clear(self) -> None:
        """Lose everything."""
        self._heap.clear()


def at_another_speed(data: bytes) -> bytes:
    """Return what a receiver makes of bytes sent at another speed: as many wrong ones."""
    return bytes(b ^ 0x5A for b in data)
