"""`wattcal record`: a plan, meters and estimators in, a sealed run out."""

from __future__ import annotations

import argparse
import contextlib
import sys
import time
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ..errors import InputError, RunError
from .help import Help
from .recorded import meters_lost, report_run
from .simulated import add_machine_option, attach
from .sources import add_lab_options, check_meters, find_sources

if TYPE_CHECKING:
    from ..bench import AnyEstimator, AnyMeter
    from ..plans import Plan, PlanStep

__all__ = ["add_plan_options", "add_source_options", "carry_out", "register"]

_RECORD: Final = """\
Record a run: tell the machine what to do (the plan), and read the power meter and the software
estimators meanwhile. What goes wrong on the way (a late answer, an unplugged meter, an estimator
that dies) is recorded as a fault, and the recording goes on; Ctrl-C seals what there is.
Without --meter every meter of ./lab.toml is read: its serial, certificate and known
correction stand in the run. A meter that is not in it is recorded as untraced.

examples:
  wattcal record --meter pzem-004t@/dev/ttyUSB0
  wattcal record --meter wall=pzem-004t@/dev/ttyUSB0 --estimator rapl
  wattcal record --meter pzem-004t@/dev/ttyUSB0 --workload cpu-int:0.5:60
  wattcal record --reference psu-a+psu-b --compare plug    (names of lab.toml)
  wattcal record --meter manual --display 0.1W        (you type what it shows)
Without hardware: start `wattcal emulate pzem-004t --link /tmp/meter` and record
  wattcal record --meter pzem-004t@/tmp/meter --simulated --plan smoke

plans:      smoke (2 min), quick (10), standard (30), thorough (2 h), rezero,
            verify, observe, or a TOML file; see `wattcal plan show`
workloads:  idle, cpu-int, cpu-int-1, cpu-float, cpu-matmul, memory-copy, mixed,
            inference@558, gpu-matmul, ...; stress-ng:METHOD; 'cmd:COMMAND'
estimators: rapl, nvml, cpu-load, codecarbon (all that run here, unless named),
            rapl-perf, codecarbon-fallback, nvidia-smi, rocm-smi,
            carbontracker, zeus (make peers, or NAME@ENVIRONMENT),
            bmc-acpi, bmc-ipmi, bmc-redfish@https://HOST; none"""

_AS_USED_LIMIT_S: Final = 60.0
"""How long a tool that runs as its users run it may take to end after the recording."""
_ANCHOR_S: Final = 10.0
_DEFAULT_STEP_S: Final = 30.0
# A command ends its step when it is done; a day is meant as "as long as it takes".
_LONGEST_S: Final = 86_400.0


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `record`."""
    parser = commands.add_parser(
        "record",
        help="record a run: plan, meters and estimators",
        description=_RECORD,
        formatter_class=Help,
    )
    what = add_plan_options(parser, "quick")
    what.add_argument(
        "--observer",
        action="store_true",
        help="what does each estimator cost? Idle with it and without it, six times",
    )
    add_source_options(parser)
    parser.add_argument(
        "-o",
        "--output",
        metavar="RUN",
        type=Path,
        help="directory of the run (default: runs/<UTC time>-<uid8>)",
    )
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    parser.set_defaults(run=_record)


def add_plan_options(
    parser: argparse.ArgumentParser, plan: str
) -> argparse._MutuallyExclusiveGroup:
    """Add the options that say what the machine is told to do, and return their group."""
    what = parser.add_mutually_exclusive_group()
    what.add_argument(
        "--plan",
        metavar="P",
        default=None,
        help=f"name of a plan or a TOML file (default: {plan})",
    )
    what.add_argument(
        "--workload",
        metavar="NAME[:LEVEL[:SECONDS]]",
        action="append",
        help="one step instead of a plan, between two idle anchors; may be repeated",
    )
    parser.set_defaults(default_plan=plan, observer=False)
    return what


def add_source_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that say which meters and estimators are read, and as what."""
    add_lab_options(parser)
    parser.add_argument(
        "--estimator",
        metavar="ID",
        action="append",
        help="a software estimator, or `none`; may be repeated (default: all that run here)",
    )
    parser.add_argument(
        "--as-used",
        metavar="TOOL",
        action="append",
        default=[],
        help="also run TOOL as its users do, in its own process with its defaults and its own file "
        "(codecarbon, carbontracker, zeus); may be repeated",
    )
    parser.add_argument(
        "--session",
        metavar="NAME",
        default="auto",
        help="runs that share one offset: same power-up, same hardware state (default: auto, "
        "from the boot id)",
    )
    parser.add_argument(
        "--boundary",
        metavar="B",
        default="psu_ac_input",
        help="where the meters sit (default: psu_ac_input)",
    )
    parser.add_argument("--note", metavar="TEXT", help="a remark that stands in the run")
    parser.add_argument("--headless", action="store_true", help="show no progress")
    parser.add_argument(
        "--simulated",
        action="store_true",
        help="the meter is emulated: mark the run, so that no one takes it for a measurement",
    )
    add_machine_option(parser)
    parser.add_argument(
        "--powercap-root",
        metavar="DIR",
        type=Path,
        help="read the RAPL counters under DIR/class/powercap (default: /sys)",
    )


