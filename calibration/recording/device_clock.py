"""When the samples of a streaming instrument were taken: its own clock, fitted to arrival.

A block can arrive late, never early: arrival = instant + delay, delay >= 0. The line from device
ticks to host time is therefore the highest one below all arrivals, the edge of their lower convex
hull over the middle of the stretch: it touches the promptest blocks and ignores the late ones
(the linear programme of Moon, Skelly and Towsley, "Estimation and removal of clock skew from
network delay measurements", IEEE INFOCOM 1999). What it cannot see is the smallest delay itself.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

__all__ = ["device_instants"]

Instants = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

# An oscillator holds its rate to far better than 1e-6 over five minutes; over hours it drifts.
_STRETCH_S: Final = 300.0
# Fewer blocks, or a shorter time, say less about the rate than its nominal value does.
_LEAST_BLOCKS: Final = 8
_LEAST_S: Final = 2.0
# A quartz is good to 1e-4; a nominal rate read off a data sheet has been seen 2 % wrong.
_MOST_OFF: Final = 0.03
_ALREADY_EXACT_NS: Final = 10.0


def device_instants(
    ticks: Instants, arrival_ns: Instants, tick_rate_hz: float, breaks: npt.NDArray[np.bool_]
) -> Instants:
    """Return the instant of every sample, ns on the host's clock.

    `ticks` is the unwrapped device clock, `arrival_ns` when the sample's block arrived; `breaks`
    marks samples before which something was lost, so that the ticks may have lost their count. A
    clock that goes back (the instrument was restarted) is a break too.
    """
    result = np.empty(ticks.size, dtype=np.int64)
    if not ticks.size:
        return result
    cut = breaks.copy()
    cut[0] = True
    cut[1:] |= np.diff(ticks) < 0
    starts = np.flatnonzero(cut)
    ends = np.append(starts[1:], ticks.size)
    nominal = 1e9 / tick_rate_hz
    longest = int(np.argmax(ticks[ends - 1] - ticks[starts]))
    whole = slice(int(starts[longest]), int(ends[longest]))
    rate = _rate(*_blocks(ticks[whole], arrival_ns[whole]), nominal)
    for start, end in zip(starts, ends, strict=True):
        part = slice(int(start), int(end))
        result[part] = _stretch(ticks[part], arrival_ns[part], rate, nominal)
    return result


def _blocks(ticks: Instants, arrival_ns: Instants) -> tuple[Instants, Instants]:
    """Keep the last sample of each block: no other of the block can have waited less."""
    last = np.append(np.flatnonzero(np.diff(arrival_ns)), ticks.size - 1)
    return ticks[last], arrival_ns[last]


def _stretch(ticks: Instants, arrival_ns: Instants, rate: float, nominal: float) -> Instants:
    """Fit one unbroken stretch: a line, or lines joined at knots where it is long."""
    x, y = _blocks(ticks, arrival_ns)
    zero_x, zero_y = int(x[0]), int(y[0])
    x_own = (x - zero_x).astype(np.float64)
    y_own = (y - zero_y).astype(np.float64)
    own = (ticks - zero_x).astype(np.float64)
    off = y_own - nominal * x_own
    if np.ptp(off) <= _ALREADY_EXACT_NS:  # an import, whose instants come from the ticks
        return np.asarray(zero_y + np.rint(nominal * own + off[0]).astype(np.int64))
    span_s = float(x_own[-1]) * nominal / 1e9
    pieces = max(1, int(span_s // _STRETCH_S))
    knots, heights = [], []
    for piece in np.array_split(np.arange(x_own.size), pieces):
        if not piece.size:
            continue
        slope = _rate(x_own[piece], y_own[piece], nominal) if pieces > 1 else rate
        middle = 0.5 * (x_own[piece[0]] + x_own[piece[-1]])
        knots.append(middle)
        heights.append(float(np.min(y_own[piece] - slope * (x_own[piece] - middle))))
    if len(knots) == 1:
        fitted = heights[0] + rate * (own - knots[0])
    else:
        fitted = np.interp(own, knots, heights)
        for outside, (i, j) in ((own < knots[0], (0, 1)), (own > knots[-1], (-2, -1))):
            slope = (heights[j] - heights[i]) / (knots[j] - knots[i])
            fitted[outside] = heights[i] + slope * (own[outside] - knots[i])
    return np.asarray(zero_y + np.rint(fitted).astype(np.int64))


def _rate(x: npt.NDArray[np.number], y: npt.NDArray[np.number], nominal: float) -> float:
    """Return the duration of a tick, ns: the slope of the lower hull's edge over the middle."""
    x_own = (x - x[0]).astype(np.float64)
    y_own = (y - y[0]).astype(np.float64)
    if x_own.size < _LEAST_BLOCKS or x_own[-1] * nominal < _LEAST_S * 1e9:
        return nominal
    # Against the nominal rate the numbers are small, and the hull is exact in float64.
    late = y_own - nominal * x_own
    if np.ptp(late) <= _ALREADY_EXACT_NS:
        return nominal
    low = _lower_hull(x_own, late)
    middle = float(np.mean(x_own))
    right = int(np.searchsorted(x_own[low], middle, side="right"))
    right = min(max(right, 1), len(low) - 1)
    a, b = low[right - 1], low[right]
    off = float((late[b] - late[a]) / (x_own[b] - x_own[a]))
    return nominal + off if abs(off) <= _MOST_OFF * nominal else nominal


def _lower_hull(x: Floats, y: Floats) -> list[int]:
    """Return the indices of the lower convex hull (Andrew's monotone chain; x increases)."""
    hull: list[int] = []
    for i in range(x.size):
        if hull and x[i] <= x[hull[-1]]:
            if y[i] >= y[hull[-1]]:
                continue
            hull.pop()
        while len(hull) > 1:
            a, b = hull[-2], hull[-1]
            if (x[b] - x[a]) * (y[i] - y[a]) > (x[i] - x[a]) * (y[b] - y[a]):
                break
            hull.pop()
        hull.append(i)
    return hull
