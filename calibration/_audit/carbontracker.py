"""Audit CarbonTracker's logs; what stands in them is said in `toolfiles.carbontracker`.

A device named after a RAPL zone (`cpu:0`, `dram:0:1`) was read from its counter, for one second of
each round (components/cpu/intel.py); a device named after a product is half of a TDP
(components/cpu/generic.py); a GPU is its power sensor (components/gpu/nvidia.py).
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from ..toolfiles.carbontracker import (
    components,
    epochs,
    printed_energy_kwh,
    prints_means,
    pue_of,
    version_of,
    zones_only,
)
from .results import AuditRow, Origin, Part, Remark

__all__ = ["audit_log"]


def audit_log(where: str, log: str, output: str | None) -> AuditRow:
    """Judge one run from its log and, where there is one, its output log.

    Raises:
        InputError: the log holds no finished epoch.

    """
    devices, found = components(log), epochs(where, log)
    durations_s = [e.duration_s for e in found]
    names = dict.fromkeys(n for e in found for n in e.powers_w)
    powers_w = {n: [e.power_w(n) for e in found] for n in names}
    parts = [
        _part(name, devices.get(name, ()), durations_s, column)
        for name, column in powers_w.items()
        if any(p is not None for p in column)
    ]
    parts += _overhead(log, output, sum(p.energy_j for p in parts))
    remarks = tuple(_remarks(devices, durations_s, powers_w, version_of(log)))
    return AuditRow(where, where, math.fsum(durations_s), tuple(parts), remarks)


def _part(
    name: str, devices: tuple[str, ...], durations_s: list[float], powers_w: list[float | None]
) -> Part:
    pairs = [(d, p) for d, p in zip(durations_s, powers_w, strict=True) if p is not None and d > 0]
    energy_j = math.fsum(d * p for d, p in pairs)
    listed = ", ".join(devices) if devices else "no device"
    origin: Origin
    if zones_only(devices):
        origin = "counted"
        evidence = (
            f"its devices {listed} are RAPL zones; the counter is read for one second of each "
            "round, the rest is filled with that power"
        )
    elif name == "gpu":
        origin = "sampled"
        evidence = f"{listed}: power readings of the GPU's own sensor, times time"
    elif len(pairs) > 1 and len({p for _, p in pairs}) == 1:
        origin = "assumed"
        evidence = (
            f"{pairs[0][1]:.5g} W in each of {len(pairs)} epochs, to the last digit: half of a TDP "
            f"for {listed}"
        )
    elif name == "cpu" and devices:
        origin = "assumed"
        evidence = f"its device is called {listed}, no RAPL zone: half of a TDP"
    else:
        origin, evidence = "unknown", "the log does not name its devices"
    return Part(name, energy_j, origin, evidence)


def _overhead(log: str, output: str | None, energy_j: float) -> Iterator[Part]:
    """Yield what the printed total holds beyond the components: a factor for a data centre."""
    total_kwh, pue = printed_energy_kwh(output or ""), pue_of(log)
    if total_kwh is None:
        return
    rest_j = total_kwh * 3.6e6 - energy_j
    if rest_j <= 0.0:
        return
    factor = f"a PUE of {pue:g}" if pue else "a factor"
    yield Part(
        "overhead", rest_j, "assumed",
        f"the total that the tool prints is its components times {factor}, whatever the room is",
    )  # fmt: skip


def _remarks(
    devices: dict[str, tuple[str, ...]],
    durations_s: list[float],
    powers_w: dict[str, list[float | None]],
    version: str | None,
) -> Iterator[Remark]:
    for name, listed in devices.items():
        if len(listed) > 1:
            what = (
                f"{version} prints their mean, so that together they drew {len(listed)} times that."
                if prints_means(version)
                else "the file does not show whether it is their sum or their mean."
            )
            yield Remark(
                "many_devices_one_number",
                f"{name} has {len(listed)} devices ({', '.join(listed)}) and one power: {what}",
            )
    for name, column in powers_w.items():
        missing = sum(p is None for p in column)
        if missing:
            yield Remark(
                "missing_power", f"{missing} of {len(column)} epochs have no power of {name}."
            )
        if any(p == 0.0 for p in column):
            yield Remark(
                "zero_component",
                f"{name} is 0 W in {sum(p == 0.0 for p in column)} of {len(column)} epochs: "
                "nothing was read, which is not the same as nothing used.",
            )
    if any(d <= 0 for d in durations_s):
        yield Remark("negative_duration", "An epoch has no positive duration: a clock was set.")
