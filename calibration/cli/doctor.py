"""`wattcal doctor`: what stands in the way of a measurement on this computer."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from typing import TYPE_CHECKING

from .help import Help

if TYPE_CHECKING:
    from ..doctor import Finding

__all__ = ["register"]

_DOCTOR = """\
Look at what a measurement needs on this computer: serial ports, the right to open them and who
else reaches for them, the counters that estimators read, and which Python distribution owns the
packages. Nothing is opened and nothing is changed. Each trouble says what it costs and what to do.

example:
  wattcal doctor --json"""

_MARKS = {"good": "ok", "absent": "none", "bad": "BAD"}


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `doctor`."""
    doctor = commands.add_parser(
        "doctor",
        help="what stands in the way of a measurement here",
        description=_DOCTOR,
        formatter_class=Help,
    )
    doctor.add_argument("--json", action="store_true", help="print JSON instead of text")
    doctor.set_defaults(run=_doctor)


def _doctor(arguments: argparse.Namespace) -> int:
    from ..doctor import examine
    from .output import print_json

    diagnosis = examine()
    if arguments.json:
        print_json(asdict(diagnosis))
        return 0
    for finding in diagnosis.findings:
        print(_paragraph(finding))
    if diagnosis.udev_rule is not None:
        print(
            "\nThe udev rule, for all ports, to paste; then plug the meters in again:\n\n"
            "sudo tee /etc/udev/rules.d/70-wattcal.rules <<'END'\n"
            f"{diagnosis.udev_rule}\nEND\nsudo udevadm control --reload"
        )
    bad = sum(f.state == "bad" for f in diagnosis.findings)
    count = len(diagnosis.findings)
    print(f"\n{bad} of {count} stand in the way." if bad else "\nNothing stands in the way.")
    return 0


def _paragraph(finding: Finding) -> str:
    from .output import filled

    lines = [filled(f"{_MARKS[finding.state]:<4}  ", f"{finding.subject}: {finding.found}")]
    if finding.cost:
        lines.append(filled("      costs  ", finding.cost))
    if finding.remedy:
        lines.append(filled("      do     ", finding.remedy))
    lines += [f"               {line}" for line in finding.commands]
    return "\n".join(lines)
