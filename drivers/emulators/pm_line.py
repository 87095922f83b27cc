"""An emulated microcontroller meter that speaks the `pm` line of CONTRIBUTING.md, version 1.

Written from that definition, without the driver's tables: one rail `in` at a constant voltage, a
line every 1/`rate_hz` seconds with the power at its own instant, rounded to 1 mV and 1 mA.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from typing import Final

from .faults import Damage
from .served import Emulator

__all__ = ["PmLineDevice", "PmLineEmulator"]

_MOST_LINES: Final = 2_000  # at once


def _checked(body: str) -> bytes:
    xor = 0
    for octet in body.encode():
        xor ^= octet
    return f"{body}*{xor:02X}\n".encode()


def _bad_checksum(chance: random.Random, _request: bytes, lines: bytes) -> bytes:
    """Return the lines with one digit of the last checksum replaced."""
    at = len(lines) - chance.choice((2, 3))
    other = chance.choice([d for d in b"0123456789ABCDEF" if d != lines[at]])
    return lines[:at] + bytes((other,)) + lines[at + 1 :]


class PmLineDevice:
    """The instrument without its port; `power_w` is called with monotonic seconds."""

    faults: Mapping[str, Damage] = {"bad_crc": _bad_checksum}

    def __init__(
        self,
        power_w: Callable[[float], float] | float,
        *,
        rate_hz: float = 100.0,
        voltage_v: float = 12.0,
        boot_us: int = 123_456,
        header: str = "#pm,1,in_v;in_i,V;A,",
    ) -> None:
        self._power_w = power_w if callable(power_w) else (lambda _t_s: power_w)
        self._rate_hz, self._voltage_v, self._boot_us = rate_hz, voltage_v, boot_us
        self.header = f"{header}{rate_hz:g}"
        self.baud = 115_200
        self._start_s: float | None = None
        self._lines = 0
        self._made = b""

    def advance(self, t_s: float) -> None:
        """Take note of the time; a board that is switched on says its header."""
        if self._start_s is None:
            self._start_s, self._lines = t_s, 0
            self._made += _checked(self.header)

    def reboot(self) -> None:
        """Restart: the clock begins at zero."""
        self._start_s, self._boot_us, self._made = None, 0, b""

    def take(self, buffer: bytes) -> tuple[bytes, bytes, bytes]:
        """Answer `?` with the header."""
        return buffer[:1], _checked(self.header) if buffer[:1] == b"?" else b"", buffer[1:]

    def due(self, t_s: float) -> bytes:
        """Return the lines that are to be sent by `t_s` and are not sent yet."""
        if self._start_s is None:
            return b""
        end = int((t_s - self._start_s) * self._rate_hz)
        for number in range(self._lines + 1, min(end, self._lines + _MOST_LINES) + 1):
            since_s = number / self._rate_hz
            ampere = float(self._power_w(self._start_s + since_s)) / self._voltage_v
            clock_us = (self._boot_us + round(since_s * 1e6)) % 2**32
            self._made += _checked(f"{clock_us},{self._voltage_v:.3f},{ampere:.3f}")
            self._lines = number
        return self._made

    def sent(self, count: int) -> None:
        """Go on behind what was sent; the rest of a line that the host did not take is lost."""
        self._made = b""


class PmLineEmulator(Emulator):
    """The instrument on a pty or a TCP port; a context manager. `path` is what a client opens.

    `power_w` is a constant or a function of monotonic seconds, called from the emulator's thread;
    `options` are those of `PmLineDevice`.
    """

    device = PmLineDevice
