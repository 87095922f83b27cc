"""Student's t without scipy, against scipy."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm, t

from calibration._profile.student import coverage_factor, coverage_factor_of_inverse


@pytest.mark.parametrize("probability", [0.5, 0.6827, 0.9, 0.95, 0.99, 0.999])
@pytest.mark.parametrize("dof", [0.6, 1, 1.5, 2, 3.3, 8, 57, 399, 401, 1e4, 1e9])
def test_quantiles_agree_with_scipy(dof: float, probability: float) -> None:
    expected = t.ppf(0.5 + probability / 2, dof)
    assert coverage_factor(dof, probability) == pytest.approx(expected, rel=1e-11)


@given(st.floats(1, 1e6))
def test_any_dof_agrees_with_scipy(dof: float) -> None:
    assert coverage_factor(dof) == pytest.approx(float(t.ppf(0.975, dof)), rel=1e-10)


def test_infinite_dof_is_the_normal_quantile() -> None:
    assert coverage_factor(math.inf) == pytest.approx(float(norm.ppf(0.975)), rel=1e-14)
    assert coverage_factor(4) == pytest.approx(2.776445105, abs=5e-10)  # JCGM 100, table G.2: 2.78


@pytest.mark.parametrize("largest", [1.0, 0.5, 0.2, 0.02])
def test_arrays_get_the_same_factors(largest: float) -> None:
    inverse = np.linspace(0, largest, 501)
    factors = coverage_factor_of_inverse(inverse, largest, 0.95)
    single = [coverage_factor_of_inverse(float(w), largest, 0.95) for w in inverse]
    np.testing.assert_allclose(factors, single, rtol=1e-10)


def test_no_dof_at_all() -> None:
    assert coverage_factor_of_inverse(0.0, 0.0, 0.95) == coverage_factor(math.inf)
    assert (
        coverage_factor_of_inverse(np.zeros(2), 0.0, 0.95).tolist()
        == [coverage_factor(math.inf)] * 2
    )


@pytest.mark.parametrize(("dof", "probability"), [(0, 0.95), (-1, 0.95), (5, 0), (5, 1)])
def test_impossible_arguments(dof: float, probability: float) -> None:
    with pytest.raises(ValueError, match="needs dof > 0"):
        coverage_factor(dof, probability)