def _record(arguments: argparse.Namespace) -> int:
    from ..bench import Interrupts

    path, interrupted, lasted_s = carry_out(arguments)
    with Interrupts():  # who presses Ctrl-C twice still learns where the recording lies
        report_run(arguments, path, interrupted, lasted_s)
    if interrupted:
        return 130
    return 4 if meters_lost(path) else 0


def carry_out(arguments: argparse.Namespace) -> tuple[Path, bool, float]:
    """Record what was asked for; return the run, whether it was interrupted, and how long it took.

    Raises:
        CalibrationError, DriverError: something cannot be recorded, or ended the recording.

    """
    from ..bench import AmbientSensor, as_used, record
    from ..machine import this_machine
    from ..plans import find_plan, observer_plan, to_mapping
    from ..recording.writer import RunWriter, new_start
    from .live import LiveView

    plan = (
        _plan_of(arguments.workload)
        if arguments.workload
        else find_plan(arguments.plan or arguments.default_plan)
    )
    _check_workloads(plan)
    simulated = attach(arguments, plan)
    durations_s = as_used.fitting(plan)
    versions = as_used.check(arguments.as_used, durations_s)
    if arguments.output is not None:
        _check_free(arguments.output)
    sources = find_sources(arguments, this_machine())
    addresses = sources.addresses
    with contextlib.ExitStack() as stack:
        # Everything that may refuse is opened before the run: a refusal leaves nothing behind.
        meters = {n: _open_meter(a, stack) for n, a in addresses.items()}
        check_meters(sources, meters)
        estimators = _open_estimators(arguments, stack)
        if not meters and not estimators and sources.manual is None:
            raise InputError("Nothing to record: name a --meter or an --estimator.")
        active = None
        if arguments.observer:
            if not meters or not estimators:
                raise InputError(
                    "Expected something to measure with and something to measure: --observer "
                    "needs a --meter and an --estimator that runs here."
                )
            plan, active = observer_plan([e.id for e in estimators])
        if sources.lab.ambient_sensor is not None:
            estimators.append(AmbientSensor(sources.lab.ambient_sensor))
        start = new_start(
            "simulated" if arguments.simulated else "measured",
            _session(arguments.session),
            plan={**to_mapping(plan), "sha256": plan.sha256},
            seed=plan.seed,
            machine=this_machine() if simulated is None else simulated.machine.describe(),
            versions=_versions(estimators),
            note=arguments.note,
            setup=sources.setup,
        )
        stamp = datetime.fromtimestamp(start.t_wall_ns / 1e9, UTC).strftime("%Y%m%dT%H%M%SZ")
        path = arguments.output or Path("runs") / f"{stamp}-{start.uid[:8]}"
        interrupted = False
        began_s = time.monotonic()
        with LiveView(f"recording {plan.name}") as view:
            watched = view.shown and not (arguments.headless or sources.manual)
            writer = RunWriter.create(path, start=start)
            used = None
            if versions:
                used = as_used.ToolsAsUsed(path, versions, durations_s)
                stack.enter_context(used)
            with contextlib.suppress(KeyboardInterrupt), writer:
                interrupted = True
                record(
                    plan,
                    meters,
                    estimators,
                    writer,
                    on_progress=view.update if watched else None,
                    boundary=arguments.boundary,
                    reopen={n: partial(_opened, a) for n, a in addresses.items()},
                    known=sources.known,
                    manual=sources.manual,
                    active=active,
                    play_gpus=None if simulated is None else simulated.tell,
                )
                interrupted = False
            if used is not None and not interrupted:
                for tool, why in used.finish(_AS_USED_LIMIT_S).items():
                    print(f"wattcal: --as-used {tool}: {why}", file=sys.stderr)
    return path, interrupted, time.monotonic() - began_s


