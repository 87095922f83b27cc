"""Adaptive Monte Carlo against closed forms, and the comparison that JCGM 101 prescribes."""

from __future__ import annotations

import math

import numpy as np
import pytest

from calibration.analysis.montecarlo import (
    monte_carlo,
    numerical_tolerance,
    shortest_interval,
)
from calibration.errors import InputError


@pytest.mark.parametrize(
    ("u", "digits", "expected"),
    # The two examples of JCGM 101:2008, 7.9.2: u = 0.000 35 g, and u = 2 K to one digit.
    [(0.00035, 2, 0.000005), (2.0, 1, 0.5), (0.0996, 2, 0.005), (0.09951, 1, 0.05)],
)
def test_the_numerical_tolerance_is_half_the_last_digit(
    u: float, digits: int, expected: float
) -> None:
    assert numerical_tolerance(u, digits) == pytest.approx(expected, rel=1e-12)


def test_the_sum_of_four_normals_agrees_with_the_law_of_propagation() -> None:
    # JCGM 101:2008, 9.2.2: four standard normal quantities; u = 2.0, interval [-3.92, 3.92].
    found = monte_carlo(
        lambda g, n: g.standard_normal((4, n)).sum(axis=0), seed=1, law=(0.0, 2.0, 3.919928)
    )
    assert found.stable
    assert found.agrees
    assert found.u == pytest.approx(2.0, abs=0.01)
    assert found.high == pytest.approx(3.92, abs=0.05)


def test_the_sum_of_four_rectangles_is_narrower_than_the_normal_says() -> None:
    # JCGM 101:2008, 9.2.3: shortest 95 % interval [-3.88, 3.88] against [-3.92, 3.92].
    limit = math.sqrt(3)
    found = monte_carlo(
        lambda g, n: g.uniform(-limit, limit, (4, n)).sum(axis=0),
        seed=2, law=(0.0, 2.0, 3.919928), digits=1,
    )  # fmt: skip
    assert found.agrees  # to one digit
    assert found.low == pytest.approx(-3.88, abs=0.1)


def test_a_dominant_rectangle_does_not_agree() -> None:
    # JCGM 101:2008, 9.2.4: widths 1, 1, 1 and 10: [-17.0, 17.0] against +-19.9 of the law.
    widths = math.sqrt(3) * np.array([1.0, 1.0, 1.0, 10.0])[:, None]
    found = monte_carlo(
        lambda g, n: (widths * g.uniform(-1, 1, (4, n))).sum(axis=0),
        seed=3, law=(0.0, math.sqrt(103.0), 1.959964 * math.sqrt(103.0)), most=1_000_000,
    )  # fmt: skip
    assert found.agrees is False
    assert found.high == pytest.approx(17.0, abs=0.2)


def test_the_shortest_interval_of_a_skewed_result_leans_on_its_edge() -> None:
    # An exponential has its shortest interval at [0, -ln 0.05].
    found = shortest_interval(np.random.default_rng(1).exponential(size=400_000))
    assert found[0] == pytest.approx(0.0, abs=0.01)
    assert found[1] == pytest.approx(-math.log(0.05), abs=0.04)


def test_the_seed_is_the_result_and_more_digits_take_more_trials() -> None:
    def draw(generator: np.random.Generator, n: int) -> np.ndarray:
        return generator.standard_normal(n)

    assert monte_carlo(draw, seed=7) == monte_carlo(draw, seed=7)
    assert monte_carlo(draw, seed=7).value != monte_carlo(draw, seed=8).value
    rough, fine = monte_carlo(draw, seed=7, digits=1), monte_carlo(draw, seed=7)
    assert rough.trials < fine.trials
    assert not monte_carlo(draw, seed=7, digits=4, most=50_000).stable


def test_a_draw_that_is_not_finite_is_refused() -> None:
    with pytest.raises(InputError, match="finite"):
        monte_carlo(lambda _, n: np.full(n, np.nan), seed=1)
