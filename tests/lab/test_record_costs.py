"""What observing costs stands in the run; a tool that misbehaves costs its own stream only."""

from __future__ import annotations

import io
import json
import math
import time
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from calibration.bench import Snapshot, pushed, record
from calibration.bench.costs import Child, Jitter, Ledger
from calibration.bench.steady import Steadiness
from calibration.cli import main
from calibration.cli.live import LiveView, frame
from calibration.estimators.pipe import ToolProcess
from calibration.instruments import Reading, open_meter
from calibration.plans import Plan, PlanStep
from calibration.recording.check import check_run
from calibration.recording.documents import ChannelInfo, Cost, Descriptor
from calibration.recording.reader import read_run
from calibration.recording.writer import RunWriter, new_start
from tests.lab.ramp import is_stretch_of, ramp_meter, readings_of

ROOT = Path(__file__).resolve().parents[2]


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.floats(1e-6, 800.0), min_size=1, max_size=300), st.floats(0.01, 0.99))
def test_a_quantile_of_the_jitter_is_right_to_one_bin(offs_s: list[float], share: float) -> None:
    jitter = Jitter()
    for off_s in offs_s:
        jitter.add(-off_s)
    exact = float(np.quantile(offs_s, share, method="inverted_cdf"))
    quantile = jitter.quantile_s(share)
    assert quantile is not None
    assert exact * (1 - 1e-9) <= quantile <= exact * 2 ** (1 / 8) * (1 + 1e-9)
    assert jitter.count == len(offs_s)


def test_no_sample_no_jitter() -> None:
    jitter = Jitter()
    assert jitter.quantile_s(0.5) is None
    jitter.add(0.0)
    jitter.add(1e9)
    assert jitter.quantile_s(0.5) == 1e-6
    assert jitter.quantile_s(1.0) == pytest.approx(1073.7, rel=1e-3)


class OddTool:
    """A real child process that goes wrong in a given way."""

    cadence_s = 0.1

    def __init__(self, how: str, when: Path) -> None:
        self.id = how
        config = {"how": how, "when": str(when)}
        script = str(ROOT / "tests" / "lab" / "odd_tool.py")
        self._child = ToolProcess(how, script, config, start_timeout_s=30)
        self.drain, self.close = self._child.drain, self._child.close
        self.pid = self._child.process.pid

    def descriptor(self) -> Descriptor:
        channel = ChannelInfo(name="power_w", quantity="power", unit="W", kind="instant")
        return Descriptor(stream=self.id, role="estimator", source="odd", channels=(channel,))

    def finish(self) -> tuple[Reading, ...]:
        return self._child.finish(5.0)


