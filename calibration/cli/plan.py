"""`wattcal plan`: what a plan does, and what a calibration by it will be worth."""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from ..errors import InputError
from .help import Help
from .needs_lab import needs_lab

if TYPE_CHECKING:
    from ..plans import Plan
    from ..plans.identify import Problem
    from ..plans.information import LagBound
    from ..plans.prediction import Assumptions, Prediction

__all__ = ["register"]

_PLAN = """\
What a plan tells the machine, and what a calibration by it will be worth.

  wattcal plan show
  wattcal plan check standard --idle-w 45 --full-w 250"""
_SHOW = """\
Print what a plan tells the machine, step by step; without PLAN, the plans that
are ready. --toml prints the plan as a file to change and to record with.

  wattcal plan show quick
  wattcal plan show standard --toml > mine.toml"""
_CHECK = """\
Predict, before an hour is spent, what a calibration by a plan will be worth:
U (95 %) of the gain and of the power at idle, half and full load, the kind of
interval, the lag, whether the meter's resolution suffices, what cannot be told
at all, and what more time or more workloads would buy.

  wattcal plan check standard --meter pzem-004t --idle-w 45 --full-w 250
  wattcal plan check quick --resolution 1Wh --idle-w 40 --full-w 120"""


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `plan show` and `plan check`."""
    parser = commands.add_parser(
        "plan",
        help="what a plan does, and what it will be worth",
        description=_PLAN,
        formatter_class=Help,
    )
    kinds = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    show = kinds.add_parser(
        "show", help="the plans, or the steps of one", description=_SHOW, formatter_class=Help
    )
    show.add_argument("plan", nargs="?", metavar="PLAN", help="name of a plan or a TOML file")
    show.add_argument("--toml", action="store_true", help="print the plan as TOML")
    show.add_argument("--json", action="store_true", help="print one JSON document")
    show.set_defaults(run=_show)
    check = kinds.add_parser(
        "check", help="predict what it will be worth", description=_CHECK, formatter_class=Help
    )
    check.add_argument(
        "plan", nargs="?", default="quick", metavar="PLAN", help="plan or TOML file (quick)"
    )
    check.add_argument("--meter", metavar="MODEL", help="a meter of the catalogue")
    check.add_argument("--resolution", metavar="STEP", help="step of a display: 1Wh, 0.1W")
    check.add_argument("--idle-w", type=float, default=40.0, metavar="W", help="idle power (40)")
    check.add_argument("--full-w", type=float, default=150.0, metavar="W", help="full power (150)")
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


def _show(arguments: argparse.Namespace) -> int:
    from ..plans import READY, SUMMARIES, find_plan, to_mapping, to_toml
    from .output import print_json, table

    if arguments.plan is None:
        plans = {name: make() for name, make in READY.items()}
        if arguments.json:
            print_json([_summary(p) | {"summary": SUMMARIES[n]} for n, p in plans.items()])
        else:
            print(table(("plan", "what for"), list(SUMMARIES.items())))
        return 0
    plan = find_plan(arguments.plan)
    if arguments.json:
        print_json(_summary(plan) | {"summary": SUMMARIES.get(plan.name), **to_mapping(plan)})
    elif arguments.toml:
        sys.stdout.write(to_toml(plan))
    else:
        _print_steps(plan)
    return 0


def _summary(plan: Plan) -> dict[str, Any]:
    return {
        "name": plan.name,
        "sha256": plan.sha256,
        "total_s": plan.total_s,
        "steps": len(plan.steps),
        "workloads": list(dict.fromkeys(s.workload for s in plan.measured)),
    }


def _print_steps(plan: Plan) -> None:
    from ..plans import both_sides, level_time_correlation, peak_sidelobe
    from .output import table

    rows = []
    t_s = plan.warm_up_s
    sync: list[float] = []
    for step in plan.steps:
        if step.purpose == "sync":
            sync.append(step.duration_s)
        elif sync:
            rows.append(_sync_row(t_s, sync))
            sync = []
        if step.purpose != "sync":
            what = step.workload if step.purpose == "measure" else f"{step.workload} (no point)"
            rows.append((f"{t_s:.0f}", f"{step.duration_s:g}", what, f"{step.level:g}"))
        t_s += step.duration_s
    if sync:
        rows.append(_sync_row(t_s, sync))
    print(table(("at s", "for s", "workload", "level"), rows, right="rrlr"))
    both, could = both_sides(plan.steps)
    print(
        f"{plan.name}: at most {plan.total_s:.0f} s, {len(plan.measured)} points, "
        f"{plan.settle_s:g} s of each step settle"
    )
    print(f"seed {plan.seed}, sha256 {plan.sha256}")
    if len(plan.measured) > 1:
        print(f"level and time correlate by {level_time_correlation(plan.measured):+.3f}")
    if could:
        print(f"{both} of {could} levels are reached both from below and from above (hysteresis)")
    first = [s.duration_s for s in plan.steps if s.purpose == "sync"]
    opening = first[: next((i for i, s in enumerate(plan.steps) if s.purpose != "sync"), 0)]
    if opening:
        print(
            f"the preamble is like itself, shifted, by {peak_sidelobe(opening):.2f} at most (0..1)"
        )


def _sync_row(t_s: float, lengths: list[float]) -> tuple[str, str, str, str]:
    whole = sum(lengths)
    return f"{t_s - whole:.0f}", f"{whole:g}", f"sync: {len(lengths) + 1} edges", ""


@needs_lab
def _check(arguments: argparse.Namespace) -> int:
    from ..plans import find_plan
    from ..plans.identify import problems
    from ..plans.information import lag_bound, power_steps
    from ..plans.prediction import more_workloads, planned_points, predict

    plan = find_plan(arguments.plan)
    assumed, rating_w = _assumptions(arguments)
    points = planned_points(plan, assumed)
    prediction = predict(points, assumed)
    edges, power = power_steps(plan, idle_w=assumed.idle_w, full_w=assumed.full_w)
    lag = lag_bound(
        edges, power, noise_w=assumed.noise_w or 0.5, window_s=max(assumed.cadence_s, 1e-3)
    )
    found = problems(plan, assumed, prediction, lag, inputs=arguments.input, rating_w=rating_w)
    more = {
        "steps twice as long": predict(planned_points(plan, assumed, steps=2.0), assumed),
        "twice as many workloads": predict(more_workloads(points), assumed),
        "a meter without gain error": predict(points, replace(assumed, u_meter_gain=0.0)),
    }
    if arguments.json:
        from .output import print_json

        print_json(_document(plan, assumed, prediction, lag, found, more))
    else:
        _print_check(plan, assumed, prediction, lag, found, more)
    return 5 if any(p.code == "over_rating" for p in found) else 0


def _assumptions(arguments: argparse.Namespace) -> tuple[Assumptions, float | None]:
    """Return what is assumed of machine and meter, and the meter's rating in W."""
    from ..plans.prediction import Assumptions
    from .points_source import meter_reference, register_step

    assumed = Assumptions(
        idle_w=arguments.idle_w, full_w=arguments.full_w, noise_w=arguments.noise_w
    )
    rating_w = None
    if arguments.meter is not None:
        from ..instruments import channels_of

        reference = meter_reference(arguments.meter)
        channel = next(c for c in channels_of(arguments.meter) if c.name == "power_w")
        rating_w = channel.range_max
        if reference is not None:
            assumed = replace(
                assumed,
                u_meter_gain=reference.u_gain,
                u_meter_offset_w=reference.u_offset_w,
                resolution_w=reference.resolution_w or 0.0,
            )
    text = arguments.resolution
    if text is not None and text.endswith("W"):
        try:
            step_w = float(text.removesuffix("W"))
        except ValueError:
            step_w = -1.0
        if not step_w > 0:
            raise InputError(f"--resolution: expected a step such as 0.1W or 1Wh; got {text!r}.")
        assumed = replace(assumed, resolution_w=step_w)
    elif text is not None:
        # A register adds up what the load did: its own noise is nothing beside its step.
        assumed = replace(
            assumed, register_j=register_step(text) or 0.0, resolution_w=0.0, noise_w=0.0
        )
    return assumed, rating_w


def _document(
    plan: Plan,
    assumed: Assumptions,
    prediction: Prediction | None,
    lag: LagBound,
    found: tuple[Problem, ...],
    more: dict[str, Prediction | None],
) -> dict[str, Any]:
    from ..plans.identify import energy_for_j

    p = prediction
    loads = ("idle", "half", "full")
    register_j = assumed.register_j
    needed_j = energy_for_j(register_j, 0.01) if register_j else None
    half_w = 0.5 * (assumed.idle_w + assumed.full_w)
    return {
        **_summary(plan),
        "assumptions": asdict(assumed),
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
    assumed: Assumptions,
    prediction: Prediction | None,
    lag: LagBound,
    found: tuple[Problem, ...],
    more: dict[str, Prediction | None],
) -> None:
    from ..plans.identify import energy_for_j
    from .output import table

    a = assumed
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
