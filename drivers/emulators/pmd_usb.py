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
from .served import PtyServer, Responder

__all__ = ["PmdUsbDevice", "PmdUsbEmulator", "synthesise"]

# 18 bytes every 614 counts of a clock of 2934.5 counts per ms.
BYTES_PER_S: Final = 18 * 2_934_500.0 / 614
_WELCOME: Final = b"ElmorLabs PMD-USB"
_LENGTHS: Final = {0x07: 4, 0x08: 17}
_FORBIDDEN: Final = (0x05, 0xF0, 0xF1)
_CHUNK: Final = 8192


class PmdUsbDevice:
    """The instrument without its port.

    `speed` is the pace of the replay: 1 is that of the real one, None is as fast as the
    client reads, without losing a byte. At a given pace, what the line does not take is lost.
    """

    def __init__(self, data: bytes, *, speed: float | None = None) -> None:
        self._data, self._speed = data, speed
        self.baud = 115_200
        self.forbidden: list[int] = []
        self._now_s = 0.0
        self._started_s: float | None = None
        self._at = self._offered = 0

    @property
    def finished(self) -> bool:
        """Whether the whole stream has been sent."""
        return self._at >= len(self._data)

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
        elif code == 0x08:
            self.baud = int.from_bytes(command[1:5], "little")
        elif code in _FORBIDDEN:
            self.forbidden.append(code)
        return command, answer, rest

    def due(self, t_s: float) -> bytes:
        """Return the next bytes of the stream that are to be sent by `t_s`."""
        if self._started_s is None or self.finished:
            return b""
        end = self._at + _CHUNK
        if self._speed is not None:
            end = min(end, int((t_s - self._started_s) * BYTES_PER_S * self._speed))
        data = self._data[self._at : max(self._at, end)]
        self._offered = len(data)
        return data

    def sent(self, count: int) -> None:
        """Go on behind what was sent; at a given pace also behind what was lost."""
        self._at += count if self._speed is None else self._offered


class PmdUsbEmulator(PtyServer):
    """The instrument on a pty; a context manager. `path` is what a client opens."""

    def __init__(
        self,
        data: bytes | Path,
        *,
        link: Path | None = None,
        speed: float | None = None,
        faults: FaultPlan | None = None,
        now_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        raw = data.read_bytes() if isinstance(data, Path) else data
        self.faults = faults or FaultPlan()
        self.device = PmdUsbDevice(raw, speed=speed)
        super().__init__(
            Responder(self.device, self.faults), link, streamer=self.device, now_ns=now_ns
        )

    def unplug(self) -> None:
        """Let the port vanish; the device, which lives on USB power, forgets that it streamed."""
        super().unplug()
        self.device.reboot()


def synthesise(power_w: Callable[[float], float] | float, duration_s: float) -> bytes:
    """Make up a stream: all power on PCIe 2 at 12.1 V, the real one's uneven steps of the clock.

    Steps: 602 counts, 724 at every 11th frame and 980 at every 64th, which is 615 on average.
    """
    volt = round(12.1 / 0.007568)
    out, tick, index = bytearray(), 0, 0
    while tick < duration_s * 2_934_500:
        watt = power_w(tick / 2_934_500) if callable(power_w) else power_w
        ampere = round(watt / (volt * 0.007568) / 0.0488)
        words = (volt, 0, volt, ampere, volt, 0, volt, -1)
        out += struct.pack("<9H", tick & 0xFFFF, *((w << 4) & 0xFFFF for w in words))
        index += 1
        tick += 980 if index % 64 == 0 else 724 if index % 11 == 0 else 602
    return bytes(out)
