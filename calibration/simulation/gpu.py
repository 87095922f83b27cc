"""What a GPU's own sensor makes of its true power, as measured on real cards.

Every `period_s` the sensor shows the mean of the true power over the last `window_s`, times `gain`,
plus `offset_w`. Published (Yang, Adamek, Armour: "Part-time Power Measurements", SC24,
arXiv:2312.02741): A100 and H100 look at 25 ms of every 100 ms; Ampere and later cards other than
GA100 average over one second in `power.draw`; gain and offset differ from card to card by up to 5 %
and a few watts. Whether the energy counter integrates the sensor's samples or the true power is in
no source; here it adds up the sensor's samples, so that a card errs alike in both.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .profile import PowerProfile, TruePower

__all__ = ["A100", "RTX_3090", "Gpu", "GpuReadings", "Sensor"]


@dataclass(frozen=True, slots=True)
class Sensor:
    """Update period and averaging window in s, window of the `average` reading in s, gain, offset.

    `counts` is whether the card has an energy counter, `fields` whether instant and average power
    are told apart.
    """

    period_s: float
    window_s: float
    average_s: float
    gain: float = 1.0
    offset_w: float = 0.0
    counts: bool = True
    fields: bool = True

    def shown_w(self, truth: TruePower, looked_s: float, window_s: float | None = None) -> float:
        """Return what the sensor shows from a look at `looked_s` on, W."""
        window = self.window_s if window_s is None else window_s
        mean_w = truth.energy_j(looked_s - window, looked_s) / window
        return max(0.0, self.gain * mean_w + self.offset_w)


A100 = Sensor(period_s=0.1, window_s=0.025, average_s=0.025)
RTX_3090 = Sensor(period_s=0.1, window_s=0.1, average_s=1.0)


@dataclass(frozen=True, slots=True)
class Gpu:
    """One card: its true power, its sensor, and how it names itself."""

    name: str
    uuid: str
    truth: PowerProfile
    sensor: Sensor
    architecture: int = 7
    vbios: str = "92.00.45.00.03"
    limit_w: float = 400.0
    start_mj: int = 1_234_567_890

    def describe(self) -> dict[str, Any]:
        """Return what the library says of the card besides its power."""
        return {
            "name": self.name,
            "uuid": self.uuid,
            "vbios": self.vbios,
            "limit_mw": round(1000 * self.limit_w),
            "architecture": self.architecture,
            "has_counter": int(self.sensor.counts),
            "has_fields": int(self.sensor.fields),
        }


class GpuReadings:
    """What a card shows over time: look after look, each added to its energy counter.

    `truth` takes the place of the card's own where that is not known in advance.
    """

    def __init__(self, gpu: Gpu, truth: TruePower | None = None) -> None:
        self._gpu, self._truth = gpu, truth or gpu.truth
        self._looks = 0
        self._energy_mj = 0.0
        self._instant_w = self._average_w = 0.0

    def at(self, t_s: float, lead_s: float) -> dict[str, int]:
        """Return the words of the library at `t_s`, which grows from call to call.

        The card has been on since 0; its true power is that of the profile `lead_s` later.
        """
        sensor, truth = self._gpu.sensor, self._truth
        while self._looks == 0 or (self._looks + 1) * sensor.period_s <= t_s:
            self._looks += 1
            looked_s = self._looks * sensor.period_s - lead_s
            self._instant_w = sensor.shown_w(truth, looked_s)
            self._average_w = sensor.shown_w(truth, looked_s, sensor.average_s)
            self._energy_mj += 1000.0 * self._instant_w * sensor.period_s
        share = truth.power_w(t_s - lead_s) / self._gpu.limit_w
        return {
            "power_mw": round(1000 * self._average_w),
            "average_mw": round(1000 * self._average_w),
            "instant_mw": round(1000 * self._instant_w),
            "energy_mj": self._gpu.start_mj + int(self._energy_mj),
            "temperature": 45,
            "utilisation": min(100, round(100 * share)),
        }
