"""An emulated Watts Up?: answers its questions, reports every few seconds, forgets on a restart.

Written from the specification that `drivers.meters.wattsup` names, without its tables. A packet has
the mean of the power over the second before it, rounded to 0.1 W; the mains voltage wanders. That
the window is one second, that external logging ends with a restart, and how long that takes
(`boot_s`) are assumed. Commands that clear its memory do nothing here but stand in `forbidden`.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from .faults import Damage
from .served import Emulator

__all__ = ["WattsUpDevice", "WattsUpEmulator"]

_NAMES: Final = (
    "W", "V", "A", "WH", "Cost", "WH/Mo", "Cost/Mo", "Wmax", "Vmax", "Amax",
    "Wmin", "Vmin", "Amin", "PF", "DC", "PC", "Hz", "VA",
)  # fmt: skip
_STEPS: Final = 20
_VARIANTS: Final = ("standard", "pro", "es", "net", "blind")
_BANNER: Final = b"EED05F01 $Revision: 4.41 $ 200612212301 60Hz 120V\r\n"
_LONGEST: Final = 200


def _over_range(_chance: random.Random, _request: bytes, packet: bytes) -> bytes:
    """Return the packet with a power beyond the specification's range."""
    fields = packet.split(b",")
    return b",".join([*fields[:3], b"60000", *fields[4:]]) if len(fields) > 4 else packet


class WattsUpDevice:
    """The instrument without its port; `power_w` is called with monotonic seconds.

    `fields` is how many fields it has: 18, or 16 on old firmware. `logged` names those that are
    logged, None means all.
    """

    faults: Mapping[str, Damage] = {"over_range": _over_range}

    def __init__(
        self,
        power_w: Callable[[float], float] | float,
        *,
        voltage_v: float = 120.0,
        wander_v: float = 0.3,
        power_factor: float = 0.95,
        variant: str = "pro",
        fields: int = 18,
        logged: Sequence[str] | None = None,
        baud: int = 115_200,
        boot_s: float = 1.5,
    ) -> None:
        self._power_w = power_w if callable(power_w) else (lambda _t_s: power_w)
        self._voltage_v, self._wander_v = voltage_v, wander_v
        self._power_factor, self._variant = power_factor, _VARIANTS.index(variant)
        self._fields = _NAMES[:fields]
        self._logged = set(self._fields if logged is None else logged)
        self.baud, self._boot_s = baud, boot_s
        self.forbidden: list[bytes] = []
        self._now_s = 0.0
        self._seen_s: float | None = None  # until when the power has been measured
        self._energy_j = 0.0
        self._means: list[float] = []
        self._peaks: dict[str, float] = {}
        self._start_s: float | None = None
        self._interval_s = 1
        self._reported = 0
        self._banner_s: float | None = None
        self._made = b""

    @property
    def reporting(self) -> bool:
        """Whether it reports to the host."""
        return self._start_s is not None

    def advance(self, t_s: float) -> None:
        """Measure until `t_s`: twenty looks at the power a second."""
        self._now_s = t_s
        if self._seen_s is None:
            self._seen_s = t_s
        while (end_s := self._seen_s + 1 / _STEPS) <= t_s:
            watt = float(self._power_w(end_s - 0.5 / _STEPS))
            self._energy_j += watt / _STEPS
            self._means = [*self._means[1 - _STEPS :], watt]
            self._seen_s = end_s
            self._report(end_s)

    def reboot(self) -> None:
        """Restart: the banner comes after `boot_s`, reports do not; memory and energy are lost."""
        self._start_s, self._banner_s, self._made = None, self._now_s + self._boot_s, b""
        self.reset_counters()
        self._peaks = {}

    def reset_counters(self) -> None:
        """Begin the energy anew."""
        self._energy_j = 0.0

    def take(self, buffer: bytes) -> tuple[bytes, bytes, bytes]:
        """Split (command, answer, rest) off the bytes received."""
        if buffer[:1] == b"\x18":
            self._made = b""
            return buffer[:1], b"", buffer[1:]
        begin = buffer.find(b"#")
        if begin < 0:
            return b"", b"", b""
        end = buffer.find(b";", begin)
        if end < 0:
            return b"", b"", buffer[begin:] if len(buffer) < _LONGEST else b""
        command = buffer[begin : end + 1].replace(b"\r", b"").replace(b"\n", b"")
        return command, self._answer(command[1:-1].decode("latin-1").split(",")), buffer[end + 1 :]

    def _answer(self, words: list[str]) -> bytes:
        head = tuple(words[:2])
        if head == ("H", "R"):
            return self._packet("h", self._fields)
        if head == ("C", "R"):
            return self._packet("c", [str(int(n in self._logged)) for n in self._fields])
        if head == ("S", "R"):
            return self._packet("s", ["0", str(self._interval_s), "2" if self.reporting else "1"])
        if head == ("L", "W") and words[3:4] == ["E"] and words[-1].isdigit():
            self._interval_s = max(1, int(words[-1]))
            self._start_s, self._reported = self._now_s, 0
            return b""
        if head == ("L", "R") or words == ["L", "W", "0", ""]:
            self._start_s = None
            return b""
        if len(head) == 2 and head[1] == "W":
            self.forbidden.append(",".join(words).encode())
        return self._packet(
            "v", [str(self._variant), "65206", "5", "2", "3", "14", "200612211910", "0"]
        )

    def due(self, t_s: float) -> bytes:
        """Return what is to be said by `t_s` and is not said yet."""
        if self._banner_s is not None and t_s >= self._banner_s:
            self._banner_s = None
            self._made += _BANNER
        return self._made

    def sent(self, count: int) -> None:
        """Go on behind what was sent."""
        self._made = b""

    def _report(self, t_s: float) -> None:
        """Say a packet if one is due at `t_s`."""
        if self._start_s is None:
            return
        number = int((t_s - self._start_s + 1e-6) / self._interval_s)
        if number <= self._reported:
            return
        self._reported = number
        watt = sum(self._means) / len(self._means)
        volt = self._voltage_v + self._wander_v * math.sin(1.7 * t_s)
        apparent = watt / self._power_factor
        ampere = apparent / volt
        now = {"W": 10 * watt, "V": 10 * volt, "A": 1000 * ampere}
        for name, value in now.items():
            self._peaks[f"{name}max"] = max(value, self._peaks.get(f"{name}max", value))
            self._peaks[f"{name}min"] = min(value, self._peaks.get(f"{name}min", value))
        values = {
            **dict.fromkeys(self._fields, 0.0),
            **now,
            **self._peaks,
            "WH": self._energy_j // 360,
            "PF": 100 * self._power_factor,
            "DC": 100.0,
            "Hz": 600.0,
            "VA": 10 * apparent,
        }
        texts = [str(round(values[n])) if n in self._logged else "_" for n in self._fields]
        self._made += self._packet("d", texts)

    def _packet(self, letter: str, arguments: Sequence[str]) -> bytes:
        return f"#{letter},-,{len(arguments)},{','.join(arguments)};\r\n".encode()


class WattsUpEmulator(Emulator):
    """The instrument on a pty or a TCP port; a context manager. `path` is what a client opens.

    `power_w` is a constant or a function of monotonic seconds, called from the emulator's thread;
    `options` are those of `WattsUpDevice`.
    """

    device = WattsUpDevice
