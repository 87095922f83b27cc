"""`wattcal rezero`: keep a profile's gain, take its offset from idle of a recorded run."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InputError
from .help import Help
from .needs_lab import needs_lab
from .record import add_plan_options, add_source_options, carry_out
from .recorded import meters_lost

if TYPE_CHECKING:
    from ..analysis.rezero import Rezero
    from ..recording.reader import Run

__all__ = ["register"]

_REZERO = """\
Keep the gain of a profile and take its offset from at least 50 s of idle of a RUN that holds a
meter and the profile's estimator. The offset of a machine moves at every power-up and change of
hardware; its gain hardly does. The result is the profile's next revision and holds for the session
of the run only.

  wattcal rezero profile.json --meter pzem-004t@/dev/ttyUSB0 -o today.json
  wattcal rezero profile.json runs/idle -o today.json     of a run that is there

Without RUN it records a minute of idle first (the plan `rezero`), with the meters of
./lab.toml unless --meter names others."""


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `rezero`."""
    parser = commands.add_parser(
        "rezero",
        help="keep the gain, take the offset from idle of a run",
        description=_REZERO,
        formatter_class=Help,
    )
    parser.add_argument("profile", type=Path, metavar="PROFILE")
    parser.add_argument("source", type=Path, metavar="RUN", nargs="?")
    add_plan_options(parser, "rezero")
    add_source_options(parser)
    parser.add_argument(
        "--allow-simulated", action="store_true", help="accept a profile from simulated data"
    )
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", help="write the profile")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.set_defaults(run=_rezero)


@needs_lab
def _rezero(arguments: argparse.Namespace) -> int:
    import json

    from ..analysis.rezero import idle_windows, rezero
    from ..profile import load_profile
    from ..publishing.build import write_profile
    from ..publishing.rezeroed import rezeroed_document, terms_of
    from ..recording.reader import read_run
    from .output import print_json

    profile = load_profile(arguments.profile, allow_simulated=arguments.allow_simulated)
    document: dict[str, Any] = json.loads(arguments.profile.read_text(encoding="utf-8"))
    terms = terms_of(document)
    source = arguments.source
    if source is None:
        recording = argparse.Namespace(**{**vars(arguments), "output": None})
        source, interrupted, _ = carry_out(recording)
        print(f"wattcal: idle is recorded in {source}", file=sys.stderr)
        if interrupted:
            return 130
        if meters_lost(source):
            return 4
    run = read_run(source)
    if run.start.data_kind == "simulated" and not (profile.simulated or arguments.allow_simulated):
        raise InputError(
            f"{run.path}: expected a measured run for a measured profile; it is simulated. Say "
            "--allow-simulated to make a simulated profile of it."
        )
    windows = idle_windows(run, reference=arguments.reference)
    if windows.boundary != profile.boundary:
        raise InputError(
            f"{run.path}: expected a meter at {profile.boundary}, as in the profile; it sits at "
            f"{windows.boundary}."
        )
    zero = rezero(windows, terms, other_meter=_other_meter(run, document, arguments.reference))
    spread_w = sum(c.u**2 for c in profile.components if c.correlation == "within_session") ** 0.5
    moved_u = abs(zero.shift_w) / spread_w if spread_w > 0 else None
    outside = [
        name
        for name, value in zero.inputs.items()
        if not profile.domain[name][0] <= value <= profile.domain[name][1]
    ]
    new = rezeroed_document(
        document,
        zero,
        digest=str(profile.digest),
        run_uid=run.start.uid,
        derived_from=[f"sha256:{h}" for h in run.stop.sha256.values()] if run.stop else [],
        simulated=run.start.data_kind == "simulated",
    )
    if arguments.output is not None:
        write_profile(new, arguments.output)
    if arguments.json:
        print_json(
            {
                "profile": profile.id,
                "revision": new["revision"],
                "supersedes": new["supersedes"],
                **zero.to_json(),
                "moved_u": moved_u,
                "inputs_outside_domain": outside,
                "output": None if arguments.output is None else str(arguments.output),
            }
        )
    else:
        print(_text(zero, profile.id, int(new["revision"]), moved_u, outside))
    if arguments.output is not None:
        print(f"{profile.id}, revision {new['revision']} -> {arguments.output}", file=sys.stderr)
    return 0


def _other_meter(run: Run, document: dict[str, Any], reference: str | None) -> bool:
    """Whether a meter of the run is of another model than the profile's: its own gain counts."""
    from ..analysis.supplies import reference_streams

    found = [run.descriptors[s] for s in reference_streams(run, reference)]
    models = {str(d.identity.get("model") or d.source) for d in found}
    return bool(models - {str(c.get("model")) for c in document["traceability"]["chain"]})


def _text(zero: Rezero, name: str, revision: int, moved_u: float | None, outside: list[str]) -> str:
    from .output import table

    rows = [
        ("idle", f"{zero.idle_s:.0f} s in {zero.stretches} stretches, {zero.idle_w:.2f} W"),
        ("offset", f"{zero.intercept_w:.3f} W, moved by {zero.shift_w:+.3f} W"),
        ("its u, this session", f"{zero.u_w:.3f} W"),
        ("  noise", f"{zero.u_noise_w:.3f} W, correlated over {zero.correlation_time_s:.1f} s"),
        ("  resolution", f"{zero.u_resolution_w:.3f} W"),
        ("  drift", f"{zero.u_drift_w:.3f} W{' (assumed)' if zero.drift_assumed else ''}"),
        ("  another meter", f"{zero.u_meter_w:.3f} W"),
    ]
    lines = [table((f"{name}, revision {revision}", ""), rows, right="ll")]
    if moved_u is not None and moved_u > 3:
        lines.append(
            f"The offset moved by {moved_u:.1f} times what the profile expects between sessions: "
            "verify the gain too (wattcal verify)."
        )
    if outside:
        lines.append(f"At idle {', '.join(outside)} lies outside the profile's domain.")
    lines.append(f"Holds for session {zero.session} only.")
    return "\n".join(lines)
