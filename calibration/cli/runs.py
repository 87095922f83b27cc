"""`wattcal runs` and `wattcal import`: look at recordings, check them, take in those of others."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .help import Help
from .join import register_join
from .needs_lab import needs_lab
from .run_costs import cost_document, cost_lines, observer_document, observer_line

if TYPE_CHECKING:
    from ..recording.reader import Run

__all__ = ["register"]

_IMPORT = """\
Take in somebody else's recording. A mapping (TOML) says which file and column is which
stream and channel, in which unit, on which clock, and what ran when.

  wattcal import mapping.toml --data FOLDER -o runs

Every cell of the named columns must be a number, a time, or listed as missing; a time
that goes back, a column that is not there or a unit that gives implausible values stops
the import with the line. Worked examples: datasets/*/dataset.toml"""


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `runs list|show|check|repair|join` and `import`."""
    top = commands.add_parser(
        "runs",
        help="list, show and check recordings",
        description="Look at recordings.\n\n  wattcal runs show runs/gmt-mcp39f511-rapl",
        formatter_class=Help,
    )
    actions = top.add_subparsers(metavar="ACTION", required=True)
    listing = actions.add_parser(
        "list",
        help="the runs below a folder",
        description="List the runs below a folder: session, streams, length, whether sealed.\n\n"
        "  wattcal runs list runs",
        formatter_class=Help,
    )
    listing.add_argument("folder", metavar="DIR", nargs="?", default="runs")
    listing.add_argument("--json", action="store_true", help="print JSON")
    listing.set_defaults(run=_list)
    show = actions.add_parser(
        "show",
        help="streams, rows, energies, steps and faults of a run",
        description="Show what a run holds. Energy is taken over the channel's own windows; "
        "what lies between them is unobserved and counts neither as energy nor as time.\n\n"
        "  wattcal runs show runs/monday",
        formatter_class=Help,
    )
    show.add_argument("path", metavar="RUN")
    show.add_argument("--json", action="store_true", help="print JSON")
    show.set_defaults(run=_show)
    check = actions.add_parser(
        "check",
        help="compare a run with its own hashes; exit 3 if anything is wrong",
        description="Read every byte of a run and compare it with what was promised when it was "
        "sealed. Exit code 3 if anything is wrong.\n\n  wattcal runs check runs/*",
        formatter_class=Help,
    )
    check.add_argument("paths", metavar="RUN", nargs="+")
    check.add_argument("--json", action="store_true", help="print JSON")
    check.set_defaults(run=_check)
    repair = actions.add_parser(
        "repair",
        help="seal a run whose recorder died",
        description="Seal a run whose recorder died: what was recorded is kept, nothing is "
        "rewritten.\n\n  wattcal runs repair runs/monday",
        formatter_class=Help,
    )
    repair.add_argument("path", metavar="RUN")
    repair.add_argument("--json", action="store_true", help="print JSON")
    repair.set_defaults(run=_repair)
    register_join(actions)

    importer = commands.add_parser(
        "import",
        help="take in somebody else's recording",
        description=_IMPORT,
        formatter_class=Help,
    )
    importer.add_argument("mapping", metavar="MAPPING.toml")
    importer.add_argument(
        "--data",
        metavar="DIR",
        help="where the files are, directly or in a folder of the data set's name "
        "(default: WATTCAL_DATA, else beside the mapping)",
    )
    importer.add_argument(
        "-o", "--output", metavar="DIR", default="runs", help="where the runs go (default: runs)"
    )
    importer.add_argument("--json", action="store_true", help="print JSON")
    importer.set_defaults(run=_import)


@needs_lab
def _import(arguments: argparse.Namespace) -> int:
    from ..recording.importer import import_mapping
    from .output import print_json

    data = arguments.data or os.environ.get("WATTCAL_DATA") or None
    runs = import_mapping(arguments.mapping, data=data, into=arguments.output)
    if arguments.json:
        print_json({"runs": [str(r) for r in runs]})
    else:
        for run in runs:
            print(run)
    return 0


@needs_lab
def _list(arguments: argparse.Namespace) -> int:
    from ..errors import InputError, RunError
    from ..recording.reader import read_run
    from .output import print_json, table

    folder = Path(arguments.folder)
    if not folder.is_dir():
        raise InputError(f"{folder}: expected a folder with runs; there is no such folder.")
    rows: list[dict[str, Any]] = []
    for log in sorted(folder.glob("**/run.jsonl")):
        try:
            run = read_run(log.parent)
        except RunError as error:
            print(f"wattcal: {error}", file=sys.stderr)
            continue
        rows.append(
            {
                "run": str(run.path),
                "session": run.start.session,
                "data_kind": run.start.data_kind,
                "started": _wall(run),
                "status": "not sealed" if run.stop is None else run.stop.exit_status,
                "streams": list(run.descriptors),
                "steps": len(run.steps),
            }
        )
    if arguments.json:
        print_json(rows)
        return 0
    cells = [
        (
            r["run"],
            r["session"],
            r["data_kind"],
            r["started"] or "own clock",
            r["status"],
            str(r["steps"]),
            " ".join(r["streams"]),
        )
        for r in rows
    ]
    header = ("run", "session", "kind", "started (UTC)", "status", "steps", "streams")
    print(table(header, cells, right="lllllrl") if cells else f"no runs in {folder}")
    return 0


