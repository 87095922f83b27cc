"""`wattcal calibrate`: record, compare, fit and report in one go."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ..errors import InputError
from .help import Help
from .needs_lab import needs_lab
from .record import add_plan_options, add_source_options, carry_out
from .recorded import meters_lost

if TYPE_CHECKING:
    from ..publishing.calibrated import Calibrated

__all__ = ["register"]

_CALIBRATE: Final = """\
Record a run, compare every tool with the reference meter, fit each, and write a profile for
each that can be corrected and one page on all of it. It stops where something stops it: a
meter that was lost (4), Ctrl-C (130), and it exits with 5 and the reasons where no tool can
be corrected. Whatever was recorded stays in the folder.

  wattcal calibrate -o node7                      with the meters of ./lab.toml
  wattcal calibrate --meter pzem-004t@/dev/ttyUSB0 -o node7
  wattcal calibrate --from runs/monday -o node7   a run that is there"""
_RUN: Final = "run"


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `calibrate`."""
    parser = commands.add_parser(
        "calibrate",
        help="record, compare, fit and report in one go",
        description=_CALIBRATE,
        formatter_class=Help,
    )
    parser.add_argument(
        "--from", dest="source", metavar="RUN", type=Path, help="do not record; take this run"
    )
    parser.add_argument(
        "--input",
        metavar="ID",
        action="append",
        default=[],
        help="the tool to correct; may be repeated (default: all that were recorded)",
    )
    parser.add_argument(
        "--id", metavar="LAB", default="local", help="first half of the profiles' ids (local)"
    )
    add_plan_options(parser, "standard")
    add_source_options(parser)
    parser.add_argument(
        "-o", "--output", metavar="DIR", type=Path, required=True, help="folder for the results"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.set_defaults(run=_calibrate)


@needs_lab
def _calibrate(arguments: argparse.Namespace) -> int:
    from ..publishing.calibrated import calibrate_run
    from ..recording.reader import read_run
    from .analyse import key_of
    from .output import print_json

    folder: Path = arguments.output
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"Expected {folder} to be new or empty; it is not. Choose another folder.")
    path = arguments.source
    if path is None:
        recording = argparse.Namespace(**{**vars(arguments), "output": folder / _RUN})
        path, interrupted, _ = carry_out(recording)
        if interrupted:
            print(f"wattcal: interrupted; what was recorded is in {path}", file=sys.stderr)
            return 130
        if meters_lost(path):
            return 4
    run = read_run(path)
    found = calibrate_run(run, folder, inputs=arguments.input, lab=arguments.id, key=key_of([run]))
    if arguments.json:
        print_json(found.to_json())
    else:
        print(_text(found))
    return 5 if found.verdict == "refused" else 0


def _text(found: Calibrated) -> str:
    from .output import filled
    from .report import choice_text, comparison_text

    lines = [comparison_text(found.comparison), "", choice_text(found.fits)]
    for fit in found.fits:
        if fit.verdict != "correction":
            grave = [r for r in fit.reasons if r.consequence != "flag"]
            lines += [filled(f"{fit.inputs[0]}: ", f"{r.code}: {r.message}") for r in grave]
    lines += [filled(f"{key}: ", f"no fit: {why}") for key, why in found.failed.items()]
    lines += [f"{key}: {path}" for key, path in found.profiles.items()]
    lines.append(f"the page: {found.page}")
    return "\n".join(lines)
