r"""Read CarbonTracker's logs: `*_carbontracker.log` and, beside it, `*_carbontracker_output.log`.

The first names the devices and holds one power per component and epoch, the second the total, in
kWh, multiplied by a PUE that the first names (carbontracker/loggerutil.py, tracker.py, 2.4.7)::

    2026-11-28 04:16:01 - carbontracker version 2.4.7
    ... - The following components were found: CPU with device(s) cpu:0, cpu:1.
    ... - Epoch 1:
    ... - Duration: 0:00:06.00
    ... - Average power usage (W) for cpu: 32.51852433333334
    Actual consumption for 2 epoch(s): \n Time: 0:00:12 \n Energy: 0.000171009069 kWh

Stamps are local wall time without zone, cut to seconds; an epoch's lines are written where it ends.

What the power is, by the tool's source:

- Of every two seconds one is measured, the counters by two reads around a sleep that passes for
  exactly 1 s. The moments between count like the rest (components/cpu/intel.py). Of 14 epochs of
  5 s or 8 s at constant power, the means times the devices, 9 were right within 0.15 % and all
  within 4 % (datasets/conformance-2026-11-28).
- 2.4 averages over rounds *and devices* (`np.mean` of one flat list, components/component.py): the
  sum is that times the number of devices. Versions that list the devices apart print a vector in
  brackets. Other versions with several devices and one number are not known.
- A counter that wraps within its second makes the round 0 W for every device, unseen.
- An epoch that ends before its first round is given the power of the epoch before, or none.
- Where the counters may not be read, or a GPU does not answer, a zero takes their place; only the
  log `*_carbontracker_err.log` says so.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ..errors import InputError
from .cells import instant
from .rows import SHORT_S, ToolRow, flagged

__all__ = [
    "POWER",
    "Epoch",
    "components",
    "epochs",
    "is_log",
    "log_beside",
    "mode_of",
    "output_beside",
    "printed_energy_kwh",
    "prints_means",
    "pue_of",
    "read_rows",
    "version_of",
    "zones_only",
]

POWER: Final = "Average power usage (W)"

_LOG: Final = "_carbontracker.log"
_OUTPUT: Final = "_carbontracker_output.log"
_ERRORS: Final = "_carbontracker_err.log"
_VERSION: Final = re.compile(r"carbontracker version (\S+)")
_PUE: Final = re.compile(r"PUE coefficient of ([0-9.]+)")
_FOUND: Final = re.compile(r"The following components were found: (.*)$", re.MULTILINE)
_COMPONENT: Final = re.compile(r"(\w+) with device\(s\) (.*?)\.(?= \w+ with device|\s*$)")
_DURATION: Final = re.compile(r"Duration: (-?)(\d+):(\d\d):(\d\d(?:\.\d+)?)")
_POWER: Final = re.compile(r"Average power usage \(W\) for (\w+): (.*)$", re.MULTILINE)
_ACTUAL: Final = re.compile(r"Actual consumption.*?Energy:\s*([0-9.eE+-]+) kWh", re.DOTALL)
_ZONE: Final = re.compile(r"(?:cpu|dram|package-\d+|core|uncore)(?::\d+)+")
_STAMP: Final = re.compile(r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d) - ")
_UNREAD: Final = re.compile(r"lack of read-permissions|does not support retrieval of power")
_MEANS: Final = re.compile(r"2\.4(\.\d+)*")
"""Versions that print the mean over devices: 2.4.7 read and run on counters of known power."""

_LEAST_EPOCH_S: Final = 3.0
"""The second of a round that began before it, the second between rounds, and a round of its own."""
_DURATION_U_S: Final = 0.01 / math.sqrt(12)
_ROUND_S: Final = 2.0
_LEAST_RANGE_J: Final = 65.7e3
"""The least range of a counter: 2^32 steps of 15.3 uJ (most have steps of 61 uJ, 262 kJ)."""


@dataclass(frozen=True, slots=True)
class Epoch:
    """One epoch as the log has it: its line, when it ended, its duration in s, and W as printed.

    A component's powers are those in its brackets, or the one number; None where none was written.
    """

    line: int
    ended: str | None
    duration_s: float
    powers_w: Mapping[str, tuple[float, ...] | None]

    def power_w(self, name: str) -> float | None:
        """Return the power of a component, W: the sum of what is printed, which may be a mean."""
        printed = self.powers_w.get(name)
        return None if printed is None else math.fsum(printed)


def prints_means(version: str | None) -> bool:
    """Return whether one power of several devices is known to be their mean."""
    return version is not None and _MEANS.fullmatch(version) is not None


def is_log(path: Path, data: bytes) -> bool:
    """Return whether a file is the first kind of log, by its name or by how it begins."""
    head = data[:65536].decode("utf-8", errors="replace")
    return path.name.endswith(_LOG) or any(p.search(head) for p in (_VERSION, _POWER))


def log_beside(path: Path) -> Path:
    """Return the log with the epochs, where the output log is named; else the path itself."""
    if not path.name.endswith(_OUTPUT) or not path.exists():
        return path
    log = path.with_name(path.name.removesuffix(_OUTPUT) + _LOG)
    if not log.exists():
        raise InputError(
            f"Expected {log} beside {path.name}: the output log alone does not say how its number "
            "was made."
        )
    return log


def output_beside(log: Path) -> str | None:
    """Return the text of the output log that belongs to a log, None where there is none."""
    return _beside(log, _OUTPUT)


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


def components(log: str) -> dict[str, tuple[str, ...]]:
    """Return the devices of each component that a log names.

    They are parted by commas; a CPU that goes by its product's name is one, commas and all.
    """
    line = _FOUND.search(log)
    if line is None:
        return {}
    found = {}
    for name, listed in _COMPONENT.findall(line.group(1)):
        devices = tuple(d.strip() for d in listed.split(","))
        whole = name.lower() == "cpu" and not zones_only(devices)
        found[name.lower()] = (listed,) if whole else devices
    return found


def zones_only(devices: Sequence[str]) -> bool:
    """Return whether all devices are named after zones of RAPL; others are names of products."""
    return bool(devices) and all(_ZONE.fullmatch(d) for d in devices)


def mode_of(devices: Mapping[str, Sequence[str]]) -> str:
    """Return the handlers behind the devices of each component, by the tool's names for them."""
    cpu = "IntelCPU" if zones_only(devices.get("cpu", ())) else "GenericCPU"
    handlers = {"cpu": cpu, "gpu": "NvidiaGPU"}
    return " + ".join(handler for name, handler in handlers.items() if name in devices)


