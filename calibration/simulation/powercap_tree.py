"""A powercap tree in a folder: what Linux shows under /sys for RAPL, with counters of our own.

Layout as the kernel's powercap framework makes it (Documentation/power/powercap/powercap.rst)::

    devices/virtual/powercap/intel-rapl/            name, subsystem -> class/powercap
    devices/virtual/powercap/intel-rapl/intel-rapl:0/        name energy_uj max_energy_range_uj
    devices/virtual/powercap/intel-rapl/intel-rapl:0/intel-rapl:0:0/                  (dram)
    class/powercap/intel-rapl, intel-rapl:0, intel-rapl:0:0  -> the directories above

Zone numbers are hexadecimal. Tools keep the files open, so a counter is rewritten in place with
one `pwrite` of constant width: a reader sees the old number or the new one. Every zone starts from
a value of its own, because CodeCarbon takes counters that read alike for mirrors of one another.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

__all__ = [
    "MAX_ENERGY_RANGE_UJ",
    "Zone",
    "ZoneCounter",
    "build_tree",
    "counter_text",
    "make_tree",
]

# What an Intel package with units of 61 uJ reports: 2^32 - 1 units of 61.035 uJ.
MAX_ENERGY_RANGE_UJ = 262_143_328_850
_WIDTH = 12
# One unit of the energy counter is 2^-14 J (Intel SDM volume 3, MSR_RAPL_POWER_UNIT).
_UNITS_PER_J = 1 << 14


@dataclass(frozen=True, slots=True)
class Zone:
    """One zone of the tree: its place (`0`, or `0:0` for a nested one), its name, its start.

    The counter starts again from 0 behind `range_uj`; where `range_readable` is not set, the file
    that says so cannot be read.
    """

    place: str
    name: str
    start_uj: int
    range_uj: int = MAX_ENERGY_RANGE_UJ
    range_readable: bool = True

    @property
    def directory(self) -> str:
        """Return its directory, relative to `devices/virtual/powercap/intel-rapl`."""
        parts = self.place.split(":")
        return "/".join(f"intel-rapl:{':'.join(parts[: i + 1])}" for i in range(len(parts)))


def counter_text(energy_j: float, start_uj: int, range_uj: int = MAX_ENERGY_RANGE_UJ) -> bytes:
    """Return the content of `energy_uj` after `energy_j` joules, in whole units and 12 digits."""
    units = int(energy_j * _UNITS_PER_J)
    microjoules = (start_uj + units * 15_625 // 256) % range_uj
    return b"%0*d\n" % (_WIDTH, microjoules)


def build_tree(root: Path, *, packages: int = 1, dram: bool = False) -> tuple[Zone, ...]:
    """Create a tree of whole packages under `root` (which plays /sys) and return its zones."""
    zones: list[Zone] = []
    for number in range(packages):
        # Far apart, and twelve digits long from the start.
        zones.append(
            Zone(f"{number:x}", f"package-{number}", 100_000_000_000 + 7_654_321_000 * number)
        )
        if dram:
            zones.append(Zone(f"{number:x}:0", "dram", 130_000_000_000 + 3_210_987_000 * number))
    make_tree(root, zones)
    return tuple(zones)


def make_tree(root: Path, zones: Sequence[Zone]) -> None:
    """Create the tree of these zones under `root`, a zone before those nested in it."""
    control = root / "devices" / "virtual" / "powercap" / "intel-rapl"
    links = root / "class" / "powercap"
    control.mkdir(parents=True)
    links.mkdir(parents=True)
    (control / "enabled").write_text("1\n", encoding="ascii")
    (control / "subsystem").symlink_to(_relative(links, control))
    (links / "intel-rapl").symlink_to(_relative(control, links))
    for zone in zones:
        folder = control / zone.directory
        folder.mkdir()
        (folder / "name").write_text(f"{zone.name}\n", encoding="ascii")
        (folder / "enabled").write_text("1\n", encoding="ascii")
        limit = folder / "max_energy_range_uj"
        limit.write_text(f"{zone.range_uj}\n", encoding="ascii")
        if not zone.range_readable:
            limit.chmod(0)
        first = counter_text(0.0, zone.start_uj, zone.range_uj)
        (folder / "energy_uj").write_bytes(first)
        (links / f"intel-rapl:{zone.place}").symlink_to(_relative(folder, links))


def _relative(target: Path, start: Path) -> str:
    return os.path.relpath(target, start)


class ZoneCounter:
    """An open `energy_uj`, rewritten in place."""

    def __init__(self, root: Path, zone: Zone) -> None:
        self.path = root / "devices/virtual/powercap/intel-rapl" / zone.directory / "energy_uj"
        self._descriptor = os.open(self.path, os.O_WRONLY)
        self._zone = zone

    def write(self, energy_j: float) -> None:
        """Show the counter after `energy_j` joules since its start."""
        text = counter_text(energy_j, self._zone.start_uj, self._zone.range_uj)
        os.pwrite(self._descriptor, text, 0)

    def close(self) -> None:
        """Close the file and leave the last value standing."""
        os.close(self._descriptor)
