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

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from .counters import (
    REASONS,
    STALLED,
    SeriesFinding,
    frozen,
    increasing,
    register_differences,
    stalls,
    unit_scale,
    zeros_that_are_missing,
)
from .integrals import integrate

if TYPE_CHECKING:
    from ..recording.documents import ChannelInfo
    from ..recording.reader import Series

__all__ = ["EnergyCurve", "Pieces", "pieces", "total_energy", "window_energy"]

Floats = npt.NDArray[np.float64]
Instants = npt.NDArray[np.int64]
_NS = 1e9
_BLOCK = 1 << 16
# Faults after which a counter does not go on from where it was: what passed meanwhile is unknown.
_BREAKS = ("reset", "undecidable")


@dataclass(frozen=True, slots=True, eq=False)
class Pieces:
    """Stretches of observed time: `start_ns`, `end_ns` (int64) and the power at both ends, W.

    Power is linear inside a piece; pieces are in time order and never overlap. `undecided` counts
    the steps of a counter that were dropped because their energy cannot be known; `findings` says
    what was wrong with the series, by code (`analysis.counters.SeriesFinding`).
    """

    start_ns: Instants
    end_ns: Instants
    start_w: Floats
    end_w: Floats
    undecided: int = 0
    findings: tuple[SeriesFinding, ...] = ()

    @property
    def duration_s(self) -> Floats:
        """Return the length of each piece, s."""
        return np.asarray((self.end_ns - self.start_ns) / _NS)

    @property
    def energy_j(self) -> Floats:
        """Return the energy of each piece, J."""
        return np.asarray(0.5 * (self.start_w + self.end_w) * self.duration_s)


def pieces(series: Series, *, power_limit_w: float | None = None) -> Pieces:
    """Cut a series into the stretches whose energy it states.

    Readings that failed (NaN) leave a gap, except in a counter, whose next good reading still knows
    the energy since the last one. Rows whose time does not advance, zeros that stand for missing
    readings, rows in another unit, and steps of a register that cannot be decided
    (`analysis.counters`) are left out and said in `findings`. `power_limit_w` is the most the
    hardware can draw, W, where that is known; it decides what a register that went back has done.
    """
    channel = series.channel
    rows, findings = _usable(series)
    t, value = series.t_ns[rows], series.value[rows]
    if channel.kind == "counter":
        broken = np.array([i for i, text in series.faults.items() if text.startswith(_BREAKS)])
        breaks = np.searchsorted(rows, np.sort(broken)).astype(np.int64)
        return _counter(
            t, value, channel, breaks, power_limit_w, rows, findings, slept=series.slept_ns
        )
    if channel.kind == "mean":
        window = None if series.window_ns is None else series.window_ns[rows]
        cut = _mean(t, value, window, channel.window_s, channel.stamp_at)
    else:
        cut = _instant(t, value, series.max_gap_s)
    return replace(cut, findings=findings)


def _usable(series: Series) -> tuple[npt.NDArray[np.intp], tuple[SeriesFinding, ...]]:
    """Return the rows that can be used, and what was wrong with the others."""
    channel, value, t = series.channel, series.value, series.t_ns
    found: list[SeriesFinding] = []
    good = np.isfinite(value)
    if channel.unit in ("W", "J"):
        live = series.role == "meter" and series.boundary == "psu_ac_input"
        zeros = zeros_that_are_missing(
            channel.kind, value, resolution=channel.resolution or 0.0, live=live
        )
        if zeros.any():
            row, count = int(np.argmax(zeros)), int(np.count_nonzero(zeros))
            message = (
                f"{count} of {value.size} readings are zero although the hardware was live; "
                "taken as missing"
            )
            found.append(SeriesFinding("missing_as_zero", message, count, row, int(t[row])))
            good &= ~zeros
        scaled = unit_scale(channel.kind, np.where(good, value, np.nan))
        if scaled is not None:
            wrong, factor, row = scaled
            times = f"{factor:g}" if factor > 1 else f"1/{1 / factor:g}"
            count = int(np.count_nonzero(wrong & good))
            message = (
                f"from row {row} on the readings are {times} of those before: another unit; the "
                f"{count} rows of the shorter side are left out"
            )
            found.append(SeriesFinding("unit_scale", message, count, row, int(t[row])))
            good &= ~wrong
    if channel.unit == "W" and channel.kind != "counter":
        still = frozen(t, value)
        if still is not None:
            found.append(still)
    rows = np.flatnonzero(good)
    forward, jump = increasing(t[rows])
    if jump is not None:
        found.append(replace(jump, row=int(rows[jump.row])))
    return rows[forward], tuple(found)


