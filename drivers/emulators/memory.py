"""An emulated instrument in memory, on a clock that only moves when somebody waits."""

from __future__ import annotations

from ..errors import Gone
from .responder import Pending, Responder, at_another_speed

__all__ = ["NullModem", "VirtualClock"]


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
        self._pending = Pending()
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
                else [(t_s, at_another_speed(data)) for t_s, data in arriving]
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
