"""A machine whose power is known: load in, what its counters see and its wall power out, in W.

The chain is that of a real node::

    package = idle + dynamic x cpu load + leakage           seen by the counters, shared by sockets
    memory  = memory idle + memory share x (dynamic x cpu load)        seen by a dram counter
    gpus    = idle + dynamic x gpu load, each               seen by their own sensors
    dc      = package + memory + gpus + fans + hidden[state]
    wall    = P0 + alpha x dc + beta x dc^2                 the supply: fixed, proportional, I^2 R

`hidden` is board and disks; it may have a second idle state, in which a component that no counter
sees draws more or less (Jay et al. 2023: a node's idle moved by a tenth within days). The memory's
share is what a workload draws in DRAM beside its package power; where no dram counter is read, it
gives such a workload a gain of its own. Fans and leakage follow the package's power with a thermal
lag of the first order, 10 s to 300 s. The supply's three terms are the usual model of conversion
loss (a quadratic in the output power; 80 PLUS certification data show its curvature).

A machine without lags, GPUs and second state, such as the demonstration's, is a special case: its
power follows load at once, so steps need no minutes to settle. All of this is simulated and says
so.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Final

from .gpu import A100, RTX_3090, Sensor

__all__ = [
    "COLD",
    "DEMO_MACHINE",
    "MACHINES",
    "GpuPart",
    "Heat",
    "Lag",
    "Machine",
    "Supply",
    "dc_power_w",
    "gpu_power_w",
    "memory_power_w",
    "package_power_w",
    "wall_power_w",
    "warmed",
]


@dataclass(frozen=True, slots=True)
class Supply:
    """A power supply: wall = `fixed_w` + `proportional` x dc + `quadratic_per_w` x dc^2, in W."""

    fixed_w: float
    proportional: float
    quadratic_per_w: float

    @classmethod
    def of_efficiencies(cls, rated_w: float, at: Mapping[float, float]) -> Supply:
        """Return the supply with given efficiencies (0 to 1) at three shares of its rated output.

        The quadratic through the three input powers, as Lagrange writes it.

        Raises:
            ValueError: there are not three, or a supply would give more than it takes.

        """
        if len(at) != 3 or any(not 0 < e < 1 for e in at.values()):
            raise ValueError(f"Expected efficiencies between 0 and 1 at three loads; got {at!r}.")
        dc = [rated_w * share for share in at]
        ac = [rated_w * share / efficiency for share, efficiency in at.items()]
        fixed = proportional = quadratic = 0.0
        for i in range(3):
            j, k = (i + 1) % 3, (i + 2) % 3
            scale = ac[i] / ((dc[i] - dc[j]) * (dc[i] - dc[k]))
            fixed += scale * dc[j] * dc[k]
            proportional -= scale * (dc[j] + dc[k])
            quadratic += scale
        return cls(fixed, proportional, quadratic)


@dataclass(frozen=True, slots=True)
class Lag:
    """A power that follows the package's power above idle: `share` of it, `tau_s` late."""

    share: float
    tau_s: float

    def after(self, before_w: float, above_idle_w: float, seconds: float) -> float:
        """Return it `seconds` after it was `before_w`, the package having drawn the same, W."""
        target_w = self.share * above_idle_w
        return target_w + (before_w - target_w) * math.exp(-seconds / self.tau_s)


@dataclass(frozen=True, slots=True)
class GpuPart:
    """A card: its power at rest, what full load adds, W, and what its own sensor makes of it.

    `name` is what the management library calls it; readers know a part-time sensor by it.
    """

    idle_w: float
    dynamic_w: float
    sensor: Sensor
    name: str = "NVIDIA GPU"


@dataclass(frozen=True, slots=True)
class Heat:
    """The thermal state of a machine: what fans and leakage draw because of past load, W."""

    fans_w: float = 0.0
    leakage_w: float = 0.0


COLD = Heat()


@dataclass(frozen=True, slots=True)
class Machine:
    """The parameters of a simulated machine.

    `memory_share` maps a workload's name to the W that it draws in memory, per W of dynamic package
    power; a workload that is not named draws none. `cpu_share` and `gpu_share` map it to the share
    of the package's and of every GPU's dynamic power that it draws at level 1: all of the package's
    and none of a GPU's where it is not named; what stands behind an `@` in the name (a period, say)
    makes no other share of it. `sockets` are the shares of the package's power.
    `hidden_states_w` is added to `hidden_w`: one idle state, or several, of which one holds.
    `package_noise_w` and `wall_noise_w` are standard deviations of what no load explains, from one
    tenth of a second to the next.
    """

    id: str
    package_idle_w: float
    package_dynamic_w: float
    hidden_w: float
    supply: Supply
    memory_share: Mapping[str, float] = field(default_factory=dict)
    sockets: tuple[float, ...] = (1.0,)
    memory_idle_w: float = 0.0
    cpu_share: Mapping[str, float] = field(default_factory=dict)
    gpus: tuple[GpuPart, ...] = ()
    gpu_share: Mapping[str, float] = field(default_factory=dict)
    fans: Lag | None = None
    leakage: Lag | None = None
    hidden_states_w: tuple[float, ...] = (0.0,)
    package_noise_w: float = 0.0
    wall_noise_w: float = 0.0

    def __post_init__(self) -> None:
        """Refuse sockets that do not share all of the package's power."""
        if abs(sum(self.sockets) - 1.0) > 1e-9 or min(self.sockets) < 0:
            raise ValueError(f"Expected the shares of the sockets to add to 1; got {self.sockets}.")

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Machine:
        """Build the machine that `dataclasses.asdict` took apart."""
        lags = {k: Lag(**value[k]) for k in ("fans", "leakage") if value.get(k) is not None}
        gpus = tuple(
            GpuPart(**{**g, "sensor": Sensor(**g["sensor"])}) for g in value.get("gpus", ())
        )
        tuples = {k: tuple(value[k]) for k in ("sockets", "hidden_states_w") if k in value}
        return cls(**{**value, "supply": Supply(**value["supply"]), "gpus": gpus, **tuples, **lags})

    def describe(self) -> dict[str, Any]:
        """Return the parameters as the `machine` entry of a run's start document."""
        lags = [lag.tau_s for lag in (self.fans, self.leakage) if lag is not None]
        states = len(self.hidden_states_w)
        return {
            "simulation.id": self.id,
            "simulation.model": asdict(self),
            "simulation.thermal_lag_s": max(lags, default=0.0),
            "simulation.hidden_power": "constant; it cannot change state"
            if states == 1
            else f"{states} idle states, of which one holds; no counter sees which",
        }


