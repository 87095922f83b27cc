"""What somebody reads off a meter's display: its step, how an entry is understood, what is odd.

Pure. An entry is refused where it has two meanings, and doubted where it is hardly true: a slip of
a digit makes it ten times too large, a slip of the unit a thousand times. The step q of a display
of watts leaves q/√12 in each reading, that of an energy register q/√6 in the difference of two
(rectangular distributions, GUM 4.3.7 and F.2.2.1).
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Final, Literal

from ..errors import InputError

__all__ = ["Display", "doubt", "parse_display", "parse_entry"]

_UNITS: Final[Mapping[str, tuple[Literal["power", "energy"], Decimal]]] = {
    "mW": ("power", Decimal("0.001")),
    "W": ("power", Decimal(1)),
    "kW": ("power", Decimal(1000)),
    "Wh": ("energy", Decimal(3600)),
    "kWh": ("energy", Decimal(3_600_000)),
}
_STEP: Final = re.compile(r"(\d+(?:\.\d+)?) ?(mW|kWh|kW|Wh|W)")
_ENTRY: Final = re.compile(r"([0-9.,' ]*[0-9]) ?(mW|kWh|kW|Wh|W)?", re.IGNORECASE)
_CASE: Final = {unit.lower(): unit for unit in _UNITS}
_SLIP: Final = 8.0
"""A slip of one digit is a factor of ten; loads of one machine hardly differ by this much."""
_SAME: Final = 1.4
_USUAL_W: Final = (0.5, 20_000.0)


@dataclass(frozen=True, slots=True)
class Display:
    """A display: what it shows, in which unit, and by which step (`step_shown`, in that unit)."""

    quantity: Literal["power", "energy"]
    unit: str
    step_shown: Decimal

    @property
    def step(self) -> float:
        """Return the step in W or J."""
        return float(self.step_shown * _UNITS[self.unit][1])

    def shown(self, value: float) -> str:
        """Write a value in W or J as the display shows it."""
        number = Decimal(value) / _UNITS[self.unit][1]
        return f"{number.quantize(self.step_shown)} {self.unit}"


def parse_display(text: str) -> Display:
    """Read the step of a display, such as `0.1W`, `1Wh` or `0.01kWh`.

    Raises:
        InputError: it is none.

    """
    found = _STEP.fullmatch(text.strip())
    if found is None or not Decimal(found.group(1)):
        raise InputError(
            f"Expected the smallest step of the meter's display, such as 0.1W, 1Wh or 0.01kWh; got "
            f"{text!r}."
        )
    number, unit = Decimal(found.group(1)), found.group(2)
    return Display(_UNITS[unit][0], unit, number)


def parse_entry(text: str, display: Display) -> float:
    """Understand what somebody typed, in W or J; a unit behind the number counts.

    Raises:
        InputError: it is no number, has two meanings, another quantity's unit, or more digits than
            the display.

    """
    found = _ENTRY.fullmatch(text.strip())
    if found is None:
        raise InputError(f"expected a number as displayed, in {display.unit}; got {text.strip()!r}")
    digits = found.group(1).replace("'", "").replace(" ", "")
    unit = display.unit if found.group(2) is None else _CASE[found.group(2).lower()]
    if _UNITS[unit][0] != display.quantity:
        raise InputError(f"the display was said to show {display.unit}; got {unit}")
    if digits.count(",") + digits.count(".") > 1:
        raise InputError(f"write {digits} with one decimal point and nothing between thousands")
    whole, comma, behind = digits.partition(",")
    if comma and len(behind) == 3 and whole not in ("", "0"):
        raise InputError(
            f"{digits} may be {whole}.{behind} or {whole}{behind}; write it with a point, or "
            "without the comma"
        )
    value = Decimal(digits.replace(",", "."))
    scale = _UNITS[unit][1]
    if (value * scale) % (display.step_shown * _UNITS[display.unit][1]):
        raise InputError(
            f"the display steps by {display.step_shown} {display.unit}; {digits} {unit} lies "
            "between two steps"
        )
    return float(value * scale)


def doubt(
    low_w: float,
    high_w: float,
    *,
    workload: str,
    level: float | None,
    seen: Mapping[tuple[str, float | None], Sequence[float]],
    full_w: float | None,
) -> str | None:
    """Return why a mean power between `low_w` and `high_w` is hardly true, or None.

    `seen` holds the powers of earlier steps by workload and level, W; `full_w` is the most that the
    machine can draw, where that is known.
    """
    if full_w is not None and low_w > 1.2 * full_w:
        return f"the machine draws {full_w:g} W at most"
    same = seen.get((workload, level), ())
    if same:
        usual = math.fsum(same) / len(same)
        if low_w > _SAME * usual or high_w < usual / _SAME:
            return f"the same load was at {usual:.4g} W before"
        return None
    idle = [v for (name, _), values in seen.items() if name == "idle" for v in values]
    loads = [v for (name, _), values in seen.items() if name != "idle" for v in values]
    if workload == "idle" and loads and low_w > 1.1 * min(loads):
        return f"idle would be above a load of {min(loads):.4g} W"
    if workload != "idle" and idle and high_w < 0.9 * max(idle):
        return f"a load would be below idle, {max(idle):.4g} W"
    every = [*idle, *loads]
    if every and (low_w > _SLIP * max(every) or high_w < min(every) / _SLIP):
        return f"all steps before lay between {min(every):.4g} and {max(every):.4g} W"
    if not every and not (high_w >= _USUAL_W[0] and low_w <= _USUAL_W[1]):
        return "no computer draws that"
    return None
