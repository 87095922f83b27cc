"""Make the files beside this script with the real tools, each once; not run by `make test`.

    python tests/profile/audit_files/make.py ENVIRONMENTS [NAME...]

ENVIRONMENTS is a folder with one virtual environment per tool, `codecarbon-3.3.2`,
`carbontracker-2.4.7`, ..., each holding that version from PyPI (for CodeCarbon 1.x Python 3.8,
2.0 and 2.1 Python 3.9, the rest Python 3.11). `manifest.toml` says which file came from what.

The tools run unmodified in namespaces of their own (root, or a kernel that allows unprivileged user
namespaces): no network, and where a scenario says `rapl`, a made-up powercap tree of two packages
of 40 W and 25 W lies over /sys/class/powercap. Nothing of it is a measurement.
"""

from __future__ import annotations

import json
import math
import multiprocessing
import os
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from pathlib import Path
from typing import Any

from calibration.simulation.powercap_tree import ZoneCounter, build_tree

HERE = Path(__file__).resolve().parent
PACKAGES_W = (40.0, 25.0)

INSIDE = """
set -e
ip link set lo up
if [ -n "$TREE" ]; then
    mkdir -p "$TREE/original"
    mount --bind /sys/class "$TREE/original"
    mount -t tmpfs none /sys/class
    for entry in "$TREE"/original/*; do
        [ "$(basename "$entry")" = powercap ] || ln -s "$entry" /sys/class/
    done
    ln -s "$TREE/class/powercap" /sys/class/powercap
fi
exec "$@"
"""

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


def update(root: str) -> None:
    """Play the two counters until the parent ends this process."""
    counters = [ZoneCounter(Path(root), z) for z in build_tree(Path(root), packages=2)]
    began_s = time.monotonic()
    while True:
        t_s = time.monotonic() - began_s
        for counter, power_w in zip(counters, PACKAGES_W, strict=True):
            counter.write(power_w * t_s + 5.0 * (1.0 - math.cos(t_s)))
        time.sleep(0.001)


def run(python: Path, script: str, options: dict[str, Any], folder: Path, tree: str) -> None:
    inside = ["bash", "-c", INSIDE, "inside", str(python), "-c", script, json.dumps(options)]
    environment = {**os.environ, "TREE": tree, "CODECARBON_LOG_LEVEL": "error"}
    command = ["unshare", "-Urmn", *inside]
    subprocess.run(command, cwd=folder, env=environment, check=True)


def make(name: str, entry: dict[str, Any], environments: Path, folder: Path, tree: str) -> None:
    """Make one file (or both logs of CarbonTracker) and put it beside this script."""
    python = environments / f"{entry['tool']}-{entry['version']}" / "bin" / "python"
    script = CODECARBON if entry["tool"] == "codecarbon" else CARBONTRACKER
    injected = tree if entry.get("rapl") else ""
    options = dict(entry.get("options", {}))
    if entry.get("twice"):
        started = [
            multiprocessing.Process(target=run, args=(python, script, options, folder, injected))
            for _ in range(2)
        ]
        for process in started:
            process.start()
            time.sleep(1.0)
        for process in started:
            process.join()
    else:
        run(python, script, options, folder, injected)
    if entry["tool"] == "carbontracker":
        for log in folder.glob("*_carbontracker*.log"):
            if not log.name.endswith("_err.log"):
                ending = log.name.partition("_carbontracker")[2]
                shutil.copy(log, HERE / f"{name.removesuffix('.log')}_carbontracker{ending}")
        return
    wanted = "emissions_*.csv" if options.get("tasks") else "emissions.csv"
    shutil.copy(next(folder.glob(wanted)), HERE / name)


def main() -> None:
    environments, names = Path(sys.argv[1]).resolve(), sys.argv[2:]
    manifest = tomllib.loads((HERE / "manifest.toml").read_text(encoding="utf-8"))
    with tempfile.TemporaryDirectory() as root:
        tree = f"{root}/sys"
        updater = multiprocessing.Process(target=update, args=(tree,), daemon=True)
        updater.start()
        time.sleep(1.0)
        for name, entry in manifest["made"].items():
            if names and name not in names:
                continue
            folder = Path(root) / name.replace("/", "-")
            folder.mkdir()
            make(name, entry, environments, folder, tree)
            print(name)
        updater.terminate()


if __name__ == "__main__":
    main()