def epochs(where: str, log: str) -> tuple[Epoch, ...]:
    """Return the finished epochs of a log.

    Raises:
        InputError: the log holds none.

    """
    found: list[Epoch] = []
    powers_w: dict[str, tuple[float, ...] | None] = {}
    for number, line in enumerate(log.splitlines(), 1):
        if duration := _DURATION.search(line):
            sign, hours, minutes, seconds = duration.groups()
            length_s = 3600.0 * int(hours) + 60.0 * int(minutes) + float(seconds)
            stamp, powers_w = _STAMP.match(line), {}
            ended = stamp.group(1) if stamp else None
            found.append(Epoch(number, ended, -length_s if sign else length_s, powers_w))
        elif (power := _POWER.search(line)) and found:
            powers_w[power.group(1).lower()] = _numbers(power.group(2))
    if not any(e.powers_w for e in found):
        raise InputError(
            f"{where}: Expected epochs with a duration and a power of each component; there is "
            "none. A run that was cut off before its first epoch ended holds no energy."
        )
    return tuple(found)


def read_rows(path: Path, data: bytes) -> Iterator[ToolRow]:
    """Yield a row for each epoch of a log: the energy, under `POWER`, of all devices together.

    Raises:
        InputError: the log holds no finished epoch, several runs, or an impossible duration.

    """
    log = data.decode("utf-8", errors="replace")
    if len(_VERSION.findall(log)) > 1:
        raise InputError(f"{path}: Expected the log of one tracker; got several in one file.")
    devices, found = components(log), epochs(str(path), log)
    version = version_of(log)
    facts = {"carbontracker_mode": mode_of(devices)} if devices else {}
    facts["devices"] = ", ".join(sorted(d for listed in devices.values() for d in listed))
    facts |= {"carbontracker_version": version} if version else {}
    if "cpu" in devices and not zones_only(devices["cpu"]):
        facts["cpu_model"] = devices["cpu"][0]
    unread = _UNREAD.search(_beside(path, _ERRORS) or "") is not None
    end_s, before = -math.inf, None
    for index, epoch in enumerate(found):
        where = f"{path}:{epoch.line}"
        if epoch.duration_s <= 0:
            raise InputError(
                f"{where}: Expected a duration above 0 s; got {epoch.duration_s:g}. A clock was "
                "set while the epoch ran."
            )
        if epoch.ended is not None:
            # A stamp is cut to its second, and epochs never overlap.
            end_s = max(instant(where, "the stamp", epoch.ended), end_s + epoch.duration_s)
        why = _why_not(epoch, before, devices, version)
        if unread:
            why = f"Expected counters that could be read; {path.stem}_err.log says otherwise"
        powers_w = {} if why else {n: _sum_w(epoch, n, listed) for n, listed in devices.items()}
        row = ToolRow(
            where=where,
            id=f"epoch {index + 1}",
            tool="carbontracker",
            duration_s=epoch.duration_s,
            duration_u_s=_DURATION_U_S,
            energies_j={} if why else {POWER: math.fsum(powers_w.values()) * epoch.duration_s},
            energies_u_j={POWER: _unseen_wraps_j(powers_w.get("cpu", 0.0), epoch.duration_s)},
            facts=facts,
            end_s=None if epoch.ended is None else end_s,
            lacks={POWER: why} if why else {},
        )
        before = epoch
        yield flagged(row, "short") if epoch.duration_s < SHORT_S else row


