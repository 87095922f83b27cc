"""A plan with GPU steps, recorded on a simulated machine with GPUs and a clock of its own.

As in `closed_loop` only time and load are simulated. The machine is the one behind
`SimulatedMachine`, without its process: knots, counters, cards and the library that shows them; the
RAPL and the NVML reader, nvidia-ml-py, the driver, the emulated meter's bytes, the session and its
samplers are the real ones.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from calibration.bench import session as bench_session
from calibration.bench.interrupts import Interrupts
from calibration.estimators.nvml import NvmlReader
from calibration.estimators.rapl import RaplReader
from calibration.plans import Plan, to_mapping
from calibration.recording.reader import Run, read_run
from calibration.recording.writer import RunWriter, new_start
from calibration.simulation.course import Cards, Counters, GpuOrder, next_knot
from calibration.simulation.history import HistoryFile
from calibration.simulation.machine import Machine
from calibration.simulation.powercap_tree import build_tree
from calibration.workloads import PlayedGpus, workload
from drivers.emulators.pzem004t import Pzem004tDevice
from drivers.emulators.served import NullModem, Responder, VirtualClock
from drivers.meters.pzem004t import Pzem004t
from tests.lab.closed_loop import CORES, OneThread, S
from tests.lab.stub_library import load_library

LOOK_S = 0.02
_LOOKS = 100_000  # more than any plan here: noise that repeats would tie points together


class Stepped:
    """A machine that does what it is told whenever the clock says so; the load of its processor."""

    ended = False

    def __init__(self, machine: Machine, folder: Path, clock: VirtualClock) -> None:
        self.machine, self.clock, self.sysfs = machine, clock, folder / "sys"
        self.gpu_state = folder / "gpus.bin"
        self._counters = Counters(machine, self.sysfs, build_tree(self.sysfs))
        self._cards = Cards(machine, self.gpu_state, clock.now_ns())
        self.file = HistoryFile.create(folder / "history.bin", knots=1_000_000)
        self._load, self._name, self._order = 0.0, "idle", GpuOrder()
        self._level = 0.0
        self._hold(clock.now_ns())
        self.show()

    def _hold(self, t_ns: int) -> None:
        gpu_load = self._order.load(t_ns)
        last = self.file.last()
        knot = next_knot(self.machine, last, t_ns, self._load, self._name, gpu_load)
        assert self.file.append(knot)
        self._cards.hold(t_ns, self._name, gpu_load)
        self._edge_ns = self._order.next_edge_ns(t_ns)

    def live(self) -> None:
        """Live until now: a square wave has its edges when they are due."""
        while self._edge_ns is not None and self._edge_ns <= self.clock.now_ns():
            self._hold(self._edge_ns)

    def show(self) -> None:
        """Let counters and cards show the present."""
        self.live()
        last, now_ns = self.file.last(), self.clock.now_ns()
        assert last is not None
        self._counters.write(last, now_ns)
        self._cards.write(now_ns)

    def sleep(self, seconds: float) -> None:
        self.clock.wait_until(self.clock.now_ns() + round(seconds * S))
        self.show()

    def tell(self, name: str, level: float, period_s: float) -> None:
        self.live()
        self._name, self._order = name, GpuOrder(level, period_s, self.clock.now_ns())
        self._hold(self.clock.now_ns())

    def start(self, name: str, level: float) -> None:
        self._level, self._load = level, level * workload(name).workers(CORES) / CORES
        self._hold(self.clock.now_ns())

    def stop(self) -> Mapping[str, Any]:
        self._load = 0.0
        self._hold(self.clock.now_ns())
        return {"duty": self._level, "operations": 1}

    def wall_w(self, t_s: float) -> float:
        self.live()
        return self.file.mean_w(round(t_s * S), round(LOOK_S * S))


class SteppedRapl(RaplReader):
    """The real reader; the tree shows the moment at which it is asked."""

    machine: Stepped

    def read(self) -> Any:
        self.machine.show()
        return super().read()


class SteppedNvml(NvmlReader):
    """The real reader; the cards show the moment at which they are asked."""

    machine: Stepped

    def read(self) -> Any:
        self.machine.show()
        return super().read()


def recorded_with_gpus(
    plan: Plan,
    machine: Machine,
    library: Path,
    path: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    noise_w: float = 0.4,
    seed: int = 7,
) -> tuple[Run, HistoryFile]:
    """Record a plan; return the run and the truth. `noise_w` is that of a second at the wall."""
    monkeypatch.setattr(bench_session, "_LOOK_S", 1.0)
    path.mkdir()
    clock = VirtualClock(S)
    stepped = Stepped(machine, path, clock)
    load_library(library, path, stepped.gpu_state, monkeypatch)
    noise = np.random.default_rng(seed).normal(0, noise_w * math.sqrt(1 / LOOK_S), _LOOKS)
    device = Pzem004tDevice(lambda t: stepped.wall_w(t) + noise[int(t / LOOK_S) % _LOOKS])
    meter = Pzem004t(NullModem(Responder(device), clock), now_ns=clock.now_ns)
    with (
        SteppedRapl(
            stepped.sysfs, cadence_s=0.5, now_ns=clock.now_ns, sleep=lambda _s: None
        ) as rapl,
        SteppedNvml(now_ns=clock.now_ns, sleep=stepped.sleep) as nvml,
    ):
        rapl.machine = nvml.machine = stepped
        start = new_start("simulated", "s", plan=to_mapping(plan), seed=plan.seed)
        with (
            RunWriter.create(path / "run", start=start, live=False) as writer,
            Interrupts() as stop,
        ):
            session = OneThread(plan, writer, None, threading.Event(), stop, clock.now_ns)
            session.clock = clock
            session.open({"wall": meter}, [rapl, nvml], "psu_ac_input", {}, {})
            loads = PlayedGpus((), stepped.tell, others=stepped)
            session.follow(loads)
            session.end_step(loads)
            session.close()
            writer.seal("success", None)
    return read_run(path / "run"), stepped.file
