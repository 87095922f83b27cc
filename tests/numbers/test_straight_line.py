"""Straight lines and least squares against published answers (certified: test_nist_linear)."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calibration.analysis import StraightLine, least_squares, straight_line
from calibration.errors import FitError, InputError


def test_iso_ts_28037_equal_weights() -> None:
    x = np.arange(1.0, 7.0)
    y = np.array([3.3, 5.6, 7.1, 9.3, 10.7, 12.1])
    line = straight_line(x, y, u_y=np.full(6, 0.5))
    assert round(line.intercept, 7) == 1.8666667
    assert round(line.slope, 7) == 1.7571429
    assert round(line.u_intercept, 7) == 0.4654747
    assert round(line.u_slope, 7) == 0.1195229
    assert round(line.covariance, 3) == -0.050
    assert round(line.chi_squared, 3) == 1.665
    x0, u_x0 = line.inverse(10.5, 0.5)
    assert (round(x0, 3), round(u_x0, 3)) == (4.913, 0.322)
    y0, u_y0 = line.predict(3.5, 0.2)
    assert (round(y0, 3), round(u_y0, 3)) == (8.017, 0.406)


def test_given_uncertainties_are_absolute() -> None:
    x, y = np.arange(5.0), np.array([0.0, 1.1, 1.9, 3.2, 3.9])
    once, twice = (straight_line(x, y, u_y=np.full(5, u)) for u in (0.1, 0.2))
    assert twice.u_slope == pytest.approx(2 * once.u_slope)
    assert twice.slope == pytest.approx(once.slope)


def test_too_few_points_are_refused() -> None:
    with pytest.raises(FitError, match="at least 3 points"):
        straight_line(np.arange(2.0), np.arange(2.0))
    with pytest.raises(FitError, match="different x"):
        straight_line(np.ones(4), np.arange(4.0))
    with pytest.raises(FitError, match="linearly dependent"):
        least_squares(np.ones((5, 2)), np.arange(5.0))
    with pytest.raises(FitError, match="at least 3 points"):
        least_squares(np.ones((2, 3)), np.arange(2.0))


def test_shapes_and_values_that_do_not_fit_are_named() -> None:
    x, y = np.arange(4.0), np.arange(4.0)
    with pytest.raises(InputError, match=r"y: expected shape \(4,\)"):
        straight_line(x, y[:3])
    with pytest.raises(InputError, match="finite"):
        straight_line(x, np.array([0.0, 1.0, np.nan, 3.0]))
    with pytest.raises(InputError, match="positive"):
        straight_line(x, y, u_y=0.0)
    with pytest.raises(InputError, match="not both"):
        straight_line(x, y, u_y=1.0, covariance=np.eye(4))
    with pytest.raises(InputError, match="when u_y is not given"):
        straight_line(x, y, u_x=0.0)


@pytest.mark.parametrize("which", ["x", "y", "u_x", "u_y"])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("both", [False, True])
def test_a_single_bad_value_among_many_is_found(which: str, bad: float, both: bool) -> None:
    random = np.random.default_rng(0)
    x = random.uniform(0, 1, 5000)
    columns = {"x": x, "y": 2 * x, "u_x": np.full(5000, 0.1), "u_y": np.full(5000, 0.1)}
    columns[which][4321] = bad
    if not both:
        if which == "u_x":
            return
        del columns["u_x"]
    with pytest.raises(InputError, match="finite"):
        straight_line(**columns)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32), st.floats(-4, 4), st.floats(-8, 8), st.booleans())
def test_many_points_in_one_pass_agree_with_the_exact_line(
    seed: int, spread: float, offset: float, weighted: bool
) -> None:
    random = np.random.default_rng(seed)
    x = 10.0**offset + 10.0**spread * random.normal(0, 1, 3000)
    y = 2.0 + 1.5 * x + random.normal(0, 1, 3000)
    u = random.uniform(0.5, 2.0, 3000) if weighted else None
    fast = straight_line(x, y, u_y=u)
    exact = least_squares(np.column_stack([np.ones_like(x), x]), y, u, method="exact")
    assert fast.slope == pytest.approx(exact.coefficients[1], rel=10.0**-fast.digits)
    assert fast.intercept == pytest.approx(exact.coefficients[0], rel=10.0**-fast.digits)
    assert fast.u_slope == pytest.approx(exact.standard_errors[1], rel=1e-9)
    assert fast.chi_squared == pytest.approx(exact.chi_squared, rel=1e-9)


def test_a_first_sample_far_from_the_rest_costs_no_digits() -> None:
    # Every second point of a regular sample sits at one end: the provisional line knows nothing.
    x = np.where(np.arange(20_480) % 20 == 0, 0.0, np.linspace(1e6, 1e6 + 10, 20_480))
    y = 5.0 + 0.25 * x
    line = straight_line(x, y)
    assert line.slope == pytest.approx(0.25, rel=1e-13)
    assert line.intercept == pytest.approx(5.0, rel=1e-6)


def test_inverse_interval_is_linear_for_a_steep_line_and_fieller_for_a_shallow_one() -> None:
    steep = straight_line(np.arange(1.0, 7.0), np.array([3.3, 5.6, 7.1, 9.3, 10.7, 12.1]), u_y=0.5)
    found = steep.inverse_interval(10.5, 0.5)
    x, u = steep.inverse(10.5, 0.5)
    assert (found.method, found.bounded) == ("linear", True)
    assert found.high - x == pytest.approx(1.959964 * u, rel=1e-6)

    shallow = StraightLine(1.0, 0.5, 0.2, 0.1, -0.01, 0.0, 8)
    wide = shallow.inverse_interval(3.0, 0.3)
    assert (wide.method, wide.bounded) == ("fieller", True)
    for end in (wide.low, wide.high):  # an end is where the difference is just k of its own u
        _, u_line = shallow.predict(end)
        distance = abs(3.0 - shallow.predict(end)[0])
        assert distance == pytest.approx(wide.k * np.hypot(u_line, 0.3), rel=1e-9)
    assert wide.high - wide.x > wide.x - wide.low  # skewed away from zero, unlike x ± k·u

    flat = StraightLine(1.0, 0.1, 0.2, 0.1, -0.01, 0.0, 8).inverse_interval(3.0, 0.3)
    assert not flat.bounded
    assert (flat.low, flat.high) == (-np.inf, np.inf)


def test_numbers_near_the_ends_of_the_range_are_fitted_or_refused_with_a_sentence() -> None:
    x, y = np.arange(5.0), 2 * np.arange(5.0) + 1
    for scale in (1e-140, 1e140):
        assert straight_line(x * scale, y * scale).slope == pytest.approx(2, rel=1e-14)
    for scale in (1e-300, 1e300):
        with pytest.raises(InputError, match="rescale"):
            straight_line(x * scale, y * scale)
    with pytest.raises(InputError, match="rescale"):
        straight_line(x, y, u_y=1e-200)
    with pytest.raises(InputError, match="rescale"):
        straight_line(np.linspace(0, 1e300, 3000), np.linspace(0, 1e300, 3000))
    with pytest.raises(FitError, match="flat"):
        straight_line(x, 0 * x + 1.0, u_y=0.1).inverse(3.0)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.integers(4, 60), st.floats(0.1, 5))
def test_a_column_that_is_another_but_for_rounding_is_refused(
    seed: int, n: int, factor: float
) -> None:
    random = np.random.default_rng(seed)
    x, z = random.uniform(10, 200, (2, n))
    for columns in ((np.ones(n), x, factor * x), (x, z, x + factor * z)):
        for method in ("exact", "fast"):
            with pytest.raises(FitError, match="linearly dependent"):
                least_squares(np.column_stack(columns), x + z, method=method)


def test_the_factor_of_an_inverse_is_student_t_when_the_scatter_was_estimated() -> None:
    x = np.arange(1.0, 7.0)
    line = straight_line(x, np.array([3.3, 5.6, 7.1, 9.3, 10.7, 12.1]))
    assert line.inverse_interval(10.5).k == pytest.approx(2.776445, rel=1e-6)
