"""The whole loop once, as `wattcal demo` runs it: what it claims is held against the truth."""

from __future__ import annotations

import csv
import json
import os
import re
import signal
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

import jsonschema
import pytest

from calibration import load_profile
from calibration.demo import setup
from calibration.demo.run import run_demo
from calibration.errors import NotAllowed, WrongMode
from calibration.recording.reader import read_run

if TYPE_CHECKING:
    from conftest import DemoRun

ROOT = Path(__file__).resolve().parents[2]
# A demo takes about a minute; on a busy machine the fixture may need more than the usual limit.
pytestmark = [pytest.mark.timeout(400), pytest.mark.alone]


def test_json_is_what_its_schema_says(demo_run: DemoRun) -> None:
    schema = json.loads((ROOT / "calibration/schema/demo-1.0.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(demo_run.numbers, schema)
    stored = json.loads((demo_run.folder / "simulated-results.json").read_text())
    assert stored == demo_run.numbers


def test_real_codecarbon_ran_in_rapl_mode_and_says_its_version(demo_run: DemoRun) -> None:
    codecarbon = demo_run.estimator("codecarbon_cpu")
    assert codecarbon["mode"] == "intel_rapl"
    version = metadata.version("codecarbon")
    assert codecarbon["source"] == f"codecarbon {version}"
    versions = demo_run.numbers["versions"]
    assert versions["codecarbon"] == version
    assert versions["numpy"] == metadata.version("numpy")


def test_raw_energy_is_wrong_and_the_corrected_interval_holds_the_truth(demo_run: DemoRun) -> None:
    job = demo_run.numbers["job"]
    assert abs(job["raw_error_pct"]) >= 10.0
    assert job["low_j"] <= job["true_j"] <= job["high_j"]
    assert job["true_inside"] is True
    assert abs(job["corrected_error_pct"]) < 5.0
    assert job["mode"] == "verified"
    # An interval that holds everything proves nothing.
    assert job["high_j"] - job["low_j"] < 0.5 * job["true_j"]


def test_raw_energy_is_the_file_s_own(demo_run: DemoRun) -> None:
    with (demo_run.folder / "simulated-emissions.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    job = demo_run.numbers["job"]
    assert job["raw_j"] == pytest.approx(float(row["cpu_energy"]) * 3.6e6, rel=1e-9)
    assert job["duration_s"] == pytest.approx(float(row["duration"]), abs=0.1)


def test_truth_can_be_recomputed_from_its_table(demo_run: DemoRun) -> None:
    lines = (demo_run.folder / "simulated-truth.csv").read_text().splitlines()
    assert lines[0].startswith("# SIMULATED")
    rows = list(csv.DictReader(lines[1:]))
    model = demo_run.numbers["simulation"]["parameters"]
    for row in rows[:: len(rows) // 20]:
        load = float(row["load"])
        package = model["package_idle_w"] + model["package_dynamic_w"] * load
        assert float(row["package_w"]) == pytest.approx(package, abs=1e-4)
        dc = package + float(row["memory_w"]) + model["hidden_w"]
        supply = model["supply"]
        wall = supply["fixed_w"] + supply["proportional"] * dc + supply["quadratic_per_w"] * dc**2
        assert float(row["wall_w"]) == pytest.approx(wall, abs=1e-3)
    mean = (float(rows[-1]["wall_j"]) - float(rows[0]["wall_j"])) * 1e9
    mean /= int(rows[-1]["t_ns"]) - int(rows[0]["t_ns"])
    assert demo_run.numbers["simulation"]["true_mean_w"] == pytest.approx(mean, abs=0.01)


@pytest.mark.parametrize("key", ["rapl_package", "codecarbon_cpu"])
def test_counters_come_out_as_corrections(demo_run: DemoRun, key: str) -> None:
    estimator = demo_run.estimator(key)
    assert estimator["verdict"] == "correction"
    assert estimator["before_mape_pct"] > 20.0
    assert estimator["after_mape_pct"] < 10.0
    path = demo_run.folder / estimator["profile"]
    profile = load_profile(path, allow_simulated=True)
    assert profile.simulated
    assert "SIMULATED" in profile.title
    with pytest.raises(NotAllowed):
        load_profile(path)


def test_cubic_estimator_is_refused_with_a_reason(demo_run: DemoRun) -> None:
    here = demo_run.estimator("codecarbon_here_cpu")
    assert here["mode"]
    if here["mode"] != "cpu_load":  # a computer whose own counters CodeCarbon may read
        return
    assert here["verdict"] in ("refused", "error_statement")
    assert here["profile"] is None
    codes = {r["code"] for r in here["reasons"] if r["consequence"] != "flag"}
    assert "workload_dependence" in codes
    assert "codecarbon_here_cpu" in demo_run.numbers["refused"]


def test_workload_with_another_gain_shows_when_it_is_held_out(demo_run: DemoRun) -> None:
    numbers = demo_run.numbers
    assert numbers["held_out"] == "memory-copy"
    held = demo_run.estimator("rapl_package")["held_out"]
    assert {h["workload"] for h in held} == {
        "idle", "cpu-int", "cpu-int-1", "cpu-matmul", "memory-copy",
    }  # fmt: skip
    copy = next(h for h in held if h["workload"] == "memory-copy")
    assert copy["bias_pct"] == min(h["bias_pct"] for h in held) < -3.0
    assert isinstance(copy["inside"], bool)


def test_everything_is_marked_simulated_and_in_one_folder(demo_run: DemoRun) -> None:
    names = {p.name for p in demo_run.folder.iterdir()}
    assert all(n.startswith("simulated-") for n in names - {"demo.json"})
    assert names - {"demo.json"} == set(demo_run.numbers["files"])
    assert [p.name for p in demo_run.folder.parent.iterdir()] == [demo_run.folder.name]
    run = read_run(demo_run.folder / "simulated-run")
    assert run.start.data_kind == "simulated"
    assert run.start.machine["simulation.id"] == "wattcal-demo-1"
    assert run.start.note is not None
    assert run.start.note.startswith("SIMULATED")
    assert "minimum durations" in run.start.note
    assert run.stop is not None
    assert run.stop.exit_status == "success"
    html = (demo_run.folder / "simulated-calibration.html").read_text()
    assert "<title>SIMULATED" in html
    assert "no thermal lag" in html
    assert "cannot change state" in html
    plots = re.findall(r"<svg.*?</svg>", html, flags=re.DOTALL)
    assert len(plots) >= 9
    assert all(">SIMULATED" in p for p in plots)


def test_plan_was_carried_out(demo_run: DemoRun) -> None:
    run = read_run(demo_run.folder / "simulated-run")
    told = [(s.workload, s.level) for s in run.steps]
    assert len({w for w, _ in told}) == 5
    assert len({v for w, v in told if w != "idle"}) == 8
    assert [w for w, _ in told].count("idle") == 3
    assert told[0][0] == told[-1][0] == "idle"
    levels = [v for w, v in told if w != "idle"]
    assert levels != sorted(levels)


def test_progress_went_to_stderr_in_plain_lines(demo_run: DemoRun) -> None:
    assert "\x1b" not in demo_run.stderr
    assert "memory-copy 0.7" in demo_run.stderr


def test_interrupt_seals_what_was_recorded(tmp_path: Path) -> None:
    folder = tmp_path / "d"
    demo = subprocess.Popen(
        [sys.executable, "-m", "calibration", "demo", "-o", str(folder)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    log = folder / "simulated-run" / "run.jsonl"
    deadline = time.monotonic() + 120
    while not (log.exists() and '"type": "step"' in log.read_text()):
        assert demo.poll() is None, demo.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.2)
    demo.send_signal(signal.SIGINT)
    _, err = demo.communicate(timeout=60)
    assert demo.returncode == 130, err
    assert "Traceback" not in err
    assert "sealed" in err
    run = read_run(folder / "simulated-run")
    assert run.stop is not None
    assert run.stop.exit_status == "abort"
    assert run.series("wall", "power_w").value.size >= 3
    assert not list((folder / "simulated-run").glob("*.arrows"))
    assert _processes_of(folder) == []


def _processes_of(folder: Path) -> list[str]:
    """Return the commands of processes that still work for this demo."""
    deadline = time.monotonic() + 10
    while True:
        found = []
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                command = path.read_bytes().replace(b"\0", b" ").decode()
            except OSError:
                continue
            if str(folder) in command and int(path.parent.name) != os.getpid():
                found.append(command)
        if not found or time.monotonic() > deadline:
            return found
        time.sleep(0.1)


def test_demo_stops_with_a_sentence_when_the_mode_is_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Fallen:
        cpu_mode = "cpu_load"

        def __init__(self, **_: object) -> None: ...

        def __enter__(self) -> Fallen:
            return self

        def __exit__(self, *_: object) -> None: ...

    monkeypatch.setattr(setup, "CodeCarbon", Fallen)
    with pytest.raises(WrongMode, match="intel_rapl"):
        run_demo(tmp_path / "d")
    assert not list(tmp_path.iterdir())
