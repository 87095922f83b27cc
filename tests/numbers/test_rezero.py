"""The uncertainty of a re-zero: correlated noise, resolution, drift; and what it covers."""

from __future__ import annotations

import math

import numpy as np
import pytest

from calibration.analysis.points import InputColumn, Points, Reference
from calibration.analysis.results import Term
from calibration.analysis.rezero import Rezero, autocorrelation_time, rezero
from calibration.errors import FitError

LINE = (
    Term("b0", "const", 40.0, "W", None, 1, None),
    Term("b1", "input", 1.25, "1", "rapl_package", 1, None),
)


def ar1(rng: np.random.Generator, n: int, rho: float, sigma: float) -> np.ndarray:
    """Return stationary AR(1) noise of standard deviation sigma."""
    noise = rng.normal(0, sigma, n)
    noise[1:] *= math.sqrt(1 - rho**2)
    for i in range(1, n):
        noise[i] += rho * noise[i - 1]
    return noise


def idle(offset_w: np.ndarray, *, stretch: np.ndarray, x_w: np.ndarray | float = 8.0) -> Points:
    n = offset_w.size
    x = np.broadcast_to(np.asarray(x_w, dtype=float), (n,)).copy()
    return Points(
        session=("s",) * n,
        workload=("idle",) * n,
        segment=tuple(f"step-{i:04d}" for i in stretch),
        duration_s=np.ones(n),
        reference_w=offset_w + 1.25 * x,
        reference_u_w=np.zeros(n),
        level=np.zeros(n),
        start_unix_s=np.arange(n) + 900.0 * stretch,
        inputs={"rapl_package": InputColumn(value=x)},
        reference=Reference("m", 0.003, 0.0, 0.1, "made up"),
    )


def zero(offset_w: np.ndarray, stretch: np.ndarray, **more: object) -> Rezero:
    return rezero(idle(offset_w, stretch=stretch), LINE, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize("rho", [0.0, 0.5, 0.8])
def test_the_correlation_time_of_ar1_noise(rho: float) -> None:
    rng = np.random.default_rng(0)
    found = [autocorrelation_time([(r := ar1(rng, 4000, rho, 1.0)) - r.mean()]) for _ in range(30)]
    assert np.mean(found) == pytest.approx(0.5 * (1 + rho) / (1 - rho), rel=0.06)


@pytest.mark.parametrize("rho", [0.0, 0.6])
def test_the_interval_covers_the_offset_of_correlated_noise(rho: float) -> None:
    """95 % intervals of 400 re-zeros on three stretches of 60 s that differ by 0.3 W."""
    from scipy.stats import t

    rng = np.random.default_rng(1)
    stretch = np.repeat([0, 1, 2], 60)
    inside = 0
    for _ in range(400):
        wander = np.repeat(rng.normal(0, 0.3, 3), 60)
        now = rng.normal(0, 0.3)  # the offset that holds when the profile is applied
        noise = np.concatenate([ar1(rng, 60, rho, 0.5) for _ in range(3)])
        found = zero(47.0 + wander + noise, stretch)
        inside += abs(found.intercept_w - 47.0 - now) <= t.ppf(0.975, found.dof) * found.u_w
    assert 0.91 <= inside / 400 <= 0.995


def test_plain_standard_errors_would_not_do() -> None:
    rng = np.random.default_rng(2)
    plain, means, stated = [], [], []
    for _ in range(60):
        noise = ar1(rng, 200, 0.8, 0.5)
        found = zero(47 + noise, np.zeros(200, dtype=int))
        plain.append(noise.std() / math.sqrt(200))
        means.append(found.intercept_w - 47)
        stated.append(found.u_noise_w)
    spread = float(np.std(means))
    assert spread > 2 * float(np.mean(plain))
    assert float(np.sqrt(np.mean(np.square(stated)))) == pytest.approx(spread, rel=0.25)


def test_the_parts_are_what_they_are() -> None:
    found = zero(np.full(60, 47.0), np.zeros(60, dtype=int))
    assert found.intercept_w == pytest.approx(47.0)
    assert found.shift_w == pytest.approx(7.0)
    assert found.u_noise_w == pytest.approx(0.0, abs=1e-9)
    assert found.u_resolution_w == pytest.approx(0.1 / math.sqrt(12))
    assert found.drift_assumed
    assert found.u_drift_w == pytest.approx(0.001 * 57.0)  # until it has been watched
    assert found.u_meter_w == 0.0
    assert zero(np.full(60, 47.0), np.zeros(60, dtype=int), other_meter=True).u_meter_w > 0.1


def test_a_drift_that_is_seen_counts_and_a_long_watch_may_see_none() -> None:
    rng = np.random.default_rng(3)
    stretch = np.repeat([0, 1, 2, 3], 40)
    drifting = zero(47 + 0.5 * stretch + rng.normal(0, 0.05, 160), stretch)
    assert not drifting.drift_assumed
    spread = float(np.std([0, 0.5, 1.0, 1.5], ddof=1))
    assert drifting.u_drift_w == pytest.approx(spread * math.sqrt(1.25), rel=0.1)
    assert drifting.dof == pytest.approx(3, abs=0.2)
    two = zero(np.repeat([47.0, 48.0], 40) + rng.normal(0, 0.05, 80), np.repeat([0, 1], 40))
    assert two.drift_assumed
    assert two.u_drift_w == pytest.approx(1 / math.sqrt(3), rel=0.1)
    steady = zero(np.full(160, 47.0), stretch)
    assert (steady.drift_assumed, steady.u_drift_w) == (False, 0.0)


def test_a_curved_function_is_moved_at_its_idle_point() -> None:
    terms = (*LINE, Term("h", "hinge", 0.5, "1", "rapl_package", 1, 6.0))
    found = rezero(idle(np.full(60, 47.0), stretch=np.zeros(60, dtype=int)), terms)
    assert found.intercept_w == pytest.approx(47.0 - 0.5 * 2.0)
    assert found.jacobian[0] == pytest.approx((0.0, -8.0, -2.0))


def test_missing_windows_do_not_count_as_idle() -> None:
    offset = np.full(60, 47.0)
    offset[:15] = np.nan
    with pytest.raises(FitError, match=r"at least 50 s .* got 45\.0 s"):
        zero(offset, np.zeros(60, dtype=int))
    with pytest.raises(FitError, match="gain only"):
        rezero(idle(np.full(60, 47.0), stretch=np.zeros(60, dtype=int)), LINE[1:])
