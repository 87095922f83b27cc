"""Polynomials: two bases of one function, and what they refuse."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calibration.analysis import polynomial, straight_line
from calibration.errors import FitError, InputError


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32), st.integers(0, 5), st.booleans())
def test_both_bases_and_both_paths_are_one_polynomial(
    seed: int, degree: int, weighted: bool
) -> None:
    random = np.random.default_rng(seed)
    x = random.uniform(80, 300, 60)
    y = 20 + 1.1 * x + 1e-4 * x**2 + random.normal(0, 1, 60)
    u = random.uniform(0.5, 2, 60) if weighted else None
    small = polynomial(x, y, degree, u)
    # The same points 150 times: too many for integers, the same coefficients.
    many_u = None if u is None else np.tile(u, 150) * np.sqrt(150)
    large = polynomial(np.tile(x, 150), np.tile(y, 150), degree, many_u)
    assert large.digits < small.digits == 15
    for a, b in zip(large.coefficients, small.coefficients, strict=True):
        assert a == pytest.approx(b, rel=max(10.0**-large.digits, 1e-14))
    if u is not None:
        assert large.standard_errors == pytest.approx(small.standard_errors, rel=1e-8)
    value, uncertainty = small.predict(x)
    powers = np.vander(x, degree + 1, increasing=True)
    assert value == pytest.approx(powers @ small.coefficients, rel=1e-9)
    direct = np.einsum("ij,jk,ik->i", powers, small.covariance, powers)
    assert uncertainty**2 == pytest.approx(direct, rel=1e-4)
    assert y - value == pytest.approx(small.residuals, abs=1e-8)


def test_the_first_degree_is_the_straight_line() -> None:
    x = np.arange(1.0, 7.0)
    y = np.array([3.3, 5.6, 7.1, 9.3, 10.7, 12.1])
    line, fit = straight_line(x, y, u_y=0.5), polynomial(x, y, 1, 0.5)
    assert fit.coefficients.tolist() == [line.intercept, line.slope]
    assert fit.predict(3.5)[1] == pytest.approx(line.predict(3.5)[1], rel=1e-12)


def test_monotone_is_judged_between_the_points_too() -> None:
    x = np.linspace(0, 10, 11)
    assert polynomial(x, x**3 + x, 3).is_monotone()
    assert polynomial(x, -(x**2) - x, 2).is_monotone()
    assert polynomial(x, 4.0 + 0 * x + 2 * x, 1).is_monotone()
    assert not polynomial(x, (x - 5.5) ** 2, 2).is_monotone()
    # It rises from each point to the next, and falls in between.
    wave = x + 6.0 * (x - 4) * (x - 4.5) * (x - 5)
    assert not polynomial(x, wave, 3).is_monotone()


def test_outside_the_calibrated_range_it_says_nothing() -> None:
    fit = polynomial(np.arange(6.0), np.arange(6.0) ** 2, 2)
    with pytest.raises(InputError, match="from 0 to 5"):
        fit.predict([2.0, 5.1])


def test_too_few_levels_are_refused() -> None:
    with pytest.raises(FitError, match="3 different x"):
        polynomial(np.array([1.0, 1, 2, 2]), np.arange(4.0), 2)
    with pytest.raises(InputError, match="zero or more"):
        polynomial(np.arange(4.0), np.arange(4.0), -1)
