"""A profile on the files that tools write by themselves: judged, stated, refused where it fails.

A simulated machine, a run on disk, an `emissions.csv` and a log as CodeCarbon and CarbonTracker
write them with their defaults, then `fit`, `correct` and the Python surface.
"""

from __future__ import annotations

import csv
import hashlib
import itertools
import json
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from calibration import MatchError, SchemaError, load_profile
from calibration._profile.as_used import duration_class, holds
from calibration.analysis.as_used import UsedFile, WindowEnergy, judge_as_used, used_files
from calibration.bench import as_used as bench
from calibration.bench.used_tools import UsedTool
from calibration.cli import main
from calibration.errors import NotAvailable, RunError
from calibration.plans import PlanStep, find_plan
from calibration.publishing.calibrated import as_used_sentences
from calibration.recording.documents import ChannelInfo, Descriptor, Step
from calibration.recording.reader import read_run
from calibration.recording.tool_runs import ToolRun, Window, read_tool_runs, write_tool_runs
from calibration.recording.writer import RunWriter, new_start
from calibration.simulation.machine import Machine, Supply
from calibration.simulation.virtual import Recording, play
from calibration.toolfiles import read_tool_file

NS = 1_000_000_000
BEGIN_S = 10.0
KWH_PER_J = 2.77778e-7  # CodeCarbon's own factor, core/units.py
MACHINE = Machine(
    "as-used", 20.0, 90.0, 30.0, Supply.of_efficiencies(400.0, {0.2: 0.90, 0.5: 0.92, 1.0: 0.89}),
    {"copy": 0.05}, sockets=(0.5, 0.5), package_noise_w=0.5, wall_noise_w=0.3,
)  # fmt: skip
RUNS_S = (30.0, 120.0, 600.0, 30.0, 120.0, 600.0)
Tool = Callable[[float], float]


def plan() -> tuple[PlanStep, ...]:
    rng = np.random.default_rng(3)
    body = [(w, x) for w in ("integer", "copy", "float") for x in (0.25, 0.5, 0.75, 1.0)]
    body = [body[i] for i in rng.permutation(len(body))]
    order = [("idle", 0.0), *body[:6], ("idle", 0.0), *body[6:], ("idle", 0.0)]
    return tuple(PlanStep(w, x, 120.0) for w, x in order)


@pytest.fixture(scope="module")
def seen() -> Recording:
    return play(MACHINE, plan(), seed=1, start_s=BEGIN_S)


def windows() -> list[tuple[float, float]]:
    """Return when the tool ran, s: one after the other, a second between them."""
    found, t_s = [], BEGIN_S + 5.0
    for length_s in RUNS_S:
        found.append((t_s, t_s + length_s))
        t_s += length_s + 1.0
    return found


