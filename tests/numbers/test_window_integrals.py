"""Energies of many windows against exact rational arithmetic, however the record is cut."""

from __future__ import annotations

from fractions import Fraction
from functools import reduce
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calibration.analysis import integrals as module
from calibration.analysis.energy import EnergyCurve, pieces, window_energy
from calibration.analysis.integrals import WindowSums, integrate, window_sums
from calibration.recording.documents import ChannelInfo
from calibration.recording.reader import Series


def exact(t: np.ndarray, p: np.ndarray, edges: np.ndarray, kind: str, k: int) -> Fraction:
    """Return the energy of window k, J, as a rational number: the closed form of the model."""
    begin, end = int(edges[k]), int(edges[k + 1])
    lo = max(int(np.searchsorted(t, begin, side="right")) - 1, 0)
    hi = min(int(np.searchsorted(t, end, side="left")), t.size - 1)
    total = Fraction(0)
    for i in range(lo, hi):
        a, b, x, y = int(t[i]), int(t[i + 1]), Fraction(float(p[i])), Fraction(float(p[i + 1]))
        left, right = max(a, begin), min(b, end)
        if right <= left:
            continue
        if kind == "mean":
            total += y * (right - left)
        else:
            middle = Fraction(left + right, 2) - a
            total += (x + (y - x) * middle / (b - a)) * (right - left)
    return total / 10**9


def record(n: int, step_ns: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    epoch = 1_700_000_000_000_000_000  # unix nanoseconds do not fit into a float
    t = epoch + np.arange(n, dtype=np.int64) * step_ns + rng.integers(0, int(0.8 * step_ns), n)
    return t, np.abs(100 + rng.normal(0, 20, n))


@pytest.mark.parametrize("kind", ["instant", "mean"])
@pytest.mark.parametrize(
    ("step_ns", "window_ns"), [(1_000_000, 1_000_000_000), (50_000, 1_000_000)]
)
def test_every_window_is_right_to_1e_13(kind: str, step_ns: int, window_ns: int) -> None:
    t, p = record(400_000, step_ns, 1)
    edges = np.arange(t[0] - window_ns // 3, t[-1] + window_ns, window_ns)
    energy, observed = integrate(t, p, edges, kind)  # type: ignore[arg-type]
    rng = np.random.default_rng(2)
    for k in (0, energy.size - 1, *rng.integers(0, energy.size, 60)):
        truth = exact(t, p, edges, kind, int(k))
        assert abs(Fraction(float(energy[k])) - truth) <= truth * Fraction(1, 10**14)
    assert observed.sum() == pytest.approx((t[-1] - t[0]) / 1e9, rel=1e-12)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(1, 50), min_size=1, max_size=60),
    st.lists(st.integers(-20, 1500), min_size=2, max_size=20),
    st.sampled_from(["instant", "mean"]),
    st.integers(0, 2**32),
)
def test_any_edges_on_any_samples(steps: list[int], edges: list[int], kind: str, seed: int) -> None:
    """Edges outside, on samples, several in one interval, windows of no length."""
    t = np.concatenate([[0], np.cumsum(steps)]).astype(np.int64)
    p = np.random.default_rng(seed).uniform(1, 300, t.size)
    rim = np.sort(np.array(edges, dtype=np.int64))
    energy, _ = integrate(t, p, rim, kind)  # type: ignore[arg-type]
    for k in range(energy.size):
        truth = float(exact(t, p, rim, kind, k))
        assert energy[k] == pytest.approx(truth, rel=1e-13, abs=1e-22)


