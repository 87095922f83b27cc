"""How often the stated 95 % intervals hold the truth: simulated calibrations, counted.

One calibration: load steps in random order, read once a second by a meter whose noise is AR(1),
cut to points by `steady_means`, fitted by `fit_points`, its intervals by `budget`. The noise runs
on through the settling time between the steps, so that neighbouring steps share its slow part. The
truth of the powers is the machine's line; that of the energy is what a new run really drew, with
its own noise (and, where sessions differ, its own session).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from .budget import energy_budget, power_budget
from .correlated import steady_means
from .fit import fit_points
from .montecarlo import check_energy
from .points import InputColumn, Points, Reference
from .results import FitResult

__all__ = ["QUANTITIES", "SCENARIOS", "Scenario", "calibrate", "covered", "monte_carlo_distance"]

Floats = npt.NDArray[np.float64]
QUANTITIES = ("slope", "P low", "P mid", "P high", "E run")
_INTERCEPT_W, _SLOPE = 40.0, 1.25
_LOW_W, _HIGH_W = 10.0, 80.0
_SETTLE, _HELD = 10, 50
_RUN_STEPS, _RUN_HELD = 20, 30
_DAY_S = 86400.0


@dataclass(frozen=True, slots=True)
class Scenario:
    """One row: noise σ (W) and ρ, tool noise (W), session spread (W), meter step (W), limits in %.

    `bare` leaves out what only the readings know (correlation time, dither): the points then speak
    for themselves, as those of a table that somebody sent.
    """

    name: str
    rho: float = 0.0
    noise_w: float = 1.0
    tool_w: float = 0.0
    sessions: int = 1
    session_w: float = 0.0
    resolution_w: float = 0.0
    levels: int = 8
    repeats: int = 3
    bare: bool = False
    low_pct: float = 94.0
    high_pct: float = 96.0


SCENARIOS = (
    Scenario("AR(1) 0"),
    Scenario("AR(1) 0.5", rho=0.5),
    Scenario("AR(1) 0.9", rho=0.9),
    Scenario("AR(1) 0.97", rho=0.97, low_pct=92, high_pct=97),
    Scenario("tool noise 3 W, 0.5", rho=0.5, tool_w=3.0),
    Scenario("6 sessions, 5 W, 0.5", rho=0.5, sessions=6, session_w=5.0, repeats=1),
    Scenario("step 0.5 σ, 0.5", rho=0.5, resolution_w=0.5),
    Scenario("step 1 σ, 0", resolution_w=1.0),
    Scenario("step 1 σ, 0.9", rho=0.9, resolution_w=1.0),
    Scenario("step 10 σ, 0.5", rho=0.5, resolution_w=10.0, low_pct=92, high_pct=97),
    # Two dozen points say little of a correlation time that nobody states: wider limits.
    Scenario("points only, 0.5", rho=0.5, bare=True, low_pct=92, high_pct=97),
    Scenario("points only, 0.97", rho=0.97, bare=True, low_pct=92, high_pct=97),
)


def calibrate(scenario: Scenario, rng: np.random.Generator) -> tuple[FitResult, _Truth]:
    """Simulate one calibration and fit it; return the fit and what it is held against."""
    s = scenario
    low, high = _LOW_W + 5 * rng.random(), _HIGH_W - 5 * rng.random()
    level = np.linspace(low, high, s.levels)
    level[1:-1] += rng.uniform(-0.4, 0.4, s.levels - 2) * (level[1] - level[0])
    offset = s.session_w * rng.standard_normal(s.sessions + 1)
    tables = [_session(s, i, float(offset[i]), level, rng) for i in range(s.sessions)]
    x, y, u, start = (np.concatenate([t[i] for t in tables]) for i in range(4))
    n = x.size
    each = n // s.sessions
    points = Points(
        session=tuple(f"s{i // each}" for i in range(n)),
        workload=("load",) * n,
        segment=tuple(f"step-{i:04d}" for i in range(n)),
        duration_s=np.full(n, float(_HELD)),
        reference_w=y,
        reference_u_w=u,
        level=np.full(n, math.nan),
        start_unix_s=start,
        inputs={
            "tool": InputColumn(
                x, u=np.full(n, s.tool_w / math.sqrt(_HELD)) if s.tool_w and not s.bare else None
            )
        },
        reference=Reference(
            "simulated meter",
            0.0,
            0.0,
            s.resolution_w or None,
            "simulation",
            window_s=1.0,
        ),
        correlation_time_s=None if s.bare else np.repeat([t[4] for t in tables], each),
        quantisation_w=None if s.bare else np.repeat([t[5] for t in tables], each),
    )
    result = fit_points(points, ("tool",), model="affine", scheme="none")
    zero = float(offset[-1] if s.sessions > 1 else offset[0])
    run = np.repeat(rng.uniform(low, high, _RUN_STEPS), _RUN_HELD)
    wall = zero + _INTERCEPT_W + _SLOPE * run + s.noise_w * _noise(run.size, s.rho, rng)
    tool = run + (s.tool_w * rng.standard_normal(run.size) if s.tool_w else 0.0)
    at = (low, 0.5 * (low + high), high)
    return result, _Truth(
        at, tuple(zero + _INTERCEPT_W + _SLOPE * v for v in at), float(run.size),
        float(tool.sum()), float(wall.sum()),
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Truth:
    """Tool powers and the true powers there, W; the new run: s, tool energy and true energy, J."""

    at_w: tuple[float, ...]
    power_w: tuple[float, ...]
    duration_s: float
    tool_j: float
    energy_j: float


def _session(
    s: Scenario, index: int, offset_w: float, level: Floats, rng: np.random.Generator
) -> tuple[Floats, Floats, Floats, Floats, float, float]:
    """Return tool and wall means (W), u (W), starts (s), correlation time (s), quantisation (W)."""
    x = rng.permutation(np.repeat(level, s.repeats))
    length = _SETTLE + _HELD
    noise = _noise(x.size * length, s.rho, rng).reshape(x.size, length)[:, _SETTLE:]
    wall = _INTERCEPT_W + offset_w + _SLOPE * x[:, None] + s.noise_w * noise
    if s.resolution_w:
        wall = np.rint(wall / s.resolution_w) * s.resolution_w
    means = steady_means(wall, resolution_w=s.resolution_w)
    tool = np.asarray(x)
    if s.tool_w:
        tool = x + s.tool_w * rng.standard_normal((x.size, _HELD)).mean(axis=1)
    start = np.asarray(index * 2 * _DAY_S + np.arange(x.size) * float(length) + _SETTLE)
    return tool, means.power_w, means.u_w, start, means.correlation_time_s, means.quantisation_w


def _noise(n: int, rho: float, rng: np.random.Generator) -> Floats:
    """Return a stationary AR(1) series of unit variance, shape (n,)."""
    white = rng.standard_normal(n)
    if rho == 0:
        return white
    from scipy.signal import lfilter

    white[1:] *= math.sqrt(1 - rho**2)
    return np.asarray(lfilter([1.0], [1.0, -rho], white))


def covered(scenario: Scenario, seed: int, count: int, first: int = 0) -> npt.NDArray[np.int64]:
    """Count in how many calibrations the 95 % interval holds the truth, per `QUANTITIES`.

    Calibration i of a seed has its own generator, numpy's default from (seed, i), whatever the
    share of the work it is done in.
    """
    hits = np.zeros(len(QUANTITIES), dtype=np.int64)
    for i in range(first, first + count):
        result, truth = calibrate(scenario, np.random.default_rng((seed, i)))
        hits += _inside(scenario, result, truth)
    return hits


def monte_carlo_distance(scenario: Scenario, seed: int, draws: int = 200_000) -> float:
    """Return how far the interval of a run's energy is from that of Monte Carlo, in parts of U.

    One calibration; the larger distance of the two ends (JCGM 101:2008, section 8.1). The offset
    between sessions, assumed where there is one only, is left out, as it would hide the rest.
    """
    result, truth = calibrate(scenario, np.random.default_rng((seed, 0)))
    if scenario.sessions == 1:
        kept = (c for c in result.uncertainty if c.correlation != "within_session")
        result = replace(result, uncertainty=tuple(kept))
    of_run = ({"tool": truth.tool_j}, truth.duration_s)
    found = check_energy(result, *of_run, seed=seed, most=draws)
    if found.d_low is None or found.d_high is None:
        return math.inf
    return max(found.d_low, found.d_high) / energy_budget(result, *of_run).expanded


def _inside(scenario: Scenario, result: FitResult, truth: _Truth) -> npt.NDArray[np.bool_]:
    from .uncertainty import student_t

    if result.model is None:
        return np.zeros(len(QUANTITIES), dtype=bool)
    # The calibration's own session is asked about unless sessions differ: then it is a new one.
    without = () if scenario.sessions > 1 else ("within_session",)
    model = result.model
    half = float(student_t(model.dof)) * math.sqrt(model.covariance[1][1])
    found = [abs(model.terms[1].value - _SLOPE) <= half]
    for at, power in zip(truth.at_w, truth.power_w, strict=True):
        p = power_budget(result, {"tool": at}, without=(*without, "within_workload", "independent"))
        found.append(abs(p.value - power) <= p.expanded)
    e = energy_budget(result, {"tool": truth.tool_j}, truth.duration_s, without=without)
    found.append(abs(e.value - truth.energy_j) <= e.expanded)
    return np.array(found)
