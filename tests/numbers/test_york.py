"""Uncertainties in both variables: 15 digits of Pearson-York, and the ISO/TS 28037 examples."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calibration.analysis import straight_line
from calibration.errors import FitError, InputError

# Pearson's points with York's weights; answers in 50-digit arithmetic (York et al. 2004).
X = np.array([0.0, 0.9, 1.8, 2.6, 3.3, 4.4, 5.2, 6.1, 6.5, 7.4])
Y = np.array([5.9, 5.4, 4.4, 4.6, 3.5, 3.7, 2.8, 2.8, 2.4, 1.5])
U_X = 1 / np.sqrt(np.array([1000, 1000, 500, 800, 200, 80, 60, 20, 1.8, 1.0]))
U_Y = 1 / np.sqrt(np.array([1.0, 1.8, 4.0, 8.0, 20, 20, 70, 70, 100, 500]))
PEARSON_YORK = {
    "intercept": 5.4799102240328653616,
    "slope": -0.48053340744620198662,
    "u_intercept": 0.294970735493108564,
    "u_slope": 0.057985009000774436,
    "covariance": -0.016472544658115809,
    "chi_squared": 11.866353194061445,
}


def test_pearson_york_to_fifteen_digits() -> None:
    line = straight_line(X, Y, U_X, U_Y)
    for name, answer in PEARSON_YORK.items():
        error = abs(getattr(line, name) / answer - 1)
        assert error <= 1e-15, f"{name}: {-math.log10(error):.1f} digits"
    assert (line.method, line.dof, line.absolute) == ("york", 8, True)


def test_iso_ts_28037_gdr() -> None:
    x = np.array([1.2, 1.9, 2.9, 4.0, 4.7, 5.9])
    y = np.array([3.4, 4.4, 7.2, 8.5, 10.8, 13.5])
    line = straight_line(x, y, u_x=0.2, u_y=np.array([0.2] * 3 + [0.4] * 3))
    assert round(line.intercept, 4) == 0.5788
    assert round(line.slope, 4) == 2.1597
    assert round(line.u_intercept, 4) == 0.4764
    assert round(line.u_slope, 4) == 0.1355
    assert round(line.covariance, 4) == -0.0577
    assert round(line.chi_squared, 3) == 2.743


def test_without_uncertainty_of_x_it_is_the_weighted_line() -> None:
    weighted = straight_line(X, Y, u_y=U_Y)
    for tiny in (np.zeros(10), np.full(10, 1e-12)):
        line = straight_line(X, Y, tiny, U_Y)
        assert line.slope == pytest.approx(weighted.slope, rel=1e-13)
        assert line.u_intercept == pytest.approx(weighted.u_intercept, rel=1e-13)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32), st.floats(-0.9, 0.9))
def test_exchanging_x_and_y_inverts_the_line(seed: int, correlation: float) -> None:
    random = np.random.default_rng(seed)
    x = np.linspace(1, 10, 12) + random.normal(0, 0.1, 12)
    y = 2 + 1.5 * np.linspace(1, 10, 12) + random.normal(0, 0.2, 12)
    u_x, u_y = random.uniform(0.05, 0.2, 12), random.uniform(0.1, 0.4, 12)
    there = straight_line(x, y, u_x, u_y, correlation=correlation)
    back = straight_line(y, x, u_y, u_x, correlation=correlation)
    assert there.slope * back.slope == pytest.approx(1, rel=1e-10)
    assert there.intercept == pytest.approx(-back.intercept / back.slope, rel=1e-8, abs=1e-9)
    assert there.chi_squared == pytest.approx(back.chi_squared, rel=1e-9)


def test_many_points_are_summed_in_blocks_to_the_same_line() -> None:
    random = np.random.default_rng(3)
    truth = random.uniform(50, 150, 20_000)
    x, y = truth + random.normal(0, 3, 20_000), 10 + 1.12 * truth + random.normal(0, 1, 20_000)
    line = straight_line(x, y, u_x=3.0, u_y=1.0)
    assert line.slope == pytest.approx(1.12, abs=4 * line.u_slope)
    # Repeating every point makes the same line with uncertainties smaller by √2.
    twice = straight_line(np.tile(x, 2), np.tile(y, 2), u_x=3.0, u_y=1.0)
    assert twice.slope == pytest.approx(line.slope, rel=1e-12)
    assert twice.u_slope == pytest.approx(line.u_slope / math.sqrt(2), rel=1e-9)


def test_what_cannot_be_fitted_is_refused() -> None:
    with pytest.raises(InputError, match="none"):
        straight_line(X, Y, np.where(X > 3, 0.1, 0.0), np.where(X > 4, 0.1, 0.0))
    with pytest.raises(InputError, match="inside ±1"):
        straight_line(X, Y, U_X, U_Y, correlation=1.0)
    with pytest.raises(FitError, match="different x"):
        straight_line(np.ones(4), np.arange(4.0), 0.1, 0.1)
