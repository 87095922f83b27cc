"""Lines whose points share an error: a covariance matrix, and what it must agree with."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calibration.analysis import StraightLine, straight_line
from calibration.errors import InputError

X = np.array([1.2, 1.9, 2.9, 4.0, 4.7, 5.9])
Y = np.array([3.4, 4.4, 7.2, 8.5, 10.8, 13.5])
U_X, U_Y = np.full(6, 0.2), np.array([0.2] * 3 + [0.4] * 3)


def same(a: StraightLine, b: StraightLine, tolerance: float) -> None:
    for name in ("intercept", "slope", "u_intercept", "u_slope", "covariance", "chi_squared"):
        assert getattr(a, name) == pytest.approx(getattr(b, name), rel=tolerance), name


def test_a_diagonal_matrix_is_the_weighted_line() -> None:
    same(straight_line(X, Y, covariance=np.diag(U_Y**2)), straight_line(X, Y, u_y=U_Y), 1e-12)


def test_a_diagonal_matrix_of_both_is_york() -> None:
    both = np.diag(np.concatenate([U_X, U_Y]) ** 2)
    same(straight_line(X, Y, covariance=both), straight_line(X, Y, U_X, U_Y), 1e-11)


@settings(max_examples=30, deadline=None)
@given(st.floats(-0.9, 0.9), st.integers(0, 2**32))
def test_correlation_within_points_is_york_with_r(r: float, seed: int) -> None:
    random = np.random.default_rng(seed)
    x, y = X + random.normal(0, 0.1, 6), Y + random.normal(0, 0.1, 6)
    cross = np.diag(r * U_X * U_Y)
    both = np.block([[np.diag(U_X**2), cross], [cross, np.diag(U_Y**2)]])
    given_r = straight_line(x, y, U_X, U_Y, correlation=r)
    same(straight_line(x, y, covariance=both), given_r, 1e-7)


def test_a_gain_common_to_all_points_is_a_fully_correlated_component() -> None:
    # With V = D + g² m mᵀ and m on the line, (XᵀV⁻¹X)⁻¹ = (XᵀD⁻¹X)⁻¹ + g² b bᵀ (Woodbury): fitting
    # with the common gain is fitting without and adding g to the result.
    without = straight_line(X, Y, u_y=U_Y)
    gain = 0.01
    fitted = without.intercept + without.slope * X
    line = straight_line(X, Y, covariance=np.diag(U_Y**2) + gain**2 * np.outer(fitted, fitted))
    assert line.slope == pytest.approx(without.slope, rel=1e-12)
    assert line.intercept == pytest.approx(without.intercept, rel=1e-11)
    for x in (0.0, 2.0, 5.0, 20.0):
        y, u = without.predict(x)
        assert line.predict(x)[0] == pytest.approx(y, rel=1e-11)
        assert line.predict(x)[1] == pytest.approx(np.hypot(u, gain * y), rel=1e-10)


def test_a_common_offset_is_not_averaged_away() -> None:
    line = straight_line(X, Y, covariance=np.diag(U_Y**2) + 0.5**2)
    without = straight_line(X, Y, u_y=U_Y)
    assert line.u_slope == pytest.approx(without.u_slope, rel=1e-9)
    assert line.u_intercept == pytest.approx(np.hypot(without.u_intercept, 0.5), rel=1e-9)


@pytest.mark.parametrize(
    ("matrix", "message"),
    [
        (np.eye(5), "expected shape"),
        (np.eye(6) + np.eye(6, k=1), "symmetric"),
        (np.ones((6, 6)), "positive definite"),
    ],
)
def test_a_matrix_that_is_no_covariance_is_refused(matrix: np.ndarray, message: str) -> None:
    with pytest.raises(InputError, match=message):
        straight_line(X, Y, covariance=matrix)
