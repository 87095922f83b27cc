"""What `wattcal record` says once a recording is over: meters that were lost, and what it holds."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from ..recording.documents import Stop
    from ..recording.reader import Run

__all__ = ["meters_lost", "report_run"]

_LEAST_SHARE: Final = 0.95  # of the time that a meter looks at; below it the record says so
_LAST_ROWS: Final = 3
"""A meter whose last readings all failed was lost; one failed reading is noise."""


def meters_lost(path: Path) -> bool:
    """Say which meters did not answer any more when the run ended; one that came back did."""
    from ..recording.reader import read_run

    run = read_run(path)
    lost = False
    for stream in run.meters():
        channels = run.channels(stream)
        series = run.series(stream, channels[0].name)
        last = range(max(0, series.t_ns.size - _LAST_ROWS), series.t_ns.size)
        if all(i in series.faults for i in last):
            lost = True
            why = series.faults[last[-1]] if last else "never answered"
            print(
                f"wattcal: {stream} did not answer any more when the run ended ({why}); "
                f"{len(series.faults)} of {series.t_ns.size} of its readings failed. The rest is "
                "sealed; check its plug and record again.",
                file=sys.stderr,
            )
    return lost


def _supply_v(run: Run) -> float | None:
    """Return the mean voltage that the reference saw, V; None where no meter of it tells."""
    import numpy as np

    for stream in str(run.start.setup.get("reference") or "").split("+"):
        if stream in run.descriptors and "voltage_v" in {c.name for c in run.channels(stream)}:
            value = run.series(stream, "voltage_v").value
            if np.isfinite(value).any():
                return float(np.nanmean(value))
    return None


def report_run(
    arguments: argparse.Namespace, path: Path, interrupted: bool, lasted_s: float
) -> None:
    """Print what was recorded, as text or as one JSON document."""
    from ..recording.reader import read_run
    from .output import print_json, table

    run = read_run(path)
    stop: Stop | None = run.stop
    streams = [
        {
            "stream": d.stream,
            "role": d.role,
            "source": d.source,
            "mode": d.mode,
            "rows": stop.rows.get(d.stream, 0) if stop else 0,
        }
        for d in run.descriptors.values()
    ]
    supply_v = _supply_v(run)
    if arguments.json:
        print_json(
            {
                "run": str(path),
                "uid": run.start.uid,
                "session": run.start.session,
                "data_kind": run.start.data_kind,
                "reference": run.start.setup.get("reference"),
                "compare": list(run.start.setup.get("compare", ())),
                "ambient_c": run.start.setup.get("ambient_c"),
                "supply_v": supply_v,
                "exit_status": stop.exit_status if stop else None,
                "reason": stop.reason if stop else None,
                "duration_s": lasted_s,
                "steps": len(run.steps),
                "streams": streams,
                "faults": dict(stop.faults) if stop else {},
            }
        )
        return
    rows = [
        (str(s["stream"]), str(s["source"]), str(s["mode"] or ""), str(s["rows"])) for s in streams
    ]
    print(table(("stream", "source", "mode", "rows"), rows, right="lllr"))
    for code, count in sorted((stop.faults if stop else {}).items()):
        print(f"fault {code}: {count}")
    for descriptor in run.descriptors.values():
        share = min((c.observed_share for c in descriptor.channels), default=1.0)
        if descriptor.role == "meter" and share < _LEAST_SHARE:
            print(f"{descriptor.stream} looked at {100 * share:.0f} % of the time only")
    if supply_v is not None:
        print(f"supply: {supply_v:.1f} V on average")
    how = "interrupted; what was recorded is sealed in" if interrupted else "sealed in"
    print(f"{len(run.steps)} steps, {how} {path}")
    if interrupted:
        print(f"to go on in the same session: wattcal record --session {run.start.session} ...")
    elif any(s["role"] == "meter" for s in streams):
        print(f"next: wattcal compare {path}")
