"""An emulated ElmorLabs PMD-USB: replays a recorded stream byte for byte, or one made up.

Commands and frames are those of `drivers.meters.pmd_usb`. Like the real one it starts at 115200
baud, hears nothing at another speed, and streams from the moment it is told to until it is told
to stop or its bytes have run out. The commands that write to the device (05, F0, F1) do nothing
here but stand in `forbidden`.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from .faults import FaultPlan
from .served import Link, PtyServer, Responder

__all__ = ["PmdUsbDevice", "PmdUsbEmulator", "synthesise"]

# 18 bytes every 614 counts of a clock of 2934.5 counts per ms.
TICKS_PER_S: Final = 2_934_500.0
BYTES_PER_S: Final = 18 * TICKS_PER_S / 614
_WELCOME: Final = b"ElmorLabs PMD-USB"
_LENGTHS: Final = {0x07: 4, 0x08: 17}
_FORBIDDEN: Final = (0x05, 0xF0, 0xF1)
_CHUNK: Final = 8192


class PmdUsbDevice:
    """The instrument without its port.

    `source` is a recorded stream, or the power in W to make one up from: a constant or a function
    of monotonic seconds. `speed` is the pace of a replay: 1 is that of the real one, None is as
    fast as the client reads, without losing a byte. At a given pace, and where it is made up, what
    the line does not take is lost.
    """

    def __init__(
        self, source: bytes | Callable[[float], float] | float, *, speed: float | None = None
    ) -> None:
        self._data = source if isinstance(source, bytes) else b""
        self._power_w = None if isinstance(source, bytes) else _function(source)
        self._frames: _Frames | None = None
        self._speed = speed
        self.baud = 115_200
        self.forbidden: list[int] = []
        self._now_s = 0.0
        self._started_s: float | None = None
        self._at = self._offered = 0

    @property
    def finished(self) -> bool:
        """Whether the whole stream has been sent."""
        return self._power_w is None and self._at >= len(self._data)

    def advance(self, t_s: float) -> None:
        """Take note of the time."""
        self._now_s = t_s

    def reboot(self) -> None:
        """Restart: the stream is off, the speed is that of power-up."""
        self.baud, self._started_s = 115_200, None

    def take(self, buffer: bytes) -> tuple[bytes, bytes, bytes]:
        """Split (command, answer, rest) off the bytes received."""
        if not buffer:
            return b"", b"", b""
        code = buffer[0]
        length = _LENGTHS.get(code, 1)
        command, rest = buffer[:length], buffer[length:]
        if len(command) < length:
            return b"", b"", buffer
        answer = b""
        if code == 0x00:
            answer = _WELCOME
        elif code == 0x01:
            answer = b"\xee\x0a\x06"
        elif code == 0x07:
            self._started_s = self._now_s if command[1] else None
            if self._power_w is not None:
                self._frames = _Frames(self._power_w, self._now_s)
        elif code == 0x08:
            self.baud = int.from_bytes(command[1:5], "little")
        elif code in _FORBIDDEN:
            self.forbidden.append(code)
        return command, answer, rest

    def due(self, t_s: float) -> bytes:
        """Return the next bytes of the stream that are to be sent by `t_s`."""
        if self._started_s is None or self.finished:
            return b""
        if self._frames is not None:
            return self._frames.until(t_s)
        end = self._at + _CHUNK
        if self._speed is not None:
            end = min(end, int((t_s - self._started_s) * BYTES_PER_S * self._speed))
        data = self._data[self._at : max(self._at, end)]
        self._offered = len(data)
        return data

    def sent(self, count: int) -> None:
        """Go on behind what was sent; at a given pace also behind what was lost."""
        if self._frames is not None:
            self._frames.forget()
        else:
            self._at += count if self._speed is None else self._offered


class PmdUsbEmulator(PtyServer):
    """The instrument on a pty or a TCP port; a context manager. `path` is what a client opens."""

    device = PmdUsbDevice

    def __init__(
        self,
        source: bytes | Path | Callable[[float], float] | float,
        *,
        link: Link = None,
        speed: float | None = None,
        faults: FaultPlan | None = None,
        now_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self.faults = faults or FaultPlan()
        self.instrument = self.device(
            source.read_bytes() if isinstance(source, Path) else source, speed=speed
        )
        super().__init__(Responder(self.instrument, self.faults), link, now_ns=now_ns)

    def unplug(self) -> None:
        """Let the port vanish; the device, which lives on USB power, forgets that it streamed."""
        super().unplug()
        self.instrument.reboot()


class _Frames:
    """Makes frames: all power on PCIe 2 at 12.1 V, the real one's uneven steps of the clock.

    Steps: 602 counts, 724 at every 11th frame and 980 at every 64th, which is 615 on average.
    """

    _VOLT: Final = round(12.1 / 0.007568)

    def __init__(self, power_w: Callable[[float], float], start_s: float) -> None:
        self._power_w, self._start_s = power_w, start_s
        self._tick = self._index = 0
        self._made = bytearray()

    def until(self, t_s: float) -> bytes:
        """Return the frames up to `t_s` that are not forgotten."""
        end = (t_s - self._start_s) * TICKS_PER_S
        while self._tick < end:
            watt = self._power_w(self._start_s + self._tick / TICKS_PER_S)
            ampere = round(watt / (self._VOLT * 0.007568) / 0.0488)
            words = (self._VOLT, 0, self._VOLT, ampere, self._VOLT, 0, self._VOLT, -1)
            self._made += struct.pack(
                "<9H", self._tick & 0xFFFF, *((w << 4) & 0xFFFF for w in words)
            )
            self._index += 1
            self._tick += 980 if self._index % 64 == 0 else 724 if self._index % 11 == 0 else 602
        return bytes(self._made)

    def forget(self) -> None:
        """Begin anew behind what was returned."""
        self._made.clear()


def synthesise(power_w: Callable[[float], float] | float, duration_s: float) -> bytes:
    """Make up a stream of this length, its power a constant or a function of seconds from 0 on."""
    return _Frames(_function(power_w), 0.0).until(duration_s)


def _function(power_w: Callable[[float], float] | float) -> Callable[[float], float]:
    return power_w if callable(power_w) else (lambda _t_s: power_w)
