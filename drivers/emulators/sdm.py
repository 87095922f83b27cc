"""An emulated Eastron SDM meter: the registers of the maker's documents, the power of your choice.

Frames and registers are written a second time from the documents named in `drivers.meters.sdm`,
never from the driver's table. A three-phase model shares the power equally among its lines.

Like the real one it answers only to its own address, refuses odd addresses and counts and more
than 80 registers (exception 02), and says nothing to a frame whose checksum is wrong. Its energies
are float32 kilowatt-hours. Window, refresh, and that no register is rounded further are assumed.
`wander_v` is a slow wandering of the mains, so that the voltage moves as it does in life.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Mapping
from typing import Final

from ..modbus import crc16, framed
from .faults import MODBUS_FAULTS
from .served import Emulator
from .window import WindowedPower

__all__ = ["SdmDevice", "SdmEmulator"]

_MOST_REGISTERS: Final = 80
_METER_CODES: Final = {"sdm120": 0x0020}  # the only one that a document names
_THREE_PHASE: Final = ("sdm630", "sdm72d")
# Which input registers a model offers, apart from those of its lines; the others read zero.
_ANGLE: Final = {"sdm220": 0x24, "sdm230": 0x24, "sdm630": 0x42}


class SdmDevice:
    """The instrument without its port; `power_w` is called with monotonic seconds."""

    faults = MODBUS_FAULTS

    def __init__(
        self,
        power_w: Callable[[float], float] | float,
        *,
        variant: str = "sdm230",
        unit: int = 1,
        window_s: float = 1.0,
        refresh_s: float = 1.0,
        voltage_v: float = 230.0,
        wander_v: float = 0.3,
        frequency_hz: float = 50.0,
        power_factor: float = 0.95,
        import_kwh: float = 0.0,
        export_kwh: float = 0.0,
        low_first: bool = False,
        serial_number: int = 12_345_678,
    ) -> None:
        self.variant, self.unit, self.low_first = variant, unit, low_first
        self.voltage_v, self.wander_v, self.frequency_hz = voltage_v, wander_v, frequency_hz
        self.power_factor, self.serial_number = power_factor, serial_number
        self._power = WindowedPower(power_w, window_s=window_s, refresh_s=refresh_s)
        self._import_kwh, self._export_kwh = import_kwh, export_kwh
        self._volts = voltage_v

    def advance(self, t_s: float) -> None:
        """Measure until `t_s` (monotonic seconds)."""
        self._power.advance(t_s)
        self._volts = self._power.wandering(self.voltage_v, self.wander_v)

    def reboot(self) -> None:
        """Restart: the energy registers survive."""
        self._power.restart()

    def reset_counters(self) -> None:
        """Let both energies begin at zero again, as in a meter that was exchanged."""
        self._power.imported_j = self._power.exported_j = 0.0
        self._import_kwh = self._export_kwh = 0.0

    def take(self, buffer: bytes) -> tuple[bytes, bytes, bytes]:
        """Split (question, answer, rest) off the bytes received; other devices' get no answer."""
        while len(buffer) >= 8:
            length = 9 + buffer[6] if buffer[1] == 0x10 else 8
            if len(buffer) < length:
                break
            request = buffer[:length]
            if crc16(request[:-2]) == int.from_bytes(request[-2:], "little"):
                return request, self._answer(request), buffer[length:]
            buffer = buffer[1:]
        return b"", b"", buffer

    def _answer(self, request: bytes) -> bytes:
        """Answer functions 03, 04 and 10 (word order only); an exception otherwise."""
        unit, function = request[0], request[1]
        first, count = int.from_bytes(request[2:4], "big"), int.from_bytes(request[4:6], "big")
        if unit != self.unit:
            return b""
        if function == 0x10:
            return self._write(request, first)
        if function not in (0x03, 0x04):
            return self._refusal(function, 1)
        if first % 2 or count % 2 or not 0 < count <= _MOST_REGISTERS:
            return self._refusal(function, 2)
        words = self._input() if function == 0x04 else self._holding()
        asked = range(first, first + count)
        if function == 0x03 and not any(register in words for register in asked):
            return self._refusal(function, 2)
        block = b"".join(words.get(register, b"\0\0") for register in asked)
        return framed(bytes((unit, function, len(block))) + block)

    def _refusal(self, function: int, code: int) -> bytes:
        return framed(bytes((self.unit, function | 0x80, code)))

    def _write(self, request: bytes, first: int) -> bytes:
        """Take 2141.0 at 0x0028, in the word order that is wanted, as the SDM630 does."""
        if self.variant != "sdm630" or first != 0x0028 or request[6] != 4:
            return self._refusal(0x10, 2)
        value = request[7:11]
        for low_first in (False, True):
            if value == b"".join(self._float(2141.0, low_first)):
                self.low_first = low_first
                return framed(request[:6])
        return self._refusal(0x10, 3)

    def _float(self, value: float, low_first: bool | None = None) -> tuple[bytes, bytes]:
        high_low = struct.pack(">f", value)
        words = high_low[:2], high_low[2:]
        return words[::-1] if (self.low_first if low_first is None else low_first) else words

    def _holding(self) -> dict[int, bytes]:
        words = self._words({0x12: 0.0, 0x14: self.unit, 0x1C: 2.0})
        code = _METER_CODES.get(self.variant)
        if code is not None:
            serial = self.serial_number.to_bytes(4, "big")
            words |= {0xFC00: serial[:2], 0xFC01: serial[2:]}
            words |= {0xFC02: code.to_bytes(2, "big"), 0xFC03: b"\x01\x05"}
        return words

    def _words(self, values: Mapping[int, float]) -> dict[int, bytes]:
        """Return registers of two words each, in the word order that is set."""
        words = dict[int, bytes]()
        for register, value in values.items():
            words[register], words[register + 1] = self._float(value)
        return words

    def _input(self) -> dict[int, bytes]:
        power_w, pf = self._power.shown_w, math.copysign(self.power_factor, self._power.shown_w)
        lines = 3 if self.variant in _THREE_PHASE else 1
        line_va = power_w / lines / pf
        line_var = line_va * math.sqrt(1.0 - pf * pf)
        values = dict[int, float]()
        for line in range(lines):
            quantities = (
                self._volts,
                line_va / self._volts,
                power_w / lines,
                line_va,
                line_var,
                pf,
            )
            for number, value in enumerate(quantities):
                values[6 * number + 2 * line] = value
        if lines == 3:
            values |= {0x34: power_w, 0x38: 3 * line_va, 0x3C: 3 * line_var, 0x3E: pf}
        if self.variant in _ANGLE:
            values[_ANGLE[self.variant]] = math.degrees(math.acos(pf))
        values[0x46] = self.frequency_hz
        values[0x48] = self._import_kwh + self._power.imported_j / 3.6e6
        values[0x4A] = self._export_kwh + self._power.exported_j / 3.6e6
        return self._words(values)


class SdmEmulator(Emulator):
    """The instrument on a pty or a TCP port; a context manager.

    `power_w` is a constant or a function of monotonic seconds; `options` are those of
    `SdmDevice`. `path` is what a client opens.
    """

    device = SdmDevice
