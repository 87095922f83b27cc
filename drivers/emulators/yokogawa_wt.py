"""An emulated Yokogawa WT310, WT310E, WT332E or WT333E: its lines, the power of your choice.

Ranges, digits and mnemonics are written a second time from the sources that
`drivers.meters.yokogawa_wt` names; the replies in `tests/tapes/yokogawa_*.tape` are real ones.

Assumed, because they stand in no source: above 1.4 times a range it says INF; below 0.5 % of a
range it has no power factor (the manual of the WT210 says so); exponents go by the range; it
forgets headers and items when it restarts; the load hangs on the first element alone.
"""

from __future__ import annotations

import math
import random
import struct
from collections.abc import Callable, Mapping
from typing import ClassVar, Final

from .analyser import Analyser
from .faults import Damage
from .scpi_lines import CommandTable, take_line
from .served import Emulator

__all__ = ["YokogawaWtDevice", "YokogawaWtEmulator"]

_ELEMENTS: Final = {"WT310": 1, "WT310E": 1, "WT332E": 2, "WT333E": 3}
_VOLTS: Final = (15.0, 30.0, 60.0, 150.0, 300.0, 600.0)
_AMPS: Final = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0)
_OVER: Final = 1.4
_NO_FACTOR: Final = 0.005
_DEFAULT_ITEMS: Final = ("U", "I", "P", "S", "Q", "LAMB", "PHI", "FU", "FI", "NONE")
_FLOATS: Final = {"NAN": bytes.fromhex("7E951BEE"), "INF": bytes.fromhex("7E94F56A")}
_ON: Final = {"ON": 1, "1": 1, "OFF": 0, "0": 0}


def engineering(value: float, decimals: int) -> str:
    """Write a setting the way the meter does: 500.0E-03, 3.0E+00."""
    power = 3 * math.floor(math.log10(abs(value)) / 3) if value else 0
    return f"{value / 10**power:.{decimals}f}E{power:+03d}"


def on_range(value: float, size: float) -> str:
    """Write a value with five digits of its range: 118.83E+00 on 150, 0.8002E+00 on 1."""
    power = 3 * math.floor(math.log10(size) / 3 + 1e-9)
    decimals = power - (math.floor(math.log10(size) + 1e-9) - 4)
    return f"{value / 10**power:.{decimals}f}E{power:+03d}"


def over_range(_chance: random.Random, _request: bytes, answer: bytes) -> bytes:
    """Put what an over-range shows in place of current, power and factor; in values alone."""
    fields = answer.rstrip(b"\r\n").split(b",")
    if len(fields) < 4 or b"E" not in fields[1]:
        return answer
    return b",".join([fields[0], b"INF", b"INF", b"NAN", *fields[4:]]) + b"\r\n"


