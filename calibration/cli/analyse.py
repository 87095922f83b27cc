"""`wattcal points | compare | fit`: from recordings or tables of points to results."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import CalibrationError
from .help import Help
from .points_source import SOURCES, add_sources, load

if TYPE_CHECKING:
    from ..recording.reader import Run

__all__ = ["key_of", "register"]


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the commands of the analysis."""
    _points_parser(commands)
    _compare_parser(commands)
    _fit_parser(commands)


def _points_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "points",
        help="cut runs into points, the unit of every fit",
        description="Cut runs into points: one row per steady segment, means over whole meter "
        "windows.\n\n  wattcal points runs/monday -o points.csv",
        formatter_class=Help,
    )
    add_sources(parser, nargs="*")
    parser.add_argument("--template", action="store_true", help="print a table that fits")
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", help="default: stdout")
    parser.set_defaults(run=_points)


def _compare_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "compare",
        help="how wrong is each tool, before any correction",
        description="Compare every tool with the meter, without any fit: scope, bias, limits of "
        f"agreement, lag.\n{SOURCES}\n\n  wattcal compare runs/monday",
        formatter_class=Help,
    )
    add_sources(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.set_defaults(run=_compare)


def _fit_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "fit",
        help="fit a correction, validate it on held-out groups, pass a verdict",
        description="Fit a correction from one or more inputs to the meter, validate it on groups "
        f"it has not seen, and say whether it may be published.\n{SOURCES}\n"
        "Without --input every tool is compared, and fitted alone.\n\n"
        "  wattcal fit runs/monday --input rapl_package -o profile.json",
        formatter_class=Help,
    )
    add_sources(parser)
    parser.add_argument("--input", action="append", metavar="ID", help="may be given again")
    parser.add_argument(
        "--model",
        default="auto",
        metavar="FORM",
        help="auto, offset, gain, affine, quadratic or hinge",
    )
    parser.add_argument(
        "--hold-out",
        metavar="GROUP",
        help="workload, session, block, date or none; default: workload from three up, else "
        "session, else block",
    )
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", help="write the profile")
    parser.add_argument("--id", default=None, metavar="LAB/NAME", help="id of the profile")
    parser.add_argument(
        "--explain", action="store_true", help="print the uncertainty budget and all reasons"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.set_defaults(run=_fit)


def _points(arguments: argparse.Namespace) -> int:
    if arguments.template:
        from ..analysis.points_table import TEMPLATE

        sys.stdout.write(TEMPLATE)
        return 0
    if not arguments.source:
        print("wattcal points: expected at least one run; got none", file=sys.stderr)
        return 2
    from ..analysis.points_table import format_points, write_points

    points, _ = load(arguments)
    if arguments.output is None:
        sys.stdout.write(format_points(points))
    else:
        write_points(points, arguments.output)
        print(f"{points.n} points -> {arguments.output}", file=sys.stderr)
    return 0


def _compare(arguments: argparse.Namespace) -> int:
    from ..analysis.compare import compare_points
    from .output import print_json
    from .report import comparison_text

    points, _ = load(arguments)
    comparison = compare_points(points)
    if arguments.json:
        print_json(comparison.to_json())
    else:
        print(comparison_text(comparison))
    return 0


def _fit(arguments: argparse.Namespace) -> int:
    from .output import print_json
    from .report import budget_text, choices_text, explain_text, fit_text

    if arguments.input is None:
        return _fit_each(arguments)
    points, runs = load(arguments)
    from ..analysis.fit import fit_points

    result = fit_points(
        points, tuple(arguments.input), model=arguments.model, scheme=arguments.hold_out
    )
    if arguments.json:
        print_json(result.to_json())
    else:
        print(fit_text(result))
        if arguments.explain:
            print("\n" + choices_text(result))
            print("\n" + budget_text(result))
            print("\n" + explain_text())
    if result.verdict == "refused":
        if arguments.output is not None:
            print(f"wattcal: refused, {arguments.output} is not written", file=sys.stderr)
        return 5
    if arguments.output is not None:
        from ..analysis.as_used import used_files
        from ..publishing.build import profile_document, write_profile

        descriptors = [d for run in runs for d in run.descriptors.values()]
        document = profile_document(
            result,
            run_starts=[run.start for run in runs],
            descriptors=descriptors,
            profile_id=arguments.id or f"local/{arguments.output.stem}",
            derived_from=_hashes(arguments.source, runs),
            idle_inputs=points.idle_inputs(result.inputs),
            key=key_of(runs),
            tool_files=[
                file for run in runs for file in used_files(run, above_idle=result.above_idle_only)
            ],
        )
        write_profile(document, arguments.output)
        print(f"{result.verdict} -> {arguments.output}", file=sys.stderr)
    return 0


def key_of(runs: list[Run]) -> bytes | None:
    """Return the laboratory's key where a measured run holds a meter's serial number."""
    from ..keyed import lab_key
    from ..publishing.sections import serial_of

    measured = [run for run in runs if run.start.data_kind == "measured"]
    meters = [d for run in measured for d in run.descriptors.values() if d.role == "meter"]
    return lab_key() if any(serial_of(d) for d in meters) else None


def _hashes(sources: list[Path], runs: list[Run]) -> list[str]:
    """Return the SHA-256 of every stream of the runs and of every table of points."""
    from hashlib import sha256

    streams = [h for run in runs if run.stop for h in run.stop.sha256.values()]
    tables = [sha256(p.read_bytes()).hexdigest() for p in sources if p.is_file()]
    return [f"sha256:{h}" for h in (*streams, *tables)]


def _fit_each(arguments: argparse.Namespace) -> int:
    """Compare all tools, then fit each alone: what to read before choosing an input."""
    from ..analysis.compare import compare_points
    from ..analysis.fit import fit_points
    from .output import print_json
    from .report import choice_text, comparison_text

    if arguments.output is not None:
        print("wattcal fit: -o needs --input ID, the tool to correct", file=sys.stderr)
        return 2
    points, _ = load(arguments)
    comparison = compare_points(points)
    results = []
    for key, column in points.inputs.items():
        if column.constant:
            continue
        try:
            results.append(
                fit_points(points, (key,), model=arguments.model, scheme=arguments.hold_out)
            )
        except CalibrationError as error:
            print(f"wattcal: {key}: {error}", file=sys.stderr)
    if arguments.json:
        print_json(
            {"comparison": comparison.to_json(), "fits": [result.to_json() for result in results]}
        )
    else:
        print(comparison_text(comparison) + "\n\n" + choice_text(results))
    return 0