def emissions(path: Path, seen: Recording, tool: Tool) -> Path:
    """Write what CodeCarbon would: counter differences every 15 s, and 0.4 s of start-up."""
    rows = []
    midnight = datetime(2026, 11, 1, tzinfo=UTC)
    for number, (begin_s, end_s) in enumerate(windows()):
        looks = [*np.arange(begin_s, end_s, 15.0), end_s]
        total_j = [float(seen.energy_j(seen.package_w, BEGIN_S, t).sum()) for t in looks]
        counts = [math.floor(1e6 * tool(j)) * 10**-6 * KWH_PER_J for j in total_j]
        cpu_kwh = sum(b - a for a, b in itertools.pairwise(counts))
        rows.append({
            "timestamp": (midnight + timedelta(seconds=end_s)).strftime("%Y-%m-%dT%H:%M:%S"),
            "run_id": f"run-{number}", "duration": end_s - begin_s + 0.4,
            "cpu_energy": cpu_kwh, "gpu_energy": 0.0, "ram_energy": 0.0,
            "energy_consumed": cpu_kwh, "os": "Linux", "codecarbon_version": "3.3.2",
            "tracking_mode": "machine", "pue": 1.0,
        })  # fmt: skip
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def tracker_log(path: Path, seen: Recording) -> Path:
    """Write what CarbonTracker would: of every other second the mean power of its two devices."""
    midnight = datetime(2026, 11, 1, tzinfo=UTC)
    lines = [
        "carbontracker version 2.4.7",
        "The following components were found: CPU with device(s) cpu:1, cpu:0.",
    ]
    for number, (begin_s, end_s) in enumerate(windows(), 1):
        rounds = np.arange(begin_s, end_s - 1.0, 2.0)
        second_j = [float(seen.energy_j(seen.package_w, t, t + 1.0).sum()) for t in rounds]
        minutes, seconds = divmod(end_s - begin_s, 60.0)
        stamp = (midnight + timedelta(seconds=end_s)).strftime("%Y-%m-%d %H:%M:%S")
        lines += [
            f"{stamp} - Epoch {number}:",
            f"{stamp} - Duration: 0:{int(minutes):02d}:{seconds:05.2f}",
            f"{stamp} - Average power usage (W) for cpu: {np.mean(second_j) / 2}",
        ]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def record(path: Path, seen: Recording, tool: Tool) -> Path:
    """Write the run, with the files that the tools left beside it."""
    start = new_start("simulated", session="monday", note="made up", machine=MACHINE.describe())
    with RunWriter.create(path, start=start, live=False) as writer:
        wall = writer.open_stream(_meter())
        tool_stream = writer.open_stream(_codecarbon())
        tracker = writer.open_stream(_carbontracker())
        wall_w = seen.wall_w.reshape(-1, 10).mean(axis=1)
        package_j = np.cumsum(seen.package_w.sum(axis=0) * seen.cell_s).reshape(-1, 10)[:, -1]
        before_j = 0.0
        for second, (power_w, energy_j) in enumerate(zip(wall_w, package_j, strict=True)):
            t_ns = round((BEGIN_S + second + 1) * NS)
            wall.append(t_ns, t_ns, {"power_w": round(float(power_w), 1)})
            tool_stream.append(t_ns, t_ns, {"cpu_j": float(energy_j)})
            tracker.append(t_ns, t_ns, {"carbontracker_w": float(energy_j) - before_j})
            before_j = float(energy_j)
        for index, one in enumerate(seen.steps):
            begin_ns = round((BEGIN_S + 120 * index) * NS)
            writer.step(
                Step(
                    index=index, workload=one.workload, level=one.level, t_start_ns=begin_ns,
                    t_end_ns=begin_ns + 120 * NS, settle_s=5.0,
                )
            )  # fmt: skip
        writer.seal("success")
    (path / "as_used").mkdir()
    file = emissions(path / "as_used" / "emissions.csv", seen, tool)
    log = tracker_log(path / "as_used" / "1_carbontracker.log", seen)
    spans = tuple(Window(round(a * NS), round(b * NS)) for a, b in windows())

    def left(name: str, version: str, file: Path) -> ToolRun:
        digest = hashlib.sha256(file.read_bytes()).hexdigest()
        return ToolRun(name, version, "default", f"as_used/{file.name}", digest, spans)

    write_tool_runs(path, [left("codecarbon", "3.3.2", file), left("carbontracker", "2.4.7", log)])
    return path


def _meter() -> Descriptor:
    return Descriptor(
        stream="wall", role="meter", source="made-up meter", boundary="psu_ac_input",
        channels=(
            ChannelInfo(
                name="power_w", quantity="active_power", unit="W", kind="mean", window_s=1.0,
                resolution=0.1, accuracy={"of_reading": 0.005, "source": "made up"},
            ),
        ),
        cadence_s=1.0,
    )  # fmt: skip


def _codecarbon() -> Descriptor:
    return Descriptor(
        stream="codecarbon", role="estimator", source="codecarbon", mode="intel_rapl",
        scope=("package-0", "package-1"), identity={"version": "3.3.2"},
        channels=(
            ChannelInfo(
                name="cpu_j", quantity="energy", unit="J", kind="counter", input="codecarbon_cpu"
            ),
        ),
        cadence_s=1.0,
    )  # fmt: skip


