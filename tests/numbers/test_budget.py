"""The budget as rows: GUM examples, the interval that fits state, and the consumer's own sums."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import pytest

from calibration import combine, load_profile
from calibration.analysis import InputColumn, Points, Reference, fit_points
from calibration.analysis.budget import (
    Job,
    budget_rows,
    energy_budget,
    jobs_budget,
    power_budget,
)
from calibration.analysis.montecarlo import check_energy
from calibration.analysis.results import Component, FitResult, Model, Term
from calibration.errors import InputError

# GUM H.3: calibration of a thermometer, t_k and the correction b_k at eleven readings.
T_C = (21.521, 22.012, 22.512, 23.003, 23.507, 23.999, 24.513, 25.002, 25.503, 26.010, 26.511)
B_C = (-0.171, -0.169, -0.166, -0.159, -0.164, -0.165, -0.156, -0.157, -0.159, -0.161, -0.160)


def fitted(x: np.ndarray, y: np.ndarray, u: float, **reference: float) -> FitResult:
    n = x.size
    points = Points(
        session=("one",) * n,
        workload=("load",) * n,
        segment=tuple(f"{i}" for i in range(n)),
        duration_s=np.full(n, 30.0),
        reference_w=y,
        reference_u_w=np.full(n, u),
        level=np.full(n, math.nan),
        start_unix_s=np.full(n, math.nan),
        inputs={"tool": InputColumn(x)},
        reference=Reference(
            "meter", reference.get("u_gain", 0.0), reference.get("u_offset_w", 0.0), None, "sheet"
        ),
    )
    return fit_points(points, ("tool",), model="affine", scheme="none")


def machine(u_gain: float = 0.003, u_offset_w: float = 0.2) -> FitResult:
    rng = np.random.default_rng(3)
    x = np.tile(np.linspace(10.0, 80.0, 8), 3)
    return fitted(
        x, 40 + 1.25 * x + rng.normal(0, 0.3, x.size), 0.3, u_gain=u_gain, u_offset_w=u_offset_w
    )


def test_the_thermometer_of_gum_h3() -> None:
    # y1 = -0.1712(29), y2 = 0.00218(67), r = -0.930, s = 0.0035; b(30) = -0.1494, u = 0.0041.
    x = np.array(T_C) - 20.0
    result = fitted(x, np.array(B_C), 0.0035)
    assert result.model is not None
    y1, y2 = (t.value for t in result.model.terms)
    (v1, v12), (_, v2) = result.model.covariance
    assert y1 == pytest.approx(-0.1712, abs=5e-5)
    assert y2 == pytest.approx(0.00218, abs=5e-6)
    assert math.sqrt(v1) == pytest.approx(0.0029, abs=6e-5)
    assert math.sqrt(v2) == pytest.approx(0.00067, abs=6e-6)
    assert v12 / math.sqrt(v1 * v2) == pytest.approx(-0.930, abs=6e-4)
    classes = ("within_session", "within_workload", "independent", "full")
    at30 = power_budget(result, {"tool": 10.0}, without=classes)
    assert at30.value == pytest.approx(-0.1494, abs=5e-5)
    assert at30.u == pytest.approx(0.0041, abs=6e-5)
    assert at30.dof == pytest.approx(9.0)


def end_gauge() -> FitResult:
    """GUM H.1: an end gauge's length in nm, its sources as components of one constant."""
    rows = [  # (id, c u in nm, dof)
        ("l_S", 25.0, 18.0),
        ("d", 9.7, 25.6),
        ("delta_alpha", 2.9, 50.0),
        ("delta_theta", 16.6, 2.0),
    ]
    parts = tuple(
        Component(name, "absolute", u, "full", "A", "normal", "GUM H.1", dof=dof)
        for name, u, dof in rows
    )
    model = Model((Term("l", "const", 838.0, "W"),), ((0.0,),), 0.0)
    return replace(machine(), model=model, uncertainty=parts)


def test_the_end_gauge_of_gum_h1() -> None:
    found = power_budget(end_gauge(), {"tool": 1.0})
    # u_c = 32 nm, effective dof 16, and at 99 % k = 2.92, U = 93 nm; at 95 % t(16) = 2.12.
    assert found.u == pytest.approx(31.7, abs=0.4)
    assert math.floor(found.dof) in (16, 17)
    assert found.k == pytest.approx(2.12, abs=0.02)


def test_rows_sum_to_the_combined_uncertainty_and_name_their_source() -> None:
    result = machine()
    rows = budget_rows(result, {"tool": 45.0}, 600.0)
    whole = power_budget(result, {"tool": 45.0}, 600.0)
    assert sum(r.variance for r in rows) == pytest.approx(whole.u**2, rel=1e-12)
    assert {"b0", "b1", "cov(b0,b1)", "meter_gain", "meter_offset", "session_offset",
            "lack_of_fit", "residual"} == {r.symbol for r in rows}  # fmt: skip
    assert all(r.source and r.correlation and r.type in "AB" for r in rows)
    gain = next(r for r in rows if r.symbol == "meter_gain")
    assert gain.contribution == pytest.approx(0.003 * whole.value)
    cross = next(r for r in rows if r.symbol.startswith("cov"))
    assert cross.contribution < 0


def test_noise_averages_out_and_the_meter_does_not() -> None:
    result = machine()
    short, long = (energy_budget(result, {"tool": 45.0 * t}, t) for t in (30.0, 86400.0))

    def relative(budget: object, name: str) -> float:
        rows = budget.rows  # type: ignore[attr-defined]
        return float(next(r for r in rows if r.symbol == name).contribution) / budget.value  # type: ignore[attr-defined]

    assert relative(long, "meter_gain") == pytest.approx(relative(short, "meter_gain"))
    assert relative(long, "residual") < 0.02 * relative(short, "residual")


