"""Our own adapters, judged like the others: what a careful reading of counters gets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from ..figures import Claim, Figure, Part
from .tool import CHILDREN, Reported, Run, Tool

__all__ = ["WATTCAL"]

_PARTS: Final[Mapping[str, frozenset[Part]]] = {
    "rapl_package_j": frozenset({"package"}),
    "rapl_dram_j": frozenset({"dram"}),
    "rapl_psys_j": frozenset({"psys"}),
    "nvml_j": frozenset({"gpu"}),
}


def _read(run: Run) -> Reported:
    refused = run.report.get("refused")
    figures = [
        Figure(Claim(name, "energy_j", _PARTS[name]), value, window)
        for window, values in enumerate(run.report.get("energies_j", ()))
        for name, value in values.items()
        if name in _PARTS
    ]
    if refused:
        return Reported((), "refused", None, refused)
    return Reported(tuple(figures), "powercap")


WATTCAL: Final = Tool(
    name="wattcal",
    distribution="wattcal",
    environment="own",
    child=CHILDREN / "wattcal_child.py",
    read=_read,
)
