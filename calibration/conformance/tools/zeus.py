"""Zeus: the `Measurement` of a window; energies in J, one a device.

What the fields claim (zeus.monitor.energy.Measurement): `gpu_energy`, `cpu_energy`, `dram_energy`
map a device to its energy, `total_energy` is the "total energy consumed during the measurement
window", `time` its duration.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from ..figures import Claim, Figure, Part
from .tool import CHILDREN, Lines, Reported, Run, Tool

__all__ = ["ZEUS"]

_FIELDS: Final[tuple[tuple[str, Part], ...]] = (
    ("cpu_energy", "package"),
    ("dram_energy", "dram"),
    ("gpu_energy", "gpu"),
)


def _read(run: Run) -> Reported:
    found = run.report.get("measurements")
    if found is None:
        nothing = Figure(Claim("cpu_energy", "energy_j", frozenset({"package"})), None)
        return Reported((nothing,))
    figures = [f for i, m in enumerate(found) for f in _figures(m, i)]
    says = "no CPU" if all(not m["cpu_energy"] for m in found) else None
    return Reported(tuple(figures), says)


def _figures(measurement: Mapping[str, Any], window: int) -> Iterator[Figure]:
    yield Figure(Claim("time", "duration_s", frozenset()), measurement["time"], window)
    for name, part in _FIELDS:
        for device, value in (measurement[name] or {}).items():
            claim = Claim(f"{name}[{device}]", "energy_j", frozenset({part}), int(device))
            yield Figure(claim, value, window)
    parts: frozenset[Part] = frozenset({"package", "dram", "gpu"})
    yield Figure(Claim("total_energy", "energy_j", parts), measurement["total_energy"], window)


def _lines(ask: Mapping[str, float]) -> Lines:
    make = ["monitor = ZeusMonitor(gpu_indices=[])"]
    if ask.get("warm"):
        make.append('monitor.begin_window("first", sync_execution=False)')
        make.append("time.sleep(2.0)  # it starts a process for each counter at the first read")
        make.append('monitor.end_window("first", sync_execution=False)')
    killed = bool(ask.get("kill_at_s"))
    return Lines(
        ("from zeus.monitor import ZeusMonitor",),
        tuple(make),
        'monitor.begin_window("task {i}", sync_execution=False)',
        'found = monitor.end_window("task {i}", sync_execution=False)',
        (),
        # What it measured stands in the memory of its process only.
        lambda claim: ("says = None" if killed else f"says = found.{claim.field}",),
    )


ZEUS: Final = Tool(
    name="zeus",
    distribution="zeus",
    environment="peers",
    child=CHILDREN / "zeus_child.py",
    read=_read,
    lines=_lines,
)
