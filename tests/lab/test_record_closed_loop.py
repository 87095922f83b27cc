"""A recording with real threads, real ports and real processes, against what the emulator sent."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import jsonschema
import numpy as np
import pytest

from calibration.bench import Snapshot, record
from calibration.cli import main
from calibration.errors import CalibrationError
from calibration.estimators import CodeCarbon, CpuLoad
from calibration.instruments import FaultPlan, Pzem004tEmulator, open_meter
from calibration.plans import Plan, PlanStep, find_plan, to_mapping
from calibration.recording.check import check_run
from calibration.recording.reader import read_run
from calibration.recording.writer import RunWriter, new_start

ROOT = Path(__file__).resolve().parents[2]
SHORT = Plan(
    "short",
    0,
    (PlanStep("idle", 0, 0.6), PlanStep("cpu-int-1", 0.5, 1.2), PlanStep("idle", 0, 0.6)),
    warm_up_s=0.3,
    settle_s=0.2,
)


@pytest.fixture
def power() -> Iterator[Pzem004tEmulator]:
    with Pzem004tEmulator(53.2, window_s=0.1, refresh_s=0.1) as emulator:
        yield emulator


def address(emulator: Pzem004tEmulator) -> str:
    return f"pzem-004t@{emulator.path}"


def writer(path: Path, plan: Plan) -> RunWriter:
    start = new_start("simulated", "test", plan=to_mapping(plan), seed=plan.seed)
    return RunWriter.create(path, start=start)


def test_a_plan_is_recorded_with_an_unplugged_meter_and_a_dying_tool(
    tmp_path: Path, power: Pzem004tEmulator
) -> None:
    plan = Plan("p", 0, (PlanStep("idle", 0, 1.0), PlanStep("cpu-int-1", 0.6, 3.0)), warm_up_s=0.2)
    seen: list[Snapshot] = []
    meter = open_meter(address(power))
    try:
        with CodeCarbon(measure_power_secs=0.2) as tool:
            timers = [
                threading.Timer(0.8, power.unplug),
                threading.Timer(1.8, power.replug),
                threading.Timer(2.2, os.kill, (tool.pid, signal.SIGKILL)),
            ]
            for timer in timers:
                timer.start()
            record(
                plan,
                {"wall": meter},
                [CpuLoad(cadence_s=0.1), tool],
                writer(tmp_path / "run", plan),
                on_progress=seen.append,
                reopen={"wall": lambda: open_meter(address(power))},
                cadence_s={"wall": 0.1},
            )
            for timer in timers:
                timer.join()
    finally:
        meter.close()
    assert check_run(tmp_path / "run") == ()
    run = read_run(tmp_path / "run")
    assert run.stop is not None
    assert run.stop.exit_status == "success"

    wall = run.series("wall", "power_w")
    good = np.isfinite(wall.value)
    assert set(wall.value[good]) == {53.2}, "a fault is never a number"
    assert (np.diff(wall.t_ns) >= 0).all()
    assert "gone" in wall.faults.values()
    assert np.flatnonzero(good)[-1] > max(wall.faults), "it is recorded again after the re-plug"
    outage = next(f for f in run.faults if f.code == "outage")
    assert outage.t_ended_ns is not None
    assert 0.5 < (outage.t_ended_ns - outage.t_opened_ns) / 1e9 < 3.0

    (died,) = (f for f in run.faults if f.code == "ended")
    assert died.stream == "codecarbon"
    assert run.rows("codecarbon") >= 1
    assert run.rows("cpu-load") > 20
    load = run.series("cpu-load", "cpu_load")
    assert load.window_ns is not None
    assert np.nanmax(load.value) <= 1.0

    assert [(s.workload, s.level) for s in run.steps] == [("idle", None), ("cpu-int-1", 0.6)]
    assert run.steps[0].t_end_ns <= run.steps[1].t_start_ns
    assert run.steps[1].achieved["operations"] > 0
    lasted_s = [(s.t_end_ns - s.t_start_ns) / 1e9 for s in run.steps]
    assert lasted_s == pytest.approx([1.0, 3.0], abs=0.4)
    assert seen[0].workload is None
    assert {s.workload for s in seen} == {None, "idle", "cpu-int-1"}
    assert any(s.watts["wall"] == 53.2 for s in seen)
    assert seen[-1].faults["wall"] == len(wall.faults)


def test_a_noisy_line_gives_faults_and_no_wrong_value(tmp_path: Path) -> None:
    faults = FaultPlan(
        {"bad_crc": 0.1, "late": 0.05, "noise": 0.15, "torn": 0.05, "silent": 0.05}, seed=4
    )
    with Pzem004tEmulator(53.2, window_s=0.1, refresh_s=0.1, faults=faults) as emulator:
        meter = open_meter(address(emulator))
        faults.inject(None)  # it may say who it is
        record(
            SHORT,
            {"wall": meter},
            [],
            writer(tmp_path / "run", SHORT),
            cadence_s={"wall": 0.05},
        )
        meter.close()
    wall = read_run(tmp_path / "run").series("wall", "power_w")
    good = np.isfinite(wall.value)
    assert set(wall.value[good]) == {53.2}
    assert wall.faults


def test_stopping_from_another_thread_seals_what_there_is(
    tmp_path: Path, power: Pzem004tEmulator
) -> None:
    stop = threading.Event()
    timer = threading.Timer(1.0, stop.set)
    timer.start()
    meter = open_meter(address(power))
    record(find_plan("quick"), {"wall": meter}, [], writer(tmp_path / "run", SHORT), stop=stop)
    meter.close()
    timer.join()
    run = read_run(tmp_path / "run")
    assert run.stop is not None
    assert run.stop.exit_status == "abort"
    assert check_run(tmp_path / "run") == ()


def test_a_disk_that_refuses_ends_the_recording_with_the_reason(
    tmp_path: Path, power: Pzem004tEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    from calibration.errors import RunError
    from calibration.recording.streams import StreamWriter

    def full(self: StreamWriter, *args: object, **options: object) -> None:
        raise RunError("no space left")

    monkeypatch.setattr(StreamWriter, "append", full)
    meter = open_meter(address(power))
    with pytest.raises(RunError, match="no space"):
        record(SHORT, {"wall": meter}, [], writer(tmp_path / "run", SHORT))
    meter.close()
    stop = read_run(tmp_path / "run").stop
    assert stop is not None
    assert stop.exit_status == "fail"
    assert "no space" in (stop.reason or "")


def test_a_progress_that_fails_still_seals(tmp_path: Path) -> None:
    def broken(snapshot: Snapshot) -> None:
        raise CalibrationError("the view has gone")

    with pytest.raises(CalibrationError):
        record(SHORT, {}, [CpuLoad()], writer(tmp_path / "run", SHORT), on_progress=broken)
    run = read_run(tmp_path / "run")
    assert run.stop is not None
    assert run.stop.exit_status == "fail"


def test_the_command_records_checks_and_prints_json(
    tmp_path: Path, power: Pzem004tEmulator, capsys: pytest.CaptureFixture[str]
) -> None:
    code = main(
        [
            "record",
            "--meter",
            f"wall={address(power)}",
            "--estimator",
            "cpu-load",
            "--workload",
            "cpu-int-1:0.5:0.8",
            "--simulated",
            "--note",
            "a test",
            "-o",
            str(tmp_path / "run"),
            "--json",
        ]
    )
    printed = json.loads(capsys.readouterr().out)
    assert code == 0
    schema = json.loads((ROOT / "calibration" / "schema" / "record-1.0.json").read_text())
    jsonschema.Draft202012Validator(schema).validate(printed)
    run = read_run(tmp_path / "run")
    assert run.start.data_kind == "simulated"
    assert run.start.note == "a test"
    assert re.fullmatch(r"boot-[0-9a-f]{8}", run.start.session)
    assert run.start.plan is not None
    assert len(run.start.plan["sha256"]) == 64
    assert run.start.machine
    assert [s.workload for s in run.steps] == ["idle", "cpu-int-1", "idle"]
    assert main(["runs", "check", str(tmp_path / "run")]) == 0


def test_a_run_lies_under_runs_by_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["record", "--estimator", "cpu-load", "--workload", "idle:0:0.3"]) == 0
    (path,) = (tmp_path / "runs").iterdir()
    assert re.fullmatch(r"\d{8}T\d{6}Z-[0-9a-f]{8}", path.name)
    assert read_run(path).start.uid.startswith(path.name[-8:])
    assert str(path.name) in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--meter", "pzem-004t@/dev/absent"], 4, "there is none"),
        (["--meter", "pzem-005t@/dev/absent"], 4, "pzem-004t"),
        (["--meter", "a=pzem-004t@/dev/absent", "--meter", "a=pzem-004t@/dev/no"], 3, "Two meters"),
        (["--estimator", "kepler"], 3, "codecarbon"),
        (["--estimator", "rapl", "--powercap-root", "/nowhere"], 4, "RAPL"),
        (["--estimator", "none"], 3, "Nothing to record"),
        (["--estimator", "none", "--plan", "absent.toml"], 3, "absent.toml"),
        (["--estimator", "none", "--workload", "cpu-nit"], 3, "memory-copy"),
        (["--estimator", "none", "--workload", "cpu-int:fast"], 3, "LEVEL"),
        (["--estimator", "none", "--workload", "cpu-int:2"], 3, "between 0 and 1"),
        (["--estimator", "none", "--workload", "idle", "-o", str(ROOT / "tests")], 3, "new or"),
    ],
)
def test_what_cannot_be_recorded_is_one_sentence_and_leaves_nothing(
    arguments: list[str],
    code: int,
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["record", *arguments]) == code
    said = capsys.readouterr()
    assert words in said.err
    assert said.out == ""
    assert said.err.count("\n") == 1
    assert "Traceback" not in said.err
    assert list(tmp_path.iterdir()) == []


def test_a_silent_port_and_a_busy_one_are_refused_before_the_run(
    tmp_path: Path, power: Pzem004tEmulator, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["record", "--meter", address(power), "--estimator", "none", "-o"]
    held = open_meter(address(power))
    assert main([*arguments, str(tmp_path / "busy")]) == 4
    assert "held by another process" in capsys.readouterr().err
    held.close()
    power.faults.inject("silent", 20)
    assert main([*arguments, str(tmp_path / "silent")]) == 4
    assert capsys.readouterr().err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_meter_that_stays_away_is_said_and_exits_4(
    tmp_path: Path, power: Pzem004tEmulator, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--estimator", "cpu-load", "--workload", "idle:0:2", "-o", str(tmp_path / "run")]
    timer = threading.Timer(1.5, power.unplug)
    timer.start()
    try:
        assert main(["record", "--meter", address(power), *arguments, "--headless"]) == 4
    finally:
        timer.cancel()
        timer.join()
    said = capsys.readouterr()
    assert re.search(
        r"pzem-004t did not answer any more when the run ended \(gone\); \d+ of", said.err
    )
    assert check_run(tmp_path / "run") == ()
    values = read_run(tmp_path / "run").series("pzem-004t", "power_w").value
    assert set(values[np.isfinite(values)]) == {53.2}


@pytest.mark.parametrize("times", [1, 3])
def test_ctrl_c_seals_what_was_recorded(
    tmp_path: Path, power: Pzem004tEmulator, times: int
) -> None:
    command = [sys.executable, "-m", "calibration", "record", "--plan", "quick"]
    command += ["--meter", address(power), "--estimator", "cpu-load", "-o", str(tmp_path / "run")]
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        log = tmp_path / "run" / "run.jsonl"
        deadline = time.monotonic() + 30
        while not (log.exists() and '"stream": "cpu-load"' in log.read_text()):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        time.sleep(1.5)
        for _ in range(times):
            process.send_signal(signal.SIGINT)
            time.sleep(0.05)
        out, err = process.communicate(timeout=30)
    assert process.returncode == 130, err
    assert "Traceback" not in err
    assert "interrupted; what was recorded is sealed in" in out
    session = read_run(tmp_path / "run").start.session
    assert f"to go on in the same session: wattcal record --session {session} ..." in out
    assert check_run(tmp_path / "run") == ()
    run = read_run(tmp_path / "run")
    assert run.stop is not None
    assert (run.stop.exit_status, run.stop.reason) == ("abort", "interrupted")
    assert run.rows("pzem-004t") >= 1
    assert run.rows("cpu-load") >= 2
