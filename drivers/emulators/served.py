"""An emulated instrument: behind a pty or a TCP socket, or in memory on a clock of its own.

The device itself is a plain object without threads or time of its own (`Device`, `Streamer`);
`Responder` puts the faults between it and its client; `PtyServer` runs both in a thread behind a
real pty or socket; `NullModem` runs both inside the caller on a virtual clock, where an hour takes
a second.
"""

from __future__ import annotations

import heapq
import math
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Protocol, TypeAlias, TypeGuard

from ..errors import Gone
from .faults import NOT_IN_STREAMS, FaultPlan, faults_of
from .port import PtyPort
from .tcp import SCHEME, TcpPort

__all__ = [
    "Device",
    "Link",
    "NullModem",
    "PtyServer",
    "Responder",
    "Sent",
    "Streamer",
    "VirtualClock",
]

# Where an emulator is found: a name for its pty, or socket://127.0.0.1:PORT; None chooses a name.
Link: TypeAlias = Path | str | None

_TICK_S: Final = 0.01
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


class _Pending:
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


def _at_another_speed(data: bytes) -> bytes:
    """Return what a receiver makes of bytes sent at another speed: as many wrong ones."""
    return bytes(b ^ 0x5A for b in data)


class PtyServer:
    """A device behind a pty or a TCP socket, served by a thread.

    `link` is the name of the pty, or `socket://127.0.0.1:PORT` (port 0 lets the system choose);
    `path` is what a client opens. `reply_delay_s` is added to every answer, in seconds: the time
    that frames take on a wire.
    """

    def __init__(
        self,
        responder: Responder,
        link: Link = None,
        *,
        reply_delay_s: float = 0.0,
        now_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._responder, self._now_ns, self._reply_delay_s = responder, now_ns, reply_delay_s
        self._streamer = responder.streamer
        self._port: PtyPort | TcpPort = (
            TcpPort(link)
            if isinstance(link, str) and link.startswith(SCHEME)
            else PtyPort(None if link is None else Path(link))
        )
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
        pending = _Pending()
        while not self._stop.is_set():
            while self._orders:
                action, done = self._orders.popleft()
                action()
                done.set()
            now_ns = self._now_ns()
            wait_s = 0.001 if self._stream(now_ns, pending) else _TICK_S
            data = self._port.read(max(0.0, min(wait_s, pending.next_s - now_ns * 1e-9)))
            now_ns = self._now_ns()
            if not self._same_speed():
                data = b""  # at another speed it hears nothing that makes sense
            pending.add(self._responder.receive(data, now_ns), self._reply_delay_s)
            self._replug_in_time(now_ns * 1e-9)
            while pending.next_s <= now_ns * 1e-9:
                self._port.write(pending.pop()[1])

    def _same_speed(self) -> bool:
        speed = self._port.baud
        return self._streamer is None or speed is None or self._streamer.baud == speed

    def _stream(self, now_ns: int, pending: _Pending) -> bool:
        """Send what a streaming device has to say; whether there was anything."""
        count, arriving = self._responder.stream(now_ns)
        if self._streamer is None or not count:
            return False
        if len(arriving) == 1 and len(arriving[0][1]) == count:
            data = arriving[0][1]
            count = self._port.write(data if self._same_speed() else _at_another_speed(data))
        else:
            pending.add(arriving)
        self._streamer.sent(count)
        return True

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
    """A transport to a device in memory, on a virtual clock: an hour of polling in a second.

    `step_s` is how finely time passes while a client waits for a streaming device to speak.
    """

    name = "null modem"

    def __init__(self, responder: Responder, clock: VirtualClock, *, step_s: float = 0.02) -> None:
        self._responder, self._clock = responder, clock
        self._step_ns = round(step_s * 1e9)
        self._pending = _Pending()
        self._baud: int | None = None
        self._gone = False

    def read(self, deadline_ns: int) -> bytes:
        """Return what arrives first, or no bytes once `deadline_ns` has passed."""
        while True:
            self._check()
            self._listen()
            until_ns = max(deadline_ns, self._clock.now_ns())
            if self._responder.streamer is not None:  # it may speak at any time
                until_ns = min(until_ns, self._clock.now_ns() + self._step_ns)
            if self._pending.next_s * 1e9 <= until_ns:
                t_s, data = self._pending.pop()
                self._clock.wait_until(round(t_s * 1e9))
                return data
            self._clock.wait_until(until_ns)
            if until_ns >= deadline_ns:
                return b""

    def write(self, data: bytes) -> None:
        """Hand the device its question."""
        self._check()
        self._listen()
        if self._same_speed():
            self._pending.add(self._responder.receive(data, self._clock.now_ns()))
        self._gone = self._responder.unplug_until_s is not None

    def set_baud(self, baud: int) -> None:
        """Change the speed; a streaming device at another one is not understood."""
        self._baud = baud

    def close(self) -> None:
        """Forget what is on its way."""
        self._pending.clear()

    def _listen(self) -> None:
        """Take what a streaming device has said by now."""
        streamer = self._responder.streamer
        if streamer is None:
            return
        now_ns = self._clock.now_ns()
        while True:
            count, arriving = self._responder.stream(now_ns)
            if not count:
                break
            streamer.sent(count)
            self._pending.add(
                arriving
                if self._same_speed()
                else [(t_s, _at_another_speed(data)) for t_s, data in arriving]
            )
        if self._responder.unplug_until_s is not None:
            self._pending.clear()
            self._gone = True

    def _same_speed(self) -> bool:
        streamer = self._responder.streamer
        return streamer is None or self._baud is None or streamer.baud == self._baud

    def _check(self) -> None:
        until_s = self._responder.unplug_until_s
        if until_s is not None and self._clock.now_ns() * 1e-9 >= until_s:
            self._responder.unplug_until_s = until_s = None
        if self._gone or until_s is not None:  # a new NullModem is the re-opened port
            raise Gone(f"{self.name} has vanished; plug it in again.")
