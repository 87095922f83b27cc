"""`wattcal plan check`: what a calibration by a plan will be worth, before an hour is spent."""

from __future__ import annotations

import argparse
import math
import platform
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ..errors import InputError
from .help import Help
from .needs_lab import needs_lab

if TYPE_CHECKING:
    from ..bench import LabMeter
    from ..plans import Plan
    from ..plans.identify import Problem
    from ..plans.information import LagBound
    from ..plans.prediction import Assumptions, Prediction

__all__ = ["register_check", "summary"]

_CHECK = """\
Predict, before an hour is spent, what a calibration by a plan will be worth:
U (95 %) of the gain and of the power at idle, half and full load, the kind of
interval, the lag, whether the meter's resolution suffices, what cannot be told
at all, and what more time or more workloads would buy.

  wattcal plan check standard --meter pzem-004t --idle-w 45 --full-w 250
  wattcal plan check quick --resolution 1Wh --idle-w 40 --full-w 120

What is not said is taken from ./lab.toml where there is one: the reference meter
with its rating and certificate, and the most that the machine can draw."""


_LAB_FILE: Final = Path("lab.toml")
_FULL_W: Final = 150.0


def register_check(kinds: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `plan check`."""
    check = kinds.add_parser(
        "check", help="predict what it will be worth", description=_CHECK, formatter_class=Help
    )
    check.add_argument(
        "plan", nargs="?", default="quick", metavar="PLAN", help="plan or TOML file (quick)"
    )
    check.add_argument("--meter", metavar="MODEL", help="a meter of the catalogue")
    check.add_argument("--resolution", metavar="STEP", help="step of a display: 1Wh, 0.1W")
    check.add_argument("--idle-w", type=float, default=40.0, metavar="W", help="idle power (40)")
    check.add_argument(
        "--full-w", type=float, metavar="W", help="full power (default: lab.toml's, else 150)"
    )
    check.add_argument("--lab", metavar="FILE", type=Path, help="default: ./lab.toml if there")
    check.add_argument("--machine", metavar="NICKNAME", help="the machine, as lab.toml calls it")
    check.add_argument(
        "--noise-w", type=float, default=0.5, metavar="W", help="scatter of a meter reading (0.5)"
    )
    check.add_argument(
        "--input",
        action="append",
        default=[],
        metavar="ID",
        help="an estimator's input; may be repeated, to see whether the plan tells them apart",
    )
    check.add_argument("--json", action="store_true", help="print one JSON document")
    check.set_defaults(run=_check)


def summary(plan: Plan) -> dict[str, Any]:
    """Return what identifies a plan, as JSON."""
    return {
        "name": plan.name,
        "sha256": plan.sha256,
        "total_s": plan.total_s,
        "steps": len(plan.steps),
        "workloads": list(dict.fromkeys(s.workload for s in plan.measured)),
    }


@needs_lab
def _check(arguments: argparse.Namespace) -> int:
    from ..plans import find_plan
    from ..plans.identify import problems
    from ..plans.information import lag_bound, power_steps
    from ..plans.prediction import more_workloads, planned_points, predict

    plan = find_plan(arguments.plan)
    known = _known(arguments)
    assumed = known.assumed
    points = planned_points(plan, assumed)
    prediction = predict(points, assumed)
    edges, power = power_steps(plan, idle_w=assumed.idle_w, full_w=assumed.full_w)
    lag = lag_bound(
        edges, power, noise_w=assumed.noise_w or 0.5, window_s=max(assumed.cadence_s, 1e-3)
    )
    found = problems(
        plan, assumed, prediction, lag, inputs=arguments.input, rating_w=known.rating_w
    )
    more = {
        "steps twice as long": predict(planned_points(plan, assumed, steps=2.0), assumed),
        "twice as many workloads": predict(more_workloads(points), assumed),
        "a meter without gain error": predict(points, replace(assumed, u_meter_gain=0.0)),
    }
    if arguments.json:
        from .output import print_json

        print_json(_document(plan, known, prediction, lag, found, more))
    else:
        _print_check(plan, known, prediction, lag, found, more)
    return 5 if any(p.code == "over_rating" for p in found) else 0


@dataclass(frozen=True, slots=True)
class _Known:
    """What is assumed, the meter's rating in W, and what of it stands in lab.toml."""

    assumed: Assumptions
    rating_w: float | None
    notes: tuple[str, ...]


def _known(arguments: argparse.Namespace) -> _Known:
    """Return what is assumed of machine and meter: as said, else as in lab.toml, else usual."""
    from ..bench import read_lab
    from ..plans.prediction import Assumptions

    lab = None
    if arguments.lab is not None or _LAB_FILE.is_file():
        lab = read_lab(arguments.lab or _LAB_FILE)
    elif arguments.machine is not None:
        raise InputError("--machine: expected a lab.toml that names it; there is none here.")
    notes: list[str] = []
    full_w = arguments.full_w
    machine = None if lab is None else lab.machine(arguments.machine, platform.node())
    if full_w is None and machine is not None and machine.full_w is not None:
        full_w = machine.full_w
        notes.append(f"{machine.name} draws at most {full_w:g} W, says lab.toml")
    assumed = Assumptions(
        idle_w=arguments.idle_w, full_w=full_w or _FULL_W, noise_w=arguments.noise_w
    )
    rating_w, model, text = None, arguments.meter, arguments.resolution
    listed = None if lab is None or model is not None else _reference(lab.meters, lab.reference)
    if listed is not None:
        notes.append(f"the meter is {listed.name} ({listed.address}), says lab.toml")
        if listed.display is None:
            model = listed.model or listed.address.partition("@")[0]
        else:
            text = text or listed.display
    if model is not None:
        assumed, rating_w = _with_model(assumed, model)
    if listed is not None:
        assumed, rating_w = _as_listed(assumed, listed), listed.range_w or rating_w
    return _Known(_with_step(assumed, text), rating_w, tuple(notes))


def _reference(meters: tuple[LabMeter, ...], expression: str | None) -> LabMeter | None:
    """Return the lab's reference; of a sum the first, which errs like the others or more."""
    from ..plans.reference import parse_reference

    if not meters:
        return None
    named = parse_reference(expression, tuple(m.name for m in meters)) if expression else ()
    return next((m for m in meters if m.name in named), meters[0])


def _with_model(assumed: Assumptions, model: str) -> tuple[Assumptions, float | None]:
    """Return the assumptions with a catalogued meter's data sheet, and its rating, W."""
    from ..instruments import channels_of
    from .points_source import meter_reference

    reference = meter_reference(model)
    channel = next(c for c in channels_of(model) if c.name == "power_w")
    if reference is not None:
        assumed = replace(
            assumed,
            u_meter_gain=reference.u_gain,
            u_meter_offset_w=reference.u_offset_w,
            resolution_w=reference.resolution_w or 0.0,
        )
    return assumed, channel.range_max


def _as_listed(assumed: Assumptions, meter: LabMeter) -> Assumptions:
    """Return the assumptions with what the laboratory knows of its meter.

    A limit of error is the half width of a rectangular distribution (u = limit/sqrt 3); a known
    correction leaves its own standard uncertainty instead.
    """
    if meter.accuracy is not None:
        assumed = replace(
            assumed,
            u_meter_gain=meter.accuracy["of_reading"] / math.sqrt(3),
            u_meter_offset_w=meter.accuracy.get("absolute", 0.0) / math.sqrt(3),
        )
    if meter.correction is not None:
        assumed = replace(
            assumed,
            u_meter_gain=meter.correction.u_gain,
            u_meter_offset_w=meter.correction.u_offset_w,
        )
    return assumed


def _with_step(assumed: Assumptions, text: str | None) -> Assumptions:
    """Return the assumptions with the step of a display: of a power, or of an energy register."""
    from .points_source import register_step

    if text is None:
        return assumed
    if text.endswith("Wh") or not text.endswith("W"):
        # A register adds up what the load did: its own noise is nothing beside its step.
        return replace(
            assumed, register_j=register_step(text) or 0.0, resolution_w=0.0, noise_w=0.0
        )
    try:
        step_w = float(text.removesuffix("W"))
    except ValueError:
        step_w = -1.0
    if not step_w > 0:
        raise InputError(f"--resolution: expected a step such as 0.1W or 1Wh; got {text!r}.")
    return replace(assumed, resolution_w=step_w)


def _document(
    plan: Plan,
    known: _Known,
    prediction: Prediction | None,
    lag: LagBound,
    found: tuple[Problem, ...],
    more: dict[str, Prediction | None],
) -> dict[str, Any]:
    from ..plans.identify import energy_for_j

    p, assumed = prediction, known.assumed
    loads = ("idle", "half", "full")
    register_j = assumed.register_j
    needed_j = energy_for_j(register_j, 0.01) if register_j else None
    half_w = 0.5 * (assumed.idle_w + assumed.full_w)
    return {
        **summary(plan),
        "assumptions": asdict(assumed),
        "lab": list(known.notes),
        "points": 0 if p is None else p.points,
        "groups": len({s.workload for s in plan.measured}),
        "levels": None if p is None else p.levels,
        "interval": "none" if p is None else p.interval,
        "u_gain_pct": None if p is None else p.gain_pct,
        "u_gain_without_meter_pct": None if p is None else p.gain_statistical_pct,
        "u_power_w": None if p is None else dict(zip(loads, p.power_w, strict=True)),
        "u_power_rezeroed_w": None if p is None else dict(zip(loads, p.rezeroed_w, strict=True)),
        "lag": {"u_s": lag.u_lag_s, "u_skew": lag.u_skew, "edges": lag.edges},
        "resolution": {
            "sufficient": not any(x.code == "meter_too_coarse" for x in found),
            "u_gain_pct": None if p is None else p.resolution_pct,
            "energy_for_1_pct_j": needed_j,
            "step_for_1_pct_at_half_s": None if needed_j is None else needed_j / half_w,
        },
        "problems": [asdict(x) for x in found],
        "more": [
            {
                "what": what,
                "u_gain_pct": None if q is None else q.gain_pct,
                "u_power_half_w": None if q is None else q.rezeroed_w[1],
            }
            for what, q in more.items()
        ],
    }


_INTERVALS = {
    "none": "no correction: a between-group variance needs four groups, idle being one",
    "student": "Student's t with the between-group variance (19 groups make it distribution-free)",
    "conformal": "distribution-free over groups (group-conformal)",
}


def _print_check(
    plan: Plan,
    known: _Known,
    prediction: Prediction | None,
    lag: LagBound,
    found: tuple[Problem, ...],
    more: dict[str, Prediction | None],
) -> None:
    from ..plans.identify import energy_for_j
    from .output import table

    a = known.assumed
    for note in known.notes:
        print(_filled(f"{note[0].upper()}{note[1:]}."))
    print(
        _filled(
            f"{plan.name}, at most {plan.total_s / 60:.3g} min, predicted for a machine of "
            f"{a.idle_w:g} to {a.full_w:g} W, u(meter gain) {100 * a.u_meter_gain:.2g} %, noise "
            f"{a.noise_w:g} W a reading, lack of fit between workloads {100 * a.lack_of_fit:g} % "
            "of the power above idle, offset between sessions "
            f"{100 * a.session:g} % of idle."
        )
    )
    print()
    if prediction is not None:
        p = prediction
        rows = [
            ("gain", f"{p.gain_pct:.2f} %", f"(u without the meter {p.gain_statistical_pct:.2f} %)")
        ]
        for name, u_w, zeroed_w in zip(
            ("idle", "half load", "full load"), p.power_w, p.rezeroed_w, strict=True
        ):
            rows.append((f"power, {name}", f"{u_w:.2f} W", f"re-zeroed {zeroed_w:.2f} W"))
        print(table(("of", "U (95 %)", ""), rows, right="lrl"))
        print(f"\n{p.points} points, {p.groups} groups, {p.levels} levels")
        print(_filled(f"interval: {_INTERVALS[p.interval]}"))
    if lag.edges > 1 and not a.register_j:
        print(f"lag: u {1e3 * lag.u_lag_s:.2g} ms at best, from {lag.edges} changes of load")
    if a.register_j:
        needed_j = energy_for_j(a.register_j, 0.01)
        half_w = 0.5 * (a.idle_w + a.full_w)
        print(
            f"resolution: a register of {a.register_j / 3600:g} Wh needs {needed_j / 3600:.0f} Wh "
            f"for 1 %: {needed_j / half_w / 60:.0f} min at half load"
        )
    for problem in found:
        kind = "cannot" if problem.fatal else "note"
        print(_filled(f"{kind}: {problem.message} ({problem.code})"))
    better = [
        (what, f"{q.gain_pct:.2f} %", f"{q.rezeroed_w[1]:.2f} W")
        for what, q in more.items()
        if q is not None and prediction is not None and q.gain_pct < 0.98 * prediction.gain_pct
    ]
    if better:
        header = ("would buy", "U(gain)", "U(half load), re-zeroed")
        print("\n" + table(header, better, right="lrr"))
    elif prediction is not None:
        print("\nMore time, more workloads or a better meter would buy less than 2 % of U(gain).")


def _filled(text: str) -> str:
    import textwrap

    return textwrap.fill(text, 80, subsequent_indent="  ", break_long_words=False)