def package_power_w(machine: Machine, load: float, workload: str = "", heat: Heat = COLD) -> float:
    """Return what the package counters see together at a load of 0 to 1, in W."""
    return machine.package_idle_w + _dynamic_w(machine, load, workload) + heat.leakage_w


def memory_power_w(machine: Machine, load: float, workload: str = "") -> float:
    """Return what memory draws, outside every package counter, in W."""
    share = machine.memory_share.get(workload, 0.0)
    return machine.memory_idle_w + share * _dynamic_w(machine, load, workload)


def gpu_power_w(machine: Machine, load: float, workload: str = "") -> tuple[float, ...]:
    """Return the true power of each GPU, in W."""
    share = machine.gpu_share.get(workload.partition("@")[0], 0.0) * load
    return tuple(g.idle_w + g.dynamic_w * share for g in machine.gpus)


def dc_power_w(
    machine: Machine,
    load: float,
    workload: str = "",
    heat: Heat = COLD,
    state: int = 0,
    gpu_load: float | None = None,
) -> float:
    """Return the power behind the supply, all parts together, in W.

    `gpu_load` is the GPUs' own load, 0 to 1, where it is not that of the processor.
    """
    return (
        package_power_w(machine, load, workload, heat)
        + memory_power_w(machine, load, workload)
        + sum(gpu_power_w(machine, load if gpu_load is None else gpu_load, workload))
        + heat.fans_w
        + machine.hidden_w
        + machine.hidden_states_w[state]
    )


def wall_power_w(
    machine: Machine,
    load: float,
    workload: str = "",
    heat: Heat = COLD,
    state: int = 0,
    gpu_load: float | None = None,
) -> float:
    """Return the AC power at the machine's input, in W."""
    dc_w = dc_power_w(machine, load, workload, heat, state, gpu_load)
    supply = machine.supply
    return supply.fixed_w + supply.proportional * dc_w + supply.quadratic_per_w * dc_w * dc_w


def warmed(machine: Machine, heat: Heat, load: float, workload: str, seconds: float) -> Heat:
    """Return the thermal state after a load has held for a time; exact for a constant load."""
    above_w = _dynamic_w(machine, load, workload)
    return Heat(
        0.0 if machine.fans is None else machine.fans.after(heat.fans_w, above_w, seconds),
        0.0 if machine.leakage is None else machine.leakage.after(heat.leakage_w, above_w, seconds),
    )


def _dynamic_w(machine: Machine, load: float, workload: str) -> float:
    return machine.package_dynamic_w * machine.cpu_share.get(workload, 1.0) * load


DEMO_MACHINE = Machine(
    id="wattcal-demo-1",
    package_idle_w=14.0,
    package_dynamic_w=70.0,
    hidden_w=20.0,
    supply=Supply(fixed_w=5.0, proportional=1.06, quadratic_per_w=2.5e-4),
    memory_share={"memory-copy": 0.10},
)

_GPU_MACHINE = Machine(
    id="wattcal-gpu-node-1",
    package_idle_w=40.0,
    package_dynamic_w=150.0,
    hidden_w=60.0,
    supply=Supply.of_efficiencies(1200.0, {0.2: 0.90, 0.5: 0.92, 1.0: 0.89}),
    memory_share={"memory-copy": 0.10},
    gpus=(
        GpuPart(50.0, 300.0, replace(A100, gain=0.97, offset_w=2.0), "NVIDIA A100-SXM4-40GB"),
        GpuPart(25.0, 325.0, replace(RTX_3090, gain=1.04), "NVIDIA GeForce RTX 3090"),
    ),
    gpu_share={"gpu-matmul": 1.0, "gpu-copy": 0.6, "gpu-square": 1.0},
)
MACHINES: Final[Mapping[str, Machine]] = {"desktop": DEMO_MACHINE, "gpu-node": _GPU_MACHINE}
"""By the names under which they can be asked for; the supply of `gpu-node` is 80 PLUS Platinum."""
