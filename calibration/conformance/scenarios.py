"""The scenarios: what counters and GPUs do while a tool measures, as pure data.

Powers, durations and mishaps are chosen so that a mistake shows as a factor of its own: sockets of
40 W and 25 W, memory of 6 W, GPUs of 200 W and 150 W. A scenario says what a tool is asked for
(`ask`), in words that every adapter translates into its tool's options.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from ..simulation.gpu import A100, Gpu
from ..simulation.powercap_tree import MAX_ENERGY_RANGE_UJ, Zone
from ..simulation.profile import PowerProfile, constant, ramp, square, staircase, total
from ..simulation.stage import Scene, SceneZone
from .figures import Part

__all__ = ["SCENARIOS", "Scenario", "scenarios", "truth_of"]

_FIRST_UJ: Final = 100_000_000_000


@dataclass(frozen=True, slots=True)
class Scenario:
    """One scenario: a scene, how long it lasts, and the true power of each part.

    `truths` are the powers that a perfect tool would count, by part; a mirrored counter counts
    once. `counted` is whether there is a counter to read at all. `ask` holds what the tool is asked
    for: `interval_s`, `dram`, `tasks`, `warm` (measure and discard a window first), `kill_at_s`.
    """

    name: str
    says: str
    duration_s: float
    scene: Scene
    truths: Mapping[Part, tuple[PowerProfile, ...]]
    ask: Mapping[str, float] = field(default_factory=dict)
    counted: bool = True

    @property
    def gpus(self) -> int:
        """Return how many GPUs there are."""
        return len(self.scene.gpus)


def _zone(number: int, name: str, truth: PowerProfile, start_uj: int | None = None) -> SceneZone:
    start = _FIRST_UJ + 7_654_321_000 * number if start_uj is None else start_uj
    return SceneZone(Zone(f"{number:x}", name, start), truth)


def _packages(*truths: PowerProfile) -> tuple[SceneZone, ...]:
    return tuple(_zone(i, f"package-{i}", t) for i, t in enumerate(truths))


def _dram(number: int, truth: PowerProfile) -> SceneZone:
    return SceneZone(Zone(f"{number:x}:0", "dram", 130_000_000_000 + 3_210_987_000 * number), truth)


def _gpus(*truths: PowerProfile) -> tuple[Gpu, ...]:
    return tuple(
        Gpu("NVIDIA A100-SXM4-40GB", f"GPU-{i}1111111-2222-3333-4444-555555555555", t, A100)
        for i, t in enumerate(truths)
    )


def scenarios(scale: float = 1.0) -> tuple[Scenario, ...]:
    """Return all scenarios, `scale` times as long; periods and sampling intervals stay."""
    p40, p25, p80 = constant(40.0), constant(25.0), constant(80.0)
    memory, s = constant(6.0), scale
    warm: Mapping[str, float] = {"warm": 1}
    one = Zone("0", "package-0", _FIRST_UJ)
    # Nothing is drawn before the scene begins, so that the counter wraps in the window.
    late, late300 = (PowerProfile.of([(0.0, 0.0), (0.0, w)]) for w in (40.0, 300.0))

    def wrapping(power: PowerProfile, at_s: float) -> SceneZone:
        left_uj = round(1e6 * power.energy_j(0.0, at_s))
        return _zone(0, "package-0", power, MAX_ENERGY_RANGE_UJ - left_uj)

    def scenario(
        name: str,
        says: str,
        zones: tuple[SceneZone, ...],
        truths: Mapping[Part, tuple[PowerProfile, ...]],
        *,
        gpus: tuple[PowerProfile, ...] = (),
        length_s: float = 8.0,
        ask: Mapping[str, float] = warm,
        counted: bool = True,
    ) -> Scenario:
        if gpus:
            truths = {**truths, "gpu": gpus}
        return Scenario(name, says, length_s * s, Scene(zones, _gpus(*gpus)), truths, ask, counted)

    def sockets(
        name: str, says: str, *powers: PowerProfile, gpus: tuple[PowerProfile, ...] = (),
        length_s: float = 8.0, ask: Mapping[str, float] = warm,
    ) -> Scenario:  # fmt: skip
        truths: Mapping[Part, tuple[PowerProfile, ...]] = {"package": powers}
        zones = _packages(*powers)
        return scenario(name, says, zones, truths, gpus=gpus, length_s=length_s, ask=ask)

    with_memory = (_zone(0, "package-0", p40), _dram(0, memory))
    two: Mapping[Part, tuple[PowerProfile, ...]] = {"package": (p40,), "dram": (memory,)}
    return (
        sockets("constant", "one socket at 80 W", p80),
        sockets("first-window", "the first window of a process, 80 W", p80, length_s=5.0, ask={}),
        sockets("staircase", "20, 80, 40 and 60 W in turn",
                staircase([20.0, 80.0, 40.0, 60.0], 2.0 * s)),
        sockets("ramp", "20 to 100 W", ramp(20.0, 100.0, 8.0 * s)),
        sockets("short-task", "a task of half a second at 80 W", p80, length_s=0.5 / s),
        sockets("two-sockets", "40 W and 25 W", p40, p25),
        scenario("dram", "a socket of 40 W with 6 W of memory", with_memory, two),
        scenario("dram-asked", "40 W with 6 W of memory, and memory is asked for", with_memory, two,
                 ask={"warm": 1, "dram": 1}),
        scenario("psys", "a socket of 40 W within a platform of 70 W",
                 (*_packages(p40), _zone(1, "psys", constant(70.0))),
                 {"package": (p40,), "psys": (constant(70.0),)}),
        sockets("one-gpu", "40 W and a GPU of 200 W", p40, gpus=(constant(200.0),)),
        sockets("two-gpus", "40 W and GPUs of 200 W and 150 W", p40,
                gpus=(constant(200.0), constant(150.0))),
        sockets("gpu-square-slow", "a GPU between 100 W and 400 W, a fourth of the time each",
                p40, gpus=(square(100.0, 400.0, 4.0 * s, 8.0 * s),)),
        sockets("gpu-square-fast", "a GPU between 100 W and 400 W, ten times a second", p40,
                gpus=(square(100.0, 400.0, 0.1, 8.0 * s),)),
        scenario("wrap", "40 W, and the counter starts again in the window",
                 (wrapping(late, 4.0 * s),), {"package": (late,)}, ask={}),
        # Who watches for wraps from aside may begin to look too late, and looks too seldom.
        scenario("wrap-at-begin", "40 W, and the counter starts again when the first window of a "
                 "process is 0.2 s old", (wrapping(late, 0.2),), {"package": (late,)},
                 length_s=3.0, ask={}),
        scenario("wrap-at-end", "300 W, and the counter starts again 0.03 s before a window's end",
                 (wrapping(late300, 4.0 * s - 0.03),), {"package": (late300,)}, length_s=4.0),
        scenario("mirrored-dies", "two dies that show the one counter of their socket, 40 W",
                 (_zone(0, "package-0-die-0", p40, _FIRST_UJ),
                  _zone(1, "package-0-die-1", p40, _FIRST_UJ)), {"package": (p40,)}),
        scenario("twins", "two sockets of 40 W whose counters stand within 1 J",
                 (_zone(0, "package-0", p40, _FIRST_UJ),
                  _zone(1, "package-1", p40, _FIRST_UJ + 300_000)), {"package": (p40, p40)}),
        scenario("permission-lost", "40 W, and half-way the counter may not be read any more",
                 (SceneZone(one, p40, lost_at_s=4.0 * s),), {"package": (p40,)}),
        scenario("permission-denied", "40 W behind a counter that may not be read",
                 (SceneZone(one, p40, lost_at_s=-1.0),), {"package": (p40,)},
                 length_s=6.0, ask={}, counted=False),
        scenario("no-counter", "no counter at all", (), {}, length_s=6.0, ask={}, counted=False),
        sockets("interval-fast", "80 W, measured every 0.1 s", p80,
                ask={"warm": 1, "interval_s": 0.1}),
        sockets("interval-slow", "80 W, measured every 15 s", p80,
                ask={"warm": 1, "interval_s": 15.0}),
        sockets("tasks", "two tasks, 40 W and 80 W", staircase([40.0, 80.0], 4.0 * s),
                ask={"tasks": 2}),
        sockets("killed", "80 W, and the process is killed on the way", p80,
                ask={"kill_at_s": 5.0 * s, "interval_s": 1.0}),
    )  # fmt: skip


SCENARIOS: Final[tuple[Scenario, ...]] = scenarios()


def truth_of(scenario: Scenario, parts: frozenset[Part]) -> PowerProfile | None:
    """Return the true power of some parts together; None where the scenario has none of them."""
    found = [p for name in sorted(parts) for p in scenario.truths.get(name, ())]
    return total(found) if found else None
