"""An emulated MCP39F511N, MCP39F511 or MCP39F501: the register map, the power of your choice.

Addresses, scales and frames are written a second time from the sources that are named in
`drivers.meters.mcp39f511`. A count of power is worth 10 mW x 2^(range - 19), which gives both
ranges that are known (19 and 6). The second outlet of the 511N draws `second_share` of the first.
The mean is over the last 2^N line cycles, renewed as often. Rounding is assumed, and so is that
the status register stands still.
"""

from __future__ import annotations

import math
import random
import struct
from collections.abc import Callable, Mapping

from .faults import Damage
from .served import Emulator
from .window import WindowedPower

__all__ = ["Mcp39f511Device", "Mcp39f511Emulator"]


def _summed(body: bytes) -> bytes:
    return body + bytes((sum(body) % 256,))


def _bad_sum(chance: random.Random, _request: bytes, answer: bytes) -> bytes:
    return answer[:-1] + bytes(((answer[-1] + chance.randrange(1, 256)) % 256,))


class Mcp39f511Device:
    """The instrument without its port; `power_w` is called with monotonic seconds."""

    faults: Mapping[str, Damage] = {
        "bad_crc": _bad_sum,
        "exception": lambda chance, _request, _answer: bytes((chance.choice((0x51, 0x15)),)),
    }

    def __init__(
        self,
        power_w: Callable[[float], float] | float,
        *,
        variant: str = "mcp39f511n",
        interval: int = 4,
        ranges: tuple[int, int, int] = (18, 12, 19),
        voltage_v: float = 230.0,
        wander_v: float = 0.3,
        frequency_hz: float = 50.0,
        power_factor: float = 0.95,
        second_share: float = 0.0,
    ) -> None:
        self.variant, self.interval, self.ranges = variant, interval, ranges
        self.voltage_v, self.wander_v, self.frequency_hz = voltage_v, wander_v, frequency_hz
        self.power_factor, self.second_share = power_factor, second_share
        window_s = 2**interval / frequency_hz
        self._power = WindowedPower(power_w, window_s=window_s, refresh_s=window_s)
        self._volts = voltage_v

    def advance(self, t_s: float) -> None:
        """Measure until `t_s` (monotonic seconds)."""
        self._power.advance(t_s)
        self._volts = self._power.wandering(self.voltage_v, self.wander_v)

    def reboot(self) -> None:
        """Restart: what is in its flash, the setting, survives."""
        self._power.restart()

    def take(self, buffer: bytes) -> tuple[bytes, bytes, bytes]:
        """Split (question, answer, rest) off the bytes received."""
        start = buffer.find(b"\xa5")
        if start < 0:
            return b"", b"", b""
        buffer = buffer[start:]
        if len(buffer) < 2 or len(buffer) < buffer[1]:
            return b"", b"", buffer
        length = max(4, buffer[1])
        request = buffer[:length]
        return request, self._answer(request), buffer[length:]

    def _answer(self, request: bytes) -> bytes:
        if _summed(request[:-1]) != request:
            return b"\x51"
        if len(request) != 8 or request[2] != 0x41 or request[5] != 0x4E:
            return b"\x15"
        first, count = int.from_bytes(request[3:5], "big"), request[6]
        memory = self._memory()
        data = bytes(memory.get(a, 0) for a in range(first, first + count))
        return _summed(bytes((0x06, count + 3)) + data)

    def _memory(self) -> dict[int, int]:
        """Return the bytes of the register map by their addresses."""
        volts, hertz = round(10 * self._volts), round(1000 * self.frequency_hz)
        first = self._outlet(max(0.0, self._power.shown_w))
        second = self._outlet(max(0.0, self._power.shown_w) * self.second_share)
        ranges = bytes((*self.ranges, 0))
        interval = self.interval.to_bytes(2, "little")
        if self.variant == "mcp39f511n":
            factors = struct.pack("<hh", first[0], second[0])
            pairs = b"".join(struct.pack("<II", a, b) for a, b in zip(first, second, strict=True))
            words = struct.pack("<HHHH", 0, 0x1810, volts, hertz) + factors + pairs[8:]
            parts = {0x02: words, 0xA8: interval, 0xAE: ranges, 0xBE: ranges}
        elif self.variant == "mcp39f511":
            words = struct.pack("<HHHHHhIIII", 0, 0x1810, volts, hertz, 175, *first)
            parts = {0x02: words, 0x9E: interval, 0x82: ranges}
        else:
            pf, amperes, *powers = first
            words = struct.pack("<IHIIIhH", amperes, volts, *powers, pf, hertz)
            parts = {0x04: words, 0x5A: interval, 0x48: ranges}
        return {a + i: byte for a, data in parts.items() for i, byte in enumerate(data)}

    def _outlet(self, power_w: float) -> tuple[int, int, int, int, int]:
        """Return power factor, current, P, Q and S in counts."""
        apparent_va = power_w / self.power_factor
        reactive_var = math.sqrt(max(0.0, apparent_va**2 - power_w**2))
        per_watt = 100.0 * 2.0 ** (19 - self.ranges[2])
        return (
            round(32767 * self.power_factor) if power_w else 0,
            round(10_000 * apparent_va / self._volts),
            round(per_watt * power_w),
            round(per_watt * reactive_var),
            round(per_watt * apparent_va),
        )


class Mcp39f511Emulator(Emulator):
    """The instrument on a pty or a TCP port; a context manager.

    `power_w` is a constant or a function of monotonic seconds; `options` are those of
    `Mcp39f511Device`. `path` is what a client opens.
    """

    device = Mcp39f511Device
