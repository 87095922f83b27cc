"""Which meters a recording reads, what the laboratory knows of them, and what the reference is."""

from __future__ import annotations

import argparse
import math
import platform
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ..errors import CalibrationError, InputError

if TYPE_CHECKING:
    from ..bench import AnyMeter, Lab, LabMachine, LabMeter, ManualMeter, MeterNotes

__all__ = ["Sources", "add_lab_options", "check_meters", "find_sources"]

_MANUAL: Final = "manual"
_LAB_FILE: Final = Path("lab.toml")
_NAMED: Final = re.compile(r"([A-Za-z0-9][A-Za-z0-9_.-]*)=([^@]*@.*|manual)")
_BOARD: Final = "bmc"
"""The board's own sensor as the reference: an estimator, never named by itself."""
_EARLIER_RUNS: Final = 50
"""So many of the newest runs are asked what this machine has drawn before."""


@dataclass(frozen=True, slots=True)
class Sources:
    """The meters of a recording: `addresses` by stream, what is `known` of them, the `setup`.

    `full_w` is the most that the machine can draw and `full_from` who says so; both None where
    nobody does. `manual` is a meter that somebody reads; it is not among the addresses.
    """

    addresses: Mapping[str, str]
    known: Mapping[str, MeterNotes]
    setup: Mapping[str, Any]
    lab: Lab
    full_w: float | None
    full_from: str | None
    ratings_w: Mapping[str, float] = field(default_factory=dict)
    serials: Mapping[str, str] = field(default_factory=dict)
    manual: ManualMeter | None = None