def _plan_of(specs: list[str]) -> Plan:
    """Build a plan from workloads on the command line, with idle before and after."""
    from ..plans import IDLE, Plan, PlanStep

    steps = [_step_of(spec) for spec in specs]
    shortest_s = min(s.duration_s for s in steps)
    anchor = PlanStep(IDLE, 0.0, min(_ANCHOR_S, shortest_s))
    return Plan(
        "workloads",
        0,
        (anchor, *steps, anchor),
        warm_up_s=1.0,
        settle_s=min(3.0, 0.25 * shortest_s),
    )


def _step_of(spec: str) -> PlanStep:
    """Read NAME[:LEVEL[:SECONDS]]; a command may hold anything."""
    from ..plans import COMMAND, IDLE, PlanStep
    from ..workloads import STRESS_NG

    if spec.startswith(COMMAND):
        return PlanStep(spec, 1.0, _LONGEST_S)
    head = STRESS_NG if spec.startswith(STRESS_NG) else ""
    name, *numbers = spec.removeprefix(head).split(":")
    try:
        values = [float(n) for n in numbers]
    except ValueError:
        values = [0.0] * 3
    if len(values) > 2:
        raise InputError(
            f"Expected NAME[:LEVEL[:SECONDS]], for example cpu-int:0.5:60; got {spec!r}."
        )
    level = values[0] if values else float(name != IDLE)
    return PlanStep(head + name, level, values[1] if len(values) == 2 else _DEFAULT_STEP_S)


def _check_workloads(plan: Plan) -> None:
    from ..workloads import workload

    for name in plan.workloads:
        workload(name)


def _check_free(path: Path) -> None:
    from ..recording.files import is_locked

    if is_locked(path):
        raise RunError(
            f"{path}: another process is recording into this directory; choose another one."
        )
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise RunError(f"Expected {path} to be new or empty; it is not. Choose another directory.")


def _opened(address: str) -> AnyMeter:
    from ..instruments import open_meter

    return open_meter(address)


def _open_meter(address: str, stack: contextlib.ExitStack) -> AnyMeter:
    """Open a meter and make it speak once: a silent port is refused before the run begins."""
    from ..bench import identity_of

    meter = _opened(address)
    stack.callback(meter.close)
    identity_of(meter)
    return meter


def _open_estimators(
    arguments: argparse.Namespace, stack: contextlib.ExitStack
) -> list[AnyEstimator]:
    from ..estimators import available, open_estimator

    root: Path | None = arguments.powercap_root
    opened: list[AnyEstimator] = []
    if arguments.estimator is None:
        found, reasons = available(powercap_root=root)
        opened.extend(found)
        for name, reason in reasons.items():
            print(f"wattcal: recording without {name}: {reason}", file=sys.stderr)
    else:
        for name in arguments.estimator:
            if name != "none":
                opened.append(open_estimator(name, powercap_root=root))
                stack.callback(opened[-1].close)
        return opened
    for estimator in opened:
        stack.callback(estimator.close)
    return opened


def _session(name: str) -> str:
    """Return the name of the session; `auto` is the same until the machine is started again."""
    if name != "auto":
        return name
    from ..recording.clocks import read_clocks

    boot_id = read_clocks().boot_id
    return f"boot-{boot_id[:8]}" if boot_id else datetime.now(UTC).strftime("day-%Y-%m-%d")


def _versions(estimators: list[AnyEstimator]) -> dict[str, str]:
    """Return the versions of tools that run in processes of their own."""
    return {type(e).__name__.lower(): str(e.version) for e in estimators if hasattr(e, "version")}
