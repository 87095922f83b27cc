"""Window energies against closed forms, and the lag against a known shift."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calibration.analysis import estimate_lag, pieces, total_energy, window_energy
from calibration.analysis.steady import steady_stretches
from calibration.recording.documents import ChannelInfo
from calibration.recording.reader import Series

S = 1_000_000_000


def series(
    kind: str,
    t_s: np.ndarray,
    value: np.ndarray,
    *,
    window_s: float | None = None,
    stamp_at: str = "end",
    wrap: float | None = None,
    max_gap_s: float | None = None,
    window_ns: np.ndarray | None = None,
) -> Series:
    n = len(t_s)
    return Series(
        stream="s",
        channel=ChannelInfo(
            name="power_w",
            quantity="active_power",
            unit="J" if kind == "counter" else "W",
            kind=kind,  # type: ignore[arg-type]
            window_s=window_s,
            stamp_at=stamp_at,  # type: ignore[arg-type]
            wrap=wrap,
        ),
        t_ns=np.rint(np.asarray(t_s) * S).astype(np.int64),
        t_half_width_ns=np.zeros(n, dtype=np.int64),
        value=np.asarray(value, dtype=float),
        window_ns=window_ns,
        cadence_s=None,
        max_gap_s=max_gap_s,
        source="test",
        mode=None,
        boundary=None,
        role="meter",
        faults={},
    )


def at(*seconds: float) -> np.ndarray:
    return np.rint(np.array(seconds) * S).astype(np.int64)


def test_a_counter_is_linear_between_readings() -> None:
    counter = series("counter", np.array([0.0, 1.0, 4.0]), np.array([5.0, 15.0, 21.0]))
    energy, observed = window_energy(counter, at(0.25, 0.5, -1.0), at(0.75, 2.5, 9.0))
    assert energy == pytest.approx([5.0, 5.0 + 3.0, 16.0])
    assert observed == pytest.approx([0.5, 2.0, 4.0])


def test_a_failed_counter_reading_loses_no_energy() -> None:
    counter = series("counter", np.array([0.0, 1.0, 2.0]), np.array([0.0, np.nan, 30.0]))
    assert total_energy(counter) == pytest.approx((30.0, 2.0, 2.0))


def test_a_wrap_is_undone_and_a_reset_is_left_out() -> None:
    wrapped = series("counter", np.array([0.0, 1.0, 2.0]), np.array([250.0, 5.0, 15.0]), wrap=262.0)
    assert total_energy(wrapped)[0] == pytest.approx(27.0)
    reset = series("counter", np.array([0.0, 1.0, 2.0]), np.array([100.0, 90.0, 95.0]), wrap=262.0)
    cut = pieces(reset)
    assert cut.undecided == 1
    assert cut.energy_j.sum() == pytest.approx(5.0)
    assert np.all(cut.energy_j >= 0)
    unknown = series("counter", np.array([0.0, 1.0]), np.array([250.0, 5.0]))
    assert pieces(unknown).undecided == 1


@pytest.mark.parametrize(("stamp_at", "begin"), [("start", 0.0), ("middle", -0.5), ("end", -1.0)])
def test_a_mean_lies_over_its_own_window(stamp_at: str, begin: float) -> None:
    mean = series("mean", np.array([0.0]), np.array([40.0]), window_s=1.0, stamp_at=stamp_at)
    energy, observed = window_energy(mean, at(begin, begin - 1), at(begin + 0.25, begin))
    assert energy == pytest.approx([10.0, 0.0])
    assert observed == pytest.approx([0.25, 0.0])


def test_gaps_between_windows_are_unobserved_and_overlaps_count_once() -> None:
    mean = series("mean", np.array([1.0, 3.0]), np.array([10.0, 20.0]), window_s=1.0)
    assert total_energy(mean) == pytest.approx((30.0, 2.0, 3.0))
    overlap = series("mean", np.array([1.0, 1.6]), np.array([10.0, 20.0]), window_s=1.0)
    assert total_energy(overlap) == pytest.approx((10.0 + 0.6 * 20.0, 1.6, 1.6))


def test_a_row_whose_window_is_unknown_has_no_energy() -> None:
    mean = series(
        "mean",
        np.array([0.0, 1.0]),
        np.array([99.0, 10.0]),
        window_ns=np.array([0, S], dtype=np.int64),
    )
    assert total_energy(mean) == pytest.approx((10.0, 1.0, 1.0))


def test_samples_are_joined_by_lines_up_to_the_largest_gap() -> None:
    ramp = series("instant", np.array([0.0, 2.0, 9.0]), np.array([0.0, 4.0, 4.0]), max_gap_s=3.0)
    energy, observed = window_energy(ramp, at(0.5, 2.0), at(1.5, 9.0))
    assert energy == pytest.approx([(1.0 + 3.0) / 2, 0.0])
    assert observed == pytest.approx([1.0, 0.0])


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(1, 5_000), min_size=2, max_size=40),
    st.lists(st.floats(0, 500, allow_nan=False), min_size=41, max_size=41),
    st.sampled_from(["counter", "instant", "mean"]),
    st.lists(st.floats(0, 1), min_size=1, max_size=8),
)
def test_any_split_of_time_adds_up(
    steps_ms: list[int], power: list[float], kind: str, cuts: list[float]
) -> None:
    t = np.concatenate([[0.0], np.cumsum(steps_ms) / 1000.0])
    value = np.array(power[: t.size])
    if kind == "counter":
        value = np.cumsum(value)
    source = series(kind, t, value, window_s=0.5, max_gap_s=2.0)
    edges = np.concatenate([[-1.0], np.sort(cuts) * t[-1], [t[-1] + 1.0]])
    energy, observed = window_energy(source, at(*edges[:-1]), at(*edges[1:]))
    whole = total_energy(source)
    assert energy.sum() == pytest.approx(whole[0], rel=1e-9, abs=1e-6)
    assert observed.sum() == pytest.approx(whole[1], rel=1e-9, abs=1e-6)
    assert np.all(energy >= -1e-9)


def staircase(seed: int, lag_s: float, *, window_s: float = 1.0) -> tuple[Series, Series]:
    """A 1 Hz meter and a counter read at 20 Hz that shows the same steps `lag_s` later."""
    rng = np.random.default_rng(seed)
    edges = np.cumsum(rng.uniform(8, 15, 24))
    power = rng.uniform(20, 90, edges.size + 1)
    fine = np.arange(-5.0, edges[-1] + 5.0, 0.002)
    truth = power[np.searchsorted(edges, fine)]
    energy = np.concatenate([[0.0], np.cumsum(truth[:-1]) * 0.002])
    t = np.arange(0.0, edges[-1], window_s) + 0.3137
    mean = (np.interp(t, fine, energy) - np.interp(t - window_s, fine, energy)) / window_s
    meter = series("mean", t, 12 + 1.2 * mean + rng.normal(0, 0.3, t.size), window_s=window_s)
    own = np.arange(-4.0, edges[-1] + 4.0, 0.05)
    return meter, series("counter", own + lag_s, np.interp(own, fine, energy))


def test_the_lag_is_found_within_its_uncertainty() -> None:
    pulls = []
    for seed, true in enumerate([-2.2, -0.4, 0.0, 0.013, 0.7, 3.1] * 4):
        meter, tool = staircase(seed, true)
        lag = estimate_lag(pieces(meter), pieces(tool))
        assert lag.resolved, lag.reason
        assert abs(lag.offset_s - true) < 0.05
        pulls.append((lag.offset_s - true) / lag.u_s)
    # 24 pulls: their RMS lies in 0.6 to 1.4 with probability over 0.99; the counter's own 50 ms
    # between readings smooths edges, which widens it a little.
    assert 0.6 < math.sqrt(np.mean(np.square(pulls))) < 2.0


def test_a_counter_that_began_again_is_broken_even_where_it_did_not_go_back() -> None:
    source = series("counter", np.array([0.0, 1.0, 2.0, 3.0]), np.array([1.0, np.nan, 4.0, 6.0]))
    broken = dataclasses.replace(source, faults={1: "reset: the package counter went back"})
    assert pieces(source).energy_j.sum() == pytest.approx(5.0)
    cut = pieces(broken)
    assert cut.undecided == 1
    assert cut.energy_j.sum() == pytest.approx(2.0)


def test_noise_has_no_lag() -> None:
    rng = np.random.default_rng(3)
    found = 0
    for _ in range(100):
        t = np.arange(0.0, 12.0)
        meter = series("mean", t, 50 + rng.normal(0, 0.2, t.size), window_s=1.0)
        own = np.arange(-6.0, 18.0, 0.1)
        tool = series("counter", own, np.cumsum(rng.normal(4.0, 0.3, own.size)))
        found += estimate_lag(pieces(meter), pieces(tool)).resolved
    assert found <= 3


def test_a_constant_load_has_no_lag_and_a_periodic_one_has_several() -> None:
    t = np.arange(0.0, 120.0)
    flat = series("mean", t, np.full(t.size, 50.0), window_s=1.0)
    counter = series("counter", np.arange(-5, 125, 0.1), 40.0 * np.arange(-5, 125, 0.1))
    lag = estimate_lag(pieces(flat), pieces(counter))
    assert not lag.resolved
    assert "hardly changes" in lag.reason
    fine = np.arange(-10.0, 130.0, 0.01)
    square = np.where((fine % 4.0) < 2.0, 30.0, 80.0)
    energy = np.concatenate([[0.0], np.cumsum(square[:-1]) * 0.01])
    mean = np.interp(t, fine, energy) - np.interp(t - 1.0, fine, energy)
    periodic = series("mean", t, mean, window_s=1.0)
    lag = estimate_lag(pieces(periodic), pieces(series("counter", fine, energy)), most_s=6.0)
    assert not lag.resolved
    assert "equally well" in lag.reason


def test_steady_stretches_leave_out_edges_and_forgive_one_outlier() -> None:
    power = np.concatenate([np.full(30, 40.0), np.full(4, 70.0), np.full(30, 90.0)])
    power[10] = 55.0
    t = np.arange(1.0, power.size + 1.0)
    first, second = steady_stretches(pieces(series("mean", t, power, window_s=1.0)), 0.1)
    assert (first[0], first[-1]) == (0, 29)
    assert (second[0], second[-1]) == (36, 63)
    ramp = series("mean", t, np.linspace(10, 200, t.size), window_s=1.0)
    assert steady_stretches(pieces(ramp), 0.1) == ()
