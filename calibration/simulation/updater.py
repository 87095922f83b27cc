"""The process that lets the simulated machine live: load in, counters and truth out.

Ten times a second it reads /proc/stat. The load of the interval that has just passed is, by
definition, the load of the simulated machine from now on; powers follow from it and are written
to the history as a knot. About a thousand times a second, as a real package does, it rewrites the
energy counters in place. It ends when it is told to, when its parent is gone, or when the history
is full.

    python -m calibration.simulation.updater FOLDER PARENT_PID
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from .history import HistoryFile, Knot
from .load import CpuTimes, load_between, read_cpu_times, usable
from .machine import COLD, Heat, Machine, memory_power_w, package_power_w, wall_power_w, warmed
from .powercap_tree import Zone, ZoneCounter

__all__ = ["KNOT_NS", "PERIOD_NS", "next_knot", "run"]

KNOT_NS = 100_000_000
PERIOD_NS = 1_000_000


def next_knot(machine: Machine, before: Knot | None, t_ns: int, load: float, workload: str) -> Knot:
    """Return the knot at `t_ns`, where `load` and `workload` begin to hold.

    Fans and leakage stay for one knot what the load up to it has made of them.
    """
    heat = COLD
    if before is None:
        energies = (0.0, 0.0, 0.0)
    else:
        elapsed_s = (t_ns - before.t_ns) / 1e9
        energies = (
            before.package_j + before.package_w * elapsed_s,
            before.memory_j + before.memory_w * elapsed_s,
            before.wall_j + before.wall_w * elapsed_s,
        )
        heat = warmed(
            machine, Heat(before.fans_w, before.leakage_w), before.load, workload, elapsed_s
        )
    return Knot(
        t_ns,
        load,
        package_power_w(machine, load, workload, heat),
        memory_power_w(machine, load, workload),
        wall_power_w(machine, load, workload, heat),
        *energies,
        heat.fans_w,
        heat.leakage_w,
    )


@dataclass(slots=True)
class _Counters:
    """The counters of a tree and how each follows from a knot."""

    packages: list[ZoneCounter]
    memories: list[ZoneCounter]
    shares: Sequence[float]

    def write(self, knot: Knot, t_ns: int) -> None:
        """Show every zone's energy at `t_ns`; the packages share it as the sockets do."""
        elapsed_s = (t_ns - knot.t_ns) / 1e9
        package_j = knot.package_j + knot.package_w * elapsed_s
        memory_j = knot.memory_j + knot.memory_w * elapsed_s
        for counter, share in zip(self.packages, self.shares, strict=True):
            counter.write(package_j * share)
        for counter in self.memories:
            counter.write(memory_j / len(self.memories))


def run(
    machine: Machine,
    history: HistoryFile,
    root: Path,
    zones: Sequence[Zone],
    workloads: Sequence[str],
    *,
    parent: int,
    look: Callable[[Collection[int]], CpuTimes] = read_cpu_times,
) -> None:
    """Update counters and history until told to stop."""
    cpus = usable()
    packages = [ZoneCounter(root, z) for z in zones if z.name.startswith("package-")]
    # A machine that says nothing of sockets shares its power evenly among those it is shown with.
    shares = machine.sockets if len(machine.sockets) > 1 else [1 / len(packages)] * len(packages)
    counters = _Counters(
        packages, [ZoneCounter(root, z) for z in zones if z.name == "dram"], shares
    )
    times = look(cpus)
    time.sleep(KNOT_NS / 1e9)
    knot: Knot | None = None
    load = 0.0
    rewrites, started_cpu_ns = 0, time.process_time_ns()
    due_ns = time.monotonic_ns()
    while True:
        now_ns = time.monotonic_ns()
        if knot is None or now_ns - knot.t_ns >= KNOT_NS:
            if history.stopping or os.getppid() != parent:
                return
            times, before = look(cpus), times
            measured = load_between(before, times)
            load = load if measured is None else measured
            knot = next_knot(machine, knot, now_ns, load, workloads[history.workload])
            if not history.append(knot):
                return
            history.note(rewrites, time.process_time_ns() - started_cpu_ns)
        counters.write(knot, now_ns)
        rewrites += 1
        # A late wake-up is not made up for: a burst of rewrites would help nobody.
        due_ns = max(due_ns + PERIOD_NS, time.monotonic_ns())
        time.sleep(max(due_ns - time.monotonic_ns(), 0) / 1e9)


def main(arguments: Sequence[str]) -> None:
    """Run on the folder that `SimulatedMachine` has prepared."""
    folder, parent = Path(arguments[0]), int(arguments[1])
    setup = json.loads((folder / "setup.json").read_text(encoding="utf-8"))
    run(
        Machine.from_json(setup["machine"]),
        HistoryFile(folder / "history.bin"),
        folder / "sys",
        [Zone(**z) for z in setup["zones"]],
        setup["workloads"],
        parent=parent,
    )


if __name__ == "__main__":
    main(sys.argv[1:])
