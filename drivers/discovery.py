"""Serial ports of this computer as the kernel shows them, and what else reaches for them.

Facts only, read from /sys, /proc, /dev and the rules of udev below a root (so that a tree of files
can stand in for a computer); no port is opened here. What is behind a port is found by talking to
it, see `probing`.

A vendor and product id names the bridge, never the meter: the same chips sit in half of all
adapters. Sources: the list usb.ids; Linux Documentation/ABI/testing/sysfs-bus-usb-serial (the
latency timer); proc(5) (`comm` is cut to 15 characters); udev(7).
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

__all__ = ["BRIDGES", "SerialPort", "brltty_rules", "processes", "serial_ports", "taken_by_brltty"]

BRIDGES: Final = {
    (0x0403, 0x6001): "FTDI FT232R",
    (0x0403, 0x6010): "FTDI FT2232",
    (0x0403, 0x6011): "FTDI FT4232H",
    (0x0403, 0x6014): "FTDI FT232H",
    (0x0403, 0x6015): "FTDI FT-X",
    (0x04D8, 0x00DD): "Microchip MCP2221",
    (0x0483, 0x5740): "STM32 virtual COM port",
    (0x067B, 0x2303): "Prolific PL2303",
    (0x10C4, 0xEA60): "Silicon Labs CP210x",
    (0x1A86, 0x5523): "WCH CH341",
    (0x1A86, 0x55D3): "WCH CH343",
    (0x1A86, 0x55D4): "WCH CH9102",
    (0x1A86, 0x7523): "WCH CH340",
    (0x2341, 0x0043): "Arduino Uno",
}
_RULES: Final = ("etc/udev/rules.d", "run/udev/rules.d", "usr/lib/udev/rules.d", "lib/udev/rules.d")


@dataclass(frozen=True, slots=True)
class SerialPort:
    """A serial port: its device, its bridge, its lasting name, and who may and does use it.

    `vid` and `pid` are None for a port that is not on USB. `by_id` is its name under
    /dev/serial/by-id, `location` its place on the bus (all that tells apart bridges that report no
    serial number), `driver` the kernel's. `latency_ms` is how long an FTDI bridge holds back a
    short answer, in ms (None: no such timer). `group` owns the device and `shared` says that the
    group may read and write it; `openable` is whether this user may. `held_by` names the processes
    that have it open, as far as this user can see. `modem_ignored` is whether ModemManager has been
    told to leave it alone (None: not known). `console` says that the system itself talks there.
    """

    device: str
    vid: int | None = None
    pid: int | None = None
    product: str = ""
    serial_number: str | None = None
    location: str | None = None
    driver: str | None = None
    by_id: str | None = None
    latency_ms: int | None = None
    group: str | None = None
    shared: bool = False
    openable: bool = True
    held_by: tuple[str, ...] = ()
    modem_ignored: bool | None = None
    console: bool = False

    @property
    def bridge(self) -> str:
        """Return what the vendor and product id stand for."""
        if self.vid is None or self.pid is None:
            return "Bluetooth" if self.device.startswith("/dev/rfcomm") else "built in"
        return BRIDGES.get((self.vid, self.pid), self.product or "unknown bridge")

    @property
    def usb_id(self) -> str | None:
        """Return vendor and product id as `lsusb` prints them."""
        return None if self.vid is None else f"{self.vid:04x}:{self.pid:04x}"


def serial_ports(root: Path = Path("/")) -> tuple[SerialPort, ...]:
    """Return the serial ports that the kernel shows below `root`, those on USB first.

    Pseudo-terminals are never among them: whoever has one knows its name.
    """
    links = _links(root)
    holders = _holders(root)
    found = []
    for entry in (root / "sys/class/tty").glob("*"):
        usb = _usb_parent(entry)
        if usb is None and not _is_built_in(entry):
            continue
        group, shared, openable = _rights(root / "dev" / entry.name)
        found.append(
            SerialPort(
                device=f"/dev/{entry.name}",
                vid=int(_text(usb / "idVendor"), 16) if usb else None,
                pid=int(_text(usb / "idProduct"), 16) if usb else None,
                product=_text(usb / "product") if usb else "",
                serial_number=(_text(usb / "serial") or None) if usb else None,
                location=usb.name if usb else None,
                driver=_driver(entry),
                by_id=links.get(entry.name),
                latency_ms=_number(entry / "device/latency_timer"),
                group=group,
                shared=shared,
                openable=openable,
                held_by=holders.get(entry.name, ()),
                modem_ignored=_modem_ignored(root, entry),
                console=_text(entry / "console") == "Y",
            )
        )
    return tuple(sorted(found, key=lambda p: (p.vid is None, _natural(p.device))))


def processes(root: Path, name: str) -> tuple[int, ...]:
    """Return the ids of the running processes of this name (at most 15 characters count)."""
    return tuple(
        sorted(
            int(p.parent.name) for p in (root / "proc").glob("[0-9]*/comm") if _text(p) == name[:15]
        )
    )


def brltty_rules(root: Path = Path("/")) -> tuple[Path, ...]:
    """Return the udev rules by which the Braille terminal brltty takes serial bridges."""
    found: dict[str, Path] = {}
    for folder in _RULES:  # a file hides those of its name in later folders; an empty one too
        for path in sorted((root / folder).glob("*brltty*.rules")):
            found.setdefault(path.name, path)
    return tuple(p for p in found.values() if _text(p))


def taken_by_brltty(port: SerialPort, rules: tuple[Path, ...]) -> bool:
    """Tell whether a rule in force (not a comment) names this port's bridge.

    Rules that also ask for a maker's name are those of real Braille displays; they leave meters
    alone.
    """
    if port.vid is None or port.pid is None:
        return False
    named = re.compile(
        rf'PRODUCT}}=="{port.vid:x}/{port.pid:x}/'
        rf'|idVendor}}=="{port.vid:04x}".*idProduct}}=="{port.pid:04x}"',
        re.IGNORECASE,
    )
    lines = [line.strip() for path in rules for line in _text(path).splitlines()]
    return any(
        named.search(line) and not line.startswith("#") and "manufacturer}" not in line
        for line in lines
    )


def _usb_parent(entry: Path) -> Path | None:
    """Return the USB device above a tty, or None for a port that is not on USB."""
    device = entry / "device"
    if not device.exists():
        return None
    for parent in device.resolve().parents:
        if (parent / "idVendor").is_file() and (parent / "idProduct").is_file():
            return parent
    return None


def _is_built_in(entry: Path) -> bool:
    """Tell a port with hardware behind it; `type` is 0 for the empty places of the 8250 driver."""
    if not (entry / "device").exists():
        return False
    return entry.name.startswith("rfcomm") or bool(_number(entry / "type"))


def _driver(entry: Path) -> str | None:
    link = entry / "device/driver"
    return link.resolve().name if link.exists() else None


def _links(root: Path) -> dict[str, str]:
    """Return the lasting name of each device."""
    try:
        names = sorted((root / "dev/serial/by-id").iterdir())
    except OSError:
        return {}
    return {
        Path(os.readlink(p)).name: f"/dev/serial/by-id/{p.name}" for p in names if p.is_symlink()
    }


def _holders(root: Path) -> dict[str, tuple[str, ...]]:
    """Name, by device, the other processes that have it open."""
    found: dict[str, list[str]] = {}
    for process in sorted((root / "proc").glob("[0-9]*"), key=lambda p: int(p.name)):
        if process.name == str(os.getpid()):
            continue
        try:
            targets = {os.readlink(fd) for fd in (process / "fd").iterdir()}
        except OSError:  # of another user, or gone meanwhile
            continue
        for target in targets:
            if target.startswith("/dev/"):
                who = f"{_text(process / 'comm') or 'a process'} ({process.name})"
                found.setdefault(target.removeprefix("/dev/"), []).append(who)
    return {device: tuple(names) for device, names in found.items()}


def _modem_ignored(root: Path, entry: Path) -> bool | None:
    """Look into udev's database; Linux lists it under the device's numbers."""
    number = _text(entry / "dev")
    record = _text(root / f"run/udev/data/c{number}") if number else ""
    return "E:ID_MM_DEVICE_IGNORE=1" in record.splitlines() if record else None


def _rights(node: Path) -> tuple[str | None, bool, bool]:
    """Return (group, whether the group may read and write, whether this user may)."""
    try:
        found = node.stat()
    except OSError:
        return None, False, False
    import grp  # absent where there are no serial groups either

    try:
        group = grp.getgrgid(found.st_gid).gr_name
    except KeyError:
        group = str(found.st_gid)
    return group, found.st_mode & 0o060 == 0o060, os.access(node, os.R_OK | os.W_OK)


def _natural(name: str) -> tuple[str, int]:
    digits = re.search(r"\d+$", name)
    return (name[: digits.start()], int(digits[0])) if digits else (name, -1)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def _number(path: Path) -> int | None:
    text = _text(path)
    return int(text) if text.isdigit() else None
