"""An emulated instrument behind a pty or a TCP socket, served by a thread.

`PtyServer` runs a device (`drivers.emulators.responder`) in real time; `NullModem`, in
`drivers.emulators.memory`, runs it inside the caller on a virtual clock, where an hour takes a
second. Both are found here.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, Final, TypeAlias

from .faults import FaultPlan
from .memory import NullModem, VirtualClock
from .port import PtyPort
from .responder import Device, Pending, Responder, Sent, Streamer, at_another_speed
from .tcp import SCHEME, TcpPort

__all__ = [
    "Device",
    "Emulator",
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

    def settle(self) -> None:
        """Return once the device has heard all that was written to its port until now."""
        for _ in range(2):  # between the two it has listened
            self._order(lambda: None)

    def close(self) -> None:
        """Stop serving and take the port away; what was written before is still heard."""
        self.settle()
        self._stop.set()
        self._thread.join()
        self._port.close()
        if self._failure is not None:
            raise RuntimeError(f"The emulated meter broke: {self._failure}.") from self._failure

    def __enter__(self) -> PtyServer:
        return self

    def __exit__(self, *error: object) -> None:
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
        pending = Pending()
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

    def _stream(self, now_ns: int, pending: Pending) -> bool:
        """Send what a streaming device has to say; whether there was anything."""
        count, arriving = self._responder.stream(now_ns)
        if self._streamer is None or not count:
            return False
        if len(arriving) == 1 and len(arriving[0][1]) == count:
            data = arriving[0][1]
            count = self._port.write(data if self._same_speed() else at_another_speed(data))
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


class Emulator(PtyServer):
    """An instrument on a pty or a TCP port; a context manager. `path` is what a client opens.

    Subclasses name their `device`, a class. `power_w` is a constant or a function of monotonic
    seconds, called from the emulator's thread; `options` are those of the device. `faults` is what
    goes wrong, `reply_delay_s` is added to every answer.
    """

    device: ClassVar[Callable[..., Any]]

    def __init__(
        self,
        power_w: Callable[[float], float] | float,
        *,
        link: Link = None,
        faults: FaultPlan | None = None,
        reply_delay_s: float = 0.0,
        now_ns: Callable[[], int] = time.monotonic_ns,
        **options: Any,
    ) -> None:
        self.faults = faults or FaultPlan()
        self.instrument = self.device(power_w, **options)
        responder = Responder(self.instrument, self.faults)
        super().__init__(responder, link, reply_delay_s=reply_delay_s, now_ns=now_ns)
