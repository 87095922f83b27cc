"""`wattcal verify`: a published profile on data that it never saw."""

from __future__ import annotations

import argparse
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import InputError
from .help import Help
from .points_source import SOURCES, add_sources, load_tables

if TYPE_CHECKING:
    from ..analysis import Points

__all__ = ["register"]


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "verify",
        help="a profile on data it never saw, without refit",
        description="Apply a profile to data it never saw: error, E_n, coverage of the stated "
        f"interval.\n{SOURCES}\nSeveral runs make a control chart in order of time: E_n of "
        "each, and a CUSUM alarm\nwhere baseline or gain drift although each run is inside.\n\n"
        "  wattcal verify profile.json runs/tuesday runs/wednesday",
        formatter_class=Help,
    )
    parser.add_argument("profile", type=Path, metavar="PROFILE")
    add_sources(parser)
    parser.add_argument(
        "--allow-simulated", action="store_true", help="accept a profile from simulated data"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.set_defaults(run=_verify)


def _verify(arguments: argparse.Namespace) -> int:
    from ..analysis.points import concatenate
    from ..analysis.verify import chart_runs, predictor, verify_points
    from ..profile import load_profile
    from .output import print_json
    from .report import verification_text

    profile = load_profile(arguments.profile, allow_simulated=arguments.allow_simulated)
    tables, _ = load_tables(arguments)
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
