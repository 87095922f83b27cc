"""An emulated PowerSpy2: its EEPROM, and its reports after every so many periods of the mains.

Written from the sources that `drivers.meters.powerspy2` names, without its tables. A report has the
mean of the power over the periods before it; the mains voltage wanders. What its power and its
current say with nothing plugged in (F), and that a restart ends the reports, are taken from those
sources or assumed. Commands that write do nothing here but stand in `forbidden`.
"""

from __future__ import annotations

import math
import random
import re
import struct
from collections.abc import Callable, Mapping
from typing import Final

from .faults import Damage
from .served import Emulator

__all__ = ["PowerSpy2Device", "PowerSpy2Emulator"]

_FORBIDDEN: Final = b"WREYT"
_LONGEST: Final = 64
_STEPS: Final = 20  # looks at the power in an interval


def _nothing_plugged_in(_chance: random.Random, _request: bytes, report: bytes) -> bytes:
    """Return the report of a meter with nothing plugged in."""
    return re.sub(rb"^<(\w{8}) \w{8} \w{8}", rb"<\1 00000000 FFFFFFFF", report)


class PowerSpy2Device:
    """The instrument without its port; `power_w` is called with monotonic seconds."""

    faults: Mapping[str, Damage] = {"over_range": _nothing_plugged_in}

    def __init__(
        self,
        power_w: Callable[[float], float] | float,
        *,
        voltage_v: float = 230.0,
        wander_v: float = 0.4,
        power_factor: float = 0.95,
        frequency_hz: float = 50.0,
        volt: float = 0.0815515,
        ampere: float = 5.449e-4,
        hardware: int = 0x0A,
        plugged_in: bool = True,
    ) -> None:
        self._power_w = power_w if callable(power_w) else (lambda _t_s: power_w)
        self._voltage_v, self._wander_v = voltage_v, wander_v
        self._power_factor, self._frequency_hz = power_factor, frequency_hz
        packed = struct.pack("<ff", volt, ampere)
        self.volt, self.ampere = struct.unpack("<ff", packed)
        self._eeprom = bytes(14) + packed + bytes(234)
        self._hardware, self.plugged_in = hardware, plugged_in
        self.baud = 115_200
        self.forbidden: list[bytes] = []
        self._now_s = 0.0
        self._start_s: float | None = None
        self._interval_s = 1.0
        self._reported = 0
        self._made = b""

    @property
    def reporting(self) -> bool:
        """Whether it reports to the host."""
        return self._start_s is not None

    def advance(self, t_s: float) -> None:
        """Report what is due by `t_s`."""
        self._now_s = t_s
        if self._start_s is None:
            return
        while self._start_s + (self._reported + 1) * self._interval_s <= t_s:
            begin_s = self._start_s + self._reported * self._interval_s
            self._reported += 1
            self._made += self._report(begin_s)

    def reboot(self) -> None:
        """Restart: it does not report any more."""
        self._start_s, self._made = None, b""

    def take(self, buffer: bytes) -> tuple[bytes, bytes, bytes]:
        """Split (command, answer, rest) off the bytes received."""
        begin = buffer.find(b"<")
        end = buffer.find(b">", begin)
        if begin < 0 or (end < 0 and len(buffer) > _LONGEST):
            return b"", b"", b""
        if end < 0:
            return b"", b"", buffer
        return buffer[begin : end + 1], self._answer(buffer[begin + 1 : end]), buffer[end + 1 :]

    def _answer(self, command: bytes) -> bytes:
        if command == b"?":
            state = b"T" if self.reporting else b"R"
            return b"<POWERSPY%s010023%02X4567>" % (state, self._hardware)
        if re.fullmatch(rb"V[0-9A-F]{2}", command):
            return b"<%02X>" % self._eeprom[int(command[1:], 16)]
        if command == b"F":
            return b"<F%04X>" % round(1_382_400 / self._frequency_hz)
        if re.fullmatch(rb"J[0-9A-F]{4}", command) and int(command[1:], 16):
            self._interval_s = int(command[1:], 16) / self._frequency_hz
            self._start_s, self._reported = self._now_s, 0
            return b"<K>"
        if command == b"Q":
            self._start_s, self._made = None, b""
            return b"<K>"
        if command[:1] and command[0] in _FORBIDDEN:
            self.forbidden.append(command)
        return b"<Z>"

    def due(self, t_s: float) -> bytes:
        """Return what is to be said by `t_s` and is not said yet."""
        return self._made

    def sent(self, count: int) -> None:
        """Go on behind what was sent."""
        self._made = b""

    def _report(self, begin_s: float) -> bytes:
        step_s = self._interval_s / _STEPS
        watt = sum(self._power_w(begin_s + (i + 0.5) * step_s) for i in range(_STEPS)) / _STEPS
        volt = self._voltage_v + self._wander_v * math.sin(1.7 * begin_s)
        ampere = watt / self._power_factor / volt
        power = b"%08X" % round(watt / self.volt / self.ampere)
        if not self.plugged_in:
            ampere, power = 0.0, b"FFFFFFFF"
        return b"<%08X %08X %s %04X %04X>\n\r" % (
            round((volt / self.volt) ** 2),
            round((ampere / self.ampere) ** 2),
            power,
            round(volt * math.sqrt(2) / self.volt),
            min(round(ampere * math.sqrt(2) / self.ampere), 0xFFFF),
        )


class PowerSpy2Emulator(Emulator):
    """The instrument on a pty or a TCP port; a context manager. `path` is what a client opens.

    `power_w` is a constant or a function of monotonic seconds, called from the emulator's thread;
    `options` are those of `PowerSpy2Device`.
    """

    device = PowerSpy2Device
