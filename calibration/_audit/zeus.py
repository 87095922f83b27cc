"""Audit the CSV that `ZeusMonitor(log_file=...)` writes; its format: `toolfiles.zeus`.

A GPU with an energy counter gives differences of whole millijoules, an older one power times time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from ..grain import Grain
from ..toolfiles.zeus import gpu_columns, grain_of_column
from .results import AuditRow, Origin, Part, Remark

__all__ = ["audit_rows"]

_TOUCHING_S: Final = 1e-3


def audit_rows(records: Sequence[tuple[str, Mapping[str, str]]]) -> tuple[AuditRow, ...]:
    """Judge the windows of a file, each given as (where, fields by column name)."""
    columns = gpu_columns(records[0][1])
    grains = {c: grain_of_column(records, c) for c in columns}
    rows = []
    for i, (where, record) in enumerate(records):
        parts = tuple(
            _part(c.removesuffix("_energy"), float(record[c]), grains[c][i])
            for c in columns
            if _is_number(record[c]) and float(record[c]) != 0.0
        )
        name, length = record["window_name"] or where, record["elapsed_time"]
        duration_s = float(length) if _is_number(length) else None
        remarks = [Remark("gpu_only", "The file holds GPUs only: CPUs and memory are missing.")]
        remarks += [
            Remark(
                "zero_component",
                f"{c} is 0: the window was shorter than the counter's period, or nothing was read.",
            )
            for c in columns
            if not _is_number(record[c]) or float(record[c]) == 0.0
        ]
        if duration_s is None or duration_s <= 0:
            remarks.append(Remark("negative_duration", f"elapsed_time is {length!r}."))
        rows.append((where, name, duration_s, parts, remarks))
    for i in _nested(records):
        rows[i][4].append(
            Remark("overlap", "This window overlaps another one: their sum counts joules twice.")
        )
    return tuple(AuditRow(w, n, d, p, tuple(r)) for w, n, d, p, r in rows)


def _part(name: str, energy_j: float, grain: Grain) -> Part:
    if energy_j < 0:
        return Part(name, energy_j, "unknown", "negative: a counter wrapped or was reset")
    origin: Origin = {"yes": "counted", "no": "sampled", "undecided": "unknown"}[grain.whole]  # type: ignore[assignment]
    evidence = {
        "yes": "a whole number of millijoules, as only NVML's counter gives (by chance in "
        f"{100 * grain.chance:.1g} % of cases)",
        "no": "no whole number of millijoules: power readings times time",
        "undecided": "written with too few digits to show a counter's grain",
    }[grain.whole]
    return Part(name, energy_j, origin, evidence)


def _nested(records: Sequence[tuple[str, Mapping[str, str]]]) -> set[int]:
    """Return the indices of windows that share time with another one."""
    spans = sorted(
        (float(r["start_time"]), float(r["start_time"]) + float(r["elapsed_time"]), i)
        for i, (_, r) in enumerate(records)
        if _is_number(r["start_time"]) and _is_number(r["elapsed_time"])
    )
    found: set[int] = set()
    latest_s, latest = float("-inf"), -1
    for start_s, end_s, i in spans:
        if start_s < latest_s - _TOUCHING_S:
            found |= {i, latest}
        if end_s > latest_s:
            latest_s, latest = end_s, i
    return found


def _is_number(text: str) -> bool:
    try:
        return abs(float(text)) < float("inf")
    except ValueError:
        return False
