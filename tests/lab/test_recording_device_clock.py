"""A streaming instrument's clock is found below the arrivals, whatever the delays do."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calibration.recording.device_clock import device_instants

NOMINAL_HZ = 2_934_500.0


def stream(
    seconds: float, *, ppm: float, seed: int, delay_s: float = 0.003, wander_ppm: float = 0.0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return ticks, arrivals (ns) and true instants (ns): a block each 0.1 s, 20 samples each."""
    rng = np.random.default_rng(seed)
    blocks = int(seconds * 10)
    ticks = 77_000 + np.arange(blocks * 20, dtype=np.int64) * round(NOMINAL_HZ / 200)
    nominal_s = (ticks - ticks[0]) / NOMINAL_HZ
    slow = wander_ppm * 1e-6 * 600 / (2 * np.pi) * np.sin(2 * np.pi * nominal_s / 600)
    truth_s = 1e5 + nominal_s * (1 + ppm * 1e-6) + slow
    last = truth_s.reshape(-1, 20)[:, -1]
    arrival_s = np.maximum.accumulate(last + 1e-4 + rng.exponential(delay_s, blocks))
    arrival = np.repeat(np.rint(arrival_s * 1e9).astype(np.int64), 20)
    return ticks, arrival, np.rint(truth_s * 1e9)


def none(ticks: np.ndarray) -> np.ndarray:
    return np.zeros(ticks.size, dtype=bool)


@settings(max_examples=40, deadline=None)
@given(
    seconds=st.floats(5, 250),
    ppm=st.floats(-300, 300),
    seed=st.integers(0, 2**31),
)
def test_rate_and_zero_come_out_of_noisy_arrivals(seconds: float, ppm: float, seed: int) -> None:
    ticks, arrival, truth = stream(seconds, ppm=ppm, seed=seed)
    late = device_instants(ticks, arrival, NOMINAL_HZ, none(ticks)) - truth
    assert late.min() > -2e6
    assert late.max() < 3e6  # delays of 3 ms on average, the worst of them 20 ms and more
    assert np.all(np.diff(late + truth) > 0)


def test_a_rate_that_is_two_percent_off_is_found() -> None:
    """The maker's example says 3 MHz where the instrument counts 2.9345."""
    ticks, arrival, truth = stream(30, ppm=0, seed=3)
    found = device_instants(ticks, arrival, 3e6, none(ticks))
    assert np.abs(found - truth).max() < 2e6


def test_a_clock_that_wanders_for_an_hour_is_followed() -> None:
    ticks, arrival, truth = stream(3600, ppm=50, seed=4, wander_ppm=20)
    late = device_instants(ticks, arrival, NOMINAL_HZ, none(ticks)) - truth
    assert np.abs(late).max() < 6e6
    straight = 1e9 * (ticks - ticks[0]) / NOMINAL_HZ + truth[0]
    assert np.abs(straight - truth).max() > 1e8  # what the nominal rate would make of it


def test_lost_counts_after_a_fault_do_not_move_what_lies_before() -> None:
    ticks, arrival, truth = stream(60, ppm=30, seed=5)
    middle = 20 * 300
    ticks[middle:] -= 65_536 * 9  # 0.2 s that the counter does not know of
    lost = none(ticks)
    lost[middle] = True
    late = device_instants(ticks, arrival, NOMINAL_HZ, lost) - truth
    assert np.abs(late).max() < 3e6


def test_one_block_is_placed_by_its_arrival() -> None:
    ticks = np.arange(10, dtype=np.int64) * 2_934_500
    arrival = np.full(10, 20_000_000_000, dtype=np.int64)
    found = device_instants(ticks, arrival, NOMINAL_HZ, none(ticks))
    assert found.tolist() == [11_000_000_000 + i * 10**9 for i in range(10)]


def test_instants_that_come_from_the_ticks_stay_as_they_are() -> None:
    ticks = np.cumsum(np.random.default_rng(1).integers(550, 1000, 50_000)).astype(np.int64)
    arrival = 1_700_000_000_000_000_000 + np.rint(ticks * (1e9 / NOMINAL_HZ)).astype(np.int64)
    found = device_instants(ticks, arrival, NOMINAL_HZ, none(ticks))
    assert np.abs(found - arrival).max() <= 2


def test_nothing_is_nothing() -> None:
    empty = np.zeros(0, dtype=np.int64)
    assert device_instants(empty, empty, NOMINAL_HZ, np.zeros(0, dtype=bool)).size == 0


@pytest.mark.parametrize("blocks", [2, 7])
def test_too_few_blocks_keep_the_nominal_rate(blocks: int) -> None:
    ticks = np.arange(blocks, dtype=np.int64) * 2_934_500
    arrival = np.arange(blocks, dtype=np.int64) * 1_500_000_000
    found = device_instants(ticks, arrival, NOMINAL_HZ, none(ticks))
    assert np.diff(found).tolist() == [10**9] * (blocks - 1)
