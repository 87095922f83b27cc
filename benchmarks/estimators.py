"""What a read of the counters costs: ours, Zeus's, CarbonTracker's, on one simulated tree.

Printed, never asserted in a test. CPU time (user and system, all threads of the reader's process),
not wall time: CarbonTracker sleeps for a second inside each read. `hot` reads follow each other at
once; `paced` ones come ten times a second, as a recording takes them, with caches gone cold
meanwhile; CarbonTracker's are paced by its own sleep. Then our own adapters together at 10 Hz, as a
share of one core.

    python benchmarks/estimators.py [--peers .venv-peers] [--seconds 20]
"""

from __future__ import annotations

import argparse
import json
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
PACED, HOT, SLEEPY = 50, 5000, 8
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


def cpu_us(read: Callable[[], object], count: int, pause_s: float) -> float:
    """Return the CPU time of one read, us, over `count` of them, `pause_s` apart."""
    read()
    spent_s = 0.0
    for _ in range(count):
        if pause_s:
            time.sleep(pause_s)
        begun_s = time.process_time()
        read()
        spent_s += time.process_time() - begun_s
    return 1e6 * spent_s / count


def hot_us(read: Callable[[], object], count: int) -> float:
    """Return the CPU time of one read, us, of `count` in a row."""
    read()
    begun_s = time.process_time()
    for _ in range(count):
        read()
    return 1e6 * (time.process_time() - begun_s) / count


def ours(sysfs: Path) -> dict[str, float]:
    """Read the tree through our RAPL adapter."""
    from calibration.estimators.rapl import RaplReader

    with RaplReader(sysfs) as rapl:
        return {"hot": hot_us(rapl.read, HOT), "paced": cpu_us(rapl.read, PACED, PERIOD_S)}


def zeus(sysfs: Path) -> dict[str, float]:
    """Read the tree through Zeus: one edge of a window is one read."""
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

    return {"hot": hot_us(window, HOT // 2) / 2, "paced": cpu_us(window, PACED, PERIOD_S) / 2}


def carbontracker(sysfs: Path) -> dict[str, float]:
    """Read the tree through CarbonTracker's handler; its second of sleep is part of the read."""
    import carbontracker.components.cpu.intel as intel

    intel.RAPL_DIR = f"{sysfs}/class/powercap/"
    handler = intel.IntelCPU(pids=[], devices_by_pid=False)
    handler.init()
    paced = cpu_us(handler.power_usage, SLEEPY, 0.0)
    intel.MEASURE_DELAY = 1e-9  # what is left when its sleep is taken away
    return {"hot": hot_us(handler.power_usage, HOT // 5), "paced": paced}


def together(sysfs: Path, seconds: float) -> dict[str, float]:
    """Read RAPL, NVML and the CPU load ten times a second; the share of a core in percent."""
    from calibration.estimators import CpuLoad, NvmlReader, RaplReader

    readers: list[Any] = [RaplReader(sysfs), NvmlReader(), CpuLoad()]
    shares, count = {}, round(seconds / PERIOD_S)
    for reader in readers:
        shares[reader.id] = cpu_us(reader.read, PACED, PERIOD_S) / PERIOD_S / 1e4
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
        print("CPU time of a read, us; SIMULATED counters")
        print(f"{'zones':>5}  {'tool':<14}{'hot':>8}{'paced':>8}{'x hot':>8}{'x paced':>8}")
        for zones in (1, 4):
            with Stage(Path(folder) / f"stage{zones}", scene(zones)) as stage:
                own = in_process(sys.executable, stage, library, "ours")
                rows = {"wattcal": own}
                for name in ("zeus", "carbontracker"):
                    rows[name] = in_process(peers, stage, library, name)
                for name, cost in rows.items():
                    times = [cost[k] / own[k] for k in ("hot", "paced")]
                    print(
                        f"{zones:>5}  {name:<14}{cost['hot']:>8.1f}{cost['paced']:>8.1f}"
                        f"{times[0]:>8.1f}{times[1]:>8.1f}"
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
