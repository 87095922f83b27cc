"""Outliers, and knees."""

from __future__ import annotations

import numpy as np
import pytest

from calibration.analysis import hinge, robust_line, straight_line
from calibration.errors import FitError, InputError

X = np.linspace(20, 200, 40)


def test_outliers_move_least_squares_and_not_the_robust_line() -> None:
    random = np.random.default_rng(11)
    y = 12 + 1.2 * X + random.normal(0, 0.5, 40)
    y[[3, 17, 33]] += 60.0
    robust = robust_line(X, y)
    assert robust.line.slope == pytest.approx(1.2, abs=4 * robust.line.u_slope)
    assert robust.line.intercept == pytest.approx(12, abs=4 * robust.line.u_intercept)
    assert robust.scale == pytest.approx(0.5, rel=0.5)
    assert set(np.flatnonzero(robust.weight < 0.05)) == {3, 17, 33}
    plain = straight_line(X, y)
    assert abs(plain.predict(110.0)[0] - 144) > 5 * abs(robust.line.predict(110.0)[0] - 144)


def test_the_solution_satisfies_hubers_equations() -> None:
    random = np.random.default_rng(5)
    y = 3 - 0.4 * X + random.standard_t(2, 40)
    found = robust_line(X, y)
    residual = y - found.line.intercept - found.line.slope * X
    scale = np.median(np.abs(residual)) / 0.6744897501960817
    psi = np.clip(residual, -1.345 * scale, 1.345 * scale)
    assert abs(psi.sum()) < 1e-7 * np.abs(psi).sum()
    assert abs(psi @ X) < 1e-7 * np.abs(psi * X).sum()


def test_standard_errors_of_the_robust_line_are_those_of_repeated_experiments() -> None:
    random = np.random.default_rng(2)
    found = [robust_line(X, 12 + 1.2 * X + random.normal(0, 2, 40)).line for _ in range(600)]
    spread = np.std([line.slope for line in found], ddof=1)
    claimed = np.sqrt(np.mean([line.u_slope**2 for line in found]))
    assert claimed == pytest.approx(spread, rel=0.12)  # four times 1/√(2·600)


def test_points_on_a_line_but_one_give_that_line() -> None:
    y = 7 + 2 * X
    y[5] = 1e6
    found = robust_line(X, y)
    assert found.line.slope == pytest.approx(2, rel=1e-9)
    assert found.weight[5] == 0


def test_a_knee_is_found_where_it_is() -> None:
    y = 40 + 0.8 * X + 0.5 * np.maximum(X - X[21], 0)
    found = hinge(X, y)
    assert found.knot == X[21]
    assert found.fit.coefficients == pytest.approx([40, 0.8, 0.5], rel=1e-9)
    assert found.fit.dof == 36
    assert hinge(X, y, knot=100.0).fit.dof == 37
    assert found.predict([100.0, 200.0]) == pytest.approx(np.interp([100, 200], X, y), rel=1e-9)


def test_what_has_no_knee_or_no_line_is_refused() -> None:
    with pytest.raises(FitError, match="5 different x"):
        hinge(np.arange(4.0), np.arange(4.0))
    with pytest.raises(InputError, match="between 20 and 200"):
        hinge(X, X, knot=500.0)
    with pytest.raises(FitError, match="one x only"):
        robust_line(np.ones(5), np.arange(5.0))
