"""Read CodeCarbon's `emissions.csv` (codecarbon/output_methods/emissions_data.py).

29 columns in 2.0 to 38 in 3.3: `duration` in s, energies in kWh, `timestamp` the local wall time of
the *end* of the run without zone, to the second. Its `*_power` columns are unweighted means over
samples and are never read.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from ..errors import InputError
from ..grain import codecarbon_grain
from .cells import absent, instant, length_s, number
from .rows import SHORT_S, ToolRow, flagged

__all__ = ["MARKS", "codecarbon_row", "read_row"]

MARKS: Final = frozenset({"timestamp", "duration", "energy_consumed"})
"""The columns that every version has written."""
_ENERGIES: Final = ("energy_consumed", "cpu_energy", "gpu_energy", "ram_energy")
_FACTS: Final = (
    "codecarbon_version", "tracking_mode", "pue", "os", "cpu_model", "gpu_model", "on_cloud",
    "project_name",
)  # fmt: skip
_DURATION_U_S: Final = 0.5
"""Standard uncertainty of `duration` in s: the first tracker of a process counts its own start-up,
0.4 s for a 4 s run with 3.3.2, up to 1.5 s where the CPU is looked up."""


def codecarbon_row(record: Mapping[str, str]) -> ToolRow:
    """Return one row of an `emissions.csv`, given as `csv.DictReader` gives it."""
    missing = sorted(MARKS - set(record))
    if missing:
        raise InputError(
            f"Expected a row of CodeCarbon's emissions.csv; it has no {', '.join(missing)}."
        )
    return read_row("row", {str(k): "" if v is None else str(v) for k, v in record.items()})


def read_row(where: str, record: Mapping[str, str]) -> ToolRow:
    """Read one row; `where` names it in errors."""
    duration_s = length_s(where, "duration", record["duration"])
    energies = {
        name: 3.6e6 * number(where, name, record[name], least=0.0)
        for name in _ENERGIES
        if not absent(record.get(name))
    }
    facts = {k: record[k] for k in _FACTS if not absent(record.get(k))}
    facts.update(_shown_mode(record, duration_s))
    identity = next(
        (record[k] for k in ("run_id", "task_name", "experiment_id") if record.get(k)), where
    )
    row = ToolRow(
        where=where,
        id=record.get("task_name") or identity,
        tool="codecarbon",
        duration_s=duration_s,
        duration_u_s=_DURATION_U_S,
        energies_j=energies,
        facts=facts,
        end_s=instant(where, "timestamp", record["timestamp"]),
    )
    return flagged(row, "short") if duration_s < SHORT_S else row


def _shown_mode(record: Mapping[str, str], duration_s: float) -> dict[str, str]:
    """Return what the energy itself shows of the mode: see `grain`.

    `cpu_mode` where only a counter can have made it, `cpu_counter` = `no` where none can.
    """
    text = record.get("cpu_energy")
    if absent(text) or text is None:
        return {}
    pue = 1.0 if absent(record.get("pue")) else float(record["pue"])
    if pue <= 0:
        return {}
    grain = codecarbon_grain("cpu", text, duration_s, pue)
    if grain.whole == "yes":
        return {"cpu_mode": "intel_rapl"}
    return {"cpu_counter": "no"} if grain.whole == "no" else {}
