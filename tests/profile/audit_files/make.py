"""Make the files beside this script with the real tools, each once; not run by `make test`.

    python tests/profile/audit_files/make.py ENVIRONMENTS [NAME...]

ENVIRONMENTS is a folder with one virtual environment per tool, `codecarbon-3.3.2`,
`carbontracker-2.4.7`, `zeus-0.16.0`, ..., each holding that version from PyPI (for CodeCarbon 1.x
Python 3.8, 2.0 and 2.1 Python 3.9, the rest Python 3.11). `manifest.toml` says which file came from
what.

The tools run unmodified in namespaces of their own (root, or a kernel that allows unprivileged user
namespaces): no network; where a scenario says `rapl`, a made-up powercap tree of two packages of
40 W and 25 W lies over /sys/class/powercap; where it names `gpus`, a stand-in of NVIDIA's library
shows those of `GPUS`. Nothing of it is a measurement.
"""

from __future__ import annotations

import json
import math
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from pathlib import Path
from typing import Any

from calibration.simulation import namespace, nvml
from calibration.simulation.gpu import Gpu, Sensor
from calibration.simulation.powercap_tree import Zone
from calibration.simulation.profile import PowerProfile
from calibration.simulation.stage import Scene, SceneZone, Stage

HERE = Path(__file__).resolve().parent
PACKAGES_W = (40.0, 25.0)
_LONGEST_S, _KNOT_S = 180.0, 0.25


def rippled(power_w: float, ripple_w: float) -> PowerProfile:
    """Return a power with a slow ripple, so that no sampled mean agrees by chance."""
    times = [_KNOT_S * i for i in range(int(_LONGEST_S / _KNOT_S))]
    return PowerProfile.of((t, power_w + ripple_w * math.sin(t)) for t in times)


ZONES = tuple(
    SceneZone(
        Zone(f"{i}", f"package-{i}", 100_000_000_000 + 7_654_321_000 * i), rippled(power_w, 5.0)
    )
    for i, power_w in enumerate(PACKAGES_W)
)
GPUS = {
    "counted": Gpu(
        "NVIDIA A100-SXM4-40GB", "GPU-11111111-2222-3333-4444-555555555555",
        rippled(150.0, 20.0), Sensor(period_s=0.1, window_s=0.025, average_s=0.025),
    ),
    # The same card with a counter that stands still for a minute at a time.
    "frozen": Gpu(
        "NVIDIA A100-SXM4-40GB",
        "GPU-11111111-2222-3333-4444-555555555555",
        rippled(150.0, 20.0),
        Sensor(period_s=60.0, window_s=0.025, average_s=0.025),
    ),
    # A Pascal card: no energy counter. Zeus needs the driver's two power fields even there.
    "sampled": Gpu(
        "Tesla P100-PCIE-16GB", "GPU-66666666-7777-8888-9999-000000000000",
        rippled(75.0, 10.0),
        Sensor(period_s=0.1, window_s=0.1, average_s=0.1, counts=False),
        architecture=4, limit_w=250.0,
    ),
}  # fmt: skip

CODECARBON = """
import json, sys, time
from codecarbon import OfflineEmissionsTracker
options = json.loads(sys.argv[1])
busy, tasks = options.pop("busy", False), options.pop("tasks", 0)
seconds = options.pop("seconds", 7)
tracker = OfflineEmissionsTracker(
    country_iso_code="FRA", output_dir=".", measure_power_secs=2, **options
)

def work(seconds):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        sum(range(20000)) if busy else time.sleep(0.05)

if tasks:
    for number in range(tasks):
        tracker.start_task(f"task {number}")
        work(seconds / tasks)
        tracker.stop_task()
    tracker.stop()
else:
    tracker.start()
    work(seconds)
    tracker.stop()
"""

CARBONTRACKER = """
import time
from carbontracker.tracker import CarbonTracker
tracker = CarbonTracker(epochs=2, monitor_epochs=2, log_dir=".", verbose=0)
for _ in range(2):
    tracker.epoch_start()
    time.sleep(5)
    tracker.epoch_end()
tracker.stop()
"""


ZEUS = """
import json, sys, time
from zeus.monitor import ZeusMonitor
options = json.loads(sys.argv[1])
monitor = ZeusMonitor(log_file="zeus.csv", cpu_indices=[], **options)
time.sleep(1.0)
monitor.begin_window("run", sync_execution=False)
time.sleep(4.0)
monitor.begin_window("inner", sync_execution=False)
time.sleep(1.0)
monitor.end_window("inner", sync_execution=False)
time.sleep(1.0)
monitor.end_window("run", sync_execution=False)
monitor.begin_window("short", sync_execution=False)
monitor.end_window("short", sync_execution=False)
"""

SCRIPTS = {"codecarbon": CODECARBON, "carbontracker": CARBONTRACKER, "zeus": ZEUS}


def make(name: str, entry: dict[str, Any], environments: Path, folder: Path) -> None:
    """Make one file (or both logs of CarbonTracker) and put it beside this script."""
    python = environments / f"{entry['tool']}-{entry['version']}" / "bin" / "python"
    options = dict(entry.get("options", {}))
    gpus = tuple(GPUS[g] for g in entry.get("gpus", ()))
    scene = Scene(ZONES if entry.get("rapl") else (), gpus)
    library = nvml.build_library(folder / "library") if gpus else None
    if library is not None and not entry.get("nvidia_smi", True):
        (library / "nvidia-smi").unlink()
    work = folder / "work"
    work.mkdir()
    with Stage(folder / "stage", scene) as stage:
        environment = {
            **namespace.environment(
                folder,
                sysfs=stage.sysfs if entry.get("rapl") else None,
                library=library,
                state=stage.gpu_state if gpus else None,
            ),
            "CODECARBON_LOG_LEVEL": "error",
        }
        command = [str(python), "-c", SCRIPTS[entry["tool"]], json.dumps(options)]
        stage.go.touch()
        running = []
        for _ in range(2 if entry.get("twice") else 1):
            process = subprocess.Popen(namespace.inside(command), cwd=work, env=environment)
            running.append(process)
            time.sleep(1.0)
        for process in running:
            if process.wait():
                raise SystemExit(f"{name}: the tool ended with {process.returncode}")
    if entry["tool"] == "carbontracker":
        for log in work.glob("*_carbontracker*.log"):
            if not log.name.endswith("_err.log"):
                ending = log.name.partition("_carbontracker")[2]
                shutil.copy(log, HERE / f"{name.removesuffix('.log')}_carbontracker{ending}")
        return
    wanted = {"zeus": "zeus.csv", "codecarbon": "emissions.csv"}[entry["tool"]]
    shutil.copy(next(work.glob("emissions_*.csv" if options.get("tasks") else wanted)), HERE / name)


def main() -> None:
    environments, names = Path(sys.argv[1]).resolve(), sys.argv[2:]
    manifest = tomllib.loads((HERE / "manifest.toml").read_text(encoding="utf-8"))
    with tempfile.TemporaryDirectory() as root:
        for name, entry in manifest["made"].items():
            if names and name not in names:
                continue
            folder = Path(root) / name.replace("/", "-")
            folder.mkdir()
            make(name, entry, environments, folder)
            print(name)


if __name__ == "__main__":
    main()