@needs_lab
def _show(arguments: argparse.Namespace) -> int:
    from ..recording.reader import read_run
    from .output import print_json

    run = read_run(arguments.path)
    document = _document(run)
    if arguments.json:
        print_json(document)
    else:
        _print_run(document)
    return 0


@needs_lab
def _check(arguments: argparse.Namespace) -> int:
    from ..recording.check import check_run
    from .output import print_json

    found = {str(path): list(check_run(path)) for path in arguments.paths}
    if arguments.json:
        print_json([{"run": run, "whole": not f, "findings": f} for run, f in found.items()])
    else:
        for run, findings in found.items():
            print(f"{run}: {'whole' if not findings else 'NOT whole'}")
            for finding in findings:
                print(f"  {finding}")
    return 3 if any(found.values()) else 0


@needs_lab
def _repair(arguments: argparse.Namespace) -> int:
    from ..recording.check import repair_run
    from .output import print_json

    stop = repair_run(arguments.path)
    if arguments.json:
        print_json(
            {
                "run": arguments.path,
                "status": stop.exit_status,
                "reason": stop.reason,
                "rows": dict(stop.rows),
            }
        )
        return 0
    rows = ", ".join(f"{n} {count} rows" for n, count in stop.rows.items())
    print(f"{arguments.path}: sealed ({stop.exit_status}); {rows}")
    return 0


def _wall(run: Run) -> str | None:
    """Return when a run began, UTC; a recording with a clock of its own began at no known time."""
    from datetime import UTC, datetime

    if not run.clocks and run.start.source is not None:
        return None
    began = datetime.fromtimestamp(run.start.t_wall_ns / 1e9, tz=UTC)
    return began.strftime("%Y-%m-%d %H:%M:%S")


def _document(run: Run) -> dict[str, Any]:
    """Return everything that `runs show` says, as JSON."""
    stop = run.stop
    return {
        "run": str(run.path),
        "uid": run.start.uid,
        "session": run.start.session,
        "data_kind": run.start.data_kind,
        "started": _wall(run),
        "note": run.start.note,
        "source": run.start.source,
        "setup": dict(run.start.setup),
        "status": "not sealed" if stop is None else stop.exit_status,
        "reason": None if stop is None else stop.reason,
        "streams": [_stream_document(run, stream) for stream in run.descriptors],
        "steps": [
            {
                "index": s.index,
                "workload": s.workload,
                "level": s.level,
                "duration_s": (s.t_end_ns - s.t_start_ns) / 1e9,
                "settle_s": s.settle_s,
            }
            for s in run.steps
        ],
        "faults": [
            {"stream": f.stream, "code": f.code, "message": f.message, "count": f.count}
            for f in run.faults
        ],
        "cost": cost_document(run.cost),
        "observer": observer_document(run),
        "notes": list(run.notes),
    }


