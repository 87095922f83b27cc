"""The grain of a counter: energies that are whole numbers of a counter's unit were counted.

A hardware counter steps in whole microjoules (Linux powercap, `energy_uj`) or millijoules (NVML,
`nvmlDeviceGetTotalEnergyConsumption`). A sum of its differences is a whole number of them, after
any number of conversions to kWh and back; a power times a time is not. So the number itself shows
how it came about, provided that it was written with all its digits and that the conversion that
the tool uses is undone (CodeCarbon multiplies by 2.77778e-7 kWh/J, codecarbon/core/units.py, not
by 1/3.6e6).

What a double leaves over: CodeCarbon converts each reading of the counter before it takes the
difference. A counter at 2.6e11 uJ is 0.07 kWh, where doubles are 1.4e-17 kWh = 5e-5 uJ apart, so
one difference is off by 2e-5 uJ rms (two roundings of 5e-5/sqrt(12)), and n of them by sqrt(n)
times that. A number that is no multiple of the unit falls that close to one by chance with the
probability 2 x tolerance, which is stated with the verdict.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

__all__ = ["Grain", "codecarbon_grain", "grain_of", "significant_digits"]

_KWH_PER_J: Final = 2.77778e-7
"""CodeCarbon's own factor (core/units.py); the exact one is 1/3.6e6."""
_LEAST_DIGITS: Final = 14
_SIGMAS: Final = 6.0
_LARGEST_TOLERANCE: Final = 0.02
"""Above it chance decides (4 %): nothing is said."""


@dataclass(frozen=True, slots=True)
class Grain:
    """Whether a number is whole: `yes`, `no` or `undecided`, the distance and chance, both 1.

    `distance` is that from the nearest whole number, `chance` the probability that a number that
    was not counted comes as close.
    """

    whole: Literal["yes", "no", "undecided"]
    distance: float
    chance: float


def grain_of(units: float, *, rounding: float, intervals: float, digits: int) -> Grain:
    """Say whether `units`, an energy in a counter's unit, is a whole number of it.

    `rounding` is the error of one difference in units (rms), `intervals` how many differences were
    summed at the most, `digits` the significant digits with which the number was written.
    """
    distance = abs(units - round(units)) if math.isfinite(units) and abs(units) < 2**52 else 0.5
    tolerance = max(1e-3, _SIGMAS * rounding * math.sqrt(max(intervals, 1.0)), abs(units) * 1e-15)
    if units == 0 or digits < _LEAST_DIGITS or tolerance > _LARGEST_TOLERANCE:
        return Grain("undecided", distance, min(1.0, 2 * tolerance))
    if distance <= tolerance:
        return Grain("yes", distance, 2 * tolerance)
    return Grain("no", distance, 2 * tolerance)


_UNITS: Final[Mapping[str, tuple[float, float]]] = {
    "cpu": (1e-6, 2e-5),  # powercap: microjoules
    "gpu": (1e-3, 1e-4),  # NVML: millijoules, a counter of up to 1e12 of them
}


def codecarbon_grain(
    component: str, text: str, duration_s: float | None, pue: float = 1.0
) -> Grain:
    """Test a `cpu_energy` or `gpu_energy` of an `emissions.csv`, given as the file writes it, kWh.

    CodeCarbon measures at most once a second unless it is told to, so `duration_s` bounds how many
    differences were added. `pue` is the factor that the file names.
    """
    unit_j, rounding = _UNITS[component]
    return grain_of(
        float(text) / pue / (_KWH_PER_J * unit_j),
        rounding=rounding,
        intervals=max(1.0, duration_s or 1.0),
        digits=significant_digits(text),
    )


def significant_digits(text: str) -> int:
    """Return how many significant digits a number is written with; 0.00012 has two.

    A number that is short because it is round cannot be told from one that was rounded.
    """
    mantissa = text.strip().lower().partition("e")[0].lstrip("+-").replace(".", "")
    return len(mantissa.lstrip("0"))
