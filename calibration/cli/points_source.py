"""Where the analysis commands get their points: runs and tables of points, named on the line."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ..errors import InputError

if TYPE_CHECKING:
    from ..analysis import Points, Reference
    from ..recording.reader import Run

__all__ = ["SOURCES", "add_sources", "load", "load_tables", "meter_reference", "register_step"]

SOURCES: Final = """\
SOURCE is a run directory (wattcal record, wattcal import) or a CSV table of points; several are
fitted together, one intercept per session."""


def add_sources(parser: argparse.ArgumentParser, *, nargs: str = "+") -> None:
    """Add what says where points come from, and how runs are cut into them."""
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


def load(arguments: argparse.Namespace) -> tuple[Points, list[Run]]:
    """Read every source and join the points."""
    tables, runs = load_tables(arguments)
    from ..analysis.points import concatenate

    return concatenate(tables), runs


def load_tables(arguments: argparse.Namespace) -> tuple[list[Points], list[Run]]:
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
