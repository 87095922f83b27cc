"""Plans: pure, hashable, the same for the same seed, and level not confounded with time."""

from __future__ import annotations

import itertools
import math
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from calibration.cli.record import _step_of
from calibration.errors import InputError
from calibration.plans import (
    READY,
    SUMMARIES,
    Plan,
    PlanStep,
    Stretch,
    both_sides,
    due,
    find_plan,
    from_mapping,
    from_toml,
    level_time_correlation,
    peak_sidelobe,
    shuffled_plan,
    sync_intervals,
    sync_preamble,
    thermal_trend,
    to_mapping,
    to_toml,
)
from calibration.workloads import workload

quick = READY["quick"]
LAB = [make() for name, make in READY.items() if name not in ("rezero", "observe")]
names = st.text('abcdefghijklmnopqrstuvwxyz-"\\0123456789äß', min_size=1, max_size=12)
steps = st.builds(
    PlanStep,
    names,
    st.floats(0, 1, allow_nan=False),
    st.floats(0.01, 1e4, allow_nan=False, allow_infinity=False),
    st.sampled_from(["measure", "sync", "observe"]),
)


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    some = draw(st.lists(steps, min_size=1, max_size=12))
    shortest = min((s.duration_s for s in some if s.purpose == "measure"), default=1.0)
    settle = draw(st.floats(0, 0.99)) * shortest
    return Plan(
        draw(names), draw(st.integers(0, 2**31)), tuple(some), draw(st.floats(0, 60)), settle
    )


@given(plans())
def test_toml_and_mapping_are_inverse(plan: Plan) -> None:
    assert from_toml(to_toml(plan)) == plan
    assert from_mapping(to_mapping(plan)) == plan
    assert from_toml(to_toml(plan)).sha256 == plan.sha256


@given(plans(), st.floats(-1, 1e6))
def test_exactly_one_phase_is_due_at_any_time(plan: Plan, t_s: float) -> None:
    now = due(plan, t_s)
    begins = list(itertools.accumulate([plan.warm_up_s, *[s.duration_s for s in plan.steps]]))
    if t_s >= begins[-1]:
        assert now is None
        return
    assert now is not None
    assert now.left_s > 0
    if now.index < 0:
        assert now.step is None
        assert t_s < plan.warm_up_s
    else:
        assert now.step is plan.steps[now.index]
        assert begins[now.index] <= t_s < begins[now.index + 1]
        assert now.since_s == pytest.approx(t_s - begins[now.index])


def test_a_step_owns_its_first_instant_and_not_its_last() -> None:
    plan = Plan("p", 0, (PlanStep("idle", 0, 2.0), PlanStep("cpu-int", 1, 3.0)), warm_up_s=1.0)
    assert [getattr(due(plan, t), "index", None) for t in (0, 1, 2.999, 3, 5.999, 6)] == [
        -1,
        0,
        0,
        1,
        1,
        None,
    ]


@pytest.mark.parametrize("plan", LAB, ids=lambda p: p.name)
def test_ready_plans_anchor_idle_and_do_not_confound_level_with_time(plan: Plan) -> None:
    idle = [i for i, s in enumerate(plan.measured) if s.workload == "idle"]
    assert idle[0] == 0
    assert idle[-1] == len(plan.measured) - 1
    assert any(0.3 < i / (len(plan.measured) - 1) < 0.7 for i in idle)
    assert abs(level_time_correlation(plan.measured)) < 0.1
    levels = [s.level for s in plan.measured if s.workload != "idle"]
    assert levels != sorted(levels)
    assert plan.settle_s < min(s.duration_s for s in plan.measured)
    assert plan.steps[0].purpose == "sync"