def _counter(
    t: Instants,
    energy_j: Floats,
    channel: ChannelInfo,
    breaks: Instants,
    power_limit_w: float | None,
    rows: npt.NDArray[np.intp],
    findings: tuple[SeriesFinding, ...],
    *,
    slept: tuple[tuple[int, int], ...],
) -> Pieces:
    """Difference a register; what `register_differences` cannot decide is left out.

    `breaks` holds the index of the first good reading after each known break of the register.
    """
    step = register_differences(
        t,
        energy_j,
        modulus_j=channel.wrap,
        power_limit_w=power_limit_w,
        resolution_j=channel.resolution or 0.0,
        breaks=breaks,
        slept=slept,
    )
    reason, energy = step.reason.copy(), step.energy_j.copy()
    begin = np.arange(energy.size)
    for first, last, caught_up in stalls(t, energy_j):
        if caught_up:  # the energy is known, its course is not: one piece over the whole stall
            total = np.sum(energy[first : last + 1])
            energy[first:last], energy[last] = 0.0, total
            begin[first:last], begin[last] = -1, first
        else:
            reason[first : last + 1][reason[first : last + 1] == 0] = STALLED
    keep = (reason == 0) & (begin >= 0)
    start, end = t[begin[keep]], t[1:][keep]
    power = energy[keep] / ((end - start) / _NS)
    lost = int(np.count_nonzero(reason))
    findings += _register_findings(t, reason, rows)
    return Pieces(start, end, power, power, undecided=lost, findings=findings)


_CODES = {
    "register_reset": ("register_reset", "the register went back to its beginning"),
    "went_back": ("register_reset", "the register went back, and its range is not known"),
    "suspended": ("register_reset", "the register may have begun again while the machine slept"),
    "known_break": ("register_reset", "the log says that the register began again"),
    "several_wraps": ("several_wraps", "the register may have wrapped more than once in a gap"),
    "implausible": ("implausible", "the register counted more than the hardware can draw"),
    "torn_read": ("implausible", "a reading of the register agrees with neither neighbour"),
    "stalled": ("stalled", "the register stood still and did not catch up"),
}


