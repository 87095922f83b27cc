"""Steady stretches of a recording that nobody marked.

Criterion: that of `plans.steadiness`, which the bench shows while it records: every meter window
stays within ±max(2 %, 2 resolutions) of the stretch's mean so far, two in a row outside end it. The
first two seconds after an edge are settling and belong to no stretch; what is shorter than ten
seconds or five windows is dropped.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ..plans import Stretch
from .energy import Pieces

__all__ = ["LEAST_S", "SETTLE_S", "steady_stretches"]

SETTLE_S = 2.0
LEAST_S = 10.0
_LEAST_WINDOWS = 5
_NS = 1e9
# Streaming meters are looked at in means of this length: 5 kHz samples say nothing by themselves.
_LOOK_S = 0.5


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
