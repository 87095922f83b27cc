"""An emulated PZEM-004T v3: the bytes of the real one, the power of your choice.

Registers and frames are those of `drivers.meters.pzem004t`, written a second time from the
manual on purpose: a mistake in the driver's table must not hide behind the same one here.

What it shows is the mean of the power over the last `window_s`, renewed every `refresh_s`,
rounded to 0.1 W, and nothing below the starting power (0.4 W) or current (0.02 A, the 100 A
model). Window, refresh, rounding (rather than cutting off), and that voltage, frequency and power
factor stay constant are assumed: they stand in no source.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from ..modbus import crc16, framed
from .faults import MODBUS_FAULTS
from .served import Emulator
from .window import WindowedPower

__all__ = ["Pzem004tDevice", "Pzem004tEmulator"]

_START_W: Final = 0.4
_START_A: Final = {"pzem-004t": 0.02, "pzem-014": 0.01, "pzem-016": 0.02}
_ANY_ADDRESS: Final = 0xF8
_ENERGY_LIMIT_WH: Final = 9_999_990


class Pzem004tDevice:
    """The instrument without its port; `power_w` is called with monotonic seconds.

    The mains voltage wanders about `voltage_v` by `wander_v`, a new value at every
    refresh, as a real one does: a voltage that stands still is the mark of a held meter.
    """

    faults = MODBUS_FAULTS

    def __init__(
        self,
        power_w: Callable[[float], float] | float,
        *,
        variant: str = "pzem-004t",
        window_s: float = 1.0,
        refresh_s: float = 1.0,
        voltage_v: float = 230.0,
        wander_v: float = 0.4,
        frequency_hz: float = 50.0,
        power_factor: float = 0.95,
        unit: int = 1,
        energy_wh: float = 0.0,
    ) -> None:
        self._voltage_v, self._wander_v = voltage_v, wander_v
        self.voltage_v, self.frequency_hz, self.power_factor = voltage_v, frequency_hz, power_factor
        self.unit, self.alarm_w = unit, 23_000
        self._start_a = _START_A[variant]
        self._energy_wh = energy_wh
        self._power = WindowedPower(
            power_w, window_s=window_s, refresh_s=refresh_s, counts=self._starts
        )

    def advance(self, t_s: float) -> None:
        """Measure until `t_s` (monotonic seconds)."""
        self._power.advance(t_s)
        self.voltage_v = self._power.wandering(self._voltage_v, self._wander_v)

    def reboot(self) -> None:
        """Restart: forget the window and the phase of the refresh; the energy register survives."""
        self._power.restart()

    def reset_counters(self) -> None:
        """Let the energy register begin anew, as function 42 does."""
        self._energy_wh = self._power.imported_j = 0.0

    def take(self, buffer: bytes) -> tuple[bytes, bytes, bytes]:
        """Split (question, answer, rest) off the bytes received; other devices' get no answer."""
        while len(buffer) >= 4:
            length = 4 if buffer[1] == 0x42 else 8
            if len(buffer) < length:
                break
            request = buffer[:length]
            if crc16(request[:-2]) == int.from_bytes(request[-2:], "little"):
                return request, self._answer(request), buffer[length:]
            buffer = buffer[1:]
        return b"", b"", buffer

    def _answer(self, request: bytes) -> bytes:
        """Answer as the manual, section 2, says: 03, 04, 06 and 42; an exception otherwise."""
        address, function = request[0], request[1]
        if address not in (self.unit, _ANY_ADDRESS):
            return b""  # address 0 is a broadcast, which nobody answers
        head = bytes((self.unit, function))
        if function == 0x42:
            self.reset_counters()
            return framed(head)
        first, value = int.from_bytes(request[2:4], "big"), int.from_bytes(request[4:6], "big")
        if function == 0x06:
            return self._write(head, request, first, value)
        tables = {0x03: (0, self.alarm_w, self.unit), 0x04: self._registers()}
        if function not in tables:
            return framed(bytes((self.unit, function | 0x80, 1)))
        words = tables[function][first : first + value]
        if not words or len(words) != value:
            return framed(bytes((self.unit, function | 0x80, 2)))
        block = b"".join(w.to_bytes(2, "big") for w in words)
        return framed(head + bytes((len(block),)) + block)

    def _write(self, head: bytes, request: bytes, register: int, value: int) -> bytes:
        if register == 1 and value <= 23_000:
            self.alarm_w = value
        elif register == 2 and 1 <= value <= 0xF7:
            self.unit = value
        else:
            return framed(bytes((head[0], 0x86, 2 if register not in (1, 2) else 3)))
        return framed(head + request[2:6])

    def _starts(self, power_w: float) -> bool:
        current_a = power_w / (self.voltage_v * self.power_factor)
        return power_w >= _START_W and current_a >= self._start_a

    def _registers(self) -> tuple[int, ...]:
        power_w = self._power.shown_w if self._starts(self._power.shown_w) else 0.0
        current_ma = round(1000 * power_w / (self.voltage_v * self.power_factor))
        power_dw = round(10 * power_w)
        energy_wh = min(int(self._energy_wh + self._power.imported_j / 3600.0), _ENERGY_LIMIT_WH)
        return (
            round(10 * self.voltage_v),
            *_low_first(current_ma),
            *_low_first(power_dw),
            *_low_first(energy_wh),
            round(10 * self.frequency_hz),
            round(100 * self.power_factor) if power_w else 0,
            0xFFFF if power_w > self.alarm_w else 0,
        )


def _low_first(value: int) -> tuple[int, int]:
    return value & 0xFFFF, value >> 16 & 0xFFFF


class Pzem004tEmulator(Emulator):
    """The instrument on a pty or a TCP port; a context manager.

    `power_w` is a constant or a function of monotonic seconds; it is called from the emulator's
    thread, for instants a few hundredths of a second in the past. `options` are those of
    `Pzem004tDevice`. `path` is what a client opens.
    """

    device = Pzem004tDevice
