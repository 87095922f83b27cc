"""Read the CSV that `ZeusMonitor(log_file=...)` writes (zeus/monitor/energy.py, 0.16.0).

    start_time,window_name,elapsed_time,gpu0_energy,gpu1_energy
    1795839477.5834508,inner,1.0012586116790771,130.9539999999106,128.1

`start_time` is Unix time in s, `elapsed_time` s, and `gpu<N>_energy` J, a column for each GPU that
is monitored. A row is written where its window ends. CPUs and memory are measured, and not written;
nor is the version. A GPU with an energy counter (Volta and later) gives differences of whole
millijoules, an older one, or a window too short for the counter with `approx_instant_energy`, power
times time.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Final

from ..grain import Grain, grain_of, significant_digits
from .cells import length_s, number
from .rows import ToolRow

__all__ = ["ALL_ENERGIES", "COLUMNS", "gpu_columns", "grain_of_column", "read_rows"]

COLUMNS: Final = frozenset({"start_time", "window_name", "elapsed_time"})
ALL_ENERGIES: Final = "cpu_energy + dram_energy + gpu_energy"
"""What our adapter adds up where there are CPUs; none of it but the GPUs stands in a file."""

_GPU: Final = re.compile(r"gpu\d+_energy")
_ROUNDING: Final = 4e-6
"""Of one difference in mJ: a counter at 1e7 J is a double to 2e-9 J."""
_RENEWED_S: Final = 0.1
"""How often a card renews its counter (A100: 101 ms, RTX 3090: 100 ms; arXiv 2312.02741)."""
_GPUS_ONLY: Final = (
    "Expected energies of CPUs; a CSV of Zeus holds those of GPUs only. Read cpu_energy and "
    "dram_energy of the Measurement that end_window returns"
)


def gpu_columns(record: Mapping[str, str]) -> list[str]:
    """Return the columns that hold the energy of a GPU."""
    return [c for c in record if _GPU.fullmatch(c)]


def grain_of_column(records: Sequence[tuple[str, Mapping[str, str]]], column: str) -> list[Grain]:
    """Say of each cell of a column whether it is a whole number of millijoules, as a counter's is.

    A cell that is no number is undecided.
    """
    digits = max(significant_digits(r[column]) for _, r in records)
    return [
        grain_of(_millijoules(r[column]), rounding=_ROUNDING, intervals=1.0, digits=digits)
        for _, r in records
    ]


def read_rows(records: Sequence[tuple[str, Mapping[str, str]]]) -> list[ToolRow]:
    """Return a row for each window, its `gpu_energy` the sum over the GPUs.

    Raises:
        InputError: a time, or an energy, is no number.

    """
    columns = gpu_columns(records[0][1])
    grains = [grain_of_column(records, c) for c in columns]
    return [
        _row(where, record, columns, [g[i] for g in grains])
        for i, (where, record) in enumerate(records)
    ]


def _row(
    where: str, record: Mapping[str, str], columns: Sequence[str], grains: Sequence[Grain]
) -> ToolRow:
    duration_s = length_s(where, "elapsed_time", record["elapsed_time"])
    energies_j = [number(where, c, record[c]) for c in columns]
    facts = {"gpus": str(len(columns))}
    shown = {"yes": "energy_counter", "no": "power_monitor"}
    if columns and all(g.whole in shown for g in grains):
        sources = sorted({shown[g.whole] for g in grains})
        facts |= {"gpu_mode": " + ".join(sources), "zeus_mode": " + ".join(["no CPUs", *sources])}
    lacks = dict.fromkeys((ALL_ENERGIES, "cpu_energy", "dram_energy"), _GPUS_ONLY)
    bad = next((c for c, e in zip(columns, energies_j, strict=True) if e <= 0), None)
    if not columns:
        lacks["gpu_energy"] = "Expected a column gpu<N>_energy; Zeus found no GPU"
    elif bad is not None:
        lacks["gpu_energy"] = (
            f"Expected {bad} above 0 J; got {record[bad]}: the window was shorter than the "
            "counter's period, or the counter was reset"
        )
    total_j = math.fsum(energies_j)
    return ToolRow(
        where=where,
        id=record["window_name"] or where,
        tool="zeus",
        duration_s=duration_s,
        duration_u_s=0.0,
        energies_j={} if "gpu_energy" in lacks else {"gpu_energy": total_j},
        # Either end falls anywhere into a period of the counter: two rectangular distributions.
        energies_u_j={"gpu_energy": _RENEWED_S / math.sqrt(6) * total_j / duration_s},
        facts=facts,
        end_s=number(where, "start_time", record["start_time"]) + duration_s,
        lacks=lacks,
    )


def _millijoules(text: str) -> float:
    try:
        return 1e3 * float(text)
    except ValueError:
        return math.nan
