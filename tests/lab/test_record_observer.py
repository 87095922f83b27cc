"""Idle with and without each estimator: what it costs at the meter, or that nobody can tell."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import numpy as np
import pytest

from calibration.analysis.observer import observer_costs
from calibration.bench import record
from calibration.cli import main
from calibration.estimators import CpuLoad
from calibration.instruments import open_meter
from calibration.plans import observer_plan, to_mapping
from calibration.recording.check import check_run
from calibration.recording.documents import ChannelInfo, Descriptor, Step
from calibration.recording.reader import Run, read_run
from calibration.recording.writer import RunWriter, new_start
from drivers.emulators.pzem004t import Pzem004tEmulator
from tests.lab.test_record_costs import OddTool

ROOT = Path(__file__).resolve().parents[2]
S = 10**9


def test_every_source_works_alone_between_two_rests() -> None:
    plan, active = observer_plan(["a", "b", "c"], rounds=4, step_s=5.0)
    assert len(plan.steps) == len(active) == 4 * 3 * 3
    assert {s.purpose for s in plan.steps} == {"observe"}, "none of them becomes a point"
    assert active[0::3] == active[2::3] == (frozenset(),) * 12
    order = ["".join(a) for a in active[1::3]]
    assert [order[i : i + 3] for i in range(0, 12, 3)] == [
        ["a", "b", "c"],
        ["b", "c", "a"],
        ["c", "a", "b"],
        ["a", "b", "c"],
    ]


def played(path: Path, costs_w: dict[str, float], *, noise_w: float, rounds: int = 6) -> Run:
    """Write a run at 10 Hz of a machine that warms up by 2 W a minute meanwhile."""
    chance = np.random.default_rng(11)
    plan, active = observer_plan(list(costs_w), rounds=rounds)
    start = new_start("simulated", "s", plan=to_mapping(plan))
    channel = ChannelInfo(name="power_w", quantity="power", unit="W", kind="mean", window_s=0.1)
    meter = Descriptor(stream="wall", role="meter", source="t", channels=(channel,), cadence_s=0.1)
    with RunWriter.create(path, start=start, live=False) as run:
        wall = run.open_stream(meter)
        for index, working in enumerate(active):
            begin_s = 10.0 * index
            t_s = begin_s + 0.1 * np.arange(1, 101)
            power_w = 50 + t_s / 30 + sum(costs_w[w] for w in working)
            power_w[:20] = 500.0  # what the step before left behind; it is trimmed
            power_w += chance.normal(0, noise_w, t_s.size)
            stamps = np.round(t_s * S).astype(np.int64)
            wall.append_rows(stamps, stamps, {"power_w": power_w})
            run.step(
                Step(
                    index=index,
                    workload="idle",
                    level=None,
                    t_start_ns=round(begin_s * S),
                    t_end_ns=round((begin_s + 10) * S),
                    settle_s=10.0,
                    achieved={"purpose": "observe", "sources": sorted(working)},
                )
            )
    return read_run(path)


def test_a_cost_is_found_within_its_uncertainty_in_spite_of_drift(tmp_path: Path) -> None:
    truth = {"heavy": 0.8, "light": 0.0}
    found = {c.stream: c for c in observer_costs(played(tmp_path / "r", truth, noise_w=0.3))}
    assert found.keys() == truth.keys()
    for stream, cost in found.items():
        assert abs(cost.cost_w - truth[stream]) < cost.expanded_w
        assert cost.n == 6
        # The standard deviation of a mean of 70 samples is 0.036 W; of a difference 0.044 W.
        assert 0.01 < cost.expanded_w < 0.12
    assert found["heavy"].measurable
    assert not found["light"].measurable


def test_drift_alone_costs_nothing(tmp_path: Path) -> None:
    (cost,) = observer_costs(played(tmp_path / "r", {"a": 0.0}, noise_w=1e-6))
    assert abs(cost.cost_w) < 1e-4


def test_too_few_differences_say_nothing(tmp_path: Path) -> None:
    assert observer_costs(played(tmp_path / "r", {"a": 1.0}, noise_w=0.1, rounds=2)) == ()


def test_a_tool_rests_and_works_for_real(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The meter sees 5 W more whenever the tool's process does not stand still."""
    tool = OddTool("well", tmp_path / "never")
    state = Path(f"/proc/{tool.pid}/stat")

    def power_w(_t_s: float) -> float:
        return 55.0 if state.read_text().rpartition(") ")[2][0] == "T" else 60.0

    plan, active = observer_plan(["well", "cpu-load"], rounds=3, step_s=0.8, settle_s=0.3)
    with Pzem004tEmulator(power_w, window_s=0.05, refresh_s=0.05) as emulator:
        meter = open_meter(f"pzem-004t@{emulator.path}")
        record(
            plan,
            {"wall": meter},
            [tool, CpuLoad(cadence_s=0.1)],
            RunWriter.create(
                tmp_path / "run", start=new_start("simulated", "s", plan=to_mapping(plan))
            ),
            cadence_s={"wall": 0.05},
            active=active,
        )
        meter.close()
    tool.close()
    run = read_run(tmp_path / "run")
    assert check_run(tmp_path / "run") == ()
    assert [s.achieved["sources"] for s in run.steps] == [sorted(a) for a in active]
    assert {f.code for f in run.faults} <= {"late", "missed"}, "a rest is no stall"
    for stream in ("well", "cpu-load"):
        t_ns = run.series(stream, run.channels(stream)[0].name).t_ns
        on = [s for s in run.steps if s.achieved["sources"] == [stream]]
        # A quarter of a second passes before a thread looks, a tenth for what was on its way.
        inside = [(s.t_start_ns - S // 10, s.t_end_ns + S // 2) for s in on]
        in_the_middle = t_ns[(t_ns > run.steps[0].t_end_ns) & (t_ns < run.steps[-1].t_start_ns)]
        assert all(any(a <= t <= b for a, b in inside) for t in in_the_middle.tolist())
        assert in_the_middle.size >= 6
    found = {c.stream: c for c in observer_costs(run)}
    assert found["well"].cost_w == pytest.approx(5.0, abs=1.0)
    assert found["cpu-load"].cost_w == pytest.approx(0.0, abs=1.0)

    assert main(["runs", "show", str(run.path), "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    schema = json.loads((ROOT / "calibration/schema/runs-show-1.0.json").read_text())
    jsonschema.Draft202012Validator(schema).validate(shown)
    assert {o["stream"] for o in shown["observer"]} == {"well", "cpu-load"}
    assert main(["runs", "show", str(run.path)]) == 0
    assert "well costs" in capsys.readouterr().out


def test_the_command_needs_a_meter_and_an_estimator(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["record", "--observer", "--estimator", "cpu-load"]) == 3
    assert "needs a --meter" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
