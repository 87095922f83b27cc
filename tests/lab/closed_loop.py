"""A plan recorded on a simulated machine with an emulated meter and a clock of its own.

The session, its samplers, the driver, the emulator's bytes, the RAPL reader and the analysis are
the real ones; only time and the load are simulated: two hours pass in seconds.
"""

from __future__ import annotations

import bisect
import math
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from calibration.bench import ManualMeter
from calibration.bench import session as bench_session
from calibration.bench.interrupts import Interrupts
from calibration.estimators.rapl import RaplReader
from calibration.plans import Plan, to_mapping
from calibration.recording.reader import Run, read_run
from calibration.recording.writer import RunWriter, new_start
from calibration.simulation.machine import Machine, Supply, package_power_w, wall_power_w
from calibration.simulation.powercap_tree import ZoneCounter, build_tree
from calibration.workloads import WORKLOADS, workload
from drivers.emulators.pzem004t import Pzem004tDevice
from drivers.emulators.served import NullModem, Responder, VirtualClock
from drivers.meters.pzem004t import Pzem004t

S = 10**9
CORES = 4
MACHINE = Machine(
    id="closed-loop",
    package_idle_w=14.0,
    package_dynamic_w=150.0,
    hidden_w=20.0,
    supply=Supply(fixed_w=5.0, proportional=1.06, quadratic_per_w=1e-4),
    # Every workload draws something of its own that no package counter sees, up to 4 %.
    memory_share={w.name: 0.004 * (7 * i % 11) for i, w in enumerate(WORKLOADS)},
)


@dataclass
class Simulated:
    """The machine as load and as truth; `fan_w` follows the load with `fan_s` seconds."""

    clock: VirtualClock
    fan_w: float = 0.0
    fan_s: float = 60.0

    def __post_init__(self) -> None:
        self.t_s, self.load, self.name = [0.0], [0.0], ["idle"]
        self.package_j, self.fan = [0.0], [0.0]
        self.level = 0.0

    @property
    def ended(self) -> bool:
        """A command is done after 40 s."""
        since_s = self.clock.now_ns() / S - self.t_s[-1]
        return self.name[-1].startswith("cmd:") and since_s >= 40

    def set(self, name: str, load: float) -> None:
        t_s = self.clock.now_ns() / S
        self.package_j.append(self.energy_j(t_s))
        self.fan.append(self.fan_at(t_s))
        self.t_s.append(t_s)
        self.load.append(load)
        self.name.append(name)

    def start(self, name: str, level: float) -> None:
        self.level = level
        self.set(name, level * workload(name).workers(CORES) / CORES)

    def stop(self) -> Mapping[str, Any]:
        return {"duty": self.level, "operations": 1}

    def energy_j(self, t_s: float) -> float:
        power_w = package_power_w(MACHINE, self.load[-1])
        return self.package_j[-1] + power_w * (t_s - self.t_s[-1])

    def fan_at(self, t_s: float, i: int = -1) -> float:
        target = self.fan_w * self.load[i]
        return target + (self.fan[i] - target) * math.exp(-(t_s - self.t_s[i]) / self.fan_s)

    def wall_w(self, t_s: float) -> float:
        i = bisect.bisect_right(self.t_s, t_s) - 1 if t_s < self.t_s[-1] else len(self.t_s) - 1
        return wall_power_w(MACHINE, self.load[i], self.name[i]) + self.fan_at(t_s, i)


class InjectedRapl(RaplReader):
    """The real reader; the tree shows the machine's energy of the moment it is asked."""

    machine: Simulated
    counters: list[ZoneCounter]

    def read(self) -> Any:
        self.counters[0].write(self.machine.energy_j(self.machine.clock.now_ns() / S))
        return super().read()


class OneThread(bench_session.Session):
    """A session whose samplers are stepped, in the order in which they are due, while it waits."""

    clock: VirtualClock
    own_work: Simulated | None = None

    def start_sources(self) -> None:
        self.next_ns = [self.now_ns()] * len(self.samplers)

    def pause(self, seconds: float) -> None:
        until_ns = self.now_ns() + max(math.ceil(seconds * S), 1)
        if self.own_work is not None:  # a job a minute, each at another load
            minute = self.now_ns() // (60 * S)
            load = (0.2, 0.9, 0.5, 0.0, 0.7)[minute % 5]
            if load != self.own_work.load[-1]:
                self.own_work.set("observe", load)
        while (first := min(self.next_ns)) <= until_ns:
            i = self.next_ns.index(first)
            self.clock.wait_until(first)
            self.next_ns[i] = self.samplers[i].step(self.now_ns()) or until_ns + S
        self.clock.wait_until(until_ns)


def recorded(
    plan: Plan,
    path: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    reader: Callable[[Simulated], ManualMeter] | None = None,
    **fan: float,
) -> Run:
    """Record a plan; with `reader` somebody reads a display instead of the emulated meter."""
    # Edges come on time whatever the pace at which the session looks; warm-ups look once a second.
    monkeypatch.setattr(bench_session, "_LOOK_S", 1.0)
    clock = VirtualClock(S)
    machine = Simulated(clock, **fan)
    noise = np.random.default_rng(7).normal(0, 0.4, 4096)
    device = Pzem004tDevice(
        lambda t: machine.wall_w(t) + noise[int(t * 50) % 4096] * math.sqrt(50), refresh_s=1.0
    )
    meter = Pzem004t(NullModem(Responder(device), clock), now_ns=clock.now_ns)
    zones = build_tree(path / "sys", packages=1, dram=False)
    counters = [ZoneCounter(path / "sys", z) for z in zones]
    counters[0].write(0.0)
    with InjectedRapl(
        path / "sys", cadence_s=0.5, now_ns=clock.now_ns, sleep=lambda _s: None
    ) as rapl:
        rapl.machine, rapl.counters = machine, counters
        start = new_start("simulated", "s", plan=to_mapping(plan), seed=plan.seed)
        with (
            RunWriter.create(path / "run", start=start, live=False) as writer,
            Interrupts() as stop,
        ):
            session = OneThread(plan, writer, None, threading.Event(), stop, clock.now_ns)
            session.clock = clock
            if plan.name == "observe":
                session.own_work = machine
            if reader is not None:
                session.manual = reader(machine)
            meters = {} if reader is not None else {"wall": meter}
            session.open(meters, [rapl], "psu_ac_input", {}, {})
            session.follow(machine)
            session.end_step(machine)
            session.close()
            writer.seal("success", None)
    return read_run(path / "run")