def _why_not(
    epoch: Epoch,
    before: Epoch | None,
    devices: Mapping[str, Sequence[str]],
    version: str | None,
) -> str | None:
    """Return why the power of all devices does not follow from an epoch, None where it does."""
    if not devices:
        return "Expected a line with the devices that were found; the log has none"
    for name, listed in devices.items():
        printed = epoch.powers_w.get(name)
        if printed is None:
            return f"Expected a power of {name}; there is none, the epoch was too short for it"
        if not all(p > 0 for p in printed):
            return f"Expected a power of {name} above 0 W; got {min(printed):g}: nothing was read"
        count = len(listed)
        if len(printed) != count and not (len(printed) == 1 and prints_means(version)):
            return (
                f"Expected a power for each of the {count} devices of {name}, or their mean as 2.4 "
                f"prints it; got {len(printed)} from version {version or 'unknown'}"
            )
    if before is None:
        return None
    if epoch.duration_s < _LEAST_EPOCH_S:
        return (
            f"Expected an epoch of at least {_LEAST_EPOCH_S:g} s after the first; one of "
            f"{epoch.duration_s:g} s may have been given the power of the epoch before"
        )
    measured = [n for n in devices if n != "cpu" or zones_only(devices[n])]
    if measured and all(epoch.powers_w[n] == before.powers_w.get(n) for n in measured):
        return "Expected a measurement of its own; its powers are those of the epoch before"
    return None


def _sum_w(epoch: Epoch, name: str, devices: Sequence[str]) -> float:
    """Return the power of a component's devices together, W."""
    printed = epoch.powers_w[name] or ()
    summed = len(printed) == len(devices)
    return math.fsum(printed) if summed else len(devices) * printed[0]


def _unseen_wraps_j(cpu_w: float, duration_s: float) -> float:
    """Return the standard uncertainty that rounds lost to a wrap leave, J.

    A wrap is met by chance, in half of the time, and costs a round; their number is Poisson's.
    """
    expected = cpu_w * duration_s / _LEAST_RANGE_J / 2
    return cpu_w * _ROUND_S * math.sqrt(expected + expected**2)


def _numbers(text: str) -> tuple[float, ...] | None:
    """Return the numbers in a power's text, W; None where there is none."""
    found = re.findall(r"-?\d+(?:\.\d*)?(?:[eE][+-]?\d+)?", text)
    return tuple(float(n) for n in found) or None


def _beside(log: Path, ending: str) -> str | None:
    if not log.name.endswith(_LOG):
        return None
    path = log.with_name(log.name.removesuffix(_LOG) + ending)
    return path.read_text(encoding="utf-8", errors="replace") if path.exists() else None
