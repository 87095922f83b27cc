"""A prediction against what simulated calibrations by the same plan really scatter by."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from calibration.analysis.fit import fit_points
from calibration.analysis.points import InputColumn, Points, Reference
from calibration.errors import InputError
from calibration.plans import READY, Plan, PlanStep
from calibration.plans.prediction import (
    Assumptions,
    PlannedPoints,
    more_workloads,
    planned_points,
    predict,
)

SERVER = Assumptions(idle_w=45.0, full_w=250.0)


def calibration(points: PlannedPoints, a: Assumptions, rng: np.random.Generator) -> Points:
    """One simulated calibration: gains between workloads and noise drawn, the tool exact."""
    gains = rng.normal(0, a.lack_of_fit, len(points.workloads))
    u_w = a.noise_w * np.sqrt(a.cadence_s / points.duration_s)
    wall_w = points.power_w + gains[points.group] * (points.power_w - a.idle_w)
    wall_w = wall_w + rng.normal(0, u_w)
    n = wall_w.size
    return Points(
        session=("s",) * n,
        workload=tuple(points.workloads[g] for g in points.group),
        segment=tuple(f"step-{i}" for i in range(n)),
        duration_s=points.duration_s,
        reference_w=wall_w,
        reference_u_w=u_w,
        level=np.full(n, np.nan),
        start_unix_s=np.full(n, np.nan),
        inputs={"rapl_package": InputColumn((points.power_w - 12) / 1.25)},
        data_kind="simulated",
        reference=Reference("simulated", a.u_meter_gain, 0.0, None, "stated"),
    )


@pytest.mark.parametrize(("name", "runs"), [("quick", 200), ("standard", 100), ("verify", 150)])
def test_repeated_calibrations_scatter_as_predicted(name: str, runs: int) -> None:
    """Within 20 %: 100 runs know a scatter to 7 %; 150 to 400 runs a plan agree to 5 %."""
    points = planned_points(READY[name](), SERVER)
    predicted = predict(points, SERVER)
    assert predicted is not None
    rng = np.random.default_rng(4)
    slopes, halves = [], []
    for _ in range(runs):
        fitted = fit_points(
            calibration(points, SERVER, rng), ("rapl_package",), model="affine", scheme="none"
        )
        assert fitted.model is not None
        intercept, slope = (t.value for t in fitted.model.terms)
        slopes.append(slope / 1.25)
        halves.append(intercept + slope * (147.5 - 12) / 1.25)
    scatter_pct = 100 * float(np.std(slopes))
    assert predicted.gain_statistical_pct == pytest.approx(scatter_pct, rel=0.2)
    assert np.mean(slopes) == pytest.approx(1.0, abs=4 * np.std(slopes) / math.sqrt(runs))


def test_a_prediction_is_its_closed_form_where_there_is_one() -> None:
    """No lack of fit, equal times: s_b = σ_k / √Σ(x - x̄)²; U with the meter's gain beside it."""
    plan = Plan("p", 0, tuple(PlanStep(w, v, 21.0) for w, v in
                [("idle", 0.0), ("cpu-int", 0.5), ("cpu-float", 1.0)]))  # fmt: skip
    a = Assumptions(50.0, 150.0, noise_w=2.0, lack_of_fit=0.0, u_meter_gain=0.0, session=0.0)
    found = predict(planned_points(plan, a), a)
    assert found is not None
    u_k = 2.0 / math.sqrt(20.0)
    u_b = u_k / math.sqrt(2 * 50.0**2)
    assert found.gain_statistical_pct == pytest.approx(100 * u_b, rel=1e-9)
    assert found.gain_pct == pytest.approx(12.7062 * 100 * u_b, rel=1e-4)  # t(1), 97.5 %
    assert found.rezeroed_w[1] == pytest.approx(12.7062 * u_k / math.sqrt(3), rel=1e-4)
    # Only the meter is left where it is all there is: k = 1.96.
    exact = replace(a, noise_w=0.0, u_meter_gain=0.01)
    alone = predict(planned_points(plan, exact), exact)
    assert alone is not None
    assert alone.gain_pct == pytest.approx(1.959964, rel=1e-6)
    assert alone.power_w == pytest.approx([1.959964 * 0.01 * p for p in (50, 100, 150)], rel=1e-6)


def test_what_would_help_helps() -> None:
    points = planned_points(READY["quick"](), SERVER)
    base, more = predict(points, SERVER), predict(more_workloads(points), SERVER)
    noisy = replace(SERVER, noise_w=50.0, lack_of_fit=0.0)
    short = predict(planned_points(READY["quick"](), noisy), noisy)
    long = predict(planned_points(READY["quick"](), noisy, steps=2.0), noisy)
    assert base is not None
    assert more is not None
    assert short is not None
    assert long is not None
    # Twice the workloads: the lack of fit averages over twice as many.
    ratio = more.gain_statistical_pct / base.gain_statistical_pct
    assert ratio == pytest.approx(1 / math.sqrt(2), rel=0.05)
    assert more.groups == 2 * base.groups - 1, "idle is not another workload"
    # 14 s of 20 s count, and 34 s of 40 s.
    assert long.gain_statistical_pct / short.gain_statistical_pct == pytest.approx(
        math.sqrt(14 / 34), rel=0.02
    )


def test_a_smoke_test_gives_no_correction_whatever_it_finds() -> None:
    points = planned_points(READY["smoke"](), SERVER)
    rng = np.random.default_rng(1)
    for spread in (0.0, 0.02):
        table = calibration(points, replace(SERVER, lack_of_fit=spread), rng)
        found = fit_points(table, ("rapl_package",))
        assert found.verdict != "correction"
        assert "too_few_groups" in {r.code for r in found.reasons}


def test_many_workloads_that_differ_by_chance_make_a_correction() -> None:
    """Twenty gains drawn from one normal distribution: one of them is the worst, and is covered."""
    points = planned_points(READY["thorough"](), SERVER)
    rng = np.random.default_rng(11)
    for _ in range(3):
        found = fit_points(calibration(points, SERVER, rng), ("rapl_package",))
        assert found.verdict == "correction", found.reasons
        assert any("group-conformal" in note for note in found.notes)


def test_nonsense_is_refused() -> None:
    with pytest.raises(InputError, match="idle power"):
        Assumptions(idle_w=100.0, full_w=50.0)
    with pytest.raises(InputError, match="lack_of_fit"):
        Assumptions(lack_of_fit=-1.0)
    assert predict(planned_points(READY["rezero"](), SERVER), SERVER) is None
