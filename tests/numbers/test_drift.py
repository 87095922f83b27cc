"""CUSUM run lengths against published tables and simulation; what is found, and how soon."""

from __future__ import annotations

import math

import numpy as np
import pytest

from calibration.analysis.drift import (
    MONTH_S,
    block_means,
    control_chart,
    cusum,
    design_alarm,
    gain_residuals,
    offset_residuals,
    run_length,
    threshold_for,
)
from calibration.analysis.points import InputColumn, Points, Reference
from calibration.analysis.results import Term
from calibration.analysis.rezero import Rezero, rezero
from calibration.errors import InputError

LINE = (
    Term("b0", "const", 40.0, "W", None, 1, None),
    Term("b1", "input", 1.25, "1", "rapl_package", 1, None),
)
IDLE_W = 50.0  # 40 W + 1.25 x 8 W


# D. C. Montgomery, Introduction to Statistical Quality Control, table 9.3 (k = 1/2; two-sided).
@pytest.mark.parametrize(
    ("shift", "h4", "h5"),
    [(0, 168, 465), (0.25, 74.2, 139), (0.5, 26.6, 38.0), (0.75, 13.3, 17.0), (1, 8.38, 10.4),
     (1.5, 4.75, 5.75), (2, 3.34, 4.01), (2.5, 2.62, 3.11), (3, 2.19, 2.57), (4, 1.71, 2.01)],
)  # fmt: skip
def test_run_lengths_of_the_table(shift: float, h4: float, h5: float) -> None:
    assert run_length(shift, 0.5, 4) == pytest.approx(h4, rel=4e-3)
    assert run_length(shift, 0.5, 5) == pytest.approx(h5, rel=4e-3)


@pytest.mark.parametrize("k", [0.25, 0.5, 1.0, 2.0])
def test_the_threshold_is_the_inverse_of_the_run_length(k: float) -> None:
    for length in (50.0, 5e5):
        assert run_length(0, k, threshold_for(length, k)) == pytest.approx(length, rel=1e-4)
    # Siegmund's closed form with its overshoot of 1.166 (Sequential Analysis, 1985) says the same.
    b = threshold_for(5e4, k) + 1.166
    closed = 0.5 * (math.exp(2 * k * b) - 2 * k * b - 1) / (2 * k**2)
    if k <= 0.5:
        assert closed == pytest.approx(5e4, rel=0.05)


def test_the_sums_are_those_of_the_recursion() -> None:
    z = np.random.default_rng(0).normal(0.3, 1, 400)
    found = cusum(z, 0.5, 6.0)
    up = down = 0.0
    for i, value in enumerate(z):
        up, down = max(0.0, up + value - 0.5), max(0.0, down - value - 0.5)
        assert found.upper[i] == pytest.approx(up, abs=1e-9)
        assert found.lower[i] == pytest.approx(down, abs=1e-9)
    first = np.flatnonzero(np.maximum(found.upper, found.lower) > 6.0)
    assert found.alarm == first[0]


def test_simulated_run_lengths_are_those_of_the_equation() -> None:
    rng = np.random.default_rng(1)
    for shift, k, h in ((0.0, 0.5, 3.0), (1.0, 0.5, 4.0), (0.0, 1.0, 1.5)):
        lengths = []
        for _ in range(1500):
            found = cusum(rng.normal(shift, 1, 1500), k, h).alarm
            assert found is not None
            lengths.append(found + 1)
        # The run length is nearly geometric: its mean over 1500 is known to 2.6 % or better.
        assert np.mean(lengths) == pytest.approx(run_length(shift, k, h), rel=0.08)


def ar1(rng: np.random.Generator, n: int, rho: float, sigma: float) -> np.ndarray:
    from scipy.signal import lfilter

    noise = rng.normal(0, sigma * math.sqrt(1 - rho**2), n + 200)
    return np.asarray(lfilter([1.0], [1.0, -rho], noise)[200:])


def windows(y: np.ndarray, x: np.ndarray | float = 8.0, workload: str = "idle") -> Points:
    n = y.size
    return Points(
        session=("s",) * n,
        workload=(workload,) * n,
        segment=("step-0000",) * n,
        duration_s=np.ones(n),
        reference_w=y,
        reference_u_w=np.full(n, 0.05),
        level=np.zeros(n),
        start_unix_s=np.arange(n, dtype=float),
        inputs={"rapl_package": InputColumn(value=np.broadcast_to(x, (n,)).astype(float))},
        reference=Reference("m", 0.003, 0.0, 0.1, "made up"),
    )


def zero_of(rng: np.random.Generator, rho: float) -> Rezero:
    return rezero(windows(IDLE_W + ar1(rng, 300, rho, 0.3)), LINE)


def test_a_baseline_that_moves_by_1_pct_is_found_in_60_s_of_idle() -> None:
    """0.5 W of 50 W in noise of 0.3 W, correlated by 0.4 from second to second."""
    rng = np.random.default_rng(2)
    found = 0
    for _ in range(100):
        zero = zero_of(rng, 0.4)
        moved = windows(IDLE_W + 0.5 * rng.choice([-1, 1]) + ar1(rng, 60, 0.4, 0.3))
        residuals = offset_residuals(moved, LINE, zero, block_s=10)
        u = float(residuals.u[0])
        alarm = design_alarm(0.5, u, 10, u_zero=zero.u_noise_w)
        assert alarm.delay_s < 60
        found += cusum(residuals.standardised, alarm.allowance, alarm.threshold).alarm is not None
    assert found >= 95


