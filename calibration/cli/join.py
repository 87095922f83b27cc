"""`wattcal runs join`: a machine's run and the run of the host that its meters were read on."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Final

from .help import Help
from .needs_lab import needs_lab

__all__ = ["register_join"]

_JOIN: Final = """\
Make one run of two that were recorded at the same time: MACHINE holds the workloads and the
estimators, METERS the meters that another host has read. The clocks are matched by the load
(a plan with a sync preamble), and the offset with its uncertainty stands in the new run; a
load that does not determine it is refused (5). Both runs must be finished.

  wattcal record --plan standard --meter none -o machine     (on the machine)
  wattcal record --workload idle:0:2000 --meter wall=pzem-004t@/dev/ttyUSB0 \\
      --estimator none -o meters                             (on the other host)
  wattcal runs join machine meters -o joined"""


def register_join(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `runs join`."""
    parser = actions.add_parser(
        "join",
        help="one run of two, recorded on two machines",
        description=_JOIN,
        formatter_class=Help,
    )
    parser.add_argument("machine", metavar="MACHINE", help="run with the estimators and steps")
    parser.add_argument("meters", metavar="METERS", help="run with the meters")
    parser.add_argument(
        "--search",
        metavar="S",
        type=float,
        default=10.0,
        help="how far from the wall clocks' offset to look, s (10)",
    )
    parser.add_argument(
        "-o", "--output", metavar="RUN", type=Path, required=True, help="directory of the new run"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=_join)


@needs_lab
def _join(arguments: argparse.Namespace) -> int:
    from ..analysis.joining import clock_offset
    from ..errors import InputError
    from ..recording.join import join_runs, refuse_unfinished
    from ..recording.reader import read_run
    from .output import print_json

    if not 0.0 < arguments.search <= 3600.0:
        raise InputError(f"--search expects seconds up to 3600; got {arguments.search:g}.")
    machine, meters = read_run(arguments.machine), read_run(arguments.meters)
    for run in (machine, meters):
        refuse_unfinished(run)
    offset = clock_offset(machine, meters, search_s=arguments.search)
    join_runs(machine, meters, arguments.output, to_machine=offset.to_machine, how=offset.to_json())
    if arguments.json:
        print_json({"run": str(arguments.output), **offset.to_json()})
    else:
        apart_s = offset.offset_s - offset.wall_s
        print(
            f"{arguments.output}: the wall clocks were {apart_s:+.4f} s apart (u "
            f"{offset.u_s:.2g} s), by {offset.seen_by} and {offset.windows} meter windows"
        )
    return 0
