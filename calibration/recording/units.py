"""Units as recordings have them, and the SI units that everything behind the reader works in."""

from __future__ import annotations

from fractions import Fraction
from typing import Final

__all__ = ["QUANTITY_OF_SI", "TO_SI", "si_factor"]

# Unit -> (SI unit, exact factor).
TO_SI: Final[dict[str, tuple[str, Fraction]]] = {
    "W": ("W", Fraction(1)),
    "kW": ("W", Fraction(1000)),
    "mW": ("W", Fraction(1, 1000)),
    "uW": ("W", Fraction(1, 1_000_000)),
    "J": ("J", Fraction(1)),
    "kJ": ("J", Fraction(1000)),
    "mJ": ("J", Fraction(1, 1000)),
    "uJ": ("J", Fraction(1, 1_000_000)),
    "Wh": ("J", Fraction(3600)),
    "kWh": ("J", Fraction(3_600_000)),
    "mWh": ("J", Fraction(36, 10)),
    "V": ("V", Fraction(1)),
    "mV": ("V", Fraction(1, 1000)),
    "A": ("A", Fraction(1)),
    "mA": ("A", Fraction(1, 1000)),
    "VA": ("VA", Fraction(1)),
    "var": ("var", Fraction(1)),
    "Hz": ("Hz", Fraction(1)),
    "kHz": ("Hz", Fraction(1000)),
    "MHz": ("Hz", Fraction(1_000_000)),
    "1": ("1", Fraction(1)),
    "%": ("1", Fraction(1, 100)),
    "degC": ("degC", Fraction(1)),
    "s": ("s", Fraction(1)),
}

QUANTITY_OF_SI: Final = {
    "W": "active_power",
    "J": "energy",
    "V": "voltage",
    "A": "current",
    "VA": "apparent_power",
    "var": "reactive_power",
    "Hz": "frequency",
    "1": "ratio",
    "degC": "temperature",
    "s": "time",
}


def si_factor(unit: str) -> tuple[str, Fraction]:
    """Return the SI unit of a recorded unit and the exact factor to it; unknown units stay."""
    return TO_SI.get(unit, (unit, Fraction(1)))