def test_idle_that_stays_gives_at_most_one_false_alarm_a_month() -> None:
    """Four months of seconds, each with a re-zero of its own."""
    rng = np.random.default_rng(3)
    alarms = 0
    for _ in range(4):
        zero = zero_of(rng, 0.5)
        n = int(MONTH_S)
        y = IDLE_W + ar1(rng, n, 0.5, 0.3)
        mean, _ = block_means(y - 10.0 - zero.intercept_w, np.ones(n), 10)
        u = np.hypot(zero.u_noise_w * math.sqrt(zero.idle_s / 10), zero.u_resolution_w)
        alarm = design_alarm(0.5, float(u), 10, u_zero=zero.u_noise_w)
        assert alarm.false_alarm_s == pytest.approx(MONTH_S, rel=1e-3)
        z, start = mean / u, 0
        while (hit := cusum(z[start:], alarm.allowance, alarm.threshold).alarm) is not None:
            alarms, start = alarms + 1, start + hit + 1
    assert alarms <= 8  # four are expected; nine or more have probability 0.02


def test_a_gain_that_moves_by_2_pct_is_found_in_five_steps_of_a_minute() -> None:
    """Five steps of a minute with 0.4 W of lack of fit, 75 W above idle."""
    rng = np.random.default_rng(4)
    lengths = []
    zero = zero_of(rng, 0.5)
    alarm = design_alarm(0.02, math.hypot(0.4, 0.1) / 75, 60, u_zero=zero.u_w / 75)
    assert alarm.delay_s < 300
    for _ in range(200):
        x = np.full(40, 68.0)
        lack = rng.normal(0, 0.4, 40)
        y = IDLE_W + 1.25 * 1.02 * (x - 8.0) + lack + rng.normal(0, 0.05, 40)
        steps = windows(y, x, "int")
        residuals = gain_residuals(steps, LINE, zero, lack_of_fit_w=0.4)
        assert residuals.u[0] == pytest.approx(alarm.u, rel=0.05)
        found = cusum(residuals.standardised, alarm.allowance, alarm.threshold)
        assert found.direction == "up"
        assert found.alarm is not None
        lengths.append(60 * (found.alarm + 1))
    assert np.quantile(lengths, 0.95) <= 300


@pytest.mark.parametrize(
    ("change", "u", "u_zero", "block_s", "delay_s"),
    [(0.5, 0.16686, 0.03, 10, 38), (0.5, 0.16686, 0.07348, 10, 56),
     (0.02, 0.005497, 0.1 / 75, 60, 147), (0.02, 0.010088, 0.1 / 75, 60, 417),
     (0.02, 0.020044, 0.1 / 75, 60, 1411)],
)  # fmt: skip
def test_the_delays_that_the_module_states(
    change: float, u: float, u_zero: float, block_s: float, delay_s: float
) -> None:
    found = design_alarm(change, u, block_s, u_zero=u_zero)
    assert found.delay_s == pytest.approx(delay_s, rel=0.01)


def test_points_near_idle_say_nothing_about_the_gain() -> None:
    zero = zero_of(np.random.default_rng(5), 0.0)
    x = np.array([8.0, 8.2, 40.0, 68.0])
    found = gain_residuals(windows(IDLE_W + 1.25 * (x - 8), x), LINE, zero, lack_of_fit_w=0.4)
    assert found.value.size == 2
    assert np.abs(found.standardised).max() < 1


def test_a_change_is_dated() -> None:
    z = np.random.default_rng(6).normal(0, 1, 300)
    z[200:] += 2.0
    found = cusum(z, 1.0, threshold_for(1e5, 1.0))
    assert found.alarm is not None
    assert found.began is not None
    assert 195 <= found.began <= 203 < found.alarm < 220
    assert found.direction == "up"
    assert cusum(-z, 1.0, found.threshold).direction == "down"


def test_the_control_chart_extends_or_asks_for_a_calibration() -> None:
    assert control_chart([0.2, -0.4, 0.1]).action == "extend"
    one = control_chart([0.2, 1.3, 0.1])
    assert (one.action, one.outside, one.trend) == ("recalibrate", (1,), None)
    slow = control_chart([0.7, 0.8, 0.6, 0.9, 0.8, 0.7, 0.9])
    assert slow.outside == ()
    assert slow.trend is not None
    assert slow.action == "recalibrate"


def test_what_cannot_be_watched_is_said() -> None:
    with pytest.raises(InputError, match="longer blocks"):
        design_alarm(0.1, 1.0, 10)
    with pytest.raises(InputError, match="above 0"):
        design_alarm(0.1, 0.0, 10)
    with pytest.raises(InputError, match="finite"):
        cusum(np.array([0.0, np.nan]), 0.5, 4)
    with pytest.raises(InputError, match="whole block"):
        block_means(np.zeros(5), np.ones(5), 10)
    with pytest.raises(InputError, match="at least one verification"):
        control_chart([])
    zero = zero_of(np.random.default_rng(7), 0.9)
    with pytest.raises(InputError, match="three correlation times"):
        offset_residuals(windows(np.full(60, IDLE_W)), LINE, zero, block_s=2)
