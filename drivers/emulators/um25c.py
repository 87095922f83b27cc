"""An emulated RDTech UM24C, UM25C or UM34C: 130 bytes to every F0, the power of your choice.

Offsets, scales, end marks and checksum are written a second time from the sources named in
`drivers.meters.um25c`. Window, refresh and rounding are assumed; the power is that of the fine
voltage and current, as in an instrument that multiplies before it rounds. The unused fields hold
plausible constants (20 degrees, data group 0).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from typing import Final

from .faults import Damage
from .served import Emulator
from .window import WindowedPower

__all__ = ["Um25cDevice", "Um25cEmulator"]

_MODELS: Final = {"um24c": 0x0963, "um25c": 0x09C9, "um34c": 0x0D4C}
_XORED: Final = (
    "1 3 7 9 15 17 19 23 31 39 41 45 49 53 55 57 59 63 67 69 73 79 83 89 97 99 "
    "109 111 113 119 121 127"
)


def _wrong_end(chance: random.Random, _request: bytes, answer: bytes) -> bytes:
    return answer[:-1] + bytes((answer[-1] ^ 1 << chance.randrange(8),))


class Um25cDevice:
    """The instrument without its port; `power_w` is called with monotonic seconds."""

    faults: Mapping[str, Damage] = {"bad_crc": _wrong_end}

    def __init__(
        self,
        power_w: Callable[[float], float] | float,
        *,
        variant: str = "um25c",
        window_s: float = 0.5,
        refresh_s: float = 0.5,
        voltage_v: float = 20.0,
        wander_v: float = 0.05,
    ) -> None:
        self.variant, self.voltage_v, self.wander_v = variant, voltage_v, wander_v
        self._power = WindowedPower(power_w, window_s=window_s, refresh_s=refresh_s)
        self._volts = voltage_v

    def advance(self, t_s: float) -> None:
        """Measure until `t_s` (monotonic seconds)."""
        self._power.advance(t_s)
        self._volts = self._power.wandering(self.voltage_v, self.wander_v)

    def reboot(self) -> None:
        """Restart."""
        self._power.restart()

    def take(self, buffer: bytes) -> tuple[bytes, bytes, bytes]:
        """Split (question, answer, rest) off the bytes received; other commands get no answer."""
        if not buffer:
            return b"", b"", b""
        answer = self._answer() if buffer[0] == 0xF0 else b""
        return buffer[:1], answer, buffer[1:]

    def _answer(self) -> bytes:
        fine = 10 if self.variant == "um25c" else 1
        milliwatts = max(0, round(1000 * self._power.shown_w))
        amperes = self._power.shown_w / self._volts
        frame = bytearray(130)
        frame[0:2] = _MODELS[self.variant].to_bytes(2, "big")
        frame[2:4] = round(100 * fine * self._volts).to_bytes(2, "big")
        frame[4:6] = max(0, round(1000 * fine * amperes)).to_bytes(2, "big")
        frame[6:10] = milliwatts.to_bytes(4, "big")
        frame[10:14] = bytes((0, 20, 0, 68))
        if self.variant == "um34c":
            for place in _XORED.split():
                frame[129] ^= frame[int(place)]
        else:
            frame[128:130] = b"\xff\xf1"
        return bytes(frame)


class Um25cEmulator(Emulator):
    """The instrument on a pty or a TCP port; a context manager.

    `power_w` is a constant or a function of monotonic seconds; `options` are those of
    `Um25cDevice`. `path` is what a client opens.
    """

    device = Um25cDevice