@pytest.mark.parametrize("kind", ["instant", "mean"])
def test_blocks_do_not_show(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    t, p = record(5_000, 1_000, 3)
    edges = np.arange(t[0] - 5_000, t[-1] + 9_000, 7_777)
    whole = integrate(t, p, edges, kind)[0]  # type: ignore[arg-type]
    for block in (2, 7, 64, 4_999, 5_000):
        monkeypatch.setattr(module, "_BLOCK", block)
        assert integrate(t, p, edges, kind)[0] == pytest.approx(whole, rel=1e-14)  # type: ignore[arg-type]


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.integers(0, 300), max_size=6),
    st.sampled_from(["instant", "mean"]),
    st.randoms(use_true_random=False),
)
def test_parts_merge_to_the_whole_in_any_grouping(
    cuts: list[int], kind: str, random: object
) -> None:
    t, p = record(300, 1_000, 4)
    edges = np.arange(t[0] - 1_500, t[-1] + 1_500, 9_999)
    whole = window_sums(t, p, edges, kind)  # type: ignore[arg-type]
    rim = [0, *sorted(cuts), 300]
    parts = [
        window_sums(t[a:b], p[a:b], edges, kind)  # type: ignore[arg-type]
        for a, b in pairwise(rim)
    ]
    joined = reduce(WindowSums.merge, parts)
    assert joined.energy_j == pytest.approx(whole.energy_j, rel=1e-13)
    assert joined.observed_s == pytest.approx(whole.observed_s, rel=1e-13)
    while len(parts) > 1:
        i = random.randrange(len(parts) - 1)  # type: ignore[attr-defined]
        parts[i : i + 2] = [parts[i].merge(parts[i + 1])]
    assert parts[0].energy_j == pytest.approx(whole.energy_j, rel=1e-13)


def test_what_does_not_fit_together_is_refused() -> None:
    t, p = np.arange(5, dtype=np.int64), np.ones(5)
    edges = np.array([0, 4], dtype=np.int64)
    with pytest.raises(ValueError, match="as many stamps"):
        integrate(t, p[:-1], edges)
    with pytest.raises(ValueError, match="do not go back"):
        integrate(t, p, edges[::-1])
    with pytest.raises(ValueError, match="instant or mean"):
        integrate(t, p, edges, "counter")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="overlap"):
        window_sums(t, p, edges).merge(window_sums(t, p, edges))
    with pytest.raises(ValueError, match="differ"):
        window_sums(t, p, edges).merge(window_sums(t, p, edges, "mean"))
    assert integrate(t[:1], p[:1], edges)[0].tolist() == [0.0]


@settings(max_examples=80, deadline=None)
@given(
    st.sampled_from(["counter", "instant", "mean"]),
    st.lists(st.integers(-3_000, 40_000), min_size=2, max_size=12),
    st.integers(0, 2**32),
    st.booleans(),
)
def test_a_series_gives_the_same_energies_whichever_way_it_is_summed(
    kind: str, edges_ms: list[int], seed: int, touching: bool
) -> None:
    rng = np.random.default_rng(seed)
    t = np.cumsum(rng.integers(1, 1500, 40)).astype(np.int64) * 1_000_000
    value = rng.uniform(50, 90, 40)
    source = Series(
        stream="s",
        channel=ChannelInfo(
            name="x",
            quantity="active_power",
            unit="J" if kind == "counter" else "W",
            kind=kind,  # type: ignore[arg-type]
            window_s=0.7,
        ),
        t_ns=t,
        t_half_width_ns=np.zeros_like(t),
        value=np.cumsum(value) if kind == "counter" else value,
        window_ns=None,
        cadence_s=0.7,
        max_gap_s=[None, 1.2][seed % 2],
        source="test",
        mode=None,
        boundary=None,
        role="estimator",
        faults={},
    )
    rim = np.sort(np.array(edges_ms, dtype=np.int64)) * 1_000_000
    start, end = (rim[:-1], rim[1:]) if touching else (rim[:-1:2], rim[1::2])
    energy, observed = window_energy(source, start, end)
    curve = EnergyCurve(pieces(source)).between(start, end)
    assert energy == pytest.approx(curve[0], rel=1e-11, abs=1e-9)
    assert observed == pytest.approx(curve[1], rel=1e-11, abs=1e-11)
