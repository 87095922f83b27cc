"""A simulated machine on a virtual clock: a plan in, every power, counter and reading out.

A pure function of the machine, the plan and a seed: no thread, no file, no waiting. Time is cut
into cells of equal length; within one every power is constant, which is by definition the truth, so
energies are exact sums and a counter is the running sum in the units of its register. The cell's
power is that at its middle: for a lag of 10 s and cells of 0.1 s the exponential's own mean differs
by 4e-6 of its change (c^2 / 24 tau^2). Within a step the thermal lag is a closed form; from step to
step it is carried on.

Noise is white from cell to cell, drawn once per machine part, and does not warm anything. All of
this is simulated; what is made of it has to say so.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from ..plans import PlanStep
from .gpu import Sensor
from .machine import (
    COLD,
    Heat,
    Lag,
    Machine,
    gpu_power_w,
    memory_power_w,
    package_power_w,
    warmed,
)
from .powercap_tree import MAX_ENERGY_RANGE_UJ

__all__ = ["Recording", "play", "sensor_energy_j"]

Floats = npt.NDArray[np.float64]

CELL_S: Final = 0.1
_UNIT_UJ: Final = 1e6 / (1 << 14)
"""One unit of a RAPL counter, 2^-14 J (Intel SDM volume 3, MSR_RAPL_POWER_UNIT)."""


@dataclass(frozen=True, slots=True, eq=False)
class Recording:
    """What the machine did in n cells of `cell_s`, from `start_s` on; powers in W.

    `edges_s` (n + 1) are the instants, `step` (n) the index of each cell's step. `package_w` has
    shape (sockets, n) and `gpu_w` (gpus, n); `dram_w`, `fans_w`, `leakage_w` (part of the package),
    `dc_w` and `wall_w` have (n,). `heat` is the thermal state at the end, for the plan that follows
    on; `state` the hidden component's.
    """

    machine: Machine
    steps: tuple[PlanStep, ...]
    cell_s: float
    edges_s: Floats
    step: npt.NDArray[np.intp]
    package_w: Floats
    dram_w: Floats
    gpu_w: Floats
    fans_w: Floats
    leakage_w: Floats
    dc_w: Floats
    wall_w: Floats
    heat: Heat
    state: int

    def energy_j(self, power_w: Floats, from_s: float, to_s: float) -> Floats:
        """Return the exact energy of one of the powers between two instants, J: shape (...)."""
        joules = self._joules(power_w)
        inside = np.clip((np.array([from_s, to_s]) - self.edges_s[0]) / self.cell_s, 0, None)
        cell = np.minimum(inside.astype(np.intp), power_w.shape[-1] - 1)
        until: Floats = joules[..., cell] + power_w[..., cell] * self.cell_s * (inside - cell)
        out: Floats = until[..., 1] - until[..., 0]
        return out

    def package_uj(self, *, start_uj: int = 0, range_uj: int = MAX_ENERGY_RANGE_UJ) -> Floats:
        """Return every socket's `energy_uj` at the edges, whole units, wrapped at `range_uj`."""
        return _counter(self._joules(self.package_w), start_uj, range_uj)

    def dram_uj(self, *, start_uj: int = 0, range_uj: int = MAX_ENERGY_RANGE_UJ) -> Floats:
        """Return the `energy_uj` of a dram zone at the edges."""
        return _counter(self._joules(self.dram_w), start_uj, range_uj)

    def gpu_j(self) -> Floats:
        """Return what each GPU's energy counter has added up at the edges, J, in whole mJ."""
        rows = [
            sensor_energy_j(g.sensor, self.edges_s, self._joules(self.gpu_w[i]))
            for i, g in enumerate(self.machine.gpus)
        ]
        return np.array(rows).reshape(len(rows), self.edges_s.size)

    def _joules(self, power_w: Floats) -> Floats:
        """Return the running energy at the edges, J."""
        zero = np.zeros((*power_w.shape[:-1], 1))
        joules: Floats = np.concatenate([zero, np.cumsum(power_w * self.cell_s, axis=-1)], axis=-1)
        return joules


