"""What a maker promises about a reading, as a limit of error and as a standard uncertainty.

A data sheet states a limit: ±(0.1 % of reading + 0.05 % of range), for example. The limit of a
reading is the sum of its parts. Without more knowledge every error within the limit is equally
likely (a rectangular distribution), so the standard uncertainty is the limit divided by √3
(JCGM 100:2008, GUM, 4.3.7).

What averages out and what does not is kept apart. Gain and offset are the same in all readings
of a run: a mean of a thousand readings has the same uncertainty as one (*common*). The step of
the display is not: its error, half a count at most, differs from reading to reading
(*independent*). A data sheet's "n counts" bounds an offset as well as the step; so half a count of
it is independent and the rest is common.

Three conditions, where a manual states their influence (Yokogawa IM WT310E-02EN 7-7 and 7-8,
IM WT310-02EN 7-7, is the model):

    power factor λ    adds `of_reactive` · |P| · tan φ, which is that share of the reactive power
                      |Q| = √(S² - P²), and of S at λ = 0
    crest factor 6    multiplies the range term by `crest_6`
    line filter on    adds `line_filter` of the reading
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

__all__ = ["PLUG_METER", "Accuracy", "Conditions", "Limits"]

_SQRT_3 = math.sqrt(3.0)
_HALF_A_COUNT = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditions:
    """Under which conditions a value was read; None means that it is not known.

    `range_max` is the full scale of the range that is set, in the channel's unit (of a power: the
    voltage range times the current range). `resolution` is one count. `apparent` is the apparent
    power in VA; where it is not known, `power_factor` (absolute value, 0 to 1) takes its place.
    `crest_factor` is the setting of the instrument, 3 or 6.
    """

    range_max: float | None = None
    resolution: float = 0.0
    apparent: float | None = None
    power_factor: float | None = None
    crest_factor: int = 3
    line_filter: bool = False


@dataclass(frozen=True, slots=True)
class Limits:
    """The limit of error of one value in its parts, ±, in the channel's unit.

    `gain` grows with the reading, `offset` does not; both are common to all readings of a run.
    `independent` differs from reading to reading.
    """

    gain: float
    offset: float
    independent: float

    @property
    def total(self) -> float:
        """Return the limit that the data sheet states."""
        return self.gain + self.offset + self.independent


@dataclass(frozen=True, slots=True)
class Accuracy:
    """The maker's limit of error, the sum of the parts below, ±.

    ±(of_reading·|value| + of_range·range + counts·resolution + absolute + of_reactive·|Q|).

    `of_reading`, `of_range`, `of_reactive` are fractions (0.005 is 0.5 %), `absolute` has the
    channel's unit. `crest_6` multiplies `of_range` at crest factor 6, `line_filter` is added to
    `of_reading` while the line filter is on. `source` names where the figures stand; `assumed`
    marks figures that stand in no source.
    """

    of_reading: float = 0.0
    of_range: float = 0.0
    counts: float = 0.0
    absolute: float = 0.0
    source: str = ""
    assumed: bool = False
    of_reactive: float = 0.0
    crest_6: float = 1.0
    line_filter: float = 0.0

    def at(self, conditions: Conditions) -> Accuracy:
        """Return the accuracy with the instrument's settings put in: crest factor and filter."""
        return replace(
            self,
            of_reading=self.of_reading + (self.line_filter if conditions.line_filter else 0.0),
            of_range=self.of_range * (self.crest_6 if conditions.crest_factor == 6 else 1.0),
            crest_6=1.0,
            line_filter=0.0,
        )

    def limits(self, value: float, conditions: Conditions) -> Limits:
        """Return the limit of error of `value` in its parts.

        Raises:
            ValueError: a condition on which the limit depends is not known.

        """
        set_up = self.at(conditions)
        gain = set_up.of_reading * abs(value)
        if self.of_reactive:
            gain += self.of_reactive * _reactive(value, conditions)
        if self.of_range and conditions.range_max is None:
            raise ValueError("Expected the range that is set: the accuracy depends on it.")
        counts = self.counts * conditions.resolution
        independent = _HALF_A_COUNT * conditions.resolution
        offset = set_up.of_range * (conditions.range_max or 0.0) + self.absolute
        return Limits(gain, offset + max(counts - independent, 0.0), independent)

    def limit(self, value: float, conditions: Conditions) -> float:
        """Return the limit of error of `value`, ±, as the data sheet states it.

        The step of the display counts as far as the data sheet has counts.

        Raises:
            ValueError: a condition on which the limit depends is not known.

        """
        parts = self.limits(value, replace(conditions, resolution=0.0))
        return parts.total + self.counts * conditions.resolution

    def standard_uncertainty(self, value: float, conditions: Conditions) -> tuple[float, float]:
        """Return the standard uncertainty of `value`: (common to all readings, independent).

        Rectangular: the limit divided by √3. The common part is that of gain and offset together,
        added as the data sheet adds them.

        Raises:
            ValueError: a condition on which the limit depends is not known.

        """
        parts = self.limits(value, conditions)
        return (parts.gain + parts.offset) / _SQRT_3, parts.independent / _SQRT_3


def _reactive(value: float, conditions: Conditions) -> float:
    """Return |Q| in var, from apparent power or power factor."""
    if conditions.apparent is not None:
        return math.sqrt(max(conditions.apparent**2 - value**2, 0.0))
    if conditions.power_factor is None:
        raise ValueError("Expected the apparent power or the power factor: the accuracy needs it.")
    factor = min(abs(conditions.power_factor), 1.0)
    if factor == 0.0:
        raise ValueError("At power factor 0 the apparent power is needed; got the factor alone.")
    return abs(value) * math.sqrt(1.0 - factor**2) / factor


PLUG_METER = Accuracy(
    of_reading=0.03,
    counts=1.0,
    source="no published accuracy: 3 % of reading and one count assumed for a plug-in meter",
    assumed=True,
)
