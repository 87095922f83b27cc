"""The stage for programs under test: exact powers, counters, a GPU library, and a world apart."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from calibration.errors import NotAvailable
from calibration.simulation import namespace, nvml
from calibration.simulation.gpu import A100, RTX_3090, Gpu, GpuReadings, Sensor
from calibration.simulation.powercap_tree import Zone
from calibration.simulation.profile import (
    PowerProfile,
    constant,
    ramp,
    square,
    staircase,
    total,
)
from calibration.simulation.stage import Scene, SceneZone, Stage

Require = Callable[[str, bool, str], None]


def numeric_j(profile: PowerProfile, start_s: float, end_s: float, n: int = 200_000) -> float:
    step = (end_s - start_s) / n
    return step * sum(profile.power_w(start_s + (i + 0.5) * step) for i in range(n))


@pytest.mark.parametrize(
    ("profile", "start_s", "end_s", "energy_j"),
    [
        (constant(40.0), -1.0, 2.0, 120.0),
        (ramp(0.0, 100.0, 10.0), 0.0, 10.0, 500.0),
        (ramp(0.0, 100.0, 10.0), -1.0, 12.0, 700.0),
        (staircase([10.0, 30.0], 2.0), 1.0, 3.0, 40.0),
        (square(100.0, 400.0, 0.5, 10.0), 0.0, 10.0, 2500.0),
        (square(100.0, 400.0, 0.5, 10.0), 0.0, 0.25, 100.0),
        (total([constant(5.0), ramp(0.0, 10.0, 1.0)]), 0.0, 2.0, 25.0),
        (constant(40.0).scaled(0.5, 1.0), 0.0, 2.0, 42.0),
    ],
)
def test_energies_are_closed_forms(
    profile: PowerProfile, start_s: float, end_s: float, energy_j: float
) -> None:
    assert profile.energy_j(start_s, end_s) == pytest.approx(energy_j, rel=1e-12)
    assert numeric_j(profile, start_s, end_s) == pytest.approx(energy_j, rel=1e-4)


def test_a_profile_needs_knots_in_order() -> None:
    for knots in ([], [(1.0, 5.0), (0.0, 5.0)]):
        with pytest.raises(ValueError, match="order of their time"):
            PowerProfile.of(knots)


def gpu(sensor: Sensor, truth: PowerProfile) -> Gpu:
    return Gpu("NVIDIA A100-SXM4-40GB", "GPU-1111-2222", truth, sensor)


def test_a_part_time_sensor_aliases_a_fast_square_wave() -> None:
    """Published for A100 and H100: at a period of 0.1 s the error stays, however long one runs."""
    truth = square(100.0, 400.0, 0.1, 20.0)
    readings = GpuReadings(gpu(A100, truth))
    begin = readings.at(0.0, 0.0)["energy_mj"]
    counted_j = (readings.at(20.0, 0.0)["energy_mj"] - begin) / 1000
    true_j = truth.energy_j(0.0, 20.0)
    # Its 25 ms fall into the low half of every period.
    assert counted_j == pytest.approx(20.0 * 100.0, rel=0.01)
    assert true_j == pytest.approx(20.0 * 250.0)
    slow = square(100.0, 400.0, 2.0, 20.0)
    readings = GpuReadings(gpu(A100, slow))
    begin = readings.at(0.0, 0.0)["energy_mj"]
    counted_j = (readings.at(20.0, 0.0)["energy_mj"] - begin) / 1000
    assert counted_j == pytest.approx(slow.energy_j(0.0, 20.0), rel=0.03)


def test_gain_offset_and_the_average_of_a_second() -> None:
    sensor = Sensor(period_s=0.1, window_s=0.1, average_s=1.0, gain=1.05, offset_w=2.0)
    readings = GpuReadings(gpu(sensor, staircase([100.0, 200.0], 5.0)))
    words = readings.at(5.5, 0.0)
    assert words["instant_mw"] == 212_000
    assert words["average_mw"] == pytest.approx(1000 * (1.05 * 150.0 + 2.0), abs=1)
    assert words["utilisation"] == 50
    assert GpuReadings(gpu(RTX_3090, constant(80.0))).at(1.0, 0.0)["power_mw"] == 80_000


LOOK = """
import json, pynvml as n
n.nvmlInit()
h = [n.nvmlDeviceGetHandleByIndex(i) for i in range(n.nvmlDeviceGetCount())]
fields = n.nvmlDeviceGetFieldValues(h[0], [83, 185, 186, 1])
try:
    n.nvmlDeviceGetTotalEnergyConsumption(h[1]); counter = True
