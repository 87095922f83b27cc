"""Every ready plan, whole, on a simulated machine; see `closed_loop`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from calibration.analysis.fit import fit_points
from calibration.analysis.rezero import idle_windows
from calibration.analysis.segments import run_points
from calibration.plans import READY, Plan, PlanStep
from calibration.simulation.machine import package_power_w, wall_power_w
from tests.lab.closed_loop import MACHINE, S, recorded


@pytest.mark.parametrize("name", ["smoke", "quick", "standard", "thorough", "verify"])
def test_a_plan_becomes_points_a_lag_and_a_verdict(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = READY[name]()
    run = recorded(plan, tmp_path, monkeypatch)
    assert len(run.steps) == len(plan.steps)
    points = run_points([run])
    assert points.n == len(plan.measured), "a preamble or a warm-up became a point, or one is lost"
    assert list(points.workload) == [s.workload for s in plan.measured]
    lag = points.inputs["rapl_package"].lag
    assert lag is not None
    assert lag.resolved, lag.reason
    # The meter renews its reading once a second, at a phase of its own: that is its lag.
    assert abs(lag.offset_s) < 1.1
    result = fit_points(points, ("rapl_package",))
    assert result.data_kind == "simulated"
    if name == "smoke":
        assert result.verdict != "correction"
        assert "too_few_groups" in {r.code for r in result.reasons}
        return
    assert result.verdict == "correction", result.reasons
    assert result.model is not None
    for load in (0.0, 0.5, 1.0):
        x_w = package_power_w(MACHINE, load)
        terms = result.model.terms
        predicted = sum(t.value * (x_w if i else 1.0) for i, t in enumerate(terms))
        assert predicted == pytest.approx(wall_power_w(MACHINE, load), rel=0.03)


def test_a_warm_up_ends_when_the_machine_is_steady_and_not_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = READY["standard"]()
    index = next(i for i, s in enumerate(plan.steps) if s.purpose == "warm-up")
    took, notes = {}, {}
    for name, fan_w in (("still", 0.0), ("slow", 25.0)):
        run = recorded(plan, tmp_path / name, monkeypatch, fan_w=fan_w, fan_s=60.0)
        notes[name] = " ".join(run_points([run]).notes)
        step = run.steps[index]
        took[name] = (step.t_end_ns - step.t_start_ns) / S
        assert step.achieved["purpose"] == "warm-up"
        assert step.achieved["steady"] is (took[name] < plan.steps[index].duration_s - 1)
        assert "cut_short" not in step.achieved
        assert step.settle_s == pytest.approx(took[name], abs=0.01)
    assert 53 < took["still"] < 75
    assert took["slow"] > 120
    # The analysis knows it by the same criterion: after every change of load the fans lag again.
    assert "thermally steady" in notes["slow"]
    assert "thermally steady" not in notes["still"]


def test_a_minute_of_idle_re_zeroes_and_a_machine_at_its_own_work_is_observed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = recorded(READY["rezero"](), tmp_path / "rezero", monkeypatch)
    windows = idle_windows(run)
    assert float(windows.duration_s.sum()) >= 50
    observed = recorded(READY["observe"](), tmp_path / "observe", monkeypatch)
    points = run_points([observed])
    assert points.n >= 50, "about one steady stretch a minute"
    assert set(points.workload) == {"unmarked"}
    levels = np.round(points.inputs["rapl_package"].value)
    assert {14.0 + 150 * v for v in (0.2, 0.9, 0.5, 0.0, 0.7)} <= set(levels.tolist())


def test_a_command_that_is_done_ends_its_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = PlanStep("cmd:python train.py", 1.0, 3600.0)
    idle = PlanStep("idle", 0.0, 10.0)
    run = recorded(Plan("own", 0, (idle, command, idle), settle_s=2.0), tmp_path, monkeypatch)
    lengths = [(s.t_end_ns - s.t_start_ns) / S for s in run.steps]
    assert lengths == pytest.approx([10.0, 40.0, 10.0], abs=1.5)
    assert "cut_short" not in run.steps[1].achieved
    assert run.steps[1].settle_s == 2.0, "what a command did is a measurement"
