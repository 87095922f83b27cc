"""`wattcal emulate`: be a power meter, for trying software without hardware."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import InputError
from .help import Help
from .stopping import stopped_by_signals

if TYPE_CHECKING:
    from ..instruments import FaultPlan, PmdUsbEmulator, Pzem004tEmulator

__all__ = ["read_profile", "register"]

_MADE_UP_S = 600.0  # of a PMD-USB stream that is not replayed from a file

_EMULATE = """\
Be a power meter on a pseudo-terminal, byte for byte, until Ctrl-C: for trying out a recording, or
a driver, without hardware. The power is constant or follows a CSV file with the columns
t_s,power_w: each power holds from its time (counted from the start) until the next line's.

examples:
  wattcal emulate pzem-004t --link /tmp/meter --power 60
  wattcal emulate pzem-004t --link /tmp/meter --profile p.csv --fault late=0.01
  wattcal emulate pmd-usb   --link /tmp/rails --stream PMD_data.bin"""


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `emulate`."""
    emulate = commands.add_parser(
        "emulate",
        help="be a power meter on a pseudo-terminal",
        description=_EMULATE,
        formatter_class=Help,
    )
    emulate.add_argument("model", choices=("pzem-004t", "pmd-usb"), help="which meter to be")
    emulate.add_argument(
        "--link", type=Path, required=True, metavar="PATH", help="the name of the emulated port"
    )
    power = emulate.add_mutually_exclusive_group()
    power.add_argument("--power", type=float, metavar="W", help="constant power (default 60)")
    power.add_argument("--profile", type=Path, metavar="CSV", help="power over time: t_s,power_w")
    power.add_argument(
        "--stream",
        type=Path,
        metavar="FILE",
        help="pmd-usb: raw bytes to replay (else 10 min made up)",
    )
    emulate.add_argument(
        "--window",
        type=float,
        default=1.0,
        metavar="S",
        help="pzem-004t: averaging window (default 1 s; assumed: in no source)",
    )
    emulate.add_argument(
        "--refresh",
        type=float,
        default=1.0,
        metavar="S",
        help="pzem-004t: time between new values (default 1 s; assumed: in no source)",
    )
    emulate.add_argument(
        "--fault",
        action="append",
        default=[],
        metavar="NAME=PROBABILITY",
        help="let this share of the answers go wrong; repeatable; an unknown name lists them all",
    )
    emulate.add_argument("--seed", type=int, default=0, help="of the faults (default 0)")
    emulate.add_argument("--seconds", type=float, metavar="S", help="stop by itself after a while")
    emulate.set_defaults(run=_emulate)


def _emulate(arguments: argparse.Namespace) -> int:
    faults = _faults(arguments.fault, arguments.seed)
    with stopped_by_signals() as stopped:
        try:
            emulator = _emulator(arguments, faults)
        except (OSError, ValueError) as error:
            raise InputError(str(error)) from None
        with emulator:
            print(f"{arguments.model} at {emulator.path}; Ctrl-C ends it.", file=sys.stderr)
            stopped.wait(arguments.seconds)
    return 0


def _emulator(
    arguments: argparse.Namespace, faults: FaultPlan
) -> Pzem004tEmulator | PmdUsbEmulator:
    from ..instruments import PmdUsbEmulator, Pzem004tEmulator, synthesise_pmd_usb

    power_w = _power(arguments)
    if arguments.model == "pmd-usb":
        if arguments.stream is not None:
            data = arguments.stream.read_bytes()
        else:
            data = synthesise_pmd_usb(power_w, min(arguments.seconds or _MADE_UP_S, _MADE_UP_S))
        return PmdUsbEmulator(data, link=arguments.link, speed=1.0, faults=faults)
    if arguments.stream is not None:
        raise InputError("--stream replays a pmd-usb; pzem-004t takes --power or --profile.")
    return Pzem004tEmulator(
        _from_now(power_w),
        link=arguments.link,
        window_s=arguments.window,
        refresh_s=arguments.refresh,
        faults=faults,
    )


def _power(arguments: argparse.Namespace) -> Callable[[float], float]:
    if arguments.profile is not None:
        return read_profile(arguments.profile)
    watts: float = 60.0 if arguments.power is None else arguments.power
    if not 0.0 <= watts < 1e5:
        raise InputError(f"--power expects watts from 0 to 100000; got {watts:g}.")
    return lambda _t_s: watts


def _from_now(power_w: Callable[[float], float]) -> Callable[[float], float]:
    """Shift a profile that begins at zero to monotonic seconds that begin now."""
    import time

    begin_s = time.monotonic()
    return lambda t_s: power_w(t_s - begin_s)


def read_profile(path: Path) -> Callable[[float], float]:
    """Read `t_s,power_w` lines; return power in W as a function of seconds since the start.

    Raises:
        InputError: the file cannot be read as such; the message names the line.

    """
    import bisect
    import csv
    import math

    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.reader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"The profile {path} cannot be read: {error}.") from None
    header = [cell.strip() for cell in rows[0]] if rows else []
    if header != ["t_s", "power_w"]:
        raise InputError(
            f"{path}: expected the header t_s,power_w in line 1; got {','.join(header)!r}."
        )
    times_s, powers_w = list[float](), list[float]()
    for number, row in enumerate(rows[1:], start=2):
        if not row:
            continue
        try:
            t_s, watts = (float(cell) for cell in row)
        except ValueError:
            raise InputError(
                f"{path}, line {number}: expected two numbers; got {','.join(row)!r}."
            ) from None
        if not math.isfinite(t_s) or not 0.0 <= watts < 1e5:
            raise InputError(
                f"{path}, line {number}: expected a time and 0 to 100000 W; got {','.join(row)!r}."
            )
        if times_s and t_s <= times_s[-1]:
            raise InputError(
                f"{path}, line {number}: expected a time after {times_s[-1]:g} s; got {t_s:g} s."
            )
        times_s.append(t_s)
        powers_w.append(watts)
    if not times_s:
        raise InputError(f"{path}: expected lines t_s,power_w below the header; there are none.")
    return lambda t_s: powers_w[max(0, bisect.bisect_right(times_s, t_s) - 1)]


def _faults(pairs: list[str], seed: int) -> FaultPlan:
    from ..instruments import FaultPlan

    rates: dict[str, float] = {}
    for pair in pairs:
        name, _, text = pair.partition("=")
        try:
            rates[name] = float(text)
        except ValueError:
            raise InputError(f"--fault expects NAME=PROBABILITY; got {pair!r}.") from None
    try:
        return FaultPlan(rates, seed=seed)
    except ValueError as error:
        raise InputError(str(error)) from None
