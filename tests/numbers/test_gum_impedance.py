"""GUM H.2: resistance, reactance and impedance from correlated voltage, current and phase."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from calibration.analysis.montecarlo import MonteCarlo, monte_carlo

# JCGM 100:2008, table H.2: five sets of V (V), I (mA), φ (rad) read at once.
READ = np.array(
    [
        (5.007, 19.663, 1.0456),
        (4.994, 19.639, 1.0438),
        (5.005, 19.640, 1.0468),
        (4.990, 19.685, 1.0428),
        (4.999, 19.678, 1.0433),
    ]
)
Floats = npt.NDArray[np.float64]


def quantity(name: str, rows: Floats) -> Floats:
    v, i, phi = rows[:, 0], rows[:, 1] * 1e-3, rows[:, 2]
    return {"R": v / i * np.cos(phi), "X": v / i * np.sin(phi), "Z": v / i}[name]


def means_and_covariance() -> tuple[Floats, Floats]:
    return READ.mean(axis=0), np.cov(READ, rowvar=False) / len(READ)


def drawn(name: str) -> MonteCarlo:
    mean, covariance = means_and_covariance()

    def draw(generator: np.random.Generator, n: int) -> Floats:
        return quantity(name, generator.multivariate_normal(mean, covariance, n))

    return monte_carlo(draw, seed=2)


def test_the_readings_give_the_printed_means_and_correlations() -> None:
    mean, covariance = means_and_covariance()
    u = np.sqrt(np.diag(covariance))
    r = covariance / np.outer(u, u)
    assert mean == pytest.approx([4.9990, 19.6610, 1.04446], abs=5e-6)
    assert u == pytest.approx([0.0032, 0.0095, 0.00075], rel=0.02)
    assert (r[0, 1], r[0, 2], r[1, 2]) == pytest.approx((-0.36, 0.86, -0.65), abs=0.006)


@pytest.mark.parametrize(
    ("name", "value", "u"), [("R", 127.732, 0.071), ("X", 219.847, 0.295), ("Z", 254.260, 0.236)]
)
def test_draws_of_correlated_inputs_give_the_printed_table(
    name: str, value: float, u: float
) -> None:
    found = drawn(name)
    assert found.stable
    assert found.value == pytest.approx(value, abs=2e-3)
    assert found.u == pytest.approx(u, abs=2 * found.tolerance)


def test_without_the_correlations_the_resistance_would_be_three_times_as_uncertain() -> None:
    mean, covariance = means_and_covariance()
    apart = np.diag(np.diag(covariance))
    rng = np.random.default_rng(2)
    alone = quantity("R", rng.multivariate_normal(mean, apart, 100_000)).std()
    assert alone > 2.5 * drawn("R").u
