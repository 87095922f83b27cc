"""CarbonTracker and Zeus, the real ones, read with care: devices added, nothing counted twice."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest

from calibration.errors import NotAvailable, WrongMode
from calibration.estimators import CarbonTracker, PushedEstimator, Zeus
from calibration.estimators.peers import peers_python
from calibration.instruments import Reading
from calibration.simulation import nvml
from calibration.simulation.gpu import A100, Gpu
from calibration.simulation.powercap_tree import MAX_ENERGY_RANGE_UJ, Zone
from calibration.simulation.profile import PowerProfile, constant
from calibration.simulation.stage import Scene, SceneZone, Stage

Require = Callable[[str, bool, str], None]
ROOT = Path(__file__).resolve().parents[2]

PACKAGES_W, DRAM_W, GPUS_W = 40.0 + 25.0, 6.0, 200.0 + 150.0
SCENE = Scene(
    (
        SceneZone(Zone("0", "package-0", 100_000_000_000), constant(40.0)),
        SceneZone(Zone("0:0", "dram", 110_000_000_000), constant(DRAM_W)),
        SceneZone(Zone("1", "package-1", 120_000_000_000), constant(25.0)),
        SceneZone(Zone("2", "psys", 130_000_000_000), constant(90.0)),
    ),
    (
        Gpu("NVIDIA A100-SXM4-40GB", "GPU-1", constant(200.0), A100),
        Gpu("NVIDIA A100-SXM4-40GB", "GPU-2", constant(150.0), A100),
    ),
)


@pytest.fixture
def python(require: Require) -> Path:
    given = Path(os.environ.get("WATTCAL_PEERS") or ROOT / ".venv-peers")
    found = (given / "bin" / "python").exists()
    require("peers", found, "make peers (carbontracker and zeus in .venv-peers)")
    return given


@pytest.fixture
def stage(
    tmp_path: Path, require: Require, monkeypatch: pytest.MonkeyPatch
) -> Callable[[Scene], Stage]:
    require("gcc", shutil.which("gcc") is not None, "the simulated GPU library needs gcc")
    library = nvml.build_library(tmp_path / "lib")

    def play(scene: Scene) -> Stage:
        made = Stage(tmp_path / "stage", scene)
        monkeypatch.setenv("LD_LIBRARY_PATH", str(library))
        monkeypatch.setenv("WATTCAL_NVML", str(made.gpu_state))
        return made

    return play


def collect(tool: PushedEstimator, seconds: float) -> list[Reading]:
    rows: list[Reading] = []
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        rows.extend(tool.drain())
        time.sleep(0.05)
    rows.extend(tool.finish())
    rows.extend(tool.drain())
    return rows


def test_zeus_is_added_up_by_package_and_by_gpu(
    python: Path, stage: Callable[[Scene], Stage]
) -> None:
    with stage(SCENE) as played, Zeus(
        python=python, rapl_root=played.sysfs, cadence_s=0.5
    ) as tool:  # fmt: skip
        rows = collect(tool, 4.0)
        descriptor = tool.descriptor()
    good = [r for r in rows if r.fault is None]
    assert len(good) >= 4
    seconds = (good[-1].t_reply_ns - good[0].t_reply_ns) / 1e9

    def power_w(name: str) -> float:
        return (good[-1].values[name] - good[0].values[name]) / seconds

    assert power_w("zeus_cpu_j") == pytest.approx(PACKAGES_W, rel=0.02), "psys is not added"
    assert power_w("zeus_dram_j") == pytest.approx(DRAM_W, rel=0.03)
    # The counters of the cards are renewed every 0.1 s.
    assert power_w("zeus_gpu_j") == pytest.approx(GPUS_W, rel=0.1 / seconds + 0.02)
    assert good[-1].values["zeus_total_j"] == pytest.approx(
        sum(good[-1].values[f"zeus_{part}_j"] for part in ("cpu", "dram", "gpu"))
    )
    assert descriptor.mode == "rapl + energy_counter"
    assert descriptor.scope == ("package-0", "package-1", "dram", "GPU 0", "GPU 1")
    assert descriptor.configuration["zones"]["2"] == "psys"
    assert [c.input for c in descriptor.channels if c.input] == ["zeus"]
    assert set(good[-1].values) == {c.name for c in descriptor.channels}


def test_a_wrap_that_zeus_has_not_noticed_is_a_fault_and_no_energy(
    python: Path, stage: Callable[[Scene], Stage]
) -> None:
    # Nothing is drawn until the tool is ready; then it wraps after a second.
    power = PowerProfile.of([(0.0, 0.0), (0.0, 400.0)])
    start_uj = MAX_ENERGY_RANGE_UJ - 400_000_000
    scene = Scene((SceneZone(Zone("0", "package-0", start_uj), power),))
    with stage(scene) as played, Zeus(
        python=python, rapl_root=played.sysfs, cadence_s=0.02
    ) as tool:  # fmt: skip
        played.go.touch()
        rows = collect(tool, 3.0)
    assert {r.fault for r in rows} >= {None, "went_back", "implausible"}
    for before, after in pairwise(rows):
        if before.fault is None and after.fault is None:
            energy_j = after.values["zeus_cpu_j"] - before.values["zeus_cpu_j"]
            assert 0 <= energy_j <= 1000.0


def test_carbontracker_is_added_over_devices_with_gaps_unobserved(
    python: Path, stage: Callable[[Scene], Stage]
) -> None:
    with stage(SCENE) as played, CarbonTracker(python=python, rapl_root=played.sysfs) as tool:
        rows = collect(tool, 4.5)
        descriptor = tool.descriptor()
    good = [r.values for r in rows if r.fault is None]
    assert good, [r.fault for r in rows]
    # Its second is as long as its sleep was; the divisor is not.
    for values in good:
        assert values["carbontracker_cpu_w"] == pytest.approx(PACKAGES_W + DRAM_W, rel=0.06)
        assert values["carbontracker_gpu_w"] == GPUS_W
        assert values["carbontracker_w"] == pytest.approx(values["carbontracker_cpu_w"] + GPUS_W)
    whole, cpu, gpu = descriptor.channels
    assert (whole.input, whole.kind, whole.window_s) == ("carbontracker", "mean", 1.0)
    assert (cpu.input, gpu.input, gpu.kind) == (None, None, "instant")
    assert descriptor.mode == "IntelCPU + NvidiaGPU"
    assert sorted(descriptor.scope[:3]) == ["cpu:0", "cpu:1", "dram:0"]
    stamps = [r.t_request_ns for r in rows]
    assert all(b - a >= 1e9 for a, b in pairwise(stamps))


def test_without_counters_carbontracker_is_a_constant_and_no_input(
    python: Path, tmp_path: Path
) -> None:
    (tmp_path / "sys" / "class" / "powercap").mkdir(parents=True)
    with pytest.raises(WrongMode, match="GenericCPU"):
        CarbonTracker(python=python, rapl_root=tmp_path / "sys")


def test_without_counters_zeus_is_the_wrong_mode_or_cannot_run(
    python: Path, tmp_path: Path
) -> None:
    with pytest.raises((WrongMode, NotAvailable), match=r"no package|packages"):
        Zeus(python=python, rapl_root=tmp_path / "absent")


def test_an_environment_that_is_not_there_is_named_with_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WATTCAL_PEERS", str(tmp_path / "nowhere"))
    with pytest.raises(NotAvailable, match="make peers"):
        peers_python()
    with pytest.raises(NotAvailable, match=r"carbontracker|exit status|cannot run"):
        CarbonTracker(python=bare(tmp_path))


def bare(folder: Path) -> Path:
    """A Python that has no such tool."""
    script = folder / "python"
    script.write_text(f'#!/bin/sh\nexec "{os.path.realpath("/proc/self/exe")}" -I -S "$@"\n')
    script.chmod(0o755)
    return script
