"""A machine whose power is known: CPU load in, package power and wall power out, in W.

The chain is that of a real node, thinned to what a demonstration needs::

    package = idle + dynamic x load                 seen by the counters
    dc      = package + hidden + memory share x (package - idle)
    wall    = P0 + alpha x dc + beta x dc^2         the supply: fixed, proportional, I^2 R loss

`hidden` is board, disks and fans at constant power. The memory's share is what a workload draws in
DRAM beside its package power; no package counter sees it, so it gives such a workload a gain of
its own. The supply's three terms are the usual model of conversion loss (a quadratic in the output
power; 80 PLUS certification data show its curvature). There is no thermal lag: power follows load
at once, so steps need no minutes to settle. All of this is simulated and says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

__all__ = [
    "DEMO_MACHINE",
    "Machine",
    "Supply",
    "dc_power_w",
    "memory_power_w",
    "package_power_w",
    "wall_power_w",
]


@dataclass(frozen=True, slots=True)
class Supply:
    """A power supply: wall = `fixed_w` + `proportional` x dc + `quadratic_per_w` x dc^2, in W."""

    fixed_w: float
    proportional: float
    quadratic_per_w: float


@dataclass(frozen=True, slots=True)
class Machine:
    """The parameters of a simulated machine.

    `memory_share` maps a workload's name to the W that it draws in memory, per W of package power
    above idle; a workload that is not named draws none.
    """

    id: str
    package_idle_w: float
    package_dynamic_w: float
    hidden_w: float
    supply: Supply
    memory_share: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Machine:
        """Build the machine that `dataclasses.asdict` took apart."""
        return cls(**{**value, "supply": Supply(**value["supply"])})

    def describe(self) -> dict[str, Any]:
        """Return the parameters as the `machine` entry of a run's start document."""
        return {
            "simulation.id": self.id,
            "simulation.model": asdict(self),
            "simulation.thermal_lag_s": 0.0,
            "simulation.hidden_power": "constant; it cannot change state",
        }


def package_power_w(machine: Machine, load: float) -> float:
    """Return what the package counters see at a CPU load of 0 to 1, in W."""
    return machine.package_idle_w + machine.package_dynamic_w * load


def memory_power_w(machine: Machine, load: float, workload: str = "") -> float:
    """Return what the workload draws in memory, outside every package counter, in W."""
    above_idle_w = package_power_w(machine, load) - machine.package_idle_w
    return machine.memory_share.get(workload, 0.0) * above_idle_w


def dc_power_w(machine: Machine, load: float, workload: str = "") -> float:
    """Return the power behind the supply: package, memory and hidden parts together, in W."""
    return (
        package_power_w(machine, load) + memory_power_w(machine, load, workload) + machine.hidden_w
    )


def wall_power_w(machine: Machine, load: float, workload: str = "") -> float:
    """Return the AC power at the machine's input, in W."""
    dc_w = dc_power_w(machine, load, workload)
    supply = machine.supply
    return supply.fixed_w + supply.proportional * dc_w + supply.quadratic_per_w * dc_w * dc_w


DEMO_MACHINE = Machine(
    id="wattcal-demo-1",
    package_idle_w=14.0,
    package_dynamic_w=70.0,
    hidden_w=20.0,
    supply=Supply(fixed_w=5.0, proportional=1.06, quadratic_per_w=2.5e-4),
    memory_share={"memory-copy": 0.15},
)