except n.NVMLError_NotSupported:
    counter = False
print(json.dumps({
    "names": [n.nvmlDeviceGetName(x) for x in h], "uuid": n.nvmlDeviceGetUUID(h[0]),
    "driver": n.nvmlSystemGetDriverVersion(), "vbios": n.nvmlDeviceGetVbiosVersion(h[0]),
    "power": n.nvmlDeviceGetPowerUsage(h[0]),
    "energy": n.nvmlDeviceGetTotalEnergyConsumption(h[0]),
    "fields": [
        [f.nvmlReturn, f.value.ullVal if f.fieldId == 83 else f.value.uiVal] for f in fields
    ],
    "limit": n.nvmlDeviceGetEnforcedPowerLimit(h[0]), "mig": n.nvmlDeviceGetMigMode(h[0]),
    "temperature": n.nvmlDeviceGetTemperature(h[0], 0), "counter": counter,
    "processes": n.nvmlDeviceGetComputeRunningProcesses(h[0]),
    "memory": n.nvmlDeviceGetMemoryInfo(h[0]).total,
    "utilisation": n.nvmlDeviceGetUtilizationRates(h[0]).gpu,
    "architecture": n.nvmlDeviceGetArchitecture(h[0]),
}))
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return nvml.build_library(tmp_path_factory.mktemp("nvml") / "lib")


@pytest.fixture
def compiler(require: Require) -> None:
    import shutil

    require("gcc", shutil.which("gcc") is not None, "the simulated GPU library needs gcc")


