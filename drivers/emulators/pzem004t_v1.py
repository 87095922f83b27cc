"""An emulated PZEM-004T of the first version: seven bytes an answer, the power of your choice.

Commands and scales are written a second time from the source named in `drivers.meters.pzem004t_v1`.
It answers nothing before its address was set, and sends a zero byte before its first answer, as
the module does at power-up. Window, refresh, rounding and the starting power are assumed.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping

from .faults import Damage
from .served import Emulator
from .window import WindowedPower

__all__ = ["Pzem004tV1Device", "Pzem004tV1Emulator"]


def _summed(body: bytes) -> bytes:
    return body + bytes((sum(body) % 256,))


def _bad_sum(chance: random.Random, _request: bytes, answer: bytes) -> bytes:
    return answer[:-1] + bytes(((answer[-1] + chance.randrange(1, 256)) % 256,))


def _wrong_code(chance: random.Random, _request: bytes, answer: bytes) -> bytes:
    """Answer another question than the one that was asked, in a whole frame."""
    whole = answer.lstrip(b"\0")
    return _summed(bytes((0xA0 + (whole[0] - 0xA0 + chance.randrange(1, 5)) % 5,)) + whole[1:-1])


class Pzem004tV1Device:
    """The instrument without its port; `power_w` is called with monotonic seconds."""

    faults: Mapping[str, Damage] = {
        "bad_crc": _bad_sum,
        "wrong_id": _wrong_code,
    }

    def __init__(
        self,
        power_w: Callable[[float], float] | float,
        *,
        window_s: float = 1.0,
        refresh_s: float = 1.0,
        voltage_v: float = 230.0,
        wander_v: float = 0.3,
        power_factor: float = 0.95,
        energy_wh: float = 0.0,
    ) -> None:
        self.voltage_v, self.wander_v, self.power_factor = voltage_v, wander_v, power_factor
        self._power = WindowedPower(power_w, window_s=window_s, refresh_s=refresh_s)
        self._energy_wh = energy_wh
        self._volts = voltage_v
        self._address: bytes | None = None
        self._just_on = True

    def advance(self, t_s: float) -> None:
        """Measure until `t_s` (monotonic seconds)."""
        self._power.advance(t_s)
        self._volts = self._power.wandering(self.voltage_v, self.wander_v)

    def reboot(self) -> None:
        """Restart: the address is forgotten, the energy register survives."""
        self._power.restart()
        self._address, self._just_on = None, True

    def reset_counters(self) -> None:
        """Let the energy begin at zero again, as its button does."""
        self._power.imported_j = self._energy_wh = 0.0

    def take(self, buffer: bytes) -> tuple[bytes, bytes, bytes]:
        """Split (question, answer, rest) off the bytes received."""
        while len(buffer) >= 7:
            request = buffer[:7]
            if 0xB0 <= request[0] <= 0xB4 and _summed(request[:6]) == request:
                return request, self._answer(request), buffer[7:]
            buffer = buffer[1:]
        return b"", b"", buffer

    def _answer(self, request: bytes) -> bytes:
        code, address = request[0], request[1:5]
        if code == 0xB4:
            self._address = address
        if address != self._address:
            return b""
        noise, self._just_on = (b"\0" if self._just_on else b""), False
        return noise + _summed(bytes((code - 0x10,)) + self._data(code))

    def _data(self, code: int) -> bytes:
        power_w = max(0.0, self._power.shown_w)
        if code == 0xB0:
            whole, tenths = divmod(round(10 * self._volts), 10)
            return whole.to_bytes(2, "big") + bytes((tenths, 0, 0))
        if code == 0xB1:
            centiamperes = round(100 * power_w / (self._volts * self.power_factor))
            whole, hundredths = divmod(centiamperes, 100)
            return whole.to_bytes(2, "big") + bytes((hundredths, 0, 0))
        if code == 0xB2:
            return round(power_w).to_bytes(2, "big") + bytes(3)
        if code == 0xB3:
            watt_hours = int(self._energy_wh + self._power.imported_j / 3600.0)
            return watt_hours.to_bytes(3, "big") + bytes(2)
        return bytes(5)


class Pzem004tV1Emulator(Emulator):
    """The instrument on a pty or a TCP port; a context manager.

    `power_w` is a constant or a function of monotonic seconds; `options` are those of
    `Pzem004tV1Device`. `path` is what a client opens.
    """

    device = Pzem004tV1Device
