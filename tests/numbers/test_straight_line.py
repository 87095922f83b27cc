"""Straight lines and least squares against certified and published answers."""

from __future__ import annotations

import math

import numpy as np
import pytest

from calibration.analysis import least_squares, straight_line
from calibration.errors import FitError

# NIST StRD, "Norris": calibration of ozone monitors, 36 observations (US government data).
NORRIS_Y = """
0.1 338.8 118.1 888.0 9.2 228.1 668.5 998.5 449.1 778.9 559.2 0.3 0.1 778.1 668.8 339.3 448.9 10.8
557.7 228.3 998.0 888.8 119.6 0.3 0.6 557.6 339.3 888.0 998.5 778.9 10.2 117.6 228.9 668.4 449.2
0.2
"""
NORRIS_X = """
0.2 337.4 118.2 884.6 10.1 226.5 666.3 996.3 448.6 777.0 558.2 0.4 0.6 775.5 666.9 338.0 447.5
11.6 556.0 228.1 995.8 887.6 120.2 0.3 0.3 556.8 339.1 887.2 999.0 779.0 11.1 118.3 229.2 669.1
448.9 0.5
"""
CERTIFIED = {
    "intercept": -0.262323073774029,
    "slope": 1.00211681802045,
    "u_intercept": 0.232818234301152,
    "u_slope": 0.429796848199937e-3,
}


def digits(value: float, certified: float) -> float:
    if value == certified:
        return 15.0
    return -math.log10(abs(value - certified) / abs(certified))


def test_norris_has_eleven_certified_digits() -> None:
    x, y = (np.array([float(v) for v in text.split()]) for text in (NORRIS_X, NORRIS_Y))
    line = straight_line(x, y)
    for name, value in CERTIFIED.items():
        assert digits(getattr(line, name), value) > 11, name
    general = least_squares(np.column_stack([np.ones_like(x), x]), y)
    assert digits(general.coefficients[0], CERTIFIED["intercept"]) > 11
    assert digits(general.standard_errors[1], CERTIFIED["u_slope"]) > 11


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
