"""The process that lets the simulated machine live: load in, counters and truth out.

Ten times a second it reads /proc/stat. The load of the interval that has just passed is, by
definition, the load of the simulated machine from now on; powers follow from it and are written
to the history as a knot. The GPUs do what they are told: that is a knot too, and so is every edge
of a square wave, when this process sees it. About a thousand times a second, as a real package
does, it rewrites the energy counters in place, and the GPUs' state file with what each card's own
sensor has seen. It ends when it is told to, when its parent is gone, or when the history is full.

    python -m calibration.simulation.updater FOLDER PARENT_PID
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from .course import Cards, Counters, GpuOrder, next_knot
from .history import HistoryFile, Knot
from .load import CpuTimes, load_between, read_cpu_times, usable
from .machine import Machine
from .powercap_tree import Zone

__all__ = ["GPU_STATE", "KNOT_NS", "PERIOD_NS", "run"]

GPU_STATE = "gpus.bin"
KNOT_NS = 100_000_000
PERIOD_NS = 1_000_000


def run(
    machine: Machine,
    history: HistoryFile,
    root: Path,
    zones: Sequence[Zone],
    workloads: Sequence[str],
    *,
    parent: int,
    gpu_state: Path | None = None,
    look: Callable[[Collection[int]], CpuTimes] = read_cpu_times,
) -> None:
    """Update counters, cards and history until told to stop.

    `gpu_state` is the GPUs' state file, which is made; None where the machine has none.
    """
    cpus = usable()
    counters = Counters(machine, root, zones)
    times = look(cpus)
    time.sleep(KNOT_NS / 1e9)
    knot: Knot | None = None
    load, order, edge_ns = 0.0, GpuOrder(), None
    rewrites, started_cpu_ns = 0, time.process_time_ns()
    looked_ns = due_ns = time.monotonic_ns()
    cards = None if gpu_state is None else Cards(machine, gpu_state, due_ns)
    while True:
        now_ns = time.monotonic_ns()
        told = history.gpus_told
        if told != (order.level, order.period_s):
            order = GpuOrder(*told, now_ns)
            edge_ns = now_ns
        due = knot is None or now_ns - looked_ns >= KNOT_NS
        if due:
            if history.stopping or os.getppid() != parent:
                return
            times, before = look(cpus), times
            measured = load_between(before, times)
            load = load if measured is None else measured
            looked_ns = now_ns
        if knot is None or due or (edge_ns is not None and now_ns >= edge_ns):
            workload, gpu_load = workloads[history.workload], order.load(now_ns)
            edge_ns = order.next_edge_ns(now_ns)
            knot = next_knot(machine, knot, now_ns, load, workload, gpu_load)
            if cards is not None:
                cards.hold(now_ns, workload, gpu_load)
                cards.write(now_ns)  # whoever waits for the first knot reads them at once
            if not history.append(knot):
                return
            history.note(rewrites, time.process_time_ns() - started_cpu_ns)
        counters.write(knot, now_ns)
        if cards is not None:
            cards.write(now_ns)
        rewrites += 1
        # A late wake-up is not made up for: a burst of rewrites would help nobody.
        due_ns = max(due_ns + PERIOD_NS, time.monotonic_ns())
        time.sleep(max(due_ns - time.monotonic_ns(), 0) / 1e9)


def main(arguments: Sequence[str]) -> None:
    """Run on the folder that `SimulatedMachine` has prepared."""
    folder, parent = Path(arguments[0]), int(arguments[1])
    setup = json.loads((folder / "setup.json").read_text(encoding="utf-8"))
    machine = Machine.from_json(setup["machine"])
    run(
        machine,
        HistoryFile(folder / "history.bin"),
        folder / "sys",
        [Zone(**z) for z in setup["zones"]],
        setup["workloads"],
        parent=parent,
        gpu_state=folder / GPU_STATE if machine.gpus else None,
    )


if __name__ == "__main__":
    main(sys.argv[1:])