def play(
    machine: Machine,
    steps: tuple[PlanStep, ...],
    *,
    seed: int,
    state: int = 0,
    heat: Heat = COLD,
    start_s: float = 0.0,
    cell_s: float = CELL_S,
) -> Recording:
    """Let a machine carry out the steps of a plan; the same arguments give the same numbers.

    `state` is the hidden component's, `heat` the thermal state at the start (cold by default). A
    step lasts a whole number of cells, one at least.

    Raises:
        ValueError: there is no step, or the machine has no such state.

    """
    if not steps or not 0 <= state < len(machine.hidden_states_w):
        raise ValueError(
            f"Expected steps, and a state below {len(machine.hidden_states_w)}; got {len(steps)} "
            f"steps and state {state}."
        )
    counts = [max(1, round(s.duration_s / cell_s)) for s in steps]
    n = sum(counts)
    step = np.repeat(np.arange(len(steps)), counts)
    package, dram, fans, leakage = (np.empty(n) for _ in range(4))
    gpus = np.empty((len(machine.gpus), n))
    begin = 0
    for one, count in zip(steps, counts, strict=True):
        own = slice(begin, begin + count)
        middle_s: Floats = np.float64(cell_s) * (np.arange(count) + 0.5)
        rest = warmed(machine, heat, one.level, one.workload, math.inf)
        fans[own] = _follow(machine.fans, heat.fans_w, rest.fans_w, middle_s)
        leakage[own] = _follow(machine.leakage, heat.leakage_w, rest.leakage_w, middle_s)
        package[own] = package_power_w(machine, one.level, one.workload)
        dram[own] = memory_power_w(machine, one.level, one.workload)
        gpus[:, own] = np.array(gpu_power_w(machine, one.level, one.workload))[:, None]
        heat = warmed(machine, heat, one.level, one.workload, count * cell_s)
        begin += count
    edges_s: Floats = start_s + np.float64(cell_s) * np.arange(n + 1)
    rng = np.random.default_rng(seed)
    package += leakage + machine.package_noise_w * rng.standard_normal(n)
    hidden_w = machine.hidden_w + machine.hidden_states_w[state]
    dc = package + dram + gpus.sum(axis=0) + fans + hidden_w
    supply = machine.supply
    wall = supply.fixed_w + supply.proportional * dc + supply.quadratic_per_w * dc * dc
    wall += machine.wall_noise_w * rng.standard_normal(n)
    return Recording(
        machine=machine,
        steps=steps,
        cell_s=cell_s,
        edges_s=edges_s,
        step=step,
        package_w=np.array(machine.sockets)[:, None] * package,
        dram_w=dram,
        gpu_w=gpus,
        fans_w=fans,
        leakage_w=leakage,
        dc_w=dc,
        wall_w=wall,
        heat=heat,
        state=state,
    )


def sensor_energy_j(sensor: Sensor, edges_s: Floats, joules: Floats) -> Floats:
    """Return a GPU's energy counter at the edges, J, from its true running energy there.

    As `gpu.GpuReadings`: every `period_s` the sensor looks at the last `window_s`, and the counter
    adds what it shows for the period behind it. Before the first edge the first power holds.
    """
    span_s = float(edges_s[-1] - edges_s[0])
    looks_s = edges_s[0] + sensor.period_s * np.arange(1, int(span_s / sensor.period_s + 1e-9) + 1)
    first_w = (joules[1] - joules[0]) / (edges_s[1] - edges_s[0])

    def until(t_s: Floats) -> Floats:
        reached_j: Floats = np.interp(t_s, edges_s, joules)
        reached_j += np.minimum(t_s - edges_s[0], 0.0) * first_w
        return reached_j

    mean_w = (until(looks_s) - until(looks_s - sensor.window_s)) / sensor.window_s
    shown_w = np.maximum(0.0, sensor.gain * mean_w + sensor.offset_w)
    counted = np.concatenate([[0.0], np.cumsum(shown_w * sensor.period_s)])
    behind = np.searchsorted(looks_s, edges_s + 1e-9, side="right")
    whole_mj: Floats = np.floor(1000.0 * counted[behind] + 1e-6) / 1000.0
    return whole_mj


def _follow(lag: Lag | None, from_w: float, to_w: float, t_s: Floats) -> Floats:
    """Return a power of the first order on its way from one value to another, W."""
    if lag is None:
        return np.zeros(t_s.size)
    return to_w + (from_w - to_w) * np.exp(-t_s / lag.tau_s)


def _counter(joules: Floats, start_uj: int, range_uj: int) -> Floats:
    units = np.floor(joules * 1e6 / _UNIT_UJ + 1e-9)
    wrapped: Floats = (start_uj + np.floor(units * 15_625 / 256)) % range_uj
    return wrapped
