"""An emulated instrument that answers questions: behind a pty, or in memory on a clock of its own.

The device itself is a plain object without threads or time of its own (`Device`); `Responder`
puts the faults between it and its client; `PtyServer` runs both in a thread behind a real pty;
`NullModem` runs both inside the caller on a virtual clock, where an hour takes a second.
"""

from __future__ import annotations

import heapq
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Protocol

from ..errors import Gone
from .faults import FaultPlan
from .port import PtyPort

__all__ = ["Device", "NullModem", "PtyServer", "Responder", "Sent", "Streamer", "VirtualClock"]

_TICK_S: Final = 0.01
_LOG: Final = 200_000


class Streamer(Protocol):
    """A device that talks by itself once it has been told to, at a speed of its own."""

    baud: int

    def due(self, t_s: float) -> bytes:
        """Return what is to be sent by `t_s` (monotonic seconds) and is not sent yet."""
        ...

    def sent(self, count: int) -> None:
        """Take note that the line took the first `count` bytes of what was due."""
        ...


class Device(Protocol):
    """What is behind the line: knows its measurand and its protocol, nothing of faults."""

    def advance(self, t_s: float) -> None:
        """Let time pass until `t_s` (monotonic seconds)."""
        ...

    def take(self, buffer: bytes) -> tuple[bytes, bytes, bytes]:
        """Split (question, answer, rest) off the bytes received; no question: more are needed."""
        ...

    def reboot(self) -> None:
        """Restart: forget what does not survive a loss of power."""
        ...


@dataclass(frozen=True, slots=True)
class Sent:
    """One answer: when (monotonic ns), to what, what was meant, and what fault it suffered."""

    t_ns: int
    request: bytes
    answer: bytes
    fault: str | None


class Responder:
    """Answers for a device, with faults; keeps a log of the last answers."""

    def __init__(self, device: Device, faults: FaultPlan | None = None) -> None:
        self.device = device
        self.faults = faults or FaultPlan()
        self.log: deque[Sent] = deque(maxlen=_LOG)
        self.unplug_until_s: float | None = None
        self._buffer = b""
        self._held = b""
        self._away_until_s = 0.0

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
            out += self._answer(request, answer, t_ns)

    def _answer(self, request: bytes, answer: bytes, t_ns: int) -> list[tuple[float, bytes]]:
        t_s, fault = t_ns * 1e-9, self.faults.next()
        if fault == "held" and len(self._held) == len(answer):
            answer = self._held
        if fault == "reboot":
            self.device.reboot()
            self._away_until_s = t_s + self.faults.away_s
        if fault == "unplug":
            self.unplug_until_s = t_s + self.faults.away_s
        self._held = answer
        self.log.append(Sent(t_ns, request, answer, fault))
        return [(t_s + d.delay_s, d.data) for d in self.faults.deliver(fault, request, answer)]


