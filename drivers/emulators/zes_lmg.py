"""An emulated ZES Zimmer LMG95 or LMG670: its lines, the power of your choice.

Commands and items are written a second time from the sources that `drivers.meters.zes_lmg` names.
Assumed: the digits of an LMG95's numbers (six), the whole of its identity but the model's name,
that it starts in the language SCPI and forgets a stream, ranges and language when it restarts.
"""

from __future__ import annotations

import datetime
import random
from collections.abc import Callable, Mapping
from typing import ClassVar, Final

from .analyser import Analyser
from .faults import Damage
from .scpi_lines import take_line
from .served import Emulator

__all__ = ["ZesLmgDevice", "ZesLmgEmulator"]

_ADC_HZ: Final = 99_336.0
_NOT_A_NUMBER: Final = 9.91e37
_OVER: Final = 9.9e37
_FIRST_COUNT: Final = 10_267
_FIRST_SCTC: Final = 434_503_856
_DAY: Final = datetime.datetime(2015, 1, 21, 17, 20, 55, tzinfo=datetime.UTC)


def _over_range(_chance: random.Random, _request: bytes, answer: bytes) -> bytes:
    """Put the sentinel of an over-range in place of current and power, in every line of values."""
    lines = []
    for line in answer.split(b"\n"):
        fields = line.split(b";")
        if len(fields) >= 6:
            fields[-3] = fields[-2] = b"9.9e+37"
        lines.append(b";".join(fields))
    return b"\n".join(lines)


class ZesLmgDevice:
    """The instrument without its line; `power_w` is called with monotonic seconds."""

    faults: ClassVar[Mapping[str, Damage]] = {"over_range": _over_range}
    baud = 115_200

    def __init__(
        self,
        power_w: Callable[[float], float] | float,
        *,
        variant: str = "lmg95",
        voltage_v: float = 230.0,
        power_factor: float = 0.95,
        count: int = _FIRST_COUNT,
    ) -> None:
        self.identity = variant.upper()
        self._end = b"\r\n" if variant == "lmg95" else b"\n"
        self.analyser = Analyser(
            power_w, refresh_s=0.5, voltage_v=voltage_v, power_factor=power_factor
        )
        self._first_count = count
        self._sctc = _FIRST_SCTC
        self.commands: list[str] = []
        self.reboot()

    def reboot(self) -> None:
        """Restart: the stream, its items, ranges and the counter of cycles are as at power-up."""
        self.analyser.restart(0.5)
        self.count = self._first_count
        self.short, self.streaming = False, False
        self.items: tuple[str, ...] = ()
        self.volt_range, self.amp_range = 600.0, 20.0
        self._made = b""

    def advance(self, t_s: float) -> None:
        """Let time pass, one cycle after the other; each makes a line while the stream is on."""
        analyser = self.analyser
        analyser.advance(min(t_s, analyser.end_s or t_s))
        while analyser.end_s is not None and analyser.end_s + analyser.refresh_s <= t_s + 1e-9:
            analyser.advance(analyser.end_s + analyser.refresh_s)
            self.count = (self.count + 1) % 65_536
            self._sctc = (self._sctc + round(self._cycle_s() * _ADC_HZ)) % (1 << 31)
            if self.streaming:
                values = ";".join(self._value(item) for item in self.items)
                self._made += values.encode("ascii") + self._end

    def take(self, buffer: bytes) -> tuple[bytes, bytes, bytes]:
        """Split (command, answer, rest) off the bytes received."""
        line, rest = take_line(buffer)
        if not line:
            return b"", b"", buffer
        replies = self._obey(line.decode("latin-1").strip())
        return line, (";".join(replies).encode("ascii") + self._end) if replies else b"", rest

    def due(self, _t_s: float) -> bytes:
        """Return the lines that are to be sent and are not sent yet."""
        return self._made

    def sent(self, _count: int) -> None:
        """Go on behind what was sent."""
        self._made = b""

    def _obey(self, line: str) -> list[str]:
        """Carry out one line, and return what its queries answer."""
        words = [w.strip() for w in line.lower().split(";") if w.strip()]
        self.commands += words
        if words[:1] == ["actn"] and self.short:
            self.items = tuple(w.removesuffix("?") for w in words[1:])
            return []
        replies = []
        for word in words:
            name, _, value = word.partition(" ")
            if word == "*opc?":
                replies.append("1")
            elif word == "*idn?":
                replies.append(f"ZES ZIMMER Electronic Systems GmbH,{self.identity},00000000,4.100")
            elif word in ("syst:lang short", "*zlang short"):
                self.short = True
            elif word == "*rst":
                self.short = self.streaming = False
            elif not self.short:
                continue  # an error for the queue of errors
            elif word == "cont on":
                self.streaming, self._made = True, b""
            elif word in ("cont off", "gtl"):
                self.streaming, self._made = False, b""
            elif name == "cycl":
                self.analyser.restart(float(value))
            elif name.rstrip("1") == "urng":
                self.volt_range = float(value)
            elif name.rstrip("1") == "irng":
                self.amp_range = float(value)
        return replies

    def _cycle_s(self) -> float:
        """Return the true length of the last cycle, which differs by microseconds."""
        return self.analyser.refresh_s + (1e-5 if self.count % 2 else -1e-5)

    def _value(self, item: str) -> str:
        shown = self.analyser.shown
        over = shown.current_a > 1.4 * self.amp_range or shown.voltage_v > 1.4 * self.volt_range
        factor = _NOT_A_NUMBER if shown.power_factor is None or over else shown.power_factor
        if item == "tsnorm1":
            moment = _DAY + datetime.timedelta(seconds=self.analyser.end_s or 0.0)
            return moment.strftime("%Y:%m:%dD%H:%M:%S.%f") + "000+0000"
        if item == "durnorm1":
            return f"{self._cycle_s():.9f}"
        if item in ("count", "sctc"):
            return str(self.count if item == "count" else self._sctc)
        values = {
            "cycr": self._cycle_s(),
            "utrms": shown.voltage_v,
            "itrms": _OVER if over else shown.current_a,
            "p": _OVER if over else shown.power_w,
            "pf": factor,
        }
        value = values.get(item.removesuffix("1"), _NOT_A_NUMBER)
        if self.identity == "LMG670":
            return f"{value:.6E}"
        return f"{value:.2e}" if value > 1e30 else _six(value)


def _six(value: float) -> str:
    """Write six digits without an exponent: 234.835."""
    whole = len(str(int(abs(value)))) if abs(value) >= 1 else 1
    return f"{value:.{max(0, 6 - whole)}f}"


class ZesLmgEmulator(Emulator):
    """The instrument on a pty or a TCP port; a context manager. Options as of the device."""

    device = ZesLmgDevice
