"""The measuring side of an emulated power analyser: means over one update after the other.

The load has the power of a function of time and a constant power factor; the mains voltage
breathes by a tenth of a percent with a period of 37 s, because a real one never stands still.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

__all__ = ["Analyser", "Shown"]

_STEP_S: Final = 0.02
_BREATH: Final = 0.001
_RADIANS_PER_S: Final = 2 * math.pi / 37.0


@dataclass(frozen=True, slots=True)
class Shown:
    """What one update shows: V, A, W, and the power factor (None where there is no current)."""

    voltage_v: float
    current_a: float
    power_w: float
    power_factor: float | None


class Analyser:
    """Averages over `refresh_s`, renews what it shows at the end of each such period."""

    def __init__(
        self,
        power_w: Callable[[float], float] | float,
        *,
        refresh_s: float,
        voltage_v: float,
        power_factor: float,
    ) -> None:
        if not 0 < power_factor <= 1:
            raise ValueError(f"The power factor lies from 0 to 1; got {power_factor:g}.")
        self._power_w = power_w if callable(power_w) else (lambda _t_s: power_w)
        self._voltage_v, self._power_factor = voltage_v, power_factor
        self.updates = 0
        self.energy_j = 0.0
        self.end_s: float | None = None  # of the last update
        self.refresh_s = refresh_s
        self.shown = Shown(0.0, 0.0, 0.0, None)

    def restart(self, refresh_s: float | None = None) -> None:
        """Begin a new period at the next `advance`, of another length if one is given."""
        self.end_s = None
        self.refresh_s = refresh_s or self.refresh_s

    def advance(self, t_s: float) -> int:
        """Measure until `t_s`; return how many updates that made."""
        if self.end_s is None:  # what it shows first is the present
            self.end_s = t_s
            self.shown = self._mean(t_s, 0.0)
        made = 0
        while self.end_s + self.refresh_s <= t_s + 1e-9:
            self.shown = self._mean(self.end_s, self.refresh_s)
            self.energy_j += self.shown.power_w * self.refresh_s
            self.end_s += self.refresh_s
            made += 1
        self.updates += made
        return made

    def _mean(self, begin_s: float, length_s: float) -> Shown:
        """Average from `begin_s` on: voltage and current as root of the mean square."""
        count = max(1, round(length_s / _STEP_S))
        step_s, power_of, breath, sine = length_s / count, self._power_w, _BREATH, math.sin
        power = volts = amps = 0.0  # sums; voltages in units of the nominal one
        for i in range(count):
            t_s = begin_s + (i + 0.5) * step_s
            power_w = power_of(t_s)
            volt = 1 + breath * sine(_RADIANS_PER_S * t_s)
            power += power_w
            volts += volt * volt
            amps += (power_w / volt) ** 2
        power /= count
        voltage_v = self._voltage_v * math.sqrt(volts / count)
        current_a = math.sqrt(amps / count) / (self._voltage_v * self._power_factor)
        apparent = voltage_v * current_a
        return Shown(voltage_v, current_a, power, power / apparent if apparent else None)