def _carbontracker() -> Descriptor:
    return Descriptor(
        stream="carbontracker", role="estimator", source="carbontracker 2.4.7", mode="IntelCPU",
        scope=("cpu:0", "cpu:1"), identity={"version": "2.4.7"},
        channels=(
            ChannelInfo(
                name="carbontracker_w", quantity="power", unit="W", kind="mean", window_s=1.0,
                input="carbontracker",
            ),
        ),
        cadence_s=1.0,
    )  # fmt: skip


def honest(energy_j: float) -> float:
    return energy_j


def halved(energy_j: float) -> float:
    """Return what a tool says that takes the mean of two sockets for their sum."""
    return 0.5 * energy_j


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, seen: Recording) -> Mapping[str, Path]:
    """Return the profiles that `wattcal fit` writes of a run with an honest and a halved file."""
    folder = tmp_path_factory.mktemp("as-used")
    found = {}
    for name, tool in (("honest", honest), ("halved", halved)):
        run = record(folder / name, seen, tool)
        profile = folder / f"{name}.json"
        code = main(["fit", str(run), "--input", "codecarbon_cpu", "-o", str(profile)])
        assert code == 0
        found[name], found[f"{name} file"] = profile, run / "as_used" / "emissions.csv"
        found[f"{name} run"] = run
    return found


def stated(path: Path) -> dict[str, Any]:
    (entry,) = json.loads(path.read_text())["calibration"]["validation"]["as_used"]
    return dict(entry)


def test_a_profile_states_error_and_coverage_of_each_duration(made: Mapping[str, Path]) -> None:
    entry = stated(made["honest"])
    assert (entry["tool"], entry["version"], entry["settings"]) == (
        "codecarbon",
        "3.3.2",
        "default",
    )
    assert (entry["rows"], entry["refused"], entry["passed"]) == (6, 0, True)
    by = {d["duration_s"]: d for d in entry["durations"]}
    assert set(by) == {30, 120, 600}
    for figures in by.values():
        assert figures["n"] == 2
        assert figures["coverage_95_pct"] == 100.0
        assert figures["max_abs_pct"] < 5.0
        assert figures["before_mape_pct"] > 30.0
    # The start-up that the tool counts is idle power for 0.4 s: it weighs most in a short run.
    assert by[30]["mape_pct"] > by[600]["mape_pct"]
    failed = stated(made["halved"])
    assert failed["passed"] is False
    assert "held the true energy in 0" in failed["reason"]


def corrected(
    capsys: pytest.CaptureFixture[str], file: Path, profile: Path
) -> tuple[int, dict[str, Any], str]:
    capsys.readouterr()
    code = main(
        ["correct", str(file), "--profile", str(profile), "--allow-simulated", "--machine", "any",
         "--json"]
    )  # fmt: skip
    streams = capsys.readouterr()
    return code, json.loads(streams.out), streams.err


