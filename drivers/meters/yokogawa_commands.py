"""What is said to Yokogawa's meters to set them, in the two dialects that they have.

An exchange is (commands, queries, what the queries must answer). Sources: `yokogawa_wt`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeAlias

from .yokogawa_tables import Settings

__all__ = ["WT200", "WT300", "Dialect", "Exchange", "fixed"]

Exchange: TypeAlias = tuple[str, str, tuple[str, ...]]

_WT210_ITEMS: Final = ("V", "A", "W", "PF")  # in the order in which it answers them
_WT210_OTHERS: Final = (
    "VA",
    "VAR",
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
    "TIME",  # comes as three numbers
    "MATH",
)


@dataclass(frozen=True, slots=True)
class Dialect:
    """The commands in which generations differ.

    `values` asks for all items, `node` is the node of ranges, `items` asks which items are set
    (None: `wanted` reads them back). `rich` says that it has integration whose state can be read,
    and a command that waits for the next update.
    """

    values: str
    node: str
    items: str | None
    rich: bool
    wanted: Callable[[Settings, tuple[str, ...]], tuple[Exchange, ...]]


def fixed(node: str, quantity: str, size: float) -> str:
    """Return the commands that fix a range."""
    return f"{node}:{quantity}:AUTO OFF;{node}:{quantity}:RANG {size:g};"


def _inputs(node: str, line: str, frequency: str, settings: Settings) -> tuple[Exchange, ...]:
    """Return what both dialects say in the same way, on different nodes."""
    volt, amp = settings.voltage_range_v, settings.current_range_a
    factor = str(settings.crest_factor)
    return (
        (f"{node}:MODE RMS;", f"{node}:MODE?", ("RMS",)),
        (f"{node}:CFAC {factor};", f"{node}:CFAC?", (factor,)),
        (
            fixed(node, "VOLT", volt),
            f"{node}:VOLT:RANG?;{node}:VOLT:AUTO?",
            (f"{volt:g}", "0"),
        ),
        (
            fixed(node, "CURR", amp),
            f"{node}:CURR:RANG?;{node}:CURR:AUTO?",
            (f"{amp:g}", "0"),
        ),
        _switch(f"{node}:{line}", settings.line_filter),
        _switch(f"{node}:{frequency}", settings.frequency_filter),
    )


def _switch(command: str, on: bool) -> Exchange:
    return f"{command} {'ON' if on else 'OFF'};", f"{command}?", ("1" if on else "0",)


def _wt300(settings: Settings, items: tuple[str, ...]) -> tuple[Exchange, ...]:
    period = settings.refresh_s
    rate = f"{period:g}S" if period >= 1 else f"{period * 1000:g}MS"
    count, form = str(len(items)), "FLOAT" if settings.binary else "ASCII"
    set_items = "".join(f":NUM:NORM:ITEM{n} {item};" for n, item in enumerate(items, start=1))
    return (
        *_inputs(":INP", "FILT:LINE", "FILT:FREQ", settings),
        _switch(":MEAS:AVER:STATE", False),
        (f":RATE {rate};", ":RATE?", (f"{period:g}",)),
        (f":NUM:FORM {form};", ":NUM:FORM?", (form,)),
        (f":NUM:NORM:NUM {count};{set_items}", ":NUM:NORM:NUM?", (count,)),
        *(((":STAT:FILT1 FALL;", ":STAT:FILT1?", ("FALL",)),) if settings.sync else ()),
    )


def _wt200(settings: Settings, _items: tuple[str, ...]) -> tuple[Exchange, ...]:
    period = f"{settings.refresh_s:g}"
    return (
        *_inputs(":CONF", "LFILT", "FILT", settings),
        _switch(":CONF:AVER:STAT", False),
        (f":SAMP:RATE {period};", ":SAMP:RATE?", (period,)),
        *(_switches(_WT210_OTHERS[i : i + 5], False) for i in range(0, len(_WT210_OTHERS), 5)),
        _switches(_WT210_ITEMS, True),
    )


def _switches(names: tuple[str, ...], on: bool) -> Exchange:
    """Switch items of a WT210, a few in one line."""
    parts = [_switch(f":MEAS:ITEM:{name}", on) for name in names]
    return "".join(p[0] for p in parts), ";".join(p[1] for p in parts), (parts[0][2] * len(parts))


WT300: Final = Dialect(":NUM:NORM:VAL?", ":INP", ":NUM:NORM?", True, _wt300)
WT200: Final = Dialect(":MEAS:VAL?", ":CONF", None, False, _wt200)
