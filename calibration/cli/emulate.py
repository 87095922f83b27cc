"""`wattcal emulate`: be a power meter, for trying software without hardware."""

from __future__ import annotations

import argparse
import math
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import InputError, NotAvailable
from .help import Help
from .simulated import machine_text, simulated_machine
from .stopping import stopped_by_signals

if TYPE_CHECKING:
    from ..instruments import FaultPlan
    from ..simulation.running import SimulatedMachine

__all__ = ["read_profile", "register"]

_EMULATE = """\
Be a power meter, byte for byte, until Ctrl-C: for trying out a recording, or software of your own,
without hardware. Any model of `wattcal meters`, on a pseudo-terminal or a TCP port of this host.
The power is constant or follows a CSV file with the columns t_s,power_w: each power holds from its
time (counted from the start) until the next line's.

Answers can go wrong as those of real meters do: --faults names what and how often, --seed makes it
the same each time. A name that does not exist lists those that do; so does --set, which sets the
unit id, the averaging window, the voltage and whatever else the emulated meter has.

With --machine it is the wall meter of a simulated machine that follows this computer's load: its
RAPL counters and GPUs lie in --folder, for `wattcal record --simulated-machine` or any other tool.

examples:
  wattcal emulate pzem-004t --link /tmp/meter --power 60
  wattcal emulate pzem-004t --tcp 4000 --set unit=7 --set window_s=0.5
  wattcal emulate pzem-004t --link /tmp/meter --profile p.csv \\
                            --faults late=0.01,bit_flip=0.002 --seed 4
  wattcal emulate pmd-usb   --link /tmp/rails --stream PMD_data.bin
  wattcal emulate pzem-004t --link /tmp/meter \\
                            --machine gpu-node --folder /tmp/node

then, in another terminal:
  wattcal record --meter pzem-004t@/tmp/meter --simulated --workload idle:0:10
  wattcal meters --port socket://127.0.0.1:4000
  wattcal record --meter pzem-004t@/tmp/meter --simulated-machine /tmp/node \\
                 --estimator rapl --estimator nvml --workload gpu-matmul:0.5:10"""


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `emulate`."""
    emulate = commands.add_parser(
        "emulate",
        help="be a power meter, for trying software without one",
        description=_EMULATE,
        formatter_class=Help,
    )
    emulate.add_argument("model", metavar="MODEL", help="which meter to be")
    port = emulate.add_mutually_exclusive_group()
    port.add_argument(
        "--link", type=Path, metavar="PATH", help="the name of the port (default: one in /tmp)"
    )
    port.add_argument("--tcp", type=int, metavar="PORT", help="be at socket://127.0.0.1:PORT")
    power = emulate.add_mutually_exclusive_group()
    power.add_argument("--power", type=float, metavar="W", help="constant power (default 60)")
    power.add_argument("--profile", type=Path, metavar="CSV", help="power over time: t_s,power_w")
    power.add_argument(
        "--stream", type=Path, metavar="FILE", help="pmd-usb: recorded bytes to replay"
    )
    emulate.add_argument(
        "--machine", metavar="NAME", help="the power of a simulated machine: desktop, gpu-node"
    )
    emulate.add_argument(
        "--folder", type=Path, metavar="DIR", help="of --machine: a new folder for what it shows"
    )
    emulate.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="set something of the emulated meter; repeatable; an unknown name lists them all",
    )
    emulate.add_argument(
        "--faults",
        action="append",
        default=[],
        metavar="NAME=RATE,...",
        help="let this share of the answers go wrong; repeatable; an unknown name lists them all",
    )
    emulate.add_argument("--seed", type=int, default=0, help="of the faults (default 0)")
    emulate.add_argument("--seconds", type=float, metavar="S", help="stop by itself after a while")
    emulate.set_defaults(run=_emulate)


def _emulate(arguments: argparse.Namespace) -> int:
    from ..instruments import find, start_emulator

    model = find(arguments.model).model
    faults = _faults(arguments.faults, arguments.seed)
    if arguments.machine is not None and any(
        v is not None for v in (arguments.power, arguments.profile, arguments.stream)
    ):
        raise InputError("--machine is a power too: leave --power, --profile and --stream out.")
    if arguments.tcp is not None and not 0 <= arguments.tcp <= 65_535:
        raise InputError(f"--tcp expects a port from 0 to 65535; got {arguments.tcp}.")
    link = arguments.link if arguments.tcp is None else f"socket://127.0.0.1:{arguments.tcp}"
    pace = {} if arguments.stream is None else {"speed": "1"}
    with (
        stopped_by_signals() as stopped,
        simulated_machine(arguments.machine, arguments.folder) as machine,
    ):
        source = _source(model, arguments) if machine is None else machine.wall_w
        try:
            emulator = start_emulator(
                model, source, link=link, faults=faults,
                options={**pace, **_pairs("--set", arguments.set)},
            )  # fmt: skip
        except (OSError, ValueError) as error:
            raise InputError(str(error)) from None
        with emulator:
            print(f"{model} at {emulator.path}; Ctrl-C ends it.", file=sys.stderr)
            if machine is not None:
                print(machine_text(arguments.machine, arguments.folder), file=sys.stderr)
            _serve(stopped, arguments.seconds, machine)
    return 0


def _serve(
    stopped: threading.Event, seconds: float | None, machine: SimulatedMachine | None
) -> None:
    """Wait until it is stopped, or the time is over, or the machine behind the meter has ended.

    A meter that went on without its machine would show a power that nobody draws.
    """
    if machine is None:
        stopped.wait(seconds)
        return
    end_s = math.inf if seconds is None else time.monotonic() + seconds
    while not stopped.wait(min(max(end_s - time.monotonic(), 0.0), 1.0)):
        if time.monotonic() >= end_s:
            return
        if not machine.alive:
            raise NotAvailable(
                "The simulated machine behind the meter has ended; start it again in a new folder."
            )


def _source(model: str, arguments: argparse.Namespace) -> Callable[[float], float] | bytes:
    """Return the power over monotonic seconds, or the bytes of a recorded stream."""
    if arguments.stream is None:
        return _from_now(_power(arguments))
    if model != "pmd-usb":
        raise InputError(f"--stream replays a pmd-usb; {model} takes --power or --profile.")
    data: bytes = arguments.stream.read_bytes()
    return data


def _power(arguments: argparse.Namespace) -> Callable[[float], float]:
    if arguments.profile is not None:
        return read_profile(arguments.profile)
    watts: float = 60.0 if arguments.power is None else arguments.power
    if not 0.0 <= watts < 1e5:
        raise InputError(f"--power expects watts from 0 to 100000; got {watts:g}.")
    return lambda _t_s: watts


def _from_now(power_w: Callable[[float], float]) -> Callable[[float], float]:
    """Shift a profile that begins at zero to monotonic seconds that begin now."""
    begin_s = time.monotonic()
    return lambda t_s: power_w(t_s - begin_s)


def read_profile(path: Path) -> Callable[[float], float]:
    """Read `t_s,power_w` lines; return power in W as a function of seconds since the start.

    Raises:
        InputError: the file cannot be read as such; the message names the line.

    """
    import bisect
    import csv

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


def _pairs(option: str, words: list[str]) -> dict[str, str]:
    """Take NAME=VALUE words apart."""
    found = {}
    for word in words:
        name, equals, text = word.partition("=")
        if not (name and equals and text):
            raise InputError(f"{option} expects NAME=VALUE; got {word!r}.")
        found[name] = text
    return found


def _faults(words: list[str], seed: int) -> FaultPlan:
    from ..instruments import FaultPlan

    pairs = _pairs("--faults", [pair for word in words for pair in word.split(",")])
    rates: dict[str, float] = {}
    for name, text in pairs.items():
        try:
            rates[name] = float(text)
        except ValueError:
            raise InputError(f"--faults expects NAME=RATE; got {name}={text!r}.") from None
    try:
        return FaultPlan(rates, seed=seed)
    except ValueError as error:
        raise InputError(str(error)) from None
