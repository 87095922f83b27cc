"""`wattcal correct`: apply a profile to what a tool wrote; works in the bare install."""

from __future__ import annotations

import argparse
import json
import sys
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .help import Help

if TYPE_CHECKING:
    from .._profile.files import FileAnswer, RowAnswer
    from .._profile.results import CorrectedEnergy
    from ..profile import Profile

__all__ = ["register"]

_DESCRIPTION = """\
Correct the energies that a tool wrote, with the uncertainty of the result.

FILE is one of

  emissions.csv        of CodeCarbon
  *_carbontracker.log  of CarbonTracker: a row for each epoch, devices added
                       (it averages them); what makes no sum is refused
  a CSV of Zeus        by ZeusMonitor(log_file=...): GPUs only, and no version,
                       so add --assert zeus_version=0.16.0
  any other CSV        with duration_s and <input>_j, _wh, _kwh or _w for each
                       input of the profile (and, where known, id, session,
                       start_unix_s, workload, <input>_mode)

A profile holds for one tool in one mode. What the file contradicts is refused. What it
cannot prove is refused too, unless you vouch for it: an emissions.csv does not say whether
its CPU figure was counted by RAPL or guessed from the load; CodeCarbon's log does."""

_EPILOG = """\
examples:
  wattcal correct emissions.csv --profile p.json --assert cpu_mode=intel_rapl
  wattcal correct logs/42_carbontracker.log --profile tracker.json"""


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `correct`."""
    parser = commands.add_parser(
        "correct",
        help="apply a profile to what a tool wrote",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=Help,
    )
    parser.add_argument("file", type=Path, metavar="FILE")
    parser.add_argument(
        "--profile", type=Path, required=True, metavar="PROFILE", help="the profile to apply"
    )
    parser.add_argument(
        "--assert",
        dest="asserted",
        action="append",
        default=[],
        type=_assertion,
        metavar="KEY=VALUE",
        help="vouch for a setting that the file does not show; stamped on every row",
    )
    parser.add_argument(
        "--share",
        choices=["time"],
        help="answer per row where rows overlap: split the machine's constant power by time",
    )
    parser.add_argument(
        "--overlap",
        choices=["sum", "once"],
        help="what overlapping rows hold: joules of their own, or each the whole machine's",
    )
    parser.add_argument(
        "--machine",
        choices=["this", "any"],
        default="this",
        help="compare the profile with this machine (default), or with none",
    )
    parser.add_argument(
        "--allow-simulated", action="store_true", help="accept a profile from simulated data"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=_run)


def _assertion(text: str) -> tuple[str, Any]:
    key, sign, value = text.partition("=")
    if not (key and sign and value):
        raise argparse.ArgumentTypeError(f"expected KEY=VALUE, got {text!r}")
    try:
        return key, json.loads(value)
    except json.JSONDecodeError:
        return key, value


def _run(arguments: argparse.Namespace) -> int:
    from .._profile.files import correct_file
    from ..errors import InputError
    from ..profile import AUTO, load_profile
    from ..toolfiles import read_tool_file
    from .output import print_json

    profile = load_profile(arguments.profile, allow_simulated=arguments.allow_simulated)
    file = read_tool_file(arguments.file)
    asserted: dict[str, Any] = {}
    for key, value in arguments.asserted:
        if asserted.setdefault(key, value) != value:
            raise InputError(f"--assert: expected one value for {key}; got several.")
    answer = correct_file(
        profile,
        file,
        asserted=asserted,
        machine=None if arguments.machine == "any" else AUTO,
        share=arguments.share,
        overlap=arguments.overlap,
    )
    if arguments.json:
        print_json(_document(profile, answer))
    elif any(r.result for r in answer.rows) or answer.total:
        print(_text(profile, answer, asserted))
    for note in answer.notes if arguments.json else ():
        print(f"wattcal: {note}", file=sys.stderr)
    for refusal in _collapsed(answer):
        print(f"wattcal: refused: {refusal}", file=sys.stderr)
    return 5 if answer.refusals else 0


def _collapsed(answer: FileAnswer) -> list[str]:
    """Say each reason once, with the first place it stands and how many more there are."""
    counts: dict[str, list[str]] = {}
    for refusal in answer.refusals:
        counts.setdefault(refusal.partition(": ")[2] or refusal, []).append(refusal)
    return [
        same[0] + (f" ({len(same) - 1} more rows alike.)" if len(same) > 1 else "")
        for same in counts.values()
    ]


def _document(profile: Profile, answer: FileAnswer) -> dict[str, Any]:
    """Return the JSON of the answer: `profile`, `rows`, `total`; every key always present."""
    total = answer.total
    return {
        "profile": {
            "id": profile.id,
            "revision": profile.revision,
            "digest": profile.digest,
            "title": profile.title,
            "boundary": profile.boundary,
            "data_kind": "simulated" if profile.simulated else "measured",
            "inputs": list(profile.input_ids),
            "above_idle_only": profile.above_idle_only,
            "coverage_probability": profile.probability,
        },
        "rows": [
            {"id": r.row.id, "duration_s": r.row.duration_s, "raw_j": r.raw_j, **_numbers(r)}
            for r in answer.rows
        ],
        "total": None
        if total is None
        else {"duration_s": total.duration_s, "raw_j": total.raw_j, **_energy(total, total.flags)},
    }


def _numbers(answer: RowAnswer) -> dict[str, Any]:
    if answer.result is not None:
        return _energy(answer.result, answer.flags)
    empty = ("corrected_j", "u_j", "low_j", "high_j", "k", "mode", "match", "inside")
    return {**dict.fromkeys(empty), "flags": list(answer.flags)}


def _energy(result: CorrectedEnergy, flags: tuple[str, ...]) -> dict[str, Any]:
    return {
        "corrected_j": result.energy_j,
        "u_j": result.u_j,
        "low_j": result.low_j,
        "high_j": result.high_j,
        "k": result.k,
        "mode": result.mode,
        "match": result.match,
        "inside": bool(result.inside),
        "flags": list(flags),
    }


def _text(profile: Profile, answer: FileAnswer, asserted: Mapping[str, Any]) -> str:
    """Return the table and the sentences under it, 80 columns wide."""
    from .output import table

    rows = [
        [
            _short(r.row.id),
            f"{r.row.duration_s:.1f}",
            "-" if r.raw_j is None else _joules(r.raw_j),
            "-" if r.result is None else _joules(r.result.energy_j),
            "-" if r.result is None else _joules(r.result.expanded_j),
            _word(r),
        ]
        for r in answer.rows
    ]
    total = answer.total
    if total is not None:
        rows.append(
            [
                "total", f"{total.duration_s:.1f}", _joules(total.raw_j), _joules(total.energy_j),
                _joules(total.expanded_j), "inside" if total.inside else "OUTSIDE",
            ]
        )  # fmt: skip
    head = ["run", "time s", "raw J", "corrected J", "± U J", "domain"]
    lines = [table(head, rows, right="lrrrrl"), ""]
    lines += [_wrapped(s) for s in _sentences(profile, answer, asserted)]
    return "\n".join(lines)


def _sentences(profile: Profile, answer: FileAnswer, asserted: Mapping[str, Any]) -> list[str]:
    what = "energy above idle" if profile.above_idle_only else "energy"
    said = [
        f"{what} at {profile.boundary}; U covers {100 * profile.probability:g} %. Profile "
        f"{profile.id}, revision {profile.revision}."
    ]
    results = [r.result for r in answer.rows if r.result is not None]
    if answer.total is not None:
        results.append(answer.total)
    match = results[0].match
    said.append(
        {
            "unchecked": "Machine: not compared with the profile's.",
            "same_configuration": "Machine: the profile's configuration, perhaps another "
            "specimen; the spread between specimens is in U.",
        }.get(match, f"Machine: {match}.")
    )
    modes = {r.mode for r in results}
    if "asserted" in modes and asserted:
        pairs = ", ".join(f"{k}={str(v).lower()}" for k, v in asserted.items())
        said.append(f"Asserted by you, not shown by the file: {pairs}.")
    elif "unknown" in modes:
        said.append("Mode: neither the file nor the profile says how the numbers were made.")
    flags = list(dict.fromkeys(f for r in answer.rows for f in r.flags))
    if answer.total is not None:
        flags = list(dict.fromkeys((*flags, *answer.total.flags)))
    if flags:
        said.append(f"Flags: {', '.join(flags)}.")
    if profile.simulated:
        said.append("SIMULATED: this profile says nothing about a real machine.")
    return said + list(answer.notes)


def _word(answer: RowAnswer) -> str:
    if answer.refusal is not None:
        return "refused"
    if answer.result is None:
        return "in total"
    return "inside" if answer.result.inside else "OUTSIDE"


def _short(name: str) -> str:
    return name if len(name) <= 18 else f"{name[:8]}...{name[-7:]}"


def _joules(value: float) -> str:
    return f"{value:.1f}" if abs(value) < 1e6 else f"{value:.6g}"


def _wrapped(text: str) -> str:
    return textwrap.fill(text, 78, subsequent_indent="  ")
