"""Audit CodeCarbon's `emissions.csv` and its task files, every schema since 1.0 (2021).

The file has no column for the mode, but its numbers betray it. What the rules rest on, with the
place in CodeCarbon's source where each fact stands:

- counter differences are converted with 2.77778e-7 kWh/J and summed (`core/units.py`,
  `core/rapl.py`, `core/gpu.py`), so counted energies are whole microjoules (CPU) or millijoules
  (NVIDIA GPU) in that unit: see `grain`. Checked on files of 2.0.0, 2.1.4, 2.2.7, 2.3.5, 2.8.4,
  3.0.8 and 3.3.2.
- without a counter the CPU is half its TDP (85 W where the model is unknown: 42.5 W), or from 3.0
  on TDP x (0.1 + 0.9 load^3) (`external/hardware.py`).
- memory is never counted: see `memory`.
- `pue` multiplies the energy of every component, and from 3.0 on the power too
  (`emissions_tracker.py`).
- a `*_power` column is the unweighted mean over samples; the energies do not follow from it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Final

from ..grain import Grain, codecarbon_grain, significant_digits
from ..toolfiles import ToolRow, overlapping
from .memory import OLD_W_PER_GB, assumed_power_w
from .results import AuditRow, Part, Remark

__all__ = ["audit_rows"]

Record = Mapping[str, str]

_J_PER_KWH: Final = 3.6e6
_COMPONENTS: Final = ("cpu", "gpu", "ram")
_UNKNOWN_CPU_W: Final = 42.5
_FIRST_RELEASE_S: Final = datetime(2020, 11, 1, tzinfo=UTC).timestamp()
_SHORT_S: Final = 60.0
_LARGEST_W: Final = 20_000.0
"""No single computer draws more from its sockets."""
_POWER_AGREES: Final = 0.05


def audit_rows(records: Sequence[tuple[str, Record]]) -> tuple[AuditRow, ...]:
    """Judge rows of an `emissions.csv`, each given as (where, fields by column name)."""
    rows = [_row(where, record) for where, record in records]
    for group in overlapping(tuple(_span(w, r) for w, r in records)):
        if len(group) < 2:
            continue
        names = ", ".join(records[i][0].rpartition(":")[2] for i in group)
        for i in group:
            shared = "" if _tracks_process(records[i][1]) else (
                ": each of them holds the joules of the whole machine, and their sum holds them "
                "more than once"
            )  # fmt: skip
            remark = Remark("overlap", f"Lines {names} overlap in time on one machine{shared}.")
            rows[i] = replace(rows[i], remarks=(*rows[i].remarks, remark))
    return tuple(rows)


def _row(where: str, record: Record) -> AuditRow:
    duration_s = _number(record, "duration")
    pue = _number(record, "pue") or 1.0
    factor = pue if pue > 0 else 1.0
    parts = [p for c in _COMPONENTS for p in _component(c, record, duration_s, factor)]
    parts += _rest(record, parts, duration_s, factor)
    if factor != 1.0:
        overhead_j = sum(p.energy_j for p in parts) * (factor - 1.0)
        parts.append(
            Part(
                "overhead", overhead_j, "assumed",
                f"pue {factor:g} multiplies every component; the machine used 1/{factor:g} of it",
            )
        )  # fmt: skip
    name = record.get("task_name") or record.get("run_id") or record.get("experiment_id") or where
    return AuditRow(where, name, duration_s, tuple(parts), tuple(_remarks(record, factor)))


def _component(name: str, record: Record, duration_s: float | None, pue: float) -> Iterator[Part]:
    energy_kwh = _number(record, f"{name}_energy")
    if not energy_kwh:
        return
    text = record[f"{name}_energy"]
    energy_j = energy_kwh * _J_PER_KWH / pue
    if energy_kwh < 0:
        yield Part(name, energy_j, "unknown", f"{name}_energy is negative: no energy is")
    elif name == "ram":
        yield _memory(record, energy_j, pue)
    elif name == "gpu":
        yield _gpu(record, energy_j, codecarbon_grain("gpu", text, duration_s, pue))
    else:
        grain = codecarbon_grain("cpu", text, duration_s, pue)
        yield _cpu(record, energy_j, grain, duration_s, pue)


def _cpu(
    record: Record, energy_j: float, grain: Grain, duration_s: float | None, pue: float
) -> Part:
    if grain.whole == "yes":
        return Part(
            "cpu", energy_j, "counted",
            "cpu_energy is a whole number of microjoules, as only a counter's differences are "
            f"(off by {grain.distance:.1g}; by chance in {100 * grain.chance:.1g} % of cases)",
        )  # fmt: skip
    mean_w = None if not duration_s or duration_s <= 0 else energy_j / duration_s
    power_w = _power_w(record, "cpu", mean_w, pue)
    if power_w is not None:
        if math.isclose(power_w, _UNKNOWN_CPU_W, rel_tol=1e-9):
            return Part(
                "cpu", energy_j, "assumed",
                "cpu_power is 42.5 W, half of the 85 W that CodeCarbon takes for an unknown CPU",
            )  # fmt: skip
        if grain.whole == "no" and math.isclose(2 * power_w, round(2 * power_w), rel_tol=1e-9):
            return Part(
                "cpu", energy_j, "assumed",
                f"cpu_power is {power_w:g} W to the last digit, half of {2 * power_w:g} W: a "
                "constant half of a TDP",
            )  # fmt: skip
    if grain.whole == "no" and _only_counter_or_model(record):
        return Part(
            "cpu", energy_j, "modelled",
            "cpu_energy is no whole number of microjoules, so no counter made it; on Linux the "
            "rest is a share of the TDP by load",
        )  # fmt: skip
    return Part("cpu", energy_j, "unknown", _why_undecided(record, "cpu", grain))


def _gpu(record: Record, energy_j: float, grain: Grain) -> Part:
    if grain.whole == "yes":
        return Part(
            "gpu", energy_j, "counted",
            "gpu_energy is a whole number of millijoules, as only NVML's counter makes it (off by "
            f"{grain.distance:.1g}; by chance in {100 * grain.chance:.1g} % of cases)",
        )  # fmt: skip
    if grain.whole == "no":
        return Part(
            "gpu", energy_j, "unknown",
            "gpu_energy is no whole number of millijoules: power readings times time, or a counter "
            "of another unit (AMD)",
        )  # fmt: skip
    return Part("gpu", energy_j, "unknown", _why_undecided(record, "gpu", grain))


def _memory(record: Record, energy_j: float, pue: float) -> Part:
    size_gb, duration_s = _number(record, "ram_total_size"), _number(record, "duration")
    mean_w = energy_j / duration_s if duration_s and duration_s > 0 else None
    power_w = _power_w(record, "ram", mean_w, pue)
    if _tracks_process(record):
        return Part(
            "ram", energy_j, "modelled",
            "tracking_mode is process: a constant per GB that the process uses, no counter",
        )  # fmt: skip
    if size_gb and power_w:
        if math.isclose(power_w, OLD_W_PER_GB * size_gb, rel_tol=1e-6):
            return Part(
                "ram", energy_j, "assumed",
                f"ram_power is 0.375 W for each of {size_gb:.4g} GB, whatever the memory does",
            )  # fmt: skip
        for arm, each in ((False, "5 W"), (True, "1.5 W")):
            if math.isclose(power_w, assumed_power_w(size_gb, arm=arm), rel_tol=1e-6):
                return Part(
                    "ram", energy_j, "assumed",
                    f"ram_power is {power_w:g} W, {each} for each memory module that CodeCarbon "
                    f"guesses from {size_gb:.4g} GB",
                )  # fmt: skip
        return Part(
            "ram", energy_j, "assumed",
            f"ram_power is {power_w:.4g} W, none of CodeCarbon's own figures for {size_gb:.4g} GB; "
            "it counts no memory, so the figure was given to it (force_ram_power)",
        )  # fmt: skip
    return Part("ram", energy_j, "assumed", "no version of CodeCarbon counts memory")


def _rest(
    record: Record, parts: Sequence[Part], duration_s: float | None, pue: float
) -> Iterator[Part]:
    """Yield what the total holds beyond its components: all of it in 1.x, which writes none."""
    total_kwh = _number(record, "energy_consumed")
    if not total_kwh:
        return
    total_j = total_kwh * _J_PER_KWH / pue
    rest_j = total_j - sum(p.energy_j for p in parts)
    if rest_j <= 1e-6 * abs(total_j):
        return
    mean_w = rest_j / duration_s if duration_s and duration_s > 0 else math.nan
    if not parts and abs(mean_w / _UNKNOWN_CPU_W - 1) < 0.01:
        yield Part(
            "total", rest_j, "assumed",
            f"the mean power is {mean_w:.4g} W: half of the 85 W that CodeCarbon takes for an "
            "unknown CPU",
        )  # fmt: skip
        return
    yield Part(
        "rest" if parts else "total", rest_j, "unknown",
        "energy_consumed holds more than its components"
        if parts
        else "this version writes one total without its components",
    )  # fmt: skip


def _remarks(record: Record, pue: float) -> Iterator[Remark]:
    yield from _duration(record)
    for name, listed in (("cpu", "cpu_model"), ("gpu", "gpu_model")):
        if record.get(listed) and _number(record, f"{name}_energy") == 0.0:
            yield Remark(
                "zero_component",
                f"{name}_energy is 0 although {listed} names {record[listed]}: nothing was read, "
                "which is not the same as nothing used.",
            )
    if _tracks_process(record):
        yield Remark(
            "process_tracking",
            "tracking_mode is process: the figures are a share given to one process, not the "
            "machine's energy; they cannot be compared with a meter.",
        )
    if record.get("on_cloud", "").upper() == "Y":
        yield Remark(
            "on_cloud",
            "on_cloud is Y: a virtual machine sees neither the host's counters nor its other "
            "tenants.",
        )
    if pue != 1.0:
        yield Remark("pue", f"pue is {pue:g}: the energies are not those of the machine alone.")
    yield from _disagreements(record, pue)


def _duration(record: Record) -> Iterator[Remark]:
    duration_s = _number(record, "duration")
    if duration_s is None:
        yield Remark("no_duration", "There is no duration.")
        return
    end_s = _instant_s(record)
    if duration_s <= 0:
        yield Remark(
            "negative_duration",
            f"duration is {duration_s:g} s: a clock was set back, or the row was edited.",
        )
    elif end_s is not None and end_s - duration_s < _FIRST_RELEASE_S:
        yield Remark(
            "impossible_duration",
            f"duration is {duration_s:g} s: the run would have begun before CodeCarbon existed.",
        )
    elif duration_s < _SHORT_S:
        yield Remark(
            "short",
            f"duration is {duration_s:.3g} s and counts up to 1.5 s of the tool's own start-up.",
        )
    total_kwh = _number(record, "energy_consumed")
    if total_kwh and duration_s > 0 and total_kwh * _J_PER_KWH / duration_s > _LARGEST_W:
        yield Remark(
            "implausible_power",
            f"The mean power is {total_kwh * _J_PER_KWH / duration_s:.4g} W, more than one "
            "computer can draw.",
        )


def _disagreements(record: Record, pue: float) -> Iterator[Remark]:
    """Numbers of one row that contradict one another."""
    duration_s = _number(record, "duration")
    for name in _COMPONENTS:
        energy_kwh, power_w = _number(record, f"{name}_energy"), _number(record, f"{name}_power")
        if not energy_kwh or not power_w or not duration_s or duration_s <= 0:
            continue
        mean_w = energy_kwh * _J_PER_KWH / duration_s
        if min(abs(power_w / mean_w - 1), abs(power_w * pue / mean_w - 1)) > _POWER_AGREES:
            yield Remark(
                "power_column",
                f"{name}_power says {power_w:.4g} W, {name}_energy over the duration "
                f"{mean_w:.4g} W: the column is a mean over uneven samples; use the energy.",
            )
    energies = [_number(record, f"{c}_energy") for c in _COMPONENTS]
    total_kwh = _number(record, "energy_consumed")
    known = [e for e in energies if e is not None]
    if known and total_kwh is not None and abs(sum(known) - total_kwh) > 1e-6 * abs(total_kwh):
        yield Remark(
            "sum_mismatch",
            f"energy_consumed is {total_kwh:.6g} kWh, its components add to {sum(known):.6g} kWh.",
        )


def _power_w(record: Record, name: str, mean_w: float | None, pue: float) -> float | None:
    """Return a component's power column in W without the PUE, where it agrees with its energy.

    Some versions multiply it by the PUE and some do not; the mean power tells.
    """
    power_w = _number(record, f"{name}_power")
    if not power_w or mean_w is None:
        return None
    nearest_w = min((power_w, power_w / pue), key=lambda p: abs(p - mean_w))
    # The tool's start-up stretches the duration of a short run, so memory may be off by more.
    return nearest_w if abs(mean_w / nearest_w - 1) < _POWER_AGREES or name == "ram" else None


def _why_undecided(record: Record, name: str, grain: Grain) -> str:
    digits = significant_digits(record[f"{name}_energy"])
    if grain.whole == "no":
        return "no counter's grain, and this system has sensors that CodeCarbon samples"
    if digits < 14:
        return f"{name}_energy is written with {digits} digits, too few to show a counter's grain"
    return "so many readings were added up that rounding hides a counter's grain"


def _only_counter_or_model(record: Record) -> bool:
    """Whether CodeCarbon on this system has nothing between a counter and a model.

    On macOS it samples `powermetrics`, on Windows the Power Gadget or EMI, on a Raspberry Pi the
    power controller.
    """
    system = record.get("os", "").lower()
    return system.startswith("linux") and not any(w in system for w in ("aarch64", "arm"))


def _tracks_process(record: Record) -> bool:
    return record.get("tracking_mode", "").lower() == "process"


def _span(where: str, record: Record) -> ToolRow:
    """Return the time that a row takes, for finding overlaps; without a clock it takes none."""
    duration_s = _number(record, "duration") or 0.0
    return ToolRow(
        where=where,
        id=where,
        tool="codecarbon",
        duration_s=max(0.0, duration_s),
        duration_u_s=0.0,
        energies_j={},
        facts={k: record.get(k, "") for k in ("cpu_model", "gpu_model")},
        end_s=_instant_s(record) if duration_s > 0 else None,
    )


def _instant_s(record: Record) -> float | None:
    try:
        stamp = datetime.fromisoformat(record.get("timestamp", ""))
    except ValueError:
        return None
    return (stamp if stamp.tzinfo else stamp.replace(tzinfo=UTC)).timestamp()


def _number(record: Record, column: str) -> float | None:
    """Return a number of the row; None where it is missing, empty or none at all."""
    try:
        number = float(record.get(column, ""))
    except ValueError:
        return None
    return number if math.isfinite(number) else None
