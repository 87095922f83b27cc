"""The powercap tree: which energy counters there are, and which of them count the same energy.

    class/powercap/intel-rapl:0      -> ../../devices/virtual/powercap/intel-rapl/intel-rapl:0
    class/powercap/intel-rapl:0:1    (a sub-zone; the numbers are hexadecimal)
        name                  package-0, package-0-die-1, core, uncore, dram, psys
        energy_uj             microjoules, back to 0 after max_energy_range_uj
        max_energy_range_uj

(Linux, Documentation/power/powercap/powercap.rst and drivers/powercap.) A package contains core
and uncore; dram is energy of its own although it is nested in the package; psys contains the
package. `intel-rapl-mmio` and `intel-rapl-tpmi` are other doors to zones of the same name. Parts
with several dies may show one socket's counter once per die (mlco2/codecarbon#1274).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ..errors import NotAvailable

__all__ = ["INPUTS", "Zone", "find_zones", "zones_of_input"]

INPUTS: Final = ("rapl_package", "rapl_dram", "rapl_core", "rapl_psys")

_ZONE: Final = re.compile(r"(intel-rapl(?:-mmio|-tpmi)?):([0-9a-f]+)(?::([0-9a-f]+))?")
_PACKAGE: Final = re.compile(r"package-(\d+)(?:-die-(\d+))?")
_DOORS: Final = ("intel-rapl", "intel-rapl-tpmi", "intel-rapl-mmio")


@dataclass(frozen=True, slots=True)
class Zone:
    """One counter: its id as the kernel names it, its name, where it lies, and where it wraps.

    `socket` is the package it belongs to, `None` for a zone outside any package. `wrap_uj` is in
    microjoules.
    """

    id: str
    name: str
    path: Path
    wrap_uj: int
    door: str
    socket: int | None

    @property
    def kind(self) -> str:
        """Return `package`, `dram`, `core`, `uncore`, `psys`, or the zone's own name."""
        return "package" if _PACKAGE.fullmatch(self.name) else self.name


def find_zones(root: Path) -> tuple[Zone, ...]:
    """Return all zones below `root` (which plays /sys), each once, in the order of their numbers.

    A zone that another door shows as well is taken through the first of MSR, TPMI and MMIO.

    Raises:
        NotAvailable: there is no powercap tree, or none of its zones is one of RAPL.

    """
    base = root / "class" / "powercap"
    if not base.is_dir():
        raise NotAvailable(
            f"Expected the RAPL counters under {base}; the kernel shows none. Virtual machines "
            "rarely have them; on a real one load the module: sudo modprobe intel_rapl_msr"
        )
    places: dict[tuple[str, tuple[int, ...]], Path] = {}
    for entry in [*base.iterdir(), *base.glob("intel-rapl*:*/intel-rapl*:*:*")]:
        match = _ZONE.fullmatch(entry.name)
        if match and (entry / "energy_uj").exists():
            numbers = tuple(int(n, 16) for n in match.groups()[1:] if n is not None)
            places.setdefault((match.group(1), numbers), entry)
    names = {place: _name(path) for place, path in places.items()}
    zones: list[Zone] = []
    first_door: dict[tuple[str, int | None], str] = {}
    for door, numbers in sorted(places, key=lambda p: (_DOORS.index(p[0]), p[1])):
        path = places[door, numbers]
        owner = _PACKAGE.fullmatch(names.get((door, numbers[:1]), ""))
        socket = int(owner.group(1)) if owner else None
        name = names[door, numbers]
        if first_door.setdefault((name, socket), door) == door:
            zones.append(Zone(path.name, name, path, _wrap_uj(path), door, socket))
    if not zones:
        raise NotAvailable(
            f"Expected RAPL zones (intel-rapl:0, ...) under {base}; it has none. Load the module: "
            "sudo modprobe intel_rapl_msr"
        )
    return tuple(zones)


def zones_of_input(zones: tuple[Zone, ...], input_id: str) -> tuple[Zone, ...]:
    """Return the zones whose sum is the input `rapl_package`, `rapl_dram`, ..."""
    kind = input_id.removeprefix("rapl_")
    return tuple(z for z in zones if z.kind == kind)


def _name(path: Path) -> str:
    try:
        return (path / "name").read_text(encoding="utf-8").strip()
    except (OSError, ValueError):
        raise NotAvailable(
            f"Expected the name of the counter in {path / 'name'}; it cannot be read. Without it "
            "nobody knows what is counted."
        ) from None


def _wrap_uj(path: Path) -> int:
    try:
        value = int((path / "max_energy_range_uj").read_text())
    except (OSError, ValueError):
        value = 0
    if value <= 0:
        raise NotAvailable(
            f"Expected the range of the counter in {path / 'max_energy_range_uj'}; it holds none. "
            "Without it a wrap cannot be told from a reset."
        )
    return value
