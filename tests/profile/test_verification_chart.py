"""Control charts over verification runs: nothing, a baseline that moved, a gain that changed."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from typing import Any

import numpy as np
import pytest

from calibration import Profile, load_profile
from calibration.analysis import Chart, InputColumn, Points, Reference, chart_runs


def run(number: int, base_w: float = 50.0, gain: float = 1.2) -> tuple[str, Points]:
    """Return a run of the machine behind the profile P = 50 W + 1.2 x, noise apart."""
    rng = np.random.default_rng(number)
    x = np.repeat([20.0, 60.0, 120.0, 180.0], 3)
    wall = base_w + gain * x + rng.normal(0, 0.2, x.size)
    n = x.size
    return f"run-{number}", Points(
        session=(f"s{number}",) * n,
        workload=tuple("idle" if v == 20.0 else "load" for v in x),
        segment=tuple(f"p{i}" for i in range(n)),
        duration_s=np.full(n, 30.0),
        reference_w=wall,
        reference_u_w=np.full(n, 0.2),
        level=np.full(n, np.nan),
        start_unix_s=1e9 + number * 86_400 + np.arange(n) * 60.0,
        inputs={"rapl_package": InputColumn(x)},
        reference=Reference("meter", 0.002, 0.0, 0.01, "made up"),
    )


def charts(profile: Profile, *runs: tuple[str, Points]) -> dict[str, Chart]:
    return {c.quantity: c for c in chart_runs(profile, runs)}


def test_runs_that_agree_extend_the_profile(line: Profile) -> None:
    found = charts(line, *(run(i) for i in (3, 1, 2, 4)))
    assert set(found) == {"power", "baseline", "above_idle"}
    for chart in found.values():
        assert chart.runs == ("run-1", "run-2", "run-3", "run-4")  # in order of time
        assert (chart.outside, chart.trend, chart.action) == ((), None, "extend")


def test_a_baseline_that_creeps_raises_the_alarm_though_each_run_is_inside(line: Profile) -> None:
    found = charts(line, *(run(i, base_w=42.0) for i in range(1, 9)))
    assert found["baseline"].outside == ()
    assert found["baseline"].trend is not None
    assert found["baseline"].action == "recalibrate"
    assert all(0.5 < e < 1 for e in found["baseline"].e_n)
    assert found["above_idle"].action == "extend"


def test_a_gain_that_changed_shows_above_idle_and_not_at_idle(line: Profile) -> None:
    found = charts(line, run(1), run(2, base_w=46.0, gain=1.4), run(3))
    assert found["above_idle"].outside == ("run-2",)
    assert found["above_idle"].e_n[1] < -1
    assert found["baseline"].outside == ()


def test_one_run_makes_no_chart(line: Profile) -> None:
    assert chart_runs(line, [run(1)]) == ()


def test_without_idle_there_is_a_chart_of_power_only(line: Profile) -> None:
    busy = [(name, points.select(~points.idle)) for name, points in (run(1), run(2))]
    assert [c.quantity for c in chart_runs(line, busy)] == ["power"]
    assert charts(line, *busy)["power"].e_n[0] == pytest.approx(0, abs=0.1)


def test_a_profile_that_answers_above_idle_only_has_no_baseline(
    line_document: Callable[..., dict[str, Any]],
) -> None:
    document = line_document()
    document["measurand"]["above_idle_only"] = True
    document["applicability"]["idle_inputs"] = {"rapl_package": 12.0}
    document["uncertainty"]["stated"]["U_at"] = [
        {"inputs": {"rapl_package": 60.0}, "P": 57.6, "U": 10.1595}
    ]
    profile = load_profile(document, today=date(2026, 11, 1))
    assert [c.quantity for c in chart_runs(profile, [run(1), run(2)])] == ["above_idle"]
