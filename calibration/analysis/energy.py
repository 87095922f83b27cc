"""Energy over any window, exact for the model that a channel's kind declares.

A series becomes `Pieces`: stretches of time with a known energy. A `counter` gives one piece
between two readings (energy linear in time), a `mean` one piece per averaging window (power
constant), an `instant` one piece between two samples (power linear, up to `max_gap_s`). What lies
between pieces is unobserved: it has no energy, and no time either, so that a mean power is energy
over the *observed* time. Integrate, then difference; never join samples to stamps.

Times are integer nanoseconds; inside they are counted from the first piece as float64 seconds,
which resolves 2 ns after a year.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from ..recording.reader import Series

__all__ = ["EnergyCurve", "Pieces", "pieces", "total_energy", "window_energy"]

Floats = npt.NDArray[np.float64]
Instants = npt.NDArray[np.int64]
_NS = 1e9
# Faults after which a counter does not go on from where it was: what passed meanwhile is unknown.
_BREAKS = ("reset", "undecidable")


@dataclass(frozen=True, slots=True, eq=False)
class Pieces:
    """Stretches of observed time: `start_ns`, `end_ns` (int64) and the power at both ends, W.

    Power is linear inside a piece; pieces are in time order and never overlap. `undecided` counts
    the intervals that were dropped because a counter went back for no known reason.
    """

    start_ns: Instants
    end_ns: Instants
    start_w: Floats
    end_w: Floats
    undecided: int = 0

    @property
    def duration_s(self) -> Floats:
        """Return the length of each piece, s."""
        return np.asarray((self.end_ns - self.start_ns) / _NS)

    @property
    def energy_j(self) -> Floats:
        """Return the energy of each piece, J."""
        return np.asarray(0.5 * (self.start_w + self.end_w) * self.duration_s)


def pieces(series: Series) -> Pieces:
    """Cut a series into the stretches whose energy it states.

    Readings that failed (NaN) leave a gap, except in a counter, whose next good reading still knows
    the energy since the last one. Rows whose time does not advance are passed over.
    """
    kind = series.channel.kind
    good = np.isfinite(series.value)
    t, value = series.t_ns[good], series.value[good]
    forward = np.ones(t.size, dtype=bool)
    if t.size:
        forward[1:] = t[1:] > np.maximum.accumulate(t)[:-1]
    t, value = t[forward], value[forward]
    if kind == "counter":
        broken = np.array([i for i, text in series.faults.items() if text.startswith(_BREAKS)])
        breaks = np.searchsorted(np.flatnonzero(good)[forward], np.sort(broken))
        return _counter(t, value, series.channel.wrap, breaks.astype(np.int64))
    if kind == "mean":
        window = None if series.window_ns is None else series.window_ns[good][forward]
        return _mean(t, value, window, series.channel.window_s, series.channel.stamp_at)
    return _instant(t, value, series.max_gap_s)


def _counter(t: Instants, energy_j: Floats, wrap_j: float | None, breaks: Instants) -> Pieces:
    """Difference a register; one wrap is undone where its range is known, else undecided.

    `breaks` holds the index of the first good reading after each known break of the register.
    """
    step = np.diff(energy_j)
    back = step < 0
    if wrap_j is not None:
        # A register that wrapped was near its end before and is near its beginning after; one that
        # was reset is near its beginning only. Half the range is the most that may have passed.
        wrapped = back & (step + wrap_j < 0.5 * wrap_j)
        step = np.where(wrapped, step + wrap_j, step)
        back &= ~wrapped
    back[breaks[(breaks > 0) & (breaks <= back.size)] - 1] = True
    seconds = np.diff(t) / _NS
    with np.errstate(divide="ignore", invalid="ignore"):
        power = step / seconds
    keep = ~back
    return Pieces(
        t[:-1][keep], t[1:][keep], power[keep], power[keep], undecided=int(np.count_nonzero(back))
    )


def _mean(
    t: Instants, power_w: Floats, window: Instants | None, window_s: float | None, stamp_at: str
) -> Pieces:
    """Lay each mean over its own window; where windows overlap, the earlier one keeps the time."""
    if window is None:
        nominal = round((window_s or 0.0) * _NS)
        window = np.full(t.size, nominal, dtype=np.int64)
    share = {"start": 0.0, "middle": 0.5, "end": 1.0}[stamp_at]
    start = t - np.rint(window * share).astype(np.int64)
    end = start + window
    keep = window > 0
    start, end, power = start[keep], end[keep], power_w[keep]
    if start.size:
        start[1:] = np.maximum(start[1:], np.maximum.accumulate(end)[:-1])
    keep = end > start
    return Pieces(start[keep], end[keep], power[keep], power[keep])


def _instant(t: Instants, power_w: Floats, max_gap_s: float | None) -> Pieces:
    """Join neighbouring samples by a straight line unless they lie too far apart."""
    keep = np.ones(max(t.size - 1, 0), dtype=bool)
    if max_gap_s is not None:
        keep = np.diff(t) <= max_gap_s * _NS
    return Pieces(t[:-1][keep], t[1:][keep], power_w[:-1][keep], power_w[1:][keep])


class EnergyCurve:
    """Cumulative energy and observed time as functions of time, for many windows at once."""

    __slots__ = ("_energy_j", "_observed_s", "_pieces", "_slope", "_start_s", "_t0_ns")

    def __init__(self, source: Pieces) -> None:
        self._pieces = source
        self._t0_ns = int(source.start_ns[0]) if source.start_ns.size else 0
        self._start_s = (source.start_ns - self._t0_ns) / _NS
        length = source.duration_s
        self._slope = np.divide(
            source.end_w - source.start_w, length, out=np.zeros_like(length), where=length > 0
        )
        self._energy_j = np.concatenate([[0.0], np.cumsum(source.energy_j)])
        self._observed_s = np.concatenate([[0.0], np.cumsum(length)])

    def at(self, t_ns: npt.NDArray[np.float64] | Instants) -> tuple[Floats, Floats]:
        """Return energy (J) and observed time (s) from the first piece up to each instant."""
        t = (np.asarray(t_ns) - self._t0_ns) / _NS
        if not self._start_s.size:
            return np.zeros(t.shape), np.zeros(t.shape)
        index = np.searchsorted(self._start_s, t, side="right") - 1
        inside = np.clip(index, 0, None)
        into = np.clip(t - self._start_s[inside], 0.0, self._pieces.duration_s[inside])
        energy = (
            self._energy_j[inside]
            + self._pieces.start_w[inside] * into
            + 0.5 * self._slope[inside] * into**2
        )
        return np.where(index < 0, 0.0, energy), np.where(
            index < 0, 0.0, self._observed_s[inside] + into
        )

    def power_at(self, t_ns: npt.NDArray[np.float64] | Instants) -> Floats:
        """Return the power at each instant, W; zero where nothing was observed."""
        t = (np.asarray(t_ns) - self._t0_ns) / _NS
        if not self._start_s.size:
            return np.zeros(t.shape)
        index = np.searchsorted(self._start_s, t, side="right") - 1
        inside = np.clip(index, 0, None)
        into = t - self._start_s[inside]
        observed = (index >= 0) & (into <= self._pieces.duration_s[inside])
        return np.where(observed, self._pieces.start_w[inside] + self._slope[inside] * into, 0.0)

    def between(
        self,
        start_ns: npt.NDArray[np.float64] | Instants,
        end_ns: npt.NDArray[np.float64] | Instants,
    ) -> tuple[Floats, Floats]:
        """Return energy (J) and observed time (s) of each window [start, end)."""
        energy_0, observed_0 = self.at(start_ns)
        energy_1, observed_1 = self.at(end_ns)
        return energy_1 - energy_0, observed_1 - observed_0


def window_energy(series: Series, start_ns: Instants, end_ns: Instants) -> tuple[Floats, Floats]:
    """Return energy (J) and observed time (s) of a series over the windows [start, end).

    Both have the shape of `start_ns`. A window that nothing was observed of has 0 J in 0 s.
    """
    return EnergyCurve(pieces(series)).between(start_ns, end_ns)


def total_energy(series: Series) -> tuple[float, float, float]:
    """Return the energy (J), the observed time (s) and the span (s) of a whole series."""
    cut = pieces(series)
    if not cut.start_ns.size:
        return 0.0, 0.0, 0.0
    span_s = float(cut.end_ns[-1] - cut.start_ns[0]) / _NS
    return float(cut.energy_j.sum()), float(cut.duration_s.sum()), span_s
