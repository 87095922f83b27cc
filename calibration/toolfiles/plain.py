"""Read a plain CSV: `duration_s`, and columns named after a profile's inputs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from ..errors import InputError
from .cells import absent, instant, length_s, number
from .rows import ToolRow

__all__ = ["plain_row"]

_SUFFIXES: Final[Mapping[str, float]] = {"_kwh": 3.6e6, "_wh": 3600.0, "_j": 1.0}
_PLAIN: Final = frozenset(
    {"id", "duration_s", "start_unix_s", "timestamp", "session", "workload", "note"}
)
_SAME_NAME: Final[Mapping[str, str]] = {"codecarbon": "codecarbon_total"}


def plain_row(where: str, record: Mapping[str, str]) -> ToolRow:
    """Read a row of a CSV with `duration_s` and columns named after inputs."""
    duration_s = length_s(where, "duration_s", record["duration_s"])
    energies: dict[str, float] = {}
    ratios: dict[str, float] = {}
    facts: dict[str, str] = {}
    for column, value in record.items():
        lower = column.lower()
        if lower in _PLAIN or absent(value):
            continue
        if lower.endswith("_mode") or lower in ("pue", "tracking_mode"):
            facts[lower] = value
            continue
        if lower == "cpu_load":
            ratios[lower] = number(where, column, value, least=0.0)
            continue
        scale = duration_s if lower.endswith("_w") else None
        name = lower[:-2]
        for suffix, joules in _SUFFIXES.items():
            if lower.endswith(suffix):
                scale, name = joules, lower[: -len(suffix)]
                break
        if scale is None or lower.endswith("_u_w"):
            continue
        name = _SAME_NAME.get(name, name)
        if name in energies:
            raise InputError(f"{where}: Expected {name} in one column; {column!r} is another one.")
        energies[name] = scale * number(where, column, value, least=0.0)
    end_s = None
    if not absent(record.get("start_unix_s")):
        end_s = number(where, "start_unix_s", record["start_unix_s"]) + duration_s
    elif not absent(record.get("timestamp")):
        end_s = instant(where, "timestamp", record["timestamp"])
    return ToolRow(
        where=where,
        id=record.get("id") or where,
        tool="csv",
        duration_s=duration_s,
        duration_u_s=0.0,
        energies_j=energies,
        ratios=ratios,
        facts=facts,
        end_s=end_s,
        session=record.get("session") or None,
        workload=record.get("workload") or None,
    )
