"""A table of points carries what the fit must know of its readings, and errors of its inputs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from calibration.analysis import InputColumn, Points, Reference, fit_points
from calibration.analysis.points_table import format_points, read_points
from calibration.analysis.validation import hold_out
from calibration.errors import InputError

METER = Reference("test-meter", 0.001, 0.0, 0.1, "made up for a test", window_s=1.0)


def points(u_x: float = 0.0, time_s: float | None = 66.0, groups: int = 6) -> Points:
    """Return steps of `groups` workloads, four levels each, with noise in both variables."""
    rng = np.random.default_rng(17)
    n = 4 * groups
    truth = np.tile(np.linspace(20, 60, 4), groups) + np.repeat(rng.uniform(-5, 5, groups), 4)
    return Points(
        session=("monday",) * n,
        workload=tuple("idle" if i < 4 else f"w{i // 4}" for i in range(n)),
        segment=tuple(f"step-{i:04d}" for i in range(n)),
        duration_s=np.full(n, 50.0),
        reference_w=40 + 1.25 * truth + 0.3 * rng.standard_normal(n),
        reference_u_w=np.full(n, 0.3),
        level=np.full(n, np.nan),
        start_unix_s=60.0 * np.arange(n),
        inputs={
            "tool": InputColumn(
                truth + u_x * rng.standard_normal(n), u=np.full(n, u_x) if u_x else None
            )
        },
        reference=METER,
        correlation_time_s=None if time_s is None else np.full(n, time_s),
        quantisation_w=None if time_s is None else np.full(n, 0.02),
    )


def test_the_columns_come_back_from_the_file(tmp_path: Path) -> None:
    path = tmp_path / "points.csv"
    path.write_text(format_points(points(u_x=0.5)), encoding="utf-8")
    header = path.read_text(encoding="utf-8").splitlines()[0].split(",")
    assert {"correlation_time_s", "quantisation_w", "tool_u_w"} <= set(header)
    back = read_points(path, meter=METER)
    assert np.array_equal(back.correlation_time_s, np.full(24, 66.0))
    assert np.array_equal(back.quantisation_w, np.full(24, 0.02))
    assert np.array_equal(back.inputs["tool"].u, np.full(24, 0.5))
    first, again = (fit_points(p, ("tool",)) for p in (points(u_x=0.5), back))
    assert first.to_json() == again.to_json()


def test_a_table_without_the_columns_is_read_as_before(tmp_path: Path) -> None:
    path = tmp_path / "points.csv"
    path.write_text(format_points(points(time_s=None)), encoding="utf-8")
    assert "correlation_time_s" not in path.read_text(encoding="utf-8")
    back = read_points(path, meter=METER)
    assert back.correlation_time_s is None
    assert back.quantisation_w is None
    path.write_text(format_points(points()).replace(",66.0,", ",-1.0,"), encoding="utf-8")
    with pytest.raises(InputError, match="column correlation_time_s: expected at least 0; got -1"):
        read_points(path, meter=METER)


def test_held_out_folds_know_what_their_points_share() -> None:
    slow, fast = points(), points(time_s=1.0)
    carried, alone = (hold_out(p, ("tool",), "affine", "workload") for p in (slow, fast))
    # Neighbours that share slow noise tell less of the level than as many independent ones.
    assert np.mean(carried.variance) > 1.2 * np.mean(alone.variance)


def test_errors_in_variables_switch_themselves_on_and_say_so() -> None:
    quiet = fit_points(points(u_x=0.5), ("tool",), model="affine")
    assert quiet.reliability == {}
    assert "errors_in_variables" not in {r.code for r in quiet.reasons}
    noisy = points(u_x=4.0)
    found = fit_points(noisy, ("tool",), model="affine")
    assert 0.9 < found.reliability["tool"] < 0.995
    reason = next(r for r in found.reasons if r.code == "errors_in_variables")
    assert reason.consequence == "flag"
    assert "tool by" in reason.message
    blind = replace(noisy, inputs={"tool": replace(noisy.inputs["tool"], u=None)})
    flat = fit_points(blind, ("tool",), model="affine")
    gain, flattened = (next(t.value for t in r.model.terms if t.input) for r in (found, flat))
    assert gain == pytest.approx(flattened / found.reliability["tool"], rel=0.02)
    assert found.to_json()["reliability"] == {"tool": pytest.approx(found.reliability["tool"])}


@pytest.mark.parametrize(("groups", "kind"), [(8, "student_t"), (24, "group_conformal")])
def test_the_interval_says_what_it_rests_on(groups: int, kind: str) -> None:
    result = fit_points(points(groups=groups), ("tool",), model="affine")
    v = result.validation
    assert v.groups == groups
    assert v.interval == kind
    lack = next(c for c in result.uncertainty if c.id == "lack_of_fit")
    assert lack.source.startswith(
        {"student_t": "Student's t", "group_conformal": "group-conf"}[kind]
    )
    assert lack.dof == groups - 2
    assert v.interval_half_width_w is not None
    biases = [g.bias_pct for g in v.per_group]
    assert len(biases) == groups
