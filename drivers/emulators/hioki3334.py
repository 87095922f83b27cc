"""An emulated Hioki 3334: its lines, the power of your choice.

Written a second time from the sources that `drivers.meters.hioki3334` names. Assumed: an update
every 0.2 s, moving means of that many updates as the averaging says, five digits that go by the
range, an over-range above 1.4 times a range, its identity but for maker and name.
"""

from __future__ import annotations

import math
import random
from collections import deque
from collections.abc import Callable, Mapping
from typing import ClassVar, Final

from .analyser import Analyser, Shown
from .faults import Damage
from .scpi_lines import commands, take_line
from .served import Emulator

__all__ = ["Hioki3334Device", "Hioki3334Emulator"]

_VOLTS: Final = (15.0, 30.0, 150.0, 300.0)
_AMPS: Final = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
_OVER: Final = "+999.99E+9"


def _over_range(_chance: random.Random, _request: bytes, answer: bytes) -> bytes:
    """Put the value for an over-range in place of current, power and factor."""
    units = answer.rstrip(b"\r\n").split(b";")
    if len(units) != 4 or not units[0].startswith(b"V "):
        return answer
    over = _OVER.encode()
    return b";".join([units[0], b"A " + over, b"W " + over, b"PF " + over]) + b"\r\n"


class Hioki3334Device:
    """The instrument without its line; `power_w` is called with monotonic seconds."""

    faults: ClassVar[Mapping[str, Damage]] = {"over_range": _over_range}

    def __init__(
        self,
        power_w: Callable[[float], float] | float,
        *,
        voltage_v: float = 230.0,
        power_factor: float = 0.95,
    ) -> None:
        self.analyser = Analyser(
            power_w, refresh_s=0.2, voltage_v=voltage_v, power_factor=power_factor
        )
        self.volt_range, self.amp_range = 300.0, 30.0
        self.settings = {"AVERAGING": "1", "RECTIFIER": "ACDC", "HOLD": "OFF", "HEAD": "ON"}
        self.settings |= {"VOLTAGE:AUTO": "OFF", "CURRENT:AUTO": "OFF"}
        self._recent: deque[Shown] = deque(maxlen=100)

    def advance(self, t_s: float) -> None:
        """Let time pass, one update after the other."""
        analyser = self.analyser
        analyser.advance(min(t_s, analyser.end_s or t_s))
        while analyser.end_s is not None and analyser.end_s + analyser.refresh_s <= t_s + 1e-9:
            analyser.advance(analyser.end_s + analyser.refresh_s)
            self._recent.append(analyser.shown)
        shown = analyser.shown
        if self.settings["VOLTAGE:AUTO"] == "ON":
            self.volt_range = next((v for v in _VOLTS if shown.voltage_v <= v), _VOLTS[-1])
        if self.settings["CURRENT:AUTO"] == "ON":
            self.amp_range = next((a for a in _AMPS if shown.current_a <= a), _AMPS[-1])

    def reboot(self) -> None:
        """Restart: forget the means; settings survive."""
        self.analyser.restart()
        self._recent.clear()

    def take(self, buffer: bytes) -> tuple[bytes, bytes, bytes]:
        """Split (question, answer, rest) off the bytes received; set commands have no answer."""
        line, rest = take_line(buffer)
        if not line:
            return b"", b"", buffer
        replies, node = list[str](), ""
        for head, value in commands(line):
            name = f"{node}:{head}" if head.upper().startswith("AUTO") and node else head
            node = head.upper().partition(":")[0]
            reply = self._obey(name.upper(), value)
            if reply is not None:
                replies.append(reply)
        return line, (";".join(replies).encode("ascii") + b"\r\n") if replies else b"", rest

    def _obey(self, name: str, value: str) -> str | None:
        """Carry out one command; return the answer of a query."""
        if name == "*IDN?":
            return "HIOKI,3334,0,V1.00"
        if name == "MEASURE?":
            return ";".join(self._named(item, self._value(item)) for item in value.split(","))
        if name in ("VOLTAGE?", "CURRENT?"):
            node = name.removesuffix("?")
            size = f"{self.volt_range:g}" if node == "VOLTAGE" else f"{self.amp_range:.1f}"
            ranged = self._named(f":{node}:RANGE", size)
            return f"{ranged};{self._named('AUTO', self.settings[f'{node}:AUTO'])}"
        if name.endswith("?"):
            key = name.removesuffix("?")
            return self._named(f":{key}", self.settings[key]) if key in self.settings else None
        if name == "VOLTAGE:RANGE":
            self.volt_range = float(value)
        elif name == "CURRENT:RANGE":
            self.amp_range = float(value)
        elif name in self.settings:
            self.settings[name] = value.upper()
        return None

    def _named(self, name: str, value: str) -> str:
        return f"{name} {value}" if self.settings["HEAD"] == "ON" else value

    def _value(self, item: str) -> str:
        """Write one quantity with five digits of its range."""
        recent = list(self._recent)[-int(self.settings["AVERAGING"]) :] or [self.analyser.shown]
        volt = math.fsum(s.voltage_v for s in recent) / len(recent)
        amp = math.sqrt(math.fsum(s.current_a**2 for s in recent) / len(recent))
        watt = math.fsum(s.power_w for s in recent) / len(recent)
        if volt > 1.4 * self.volt_range or (amp > 1.4 * self.amp_range and item != "V"):
            return _OVER
        factor = watt / (volt * amp) if amp else 0.0
        values = {
            "V": (volt, self.volt_range),
            "A": (amp, self.amp_range),
            "W": (watt, self.volt_range * self.amp_range),
            "PF": (factor, 1.0),
        }
        if item not in values:
            return _OVER
        value, size = values[item]
        power = 3 * math.floor(math.log10(size) / 3 + 1e-9)
        decimals = power - (math.floor(math.log10(size) + 1e-9) - 4)
        width = 7  # sign, five digits, point
        return f"{value / 10.0**power:+0{width}.{decimals}f}E{power:+d}"


class Hioki3334Emulator(Emulator):
    """The instrument on a pty or a TCP port; a context manager. Options as of the device."""

    device = Hioki3334Device
