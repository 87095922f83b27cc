"""`wattcal calibrate`: from the plan to profile and page in one go, and where it stops."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from referencing import Registry, Resource

from calibration import load_profile
from calibration.cli import main
from calibration.instruments import Pzem004tEmulator
from calibration.plans import READY
from calibration.recording.reader import read_run
from calibration.simulation.machine import package_power_w, wall_power_w
from tests.lab.closed_loop import MACHINE, recorded

ROOT = Path(__file__).resolve().parents[2]
SCHEMAS = ROOT / "calibration" / "schema"


def validated(text: str) -> Any:
    registry: Registry[Any] = Registry().with_resources(
        (d["$id"], Resource.from_contents(d))
        for d in (json.loads(p.read_text(encoding="utf-8")) for p in SCHEMAS.glob("*.json"))
    )
    schema = json.loads((SCHEMAS / "calibrate-1.0.json").read_text(encoding="utf-8"))
    value = json.loads(text)
    Draft202012Validator(schema, registry=registry).validate(value)
    return value


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with pytest.MonkeyPatch.context() as patch:
        yield recorded(READY["quick"](), tmp_path_factory.mktemp("quick"), patch).path


def test_a_recorded_plan_becomes_a_profile_and_a_page(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command's own recording, with the fake clock's ten minutes in its place."""

    def instead(arguments: Any) -> tuple[Path, bool, float]:
        assert arguments.default_plan == "standard"
        return shutil.copytree(run, arguments.output), False, 600.0

    folder = tmp_path / "node7"
    monkeypatch.setattr("calibration.cli.calibrate.carry_out", instead)
    assert main(["calibrate", "--id", "lab", "-o", str(folder), "--json"]) == 0
    found = validated(capsys.readouterr().out)
    assert (found["verdict"], found["data_kind"]) == ("correction", "simulated")
    profile = load_profile(found["profiles"]["rapl_package"], allow_simulated=True)
    assert profile.id == "lab/rapl-package"
    for load in (0.2, 0.6, 0.9):
        answer = profile.correct(machine=None, rapl_package=package_power_w(MACHINE, load))
        assert answer.low_w < wall_power_w(MACHINE, load) < answer.high_w
    page = (folder / "calibration.html").read_text(encoding="utf-8")
    assert "rapl_package" in page
    assert "SIMULATED" in page or "simulated" in page
    assert (folder / "points.csv").read_text().count("\n") == len(READY["quick"]().measured) + 1
    # What is there is never written over.
    assert main(["calibrate", "--from", str(run), "-o", str(folder)]) == 3
    assert "new or empty" in capsys.readouterr().err


def test_what_a_smoke_test_cannot_carry_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    smoke = recorded(READY["smoke"](), tmp_path / "smoke", monkeypatch).path
    code = main(["calibrate", "--from", str(smoke), "-o", str(tmp_path / "x")])
    out = capsys.readouterr().out
    assert "rapl_package: too_few_groups: " in out
    kinds = [json.loads(p.read_text())["kind"] for p in (tmp_path / "x").glob("*.profile.json")]
    assert "correction" not in kinds
    assert code == (0 if kinds else 5)


def test_an_input_that_is_not_there_and_a_run_that_is_not(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["calibrate", "--from", str(run), "-o", str(tmp_path / "x")]
    assert main([*arguments, "--input", "nvml"]) == 3
    assert "expected one of rapl_package; got 'nvml'" in capsys.readouterr().err
    assert main(["calibrate", "--from", str(tmp_path), "-o", str(tmp_path / "x")]) == 3
    assert not (tmp_path / "x").exists()


def test_it_records_by_itself_and_a_refusal_says_why(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with Pzem004tEmulator(60.0, refresh_s=0.1, window_s=0.1) as meter:
        code = main(
            ["calibrate", "--meter", f"wall=pzem-004t@{meter.path}", "--estimator", "cpu-load",
             "--workload", "cpu-int-1:0.5:2.8", "--simulated", "--headless",
             "-o", str(tmp_path / "x")]
        )  # fmt: skip
    said = capsys.readouterr()
    assert code == 5, said
    assert "cpu_load: range_too_short: " in said.out or "cpu_load: no fit: " in said.out
    assert (tmp_path / "x" / "calibration.html").exists()
    assert not list((tmp_path / "x").glob("*.profile.json"))
    assert read_run(tmp_path / "x" / "run").start.setup["reference"] == "wall"


def test_an_interrupt_seals_the_recording_and_stops_there(tmp_path: Path) -> None:
    folder = tmp_path / "x"
    with Pzem004tEmulator(60.0, refresh_s=0.1, window_s=0.1) as meter:
        process = subprocess.Popen(
            [sys.executable, "-m", "calibration", "calibrate",
             "--meter", f"wall=pzem-004t@{meter.path}", "--estimator", "cpu-load",
             "--workload", "idle:0:60", "--simulated", "--headless", "-o", str(folder)],
            cwd=ROOT, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        deadline = time.monotonic() + 30.0
        stream = folder / "run" / "wall.arrows"
        while not (stream.exists() and stream.stat().st_size > 2000):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        said, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "interrupted; what was recorded is in" in err
    assert said == ""
    stop = read_run(folder / "run").stop
    assert stop is not None
    assert (stop.exit_status, stop.rows["wall"] > 0) == ("abort", True)
    assert not (folder / "calibration.html").exists()


def test_a_meter_that_was_lost_ends_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Pzem004tEmulator(60.0, refresh_s=0.1) as meter:
        timer = threading.Timer(1.5, meter.unplug)
        timer.start()
        code = main(
            ["calibrate", "--meter", f"wall=pzem-004t@{meter.path}", "--estimator", "cpu-load",
             "--workload", "idle:0:2", "--simulated", "--headless", "-o", str(tmp_path / "x")]
        )  # fmt: skip
        timer.join()
    assert code == 4
    assert "did not answer any more" in capsys.readouterr().err
    assert not (tmp_path / "x" / "calibration.html").exists()


def test_rezero_records_its_own_idle(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command's own recording, with the fake clock's run in its place: a minute in no time."""
    assert main(["calibrate", "--from", str(run), "-o", str(tmp_path / "x")]) == 0
    profile = tmp_path / "x" / "rapl_package.profile.json"
    asked = {}

    def instead(arguments: Any) -> tuple[Path, bool, float]:
        asked.update(vars(arguments))
        return recorded(READY["rezero"](), tmp_path / "idle", monkeypatch).path, False, 60.0

    monkeypatch.setattr("calibration.cli.rezero.carry_out", instead)
    output = tmp_path / "today.json"
    arguments = ["rezero", str(profile), "--allow-simulated", "-o", str(output)]
    assert main(arguments) == 0, capsys.readouterr().err
    assert (asked["default_plan"], asked["output"]) == ("rezero", None)
    zero = load_profile(output, allow_simulated=True)
    idle = zero.correct(machine=None, rapl_package=package_power_w(MACHINE, 0.0))
    assert idle.power_w == pytest.approx(wall_power_w(MACHINE, 0.0), abs=0.3)
