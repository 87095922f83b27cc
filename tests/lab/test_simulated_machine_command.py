"""`wattcal emulate --machine` and a recording that attaches itself to that machine."""

from __future__ import annotations

import csv
import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from calibration.cli import main
from calibration.recording.reader import read_run
from calibration.simulation.history import HistoryFile
from calibration.simulation.machine import MACHINES, Machine
from calibration.simulation.running import SimulatedMachine

ROOT = Path(__file__).resolve().parents[2]
Require = Callable[[str, bool, str], None]
WATTCAL = [sys.executable, "-m", "calibration"]


def test_a_machine_is_emulated_in_one_terminal_and_recorded_in_another(
    tmp_path: Path, require: Require
) -> None:
    require("gcc", shutil.which("gcc") is not None, "the simulated GPU library needs gcc")
    link, folder = tmp_path / "meter", tmp_path / "node"
    emulate = ["emulate", "pzem-004t", "--link", str(link)]
    with subprocess.Popen(
        [*WATTCAL, *emulate, "--machine", "gpu-node", "--folder", str(folder)],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            deadline = time.monotonic() + 30
            while not link.exists():
                assert time.monotonic() < deadline
                assert process.poll() is None
                time.sleep(0.05)
            done = subprocess.run(
                [
                    *WATTCAL, "record", "--meter", f"wall=pzem-004t@{link}", "--full-w", "900",
                    "--estimator", "rapl", "--estimator", "nvml",
                    "--simulated-machine", str(folder),
                    "--workload", "gpu-matmul:0.5:2", "-o", str(tmp_path / "run"), "--json",
                ],
                cwd=ROOT, capture_output=True, text=True, timeout=60,
            )  # fmt: skip
        finally:
            process.send_signal(signal.SIGINT)
            _, said = process.communicate(timeout=20)
    assert done.returncode == 0, done.stderr
    assert process.returncode == 0, said
    assert "SIMULATED: gpu-node" in said
    assert json.loads(done.stdout)
    run = read_run(tmp_path / "run")
    assert run.start.data_kind == "simulated"
    assert run.start.machine["simulation.id"] == "wattcal-gpu-node-1"
    step = run.steps[1]
    assert (step.workload, step.achieved["simulated"]) == ("gpu-matmul", True)
    # What both cards counted, each with its own gain and offset, beside the truth of the machine.
    series = run.series("nvml", "nvml_j")
    good = np.isfinite(series.value)
    t_ns, counted_j = series.t_ns[good], series.value[good]
    first, last = np.searchsorted(t_ns, (step.t_start_ns, step.t_end_ns - 100_000_000))
    text = (folder / "simulated-truth.csv").read_text(encoding="ascii")
    assert text.startswith("# SIMULATED")
    rows = list(csv.DictReader(text.splitlines()[1:]))
    true_j = np.interp(
        t_ns[[first, last]], [int(r["t_ns"]) for r in rows], [float(r["gpu_j"]) for r in rows]
    )
    # Half of 625 W and 75 W at rest; a tenth of a second of all of it, and 4 % of the gains.
    assert true_j[1] - true_j[0] == pytest.approx(387.5 * (t_ns[last] - t_ns[first]) / 1e9, rel=0.1)
    assert counted_j[last] - counted_j[first] == pytest.approx(true_j[1] - true_j[0], abs=100.0)
    assert np.nanmean(run.series("wall", "power_w").value) > 150.0


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["emulate", "pzem-004t", "--machine", "laptop", "--folder", "x"], 3, "desktop, gpu-node"),
        (["emulate", "pzem-004t", "--machine", "desktop"], 3, "a new --folder"),
        (["emulate", "pzem-004t", "--machine", "desktop", "--power", "3"], 3, "leave --power"),
        (["emulate", "pzem-004t", "--machine", "desktop", "--folder", "."], 3, "which exists"),
        (["emulate", "pzem-004t", "--folder", "x"], 3, "--machine beside it"),
        (["record", "--estimator", "rapl", "--simulated-machine", "x"], 3, "x is none"),
    ],
)
def test_what_cannot_be_simulated_is_one_sentence(
    arguments: list[str],
    code: int,
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == code
    said = capsys.readouterr().err
    assert words in said
    assert said.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_machine_without_gpus_refuses_their_work_and_one_that_has_ended_everything(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "m"
    attached = ["record", "--estimator", "rapl", "--simulated-machine", str(folder)]
    attached += ["-o", str(tmp_path / "run")]
    with SimulatedMachine(folder, MACHINES["desktop"], workloads=("idle", "memory-copy")) as one:
        assert main([*attached, "--workload", "gpu-copy:1:1"]) == 3
        assert "has no GPU" in capsys.readouterr().err
        assert main([*attached, "--workload", "memory-copy:1:0.5", "--headless"]) == 0
        one.stop()
        truth = one.truth()
    assert read_run(tmp_path / "run").start.data_kind == "simulated"
    assert truth.knots["memory_w"].max() > 0, "it knew which workload ran"
    late_ns = HistoryFile(folder / "history.bin").history().t_ns[-1] + 10**10
    monkeypatch.setattr(time, "monotonic_ns", lambda: int(late_ns))
    assert main([*attached, "--workload", "idle:0:1"]) == 4
    assert "has ended" in capsys.readouterr().err


def test_the_machines_survive_their_file() -> None:
    from dataclasses import asdict

    assert {n: Machine.from_json(asdict(m)) for n, m in MACHINES.items()} == MACHINES
