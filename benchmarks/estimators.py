"""What a reading of the counters costs: ours, Zeus's, CarbonTracker's, on one simulated tree.

Printed, never asserted in a test. CPU time (user and system, all threads of the reader's process),
not wall time: CarbonTracker sleeps for a second inside each reading. A reading is one energy of one
window: ours is one read (the difference to the one before), Zeus's is a window, begun and ended,
CarbonTracker's is `power_usage`.

`hot` readings follow each other at once, CarbonTracker's without its sleep (the best of nine
rounds, because other work on the machine only adds). `paced` ones come ten times a second, as a
recording takes them, with caches gone cold meanwhile (the median); CarbonTracker's are paced by its
own sleep. The tools take turns, three times each. Then our own adapters together at 10 Hz, as a
share of one core.

    python benchmarks/estimators.py [--peers .venv-peers] [--seconds 20]
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from calibration.simulation import namespace, nvml
from calibration.simulation.gpu import RTX_3090, Gpu
from calibration.simulation.powercap_tree import Zone
from calibration.simulation.profile import constant
from calibration.simulation.stage import Scene, SceneZone, Stage

PERIOD_S = 0.1
PACED, HOT, SLEEPY, ROUNDS, TURNS = 20, 500, 4, 9, 3
SOCKETS = (
    ("0", "package-0", 40.0), ("0:0", "dram", 6.0), ("1", "package-1", 25.0), ("1:0", "dram", 4.0),
)  # fmt: skip


def scene(zones: int) -> Scene:
    """Return the first zones of two sockets with memory, and one GPU."""
    parts = [
        SceneZone(Zone(place, name, 100_000_000_000 + 7_000_000_000 * n), constant(power_w))
        for n, (place, name, power_w) in enumerate(SOCKETS[:zones])
    ]
    return Scene(tuple(parts), (Gpu("NVIDIA RTX 3090", "GPU-1", constant(200.0), RTX_3090),))


def paced_us(read: Callable[[], object], count: int, pause_s: float) -> float:
    """Return the median CPU time of a reading, us, over `count` of them, `pause_s` apart."""
    read()
    spent_s = []
    for _ in range(count):
        if pause_s:
            time.sleep(pause_s)
        begun_s = time.process_time()
        read()
        spent_s.append(time.process_time() - begun_s)
    return 1e6 * statistics.median(spent_s)


def hot_us(read: Callable[[], object], count: int) -> float:
    """Return the CPU time of a reading, us, of `count` in a row: the best of nine rounds."""
    read()
    rounds = []
    for _ in range(ROUNDS):
        begun_s = time.process_time()
        for _ in range(count):
            read()
        rounds.append((time.process_time() - begun_s) / count)
    return 1e6 * min(rounds)


def ours(sysfs: Path) -> dict[str, float]:
    """Read the tree through our RAPL adapter."""
    from calibration.estimators.rapl import RaplReader

    with RaplReader(sysfs) as rapl:
        return {"hot": hot_us(rapl.read, HOT), "paced": paced_us(rapl.read, PACED, PERIOD_S)}


def zeus(sysfs: Path) -> dict[str, float]:
    """Read the tree through Zeus: a window, begun and ended."""
    import zeus.device.cpu.rapl as rapl

    rapl.RAPL_DIR = str(sysfs / "class" / "powercap" / "intel-rapl")
    from zeus.monitor import ZeusMonitor

    monitor = ZeusMonitor(gpu_indices=[])
    monitor.begin_window("warm-up")
    time.sleep(2.0)
    monitor.end_window("warm-up")

    def window() -> None:
        monitor.begin_window("w")
        monitor.end_window("w")

    return {"hot": hot_us(window, HOT), "paced": paced_us(window, PACED, PERIOD_S)}


def carbontracker(sysfs: Path) -> dict[str, float]:
    """Read the tree through CarbonTracker's handler; its second of sleep is in each reading."""
    import carbontracker.components.cpu.intel as intel

    intel.RAPL_DIR = f"{sysfs}/class/powercap/"
    handler = intel.IntelCPU(pids=[], devices_by_pid=False)
    handler.init()
    paced = paced_us(handler.power_usage, SLEEPY, 0.0)
    intel.MEASURE_DELAY = 1e-9  # what is left when its sleep is taken away
    return {"hot": hot_us(handler.power_usage, HOT), "paced": paced}


