"""Steady stretches of a recording that nobody marked.

Criterion: that of `plans.steadiness`, which the bench shows while it records: every meter window
stays within ±max(2 %, 2 resolutions) of the stretch's mean so far, two in a row outside end it. The
first two seconds after an edge are settling and belong to no stretch; what is shorter than ten
seconds or five windows is dropped.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ..plans import Stretch
from ..plans.steadiness import SLOPE_PER_MIN, thermal_trend
from .energy import Pieces

if TYPE_CHECKING:
    from ..recording.reader import Run

__all__ = ["LEAST_S", "SETTLE_S", "steady_stretches", "unsettled"]

SETTLE_S = 2.0
LEAST_S = 10.0
_LEAST_WINDOWS = 5
_NS = 1e9
# Streaming meters are looked at in means of this length: 5 kHz samples say nothing by themselves.
_LOOK_S = 0.5
_LOOKS = 100


def steady_stretches(meter: Pieces, resolution_w: float | None) -> tuple[npt.NDArray[np.intp], ...]:
    """Return the indices of the meter windows of each steady stretch, in time order."""
    if not meter.start_ns.size:
        return ()
    look = np.floor((meter.start_ns - meter.start_ns[0]) / _NS / _LOOK_S).astype(np.int64)
    first = np.flatnonzero(np.concatenate([[True], np.diff(look) > 0]))
    power = np.add.reduceat(meter.energy_j, first) / np.add.reduceat(meter.duration_s, first)
    edges = np.append(first, meter.start_ns.size)
    kept = []
    for begin, end in _runs(power, 2 * (resolution_w or 0.0)):
        index = np.arange(edges[begin], edges[end])
        if begin:
            since = (meter.start_ns[index] - meter.start_ns[index[0]]) / _NS
            index = index[since >= SETTLE_S]
        if end - begin >= _LEAST_WINDOWS and meter.duration_s[index].sum() >= LEAST_S:
            kept.append(index)
    return tuple(kept)


def _runs(power: npt.NDArray[np.float64], least_w: float) -> list[tuple[int, int]]:
    """Return begin and end of each run of values that stay near the mean of their run so far."""
    found = []
    begin, stretch = 0, Stretch(least_w)
    for i, value in enumerate(power.tolist()):
        if not stretch.add(value):  # the value before was outside already
            found.append((begin, i - 1))
            begin = i - 1
    found.append((begin, power.size))
    return found


def unsettled(run: Run, cut: Pieces, groups: Sequence[npt.NDArray[np.intp]]) -> tuple[str, ...]:
    """Say where a machine was not thermally steady, by the criterion that ends a warm-up.

    `groups` holds the indices of the meter windows of each step. A step is shorter than the minute
    that the criterion looks at, so its own length is looked at. One step in twenty drifts by
    chance; three, and one in seven, do not.
    """
    notes = []
    if any(s.achieved.get("steady") is False for s in run.steps):
        notes.append("the warm-up ended before the machine was thermally steady")
    drifts = []
    for group in groups:
        looks = group[:: max(1, -(-group.size // _LOOKS))]
        first = np.searchsorted(group, looks)
        power_w = np.add.reduceat(cut.energy_j[group], first)
        power_w /= np.add.reduceat(cut.duration_s[group], first)
        t_s = (cut.start_ns[looks] - cut.start_ns[group[0]]) / _NS
        trend = thermal_trend(t_s.tolist(), power_w.tolist(), span_s=float(np.ptp(t_s)))
        if math.isfinite(trend.per_min) and not trend.steady:
            drifts.append(100 * trend.per_min)
    if len(drifts) >= max(3, len(groups) / 7):
        worst = max(drifts, key=abs)
        notes.append(
            f"{len(drifts)} of {len(groups)} steps drift by more than {100 * SLOPE_PER_MIN:g} % a "
            f"minute (up to {worst:+.1f} %): the machine was not thermally steady"
        )
    return tuple(notes)
