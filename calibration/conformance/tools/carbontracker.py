"""CarbonTracker: its two logs; power per component and epoch in W, the total in kWh.

What the fields claim (carbontracker README and tracker.py): "Average power usage (W) for cpu" is
the CPU's mean power in the epoch, of the RAPL zones package and dram; "Actual consumption" is the
energy of all components and epochs times the PUE that the log names, which is divided out here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from ..._audit.carbontracker import components, epochs, printed_energy_kwh, pue_of
from ...errors import InputError
from ..figures import Claim, Figure, Part
from .tool import CHILDREN, Reported, Run, Tool

__all__ = ["CARBONTRACKER"]

_PARTS: Final[Mapping[str, frozenset[Part]]] = {
    "cpu": frozenset({"package", "dram"}),
    "gpu": frozenset({"gpu"}),
}
_TDP: Final = re.compile(r"Using (?:average )?TDP of")


def _read(run: Run) -> Reported:
    text = _text(run.folder, "_carbontracker.log")
    output = _text(run.folder, "_carbontracker_output.log")
    found = components(text)
    zones = any(d.startswith(("cpu:", "dram:")) for d in found.get("cpu", ()))
    file_says = None if not found else "RAPL zones" if zones else None
    log_says = "half of a TDP" if _TDP.search(run.log) else None
    try:
        durations_s, powers_w = epochs("log", text)
    except InputError:
        nothing = Figure(Claim("Average power (cpu)", "power_w", _PARTS["cpu"]), None)
        return Reported((nothing,), file_says, log_says)
    figures = [*_epoch_figures(durations_s, powers_w)]
    if len(durations_s) == 1:
        figures += _total(text, output, frozenset(p for c in powers_w for p in _PARTS[c]))
    return Reported(tuple(figures), file_says, log_says)


def _epoch_figures(
    durations_s: list[float], powers_w: Mapping[str, list[float | None]]
) -> Iterator[Figure]:
    for window, duration_s in enumerate(durations_s):
        yield Figure(Claim("Duration", "duration_s", frozenset()), duration_s, window)
        for name, column in powers_w.items():
            claim = Claim(f"Average power ({name})", "power_w", _PARTS[name])
            yield Figure(claim, column[window], window)


def _total(text: str, output: str, parts: frozenset[Part]) -> Iterator[Figure]:
    kwh = printed_energy_kwh(output)
    if kwh is not None:
        value_j = kwh * 3.6e6 / (pue_of(text) or 1.0)
        yield Figure(Claim("Actual consumption / PUE", "energy_j", parts), value_j)


def _text(folder: Path, ending: str) -> str:
    paths = sorted(folder.glob(f"*{ending}"))
    return paths[-1].read_text(encoding="utf-8", errors="replace") if paths else ""


CARBONTRACKER: Final = Tool(
    name="carbontracker",
    distribution="carbontracker",
    environment="peers",
    child=CHILDREN / "carbontracker_child.py",
    read=_read,
)
