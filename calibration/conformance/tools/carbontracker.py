"""CarbonTracker: its two logs; power per component and epoch in W, the total in kWh.

What the fields claim (carbontracker README and tracker.py): "Average power usage (W) for cpu" is
the CPU's mean power in the epoch, of the RAPL zones package and dram; "Actual consumption" is the
energy of all components and epochs times the PUE that the log names, which is divided out here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from ...errors import InputError
from ...toolfiles.carbontracker import (
    Epoch,
    components,
    epochs,
    printed_energy_kwh,
    pue_of,
)
from ..figures import Claim, Figure, Part
from .tool import CHILDREN, Lines, Reported, Run, Tool

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
        seen = epochs("log", text)
    except InputError:
        nothing = Figure(Claim("Average power (cpu)", "power_w", _PARTS["cpu"]), None)
        return Reported((nothing,), file_says, log_says)
    names = tuple(dict.fromkeys(n for e in seen for n in e.powers_w))
    figures = [*_epoch_figures(seen, names)]
    if len(seen) == 1:
        figures += _total(text, output, frozenset(p for n in names for p in _PARTS[n]))
    return Reported(tuple(figures), file_says, log_says)


def _epoch_figures(seen: Sequence[Epoch], names: Sequence[str]) -> Iterator[Figure]:
    for window, epoch in enumerate(seen):
        yield Figure(Claim("Duration", "duration_s", frozenset()), epoch.duration_s, window)
        for name in names:
            claim = Claim(f"Average power ({name})", "power_w", _PARTS[name])
            yield Figure(claim, epoch.power_w(name), window)


def _total(text: str, output: str, parts: frozenset[Part]) -> Iterator[Figure]:
    kwh = printed_energy_kwh(output)
    if kwh is not None:
        value_j = kwh * 3.6e6 / (pue_of(text) or 1.0)
        yield Figure(Claim("Actual consumption / PUE", "energy_j", parts), value_j)


def _text(folder: Path, ending: str) -> str:
    paths = sorted(folder.glob(f"*{ending}"))
    return paths[-1].read_text(encoding="utf-8", errors="replace") if paths else ""


def _lines(ask: Mapping[str, float]) -> Lines:
    epochs = int(ask.get("tasks", 1))
    options = f"epochs={epochs}, epochs_before_pred=0, monitor_epochs={epochs}"
    if "interval_s" in ask:
        options += f", update_interval={ask['interval_s']:g}"
    load = ("import re", "from carbontracker.tracker import CarbonTracker")
    make = (
        f'tracker = CarbonTracker({options}, log_dir=".")',
        "time.sleep(1.0)  # its thread looks for components first",
    )
    close = ("tracker.stop()",)
    return Lines(load, make, "tracker.epoch_start()", "tracker.epoch_end()", close, _says)


def _says(claim: Claim) -> tuple[str, ...]:
    text = '{} = "".join(path.read_text() for path in Path().glob("*_{}.log"))'
    log = text.format("log", "carbontracker")
    if claim.quantity == "duration_s":
        return log, r'says = float(re.findall(r"Duration: 0:00:(\S+)", log)[-1])'
    if claim.quantity == "power_w":
        name = claim.field.partition("(")[2].rstrip(")")
        watts = rf'watts = re.findall(r"\(W\) for {name}: (\S+)", log)'
        return log, watts, 'says = None if watts[-1:] in ([], ["None"]) else float(watts[-1])'
    return (
        log,
        text.format("printed", "output"),
        r'pue = float(re.search(r"PUE coefficient of (\d+\.\d+)", log)[1])',
        r'says = float(re.search(r"Energy:\s+(\S+) kWh", printed)[1]) * 3.6e6 / pue',
    )


CARBONTRACKER: Final = Tool(
    name="carbontracker",
    distribution="carbontracker",
    environment="peers",
    child=CHILDREN / "carbontracker_child.py",
    read=_read,
    lines=_lines,
)
