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

from calibration.errors import InputError
from calibration.plans import (
    READY,
    Plan,
    PlanStep,
    due,
    find_plan,
    from_mapping,
    from_toml,
    level_time_correlation,
    shuffled_plan,
    staircase,
    to_mapping,
    to_toml,
)

names = st.text('abcdefghijklmnopqrstuvwxyz-"\\0123456789äß', min_size=1, max_size=12)
steps = st.builds(
    PlanStep,
    names,
    st.floats(0, 1, allow_nan=False),
    st.floats(0.01, 1e4, allow_nan=False, allow_infinity=False),
)


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    some = draw(st.lists(steps, min_size=1, max_size=12))
    settle = draw(st.floats(0, 0.99)) * min(s.duration_s for s in some)
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


@pytest.mark.parametrize("plan", [make() for make in READY.values()], ids=list(READY))
def test_ready_plans_anchor_idle_and_do_not_confound_level_with_time(plan: Plan) -> None:
    idle = [i for i, s in enumerate(plan.steps) if s.workload == "idle"]
    assert idle[0] == 0
    assert idle[-1] == len(plan.steps) - 1
    assert any(0.3 < i / (len(plan.steps) - 1) < 0.7 for i in idle)
    assert abs(level_time_correlation(plan.steps)) < 0.1
    levels = [s.level for s in plan.steps if s.workload != "idle"]
    assert levels != sorted(levels)
    assert plan.settle_s < min(s.duration_s for s in plan.steps)


def test_every_block_holds_every_cell_once() -> None:
    cells = [(w, v) for w in ("a", "b") for v in (0.25, 0.5, 1.0)]
    plan = shuffled_plan("p", cells, seed=3, step_s=2, idle_s=1, repeats=3)
    busy = [(s.workload, s.level) for s in plan.steps if s.workload != "idle"]
    for block in range(3):
        assert sorted(busy[6 * block : 6 * block + 6]) == sorted(cells)
    assert busy[:6] != busy[6:12]


def test_the_seed_decides_the_order_and_the_hash() -> None:
    assert staircase(1) == staircase(1)
    assert staircase(1).sha256 == staircase(1).sha256
    assert staircase(1).steps != staircase(2).steps
    assert staircase(1).sha256 != staircase(2).sha256
    assert math.isclose(staircase(1).total_s, staircase(2).total_s)


def test_the_hash_is_the_same_in_another_process() -> None:
    code = "from calibration.plans import staircase; print(staircase(7).sha256)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == staircase(7).sha256


@pytest.mark.parametrize(
    ("text", "words"),
    [
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
    assert find_plan("staircase") == staircase()
    file = tmp_path / "mine.toml"
    file.write_text(to_toml(staircase(5)), encoding="utf-8")
    assert find_plan(str(file)) == staircase(5)
    with pytest.raises(InputError, match="staircase"):
        find_plan(str(tmp_path / "absent.toml"))
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="cannot be read"):
        find_plan(str(tmp_path / "binary"))
