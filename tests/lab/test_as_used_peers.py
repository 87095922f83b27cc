"""The real CarbonTracker and Zeus, as their users run them, on counters of known energy.

Each runs unmodified with its defaults where it sees a simulated machine and no network; what it
leaves is read as `wattcal correct` reads it.
"""

from __future__ import annotations

import math
import os
import shlex
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from calibration.bench import as_used
from calibration.errors import NotAvailable
from calibration.recording.tool_runs import read_tool_runs
from calibration.simulation import namespace, nvml
from calibration.simulation.gpu import A100, Gpu
from calibration.simulation.powercap_tree import Zone
from calibration.simulation.profile import PowerProfile, constant
from calibration.simulation.stage import Scene, SceneZone, Stage
from calibration.toolfiles import read_tool_file
from calibration.toolfiles.carbontracker import POWER

Require = Callable[[str, bool, str], None]
ROOT = Path(__file__).resolve().parents[2]
RUNS_S = (2.5, 3.5)
PACKAGES_W, CARDS_W = 40.0 + 25.0, (200.0, 150.0)
RIPPLED = PowerProfile.of((0.25 * i, 40.0 + 2.0 * math.sin(i)) for i in range(400))
SCENE = Scene(
    (
        SceneZone(Zone("0", "package-0", 100_000_000_000), RIPPLED),
        SceneZone(Zone("1", "package-1", 120_000_000_000), constant(25.0)),
    ),
    tuple(
        Gpu("NVIDIA A100-SXM4-40GB", f"GPU-{i}", constant(power_w), A100)
        for i, power_w in enumerate(CARDS_W)
    ),
)


@pytest.fixture
def stage(tmp_path: Path, require: Require, monkeypatch: pytest.MonkeyPatch) -> Stage:
    """Return a stage, around which the peers' Python is one that sees nothing else."""
    given = Path(os.environ.get("WATTCAL_PEERS") or ROOT / ".venv-peers") / "bin" / "python"
    require("peers", given.exists(), "make peers (carbontracker and zeus in .venv-peers)")
    require("gcc", shutil.which("gcc") is not None, "the simulated GPU library needs gcc")
    reason = namespace.why_not()
    require("namespaces", reason is None, f"private namespaces: {reason}")
    played = Stage(tmp_path / "stage", SCENE)
    library = nvml.build_library(tmp_path / "lib")
    for name, value in namespace.environment(
        tmp_path, sysfs=played.sysfs, library=library, state=played.gpu_state
    ).items():
        monkeypatch.setenv(name, value)
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nexec {shlex.join(namespace.inside([str(given)]))} "$@"\n')
    python.chmod(0o755)
    monkeypatch.setenv("WATTCAL_PEERS", str(python))
    return played


def test_each_leaves_a_file_that_holds_what_the_counters_did(stage: Stage, tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    with stage:
        versions = as_used.check(["carbontracker", "zeus"], RUNS_S)
        stage.go.touch()
        with as_used.ToolsAsUsed(run, versions, RUNS_S) as tools:
            assert tools.finish(60.0, ended_ns=time.monotonic_ns() + 10**12) == {}
    tracker, zeus = read_tool_runs(run)
    assert (tracker.tool, zeus.tool) == ("carbontracker", "zeus")
    assert {tracker.version, zeus.version} == set(versions.values())
    assert (tracker.asserted, zeus.asserted["zeus_version"]) == ({}, versions["zeus"])
    assert zeus.asserted["zeus_mode"] == "no CPUs + energy_counter"
    for left, field in ((tracker, POWER), (zeus, "gpu_energy")):
        rows = read_tool_file(run / left.file).rows
        for row, window, asked_s in zip(rows, left.windows, RUNS_S, strict=True):
            length_s = (window.t_end_ns - window.t_start_ns) / 1e9
            assert length_s == pytest.approx(row.duration_s, abs=0.05)
            assert asked_s <= length_s + 0.01
            assert row.lacks.get(field) is None
            power_w = row.energies_j[field] / row.duration_s
            if left is tracker:
                # Its seconds are as long as its sleep was; the divisor is not.
                assert power_w == pytest.approx(PACKAGES_W + sum(CARDS_W), rel=0.06)
            else:
                # The counters of the cards are renewed every 0.1 s.
                assert power_w == pytest.approx(sum(CARDS_W), rel=0.1 / row.duration_s + 0.01)
    first = read_tool_file(run / tracker.file).rows[0]
    assert first.facts["carbontracker_mode"] == "IntelCPU + NvidiaGPU"
    assert first.facts["devices"].endswith("cpu:0, cpu:1")
    # What the monitor says of itself is what its file shows, where the digits are enough for that.
    shown = read_tool_file(run / zeus.file).rows[0].facts
    assert shown.get("gpu_mode", "energy_counter") == zeus.asserted["gpu_mode"]


def test_a_tool_that_has_nothing_to_read_or_is_absent_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WATTCAL_PEERS", str(tmp_path))
    with pytest.raises(NotAvailable, match="make peers"):
        as_used.check(["zeus"], RUNS_S)
    python = tmp_path / "bin" / "python"
    python.parent.mkdir()
    python.write_text("#!/bin/sh\necho 'it has no card' >&2\nexit 1\n")
    python.chmod(0o755)
    with pytest.raises(NotAvailable, match="--as-used zeus: not available: it has no card"):
        as_used.check(["zeus"], RUNS_S)
