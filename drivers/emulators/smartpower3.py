"""An emulated ODROID SmartPower 3: its log, line by line, and its answer to whoever talks to it.

Written from the firmware that `drivers.meters.smartpower3` names, without its tables. All power
flows out of output 0 at a constant voltage; the input delivers a ninth more at 15 V. A line shows
the power at its own instant, voltage and current rounded to 1 mV and 1 mA, and a power of 16 bits.
That the log goes on by itself after a restart is assumed.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from typing import Final

from .faults import Damage
from .served import Emulator

__all__ = ["SmartPower3Device", "SmartPower3Emulator"]

_MOST_LINES: Final = 200  # at once
_EFFICIENCY: Final = 0.9
_INPUT_V: Final = 15.012


def _bad_checksum(chance: random.Random, _request: bytes, lines: bytes) -> bytes:
    """Return the lines with one digit of the last checksum replaced."""
    at = len(lines) - chance.choice((3, 4, 6, 7))
    other = chance.choice([d for d in b"0123456789abcdef" if d != lines[at]])
    return lines[:at] + bytes((other,)) + lines[at + 1 :]


class SmartPower3Device:
    """The instrument without its port; `power_w` is called with monotonic seconds."""

    faults: Mapping[str, Damage] = {"bad_crc": _bad_checksum}

    def __init__(
        self,
        power_w: Callable[[float], float] | float,
        *,
        interval_ms: int = 5,
        voltage_v: float = 12.0,
        boot_ms: int = 123_456,
        baud: int = 115_200,
    ) -> None:
        if interval_ms not in (5, 10, 50, 100, 500, 1000):
            raise ValueError(
                f"A SmartPower 3 logs every 5, 10, 50, 100, 500 or 1000 ms; got {interval_ms}."
            )
        self._power_w = power_w if callable(power_w) else (lambda _t_s: power_w)
        self._interval_ms, self._voltage_v, self._boot_ms = interval_ms, voltage_v, boot_ms
        self.baud = baud
        self.heard = b""
        self._start_s: float | None = None
        self._lines = 0
        self._now_s = 0.0
        self._made = b""

    def advance(self, t_s: float) -> None:
        """Take note of the time; the log begins with the first."""
        self._now_s = t_s
        if self._start_s is None:
            self._start_s = t_s

    def reboot(self) -> None:
        """Restart: the clock begins at zero."""
        self._start_s, self._lines, self._boot_ms, self._made = None, 0, 0, b""

    def take(self, buffer: bytes) -> tuple[bytes, bytes, bytes]:
        """Answer whatever comes as the firmware does: into the log."""
        self.heard += buffer
        return buffer, b">>> Unknown command <<<\r\n" if buffer else b"", b""

    def due(self, t_s: float) -> bytes:
        """Return the lines that are to be sent by `t_s` and are not sent yet."""
        if self._start_s is None:
            return b""
        end = int((t_s - self._start_s) * 1000 / self._interval_ms)
        for number in range(self._lines + 1, min(end, self._lines + _MOST_LINES) + 1):
            self._made += self._line(number * self._interval_ms)
            self._lines = number
        return self._made

    def sent(self, count: int) -> None:
        """Go on behind what was sent; the rest of a line that the host did not take is lost."""
        self._made = b""

    def _line(self, since_ms: int) -> bytes:
        start_s = self._start_s or 0.0
        power_w = float(self._power_w(start_s + since_ms * 1e-3))
        out_mv, out_ma = round(1000 * self._voltage_v), round(1000 * power_w / self._voltage_v)
        in_mv, in_ma = round(1000 * _INPUT_V), round(1000 * power_w / _EFFICIENCY / _INPUT_V)
        body = (
            f"{(self._boot_ms + since_ms) % 2**32:010d},"
            f"{in_mv:05d},{in_ma:04d},{in_mv * in_ma // 1000 % 65536:05d},0,"
            f"{out_mv:05d},{out_ma:04d},{out_mv * out_ma // 1000 % 65536:05d},1,00,"
            f"{3300:05d},{0:04d},{0:05d},0,00,"
        ).encode()
        xor = 0
        for octet in body:
            xor ^= octet
        return body + f"{-sum(body) % 256:02x},{xor:02x}\r\n".encode()


class SmartPower3Emulator(Emulator):
    """The instrument on a pty or a TCP port; a context manager. `path` is what a client opens.

    `power_w` is a constant or a function of monotonic seconds, called from the emulator's thread;
    `options` are those of `SmartPower3Device`.
    """

    device = SmartPower3Device