def test_tools_that_die_stall_leak_or_babble_cost_their_own_stream_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(pushed, "MOST_RSS_BYTES", 200_000_000)
    wrong = tmp_path / "now"
    tools = {h: OddTool(h, wrong) for h in ("well", "dies", "stalls", "leaks", "babbles")}
    plan = Plan("p", 0, (PlanStep("idle", 0, 5.0),))
    looks: list[Snapshot] = []

    def look(snapshot: Snapshot) -> None:
        looks.append(snapshot)
        if snapshot.t_s > 0.7:
            wrong.touch()

    with ramp_meter() as emulator:
        meter = open_meter(f"pzem-004t@{emulator.path}")
        record(
            plan,
            {"wall": meter},
            list(tools.values()),
            RunWriter.create(tmp_path / "run", start=new_start("simulated", "s")),
            cadence_s={"wall": 0.1},
            on_progress=look,
        )
        meter.close()
        for tool in tools.values():
            tool.close()
        _, sent_w = readings_of(emulator.log)
    assert check_run(tmp_path / "run") == ()
    run = read_run(tmp_path / "run")
    wall = run.series("wall", "power_w").value
    assert is_stretch_of(wall[np.isfinite(wall)], sent_w) == sent_w.size, "the meter lost nothing"
    faults = {f.stream: f for f in run.faults if f.code in ("ended", "stalled")}
    assert faults.keys() == {"dies", "stalls", "leaks", "babbles"}
    assert "exit status 7" in faults["dies"].message
    assert "more than the 0.2 GB" in faults["leaks"].message
    assert "Traceback" in faults["babbles"].message
    assert faults["stalls"].t_ended_ns is None
    assert run.rows("well") > 25
    assert all(run.rows(how) >= 2 for how in tools)

    cost = run.cost
    assert cost is not None
    by_stream = {s.stream: s for s in cost.sources}
    assert by_stream.keys() == {"wall", *tools}
    assert all(0 < s.cpu_s < cost.elapsed_s for s in cost.sources)
    well, meter_cost = by_stream["well"], by_stream["wall"]
    assert well.child_cpu_s is not None
    assert well.child_cpu_s > 0.05, "its own process worked, and that is counted apart"
    assert well.child_rss_bytes is not None
    assert 1e6 < well.child_rss_bytes < 2e8
    assert by_stream["dies"].child_cpu_s is not None, "the last figures of a dead one stay"
    assert meter_cost.child_cpu_s is None
    own_s = cost.writer_cpu_s + cost.plan_cpu_s + cost.view_cpu_s
    own_s += sum(s.cpu_s for s in cost.sources)
    # The emulator lives in this process too: it is in the whole and in none of the parts.
    assert own_s < cost.process_cpu_s
    assert cost.elapsed_s >= 5.0
    assert meter_cost.jitter_p50_s is not None
    assert meter_cost.jitter_p99_s is not None
    assert meter_cost.jitter_p50_s <= meter_cost.jitter_p99_s
    assert cost.view_cpu_s > 0
    assert len(looks) <= 4 * cost.elapsed_s + 2, "at most four times a second"

    assert main(["runs", "show", str(tmp_path / "run"), "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    schema = json.loads((ROOT / "calibration/schema/runs-show-1.0.json").read_text())
    jsonschema.Draft202012Validator(schema).validate(shown)
    assert shown["cost"]["recorder_cpu_s"] == pytest.approx(own_s - cost.view_cpu_s)
    assert main(["runs", "show", str(tmp_path / "run")]) == 0
    text = capsys.readouterr().out
    assert "jitter p50 ms" in text
    assert "the recorder and its adapters:" in text
    assert max(map(len, text.splitlines())) <= 120


def test_costs_are_written_every_minute(tmp_path: Path) -> None:
    now_ns = 10**18
    with RunWriter.create(tmp_path / "run", start=new_start("measured", "s"), live=False) as run:
        ledger = Ledger(run, lambda: now_ns)
        for _ in range(300):
            now_ns += 10**9
            ledger.write([])
    lines = (tmp_path / "run" / "run.jsonl").read_text().splitlines()
    costs = [c for c in map(json.loads, lines) if c["type"] == "cost"]
    assert [c["elapsed_s"] for c in costs] == [60, 120, 180, 240, 300]


def test_a_child_that_was_never_there_costs_nothing() -> None:
    child = Child(2**22 - 3)
    child.look()
    assert (child.cpu_s, child.rss_bytes) == (0.0, None)


def snapshot(**change: Any) -> Snapshot:
    values: dict[str, Any] = {
        "t_s": 100.0,
        "total_s": 400.0,
        "index": 2,
        "steps": 9,
        "workload": "cpu-int",
        "level": 0.5,
        "watts": {"wall": 123.45, "rapl": math.nan},
        "faults": {"wall": 0, "rapl": 1, "cpu-load": 12},
        "step_left_s": 12.4,
        "level_s": 7.0,
        "slope_per_min": math.nan,
        "steady": False,
        "trouble": None,
    }
    return Snapshot(**{**values, **change})


def test_a_frame_says_everything_that_one_wants_to_know() -> None:
    lines = frame("recording quick", snapshot())
    assert lines[0] == "recording quick [######                  ]  25 %  5 min 00 s left"
    assert lines[1] == "  step 3 of 9: cpu-int 0.50, 12 s left; one level for 7 s"
    assert [line.split() for line in lines[2:]] == [
        ["wall", "123.5", "W"],
        ["rapl", "-", "W", "1", "fault"],
        ["cpu-load", "12", "faults"],
    ]
    drifts = frame("r", snapshot(slope_per_min=-0.0123))[1]
    assert drifts.endswith("; not yet steady, -1.23 %/min")
    stands = frame("r", snapshot(slope_per_min=0.0001, steady=True))[1]
    assert stands.endswith("; steady, +0.01 %/min")
    assert "nothing asked" in frame("r", snapshot(workload=None, index=-1))[1]
    assert "THE DISK REFUSES" in frame("r", snapshot(trouble="full"))[-1]
    assert frame("r", snapshot(total_s=86_400.0))[0].endswith("23 h 58 min left")


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_the_view_draws_at_most_four_times_a_second_and_leaves_nothing_behind() -> None:
    out, now_s, drawn = Screen(), 0.0, 0
    with LiveView("recording quick", out, now_s=lambda: now_s) as view:
        for hundredth in range(1000):
            now_s, before = hundredth / 100, out.tell()
            view.update(snapshot())
            drawn += out.tell() > before
    assert drawn == 40
    text = out.getvalue()
    assert text.endswith("\x1b[5F\x1b[J"), "five lines up, and all below is taken away"
    assert text.count("\x1b[5F") == 40


def test_the_view_is_silent_where_nobody_looks_on() -> None:
    out = io.StringIO()
    with LiveView("recording quick", out) as view:
        assert not view.shown
        view.update(snapshot())
    assert out.getvalue() == ""


def test_steadiness_by_the_criteria_of_the_plans() -> None:
    flat = Steadiness(5.0, 0.2)
    for t in range(90):
        flat.look(float(t), 100.0 + 0.05 * (t % 2))
        flat.look(t + 0.5, 500.0)  # between two looks a second apart nothing is taken
    assert flat.level_s == 89
    assert flat.steady
    assert abs(flat.slope_per_min) < 1e-3
    jump = Steadiness(5.0, 0.2)
    for t in range(30):
        jump.look(float(t), 100.0 if t < 20 else 150.0)
    assert jump.level_s == 8, "the second value outside begins a new stretch"
    assert not jump.steady
    drift = Steadiness(5.0, 0.2)
    for t in range(90):
        drift.look(float(t), 100.0 * (1 + 0.005 * t / 60))
    assert not drift.steady
    assert drift.slope_per_min == pytest.approx(0.005, rel=0.01)
    assert Steadiness(0.0, 0.0).level_s == 0.0


def test_a_cost_document_comes_back_as_it_went(tmp_path: Path) -> None:
    begin_s = time.thread_time()
    with RunWriter.create(tmp_path / "run", start=new_start("measured", "s"), live=False) as run:
        ledger = Ledger(run, time.monotonic_ns)
        ledger.show(lambda: sum(i * i for i in range(200_000)) and None)
        ledger.write([], at_once=True)
    cost = read_run(tmp_path / "run").cost
    assert isinstance(cost, Cost)
    assert 0 < cost.view_cpu_s < time.thread_time() - begin_s
    assert cost.sources == ()