class PtyServer:
    """A device behind a pty, served by a thread.

    `reply_delay_s` is added to every answer, in seconds: the time that frames take on a wire.
    """

    def __init__(
        self,
        responder: Responder,
        link: Path | None = None,
        *,
        streamer: Streamer | None = None,
        reply_delay_s: float = 0.0,
        now_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._responder, self._now_ns, self._reply_delay_s = responder, now_ns, reply_delay_s
        self._streamer = streamer
        self._port = PtyPort(link)
        self.path = str(self._port.path)
        self._orders: deque[tuple[Callable[[], None], threading.Event]] = deque()
        self._stop = threading.Event()
        self._failure: Exception | None = None
        self._thread = threading.Thread(target=self._serve, name="emulator", daemon=True)
        self._thread.start()

    @property
    def log(self) -> tuple[Sent, ...]:
        """Return the answers so far, each with the fault that it suffered."""
        return tuple(self._responder.log)

    def unplug(self) -> None:
        """Let the port vanish; returns when it has."""
        self._order(self._port.unplug)

    def replug(self) -> None:
        """Let the port come back under its name; returns when it has."""
        self._order(self._port.plug)

    def close(self) -> None:
        """Stop serving and take the port away."""
        self._stop.set()
        self._thread.join()
        self._port.close()
        if self._failure is not None:
            raise RuntimeError(f"The emulated meter broke: {self._failure}.") from self._failure

    def __enter__(self) -> PtyServer:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _order(self, action: Callable[[], None]) -> None:
        """Have the serving thread do it: a descriptor must not be closed under its `select`."""
        done = threading.Event()
        self._orders.append((action, done))
        while not done.wait(0.1):
            if not self._thread.is_alive():
                return

    def _serve(self) -> None:
        try:
            self._serve_until_stopped()
        except Exception as error:  # a power function of the caller's, for example
            self._failure = error
            self._port.unplug()

    def _serve_until_stopped(self) -> None:
        pending: list[tuple[float, int, bytes]] = []
        serial = 0
        while not self._stop.is_set():
            while self._orders:
                action, done = self._orders.popleft()
                action()
                done.set()
            now_s = self._now_ns() * 1e-9
            wait_s = max(0.0, min(_TICK_S, pending[0][0] - now_s)) if pending else _TICK_S
            data = self._port.read(self._stream(now_s, wait_s))
            now_ns = self._now_ns()
            if not self._same_speed():
                data = b""  # at another speed it hears nothing that makes sense
            for t_s, answer in self._responder.receive(data, now_ns):
                serial += 1
                heapq.heappush(pending, (t_s + self._reply_delay_s, serial, answer))
            self._replug_in_time(now_ns * 1e-9)
            while pending and pending[0][0] <= now_ns * 1e-9:
                self._port.write(heapq.heappop(pending)[2])

    def _same_speed(self) -> bool:
        return self._streamer is None or self._streamer.baud == self._port.baud

    def _stream(self, now_s: float, wait_s: float) -> float:
        """Send what a streaming device has to say; return how long to wait for questions, in s."""
        if self._streamer is None or not (data := self._streamer.due(now_s)):
            return wait_s
        if self._same_speed():
            self._streamer.sent(self._port.write(data))
        else:
            self._streamer.sent(self._port.write(bytes(b ^ 0x5A for b in data)))
        return min(wait_s, 0.001)

    def _replug_in_time(self, now_s: float) -> None:
        until_s = self._responder.unplug_until_s
        if until_s is None:
            return
        if now_s < until_s:
            self._port.unplug()
        else:
            self._port.plug()
            self._responder.unplug_until_s = None


class VirtualClock:
    """A clock that only moves when somebody waits."""

    def __init__(self, start_ns: int = 1_000_000_000) -> None:
        self._now_ns = start_ns

    def now_ns(self) -> int:
        """Return the present instant, in ns."""
        return self._now_ns

    def wait_until(self, t_ns: int) -> None:
        """Let time pass."""
        self._now_ns = max(self._now_ns, t_ns)


class NullModem:
    """A transport to a device in memory, on a virtual clock: an hour of polling in a second."""

    name = "null modem"

    def __init__(self, responder: Responder, clock: VirtualClock) -> None:
        self._responder, self._clock = responder, clock
        self._pending: list[tuple[float, int, bytes]] = []
        self._serial = 0
        self._gone = False

    def read(self, deadline_ns: int) -> bytes:
        """Return what arrives first, or no bytes once `deadline_ns` has passed."""
        self._check()
        if self._pending and self._pending[0][0] * 1e9 <= max(deadline_ns, self._clock.now_ns()):
            t_s, _, data = heapq.heappop(self._pending)
            self._clock.wait_until(round(t_s * 1e9))
            return data
        self._clock.wait_until(deadline_ns)
        return b""

    def write(self, data: bytes) -> None:
        """Hand the device its question."""
        self._check()
        for t_s, answer in self._responder.receive(data, self._clock.now_ns()):
            self._serial += 1
            heapq.heappush(self._pending, (t_s, self._serial, answer))
        self._gone = self._responder.unplug_until_s is not None

    def set_baud(self, baud: int) -> None:
        """Accept any speed."""

    def close(self) -> None:
        """Forget what is on its way."""
        self._pending.clear()

    def _check(self) -> None:
        until_s = self._responder.unplug_until_s
        if until_s is not None and self._clock.now_ns() * 1e-9 >= until_s:
            self._responder.unplug_until_s = until_s = None
        if self._gone or until_s is not None:  # a new NullModem is the re-opened port
            raise Gone(f"{self.name} has vanished; plug it in again.")
