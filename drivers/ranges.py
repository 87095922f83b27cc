"""Ranges of a power analyser: which there are, which to fix for a run, and what that is worth.

An analyser that changes its range while it measures loses samples and changes its accuracy with
the load. So one run on automatic ranges finds the extremes, and the runs that count have fixed
ranges (`choose`): the voltage range at the largest voltage seen, the current range at 1.1 times
the largest current seen, each rounded up to the next range there is. A sample without a number or
with an uncertainty above 1 % makes such a run invalid (`findings`).

Source of the procedure and its two figures: MLCommons power-dev@c4b3ad8 (ranging run, testing run)
and its checker; SPEC Power and Performance Benchmark Methodology forbids automatic ranges. The four
runs recorded in mlcommons/inference_results_v2.0@425a0d3 were made without the factor 1.1: there
the client asked for the largest current itself (`margin=1.0` chooses the ranges that they had).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from typing import Final, Protocol

from .errors import DriverError, Unsupported
from .scpi import power_of_ten

__all__ = [
    "CURRENT_MARGIN",
    "Ranges",
    "Ranging",
    "RangingResult",
    "choose",
    "findings",
    "five_digits",
    "one_of",
    "ranging_run",
]

CURRENT_MARGIN: Final = 1.1
_MOST_UNCERTAIN: Final = 0.01


@dataclass(frozen=True, slots=True)
class Ranges:
    """The ranges of one input, in V and A, and whether the instrument may change them."""

    voltage_v: float
    current_a: float
    voltage_auto: bool = False
    current_auto: bool = False


@dataclass(frozen=True, slots=True)
class RangingResult:
    """What a ranging run saw, in V and A, in how many samples, and the ranges that follow.

    `without_number` is how many samples had none, as happens while a range changes.
    """

    largest_voltage_v: float
    largest_current_a: float
    samples: int
    without_number: int
    ranges: Ranges


class Ranging(Protocol):
    """An instrument whose ranges can be read, set, and left to it."""

    voltage_ranges_v: Sequence[float]
    current_ranges_a: Sequence[float]

    def ranges(self) -> Ranges:
        """Read the ranges back."""
        ...

    def set_ranges(self, ranges: Ranges) -> None:
        """Set them, and see that the instrument has taken them."""
        ...

    def read_extremes(self) -> tuple[float, float]:
        """Return voltage (V) and current (A) once, on whatever range."""
        ...


def choose(
    voltages_v: Iterable[float],
    currents_a: Iterable[float],
    *,
    voltage_ranges_v: Sequence[float],
    current_ranges_a: Sequence[float],
    margin: float = CURRENT_MARGIN,
) -> Ranges:
    """Return the fixed ranges for what was seen on automatic ranges, in V and A.

    Raises:
        ValueError: nothing was seen, or something that is no finite number.
        Unsupported: what was seen exceeds the largest range.

    """
    voltage_v = _largest("voltages", voltages_v)
    current_a = margin * _largest("currents", currents_a)
    return Ranges(_next(voltage_v, voltage_ranges_v, "V"), _next(current_a, current_ranges_a, "A"))


def findings(
    powers_w: Sequence[float | None],
    uncertainties_w: Sequence[float],
    *,
    most: float = _MOST_UNCERTAIN,
) -> tuple[str, ...]:
    """Return what makes a run on fixed ranges invalid, as sentences; none: it is valid.

    `powers_w` holds None (or a NaN) for a sample without a number; `uncertainties_w` is the limit
    of error of each sample in W, `most` the largest share of the power that it may be.
    """
    found = []
    good = [
        (p, u)
        for p, u in zip(powers_w, uncertainties_w, strict=True)
        if p is not None and math.isfinite(p)
    ]
    if len(good) < len(powers_w):
        found.append(
            f"{len(powers_w) - len(good)} of {len(powers_w)} samples hold no number; "
            "choose wider ranges."
        )
    over = [(p, u) for p, u in good if not u <= most * abs(p)]
    if over:
        power_w, u_w = max(over, key=lambda pair: pair[1] / abs(pair[0]) if pair[0] else math.inf)
        found.append(
            f"{len(over)} of {len(good)} samples are less certain than {most:.2%}, the worst "
            f"{power_w:g} W ± {u_w:.2g} W; choose narrower ranges."
        )
    return tuple(found)


@cache
def five_digits(size: float) -> Fraction:
    """Return the weight of the last of five digits on a range, in the range's unit."""
    return power_of_ten(math.floor(math.log10(size) + 1e-9) - 4)


def one_of(name: str, value: float, known: Sequence[float]) -> None:
    """See that an option has one of its values.

    Raises:
        Unsupported: it has another one; the message lists them.

    """
    if value not in known:
        raise Unsupported(
            f"Expected {name} to be one of {', '.join(f'{k:g}' for k in known)}; got {value:g}."
        )


def ranging_run(
    meter: Ranging, samples: int, *, wait: Callable[[], None] = lambda: None
) -> RangingResult:
    """Read `samples` times on automatic ranges, restore the ranges, and say which to fix.

    `wait` is called before every sample (until the next update of the instrument). Samples without
    a number, which a change of range produces, are left out.

    Raises:
        Unsupported: what was seen exceeds the largest range.
        DriverError: no sample had a number (the last failure).

    """
    before = meter.ranges()
    voltages, currents = list[float](), list[float]()
    failure: DriverError | None = None
    try:
        meter.set_ranges(Ranges(before.voltage_v, before.current_a, True, True))
        for _ in range(samples):
            wait()
            try:
                voltage_v, current_a = meter.read_extremes()
            except DriverError as error:
                failure = error
                continue
            voltages.append(voltage_v)
            currents.append(current_a)
    finally:
        meter.set_ranges(before)
    if not voltages:
        raise failure or Unsupported(f"Expected at least one sample; got {samples}.")
    chosen = choose(
        voltages,
        currents,
        voltage_ranges_v=meter.voltage_ranges_v,
        current_ranges_a=meter.current_ranges_a,
    )
    return RangingResult(
        max(voltages), max(currents), len(voltages), samples - len(voltages), chosen
    )


def _largest(what: str, values: Iterable[float]) -> float:
    seen = list(values)
    if not seen or not all(math.isfinite(v) and v >= 0 for v in seen):
        raise ValueError(f"Expected {what} of 0 or more, at least one; got {seen[:5]}.")
    return max(seen)


def _next(value: float, table: Sequence[float], unit: str) -> float:
    for size in sorted(table):
        if value <= size:
            return size
    raise Unsupported(
        f"{value:g} {unit} exceeds the largest range, {max(table):g} {unit}; use a transformer "
        "or another instrument."
    )
