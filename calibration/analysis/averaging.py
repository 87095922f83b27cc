"""Over how long a sensor averages, from what it showed when the load changed.

A GPU's or a board's power sensor often shows the mean of a while (1 s on many GPUs, up to a minute
on a BMC), which nobody can tell from steady readings. A step of the load shows it: a moving mean
climbs along a straight line that is as long as its window. What climbed was the load itself where a
meter that is fast enough saw it climb too. Nothing is guessed: where the readings do not tell, the
answer is `None`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from ..recording.reader import Run, Series

__all__ = ["AveragingWindow", "averaging_window_s", "averaging_windows"]

Floats = npt.NDArray[np.float64]
Instants = npt.NDArray[np.int64]

_NS = 1e9
_LEAST_READINGS: Final = 24
# A step must stand this many times above the scatter of the level before and after it.
_CLEAR: Final = 20.0
_LOW, _HIGH = 0.2, 0.8
# Between these heights a moving mean is renewed this often, or its slope is not seen.
_LEAST_ON_SLOPE: Final = 3
_LEAST_STEPS: Final = 3
# A load that took this share of the sensor's climb has a part in it.
_OWN_CLIMB: Final = 0.2


@dataclass(frozen=True, slots=True)
class AveragingWindow:
    """The moving mean that one power channel of an estimator shows: `window_s`, from `n` steps.

    `u_s` is the standard uncertainty of that median over the steps.
    """

    stream: str
    channel: str
    window_s: float
    u_s: float
    n: int


def averaging_window_s(t_ns: Instants, value: Floats) -> float | None:
    """Return over how long a sensor averages, s, from its readings (n,) across one step.

    `value` begins at one level and ends at another. The mean over a window w passes from 20 % to
    80 % of the way in 0.6 w. `None` where there is no clear step, or where fewer than three
    renewals fall between these heights: the window is then no longer than a few updates.
    """
    known = np.isfinite(value)
    t_ns, value = t_ns[known], value[known]
    if value.size < _LEAST_READINGS:
        return None
    ends = value.size // 5
    first, last = value[:ends], value[-ends:]
    before, after = float(np.median(first)), float(np.median(last))
    scatter = max(
        float(np.median(np.abs(part - middle))) for part, middle in ((first, before), (last, after))
    )
    rise = after - before
    if rise == 0 or abs(rise) < _CLEAR * scatter:
        return None
    # Only the instants at which the value was renewed tell something; between them it is held.
    renewed = np.flatnonzero(np.diff(value)) + 1
    at_ns, height = t_ns[renewed], (value[renewed] - before) / rise
    low, high = _crossing(at_ns, height, _LOW), _crossing(at_ns, height, _HIGH)
    if low is None or high is None:
        return None
    if np.count_nonzero((at_ns > low) & (at_ns < high)) < _LEAST_ON_SLOPE:
        return None
    return (high - low) / (_HIGH - _LOW) / _NS


def _crossing(t_ns: Instants, height: Floats, wanted: float) -> float | None:
    """Return when a rising line through the points passes a height for the first time, ns."""
    passes = np.flatnonzero((height[:-1] < wanted) & (height[1:] >= wanted))
    if not passes.size:
        return None
    i = int(passes[0])
    share = (wanted - height[i]) / (height[i + 1] - height[i])
    return float(t_ns[i] + share * (t_ns[i + 1] - t_ns[i]))


def averaging_windows(
    run: Run, meter: Series, plateaus: Sequence[tuple[int, int]]
) -> tuple[AveragingWindow, ...]:
    """Return what the power channels of a run's estimators average over, where its steps tell.

    `plateaus` are the instants, ns, at which the steady stretches of the run begin and end; the
    readings from the middle of each to the middle of the next hold one step of the load. The
    answer is the median over the steps, from three on (u = 1.25 s/sqrt n, s from the median
    deviation). A step that the meter saw climb as slowly says nothing of the sensor.
    """
    spans = [((a + b) // 2, (c + d) // 2) for (a, b), (c, d) in pairwise(plateaus)]
    loads = [_climb_s(meter, span) for span in spans]
    found = []
    for stream, descriptor in run.descriptors.items():
        if descriptor.role != "estimator":
            continue
        for channel in descriptor.channels:
            if channel.quantity != "power" or channel.kind not in ("instant", "mean"):
                continue
            series = run.series(stream, channel.name)
            climbs = [_climb_s(series, span) for span in spans]
            own = [
                s
                for s, load in zip(climbs, loads, strict=True)
                if s is not None and (load is None or load < _OWN_CLIMB * s)
            ]
            if len(own) < _LEAST_STEPS:
                continue
            middle = float(np.median(own))
            spread = 1.4826 * float(np.median(np.abs(np.array(own) - middle)))
            u_s = 1.253 * spread / math.sqrt(len(own))
            found.append(AveragingWindow(stream, channel.name, middle, u_s, len(own)))
    return tuple(found)


def _climb_s(series: Series, span: tuple[int, int]) -> float | None:
    begin, end = np.searchsorted(series.t_ns, span)
    return averaging_window_s(series.t_ns[begin:end], series.value[begin:end])
