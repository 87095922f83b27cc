"""`wattcal points | compare | fit | verify`: from recordings or tables of points to results."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import CalibrationError, InputError
from .help import Help

if TYPE_CHECKING:
    from ..analysis import Points, Reference
    from ..recording.reader import Run

__all__ = ["key_of", "register"]

_SOURCES = """\
SOURCE is a run directory (wattcal record, wattcal import) or a CSV table of points; several are
fitted together, one intercept per session."""


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the commands of the analysis."""
    _points_parser(commands)
    _compare_parser(commands)
    _fit_parser(commands)
    _verify_parser(commands)


def _sources(parser: argparse.ArgumentParser, *, nargs: str = "+") -> None:
    parser.add_argument(
        "source", nargs=nargs, type=Path, metavar="SOURCE", help="run or points.csv"
    )
    parser.add_argument(
        "--segments",
        default="auto",
        metavar="HOW",
        help="steps (as told to the machine), steady (found in the power), windows:SECONDS (the "
        "whole run, blocks of 30 s), or auto",
    )
    parser.add_argument(
        "--reference",
        metavar="EXPR",
        help="the reference: a meter, or a sum A+B of supplies (default: as the run says); bmc: "
        "the board's own sensor, which makes no more than a statement of error",
    )
    parser.add_argument(
        "--lag", choices=("auto", "none"), default="auto", help="shift inputs by their lag (auto)"
    )
    parser.add_argument(
        "--meter", metavar="MODEL", help="for a table of points: the meter whose data sheet applies"
    )
    parser.add_argument(
        "--resolution",
        metavar="STEP",
        help="for a table of points: the meter's register step, such as 1Wh or 0.1kWh",
    )


def _points_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "points",
        help="cut runs into points, the unit of every fit",
        description="Cut runs into points: one row per steady segment, means over whole meter "
        "windows.\n\n  wattcal points runs/monday -o points.csv",
        formatter_class=Help,
    )
    _sources(parser, nargs="*")
    parser.add_argument("--template", action="store_true", help="print a table that fits")
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", help="default: stdout")
    parser.set_defaults(run=_points)


def _compare_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "compare",
        help="how wrong is each tool, before any correction",
        description="Compare every tool with the meter, without any fit: scope, bias, limits of "
        f"agreement, lag.\n{_SOURCES}\n\n  wattcal compare runs/monday",
        formatter_class=Help,
    )
    _sources(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.set_defaults(run=_compare)


def _fit_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "fit",
        help="fit a correction, validate it on held-out groups, pass a verdict",
        description="Fit a correction from one or more inputs to the meter, validate it on groups "
        f"it has not seen, and say whether it may be published.\n{_SOURCES}\n"
        "Without --input every tool is compared, and fitted alone.\n\n"
        "  wattcal fit runs/monday --input rapl_package -o profile.json",
        formatter_class=Help,
    )
    _sources(parser)
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