def add_lab_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that say which meters are read, and what for."""
    parser.add_argument(
        "--meter",
        metavar="[NAME=]MODEL@PORT",
        action="append",
        default=[],
        help="a power meter and the name of its stream, or a meter of lab.toml by its name; may "
        "be repeated (default: all of lab.toml); manual (somebody reads it); none",
    )
    parser.add_argument(
        "--display", metavar="STEP", help="of --meter manual: its smallest step, 0.1W, 1Wh, 0.01kWh"
    )
    parser.add_argument(
        "--reference",
        metavar="EXPR",
        help="the reference: the name of a meter, or a sum A+B of the supplies of one machine "
        "(default: lab.toml's, else the first meter); bmc: an estimator bmc-...",
    )
    parser.add_argument(
        "--compare",
        metavar="METER",
        action="append",
        default=[],
        help="a meter under test, in series with the reference; an input like any estimator; may "
        "be repeated",
    )
    parser.add_argument("--lab", metavar="FILE", type=Path, help="default: ./lab.toml if there")
    parser.add_argument("--machine", metavar="NICKNAME", help="the machine, as lab.toml calls it")
    parser.add_argument(
        "--full-w", metavar="W", type=float, help="the most that the machine can draw"
    )
    parser.add_argument(
        "--ambient-c", metavar="C", type=float, help="the room's temperature where no sensor is"
    )


def find_sources(arguments: argparse.Namespace, machine: Mapping[str, Any]) -> Sources:
    """Return what to read, from the command line and lab.toml.

    Raises:
        InputError: a name, lab.toml or a number cannot be used.

    """
    from ..bench import MeterNotes, read_lab
    from ..bench.lab import Lab
    from ..plans.reference import parse_reference

    if arguments.lab is not None or _LAB_FILE.is_file():
        lab = read_lab(arguments.lab or _LAB_FILE)
    else:
        lab = Lab()
    here = lab.machine(arguments.machine, platform.node())
    addresses, listed = _addresses(arguments, lab)
    compare = [_stream_of(text, addresses) for text in arguments.compare]
    expression = arguments.reference or (lab.reference if addresses else None)
    if expression is None:
        first = [n for n in addresses if n not in compare]
        expression = first[0] if first else None
        if len(first) > 1:
            print(f"wattcal: the reference is {expression}, the first of {', '.join(first)}; "
                  "--reference chooses another one, or a sum", file=sys.stderr)  # fmt: skip
    if expression == _BOARD and any(e.startswith("bmc-") for e in arguments.estimator or ()):
        streams: tuple[str, ...] = (_BOARD,)
    else:
        streams = () if expression is None else parse_reference(expression, tuple(addresses))
    both = [s for s in streams if s in compare]
    if both:
        raise InputError(
            f"--compare: {both[0]} is the reference, or a part of it; expected a meter in series "
            "with it."
        )
    if compare and not streams:
        raise InputError("--compare: expected a reference meter beside it; there is none.")
    today = datetime.now(UTC).date()
    known = {}
    for name, meter in listed.items():
        standing = meter.traceability(today)
        identity = {} if meter.serial is None else {"serial": meter.serial}
        if meter.model is not None:
            identity["model"] = meter.model
        known[name] = MeterNotes(identity, meter.boundary, standing)
        if standing["expired"] and meter.certificate is not None:
            print(f"wattcal: the certificate {meter.certificate.id} of {name} was due on "
                  f"{meter.certificate.due}; the run says so", file=sys.stderr)  # fmt: skip
    full_w, full_from = _full_power(arguments, here, machine)
    return Sources(
        addresses={n: a for n, a in addresses.items() if a != _MANUAL},
        known=known,
        setup={
            "reference": "+".join(streams) or None,
            "compare": compare,
            "operator": lab.operator,
            "machine": arguments.machine if here is None else here.name,
            "full_w": full_w,
            "ambient_c": _ambient_c(arguments, lab),
        },
        lab=lab,
        full_w=full_w,
        full_from=full_from,
        ratings_w={n: m.range_w for n, m in listed.items() if m.range_w is not None},
        serials={n: m.serial for n, m in listed.items() if m.serial is not None},
        manual=_manual(arguments, addresses, listed, full_w),
    )


def _manual(
    arguments: argparse.Namespace,
    addresses: Mapping[str, str],
    listed: Mapping[str, LabMeter],
    full_w: float | None,
) -> ManualMeter | None:
    """Return the meter that somebody reads, if there is one."""
    from ..bench import ManualMeter, Terminal, parse_display

    names = [n for n, a in addresses.items() if a == _MANUAL]
    if not names:
        if arguments.display is not None:
            raise InputError("--display: expected --meter manual beside it; there is none.")
        return None
    if len(names) > 1:
        raise InputError(f"Nobody reads two displays at once: {' and '.join(names)}; name one.")
    meter = listed.get(names[0])
    step = arguments.display or (None if meter is None else meter.display)
    if step is None:
        raise InputError(
            "--meter manual: expected the step of its display too, such as --display 0.1W or "
            "--display 1Wh."
        )
    limit = full_w
    if meter is not None and meter.range_w is not None:
        if full_w is not None and full_w > meter.range_w:
            raise CalibrationError(
                f"Refused: {names[0]} is rated for {meter.range_w:g} W, and the machine can draw "
                f"{full_w:g} W. Take a meter with a higher range."
            )
        limit = full_w or meter.range_w
    return ManualMeter(
        parse_display(step),
        Terminal(),
        stream=names[0],
        model="manual" if meter is None or meter.model is None else meter.model,
        full_w=limit,
        accuracy=None if meter is None else meter.accuracy,
    )


def check_meters(sources: Sources, meters: Mapping[str, AnyMeter]) -> None:
    """Refuse a meter that is another one than lab.toml says, and one that the machine overloads.

    Raises:
        InputError: another serial number answers.
        CalibrationError: the machine can exceed a rating.

    """
    from ..bench import identity_of, same_serial
    from ..plans.reference import over_rating

    ratings: dict[str, float | None] = {}
    for name, meter in meters.items():
        stated = sources.serials.get(name)
        if stated is not None and not same_serial(stated, said := identity_of(meter)):
            raise InputError(
                f"lab.toml says that {name} has the serial number {stated}; the meter that answers "
                f"at its address says {said.get('serial') or said.get('serial_number')}. Correct "
                "the address, or the serial."
            )
        power = next((c.range_max for c in meter.channels if c.name == "power_w"), None)
        own = [r for r in (power, sources.ratings_w.get(name)) if r is not None]
        ratings[name] = min(own, default=None)
    if sources.full_w is not None:
        found = over_rating(sources.full_w, ratings)
        if found:
            raise CalibrationError(
                f"Refused: {'; '.join(found)} ({sources.full_from}). Take a meter with a higher "
                "range, or limit the machine and say so with --full-w."
            )
    elif meters:
        rated = ", ".join(f"{n} {r:g} W" for n, r in ratings.items() if r is not None)
        print(
            "wattcal: nobody says how much the machine can draw (--full-w, lab.toml), so nothing "
            f"guards the meters' ratings ({rated or 'unknown too'})",
            file=sys.stderr,
        )


def _addresses(
    arguments: argparse.Namespace, lab: Lab
) -> tuple[dict[str, str], dict[str, LabMeter]]:
    """Return address by stream, and those of them that lab.toml describes."""
    owned = {m.name: m for m in lab.meters}
    texts = [t for t in arguments.meter if t != "none"]
    if not arguments.meter:
        texts = list(owned)
    texts += [t for t in arguments.compare if t not in texts]
    found: dict[str, str] = {}
    for text in texts:
        if text in owned:
            name, address = text, owned[text].address
        else:
            named = _NAMED.fullmatch(text)
            name, address = named.groups() if named else ("", text)
        if not name:
            model = re.sub(r"[^A-Za-z0-9_.-]", "-", re.split("[@,?]", address)[0])
            same = sum(n == model or n.startswith(f"{model}-") for n in found)
            name = f"{model}-{same + 1}" if same else model
        if name in found:
            raise InputError(f"Two meters are called {name}; give them different names.")
        found[name] = address
    return found, {n: owned[n] for n in found if n in owned and found[n] == owned[n].address}


def _stream_of(text: str, addresses: Mapping[str, str]) -> str:
    """Return the stream of a meter that --compare names by its name or its address."""
    named = _NAMED.fullmatch(text)
    if named:
        return named.group(1)
    return text if text in addresses else next(n for n, a in addresses.items() if a == text)


def _full_power(
    arguments: argparse.Namespace, here: LabMachine | None, machine: Mapping[str, Any]
) -> tuple[float | None, str | None]:
    """Return the most that the machine can draw, W, and who says so."""
    if arguments.full_w is not None:
        if not (math.isfinite(arguments.full_w) and arguments.full_w > 0):
            raise InputError(f"--full-w: expected watts above zero; got {arguments.full_w:g}.")
        return arguments.full_w, "--full-w"
    if here is not None and here.full_w is not None:
        return here.full_w, f"lab.toml, {here.name}"
    folder = Path("runs") if arguments.output is None else arguments.output.parent
    return _seen_before(folder, machine, "simulated" if arguments.simulated else "measured")


def _seen_before(
    folder: Path, machine: Mapping[str, Any], kind: str
) -> tuple[float | None, str | None]:
    """Return the largest reference power that earlier runs of this machine hold, W, and which."""
    import numpy as np

    from ..analysis.supplies import measured_reference
    from ..machine import REQUIRED_KEYS
    from ..recording.reader import read_run

    most_w, where = None, None
    logs = sorted(folder.glob("*/run.jsonl"), key=lambda p: p.stat().st_mtime, reverse=True)
    for log in logs[:_EARLIER_RUNS]:
        try:
            run = read_run(log.parent)
            same = all(run.start.machine.get(k) == machine.get(k) for k in REQUIRED_KEYS)
            if not same or run.start.data_kind != kind or run.stop is None:
                continue
            series = measured_reference(run).series
        except CalibrationError:
            continue  # of somebody else, or broken: it says nothing about this machine
        if series.channel.unit != "W" or not np.isfinite(series.value).any():
            continue
        value_w = float(np.nanmax(series.value))
        if most_w is None or value_w > most_w:
            most_w, where = value_w, f"seen in {log.parent}"
    return most_w, where


def _ambient_c(arguments: argparse.Namespace, lab: Lab) -> float | None:
    """Return the room's temperature as somebody says it, °C; a sensor has a stream of its own."""
    if arguments.ambient_c is not None:
        return _checked_c(arguments.ambient_c, "--ambient-c")
    if not lab.ambient_prompt:
        return None
    if not sys.stdin.isatty():
        print("wattcal: the room's temperature is not recorded; say --ambient-c", file=sys.stderr)
        return None
    while True:
        print("The room's temperature, in °C: ", end="", file=sys.stderr, flush=True)
        line = sys.stdin.readline()
        if not line.strip():
            return None
        try:
            return _checked_c(float(line.strip().replace(",", ".")), "the temperature")
        except (ValueError, InputError) as error:
            print(f"wattcal: {error}", file=sys.stderr)


def _checked_c(value: float, what: str) -> float:
    from ..bench import PLAUSIBLE_C

    low, high = PLAUSIBLE_C
    if not low <= value <= high:
        raise InputError(f"{what}: expected a room between {low:g} and {high:g} °C; got {value:g}.")
    return value
