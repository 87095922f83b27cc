"""Serial ports: whether they may be opened, who has them open, and what else reaches for them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from .finding import Finding

if TYPE_CHECKING:
    from ..instruments import SerialPort

__all__ = ["port_findings", "udev_rule"]

_SLOW_MS = 1  # the smallest setting of an FTDI latency timer


def port_findings(root: Path, ports: Sequence[SerialPort]) -> tuple[Finding, ...]:
    """Say of each port, and of what reaches for ports below `root`, how it stands."""
    return (*_none(ports), *(f for p in ports for f in _of_port(p)), *_rivals(root, ports))


def udev_rule(ports: Sequence[SerialPort]) -> str:
    """Return one rule for all bridges: this user may open them, modem and timer leave them alone.

    `uaccess` gives the port to whoever sits at the computer; a file name before 73 is needed for
    it (systemd's 73-seat-late.rules).
    """
    lines = []
    for vid, pid in sorted({(p.vid, p.pid) for p in ports if p.vid and p.pid}):
        lines += [
            f'SUBSYSTEM=="tty", ATTRS{{idVendor}}=="{vid:04x}", '
            f'ATTRS{{idProduct}}=="{pid:04x}", \\',
            '  TAG+="uaccess", ENV{ID_MM_DEVICE_IGNORE}="1"',
        ]
    if any(p.latency_ms is not None for p in ports):
        lines += [
            'ACTION=="add", SUBSYSTEM=="usb-serial", DRIVERS=="ftdi_sio", \\',
            '  ATTR{latency_timer}="1"',
        ]
    return "\n".join(lines)


def _none(ports: Sequence[SerialPort]) -> Iterator[Finding]:
    if not any(p.vid is not None for p in ports):
        yield Finding(
            "no_usb_port", "USB serial ports", "absent", "none",
            "no meter on USB can be read; one on another computer can: "
            "MODEL@rfc2217://HOST:PORT",
            "plug the meter in; if it is, look at the last lines of:", ("sudo dmesg | tail",),
        )  # fmt: skip


def _of_port(port: SerialPort) -> Iterator[Finding]:
    name = f"{port.device} ({', '.join(x for x in (port.usb_id, port.bridge, port.driver) if x)})"
    if port.vid is None:
        name = f"{port.device} ({port.bridge})"
    if port.console:
        yield Finding(
            "port_console", name, "absent", "the system's own console; leave it alone",
        )  # fmt: skip
        return
    if not port.openable:
        yield _closed(port, name)
    elif port.held_by:
        yield Finding(
            "port_held", name, "bad", f"open in {', '.join(port.held_by)}",
            "two readers of one port each get a part of the bytes, and neither a whole answer",
            "end the other program before recording",
        )  # fmt: skip
    else:
        yield Finding("port", name, "good", f"free{_lasting(port)}")
    if port.latency_ms is not None and port.latency_ms > _SLOW_MS:
        device = Path(port.device).name
        yield Finding(
            "latency_timer", f"{port.device} latency timer", "bad", f"{port.latency_ms} ms",
            f"every short answer comes up to {port.latency_ms} ms late, and its time with it",
            "until it is plugged in again (for good: the udev rule below):",
            (
                "echo 1 | sudo tee \\",
                f"  /sys/bus/usb-serial/devices/{device}/latency_timer",
            ),
        )  # fmt: skip


def _closed(port: SerialPort, name: str) -> Finding:
    if port.group is None:
        return Finding(
            "port_missing", name, "bad", "the kernel has the port, but /dev does not show it",
            "the meter cannot be read", "in a container, hand the device over:",
            (f"docker run --device {port.device} ...",),
        )  # fmt: skip
    if not port.shared or port.group == "root":
        return Finding(
            "port_closed", name, "bad", f"belongs to {port.group} alone",
            "the meter cannot be read", "give it to a group by a rule: the udev rule below",
        )  # fmt: skip
    return Finding(
        "port_closed", name, "bad",
        f"belongs to the group {port.group}, and this user is not in it",
        "the meter cannot be read", "then log in again (or use the udev rule below):",
        (f"sudo usermod -aG {port.group} $USER",),
    )  # fmt: skip


def _lasting(port: SerialPort) -> str:
    if port.by_id is not None:
        return f"; its lasting name is {port.by_id}"
    if port.location is not None:
        return f"; it reports no serial number, only its place on the bus, {port.location}"
    return ""


def _rivals(root: Path, ports: Sequence[SerialPort]) -> Iterator[Finding]:
    from ..instruments import brltty_rules, processes, taken_by_brltty

    # Ubuntu bug 1958224: on 22.04 the bridge is taken, and the port vanishes.
    rules = brltty_rules(root)
    at_risk = [p.device for p in ports if taken_by_brltty(p, rules)]
    if at_risk or processes(root, "brltty"):
        which = f"{', '.join(at_risk)}: named in " if at_risk else "running"
        files = ", ".join(f"/{p.relative_to(root)}" for p in rules) if at_risk else ""
        yield Finding(
            "brltty", "brltty (Braille terminals)", "bad", which + files,
            "it takes serial bridges for Braille displays: the port vanishes seconds after the "
            "meter is plugged in", "unless a Braille display is in use:",
            ("sudo apt remove brltty",),
        )  # fmt: skip
    else:
        found = "its rules leave these ports alone" if rules else "not there"
        yield Finding("brltty", "brltty (Braille terminals)", "good", found)
    if not processes(root, "ModemManager"):
        yield Finding("modem_manager", "ModemManager", "good", "not running")
        return
    usb = [p for p in ports if p.vid is not None]
    open_to_it = [p.device for p in usb if not p.modem_ignored]
    if usb and not open_to_it:
        yield Finding("modem_manager", "ModemManager", "good", "told to leave these ports alone")
        return
    yield Finding(
        "modem_manager", "ModemManager", "bad",
        f"running, and not told to leave {', '.join(open_to_it) or 'meters'} alone",
        "it may write modem commands into a new port; a meter can take them for its own",
        "the udev rule below, or, if there is no modem:",
        ("sudo systemctl disable --now ModemManager",),
    )  # fmt: skip
