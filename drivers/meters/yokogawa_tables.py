"""Ranges, channels and accuracy of Yokogawa's compact power meters, as tables.

Sources: IM WT310-02EN and IM WT310E-02EN, 7.3 (accuracy, influence of the power factor, crest
factor 6, line filter), 12 months, 45 to 66 Hz; ranges from the same chapter. Resolutions stand in
none of them: in all four transcripts of mlcommons/inference_results_v2.0@425a0d3 a value has five
digits on its range (150 V: 118.83; 1 A: 0.8002; 150 W: 79.77), and that is taken for all ranges.
That voltage and current are as accurate as the power, on their own ranges, is assumed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

from ..accuracy import Accuracy, Conditions
from ..errors import Unsupported
from ..ranges import five_digits
from ..reading import Channel

__all__ = ["BY_DEFAULT", "MODELS", "Model", "Settings", "channels", "ranges_of"]

_VOLTAGES: Final = (15.0, 30.0, 60.0, 150.0, 300.0, 600.0)
_CURRENTS: Final = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0)
_LARGE_CURRENTS: Final = (0.5, 1.0, 2.0, 5.0, 10.0, 20.0)
_POWER_FACTOR_STEP: Final = Fraction(1, 10_000)
_QUANTITIES: Final = {"v": ("voltage", "V"), "c": ("current", "A"), "p": ("power", "W")}


@dataclass(frozen=True, slots=True)
class Model:
    """One model: how it names itself, its inputs, its ranges at crest factor 3, its accuracy."""

    identity: str
    elements: int
    voltage_ranges_v: tuple[float, ...]
    current_ranges_a: tuple[float, ...]
    of_range: float
    of_apparent: float
    source: str
    assumed: bool = False


MODELS: Final[Mapping[str, Model]] = {
    "wt310": Model("WT310", 1, _VOLTAGES, _CURRENTS, 0.001, 0.002, "IM WT310-02EN, 7.3"),
    "wt310e": Model("WT310E", 1, _VOLTAGES, _CURRENTS, 0.0005, 0.001, "IM WT310E-02EN, 7.3"),
    "wt332e": Model("WT332E", 2, _VOLTAGES, _LARGE_CURRENTS, 0.0005, 0.001, "IM WT310E-02EN, 7.3"),
    "wt333e": Model("WT333E", 3, _VOLTAGES, _LARGE_CURRENTS, 0.0005, 0.001, "IM WT310E-02EN, 7.3"),
    "wt210": Model(
        "760401", 1, _VOLTAGES, _CURRENTS, 0.001, 0.002, "taken from the WT310, its successor", True
    ),
}


@dataclass(frozen=True, slots=True)
class Settings:
    """How one instrument is set: what its numbers mean and are worth depends on it.

    `elements` is how many of its inputs are read, from the first on; `refresh_s` the period of
    its update, which is also its averaging window.
    """

    voltage_range_v: float
    current_range_a: float
    crest_factor: int
    line_filter: bool
    refresh_s: float
    elements: int
    integrate: bool = False
    sync: bool = False
    frequency_filter: bool = True
    binary: bool = False


BY_DEFAULT: Final = Settings(300.0, 5.0, 3, False, 1.0, 1)


def ranges_of(model: Model, crest_factor: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the voltage ranges (V) and current ranges (A); crest factor 6 halves them.

    Raises:
        Unsupported: the crest factor is neither 3 nor 6.

    """
    if crest_factor not in (3, 6):
        raise Unsupported(f"Expected a crest factor of 3 or 6; got {crest_factor}.")
    share = 3 / crest_factor
    return (
        tuple(v * share for v in model.voltage_ranges_v),
        tuple(a * share for a in model.current_ranges_a),
    )


def _mean(
    model: Model, settings: Settings, name: str, size: float, *, elements: int = 1
) -> Channel:
    """Describe voltage, current or power on a range of `size`; its resolution is one count."""
    quantity, unit = _QUANTITIES[name[0]]
    power = quantity == "power"
    accuracy = Accuracy(
        of_reading=0.001,
        of_range=model.of_range,
        of_reactive=model.of_apparent if power else 0.0,
        crest_6=2.0,
        line_filter=0.003,
        source=model.source,
        assumed=model.assumed or not power,
    )
    return Channel(
        name=name,
        quantity=quantity,
        unit=unit,
        kind="mean",
        scale=five_digits(size),
        resolution=float(five_digits(size)),
        accuracy=accuracy.at(
            Conditions(crest_factor=settings.crest_factor, line_filter=settings.line_filter)
        ),
        window_s=settings.refresh_s,
        refresh_s=settings.refresh_s,
        range_min=-elements * size if power else 0.0,
        range_max=elements * size,
        assumed=("resolution",) if power and not model.assumed else ("resolution", "accuracy"),
    )


def _energy(settings: Settings) -> Channel:
    """Describe the watt-hours: as finely resolved as the power over an hour, which is assumed."""
    size = settings.voltage_range_v * settings.current_range_a
    return Channel(
        name="energy_j",
        quantity="energy",
        unit="J",
        kind="counter",
        scale=3600 * five_digits(size),
        resolution=3600.0 * float(five_digits(size)),
        accuracy=Accuracy(of_reading=0.003, assumed=True),
        refresh_s=settings.refresh_s,
        assumed=("resolution", "accuracy"),
    )


def channels(model: Model, settings: Settings) -> tuple[Channel, ...]:
    """Return what an instrument delivers on these ranges.

    With more than one element `power_w` is their sum, and what belongs to one carries its number.
    """
    size = settings.voltage_range_v * settings.current_range_a
    many = settings.elements > 1
    table = list[Channel]()
    if many:
        table.append(_mean(model, settings, "power_w", size, elements=settings.elements))
    for element in range(1, settings.elements + 1):
        tag = f"_{element}" if many else ""
        table += (
            _mean(model, settings, f"voltage{tag}_v", settings.voltage_range_v),
            _mean(model, settings, f"current{tag}_a", settings.current_range_a),
            _mean(model, settings, f"power{tag}_w", size),
            Channel(
                name=f"power_factor{tag}",
                quantity="power_factor",
                unit="1",
                kind="mean",
                scale=_POWER_FACTOR_STEP,
                resolution=float(_POWER_FACTOR_STEP),
                accuracy=Accuracy(absolute=0.005, assumed=True),
                window_s=settings.refresh_s,
                refresh_s=settings.refresh_s,
                range_min=-1.0,
                range_max=1.0,
                assumed=("resolution", "accuracy"),
            ),
        )
    if settings.integrate:
        table.append(_energy(settings))
    return tuple(table)
