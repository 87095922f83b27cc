"""Deming's closed form, attenuation, and the sums of a line that arrive in parts."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calibration.analysis import Moments, attenuation, deming, straight_line
from calibration.errors import FitError, InputError


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32), st.floats(-2, 2), st.sampled_from([-1.3, -0.2, 0.4, 1.1, 20.0]))
def test_deming_is_york_with_equal_errors(seed: int, exponent: float, slope: float) -> None:
    random = np.random.default_rng(seed)
    truth = np.linspace(10, 60, 15)
    x = truth + random.normal(0, 0.5, 15)
    y = 3 + slope * truth + random.normal(0, 0.5, 15)
    closed = deming(x, y, 10.0**exponent)
    sigma = math.sqrt(closed.chi_squared / closed.dof)  # of x
    iterated = straight_line(x, y, u_x=sigma, u_y=sigma * math.sqrt(10.0**exponent))
    for name in ("intercept", "slope", "u_intercept", "u_slope", "covariance"):
        assert getattr(closed, name) == pytest.approx(getattr(iterated, name), rel=1e-8), name
    assert iterated.chi_squared == pytest.approx(13, rel=1e-8)


def test_deming_refuses_what_is_not_related() -> None:
    with pytest.raises(FitError, match="covariance is zero"):
        deming(np.array([0.0, 1.0, 0.0, 1.0]), np.array([0.0, 0.0, 1.0, 1.0]), 1.0)
    with pytest.raises(InputError, match="above zero"):
        deming(np.arange(4.0), np.arange(4.0), 0.0)


def test_attenuation_is_what_least_squares_loses() -> None:
    random = np.random.default_rng(7)
    truth = random.normal(100, 20, 200_000)
    x, y = truth + random.normal(0, 3, 200_000), 5 + 1.12 * truth
    found = attenuation(x, 3.0)
    assert found.factor == pytest.approx(400 / 409, abs=2e-3)
    assert straight_line(x, y).slope == pytest.approx(1.12 * found.factor, rel=2e-3)
    assert found.matters
    assert "both variables" in found.reason


def test_attenuation_below_half_a_percent_is_left_alone() -> None:
    x = np.linspace(40, 240, 24)
    found = attenuation(x, 3.0)
    assert found.factor > 0.995
    assert not found.matters
    assert "left alone" in found.reason
    assert attenuation(x, 0.0).factor == 1.0
    assert attenuation(x, 1000.0).factor == 0.0


@settings(max_examples=50, deadline=None)
@given(
    st.integers(0, 2**32),
    st.lists(st.integers(0, 60), min_size=1, max_size=6),
    st.booleans(),
    st.floats(-3, 6),
)
def test_moments_in_parts_are_the_line_of_the_whole(
    seed: int, cuts: list[int], weighted: bool, offset: float
) -> None:
    random = np.random.default_rng(seed)
    x = 10.0**offset + random.normal(0, 1, 60)
    y = 1.0 - 0.7 * x + random.normal(0, 0.3, 60)
    u = random.uniform(0.1, 0.5, 60) if weighted else None
    edges = [0, *sorted(cuts), 60]
    parts = [
        Moments().add(x[i:j], y[i:j], None if u is None else u[i:j])
        for i, j in itertools.pairwise(edges)
    ]
    total = Moments()
    for part in reversed(parts):
        total = total.merge(part)
    line, whole = total.line(), straight_line(x, y, u_y=u)
    scale = 10.0 ** max(offset, 0)
    assert total.n == 60
    assert line.slope == pytest.approx(whole.slope, rel=1e-11 * scale)
    assert line.intercept == pytest.approx(whole.intercept, rel=1e-9, abs=1e-11 * scale**2)
    assert line.u_slope == pytest.approx(whole.u_slope, rel=1e-8)
    assert line.chi_squared == pytest.approx(whole.chi_squared, rel=1e-8)


def test_moments_without_enough_are_refused() -> None:
    with pytest.raises(FitError, match="at least 3"):
        Moments().add([1.0, 2.0], [1.0, 2.0]).line()
    with pytest.raises(FitError, match="one x only"):
        Moments().add([2.0, 2.0], [1.0, 2.0], 0.1).line()
    with pytest.raises(InputError, match="both kinds"):
        Moments().add([1.0], [1.0], 0.1).add([2.0], [2.0])
