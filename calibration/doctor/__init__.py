"""What stands in the way of a measurement: ports, packages and counters, and what each one costs.

Reads files of the kernel and of Python's installation only; it opens no port and changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import NotInstalled
from .counters import counter_findings
from .finding import Finding
from .machine import machine_findings
from .packages import package_findings
from .ports import port_findings, udev_rule

if TYPE_CHECKING:
    from ..instruments import SerialPort

__all__ = [
    "Diagnosis",
    "Finding",
    "counter_findings",
    "examine",
    "machine_findings",
    "package_findings",
    "port_findings",
    "udev_rule",
]


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """The serial ports of a computer, what was found, and one udev rule against all of it.

    `udev_rule` is None where no port needs one.
    """

    ports: tuple[SerialPort, ...]
    findings: tuple[Finding, ...]
    udev_rule: str | None


def examine(root: Path = Path("/")) -> Diagnosis:
    """Look at the computer below `root`, in the order in which a laboratory needs it."""
    rest = (*machine_findings(root), *counter_findings(root), *package_findings())
    try:
        from ..instruments import serial_ports
    except NotInstalled as error:
        foreign = Finding(
            "foreign_package", "package drivers", "bad", str(error), "no meter can be read"
        )
        return Diagnosis((), (foreign, *rest), None)
    ports = serial_ports(root)
    found = port_findings(root, ports)
    needed = any("udev rule" in f.remedy for f in found)
    return Diagnosis(ports, (*found, *rest), udev_rule(ports) if needed else None)