@pytest.mark.usefixtures("compiler")
def test_the_real_nvidia_ml_py_reads_the_library(tmp_path: Path, library: Path) -> None:
    old = Sensor(0.1, 0.1, 0.1, counts=False, fields=False)
    cards = [gpu(A100, constant(200.0)), Gpu("Tesla K40m", "GPU-3333", constant(90.0), old)]
    state = nvml.NvmlState(tmp_path / "gpus.bin", [c.describe() for c in cards])
    state.write(0, GpuReadings(cards[0]).at(10.0, 0.0))
    environment = {
        **os.environ,
        **namespace.environment(tmp_path, sysfs=None, library=library, state=tmp_path / "gpus.bin"),
    }
    done = subprocess.run(
        [sys.executable, "-c", LOOK], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    assert seen == {
        "names": ["NVIDIA A100-SXM4-40GB", "Tesla K40m"],
        "uuid": "GPU-1111-2222",
        "driver": "550.54.15",
        "vbios": "92.00.45.00.03",
        "power": 200_000,
        "energy": 1_234_567_890 + 2_000_000,
        "fields": [[0, 1_234_567_890 + 2_000_000], [0, 200_000], [0, 200_000], [3, 0]],
        "limit": 400_000,
        "mig": [0, 0],
        "temperature": 45,
        "counter": False,
        "processes": [],
        "memory": 40 << 30,
        "utilisation": 50,
        "architecture": 7,
    }
    state.close()


def test_without_a_compiler_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(NotAvailable, match="Install gcc"):
        nvml.build_library(tmp_path / "lib")


SEE = """
import json, os, socket, sys
root = "/sys/class/powercap"
def read(path):
    try:
        return open(path).read().strip()
    except OSError as error:
        return type(error).__name__
network = "reached"
try:
    socket.create_connection(("192.0.2.1", 80), timeout=1)
except OSError as error:
    network = type(error).__name__
print(json.dumps({
    "zones": sorted(os.listdir(root)),
    "name": read(f"{root}/intel-rapl:0/name"),
    "energy": read(f"{root}/intel-rapl:0/energy_uj"),
    "range": read(f"{root}/intel-rapl:1/max_energy_range_uj"),
    "subsystem": os.path.realpath(f"{root}/intel-rapl/subsystem").rpartition("/")[2],
    "others": len(os.listdir("/sys/class")),
    "network": network,
}))
"""


@pytest.fixture
def apart(require: Require) -> None:
    reason = namespace.why_not()
    require("namespaces", reason is None, f"private namespaces: {reason}")


def zone(place: str, name: str, start_uj: int, truth: PowerProfile, **mishaps: float) -> SceneZone:
    return SceneZone(Zone(place, name, start_uj), truth, **mishaps)


@pytest.mark.usefixtures("apart")
def test_an_unmodified_program_sees_the_tree_and_nothing_else_is_lost(tmp_path: Path) -> None:
    scene = Scene(
        (
            zone("0", "package-0", 100_000_000_000, constant(40.0)),
            zone("0:0", "dram", 110_000_000_000, constant(5.0)),
            SceneZone(
                Zone("1", "package-1", 120_000_000_000, range_readable=False), constant(25.0)
            ),
        )
    )
    with Stage(tmp_path / "stage", scene) as stage:
        environment = namespace.environment(tmp_path, sysfs=stage.sysfs, library=None, state=None)
        seen = [
            json.loads(
                subprocess.run(
                    namespace.inside([sys.executable, "-c", SEE], bound_by_permissions=bound),
                    env=environment,
                    capture_output=True,
                    text=True,
                    check=True,
                ).stdout
            )
            for bound in (False, True)
        ]
    assert seen[0]["zones"] == ["intel-rapl", "intel-rapl:0", "intel-rapl:0:0", "intel-rapl:1"]
    assert seen[0]["name"] == "package-0"
    assert seen[0]["subsystem"] == "powercap"
    assert len(seen[0]["energy"]) == 12
    assert seen[0]["others"] >= len(os.listdir("/sys/class"))
    assert seen[0]["network"] == "OSError"  # unreachable
    # chmod binds root only without its capabilities.
    assert seen[1]["range"] == "PermissionError"


def test_counters_follow_the_truth_and_have_their_mishaps(tmp_path: Path) -> None:
    steps = staircase([40.0, 80.0], 0.5)
    # Nothing is drawn before the scene begins, so that the wrap falls into it.
    power = PowerProfile.of([(0.0, 0.0), *zip(steps.times_s, steps.powers_w, strict=True)])
    scene = Scene(
        (
            zone("0", "package-0", 100_000_000_000, power),
            zone("1", "package-1", 262_143_328_850 - 20_000_000, power),  # wraps
            zone("2", "package-2", 130_000_000_000, power, stalls_at_s=0.5),
            zone("3", "package-3", 140_000_000_000, power, resets_at_s=0.5),
        )
    )
    with Stage(tmp_path / "stage", scene) as stage:
        with pytest.raises(NotAvailable, match="began"):
            stage.truth()
        stage.go.touch()
        folder = stage.sysfs / "class" / "powercap"

        def counters() -> list[int]:
            return [int((folder / f"intel-rapl:{i}/energy_uj").read_text()) for i in range(4)]

        first_ns, first = time.monotonic_ns(), counters()
        time.sleep(1.2)
        last_ns, last = time.monotonic_ns(), counters()
        truth = stage.truth()
    true_j = truth.energy_j(power, first_ns, last_ns)
    counted_j = [(b - a) / 1e6 for a, b in zip(first, last, strict=True)]
    # The stage may be late by a scheduler's turn: 80 W for 0.1 s.
    assert counted_j[0] == pytest.approx(true_j, abs=8.0)
    assert counted_j[1] + 262_143.328_850 == pytest.approx(true_j, abs=8.0)
    assert counted_j[2] == pytest.approx(truth.energy_j(power, first_ns, truth.go_ns) + 20.0, abs=8)
    assert last[3] == pytest.approx(140_000_000_000 + 80e6 * ((last_ns - truth.go_ns) / 1e9 - 0.5),
                                    abs=8e6)  # fmt: skip
    assert Scene.from_json(json.loads(json.dumps(scene.to_json()))) == scene
