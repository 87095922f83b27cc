"""An emulated Yokogawa WT210 in its mode 488.2: its lines, the power of your choice.

Written a second time from the sources that `drivers.meters.yokogawa_wt` names; the replies in
`tests/tapes/yokogawa_wt210_transcript.tape` are real ones. Assumed: the digits of values (those of
its successor), that an item's query answers 1 or 0, and what `drivers.emulators.yokogawa_wt` names.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from functools import partial
from typing import ClassVar, Final, TypeAlias

from .analyser import Analyser
from .faults import Damage
from .scpi_lines import CommandTable, Handler, take_line
from .served import Emulator
from .yokogawa_wt import engineering, on_range

__all__ = ["YokogawaWt210Device", "YokogawaWt210Emulator"]

_VOLTS: Final = (15.0, 30.0, 60.0, 150.0, 300.0, 600.0)
_AMPS: Final = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0)
_NONE: Final = "9.9E+37"
_Handlers: TypeAlias = dict[str, Handler]
_ORDER: Final = (
    "V",
    "A",
    "W",
    "VA",
    "VAR",
    "PF",
    "DEGR",
    "VHZ",
    "AHZ",
    "WH",
    "WHP",
    "WHM",
    "AH",
    "AHP",
    "AHM",
    "VPK",
    "APK",
    "TIME",
    "MATH",
)


def over_range(_chance: random.Random, _request: bytes, answer: bytes) -> bytes:
    """Put what stands for no number in place of current, power and factor; in values alone."""
    fields = answer.rstrip(b"\r\n").split(b",")
    if len(fields) != 4 or b"E" not in fields[1]:
        return answer
    return b",".join([fields[0], *([_NONE.encode()] * 3)]) + b"\r\n"


class YokogawaWt210Device:
    """The instrument without its line; `power_w` is called with monotonic seconds."""

    faults: ClassVar[Mapping[str, Damage]] = {"over_range": over_range}

    def __init__(
        self,
        power_w: Callable[[float], float] | float,
        *,
        variant: str = "wt210",
        refresh_s: float = 1.0,
        voltage_v: float = 230.0,
        power_factor: float = 0.95,
    ) -> None:
        if variant != "wt210":
            raise ValueError(f"This is a wt210; got {variant}.")
        self.analyser = Analyser(
            power_w, refresh_s=refresh_s, voltage_v=voltage_v, power_factor=power_factor
        )
        self.settings: dict[str, str] = {"MODE": "RMS", "CFAC": "3", "LFILT": "0", "FILT": "0"}
        self.settings |= {"AVER": "0", "VOLT:AUTO": "0", "CURR:AUTO": "0"}
        self.volt_range, self.amp_range = 300.0, 5.0
        self._table = CommandTable(self._handlers())
        self.reboot()

    def advance(self, t_s: float) -> None:
        """Let time pass."""
        self.analyser.advance(t_s)

    def reboot(self) -> None:
        """Restart: headers and items are as at power-up, the ranges survive."""
        self.analyser.restart()
        self.headers = True
        self.on = {"V", "A", "W"}
        self.errors: list[str] = []

    def take(self, buffer: bytes) -> tuple[bytes, bytes, bytes]:
        """Split (question, answer, rest) off the bytes received; set commands have no answer."""
        line, rest = take_line(buffer)
        if not line:
            return b"", b"", buffer
        replies, unknown = self._table.carry_out(line)
        self.errors += [f'113,"Undefined header;{head}"' for head in unknown]
        return line, (";".join(replies).encode("ascii") + b"\r\n") if replies else b"", rest

    def _handlers(self) -> _Handlers:
        """Return what each mnemonic does; items come from a loop, each by its name."""

        def switch(key: str) -> Handler:
            def set_to(_n: tuple[int, ...], text: str) -> None:
                self.settings[key] = {"ON": "1", "OFF": "0"}.get(text.upper(), text.upper())

            return set_to

        def shown(header: str, value: Callable[[], object]) -> Handler:
            return lambda _n, _t: f"{header} {value()}" if self.headers else str(value())

        table: _Handlers = {
            "*IDN?": lambda _n, _t: "YOKOGAWA,760401,0,F1.12",
            "*OPT?": lambda _n, _t: "NONE",
            "*CLS": lambda _n, _t: self.errors.clear(),
            ":STATus:ERRor?": lambda _n, _t: self.errors.pop(0) if self.errors else '0,"No error"',
            ":COMMunicate:REMote": lambda _n, _t: None,
            ":COMMunicate:HEADer": lambda _n, text: self._set_headers(text),
            ":COMMunicate:HEADer?": shown(":COMM:HEAD", lambda: int(self.headers)),
            ":SAMPle:RATE": lambda _n, text: self.analyser.restart(float(text)),
            ":SAMPle:RATE?": shown(":SAMP:RATE", lambda: _four(self.analyser.refresh_s)),
            ":SYNChronize?": shown(":SYNC", lambda: "CURR"),
            "[:CONFigure]:AVERaging:STATe": switch("AVER"),
            "[:CONFigure]:AVERaging:STATe?": shown(":AVER", lambda: self.settings["AVER"]),
            "[:CONFigure]:AVERaging:TYPE?": shown("AVER:TYPE", lambda: "LIN,8"),
            "[:CONFigure]:VOLTage:RANGe": lambda _n, text: self._set_range("volt", text),
            "[:CONFigure]:VOLTage:RANGe?": shown(":VOLT:RANG", lambda: _four(self.volt_range)),
            "[:CONFigure]:CURRent:RANGe": lambda _n, text: self._set_range("amp", text),
            "[:CONFigure]:CURRent:RANGe?": shown(":CURR:RANG", lambda: _four(self.amp_range)),
            "[:CONFigure]:VOLTage?": lambda _n, _t: (
                f"{_four(self.volt_range)};{self.settings['VOLT:AUTO']}"
            ),
            ":MEASure:VALue?": lambda _n, _t: ",".join(self._values()),
        }
        for name, key in (
            ("MODE", "MODE"),
            ("CFACtor", "CFAC"),
            ("LFILTer", "LFILT"),
            ("FILTer", "FILT"),
            ("VOLTage:AUTO", "VOLT:AUTO"),
            ("CURRent:AUTO", "CURR:AUTO"),
        ):
            table[f"[:CONFigure]:{name}"] = switch(key)
            table[f"[:CONFigure]:{name}?"] = shown(f":{key}", partial(self.settings.get, key))
        for name in _ORDER:
            table |= self._item(name, shown)
        return table

    def _item(self, name: str, shown: Callable[[str, Callable[[], object]], Handler]) -> _Handlers:
        """Return how one item is switched, and how it is asked for."""

        def set_to(_n: tuple[int, ...], text: str) -> None:
            (self.on.add if text.upper() in ("ON", "1") else self.on.discard)(name)

        return {
            f":MEASure:ITEM:{name}": set_to,
            f":MEASure:ITEM:{name}?": shown(f":MEAS:ITEM:{name}", lambda: int(name in self.on)),
        }

    def _set_headers(self, text: str) -> None:
        self.headers = text.upper() in ("ON", "1")

    def _set_range(self, which: str, text: str) -> None:
        table = _VOLTS if which == "volt" else _AMPS
        size = next((s for s in table if float(text) <= s * (1 + 1e-9)), table[-1])
        setattr(self, f"{which}_range", size)

    def _values(self) -> list[str]:
        """Write the items that are on, in the order of their priority."""
        shown, volt, amp = self.analyser.shown, self.volt_range, self.amp_range
        over = shown.current_a > 1.4 * amp or shown.voltage_v > 1.4 * volt
        factor = shown.power_factor if shown.current_a >= 0.005 * amp and not over else None
        text = {
            "V": on_range(shown.voltage_v, volt),
            "A": _NONE if over else on_range(shown.current_a, amp),
            "W": _NONE if over else on_range(shown.power_w, volt * amp),
            "PF": _NONE if factor is None else on_range(factor, 1.0),
        }
        return [text.get(name, _NONE) for name in _ORDER if name in self.on]


class YokogawaWt210Emulator(Emulator):
    """The instrument on a pty or a TCP port; a context manager. Options as of the device."""

    device = YokogawaWt210Device


def _four(value: float) -> str:
    """Write a setting with four digits: 2.000E+00, 150.0E+00."""
    return next(t for d in (3, 2, 1) if len((t := engineering(value, d)).partition("E")[0]) <= 5)
