r"""Audit CarbonTracker's logs: `*_carbontracker.log` and, beside it, `*_carbontracker_output.log`.

The first names the devices and holds one power per component and epoch, the second the total, in
kWh, multiplied by a PUE that the first names (carbontracker/loggerutil.py, tracker.py, parser.py;
2.4.7):

    The following components were found: CPU with device(s) cpu:0, cpu:1.
    Duration: 0:00:06.00
    Average power usage (W) for cpu: 32.51852433333334
    Actual consumption for 2 epoch(s): \n Time: 0:00:12 \n Energy: 0.000171009069 kWh

A device named after a RAPL zone (`cpu:0`, `dram:0:1`) was read from its counter, for one second of
each round (components/cpu/intel.py); a device named after a product is half of a TDP
(components/cpu/generic.py); a GPU is its power sensor (components/gpu/nvidia.py).
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import Final

from ..errors import InputError
from .results import AuditRow, Origin, Part, Remark

__all__ = [
    "audit_log",
    "components",
    "epochs",
    "is_log",
    "printed_energy_kwh",
    "pue_of",
    "version_of",
]

_VERSION: Final = re.compile(r"carbontracker version (\S+)")
_PUE: Final = re.compile(r"PUE coefficient of ([0-9.]+)")
_FOUND: Final = re.compile(r"The following components were found: (.*)$", re.MULTILINE)
_COMPONENT: Final = re.compile(r"(\w+) with device\(s\) (.*?)\.(?= \w+ with device|\s*$)")
_DURATION: Final = re.compile(r"Duration: (-?)(\d+):(\d\d):(\d\d(?:\.\d+)?)")
_POWER: Final = re.compile(r"Average power usage \(W\) for (\w+): (.*)$")
_ACTUAL: Final = re.compile(r"Actual consumption.*?Energy:\s*([0-9.eE+-]+) kWh", re.DOTALL)
_ZONE: Final = re.compile(r"(?:cpu|dram|package-\d+|core|uncore)(?::\d+)+")


def is_log(text: str) -> bool:
    """Return whether a text is the first kind of log."""
    return _VERSION.search(text) is not None or _POWER.search(text) is not None


def version_of(text: str) -> str | None:
    """Return the version that wrote a log, None where it does not say."""
    found = _VERSION.search(text)
    return found.group(1) if found else None


def pue_of(text: str) -> float | None:
    """Return the PUE that a log says its totals are multiplied by."""
    found = _PUE.search(text)
    return float(found.group(1)) if found else None


def printed_energy_kwh(output: str) -> float | None:
    """Return the total that an output log prints, kWh with the PUE in it."""
    found = _ACTUAL.search(output)
    return float(found.group(1)) if found else None


def audit_log(where: str, log: str, output: str | None) -> AuditRow:
    """Judge one run from its log and, where there is one, its output log.

    Raises:
        InputError: the log holds no finished epoch.

    """
    devices = components(log)
    durations_s, powers_w = epochs(where, log)
    parts = [
        _part(name, devices.get(name, ()), durations_s, column)
        for name, column in powers_w.items()
        if any(p is not None for p in column)
    ]
    parts += _overhead(log, output, sum(p.energy_j for p in parts))
    remarks = tuple(_remarks(devices, durations_s, powers_w))
    return AuditRow(where, where, math.fsum(durations_s), tuple(parts), remarks)


def components(log: str) -> dict[str, tuple[str, ...]]:
    """Return the devices of each component that a log names."""
    line = _FOUND.search(log)
    if line is None:
        return {}
    return {
        name.lower(): tuple(d.strip() for d in listed.split(","))
        for name, listed in _COMPONENT.findall(line.group(1))
    }


def epochs(where: str, log: str) -> tuple[list[float], dict[str, list[float | None]]]:
    """Return the duration of each epoch in s, and the power of each component in each, W.

    Raises:
        InputError: the log holds no finished epoch.

    """
    durations_s: list[float] = []
    powers_w: dict[str, list[float | None]] = {}
    for line in log.splitlines():
        if found := _DURATION.search(line):
            sign, hours, minutes, seconds = found.groups()
            length_s = 3600.0 * int(hours) + 60.0 * int(minutes) + float(seconds)
            durations_s.append(-length_s if sign else length_s)
        elif (found := _POWER.search(line)) and durations_s:
            column = powers_w.setdefault(found.group(1).lower(), [])
            column += [None] * (len(durations_s) - 1 - len(column))
            column.append(_watts(found.group(2)))
    if not durations_s or not powers_w:
        raise InputError(
            f"{where}: Expected epochs with a duration and a power of each component; there is "
            "none. A run that was cut off before its first epoch ended holds no energy."
        )
    for column in powers_w.values():
        column += [None] * (len(durations_s) - len(column))
    return durations_s, powers_w


def _watts(text: str) -> float | None:
    """Return one power in W; several, as older versions write them in brackets, are added."""
    numbers = re.findall(r"-?\d+(?:\.\d*)?(?:[eE][+-]?\d+)?", text)
    values = [float(n) for n in numbers]
    return math.fsum(values) if values else None


def _part(
    name: str, devices: tuple[str, ...], durations_s: list[float], powers_w: list[float | None]
) -> Part:
    pairs = [(d, p) for d, p in zip(durations_s, powers_w, strict=True) if p is not None and d > 0]
    energy_j = math.fsum(d * p for d, p in pairs)
    listed = ", ".join(devices) if devices else "no device"
    origin: Origin
    if devices and all(_ZONE.fullmatch(d) for d in devices):
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
) -> Iterator[Remark]:
    for name, listed in devices.items():
        if len(listed) > 1:
            yield Remark(
                "many_devices_one_number",
                f"{name} has {len(listed)} devices ({', '.join(listed)}) and one power: the file "
                "does not show whether it is their sum or their mean.",
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
