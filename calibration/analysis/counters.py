"""From register readings to energy: differences, and what is wrong with a log.

A register of range M (the modulus) shows r = E mod M. Over a step of dt seconds at no more than
P watts the energy is d + k·M with d = (r₁ - r₀) mod M and k = 0, 1, ...; it is known only where
exactly one k keeps it at or below P·dt. None possible is a reset (or a jump), several possible is a
gap longer than the register's period. Both are NaN with a reason, never a guess and never negative:
so the differences add up over any split of a log, wherever the register wraps.

Where P is not stated, a step that went back is believed to have wrapped where that takes at most
four times the fastest 1 % of the forward steps and half the range, and twice that power must not
suffice for another turn. Without a modulus nothing is undone: a decrease is NaN.

Sources: powercap sysfs ABI (`energy_uj` wraps at `max_energy_range_uj`, which may be unreadable);
GUM F.2.2.1 for the resolution; `clock_gettime(2)` for what a suspend does to the two clocks.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ..recording.clocks import suspends

if TYPE_CHECKING:
    from ..recording.documents import Clock

__all__ = [
    "REASONS",
    "Differences",
    "SeriesFinding",
    "clock_findings",
    "frozen",
    "increasing",
    "register_differences",
    "stalls",
    "unit_scale",
    "zeros_that_are_missing",
]

Floats = npt.NDArray[np.float64]
Instants = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]
_NS = 1e9

# What a step of a register may be, by the code in `Differences.reason`; 0 is good.
REASONS = (
    "",
    "register_reset",  # went back to near zero, or further than any wrap explains
    "went_back",  # decreased, and nothing says how far the register counts
    "several_wraps",  # the gap is longer than the register's period at plausible power
    "implausible",  # more than the stated power can do
    "missing",  # one of the two readings is not there
    "known_break",  # the log itself says that the register began again
    "suspended",  # decreased while the machine slept
    "stalled",  # stood still although energy passed
    "torn_read",  # one of the two readings disagrees with both its neighbours, which agree
)
GOOD, RESET, BACK, SEVERAL, IMPLAUSIBLE, MISSING, BREAK, SUSPENDED, STALLED, TORN = range(10)

_SPARE = 4.0
_FACTORS = (1000.0, 3600.0, 1e6, 3.6e6)
_FINE_FACTORS = (10.0, 100.0)
_BESIDE = 5


@dataclass(frozen=True, slots=True)
class SeriesFinding:
    """One kind of fault in a log: its code, a sentence, how often, and where first.

    `code` is one of `register_reset`, `missing_as_zero`, `unit_scale`, `time_jump`, `stalled`,
    `suspended`, `several_wraps`, `implausible`; `row` counts the rows of the series (-1: no row),
    `t_ns` is the stamp there; `lost_s` is the time that was left out because of it.
    """

    code: str
    message: str
    count: int
    row: int
    t_ns: int
    lost_s: float = 0.0


@dataclass(frozen=True, slots=True, eq=False)
class Differences:
    """Energy of each step, J (NaN where undecidable), and why: an index into `REASONS`.

    Both have one entry fewer than the readings along the last axis.
    """

    energy_j: Floats
    reason: npt.NDArray[np.int8]

    @property
    def undecided(self) -> int:
        """Return how many steps are NaN."""
        return int(np.count_nonzero(self.reason))


def register_differences(
    t_ns: Instants,
    reading_j: Floats,
    *,
    modulus_j: float | None = None,
    power_limit_w: float | None = None,
    resolution_j: float = 0.0,
    breaks: npt.ArrayLike = (),
    slept: Sequence[tuple[int, int]] = (),
) -> Differences:
    """Return the energy between neighbouring readings of a register, J.

    `t_ns` (int64, increasing) and `reading_j` may hold one trace or many (time along the last
    axis). `modulus_j` is the register's range, `power_limit_w` the most the hardware can draw,
    `resolution_j` what one count is worth (a difference may be off by one count). `breaks` are the
    indices of readings behind a known restart, `slept` the spans (monotonic ns) that hold a
    suspend: a decrease there is no wrap, and an increase of a register so low that it may have
    begun again is not known. A reading that disagrees with both its neighbours while they agree
    with one another was torn (half of it from the update before): both its steps are NaN. One pass
    over the data; memory a few times that of the readings. Formula and source: module docstring.

    Raises:
        ValueError: the modulus or the limit is not positive.

    """
    for name, value in (("modulus_j", modulus_j), ("power_limit_w", power_limit_w)):
        if value is not None and not value > 0:
            raise ValueError(f"{name}: expected a positive number; got {value!r}.")
    r = np.asarray(reading_j, dtype=np.float64)
    t = np.asarray(t_ns)
    step = r[..., 1:] - r[..., :-1]
    seconds = np.broadcast_to((t[..., 1:] - t[..., :-1]) / _NS, step.shape)
    reason = np.zeros(step.shape, dtype=np.int8)
    missing = np.isnan(step)
    back = step < 0
    if power_limit_w is None:
        limit = _likely_limit(step, seconds)
    else:
        limit = np.full((*step.shape[:-1], 1), float(power_limit_w))
    most = limit * seconds + 2 * resolution_j
    with np.errstate(invalid="ignore"):
        if modulus_j is None:
            reason[back & (r[..., 1:] <= most)] = RESET
            reason[back & (r[..., 1:] > most)] = BACK
        else:
            step = np.where(back, step + modulus_j, step)
            believed, another = most, most
            if power_limit_w is None:
                believed, another = np.minimum(most, 0.5 * modulus_j), 0.5 * most
            reason[back & (step > believed)] = RESET
            # Both this and one turn more are possible: the register says too little.
            several = np.isfinite(most) & (step + modulus_j <= another)
            reason[(reason == GOOD) & several] = SEVERAL
        if power_limit_w is not None:
            reason[(reason == GOOD) & (step > most)] = IMPLAUSIBLE
        most_believed = (
            np.inf if modulus_j is None or power_limit_w is not None else 0.5 * modulus_j
        )
        torn = _torn(t, r, reason, limit, modulus_j, resolution_j, most_believed)
    reason[..., :-1][torn] = TORN
    reason[..., 1:][torn] = TORN
    for begin, end in slept:
        within = (t[..., 1:] > begin) & (t[..., :-1] < end)
        reason[(back | (r[..., :-1] <= most)) & within] = SUSPENDED
    at = np.asarray(breaks, dtype=np.int64)
    at = at[(at > 0) & (at <= step.shape[-1])]
    reason[..., at - 1] = BREAK
    reason[missing] = MISSING
    return Differences(np.where(reason == GOOD, step, np.nan), reason)


def _torn(
    t: Instants,
    r: Floats,
    reason: npt.NDArray[np.int8],
    limit: Floats,
    modulus_j: float | None,
    resolution_j: float,
    most_j: float,
) -> Flags:
    """Return which inner readings disagree with both neighbours, which agree with one another."""
    odd = (reason == RESET) | (reason == BACK) | (reason == IMPLAUSIBLE)
    past = r[..., 2:] - r[..., :-2]
    most = limit * ((t[..., 2:] - t[..., :-2]) / _NS) + 2 * resolution_j
    if modulus_j is not None:
        past = np.where(past < 0, past + modulus_j, past)
    agree: Flags = (past >= 0) & (past <= np.minimum(most, most_j)) & (odd[..., :-1] | odd[..., 1:])
    return agree


def _likely_limit(step: Floats, seconds: Floats) -> Floats:
    """Return a bound on the power, W, from the forward steps of each trace; infinite without."""
    forward = step >= 0
    if not forward.any():
        return np.full((*step.shape[:-1], 1), np.inf)
    with np.errstate(divide="ignore", invalid="ignore"):
        power = np.where(forward, step / seconds, -np.inf)
    n = power.shape[-1]
    keep = max(1, round(0.01 * n))
    fastest = np.partition(power, n - keep, axis=-1)[..., n - keep : n - keep + 1]
    limit: Floats = np.where(fastest > 0, _SPARE * fastest, np.inf)
    return limit


def increasing(t_ns: Instants) -> tuple[Flags, SeriesFinding | None]:
    """Return which rows have stamps that only go forward, and what was found where not.

    A clock that was set back repeats some time: the rows behind it that repeat are passed over. One
    stamp far ahead of its neighbours would so take all that follow with it; then it is passed over
    itself. Rows with equal stamps count once and are no jump.
    """
    keep = np.ones(t_ns.size, dtype=bool)
    if t_ns.size < 2:
        return keep, None
    forward = t_ns[1:] > t_ns[:-1]
    if forward.all():
        return keep, None
    keep[1:] = t_ns[1:] > np.maximum.accumulate(t_ns)[:-1]
    other = np.ones(t_ns.size, dtype=bool)
    other[:-1] = t_ns[:-1] < np.minimum.accumulate(t_ns[::-1])[::-1][1:]
    if np.count_nonzero(other) > np.count_nonzero(keep):
        keep = other
    back = np.flatnonzero(t_ns[1:] < t_ns[:-1]) + 1
    if not back.size:
        return keep, None
    size = float((t_ns[back - 1] - t_ns[back]).max()) / _NS
    row = int(back[0])
    lost = int(np.count_nonzero(~keep))
    message = (
        f"the stamps jump back {back.size} time{'s' if back.size > 1 else ''}, by {size:.3g} s at "
        f"most, first at row {row}; {lost} rows were passed over"
    )
    return keep, SeriesFinding("time_jump", message, int(back.size), row, int(t_ns[row]))


def zeros_that_are_missing(
    kind: str, value: Floats, *, resolution: float = 0.0, live: bool = False
) -> Flags:
    """Return which zeros of a series stand for readings that are not there.

    A power of exactly zero is missing where the same source otherwise never falls below 5 % of its
    own median, nor below ten counts: hardware that draws that much does not stop drawing. With
    `live` (a meter at the machine's input) a series of zeros only is missing as a whole. A register
    at zero between two readings that follow on each other (the later at least the earlier) was not
    reset, it was not read.
    """
    zero: Flags = value == 0.0
    if not zero.any():
        return zero
    if kind != "counter":
        other = value[~zero & np.isfinite(value)]
        if not other.size:
            return zero if live else np.zeros_like(zero)
        floor = max(0.05 * float(np.median(other)), 10 * resolution)
        certain = float(other.min()) >= floor and other.size >= 3
        return zero if certain else np.zeros_like(zero)
    good = np.isfinite(value) & ~zero
    index = np.arange(value.size)
    before = np.maximum.accumulate(np.where(good, index, -1))
    after = np.minimum.accumulate(np.where(good, index, value.size)[::-1])[::-1]
    inside = zero & (before >= 0) & (after < value.size)
    first, last = value[np.clip(before, 0, None)], value[np.clip(after, None, value.size - 1)]
    missing: Flags = inside & (last >= first)
    return missing


def unit_scale(kind: str, value: Floats) -> tuple[Flags, float, int] | None:
    """Find a change of unit inside a log: rows in the other unit, the factor, the first row.

    Between two neighbours the level changes by 1000 (milli), 3600 (Wh as J) or their multiples,
    within 15 %, while the five readings on both sides are steady to 15 %: no load does that. Ten
    and a hundred could be a load; they count only where the digits of the readings change by the
    same factor. For a register both the reading and its increments must change. The side with fewer
    rows is taken to be the wrong one. `None` where there is no such change.
    """
    good = np.flatnonzero(np.isfinite(value) & (value > 0))
    v = value[good]
    if v.size < 2 * _BESIDE + 1:
        return None
    with np.errstate(over="ignore", divide="ignore"):
        ratio = v[1:] / v[:-1]
        size = np.maximum(ratio, 1 / ratio)
    for i in np.flatnonzero((size > 8.0) & (size < 1e7))[:50]:
        factor = _factor(v, int(i), float(size[i]), kind)
        if factor is None:
            continue
        first = int(good[i + 1])
        wrong = np.zeros(value.size, dtype=bool)
        behind = v.size - (i + 1)
        wrong[first if behind <= v.size / 2 else 0 : None if behind <= v.size / 2 else first] = True
        return wrong, float(factor if ratio[i] > 1 else 1 / factor), first
    return None


def _factor(v: Floats, i: int, size: float, kind: str) -> float | None:
    left, right = v[max(0, i + 1 - _BESIDE) : i + 1], v[i + 1 : i + 1 + _BESIDE]
    if left.size < 3 or right.size < 3:
        return None
    if kind == "counter":
        up, down = np.median(np.diff(right)), np.median(np.diff(left))
        if not (up > 0 and down > 0):
            return None
        grown = max(up / down, down / up)
        near = [f for f in _FACTORS if abs(size / f - 1) < 0.15 and abs(grown / f - 1) < 0.5]
        return near[0] if near else None
    steady = all(float(np.ptp(s)) < 0.15 * float(np.median(s)) for s in (left, right))
    if not steady:
        return None
    near = [f for f in _FACTORS if abs(size / f - 1) < 0.15]
    if near:
        return near[0]
    near = [f for f in _FINE_FACTORS if abs(size / f - 1) < 0.15]
    if near and abs(_grid(v[i + 1 :]) / _grid(v[: i + 1]) / near[0] - 1) < 0.01:
        return near[0] if v[i + 1] > v[i] else None
    if near and abs(_grid(v[: i + 1]) / _grid(v[i + 1 :]) / near[0] - 1) < 0.01:
        return near[0] if v[i + 1] < v[i] else None
    return None


def _grid(v: Floats) -> float:
    """Return the power of ten on which all values lie (their last digit), 1e-9 at the finest."""
    for exponent in range(6, -9, -1):
        q = 10.0**exponent
        if np.all(np.abs(v / q - np.rint(v / q)) < 1e-6):
            return q
    return 1e-9


def stalls(t_ns: Instants, reading_j: Floats) -> tuple[tuple[int, int, bool], ...]:
    """Find where a register stood still: first and last reading, and whether it caught up.

    A stall is twenty times as long as all but 2 % of the register's other updates, and longer than
    ten seconds. It has caught up where the step behind it holds at least half the energy that the
    median rate before would have brought; then only the time course is lost, else the energy.
    """
    changed = np.flatnonzero(np.diff(reading_j) != 0)
    if changed.size < 10:
        return ()
    ends = t_ns[changed + 1]
    between = np.diff(ends) / _NS
    usual = float(np.quantile(between, 0.98, method="lower"))
    long = np.flatnonzero(between > max(20 * usual, 10.0))
    if not long.size or long.size > 0.02 * between.size + 1:
        return ()
    rate = float(np.median(np.diff(reading_j[changed + 1]) / between))
    found = []
    for i in long:
        first, last = int(changed[i] + 1), int(changed[i + 1])
        caught = reading_j[last + 1] - reading_j[last]
        found.append((first, last, bool(caught >= 0.5 * rate * between[i])))
    return tuple(found)


def frozen(t_ns: Instants, value: Floats) -> SeriesFinding | None:
    """Find a power reading that stood still: the same digits over and over, a sensor that died.

    Only for readings with more than three digits' resolution (a coarse one repeats by itself): a
    value that is held twenty times as long as all but 2 % of the others, and ten seconds at least.
    """
    good = np.flatnonzero(np.isfinite(value) & (value != 0))
    t, v = t_ns[good], value[good]
    if v.size < 50 or _grid(v) > 1e-3 * abs(float(np.median(v))):
        return None
    changed = np.flatnonzero(np.diff(v) != 0) + 1
    if changed.size < 20:
        return None
    rim = np.concatenate([[0], changed, [v.size - 1]])
    held = np.diff(t[rim]) / _NS
    usual = float(np.quantile(held, 0.98, method="lower"))
    long = np.flatnonzero(held > max(20 * usual, 10.0))
    if not long.size or long.size > 0.02 * held.size + 1:
        return None
    row = int(good[rim[long[0]]])
    lost_s = float(held[long].sum())
    message = f"the reading stood still for {lost_s:.3g} s, first at row {row}; all digits repeat"
    return SeriesFinding("stalled", message, int(long.size), row, int(t_ns[row]), lost_s)


def clock_findings(clocks: Iterable[Clock]) -> tuple[SeriesFinding, ...]:
    """Say what a run's clock documents tell: suspends, and steps of the wall clock.

    A step is a change of wall against monotonic time by more than 50 ms and 500 ppm (what NTP slews
    at most) between two looks, sleep apart.
    """
    looks = list(clocks)
    found = []
    for begin, _, slept in suspends(looks):
        message = f"the machine slept {slept:.3g} s; a register that went back then did not wrap"
        found.append(SeriesFinding("suspended", message, 1, -1, begin, slept))
    for a, b in pairwise(looks):
        passed = (b.monotonic_ns - a.monotonic_ns) / _NS
        slept = (b.boottime_ns - a.boottime_ns) / _NS - passed
        step = (b.wall_ns - a.wall_ns) / _NS - passed - (slept if slept > 0.5 else 0.0)
        if abs(step) > 0.05 + 5e-4 * passed:
            message = f"the wall clock was set by {step:+.3g} s while recording"
            found.append(SeriesFinding("time_jump", message, 1, -1, a.monotonic_ns))
    return tuple(found)
