"""`wattcal ranging`: which ranges of a power analyser to fix for the runs that count."""

from __future__ import annotations

import argparse
import time
from typing import Any

from ..errors import InputError
from .help import Help

__all__ = ["register"]

_RANGING = """\
Let a power analyser choose its ranges by itself while the machine runs its
heaviest workload, and print the ranges to fix: the voltage range at the largest
voltage seen, the current range at 1.1 times the largest current, each rounded
up. The ranges that were set before are restored. Runs that count never change
their range: name the ranges in the address of the meter.

example:
  wattcal ranging wt310e@/dev/ttyUSB0 --seconds 600"""


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `ranging`."""
    ranging = commands.add_parser(
        "ranging",
        help="which ranges of a power analyser to fix",
        description=_RANGING,
        formatter_class=Help,
    )
    ranging.add_argument("address", help="the meter, MODEL@PORT?KEY=VALUE&...")
    ranging.add_argument(
        "--seconds", type=float, default=600.0, help="how long to look (default: 600)"
    )
    ranging.add_argument("--json", action="store_true", help="print JSON instead of text")
    ranging.set_defaults(run=_ranging)


def _ranging(arguments: argparse.Namespace) -> int:
    from ..instruments import Unsupported, open_meter, ranging_run
    from .output import Progress, print_json

    if not 1.0 <= arguments.seconds <= 1e6:
        raise InputError(f"--seconds expects 1 to 1000000; got {arguments.seconds:g}.")
    meter: Any = open_meter(arguments.address)
    try:
        if not hasattr(meter, "read_extremes"):
            raise Unsupported(f"The {meter.model} has no ranges that could be chosen.")
        meter.identify()
        period_s = max(c.refresh_s or 1.0 for c in meter.channels)
        samples = max(1, round(arguments.seconds / period_s))
        progress = Progress("ranging", samples)
        done = 0

        def wait() -> None:
            nonlocal done
            time.sleep(period_s)
            done += 1
            progress.update(done)

        result = ranging_run(meter, samples, wait=wait)
        progress.close()
    finally:
        meter.close()
    chosen = result.ranges
    facts = {
        "address": arguments.address,
        "samples": result.samples,
        "without_number": result.without_number,
        "largest_voltage_v": result.largest_voltage_v,
        "largest_current_a": result.largest_current_a,
        "voltage_range_v": chosen.voltage_v,
        "current_range_a": chosen.current_a,
        "fixed_address": _fixed(arguments.address, chosen.voltage_v, chosen.current_a),
    }
    if arguments.json:
        print_json(facts)
        return 0
    print(
        f"{result.samples} samples, {result.without_number} without a number: "
        f"up to {result.largest_voltage_v:g} V and {result.largest_current_a:g} A\n"
        f"fix {chosen.voltage_v:g} V and {chosen.current_a:g} A:\n  {facts['fixed_address']}"
    )
    return 0


def _fixed(address: str, voltage_v: float, current_a: float) -> str:
    """Return the address with these ranges in place of those that it names."""
    from ..instruments import split_address

    model, port, query = split_address(address)
    ranges = {"voltage_range_v": f"{voltage_v:g}", "current_range_a": f"{current_a:g}"}
    kept = [p for p in query.split("&") if p and p.partition("=")[0] not in ranges]
    return f"{model}@{port}?" + "&".join([*kept, *(f"{k}={v}" for k, v in ranges.items())])