def together(sysfs: Path, seconds: float) -> dict[str, float]:
    """Read RAPL, NVML and the CPU load ten times a second; the share of a core in percent."""
    from calibration.estimators import CpuLoad, NvmlReader, RaplReader

    readers: list[Any] = [RaplReader(sysfs), NvmlReader(), CpuLoad()]
    shares, count = {}, round(seconds / PERIOD_S)
    for reader in readers:
        shares[reader.id] = paced_us(reader.read, PACED, PERIOD_S) / PERIOD_S / 1e4
    begun_s, cpu_s = time.monotonic(), time.process_time()
    for tick in range(1, count + 1):
        time.sleep(max(begun_s + tick * PERIOD_S - time.monotonic(), 0.0))
        for reader in readers:
            reader.read()
    spent_s = time.process_time() - cpu_s
    return {**shares, "all, sleeping between": 100 * spent_s / (time.monotonic() - begun_s)}


READERS: dict[str, Callable[..., dict[str, float]]] = {
    "ours": ours, "zeus": zeus, "carbontracker": carbontracker, "together": together,
}  # fmt: skip


def in_process(python: str, stage: Stage, library: Path, *what: str) -> dict[str, float]:
    """Run one of READERS in a process of its own."""
    environment = namespace.environment(
        stage.folder, sysfs=None, library=library, state=stage.gpu_state
    )
    done = subprocess.run(
        [python, __file__, "--one", what[0], str(stage.sysfs), *what[1:]],
        env=environment,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise SystemExit(f"{what[0]} failed: {done.stderr.strip().splitlines()[-1]}")
    found: dict[str, float] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--peers", type=Path, default=Path(".venv-peers"))
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--one", nargs="+")
    arguments = parser.parse_args()
    if arguments.one:
        name, sysfs, *rest = arguments.one
        print(json.dumps(READERS[name](Path(sysfs), *map(float, rest))))
        return
    peers = str((arguments.peers / "bin" / "python").absolute())
    with tempfile.TemporaryDirectory() as folder:
        library = nvml.build_library(Path(folder) / "lib")
        who = {"ours": sys.executable, "zeus": peers, "carbontracker": peers}
        print("CPU time of a reading, us; SIMULATED counters")
        print(
            f"{'zones':>5}  {'tool':<14}{'hot':>8}{'paced':>8}{'x hot':>8}{'x paced':>8}"
            f"{'paced/our hot':>15}"
        )
        for zones in (1, 4):
            with Stage(Path(folder) / f"stage{zones}", scene(zones)) as stage:
                rows: dict[str, dict[str, float]] = {}
                for _ in range(TURNS):
                    for name, python in who.items():
                        cost = in_process(python, stage, library, name)
                        best = rows.setdefault(name, cost)
                        rows[name] = {k: min(best[k], cost[k]) for k in cost}
                own = rows["ours"]
                for name, cost in rows.items():
                    times = [cost[k] / own[k] for k in ("hot", "paced")]
                    print(
                        f"{zones:>5}  {name:<14}{cost['hot']:>8.1f}{cost['paced']:>8.1f}"
                        f"{times[0]:>8.1f}{times[1]:>8.1f}{cost['paced'] / own['hot']:>15.1f}"
                    )
                if zones == 4:
                    told = in_process(
                        sys.executable, stage, library, "together", str(arguments.seconds)
                    )
        print("\nour adapters at 10 Hz, % of a core")
        for name, share in told.items():
            print(f"  {name:<24}{share:>7.3f}")


if __name__ == "__main__":
    main()