def test_ready_plans_are_what_their_names_promise() -> None:
    minutes = {n: make().total_s / 60 for n, make in READY.items()}
    assert minutes == pytest.approx(
        {
            "smoke": 2,
            "quick": 10,
            "standard": 30,
            "thorough": 120,
            "rezero": 1,
            "verify": 10,
            "observe": 60,
        },
        rel=0.005,
    )
    assert set(SUMMARIES) == set(READY)
    busy = {
        name: [s for s in make().measured if s.workload != "idle"] for name, make in READY.items()
    }
    workloads = {name: len({s.workload for s in steps}) for name, steps in busy.items()}
    levels = {name: len({s.level for s in steps}) for name, steps in busy.items()}
    # With idle that makes three groups, one less than a correction needs.
    assert workloads["smoke"] == 2
    assert workloads["quick"] >= 3
    assert levels["quick"] >= 8
    assert workloads["standard"] == 6
    assert levels["standard"] == 8
    assert workloads["thorough"] >= 19
    assert busy["rezero"] == busy["observe"] == []
    assert any(s.purpose == "warm-up" for s in READY["standard"]().steps)
    for name in ("quick", "standard", "thorough"):
        both, could = both_sides(READY[name]().steps)
        assert both >= 0.6 * could, name


def test_every_workload_of_a_ready_plan_exists() -> None:
    for make in READY.values():
        for name in make().workloads:
            assert workload(name).name == name


def test_a_step_that_ends_early_moves_all_later_ones_forward() -> None:
    warm = PlanStep("cpu-int", 1.0, 100.0, "warm-up")
    plan = Plan("p", 0, (PlanStep("idle", 0, 10.0), warm, PlanStep("idle", 0, 5.0)), warm_up_s=1.0)
    took = {1: 30.0}
    assert getattr(due(plan, 40.9, took), "index", None) == 1
    after = due(plan, 41.0, took)
    assert after is not None
    assert (after.index, after.since_s, after.left_s) == (2, 0.0, 5.0)
    assert due(plan, 46.0, took) is None
    assert getattr(due(plan, 46.0), "index", None) == 1
    with pytest.raises(InputError, match="one warm-up"):
        Plan("p", 0, (warm, warm))


@pytest.mark.parametrize("seconds", [18.0, 36.0, 95.0])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_preamble_is_like_itself_at_one_lag_only(seconds: float, seed: int) -> None:
    lengths = sync_intervals(seconds, seed)
    assert sum(lengths) == pytest.approx(seconds)
    assert len(lengths) % 2 == 1, "it begins and ends with load"
    assert min(lengths) >= 1.2
    assert len(set(lengths)) > len(lengths) / 4
    assert peak_sidelobe(lengths) < 0.2
    steps = sync_preamble(seconds, seed=seed)
    assert [s.level for s in steps[:3]] == [1.0, 0.0, 1.0]
    assert {s.purpose for s in steps} == {"sync"}


def test_a_square_wave_of_one_period_is_like_itself_at_many_lags() -> None:
    assert peak_sidelobe([2.0] * 45) > 0.9
    # By hand: + + - (a second each) at a lag of 1 s to 1.5 s: of 30 samples 20 to 15 overlap, half
    # of them equal at 1 s, fewer later: nothing above 0.
    assert peak_sidelobe([2.0, 1.0]) == 0.0
    with pytest.raises(InputError, match="16 s"):
        sync_preamble(3.0, seed=1)


def test_a_machine_is_warm_when_its_power_has_stopped_drifting() -> None:
    t = [float(i) for i in range(400)]
    power = [100 - 10 * math.exp(-x / 60) for x in t]

    def slope_per_min(at: float) -> float:
        """The slope of the exponential, as a share of the mean, a minute; over the middle of it."""
        return 60 * (10 / 60) * math.exp(-(at - 30) / 60) / 100

    first = next(i for i in range(2, 400) if thermal_trend(t[:i], power[:i]).steady)
    # The least-squares slope over a minute of an exponential lies within 6 % of that in its middle.
    assert slope_per_min(t[first]) == pytest.approx(0.002, rel=0.1)
    assert not thermal_trend(t[:50], power[:50]).steady, "less than a minute tells nothing"
    drifting = [100 + 0.01 * x for x in t]
    found = thermal_trend(t, drifting)
    assert found.per_min == pytest.approx(0.6 / drifting[-31], rel=1e-3)
    assert not found.steady
    noisy = [100.0 + (5.0 if i % 2 else -5.0) for i in range(400)]
    assert thermal_trend(t, noisy).steady
    assert not thermal_trend(t, noisy).resolved


