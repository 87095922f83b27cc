"""What a simulated machine does from one instant to the next, and what its sensors make of it.

Load in; a knot of the truth, RAPL counters and the readings of GPUs out. There is no clock in here:
the process behind a machine (`updater`) follows the one on the wall, a test one of its own.

The GPUs follow what a plan tells them: a level, which all of them hold, or a square wave, high for
that share of each period and beginning high. A real kernel keeps a level by a duty cycle of about
a tenth of a second whose period wanders; here its mean is the truth.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from .gpu import Gpu, GpuReadings
from .history import Knot
from .machine import (
    COLD,
    Heat,
    Machine,
    gpu_power_w,
    memory_power_w,
    package_power_w,
    wall_power_w,
    warmed,
)
from .nvml import NvmlState
from .powercap_tree import Zone, ZoneCounter
from .profile import GrowingProfile, constant

__all__ = ["Cards", "Counters", "GpuOrder", "next_knot"]

_NS: Final = 1e9


@dataclass(frozen=True, slots=True)
class GpuOrder:
    """What the GPUs were told at `since_ns`: `level` 0 to 1, `period_s` of a square wave or 0."""

    level: float = 0.0
    period_s: float = 0.0
    since_ns: int = 0

    def load(self, t_ns: int) -> float:
        """Return the GPUs' load at an instant, 0 to 1."""
        if not self.period_s:
            return self.level
        period_ns = round(self.period_s * _NS)
        return float((t_ns - self.since_ns) % period_ns < round(self.level * period_ns))

    def next_edge_ns(self, t_ns: int) -> int | None:
        """Return when the load may change next by itself, later than `t_ns`; None if steady."""
        if not self.period_s:
            return None
        period_ns = round(self.period_s * _NS)
        into_ns = (t_ns - self.since_ns) % period_ns
        high_ns = round(self.level * period_ns)
        return t_ns - into_ns + (high_ns if into_ns < high_ns else period_ns)


def next_knot(
    machine: Machine,
    before: Knot | None,
    t_ns: int,
    load: float,
    workload: str,
    gpu_load: float = 0.0,
) -> Knot:
    """Return the knot at `t_ns`, where `load`, `workload` and `gpu_load` begin to hold.

    Fans and leakage stay for one knot what the load up to it has made of them.
    """
    heat = COLD
    if before is None:
        package_j = memory_j = wall_j = gpu_j = 0.0
    else:
        elapsed_s = (t_ns - before.t_ns) / _NS
        package_j = before.package_j + before.package_w * elapsed_s
        memory_j = before.memory_j + before.memory_w * elapsed_s
        wall_j = before.wall_j + before.wall_w * elapsed_s
        gpu_j = before.gpu_j + before.gpu_w * elapsed_s
        heat = warmed(
            machine, Heat(before.fans_w, before.leakage_w), before.load, workload, elapsed_s
        )
    return Knot(
        t_ns=t_ns,
        load=load,
        package_w=package_power_w(machine, load, workload, heat),
        memory_w=memory_power_w(machine, load, workload),
        wall_w=wall_power_w(machine, load, workload, heat, gpu_load=gpu_load),
        package_j=package_j,
        memory_j=memory_j,
        wall_j=wall_j,
        fans_w=heat.fans_w,
        leakage_w=heat.leakage_w,
        gpu_w=sum(gpu_power_w(machine, gpu_load, workload)),
        gpu_j=gpu_j,
    )


class Counters:
    """The counters of a tree, and how each follows from a knot."""

    def __init__(self, machine: Machine, root: Path, zones: Sequence[Zone]) -> None:
        self._packages = [ZoneCounter(root, z) for z in zones if z.name.startswith("package-")]
        self._memories = [ZoneCounter(root, z) for z in zones if z.name == "dram"]
        # A machine that says nothing of sockets shares its power evenly among those it shows.
        even = [1 / len(self._packages)] * len(self._packages)
        self._shares = machine.sockets if len(machine.sockets) > 1 else even

    def write(self, knot: Knot, t_ns: int) -> None:
        """Show every zone's energy at `t_ns`; the packages share it as the sockets do."""
        elapsed_s = (t_ns - knot.t_ns) / _NS
        package_j = knot.package_j + knot.package_w * elapsed_s
        memory_j = knot.memory_j + knot.memory_w * elapsed_s
        for counter, share in zip(self._packages, self._shares, strict=True):
            counter.write(package_j * share)
        for counter in self._memories:
            counter.write(memory_j / len(self._memories))


class Cards:
    """The GPUs of a machine, each behind its own sensor, and the state file that shows them."""

    def __init__(self, machine: Machine, path: Path, began_ns: int) -> None:
        self._machine, self._began_ns, self._held = machine, began_ns, False
        self._truths: list[GrowingProfile] = []
        self._readings: list[GpuReadings] = []
        cards = []
        for number, part in enumerate(machine.gpus):
            card = Gpu(
                part.name,
                f"GPU-simulated-{number}",
                constant(part.idle_w),
                part.sensor,
                limit_w=part.idle_w + part.dynamic_w,
            )
            # The next look, a period ahead at most, reaches back by its window.
            window_s = max(part.sensor.window_s, part.sensor.average_s)
            self._truths.append(GrowingProfile(window_s + part.sensor.period_s))
            self._readings.append(GpuReadings(card, self._truths[-1]))
            cards.append(card)
        self._state = NvmlState(path, [c.describe() for c in cards])

    def hold(self, t_ns: int, workload: str, gpu_load: float) -> None:
        """Let the cards draw from `t_ns` on what a load makes them draw."""
        t_s = (t_ns - self._began_ns) / _NS
        if self._held:
            self.write(t_ns)  # no look that is due may miss what is forgotten now
        self._held = True
        for truth, power_w in zip(
            self._truths, gpu_power_w(self._machine, gpu_load, workload), strict=True
        ):
            truth.hold(t_s, power_w)

    def write(self, t_ns: int) -> None:
        """Show what every card says at `t_ns`."""
        t_s = (t_ns - self._began_ns) / _NS
        for number, readings in enumerate(self._readings):
            self._state.write(number, readings.at(t_s, 0.0))

    def close(self) -> None:
        """Give the state file back; its last words stay."""
        self._state.close()
