"""`wattcal plan show`: what a plan tells the machine; `plan check` stands in `cli.plan_check`."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from .help import Help
from .plan_check import register_check, summary

if TYPE_CHECKING:
    from ..plans import Plan

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
    register_check(kinds)


def _show(arguments: argparse.Namespace) -> int:
    from ..plans import READY, SUMMARIES, find_plan, to_mapping, to_toml
    from .output import print_json, table

    if arguments.plan is None:
        plans = {name: make() for name, make in READY.items()}
        if arguments.json:
            print_json([summary(p) | {"summary": SUMMARIES[n]} for n, p in plans.items()])
        else:
            print(table(("plan", "what for"), list(SUMMARIES.items())))
        return 0
    plan = find_plan(arguments.plan)
    if arguments.json:
        print_json(summary(plan) | {"summary": SUMMARIES.get(plan.name), **to_mapping(plan)})
    elif arguments.toml:
        sys.stdout.write(to_toml(plan))
    else:
        _print_steps(plan)
    return 0


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