def _verify_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "verify",
        help="a profile on data it never saw, without refit",
        description="Apply a profile to data it never saw: error, E_n, coverage of the stated "
        f"interval.\n{_SOURCES}\nSeveral runs make a control chart in order of time: E_n of "
        "each, and a CUSUM alarm\nwhere baseline or gain drift although each run is inside.\n\n"
        "  wattcal verify profile.json runs/tuesday runs/wednesday",
        formatter_class=Help,
    )
    parser.add_argument("profile", type=Path, metavar="PROFILE")
    _sources(parser)
    parser.add_argument(
        "--allow-simulated", action="store_true", help="accept a profile from simulated data"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.set_defaults(run=_verify)


def _lab() -> None:
    """Say in one sentence what is missing when the lab's libraries are."""
    try:
        import numpy  # noqa: F401
        import pyarrow  # noqa: F401
        import scipy  # noqa: F401
    except ModuleNotFoundError as error:
        from ..errors import NotInstalled

        raise NotInstalled(
            f"This command needs {error.name}; install it with: pip install 'wattcal[lab]'"
        ) from None


def _load(arguments: argparse.Namespace) -> tuple[Points, list[Run]]:
    """Read every source and join the points."""
    tables, runs = _tables(arguments)
    from ..analysis.points import concatenate

    return concatenate(tables), runs


def _tables(arguments: argparse.Namespace) -> tuple[list[Points], list[Run]]:
    """Read every source; one table of points each."""
    _lab()
    from ..analysis.points_table import read_points
    from ..analysis.segments import run_points
    from ..recording.reader import read_run

    tables: list[Points] = []
    runs: list[Run] = []
    for source in arguments.source:
        if source.is_dir():
            run = read_run(source)
            twin = next((r for r in runs if r.start.uid == run.start.uid), None)
            if twin is not None:
                raise InputError(
                    f"{source} is the same run as {twin.path}; its points would count twice. Name "
                    "it once."
                )
            runs.append(run)
            table = run_points(
                [run],
                segments=arguments.segments,
                reference=arguments.reference,
                align=arguments.lag == "auto",
            )
            early = _ended_early(run)
            tables.append(replace(table, notes=(*early, *table.notes)) if early else table)
        elif source.suffix == ".csv" and source.exists():
            tables.append(
                read_points(
                    source,
                    meter=meter_reference(arguments.meter),
                    resolution_j=register_step(arguments.resolution),
                )
            )
        else:
            found = "a file of another kind" if source.exists() else "nothing"
            raise InputError(f"Expected a run directory or a points.csv at {source}; got {found}.")
    return tables, runs


def _ended_early(run: Run) -> tuple[str, ...]:
    """Say that a run is not all that was planned; what was recorded counts all the same."""
    if run.stop is None:
        return (f"{run.path}: not sealed; what was recorded so far is used",)
    if run.stop.exit_status == "success":
        return ()
    why = f" ({run.stop.reason})" if run.stop.reason else ""
    return (f"{run.path}: ended early, {run.stop.exit_status}{why}; what was recorded is used",)


def register_step(text: str | None) -> float | None:
    """Return the step of an energy register in joules."""
    if text is None:
        return None
    for suffix, joules in (("kWh", 3.6e6), ("Wh", 3600.0), ("J", 1.0)):
        if text.endswith(suffix):
            try:
                value = float(text.removesuffix(suffix))
            except ValueError:
                break
            if value > 0:
                return value * joules
    raise InputError(f"--resolution: expected a register step such as 1Wh; got {text!r}.")


def meter_reference(model: str | None) -> Reference | None:
    """Return what the power channel of a catalogued meter is worth."""
    if model is None:
        return None
    from dataclasses import asdict

    from ..analysis.reference import reference_of
    from ..instruments import channels_of
    from ..recording.documents import ChannelInfo

    for channel in channels_of(model):
        if channel.name == "power_w":
            info = ChannelInfo(
                name=channel.name,
                quantity=channel.quantity,
                unit=channel.unit,
                kind=channel.kind,
                window_s=channel.window_s,
                resolution=channel.resolution,
                accuracy=asdict(channel.accuracy) if channel.accuracy else None,
                range_max=channel.range_max,
            )
            return reference_of(model, info)
    raise InputError(f"--meter: expected a meter that reports power; {model} does not.")


def _points(arguments: argparse.Namespace) -> int:
    if arguments.template:
        from ..analysis.points_table import TEMPLATE

        sys.stdout.write(TEMPLATE)
        return 0
    if not arguments.source:
        print("wattcal points: expected at least one run; got none", file=sys.stderr)
        return 2
    from ..analysis.points_table import format_points, write_points

    points, _ = _load(arguments)
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

    points, _ = _load(arguments)
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
    points, runs = _load(arguments)
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
            tool_files=[file for run in runs for file in used_files(run)],
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
    points, _ = _load(arguments)
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


def _verify(arguments: argparse.Namespace) -> int:
    from ..analysis.points import concatenate
    from ..analysis.verify import chart_runs, predictor, verify_points
    from ..profile import load_profile
    from .output import print_json
    from .report import verification_text

    profile = load_profile(arguments.profile, allow_simulated=arguments.allow_simulated)
    tables, _ = _tables(arguments)
    points = concatenate(tables)
    if profile.above_idle_only:
        points = _less_idle(points, profile.id)
    said: Counter[str] = Counter()
    result = verify_points(str(arguments.profile), points, predictor(profile, said))
    names = [source.name for source in arguments.source]
    charts = chart_runs(profile, list(zip(names, tables, strict=True)))
    result = replace(result, outside=said["outside"], charts=charts)
    others = sorted(set(points.session) - {profile.rezeroed})
    if profile.rezeroed is not None and others:
        note = f"re-zeroed for session {profile.rezeroed}; these points are of {', '.join(others)}"
        result = replace(result, flags=(*result.flags, note))
    if arguments.json:
        print_json(result.to_json())
    else:
        print(verification_text(result))
    return 0 if result.passed else 5


def _less_idle(points: Points, name: str) -> Points:
    """Return the points above idle less their session's idle, as such a profile answers."""
    import numpy as np

    from ..analysis.validation import idle_reference

    idle_w = idle_reference(points)
    kept = np.isfinite(idle_w) & ~points.idle
    if not kept.any():
        raise InputError(
            f"Profile {name} answers above idle only: expected points of a session with idle; got "
            "none. Record idle too, or re-zero the profile (wattcal rezero)."
        )
    note = "power above each session's idle, as the profile answers"
    above = replace(points, reference_w=points.reference_w - idle_w)
    return replace(above.select(kept), notes=(*points.notes, note))