def test_jobs_add_as_their_classes_say() -> None:
    result = machine()
    part = Component("lack_of_fit", "absolute", 2.0, "within_workload", "A", "normal", "made", 5.0)
    others = tuple(c for c in result.uncertainty if c.id != "lack_of_fit")
    result = replace(result, uncertainty=(*others, part))
    job = {"tool": 45.0 * 600}
    same = jobs_budget(result, [Job(600, job, "s", "w"), Job(600, job, "s", "w")])
    other = jobs_budget(result, [Job(600, job, "s", "w"), Job(600, job, "t", "v")])
    row = {b: {r.symbol: r for r in x.rows} for b, x in (("same", same), ("other", other))}
    for name in ("lack_of_fit", "session_offset"):
        ratio = row["same"][name].contribution / row["other"][name].contribution
        assert ratio == pytest.approx(math.sqrt(2))
    assert row["same"]["meter_gain"].contribution == pytest.approx(
        row["other"]["meter_gain"].contribution
    )
    assert same.value == pytest.approx(other.value)


def test_the_monte_carlo_of_a_run_agrees_with_its_budget() -> None:
    result = machine(u_gain=0.0002, u_offset_w=0.02)
    parts = tuple(c for c in result.uncertainty if c.correlation != "within_session")
    found = check_energy(
        replace(result, uncertainty=parts), {"tool": 45.0 * 600}, 600.0, seed=4, most=400_000
    )
    law = energy_budget(replace(result, uncertainty=parts), {"tool": 45.0 * 600}, 600.0)
    assert found.value == pytest.approx(law.value, rel=1e-4)
    assert found.high - found.low == pytest.approx(2 * law.expanded, rel=0.04)


def test_what_has_no_model_or_no_value_is_one_sentence() -> None:
    result = machine()
    with pytest.raises(InputError, match="tool is missing"):
        power_budget(result, {})
    with pytest.raises(InputError, match="no"):
        power_budget(replace(result, model=None), {"tool": 1.0})
    with pytest.raises(InputError, match="at least one job"):
        jobs_budget(result, [])


def test_the_lab_and_the_consumer_of_a_profile_add_energies_alike() -> None:
    example = Path(__file__).parents[1] / "profile" / "worked_example.json"
    document = json.loads(example.read_text(encoding="utf-8"))
    for key in ("table", "quick", "evidence", "supersedes"):
        del document[key]
    document["inputs"] = [document["inputs"][0]]
    document["model"] = {
        "kind": "linear_basis",
        "output": "P_wall",
        "additive": True,
        "terms": [
            {"id": "b0", "basis": "const", "value": 50.0, "unit": "W"},
            {"id": "b1", "basis": "input", "input": "rapl_package", "value": 1.2, "unit": "1"},
        ],
        "covariance": [[0.25, -0.002], [-0.002, 0.0001]],
        "dof": 20,
    }
    document["uncertainty"]["stated"]["U_at"] = [
        {"inputs": {"rapl_package": 60.0}, "P": 122.0, "U": 11.827}
    ]
    document["uncertainty"]["between_unit"] = {"u_rel": 0.0, "n_units": 1, "status": "assumed"}
    document["applicability"] = {
        "domain": {"rapl_package": [10.0, 200.0], "output": [62.0, 290.0]},
        "extrapolation": "flag",
        "min_averaging_s": 10.0,
        "max_averaging_s": None,
    }
    document["subject"] = {"match": {"required": {}}}
    profile = load_profile(document, today=date(2026, 11, 1))
    model = document["model"]
    result = replace(
        machine(),
        inputs=("rapl_package",),
        model=Model(
            tuple(
                Term(t["id"], t["basis"], t["value"], t["unit"], t.get("input"))
                for t in model["terms"]
            ),
            tuple(map(tuple, model["covariance"])),
            20.0,
        ),
        uncertainty=tuple(
            Component(
                c.id, "relative" if c.relative else "absolute", c.u, c.correlation, "A", "normal",
                "profile", c.dof, correlation_time_s=c.correlation_time_s,
            )
            for c in profile.components
        ),
    )  # fmt: skip
    plan = [(600.0, 80.0, "a", "w"), (7200.0, 30.0, "a", "v"), (60.0, 120.0, "b", "w")]
    parts = [
        profile.correct_energy(t, machine=None, session=s, workload=w, rapl_package=t * x)
        for t, x, s, w in plan
    ]
    jobs = [Job(t, {"rapl_package": t * x}, s, w) for t, x, s, w in plan]
    for theirs, ours in (
        (parts[0], jobs_budget(result, jobs[:1])),
        (combine(parts), jobs_budget(result, jobs)),
    ):
        assert ours.value == pytest.approx(theirs.energy_j, rel=1e-12)
        assert ours.u == pytest.approx(theirs.u_j, rel=1e-9)
        assert ours.k == pytest.approx(theirs.k, rel=1e-6)


def test_the_printed_budget_fits_80_columns_and_states_its_sum() -> None:
    from calibration.cli.report import budget_text

    text = budget_text(machine())
    assert max(len(line) for line in text.splitlines()) <= 80
    assert "degrees of freedom, k = " in text
    for name in ("b0", "cov(b0,b1)", "meter_gain", "session_offset", "residual"):
        assert f"\n{name} " in text
    assert "determine no model" in budget_text(replace(machine(), model=None))
