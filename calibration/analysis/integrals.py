"""Energies of many windows from many samples: to the last digits, at the speed of reading them.

Samples (t_i, p_i) state a power that is linear between them (`instant`), or constant over the
stretch that ends at each stamp (`mean`). With dt_i = t_i+1 - t_i the energy between two samples is

    instant:  ∫ = ½ [Σ p_i (dt_i-1 + dt_i) - p_a dt_a-1 + p_b dt_b-1],  i = a ... b-1
    mean:     ∫ = Σ p_i+1 dt_i,                                         i = a ... b-1

(the trapezoidal rule summed by parts, so that each sample is touched once), and the parts of the
two intervals that hold a window's edges are added in closed form. One running sum over the whole
record would lose digits (ten million terms cost 1e-10 of a window); here sums never leave their
window, and the record is read in blocks that stay in the cache. Differences of stamps are taken as
integers, so they are exact. Relative error for positive power: a few 1e-16, at most 1e-14.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

__all__ = ["WindowSums", "integrate", "window_sums"]

Floats = npt.NDArray[np.float64]
Instants = npt.NDArray[np.int64]
Kind = Literal["instant", "mean"]
_NS = 1e9
_BLOCK = 1 << 16  # samples; fewer cost more calls, more leave the cache
_CHUNK = 1 << 13  # windows
_FEW = 256  # edges in a block, below which a search is as fast as a guess


def integrate(
    t_ns: Instants, power_w: Floats, edges_ns: Instants, kind: Kind = "instant"
) -> tuple[Floats, Floats]:
    """Return energy (J) and observed time (s) of the windows between neighbouring edges.

    `t_ns` (int64[n], strictly increasing) and `power_w` (float64[n], finite) are the samples;
    `edges_ns` (int64[m+1], not decreasing) bounds m windows. Before the first and behind the last
    sample nothing is observed. Gaps are not looked for: `window_energy` does that for a series. One
    pass, no copy of the samples. Formula and errors: module docstring; the rule is the closed form
    of the model, not an approximation of it.

    Raises:
        ValueError: the lengths differ, or the edges go back.

    """
    t, p = np.asarray(t_ns, dtype=np.int64), np.asarray(power_w, dtype=np.float64)
    edges = np.asarray(edges_ns, dtype=np.int64)
    if t.shape != p.shape or t.ndim != 1:
        raise ValueError(f"expected as many stamps as powers; got {t.shape} and {p.shape}.")
    if edges.ndim != 1 or edges.size < 1 or np.any(edges[1:] < edges[:-1]):
        raise ValueError("edges_ns: expected one row of edges that do not go back.")
    if kind not in ("instant", "mean"):
        raise ValueError(f"kind: expected instant or mean; got {kind!r}.")
    if t.size < 2:
        return np.zeros(edges.size - 1), np.zeros(edges.size - 1)
    if edges[0] < t[0] or edges[-1] > t[-1]:
        edges = np.clip(edges, t[0], t[-1])
    energy, j = _sums(t, p, edges, kind)
    observed = np.empty_like(energy)
    for lo in range(0, energy.size, _CHUNK):  # arrays that stay in the cache
        part, rim = slice(lo, lo + _CHUNK), slice(lo, lo + _CHUNK + 1)
        lead, at = _edge(t, p, edges[rim], j[rim], kind)
        value = energy[part]
        value += lead[1:] - lead[:-1]
        if kind == "instant":
            value *= 0.5
        samples = np.diff(j[rim])
        least = 2 if kind == "instant" else 0
        if int(samples.min()) <= least:
            few = np.flatnonzero(samples <= least)
            value[few] = _short(t, p, edges[rim], j[rim], at, few)
        value /= _NS
        np.divide(np.diff(edges[rim]), _NS, out=observed[part])
    return energy, observed


def _short(
    t: Instants,
    p: Floats,
    edges: Instants,
    j: npt.NDArray[np.intp],
    at: Floats,
    window: npt.NDArray[np.intp],
) -> Floats:
    """Return the energy, W·ns, of windows of two samples at most, without any cancellation.

    `at` is the power at each edge (of its interval, for means).
    """
    a, b = j[window] + 1, j[window + 1]
    begin, end = edges[window], edges[window + 1]
    first = (at[window] + p[a]) * (t[a] - begin)
    whole = np.where(b > a, (p[a] + p[b]) * (t[b] - t[a]), 0.0)
    last = (p[b] + at[window + 1]) * (end - t[b])
    inside = (at[window] + at[window + 1]) * (end - begin)
    total: Floats = 0.5 * np.where(b < a, inside, first + whole + last)
    return total


def _sums(
    t: Instants, p: Floats, edges: Instants, kind: Kind
) -> tuple[Floats, npt.NDArray[np.intp]]:
    """Return the sum of terms between neighbouring edges, and the interval that holds each edge."""
    n = t.size - 1
    sums = np.zeros(edges.size - 1)
    j = np.empty(edges.size, dtype=np.intp)
    steps, terms = np.empty(_BLOCK, dtype=np.int64), np.empty(_BLOCK)
    bounds = np.append(np.arange(0, n, _BLOCK), n)
    of_block = np.searchsorted(edges, t[bounds])
    of_block[-1] = edges.size  # an edge on the last sample belongs to the last interval
    for i in range(bounds.size - 1):
        lo, hi = int(bounds[i]), int(bounds[i + 1])
        step, w = steps[: hi - lo], terms[: hi - lo]
        if kind == "mean":
            np.subtract(t[lo + 1 : hi + 1], t[lo:hi], out=step)
            np.multiply(p[lo + 1 : hi + 1], step, out=w)
        else:
            head = int(lo == 0)  # the first sample has no interval before it
            np.subtract(t[lo + 1 + head : hi + 1], t[lo + head - 1 : hi - 1], out=step[head:])
            if head:
                step[0] = t[1] - t[0]
            np.multiply(p[lo:hi], step, out=w)
        first, last = int(of_block[i]), int(of_block[i + 1])
        if first == last:
            if 0 < first < edges.size:
                sums[first - 1] += w.sum()
            continue
        rim = slice(first, last)
        local = _locate(t[lo : hi + 1], edges[rim])
        np.add(local, lo, out=j[rim])
        if first > 0 and local[0] > 0:
            sums[first - 1] += w[: local[0]].sum()
        piece = np.add.reduceat(w, local)
        piece[:-1][local[1:] == local[:-1]] = 0.0  # reduceat gives one term for an empty stretch
        if last == edges.size:
            piece = piece[:-1]  # behind the last edge
        sums[first : first + piece.size] += piece
    return sums, j


def _locate(t: Instants, edges: Instants) -> npt.NDArray[np.intp]:
    """Return the interval of `t` that holds each edge; all lie within.

    Nearly even samples are found where a straight line puts them, give or take one; else by search.
    """
    last = t.size - 2
    if edges.size < _FEW:
        return _search(t, edges)
    guess = ((edges - t[0]) * ((last + 1) / (t[-1] - t[0]))).astype(np.intp)
    np.minimum(guess, last, out=guess)
    guess -= (t[guess] > edges) & (guess > 0)
    guess += (t[guess + 1] <= edges) & (guess < last)
    if np.all((t[guess] <= edges) & ((edges < t[guess + 1]) | (guess == last))):
        return np.asarray(guess)
    return _search(t, edges)


def _search(t: Instants, edges: Instants) -> npt.NDArray[np.intp]:
    found: npt.NDArray[np.intp] = np.searchsorted(t, edges, side="right") - 1
    return np.minimum(found, t.size - 2, out=found)


def _edge(
    t: Instants, p: Floats, edges: Instants, j: npt.NDArray[np.intp], kind: Kind
) -> tuple[Floats, Floats]:
    """Return what the sum of terms lacks up to each edge, W·ns (twice for instants), and power."""
    t_0 = t[j]
    into = edges - t_0
    if kind == "mean":
        power = p[j + 1]
        return power * into, power
    p_0 = p[j]
    at = p_0 + (p[j + 1] - p_0) * (into / (t[j + 1] - t_0))
    before = t_0 - t[np.maximum(j - 1, 0)]
    return (p_0 + at) * into + p_0 * before, at


@dataclass(frozen=True, slots=True, eq=False)
class WindowSums:
    """What a part of a record contributes to given windows: constant memory, and it can be merged.

    `energy_j` and `observed_s` belong to the windows between neighbouring `edges_ns`; `first` and
    `last` are the outermost samples (t_ns, power_w), between which and a neighbouring part's the
    joining interval lies (none for an empty part).
    """

    edges_ns: Instants
    energy_j: Floats
    observed_s: Floats
    kind: Kind
    first: tuple[int, float] | None
    last: tuple[int, float] | None

    def merge(self, other: WindowSums) -> WindowSums:
        """Return the sums of both parts and of the interval between them.

        The parts may come in any order and be merged in any grouping of neighbours; they must not
        overlap in time.

        Raises:
            ValueError: the windows or the kinds differ, or the parts overlap.

        """
        if self.kind != other.kind or not np.array_equal(self.edges_ns, other.edges_ns):
            raise ValueError("expected parts with the same windows and kind; they differ.")
        if self.first is None or self.last is None:
            return other
        if other.first is None or other.last is None:
            return self
        a, b = (self, other) if self.first[0] <= other.first[0] else (other, self)
        if a.last is None or b.first is None or a.last[0] >= b.first[0]:
            raise ValueError("expected parts that follow on each other; they overlap in time.")
        stamps = np.array([a.last[0], b.first[0]], dtype=np.int64)
        energy, observed = integrate(
            stamps, np.array([a.last[1], b.first[1]]), self.edges_ns, self.kind
        )
        return WindowSums(
            self.edges_ns,
            a.energy_j + energy + b.energy_j,
            a.observed_s + observed + b.observed_s,
            self.kind,
            a.first,
            b.last,
        )


def window_sums(
    t_ns: Instants, power_w: Floats, edges_ns: Instants, kind: Kind = "instant"
) -> WindowSums:
    """Return what one part of a record contributes to the windows; see `integrate` for arguments.

    `functools.reduce(WindowSums.merge, map(...))` over the parts of a record equals `integrate` of
    the whole to rounding, however it was cut.
    """
    energy, observed = integrate(t_ns, power_w, edges_ns, kind)
    ends = [(int(t_ns[i]), float(power_w[i])) for i in (0, -1)] if len(t_ns) else [None, None]
    return WindowSums(np.asarray(edges_ns), energy, observed, kind, ends[0], ends[1])