def test_a_stretch_ends_with_the_second_value_outside() -> None:
    stretch = Stretch()
    assert [stretch.add(v) for v in (100, 101, 99, 120, 100, 120, 121)] == [True] * 6 + [False]
    assert (stretch.count, stretch.mean_w) == (1, 121)
    assert Stretch(30.0).add(100)


def test_every_block_holds_every_cell_once() -> None:
    cells = [(w, v) for w in ("a", "b") for v in (0.25, 0.5, 1.0)]
    plan = shuffled_plan("p", cells, seed=3, step_s=2, idle_s=1, repeats=3)
    busy = [(s.workload, s.level) for s in plan.steps if s.workload != "idle"]
    for block in range(3):
        assert sorted(busy[6 * block : 6 * block + 6]) == sorted(cells)
    assert busy[:6] != busy[6:12]


def test_the_seed_decides_the_order_and_the_hash() -> None:
    assert quick(1) == quick(1)
    assert quick(1).sha256 == quick(1).sha256
    assert quick(1).steps != quick(2).steps
    assert quick(1).sha256 != quick(2).sha256
    assert math.isclose(quick(1).total_s, quick(2).total_s)


def test_the_hash_is_the_same_in_another_process() -> None:
    code = "from calibration.plans import READY; print(READY['quick'](7).sha256)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == quick(7).sha256


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('name = "p"\n[[step]]\nworkload="a"\nlevel=1\nduration_s=1\npurpose="x"', "purpose"),
        ("name = ", "TOML"),
        ('name = "p"', "step"),
        ('name = "p"\nstep = []', "no steps"),
        ('name = "p"\nspeed = 1\n[[step]]\nworkload="a"\nlevel=1\nduration_s=1', "speed"),
        ('name = "p"\n[[step]]\nworkload="a"\nduration_s=1', "level"),
        ('name = "p"\n[[step]]\nworkload="a"\nlevel=2\nduration_s=1', "between 0 and 1"),
        ('name = "p"\n[[step]]\nworkload="a"\nlevel=nan\nduration_s=1', "between 0 and 1"),
        ('name = "p"\n[[step]]\nworkload="a"\nlevel=1\nduration_s=0', "positive"),
        ('name = "p"\n[[step]]\nworkload="a"\nlevel=1\nduration_s=inf', "positive"),
        ('name = "p"\n[[step]]\nworkload="a"\nlevel=true\nduration_s=1', "float"),
        ('name = "p"\n[[step]]\nworkload="a b"\nlevel=1\nduration_s=1', "spaces"),
        ('name = "p"\nsettle_s = 5\n[[step]]\nworkload="a"\nlevel=1\nduration_s=5', "settle_s"),
        ('name = "p"\nwarm_up_s = -1\n[[step]]\nworkload="a"\nlevel=1\nduration_s=5', "warm_up_s"),
        ('name = "p"\nstep = [3]', "table"),
    ],
)
def test_a_bad_plan_is_refused_in_one_sentence(text: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        from_toml(text)


def test_a_plan_is_found_by_name_or_file(tmp_path: Path) -> None:
    assert find_plan("quick") == quick()
    file = tmp_path / "mine.toml"
    file.write_text(to_toml(quick(5)), encoding="utf-8")
    assert find_plan(str(file)) == quick(5)
    with pytest.raises(InputError, match="standard"):
        find_plan(str(tmp_path / "absent.toml"))
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="cannot be read"):
        find_plan(str(tmp_path / "binary"))


def test_workloads_on_the_command_line_become_steps() -> None:
    specs = ["cpu-int:0.5:60", "idle", "stress-ng:fft:0.25", "cmd:python train.py --lr 1:2"]
    steps = [_step_of(spec) for spec in specs]
    assert [(s.workload, s.level, s.duration_s) for s in steps] == [
        ("cpu-int", 0.5, 60.0),
        ("idle", 0.0, 30.0),
        ("stress-ng:fft", 0.25, 30.0),
        ("cmd:python train.py --lr 1:2", 1.0, 86400.0),
    ]
