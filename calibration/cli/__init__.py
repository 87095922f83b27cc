"""The command `wattcal`: a small file per command group, importing what it needs when it runs.

The consumer's commands work in the bare install, so nothing here imports beyond the standard
library until a command is chosen. A command module has `register(commands)`, which adds its
parser and sets `run=` to a function of the parsed arguments that returns the exit code.
"""

from __future__ import annotations

import argparse
import importlib
import signal
import sys
import tempfile
import traceback
from collections.abc import Sequence
from typing import Final

from .._version import VERSION
from ..errors import CalibrationError
from .help import Help

__all__ = ["COMMAND_MODULES", "entry", "main"]

COMMAND_MODULES: Final = (
    "doctor",
    "meters",
    "emulate",
    "tape",
    "ranging",
    "plan",
    "record",
    "runs",
    "datasets",
    "analyse",
    "verify",
    "calibrate",
    "rezero",
    "audit",
    "correct",
    "conformance",
    "demo",
)

_DESCRIPTION = """\
Calibrate software energy estimators (CodeCarbon, RAPL, ...) against a physical
power meter, and apply the result: a correction with its uncertainty, its range
and its refusals.

  the lab       wattcal calibrate, or  record, then  compare, fit, verify
  the consumer  wattcal audit emissions.csv, then  correct, with a profile
  first look    wattcal demo  (a simulated machine, no hardware, 90 s)"""

_EPILOG = """\
exit codes:
  0 done           3 unusable input                      5 refused, with reasons
  2 wrong usage    4 device or estimator not available   130 interrupted
  70 a bug of ours: the line names the log to report"""


def parser() -> argparse.ArgumentParser:
    """Build the whole command line."""
    top = argparse.ArgumentParser(
        prog="wattcal",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=Help,
    )
    top.add_argument("--version", action="version", version=f"wattcal {VERSION}")
    commands = top.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name in COMMAND_MODULES:
        importlib.import_module(f".{name}", __name__).register(commands)
    return top


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; a user's mistake is one sentence."""
    arguments = parser().parse_args(argv)
    try:
        return int(arguments.run(arguments))
    except KeyboardInterrupt:
        print("wattcal: interrupted", file=sys.stderr)
        return 130
    except CalibrationError as error:
        print(f"wattcal: {error}", file=sys.stderr)
        return error.exit_code
    except BrokenPipeError:
        sys.stderr.close()
        return 141
    except Exception as error:
        return _unexpected(error)


def _unexpected(error: Exception) -> int:
    """Report a driver's error as exit 4 and everything else as a bug of ours, in one line each."""
    if any(c.__module__ == "drivers.errors" for c in type(error).__mro__):
        print(f"wattcal: {error}", file=sys.stderr)
        return 4
    with tempfile.NamedTemporaryFile(
        "w", prefix="wattcal-", suffix=".log", delete=False, encoding="utf-8"
    ) as log:
        traceback.print_exc(file=log)
    print(
        f"wattcal: a bug of ours ({type(error).__name__}: {error}); the details are in {log.name}, "
        "please attach it to a report",
        file=sys.stderr,
    )
    return 70


def entry() -> None:
    """Run the console script; a late Ctrl-C does not change the exit code of what is done."""
    code = main()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.exit(code)
