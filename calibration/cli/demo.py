"""`wattcal demo`: a whole calibration on a simulated machine, no hardware, about a minute."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from .help import Help

if TYPE_CHECKING:
    from ..demo.result import DemoResult, EstimatorResult, JobEnergy

_DESCRIPTION = """\
Run a whole calibration on a simulated machine: no hardware, no root, no network, under 90 s.

The machine's power follows this computer's real CPU load through a known model. An emulated
PZEM-004T on a pseudo-terminal is its wall meter; beside it run a RAPL reader, the real CodeCarbon
in RAPL mode (both on simulated counters), the real CodeCarbon as it runs here by itself, and the
CPU load. Then every tool is compared with the meter and fitted: some are corrected, the others
refused with the reason. At the end CodeCarbon's own emissions.csv is corrected and held against
the truth. Everything it writes is marked simulated and lies in one folder."""

_EPILOG = """\
examples:
  wattcal demo
  wattcal demo -o /tmp/try --json | jq .job"""


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command `demo`."""
    parser = commands.add_parser(
        "demo",
        help="a whole calibration on a simulated machine, about a minute",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=Help,
    )
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        default=Path("wattcal-demo"),
        metavar="DIR",
        help="folder for everything it writes (default: wattcal-demo); an older demo in it is "
        "replaced, anything else is left alone",
    )
    parser.add_argument(
        "--seconds",
        type=_seconds,
        default=None,
        metavar="S",
        help="length of the recording, at least 45 (default: 62)",
    )
    parser.add_argument("--json", action="store_true", help="print the numbers as JSON")
    parser.set_defaults(run=_run)


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 45.0 <= value <= 3600.0:
        raise argparse.ArgumentTypeError(
            "expected seconds from 45 (in less, a step holds no whole window of the meter) to "
            f"3600; got {text!r}"
        )
    return value


def _run(arguments: argparse.Namespace) -> int:
    from ..errors import NotInstalled

    try:
        from ..demo.plan import SECONDS
        from ..demo.run import run_demo
    except ModuleNotFoundError as error:
        if error.name is not None and error.name.partition(".")[0] == "calibration":
            raise
        raise NotInstalled(
            f"The demo needs {error.name}, which is not installed: pip install 'wattcal[lab]'"
        ) from None
    from .output import print_json

    result = run_demo(arguments.output, seconds=arguments.seconds or SECONDS)
    if arguments.json:
        print_json(result.to_json())
    else:
        print(_text(result))
    return 0


def _text(result: DemoResult) -> str:
    from ..demo.result import BUSY
    from .output import table

    rows = [
        [
            e.name,
            e.mode if e.mode and " " not in e.mode else "-",
            _percent(e.before_mape_pct),
            _percent(e.after_mape_pct),
            (e.verdict or "no input").replace("_", " "),
        ]
        for e in result.estimators
    ]
    lines = [
        "SIMULATED: the machine, its counters and its meter do not exist",
        "",
        f"{result.points} points, {result.recorded_s:.0f} s recorded; mean |error| of power in %, "
        "after: held out",
        "",
        table(["estimator", "mode", "before", "after", "verdict"], rows, right="llrrl"),
        "",
    ]
    if result.simulation.idle_load > BUSY:
        lines += [_busy(result.simulation.idle_load), ""]
    for estimator in result.estimators:
        lines += _reasons(estimator, result.held_out)
    if result.job is None:
        lines += ["", "CodeCarbon in RAPL mode got no correction, so its file was left as it is."]
    else:
        lines += ["", *_job(result.job)]
    lines += ["", f"The page: {result.folder}/{next(iter(result.files))}"]
    return "\n".join(lines)


def _busy(load: float) -> str:
    import textwrap

    return textwrap.fill(
        f"This computer was {100 * load:.0f} % busy with other work while the plan wanted it idle. "
        "The simulated machine follows that load too, which leaves little room for levels: close "
        "what else runs, then run the demo again.",
        80,
    )


def _reasons(estimator: EstimatorResult, held_out: str) -> list[str]:
    import textwrap

    lines = []
    if estimator.note is not None:
        lines.append(f"{estimator.name}: {estimator.note}")
    if estimator.verdict is not None and estimator.verdict != "correction":
        grave = [r for r in estimator.reasons if r.consequence != "flag"]
        lines += [f"{estimator.name} is not corrected, {r.code}: {r.message}" for r in grave]
    if estimator.verdict == "correction":
        for group in estimator.held_out:
            if group.workload == held_out:
                where = "inside" if group.inside else "outside"
                lines.append(
                    f"{estimator.name}: {held_out}, whose gain differs, falls {where} its interval "
                    f"when held out ({group.bias_pct:+.1f} %)"
                )
    return [textwrap.fill(line, 80, subsequent_indent="  ") for line in lines]


def _job(job: JobEnergy) -> list[str]:
    from .output import table

    expanded = job.corrected_j - job.low_j
    rows = [
        ["raw", f"{job.raw_j:.0f}", "", f"{job.raw_error_pct:+.1f} %"],
        [
            "corrected",
            f"{job.corrected_j:.0f}",
            f"± {expanded:.0f}",
            f"{job.corrected_error_pct:+.1f} %",
        ],
        ["true", f"{job.true_j:.0f}", "", "inside" if job.true_inside else "OUTSIDE the interval"],
    ]
    return [
        f"{job.file}, {job.duration_s:.1f} s, corrected by {job.profile}",
        "",
        table(["energy", "J", "U (95 %)", "against the truth"], rows, right="lrrl"),
    ]


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"