class YokogawaWtDevice:
    """The instrument without its line; `power_w` is called with monotonic seconds.

    `headers` says whether its replies begin with their mnemonic before it is told otherwise.
    """

    faults: ClassVar[Mapping[str, Damage]] = {"over_range": over_range}

    def __init__(
        self,
        power_w: Callable[[float], float] | float,
        *,
        variant: str = "wt310e",
        refresh_s: float = 1.0,
        voltage_v: float = 230.0,
        power_factor: float = 0.95,
        frequency_hz: float = 50.0,
        headers: bool = True,
        serial: str = "EMULATED01",
    ) -> None:
        self.identity = variant.upper()
        self.elements = _ELEMENTS[self.identity]
        self.analyser = Analyser(
            power_w, refresh_s=refresh_s, voltage_v=voltage_v, power_factor=power_factor
        )
        self.frequency_hz, self.serial, self._headers_first = frequency_hz, serial, headers
        self.volt_range, self.amp_range = 300.0, 5.0
        self.volt_auto = self.amp_auto = False
        self.crest_factor, self.averaging = 3, 0
        self.line_filter, self.frequency_filter = 0, 1
        self.event, self.ready_s = 0, 0.0
        self._table = CommandTable(self._handlers())
        self.reboot()

    def advance(self, t_s: float) -> None:
        """Let time pass; every update may change an automatic range and sets the event bit."""
        if self.analyser.advance(t_s):
            self.event |= 1
            shown = self.analyser.shown
            if self.volt_auto:
                self.volt_range = _fitting(shown.voltage_v, _VOLTS)
            if self.amp_auto:
                self.amp_range = _fitting(shown.current_a, _AMPS)

    def reboot(self) -> None:
        """Restart: headers, items and the integration are as at power-up, the ranges survive."""
        self.analyser.restart()
        self.headers, self.floats = int(self._headers_first), 0
        self.items = [(name, 1) for name in _DEFAULT_ITEMS]
        self.errors: list[str] = []
        self.state, self._energy_start_j = "RES", 0.0
        self._energy_held_j = 0.0

    def reset_counters(self) -> None:
        """Begin the integration anew, as two keys of the front panel do."""
        self._energy_start_j, self._energy_held_j = self.analyser.energy_j, 0.0

    def take(self, buffer: bytes) -> tuple[bytes, bytes, bytes]:
        """Split (question, answer, rest) off the bytes received; set commands have no answer."""
        line, rest = take_line(buffer)
        if not line:
            return b"", b"", buffer
        replies, unknown = self._table.carry_out(line)
        self.errors += [f'113,"Undefined header;{head}"' for head in unknown]
        return line, (";".join(replies).encode("latin-1") + b"\r\n") if replies else b"", rest

    def _handlers(self) -> dict[str, Callable[[tuple[int, ...], str], str | None]]:
        """Return what each mnemonic does."""

        def setting(name: str, words: Mapping[str, int] = _ON) -> Callable[..., None]:
            return lambda _n, text: setattr(self, name, words[text.upper()])

        def shown(header: str, value: Callable[[], object]) -> Callable[..., str]:
            return lambda _n, _t: f"{header} {value()}" if self.headers else str(value())

        return {
            "*IDN?": lambda _n, _t: f"YOKOGAWA,{self.identity},{self.serial},F1.04",
            "*CLS": lambda _n, _t: self.errors.clear(),
            ":STATus:ERRor?": lambda _n, _t: self.errors.pop(0) if self.errors else '0,"No error"',
            ":STATus:QMESsage": lambda _n, _t: None,
            ":STATus:FILTer<n>": lambda _n, _t: None,
            ":STATus:FILTer<n>?": lambda _n, _t: "FALL",
            ":STATus:EESR?": lambda _n, _t: self._take_event(),
            ":COMMunicate:REMote": lambda _n, _t: None,
            ":COMMunicate:WAIT": lambda _n, _t: self._wait(),
            ":COMMunicate:VERBose": lambda _n, _t: None,
            ":COMMunicate:HEADer": setting("headers"),
            ":COMMunicate:HEADer?": shown(":COMM:HEAD", lambda: self.headers),
            "[:INPut]:WIRing?": shown(":WIR", lambda: "P1W2" if self.elements == 1 else "V3A3"),
            "[:INPut]:SYNChronize?": shown(":SYNC", lambda: "CURR"),
            "[:INPut]:MODE": lambda _n, _t: None,
            "[:INPut]:MODE?": shown(":INP:MODE", lambda: "RMS"),
            "[:INPut]:CFACtor": setting("crest_factor", {"3": 3, "6": 6}),
            "[:INPut]:CFACtor?": shown(":CFAC", lambda: self.crest_factor),
            "[:INPut]:VOLTage:RANGe": lambda _n, text: self._set_range("volt", text),
            "[:INPut]:VOLTage:RANGe?": shown(":VOLT:RANG", lambda: engineering(self.volt_range, 1)),
            "[:INPut]:VOLTage:AUTO": setting("volt_auto"),
            "[:INPut]:VOLTage:AUTO?": shown(":VOLT:AUTO", lambda: int(self.volt_auto)),
            "[:INPut]:CURRent:RANGe": lambda _n, text: self._set_range("amp", text),
            "[:INPut]:CURRent:RANGe?": shown(":CURR:RANG", lambda: engineering(self.amp_range, 1)),
            "[:INPut]:CURRent:AUTO": setting("amp_auto"),
            "[:INPut]:CURRent:AUTO?": shown(":CURR:AUTO", lambda: int(self.amp_auto)),
            "[:INPut]:FILTer:LINE": setting("line_filter"),
            "[:INPut]:FILTer:LINE?": shown(":FILT:LINE", lambda: self.line_filter),
            "[:INPut]:FILTer:FREQuency": setting("frequency_filter"),
            "[:INPut]:FILTer:FREQuency?": shown(":FILT:FREQ", lambda: self.frequency_filter),
            ":MEASure:AVERaging:STATe": setting("averaging"),
            ":MEASure:AVERaging:STATe?": shown(":MEAS:AVER", lambda: self.averaging),
            ":MEASure:AVERaging:TYPE?": shown(":MEAS:AVER:TYPE", lambda: "LIN"),
            ":RATE": lambda _n, text: self.analyser.restart(_seconds(text)),
            ":RATE?": shown(":RATE", lambda: engineering(self.analyser.refresh_s, 1)),
            ":NUMeric:FORMat": setting("floats", {"ASCII": 0, "ASC": 0, "FLOAT": 1, "FLO": 1}),
            ":NUMeric:FORMat?": shown(":NUM:FORM", lambda: "FLO" if self.floats else "ASC"),
            ":NUMeric:NORMal:NUMber": lambda _n, text: self._set_count(int(text)),
            ":NUMeric:NORMal:NUMber?": shown(":NUM:NORM:NUM", lambda: len(self.items)),
            ":NUMeric:NORMal:ITEM<n>": self._set_item,
            ":NUMeric:NORMal?": lambda _n, _t: ";".join((str(len(self.items)), *self._named())),
            ":NUMeric:NORMal:VALue?": lambda _n, _t: self._values(),
            ":INTEGrate:STATE?": lambda _n, _t: self.state,
            ":INTEGrate:MODE": lambda _n, _t: None,
            ":INTEGrate:MODE?": shown(":INTEG:MODE", lambda: "NORM"),
            ":INTEGrate:TIMer": lambda _n, _t: None,
            ":INTEGrate:TIMer?": shown(":INTEG:TIM", lambda: "0,0,0"),
            ":INTEGrate:STARt": lambda _n, _t: self._integrate("STAR"),
            ":INTEGrate:STOP": lambda _n, _t: self._integrate("STOP"),
            ":INTEGrate:RESet": lambda _n, _t: self._integrate("RES"),
        }

    def _wait(self) -> None:
        """Stall the rest of the line until the next update."""
        self.ready_s = (self.analyser.end_s or 0.0) + self.analyser.refresh_s
        self.advance(self.ready_s)

    def _take_event(self) -> str:
        event, self.event = self.event, 0
        return str(event)

    def _set_range(self, which: str, text: str) -> None:
        if self.state == "STAR":
            self.errors.append('813,"Invalid operation during integration"')
            return
        table = _VOLTS if which == "volt" else _AMPS
        share = 3 / self.crest_factor
        setattr(self, f"{which}_range", _fitting(float(text) / share, table) * share)

    def _set_count(self, count: int) -> None:
        self.items = (self.items + [("NONE", 1)] * count)[:count]

    def _set_item(self, numbers: tuple[int, ...], text: str) -> None:
        name, _, element = text.upper().partition(",")
        self.items[numbers[0] - 1] = ("LAMB" if name.startswith("LAMB") else name, int(element))

    def _named(self) -> list[str]:
        full = {"U": "URMS", "I": "IRMS"}
        return [f"{full.get(name, name)},{element}" for name, element in self.items]

    def _integrate(self, state: str) -> None:
        if state == "STAR":
            self._energy_start_j = self.analyser.energy_j - self._energy_held_j
        elif self.state == "STAR":
            self._energy_held_j = self.analyser.energy_j - self._energy_start_j
        if state == "RES":
            self._energy_held_j = 0.0
        self.state = state

    def _values(self) -> str:
        """Write all items, as text or as a block of floats (each byte one character)."""
        texts = [self._value(item) for item in self.items]
        if not self.floats:
            return ",".join(texts)
        words = [
            _FLOATS[text] if text in _FLOATS else struct.pack(">f", float(text)) for text in texts
        ]
        block = b"".join(words)
        return f"#4{len(block):04d}" + block.decode("latin-1")

    def _value(self, item: tuple[str, int]) -> str:
        """Write one item of the last update."""
        name, element = item
        shown = self.analyser.shown
        volt, amp, watt = self.volt_range, self.amp_range, self.volt_range * self.amp_range
        current_a, power_w = (shown.current_a, shown.power_w) if element == 1 else (0.0, 0.0)
        factor = shown.power_factor if current_a >= _NO_FACTOR * amp else None
        over_u, over_i = shown.voltage_v > _OVER * volt, current_a > _OVER * amp
        if name == "U":
            return "INF" if over_u else on_range(shown.voltage_v, volt)
        if name == "I":
            return "INF" if over_i else on_range(current_a, amp)
        if name == "P":
            return "INF" if over_u or over_i else on_range(power_w, watt)
        if name == "LAMB" and factor is not None and not (over_u or over_i):
            return on_range(factor, 1.0)
        if name == "FU":
            return on_range(self.frequency_hz, 60.0)
        if name == "WH":
            running = self.state == "STAR"
            energy_j = self.analyser.energy_j - self._energy_start_j
            return on_range((energy_j if running else self._energy_held_j) / 3600.0, watt)
        return "NAN"


class YokogawaWtEmulator(Emulator):
    """The instrument on a pty or a TCP port; a context manager. Options as of the device."""

    device = YokogawaWtDevice


def _fitting(value: float, table: tuple[float, ...]) -> float:
    return next((size for size in table if value <= size * (1 + 1e-9)), table[-1])


def _seconds(text: str) -> float:
    upper = text.upper()
    return float(upper[:-2]) / 1000 if upper.endswith("MS") else float(upper.removesuffix("S"))
