"""The lines of the LMG95 and LMG670 as pure functions of bytes; `zes_lmg` draws them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from typing import Final

from ..accuracy import Accuracy
from ..decoders import LineDecoder
from ..errors import Implausible, NoData, OverRange
from ..reading import Channel
from ..scpi import Number, Sentinel, number, parse_line, power_agrees
from ..stream import DeviceClock, Samples
from ..wire import Verdict

__all__ = ["MODELS", "Model", "ValuesDecoder", "channels", "parse_values"]

_SCALE: Final = {"voltage_v": 10_000, "current_a": 1_000_000, "power_w": 10_000}
_ADC_HZ: Final = (50_000.0, 400_000.0)
_SCTC_MODULUS: Final = 1 << 31
_RATE_SPREAD: Final = 0.001
_LATE_S: Final = 0.25  # that a line may arrive late
_STAMP: Final = re.compile(r"(\d{4}):(\d\d):(\d\d)D(\d\d):(\d\d):(\d\d)\.(\d{9})([+-]\d{4})")
_SIBLING: Final = "taken from the LMG450, User manual 2009, 12.1.1 (example), a lesser instrument"


@dataclass(frozen=True, slots=True)
class Model:
    """One model: how it names itself, its language, its items, the tick of its clock.

    `items` are asked for once, in this order: clock, true cycle time, then U, I, P, power factor.
    `cycle_s` is its cycle time where none is set (None: it is set).
    """

    identity: str
    language: str
    end: bytes
    items: tuple[str, ...]
    tick_modulus: int
    ticks_per_s: float | None
    ranges: tuple[str, ...]


MODELS: Final[Mapping[str, Model]] = {
    "lmg95": Model(
        "LMG95",
        "syst:lang short",
        b"\r\n",
        ("count", "sctc", "cycr", "utrms", "itrms", "p", "pf"),
        1 << 16,
        None,  # the cycles themselves are counted
        ("iam manual", "irng {current:g}", "uam manual", "urng {voltage:g}"),
    ),
    "lmg670": Model(
        "LMG670",
        "*zlang short",
        b"\n",
        ("tsnorm1", "durnorm1", "utrms1", "itrms1", "p1", "pf1"),
        86_400_000_000,
        1e6,  # microseconds of the day
        ("iauto1 0;uauto1 0;irng1 {current:g};urng1 {voltage:g}",),
    ),
}


def channels(voltage_range_v: float, current_range_a: float, cycle_s: float) -> tuple[Channel, ...]:
    """Return what an instrument delivers on these ranges: six digits of each."""
    table = []
    for name, quantity, unit, size, accuracy in (
        ("voltage_v", "voltage", "V", voltage_range_v, (0.0005, 0.0008)),
        ("current_a", "current", "A", current_range_a, (0.0005, 0.0016)),
        ("power_w", "power", "W", voltage_range_v * current_range_a, (0.0007, 0.002)),
    ):
        table.append(
            Channel(
                name=name,
                quantity=quantity,
                unit=unit,
                kind="mean",
                scale=Fraction(1, _SCALE[name]),
                resolution=max(size * 1e-5, 1 / _SCALE[name]),
                accuracy=Accuracy(
                    of_reading=accuracy[0], of_range=accuracy[1], source=_SIBLING, assumed=True
                ),
                window_s=cycle_s,
                refresh_s=cycle_s,
                range_min=-size if quantity == "power" else 0.0,
                range_max=size,
                assumed=("accuracy", "resolution"),
            )
        )
    return tuple(table)


def refuse_values(text: str, model: Model) -> str | None:
    """Say why a line is not the list of the items, or None."""
    fields = text.split(";")
    if len(fields) != len(model.items):
        return f"{text[:60]!r} holds {len(fields)} values, not {len(model.items)}"
    for name, field in zip(model.items, fields, strict=True):
        if name == "tsnorm1":
            if _STAMP.fullmatch(field) is None:
                return f"{field[:40]!r} is no time stamp"
        elif number(field) is None:
            return f"{field[:20]!r} is no number"
    return None


def parse_values(buffer: bytes, model: Model) -> Verdict:
    """Judge the first line of `buffer` as the values of one cycle."""
    return parse_line(buffer, partial(refuse_values, model=model))


class ValuesDecoder:
    """Turns lines into samples on the instrument's own clock, one per cycle."""

    def __init__(
        self, model: Model, *, voltage_range_v: float, current_range_a: float, cycle_s: float
    ) -> None:
        self._model, self._cycle_s = model, cycle_s
        self._sizes = {
            "voltage_v": voltage_range_v,
            "current_a": current_range_a,
            "power_w": voltage_range_v * current_range_a,
        }
        self._clock = DeviceClock(model.ticks_per_s or 1 / cycle_s, model.tick_modulus)
        self._counts: tuple[int, int] | None = None  # cycles and ADC samples of the line before
        self._adc_hz: float | None = None
        self._stamped: tuple[int, int] | None = None  # time stamp and arrival of the line before
        self._lines = LineDecoder(partial(parse_values, model=model), self._decode, self._sizes)

    @property
    def pending(self) -> int:
        """Return how many bytes wait for more to come."""
        return self._lines.pending

    def feed(self, data: bytes, t_ns: int | None = None, *, last: bool = False) -> Samples:
        """Decode what `data`, which arrived at `t_ns` (monotonic), completes."""
        return self._lines.feed(data, t_ns, last=last)

    def _decode(self, payload: bytes, t_ns: int | None) -> tuple[int, Mapping[str, int]]:
        fields = payload.decode("ascii").split(";")
        values = dict(zip(self._model.items, map(number, fields), strict=True))
        *_, voltage, current, power, factor = values.values()
        row = self._row(voltage, current, power, factor)
        cycle = values["cycr" if "cycr" in values else "durnorm1"]
        if not isinstance(cycle, Number) or not 0.5 < cycle.value / self._cycle_s < 1.5:
            raise Implausible(f"Expected a cycle of about {self._cycle_s:g} s; got {cycle}.")
        if "count" in values:
            word = self._count(values["count"], values["sctc"], cycle.value)
        else:
            word = _microseconds(fields[0])
            self._pace(word, t_ns)
        return self._clock.follow(word, t_ns), row

    def _pace(self, word: int, t_ns: int | None) -> None:
        """Hold the time stamp of an LMG670 against the arrival: no clock runs ahead of time."""
        before, self._stamped = self._stamped, None
        if t_ns is None:
            return
        if before is not None:
            step_s = (word - before[0]) % self._model.tick_modulus * 1e-6
            if step_s - (t_ns - before[1]) * 1e-9 > self._cycle_s + _LATE_S:
                raise Implausible(f"The clock has gone on by {step_s:.3f} s, which time has not.")
        self._stamped = word, t_ns

    def _row(self, *fields: Number | Sentinel | None) -> dict[str, int]:
        """Return the counts of voltage, current and power, once they agree with each other."""
        *measured, factor = fields
        good = dict[str, Number]()
        for (name, size), field in zip(self._sizes.items(), measured, strict=True):
            if field is Sentinel.OVER_RANGE:
                raise OverRange(f"{name} exceeds its range of {size:g}; widen it.")
            if not isinstance(field, Number):
                raise NoData(f"The instrument has no value for {name}.")
            low = -2 * size if name == "power_w" else 0.0
            if not low <= field.value <= 2 * size:
                raise Implausible(f"{name} of {field.value:g} is not measurable on {size:g}.")
            good[name] = field
        pf = factor if isinstance(factor, Number) else None
        if not power_agrees(good["voltage_v"], good["current_a"], good["power_w"], pf):
            raise Implausible("The power is not voltage times current times power factor.")
        return {name: round(field.value * _SCALE[name]) for name, field in good.items()}

    def _count(
        self, count: Number | Sentinel | None, sctc: Number | Sentinel | None, cycle_s: float
    ) -> int:
        """Hold the two counters of an LMG95 against each other, and return that of the cycles."""
        if not (isinstance(count, Number) and isinstance(sctc, Number)):
            raise Implausible("Expected two counters.")
        now = int(count.value), int(sctc.value)
        if not 0 <= now[0] < 1 << 16 or count.step != 1 or sctc.step != 1:
            raise Implausible(f"Expected counters; got {count.value:g} and {sctc.value:g}.")
        before, self._counts = self._counts, now
        if before is not None and (now[0] - before[0]) % (1 << 16) == 1:
            rate_hz = (now[1] - before[1]) % _SCTC_MODULUS / cycle_s
            usual = self._adc_hz
            self._adc_hz = None
            if not _ADC_HZ[0] < rate_hz < _ADC_HZ[1] or (
                usual is not None and abs(rate_hz / usual - 1) > _RATE_SPREAD
            ):
                raise Implausible(f"The counters do not agree: {rate_hz:.0f} samples a second.")
            self._adc_hz = rate_hz
        return now[0]


def _microseconds(stamp: str) -> int:
    """Return the microseconds of the day."""
    match = _STAMP.fullmatch(stamp)
    if match is None:  # cannot be: `refuse_values` has seen it
        raise Implausible(f"Expected a time stamp; got {stamp!r}.")
    hour, minute, second, nano = (int(g) for g in match.groups()[3:7])
    if hour > 23 or minute > 59 or second > 60:
        raise Implausible(f"Expected a time of day; got {stamp!r}.")
    return ((hour * 60 + minute) * 60 + second) * 1_000_000 + nano // 1000
