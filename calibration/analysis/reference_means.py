"""The reference of a point: its mean, what that is worth by its scatter, and what the meter is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from .correlated import steady_means
from .energy import Pieces
from .reference import aliasing_u_w

if TYPE_CHECKING:
    from ..recording.reader import Series

__all__ = ["ReferenceMeans", "reference_means"]

Floats = npt.NDArray[np.float64]
_NS = 1e9
# Fewer readings in a segment do not tell a correlation from the removal of their own mean.
_LEAST_READINGS = 10
# A correlation time longer than this share of a segment cannot be told from a drift inside of it,
# which says nothing of what neighbours share: the fit then asks the points themselves.
_MOST_OF_A_STEP = 0.5


@dataclass(frozen=True, slots=True, eq=False)
class ReferenceMeans:
    """The reference at every point, arrays of shape (points,): see `Points`."""

    power_w: Floats
    u_w: Floats
    duration_s: Floats
    start_s: Floats
    correlation_time_s: Floats | None
    quantisation_w: Floats


def reference_means(
    cut: Pieces, windows: Sequence[npt.NDArray[np.intp]], meter: Series, *, steady: bool
) -> ReferenceMeans:
    """Return mean power, its standard uncertainty and what the points share of it.

    `windows` holds the indices of the meter windows of each point. Steady segments:
    `analysis.correlated.steady_means` of their meter windows, pooled over the run: the scatter with
    its correlation in time, and what the resolution leaves, which does not average out where a
    steady signal repeats the same count (GUM F.2.2.1). A register's resolution is in its two
    readings, q/√6, over the time between them, and not shared; so is what is not known of the
    instants of these readings. Windows cut from a run without
    marks are not steady: their scatter is load, which the inputs see as well. They carry the
    resolution only, and the fit finds the rest as lack of fit. Where the meter looks at part of
    the time only, `aliasing_u_w` joins both.
    """
    energy, length = cut.energy_j, cut.duration_s
    duration = np.array([length[w].sum() for w in windows])
    power = np.array([energy[w].sum() for w in windows]) / duration
    start = np.array([cut.start_ns[w[0]] for w in windows]) / _NS
    resolution = meter.channel.resolution or 0.0
    counter = meter.channel.kind == "counter"
    step_w = 0.0 if counter else resolution
    common = np.full(duration.size, step_w / math.sqrt(12))
    u_w, times = common, None
    window_w = [energy[w] / length[w] for w in windows]
    if steady:
        means = steady_means(
            window_w,
            cadence_s=float(np.median(length)),
            resolution_w=step_w,
        )
        u_w = means.u_w
        enough = sorted(len(w) for w in windows)[len(windows) // 2] >= _LEAST_READINGS
        if enough and means.correlation_time_s <= _MOST_OF_A_STEP * float(np.median(duration)):
            times = np.full(duration.size, means.correlation_time_s)
        common = np.full(duration.size, means.quantisation_w)
    if counter:
        u_w = np.hypot(u_w, resolution / math.sqrt(6) / duration)
        # The instant of a reading lies between request and reply: rectangular, twice.
        u_t_s = float(np.median(meter.t_half_width_ns)) / _NS / math.sqrt(3)
        u_w = np.hypot(u_w, math.sqrt(2) * u_t_s / duration * np.abs(power))
    u_w = np.hypot(u_w, aliasing_u_w(window_w, meter.channel.observed_share))
    return ReferenceMeans(power, u_w, duration, start, times, common)
