"""The stated 95 % intervals hold the truth as often as they say (the long form: make coverage)."""

from __future__ import annotations

import math

import numpy as np
import pytest

from calibration.analysis.correlated import Dependence, mean_variance, steady_means
from calibration.analysis.coverage import QUANTITIES, SCENARIOS, Scenario, calibrate, covered

FAST = {
    "AR(1) 0",
    "AR(1) 0.9",
    "AR(1) 0.97",
    "tool noise 3 W, 0.5",
    "6 sessions, 5 W, 0.5",
    "step 1 σ, 0",
}
ROWS = [s for s in SCENARIOS if s.name in FAST]


@pytest.mark.parametrize("scenario", ROWS, ids=[s.name for s in ROWS])
def test_intervals_hold_the_truth_as_often_as_they_say(scenario: Scenario) -> None:
    n = 250
    share = covered(scenario, 11, n) / n
    # Four binomial standard errors about the limits of the row: 30 shares, one in 500 runs.
    slack = 4 * math.sqrt(0.95 * 0.05 / n)
    for name, value in zip(QUANTITIES, share, strict=True):
        low, high = scenario.low_pct / 100 - slack, scenario.high_pct / 100 + slack
        assert low <= value <= high, (name, value)


def test_a_calibration_repeats_to_the_bit_and_shares_of_the_work_add_up() -> None:
    row = SCENARIOS[2]
    first, _ = calibrate(row, np.random.default_rng((3, 0)))
    again, _ = calibrate(row, np.random.default_rng((3, 0)))
    assert first.to_json() == again.to_json()
    whole = covered(row, 5, 12)
    assert np.array_equal(whole, covered(row, 5, 5) + covered(row, 5, 7, first=5))


@pytest.mark.parametrize("rho", [0.0, 0.5, 0.9, 0.97])
def test_the_variance_of_a_mean_is_the_sum_of_its_covariances(rho: float) -> None:
    n = 37
    lag = np.abs(np.subtract.outer(np.arange(n), np.arange(n)))
    assert mean_variance(n, rho) == pytest.approx(np.mean(rho**lag), rel=1e-12)


@pytest.mark.parametrize("rho", [0.0, 0.5, 0.9])
@pytest.mark.parametrize("step_w", [0.0, 1.0])
def test_the_stated_u_of_steady_means_is_their_scatter(rho: float, step_w: float) -> None:
    from scipy.signal import lfilter

    rng = np.random.default_rng(4)
    errors, stated, times = [], [], []
    for _ in range(150):
        white = rng.standard_normal((24, 400)) * math.sqrt(1 - rho**2)
        level = rng.uniform(50, 150, 24)
        readings = level[:, None] + lfilter([1.0], [1.0, -rho], white)[:, -50:]
        if step_w:
            readings = np.rint(readings / step_w) * step_w
        found = steady_means(tuple(readings), resolution_w=step_w)
        errors.append(np.mean((found.power_w - level) ** 2))
        stated.append(np.mean(found.u_w**2))
        times.append(found.correlation_time_s)
    assert np.mean(stated) == pytest.approx(np.mean(errors), rel=0.12)
    assert np.median(times) == pytest.approx((1 + rho) / (1 - rho), rel=0.1)


def test_a_still_reading_keeps_its_step_and_a_noisy_one_loses_it() -> None:
    still = steady_means((np.full(20, 50.0), np.full(20, 60.0)), resolution_w=1.0)
    assert still.quantisation_w == pytest.approx(1 / math.sqrt(12), rel=1e-3)
    assert np.all(still.u_w >= 0.999 / math.sqrt(12))
    rng = np.random.default_rng(1)
    noisy = steady_means(tuple(np.rint(50 + rng.normal(0, 1, (20, 50)))), resolution_w=1.0)
    assert noisy.quantisation_w < 1e-6
    assert np.median(noisy.u_w) < 0.2


def test_segments_of_unequal_length_and_single_readings_are_taken() -> None:
    rng = np.random.default_rng(2)
    found = steady_means([50 + rng.normal(0, 1, n) for n in (30, 60, 7, 45, 1)])
    assert np.all(np.isfinite(found.u_w))
    assert np.all(found.u_w > 0)
    assert found.u_w[1] < found.u_w[2] < found.u_w[4]


def test_neighbours_share_slow_noise_as_simulated_means_do() -> None:
    from scipy.signal import lfilter

    rho, rng = 0.98, np.random.default_rng(8)
    white = rng.standard_normal((4000, 700)) * math.sqrt(1 - rho**2)
    noise = lfilter([1.0], [1.0, -rho], white)[:, -180:].reshape(4000, 3, 60)[:, :, 10:]
    found = np.corrcoef(noise.mean(axis=2).T)
    shared = Dependence(
        np.array([0.0, 60.0, 120.0]), np.full(3, 50.0), ("a",) * 3, None, np.zeros(3), 0.0
    )
    assert shared.in_time((1 + rho) / (1 - rho)) == pytest.approx(found, abs=0.05)