def test_correct_refuses_the_tool_that_failed_with_its_reason(
    made: Mapping[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    code, answer, _ = corrected(capsys, made["honest file"], made["honest"])
    assert code == 0
    assert all(row["corrected_j"] for row in answer["rows"])
    code, answer, said = corrected(capsys, made["halved file"], made["halved"])
    assert code == 5
    assert answer["total"] is None
    assert all(row["corrected_j"] is None for row in answer["rows"])
    assert "not offered for files of codecarbon" in said
    assert "held the true energy in 0" in said
    # The same profile still answers for readings that are not the tool's own file.
    profile = load_profile(made["halved"], allow_simulated=True)
    assert profile.correct(machine=None, codecarbon_cpu=60.0).calibrated
    with made["halved file"].open(newline="") as file:
        row = next(csv.DictReader(file))
    with pytest.raises(MatchError, match="not offered"):
        profile.correct_row(row, machine=None)


def used(seen: Recording, path: Path) -> UsedFile:
    return UsedFile(
        read_tool_file(path), "3.3.2", "default",
        tuple(
            WindowEnergy(float(seen.energy_j(seen.wall_w, a, b)), 0.0, b - a) for a, b in windows()
        ),
    )  # fmt: skip


def test_the_reference_of_a_run_is_the_truth_of_the_machine(
    made: Mapping[str, Path], seen: Recording
) -> None:
    found, tracker = used_files(read_run(made["honest run"]))
    assert (tracker.file.tool, tracker.windows) == ("carbontracker", found.windows)
    true = used(seen, made["honest file"])
    for a, b in zip(found.windows, true.windows, strict=True):
        assert a.energy_j == pytest.approx(b.energy_j, rel=2e-3)
        assert a.u_j == pytest.approx(0.005 / math.sqrt(3) * a.energy_j, rel=1e-3)


def test_what_is_judged_is_the_file_alone(
    made: Mapping[str, Path], seen: Recording, tmp_path: Path
) -> None:
    """Pure functions of rows and energies: a profile without `as_used`, files from anywhere."""
    document = json.loads(made["honest"].read_text())
    del document["calibration"]["validation"]["as_used"]
    profile = load_profile(document, allow_simulated=True)
    assert judge_as_used(profile, []) == []
    (entry,) = judge_as_used(profile, [used(seen, made["honest file"])])
    assert entry["passed"]
    # In another mode the profile refuses every row, and so fails for that tool's files.
    text = made["honest file"].read_text().replace(",machine,", ",process,")
    other = tmp_path / "emissions.csv"
    other.write_text(text)
    (entry,) = judge_as_used(profile, [used(seen, other)])
    assert (entry["refused"], entry["passed"], entry["durations"]) == (6, False, [])
    assert "tracking_mode" in entry["reason"]
    # A file that lacks the column is of no use to the profile either.
    other.write_text(made["honest file"].read_text().replace(",cpu_energy,", ",cpu_energies,"))
    (entry,) = judge_as_used(profile, [used(seen, other)])
    assert (entry["refused"], entry["passed"]) == (6, False)
    assert "cpu_energy" in entry["reason"]


def test_the_page_of_a_calibration_says_what_became_of_a_tools_own_file(
    made: Mapping[str, Path],
) -> None:
    (good,) = as_used_sentences("codecarbon_cpu", [stated(made["honest"])])
    assert good.startswith("codecarbon_cpu: the file of codecarbon, as its users run it, corrected")
    assert "30 s: off by" in good
    assert "100 % of 2 inside the interval" in good
    (bad,) = as_used_sentences("codecarbon_cpu", [stated(made["halved"])])
    assert "is not offered this profile: of 2 runs" in bad


def test_what_lies_above_idle_is_compared_with_what_lies_above_idle(
    made: Mapping[str, Path], seen: Recording
) -> None:
    """The run's own idle is known from its idle steps, and the profile's is in the profile."""
    document = json.loads(made["honest"].read_text())
    del document["calibration"]["validation"]["as_used"]
    idle = [i for i, step in enumerate(seen.steps) if step.workload == "idle"]
    edges = [(BEGIN_S + 120 * i + 5, BEGIN_S + 120 * (i + 1)) for i in idle]
    spent_s = sum(b - a for a, b in edges)
    wall_w = sum(float(seen.energy_j(seen.wall_w, a, b)) for a, b in edges) / spent_s
    package_w = sum(float(seen.energy_j(seen.package_w, a, b).sum()) for a, b in edges) / spent_s
    profile = replace(
        load_profile(document, allow_simulated=True),
        above_idle_only=True,
        idle_inputs={"codecarbon_cpu": package_w},
    )
    # Where idle is not known, there is nothing to compare with.
    assert judge_as_used(profile, [used(seen, made["honest file"])]) == []
    entries = {}
    for name in ("honest", "halved"):
        file, _ = used_files(read_run(made[f"{name} run"]), above_idle=True)
        for window, (begin_s, end_s) in zip(file.windows, windows(), strict=True):
            true_j = float(seen.energy_j(seen.wall_w, begin_s, end_s)) - wall_w * (end_s - begin_s)
            assert window.rise_j == pytest.approx(true_j, abs=0.5 * (end_s - begin_s))
            assert window.rise_u_j is not None
            # The gain counts on what rises, and idle is known to better than half a watt.
            assert window.rise_u_j < 0.005 * abs(true_j) + 0.5 * (end_s - begin_s)
        (entries[name],) = judge_as_used(profile, [file])
    honest, halved = entries["honest"], entries["halved"]
    judged = {d["duration_s"]: d for d in honest["durations"]}
    # The first run of 30 s lies within the idle step that the plan begins with: nothing to judge.
    assert {d: f["n"] for d, f in judged.items()} == {30: 1, 120: 2, 600: 2}
    assert honest["passed"] is True
    assert all(f["max_abs_pct"] < 6.0 for f in judged.values())
    assert halved["passed"] is False
    assert "held the true energy above idle in 0" in halved["reason"]


def test_the_log_of_carbontracker_is_judged_by_the_sum_of_its_devices(
    made: Mapping[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, path = made["honest run"], tmp_path / "tracker.json"
    assert main(["fit", str(run), "--input", "carbontracker", "-o", str(path)]) == 0
    entry = stated(path)
    assert (entry["tool"], entry["version"], entry["rows"]) == ("carbontracker", "2.4.7", 6)
    assert (entry["refused"], entry["passed"]) == (0, True)
    assert all(d["max_abs_pct"] < 3.0 for d in entry["durations"])
    log = run / "as_used" / "1_carbontracker.log"
    code, answer, _ = corrected(capsys, log, path)
    assert code == 0
    assert {row["mode"] for row in answer["rows"]} == {"verified"}
    # The same power from a version of which nobody knows whether it is a sum or a mean.
    other = tmp_path / "2_carbontracker.log"
    other.write_text(log.read_text().replace("2.4.7", "2.3.1"))
    code, answer, said = corrected(capsys, other, path)
    assert code == 5
    assert answer["total"] is None
    assert "each of the 2 devices of cpu" in said


def test_the_rule_is_the_binomial_of_what_is_stated() -> None:
    assert [holds(1, 0), holds(1, 1)] == [False, True]
    assert [holds(3, c) for c in range(4)] == [False, False, True, True]
    assert not holds(20, 16)
    assert holds(20, 18)
    assert [duration_class(s) for s in (5, 20, 45, 70, 240, 300, 4000)] == [
        None, 30, 30, 120, 120, 600, 600,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"passed": False, "reason": "because"}, "to be true, as its figures say"),
        ({"reason": "because"}, "a reason in"),
        ({"rows": 3}, "at least what was judged"),
    ],
)
def test_a_verdict_has_to_follow_from_its_figures(
    made: Mapping[str, Path], change: Mapping[str, Any], words: str
) -> None:
    document = json.loads(made["honest"].read_text())
    document["calibration"]["validation"]["as_used"][0].update(change)
    with pytest.raises(SchemaError, match=words):
        load_profile(document, allow_simulated=True)
    entry = stated(made["honest"])
    document["calibration"]["validation"]["as_used"] = [entry, entry]
    with pytest.raises(SchemaError, match="twice"):
        load_profile(document, allow_simulated=True)


def test_a_file_that_is_not_the_recorded_one_is_refused(seen: Recording, tmp_path: Path) -> None:
    run = record(tmp_path / "run", seen, honest)
    assert read_tool_runs(run)[0].windows[1].t_end_ns == round(windows()[1][1] * NS)
    file = run / "as_used" / "emissions.csv"
    text = file.read_text()
    file.write_text(text.replace("3.3.2", "3.3.3"))
    with pytest.raises(RunError, match="SHA-256 differs"):
        read_tool_runs(run)
    assert main(["fit", str(run), "--input", "codecarbon_cpu", "-o", str(tmp_path / "p")]) == 3
    file.unlink()
    with pytest.raises(RunError, match="not there"):
        read_tool_runs(run)
    (run / "as_used.json").write_text("{}")
    with pytest.raises(RunError, match="expected the index"):
        read_tool_runs(run)
    (run / "as_used.json").unlink()
    assert read_tool_runs(run) == ()


FAKE = """
import json, sys, time
folder, durations = sys.argv[1], json.loads(sys.argv[2])
for seconds in durations:
    start_ns = time.monotonic_ns()
    open(folder + "/emissions.csv", "a").write("row\\n")
    print(json.dumps({"t_start_ns": start_ns, "t_end_ns": time.monotonic_ns()}), flush=True)
sys.exit(FAILS)
"""


def test_a_tool_runs_in_its_own_process_and_leaves_its_own_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def tools(fails: int) -> dict[str, UsedTool]:
        return {"codecarbon": UsedTool(FAKE.replace("FAILS", str(fails)), "emissions.csv")}

    versions = {"codecarbon": "3.3.2"}

    monkeypatch.setattr(bench, "TOOLS", tools(0))
    (tmp_path / "good").mkdir()
    later_ns = time.monotonic_ns() + 3600 * NS
    with bench.ToolsAsUsed(tmp_path / "good", versions, (1.0, 2.0)) as running:
        assert running.finish(60.0, ended_ns=later_ns) == {}
    (found,) = read_tool_runs(tmp_path / "good")
    assert (found.tool, found.settings, len(found.windows)) == ("codecarbon", "default", 2)
    assert found.windows[0].t_end_ns <= found.windows[1].t_start_ns
    (tmp_path / "late").mkdir()
    with bench.ToolsAsUsed(tmp_path / "late", versions, (1.0,)) as running:
        assert "ran on after" in running.finish(60.0, ended_ns=0)["codecarbon"]
    assert read_tool_runs(tmp_path / "late") == ()
    monkeypatch.setattr(bench, "TOOLS", tools(3))
    (tmp_path / "bad").mkdir()
    with bench.ToolsAsUsed(tmp_path / "bad", versions, (1.0,)) as running:
        assert "ended with 3" in running.finish(60.0)["codecarbon"]
    assert read_tool_runs(tmp_path / "bad") == ()
    with pytest.raises(NotAvailable, match="codecarbon"):
        bench.check(["nobody"], (30.0,))


def test_helpers_of_a_tool_that_was_killed_end_with_the_recording(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They hold its stdout, and would keep whoever waits for its end waiting."""
    killed = """
import os, subprocess, sys
helper = subprocess.Popen(["sleep", "600"])
open(sys.argv[1] + "/helper", "w").write(str(helper.pid))
os.kill(os.getpid(), 9)
"""
    monkeypatch.setattr(bench, "TOOLS", {"codecarbon": UsedTool(killed, "emissions.csv")})
    with bench.ToolsAsUsed(tmp_path, {"codecarbon": "3.3.2"}, (1.0,)) as running:
        assert "had not ended 1 s after" in running.finish(1.0)["codecarbon"]
    helper = Path("/proc") / (tmp_path / "as_used" / "codecarbon" / "helper").read_text()

    def lives() -> bool:
        try:
            return (helper / "stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
        except OSError:
            return False

    end_s = time.monotonic() + 10.0
    while lives():
        assert time.monotonic() < end_s
        time.sleep(0.01)


def test_record_runs_a_tool_as_its_users_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    words = ["record", "--workload", "idle:0:2", "--estimator", "cpu-load", "-o", str(run)]
    assert main([*words, "--as-used", "codecarbon", "--headless"]) == 3
    assert "30 s at least" in capsys.readouterr().err
    assert main([*words, "--as-used", "nobody", "--headless"]) == 4
    assert not run.exists()
    fake = FAKE.replace("sys.exit(FAILS)", "")
    monkeypatch.setattr(bench, "TOOLS", {"codecarbon": UsedTool(fake, "emissions.csv")})
    monkeypatch.setattr(bench, "fitting", lambda plan: (1.0,))
    assert main([*words, "--as-used", "codecarbon", "--headless"]) == 0
    (found,) = read_tool_runs(run)
    steps = read_run(run).steps
    assert steps[0].t_start_ns - 5 * NS < found.windows[0].t_start_ns < steps[-1].t_end_ns + 5 * NS
    assert main(["runs", "check", str(run)]) == 0


def test_the_runs_of_a_tool_fit_into_the_plan() -> None:
    assert bench.fitting(find_plan("smoke")) == (30.0,)
    assert bench.fitting(find_plan("standard")) == (30.0, 120.0, 600.0)