def _register_findings(
    t: Instants, reason: npt.NDArray[np.int8], rows: npt.NDArray[np.intp]
) -> tuple[SeriesFinding, ...]:
    found = []
    for number, name in enumerate(REASONS):
        at = np.flatnonzero(reason == number) if name in _CODES else np.zeros(0, dtype=np.intp)
        if at.size:
            code, text = _CODES[name]
            lost_s = float(np.sum(t[at + 1] - t[at])) / _NS
            row = int(rows[at[0] + 1])
            message = f"{text}, first at row {row} ({at.size} steps, {lost_s:.3g} s left out)"
            found.append(SeriesFinding(code, message, int(at.size), row, int(t[at[0] + 1]), lost_s))
    return tuple(found)


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

    __slots__ = ("_energy_j", "_length_s", "_observed_s", "_pieces", "_slope", "_start_s", "_t0_ns")

    def __init__(self, source: Pieces) -> None:
        self._pieces = source
        self._t0_ns = int(source.start_ns[0]) if source.start_ns.size else 0
        self._start_s = (source.start_ns - self._t0_ns) / _NS
        self._length_s = length = source.duration_s
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
        into = np.clip(t - self._start_s[inside], 0.0, self._length_s[inside])
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
        observed = (index >= 0) & (into <= self._length_s[inside])
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

    Both have the shape of `start_ns` (int64). A window that nothing was observed of has 0 J in 0 s.
    Windows that do not overlap are summed piece by piece, to some 1e-15 of their energy; those of
    an `instant` series without faults or gaps in one pass over the samples (`integrals.integrate`).
    """
    start, end = np.asarray(start_ns), np.asarray(end_ns)
    whole = np.issubdtype(start.dtype, np.integer) and np.issubdtype(end.dtype, np.integer)
    apart = (
        whole
        and start.ndim == 1
        and start.size > 0
        and bool(np.all(start <= end) and np.all(start[1:] >= end[:-1]))
    )
    if apart and np.array_equal(start[1:], end[:-1]) and _faultless(series):
        return integrate(series.t_ns, series.value, np.append(start, end[-1]))
    cut = pieces(series)
    if not apart or not cut.start_ns.size:
        return EnergyCurve(cut).between(start, end)
    return _between(cut, start, end)


def _faultless(series: Series) -> bool:
    """Whether `pieces` would join every sample of a series to the next and find nothing."""
    t, value = series.t_ns, series.value
    if series.channel.kind != "instant" or t.size < 2:
        return False
    gap = None if series.max_gap_s is None else series.max_gap_s * _NS
    least, most = np.inf, 0.0
    for lo in range(0, t.size, _BLOCK):
        step = np.diff(t[lo : lo + _BLOCK + 1])
        if step.size and (int(step.min()) <= 0 or (gap is not None and int(step.max()) > gap)):
            return False
        part = value[lo : lo + _BLOCK]
        least, most = min(least, float(part.min())), max(most, float(part.max()))
        if not (least > 0 and most < 8 * least):  # no zero, no NaN, no change of unit
            return False
    return True


def _between(cut: Pieces, start: Instants, end: Instants) -> tuple[Floats, Floats]:
    """Return energy and observed time of windows that do not overlap, without any cancellation."""
    first = np.searchsorted(cut.end_ns, start, side="right")
    last = np.searchsorted(cut.start_ns, end, side="left") - 1
    last = np.where(end > start, last, first - 1)
    energy, observed = np.zeros(start.size), np.zeros(start.size, dtype=np.int64)

    def add(window: npt.NDArray[np.intp], piece: npt.NDArray[np.intp]) -> None:
        begin = np.maximum(cut.start_ns[piece], start[window])
        until = np.minimum(cut.end_ns[piece], end[window])
        length = cut.end_ns[piece] - cut.start_ns[piece]
        middle = 0.5 * ((begin - cut.start_ns[piece]) + (until - cut.start_ns[piece])) / length
        power = cut.start_w[piece] + (cut.end_w[piece] - cut.start_w[piece]) * middle
        energy[window] += power * ((until - begin) / _NS)
        observed[window] += until - begin

    some = np.flatnonzero(last >= first)
    add(some, first[some])
    more = np.flatnonzero(last > first)
    add(more, last[more])
    inner = np.flatnonzero(last - first >= 2)
    if inner.size:
        # Every second entry sums what lies inside a window, the others what lies between windows.
        bounds = np.column_stack([first[inner] + 1, last[inner]]).ravel()
        energy[inner] += np.add.reduceat(cut.energy_j, bounds)[::2]
        observed[inner] += np.add.reduceat(cut.end_ns - cut.start_ns, bounds)[::2]
    return energy, observed / _NS


def total_energy(series: Series) -> tuple[float, float, float]:
    """Return the energy (J), the observed time (s) and the span (s) of a whole series."""
    cut = pieces(series)
    if not cut.start_ns.size:
        return 0.0, 0.0, 0.0
    span_s = float(cut.end_ns[-1] - cut.start_ns[0]) / _NS
    return float(cut.energy_j.sum()), float(cut.duration_s.sum()), span_s