def _stream_document(run: Run, stream: str) -> dict[str, Any]:
    descriptor = run.descriptors[stream]
    channels = []
    faulty: dict[str, int] = {}
    for number, info in enumerate(run.channels(stream)):
        series = run.series(stream, info.name)
        if number == 0:
            for text in series.faults.values():
                faulty[text] = faulty.get(text, 0) + 1
        channels.append({"name": info.name, "input": info.input, **_figures(series)})
    return {
        "stream": stream,
        "role": descriptor.role,
        "source": descriptor.source,
        "mode": descriptor.mode,
        "boundary": descriptor.boundary,
        "arrival": descriptor.arrival,
        "rows": run.rows(stream),
        "row_faults": faulty,
        "channels": channels,
    }


def _figures(series: Any) -> dict[str, Any]:
    """Return span, means and energies of one channel; `null` where they mean nothing."""
    import numpy as np

    from ..analysis.energy import total_energy

    info, good = series.channel, series.value[np.isfinite(series.value)]
    energetic = info.unit == "W" or (info.unit == "J" and info.kind == "counter")
    energy_j = observed_s = None
    if energetic and good.size:
        energy_j, observed_s, _ = total_energy(series)
    span_s = (int(series.t_ns[-1]) - int(series.t_ns[0])) / 1e9 if series.t_ns.size else None
    return {
        "unit": info.unit,
        "kind": info.kind,
        "cadence_s": series.cadence_s,
        "span_s": span_s,
        "mean": float(good.mean()) if good.size and info.kind != "counter" else None,
        "least": float(good.min()) if good.size else None,
        "most": float(good.max()) if good.size else None,
        "energy_j": energy_j,
        "observed_s": observed_s,
        "mean_w": energy_j / observed_s if energy_j is not None and observed_s else None,
        "last_register_j": float(good[-1]) if info.kind == "counter" and good.size else None,
    }


def _print_run(document: dict[str, Any]) -> None:
    from .output import table

    kind = "" if document["data_kind"] == "measured" else f"  ** {document['data_kind']} **"
    print(f"{document['run']}  session {document['session']}  {document['status']}{kind}")
    if document["source"]:
        print(f"from {document['source'].get('mapping')}: {document['source'].get('citation')}")
    setup = {k: v for k, v in document["setup"].items() if v and k != "joined"}
    if setup:
        print("setup: " + ", ".join(f"{k} {v}" for k, v in setup.items()))
    if joined := document["setup"].get("joined"):
        print(
            f"joined of two hosts: offset {joined['offset_s']:.4f} s, u {joined['u_s']:.2g} s, by "
            f"{joined['seen_by']}"
        )
    for stream in document["streams"]:
        mode = f", mode {stream['mode']}" if stream["mode"] else ""
        place = f" at {stream['boundary']}" if stream["boundary"] else ""
        print(f"\n{stream['stream']}: {stream['role']}{place}, {stream['source']}{mode}")
        faults = ", ".join(f"{count} {text}" for text, count in stream["row_faults"].items())
        print(f"  {stream['rows']} rows" + (f", of them faulty: {faults}" if faults else ""))
        rows = [
            (
                f"  {c['name']}",
                c["unit"],
                c["kind"],
                _number(c["span_s"], 1),
                _number(c["least"], 3),
                _number(c["most"], 3),
                _number(c["energy_j"], 1),
                _number(c["mean_w"], 3),
                _number(c["last_register_j"], 3),
            )
            for c in stream["channels"]
        ]
        header = (
            "  channel",
            "unit",
            "kind",
            "span s",
            "least",
            "most",
            "energy J",
            "mean W",
            "register J",
        )
        print(table(header, rows, right="lllrrrrrr"))
    _print_steps(document["steps"])
    if document["cost"] is not None:
        print("", *cost_lines(document["cost"]), sep="\n")
    for cost in document["observer"] or ():
        print(observer_line(cost))
    for fault in document["faults"]:
        print(f"fault {fault['code']} ({fault['count']}): {fault['message']}")
    for note in document["notes"]:
        print(f"note: {note}")


def _print_steps(steps: list[dict[str, Any]]) -> None:
    if not steps:
        print("\nno steps: use --segments windows:SECONDS")
        return
    total: dict[str, tuple[int, float]] = {}
    for step in steps:
        count, seconds = total.get(step["workload"], (0, 0.0))
        total[step["workload"]] = (count + 1, seconds + step["duration_s"])
    print(f"\n{len(steps)} steps")
    for workload, (count, seconds) in total.items():
        print(f"  {workload}: {count}, {seconds:.1f} s")


def _number(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:,.{digits}f}"
