"""Fits of points with a known truth: gains, sessions, held-out groups, verdicts."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from calibration.analysis import InputColumn, Points, Reference, compare_points, fit_points
from calibration.analysis.results import FitResult
from calibration.errors import InputError

WORKLOADS = ("idle", "cpu-int", "cpu-float", "memory", "mixed")
METER = Reference("test-meter", 0.001, 0.05, 0.1, "made up for a test", window_s=1.0)


def make(
    truth: Callable[[np.ndarray, str], np.ndarray],
    *,
    seed: int = 1,
    noise_w: float = 0.1,
    sessions: tuple[float, ...] = (0.0,),
    tool: Callable[[np.ndarray], np.ndarray] = lambda x: x,
    levels: int = 8,
    workloads: tuple[str, ...] = WORKLOADS,
    u_w: float | None = None,
) -> Points:
    """Return points of a machine: wall = truth(package power, workload) + session offset."""
    rng = np.random.default_rng(seed)
    session, workload, package, wall = [], [], [], []
    for i, offset in enumerate(sessions):
        for name in workloads:
            x = np.full(3, 10.0) if name == "idle" else np.linspace(15.0, 80.0, levels)
            y = truth(x, name) + offset + rng.normal(0, noise_w, x.size)
            package += list(x)
            wall += list(y)
            session += [f"s{i}"] * x.size
            workload += [name] * x.size
    n = len(package)
    x = np.array(package)
    return Points(
        session=tuple(session),
        workload=tuple(workload),
        segment=tuple(f"seg-{i}" for i in range(n)),
        duration_s=np.full(n, 30.0),
        reference_w=np.array(wall),
        reference_u_w=np.full(n, noise_w if u_w is None else u_w),
        level=np.full(n, math.nan),
        start_unix_s=np.arange(n) * 60.0,
        inputs={
            "rapl_package": InputColumn(tool(x), mode="powercap", modes=("powercap",)),
            "constant": InputColumn(np.full(n, 5.0), constant=True),
        },
        reference=METER,
    )


def affine(x: np.ndarray, _: str) -> np.ndarray:
    return 40.0 + 1.25 * x


def test_an_affine_machine_is_a_correction_and_its_gain_is_inside_its_uncertainty() -> None:
    pulls = []
    for seed in range(40):
        result = fit_points(make(affine, seed=seed), ("rapl_package",))
        assert result.verdict == "correction", result.reasons
        assert result.form == "affine"
        assert result.model is not None
        gain = result.model.terms[1].value
        pulls.append((gain - 1.25) / math.sqrt(result.model.covariance[1][1]))
    # The pull is standard normal: its RMS over 40 fits lies in 0.68 to 1.32 with probability 0.995.
    assert 0.68 < math.sqrt(np.mean(np.square(pulls))) < 1.32


def test_uncertainties_that_are_too_small_are_widened_by_the_lack_of_fit() -> None:
    honest = fit_points(make(affine, noise_w=1.0), ("rapl_package",), model="affine")
    bold = fit_points(make(affine, noise_w=1.0, u_w=0.01), ("rapl_package",), model="affine")
    assert honest.model is not None
    assert bold.model is not None
    ratio = bold.model.covariance[1][1] / honest.model.covariance[1][1]
    assert 0.5 < ratio < 2.0


def test_sessions_keep_their_own_intercept_and_the_gain_stays() -> None:
    points = make(affine, sessions=(0.0, 25.0, -18.0), noise_w=0.05)
    result = fit_points(points, ("rapl_package",), model="affine")
    assert result.model is not None
    assert result.model.terms[1].value == pytest.approx(1.25, abs=0.002)
    assert result.model.terms[0].value == pytest.approx(40.0 + 7.0 / 3.0, abs=0.2)
    offset = next(c for c in result.uncertainty if c.id == "session_offset")
    assert offset.u == pytest.approx(np.std([0.0, 25.0, -18.0], ddof=1), rel=0.02)
    assert "moved_baseline" in {r.code for r in result.reasons}


def test_a_held_out_session_takes_its_zero_from_its_own_idle() -> None:
    points = make(affine, sessions=(0.0, 25.0, -18.0), noise_w=0.05)
    result = fit_points(points, ("rapl_package",), model="affine", scheme="session")
    assert result.validation.rezeroed
    assert result.validation.after is not None
    assert result.validation.after.rmse_w < 0.3


def test_the_session_component_is_assumed_for_one_session_and_never_zero() -> None:
    result = fit_points(make(affine), ("rapl_package",))
    offset = next(c for c in result.uncertainty if c.id == "session_offset")
    assert offset.status == "assumed"
    assert result.idle_w is not None
    assert offset.u == pytest.approx(0.05 * result.idle_w)


def test_the_raw_tool_and_the_null_models_stand_beside_the_correction() -> None:
    result = fit_points(make(affine), ("rapl_package",))
    v = result.validation
    assert v.before is not None
    assert v.after is not None
    points = make(affine)
    x = points.inputs["rapl_package"].value
    y = points.reference_w
    assert v.before.bias_w == pytest.approx(np.mean(x - y))
    assert v.before.mape_pct == pytest.approx(np.mean(np.abs(x - y) / y) * 100)
    assert set(v.nulls) == {"time_only", "idle_only", "gain_only"}
    idle_only = v.nulls["idle_only"]
    assert idle_only is not None
    assert idle_only.above_idle_mape_pct == pytest.approx(100.0)
    assert v.after.mape_pct < 1 < v.before.mape_pct


def test_a_workload_with_another_gain_widens_the_interval_but_does_not_move_the_others() -> None:
    def with_memory(gain: float) -> FitResult:
        def truth(x: np.ndarray, name: str) -> np.ndarray:
            return 40.0 + (gain if name == "memory" else 1.25) * x

        return fit_points(make(truth), ("rapl_package",))

    def lack_w(fit: FitResult) -> float:
        return next(c.u for c in fit.uncertainty if c.id == "lack_of_fit")

    plain = fit_points(make(affine), ("rapl_package",))
    other, far = with_memory(1.38), with_memory(1.45)
    assert lack_w(far) > lack_w(other) > 5 * lack_w(plain)
    assert other.verdict == "correction"
    # A workload 16 % off makes U more than a quarter of the power at the low end: no correction.
    assert far.verdict == "error_statement"
    assert {r.code for r in far.reasons if r.consequence != "flag"} == {"too_uncertain"}


def reasons(points: Points, **options: str) -> set[str]:
    result = fit_points(points, ("rapl_package",), **options)
    assert result.verdict != "correction"
    return {r.code for r in result.reasons if r.consequence != "flag"}


def test_a_cubic_load_model_is_not_a_correction() -> None:
    def cubic(x: np.ndarray) -> np.ndarray:
        return 1.0 + 8.0 * ((x - 10) / 70) ** 3

    assert "workload_dependence" in reasons(make(affine, tool=cubic))


def test_a_tool_that_says_nothing_is_refused_against_the_null_model() -> None:
    rng = np.random.default_rng(5)
    found = reasons(make(affine, tool=lambda x: 10 + rng.normal(0, 1, x.size)))
    assert "not_better_than_null" in found


def test_two_workloads_are_too_few() -> None:
    assert "too_few_groups" in reasons(make(affine, workloads=("idle", "cpu-int", "memory")))


def test_two_levels_are_too_few() -> None:
    assert "too_few_levels" in reasons(make(affine, levels=1))


def test_a_display_of_whole_kilowatts_is_too_coarse() -> None:
    points = make(affine)
    coarse = Points(
        **{
            **{f: getattr(points, f) for f in points.__dataclass_fields__},
            "reference": Reference("plug", 0.01, 0.0, 10.0, "made up"),
        }
    )
    assert "meter_too_coarse" in reasons(coarse)


def test_two_modes_of_one_tool_are_refused() -> None:
    points = make(affine)
    column = points.inputs["rapl_package"]
    mixed = InputColumn(column.value, modes=("intel_rapl", "cpu_load"))
    changed = Points(
        **{
            **{f: getattr(points, f) for f in points.__dataclass_fields__},
            "inputs": {"rapl_package": mixed},
        }
    )
    assert "wrong_mode" in reasons(changed)


def test_an_unknown_input_and_a_constant_one_are_one_sentence() -> None:
    with pytest.raises(InputError, match="expected one of rapl_package, constant; got 'nvml'"):
        fit_points(make(affine), ("nvml",))
    with pytest.raises(InputError, match="merges with the intercept"):
        fit_points(make(affine), ("constant",))


def test_compare_says_bias_and_limits_without_a_fit() -> None:
    points = make(affine)
    tool = compare_points(points).tools[0]
    difference = points.inputs["rapl_package"].value - points.reference_w
    assert tool.bias_w == pytest.approx(difference.mean())
    half = 1.96 * difference.std(ddof=1)
    assert tool.loa_high_w - tool.bias_w == pytest.approx(half)
    assert tool.bias_above_idle_pct == pytest.approx(100 * (1 / 1.25 - 1), abs=0.5)


def test_json_has_every_key_of_its_definition() -> None:
    value = fit_points(make(affine), ("rapl_package",)).to_json()
    assert {"model", "domain", "validation", "uncertainty", "verdict", "reasons"} <= set(value)
    assert {"terms", "covariance", "dof", "additive"} == set(value["model"])
    summary = {"bias_w", "rmse_w", "mape_pct", "max_abs_pct"}
    summary |= {"above_idle_mape_pct", "above_idle_max_pct"}
    for key in ("before", "after"):
        assert set(value["validation"][key]) == summary
    group = {"group", "n", "bias_pct", "mape_pct", "max_abs_pct", "covered_pct"}
    assert set(value["validation"]["per_group"][0]) == group


def test_a_reference_that_never_changes_is_refused_in_words() -> None:
    points = make(lambda x, _: np.full(x.size, 60.0), noise_w=0.0)
    assert "range_too_short" in reasons(points)
    assert fit_points(points, ("rapl_package",)).verdict == "refused"
