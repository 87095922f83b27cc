"""CodeCarbon: `emissions.csv`, or its task file; energies in kWh, powers in W, durations in s.

What the columns claim (codecarbon documentation, "Output"): `cpu_energy`, `gpu_energy` and
`cpu_power`, `gpu_power` are the energy and power of CPU and GPU; with `rapl_include_dram` the CPU's
figures include memory ("Parameters"). The memory's own column is a constant and is not judged.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from ..figures import Claim, Figure, Part
from .tool import CHILDREN, Lines, Reported, Run, Tool

__all__ = ["CODECARBON"]

_J_PER_KWH: Final = 3.6e6
_METHOD: Final = re.compile(r"CPU Tracking Method: (.*)")


def _read(run: Run) -> Reported:
    method = _METHOD.search(run.log)
    said = method.group(1).strip() if method else None
    windows = len(run.report.get("windows", ()))
    rows = _rows(run.folder)
    if not rows:
        nothing = Figure(Claim("cpu_energy", "energy_j", frozenset({"package"})), None)
        return Reported((nothing,), None, said)
    asked = bool(run.scenario.ask.get("dram"))
    figures = [f for i, row in enumerate(rows[-windows:]) for f in _figures(row, i, dram=asked)]
    return Reported(tuple(figures), None, said)


def _rows(folder: Path) -> list[dict[str, str]]:
    tasks = sorted(folder.glob("emissions_*.csv"))
    path = tasks[0] if tasks else folder / "emissions.csv"
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _figures(row: Mapping[str, str], window: int, *, dram: bool) -> Iterator[Figure]:
    cpu: frozenset[Part] = frozenset({"package", "dram"}) if dram else frozenset({"package"})
    gpu: frozenset[Part] = frozenset({"gpu"})
    for name, parts in (("cpu", cpu), ("gpu", gpu)):
        energy_j = float(row[f"{name}_energy"]) * _J_PER_KWH
        yield Figure(Claim(f"{name}_energy", "energy_j", parts), energy_j, window)
        power_w = float(row[f"{name}_power"])
        yield Figure(Claim(f"{name}_power", "power_w", parts), power_w, window)
    yield Figure(Claim("duration", "duration_s", frozenset()), float(row["duration"]), window)


def _lines(ask: Mapping[str, float]) -> Lines:
    options = ['country_iso_code="FRA"']
    if "interval_s" in ask:
        options.append(f"measure_power_secs={ask['interval_s']:g}")
    if ask.get("dram"):
        options.append("rapl_include_dram=True")
    load = ("import csv", "from codecarbon import OfflineEmissionsTracker")
    make = [f"options = dict({', '.join(options)})"]
    if ask.get("warm"):
        make.append('first = OfflineEmissionsTracker(**options, output_file="first.csv")')
        make += ["first.start()  # the first one of a process is slow", "first.stop()"]
    make.append("tracker = OfflineEmissionsTracker(**options)")
    begin, end, name = "tracker.start()", "tracker.stop()", "emissions.csv"
    close: tuple[str, ...] = ()
    if ask.get("tasks"):
        begin, end, name = (
            'tracker.start_task("task {i}")', 'tracker.stop_task("task {i}")', "emissions_*.csv",
        )  # fmt: skip
        close = ("tracker.stop()",)
    rows = f'rows = [row for path in Path().glob("{name}") for row in csv.DictReader(path.open())]'

    def says(claim: Claim) -> tuple[str, ...]:
        factor = " * 3.6e6" if claim.quantity == "energy_j" else ""
        return rows, f'says = float(rows[-1]["{claim.field}"]){factor} if rows else None'

    return Lines(load, tuple(make), begin, end, close, says)


CODECARBON: Final = Tool(
    name="codecarbon",
    distribution="codecarbon",
    environment="own",
    child=CHILDREN / "codecarbon_child.py",
    read=_read,
    lines=_lines,
)
