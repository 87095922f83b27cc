"""`wattcal tape`: an hour with a borrowed meter becomes a fixture for ever."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

from ..errors import InputError
from .help import Help

if TYPE_CHECKING:
    from ..instruments import Meter, StreamingMeter

__all__ = ["register"]

_TAPE = """\
Record what passes between this computer and a meter, byte for byte and with its times, or replay
it. See `wattcal tape record --help` and `wattcal tape replay --help`."""

_RECORD = """\
Read a meter for a while and write down every byte in both directions: a small text file that can
be replayed, tested against, and given to others. Identities never reach the file: unit ids of a
bus become 1, 2, ... with valid checksums, serial numbers in the answer to *IDN? become 0 and X; the
head of the tape says so. It also names the adapter (never its serial number), its latency timer
and the speed.

examples:
  wattcal tape record pzem-004t@/dev/ttyUSB0 -o pzem.tape --seconds 60
  wattcal tape record sdm230@socket://lab:4001 -o sdm.tape --evidence real"""

_REPLAY = """\
Be the meter on a tape, on a pseudo-terminal, until Ctrl-C: for trying any program on what a real
meter once said. A question on the tape gets its answer with its delays, again and again; bytes
that are no question of the tape get none.

example:
  wattcal tape replay pzem.tape --link /tmp/meter
  wattcal meters pzem-004t --port /tmp/meter"""

_EVIDENCE = ("real", "spec", "calc")


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `tape record` and `tape replay`."""
    tape = commands.add_parser(
        "tape",
        help="record a conversation with a meter, or replay one",
        description=_TAPE,
        formatter_class=Help,
    )
    kinds = tape.add_subparsers(title="commands", metavar="COMMAND", required=True)
    record = kinds.add_parser(
        "record", help="write down every byte", description=_RECORD, formatter_class=Help
    )
    record.add_argument("address", metavar="ADDRESS", help="MODEL@PORT[?KEY=VALUE&...]")
    record.add_argument("-o", "--output", type=Path, required=True, metavar="FILE")
    record.add_argument(
        "--seconds", type=float, default=60.0, metavar="N", help="how long (default 60)"
    )
    record.add_argument(
        "--interval", type=float, metavar="S", help="between readings (default: the meter's window)"
    )
    record.add_argument(
        "--evidence",
        choices=_EVIDENCE,
        help="what was recorded: a real meter (default on a device), a document's or computed "
        "frames (default on a pseudo-terminal: calc); to be said of a network port",
    )
    record.add_argument("--note", default="", help="one line: which meter, whose, what it measured")
    record.add_argument("--json", action="store_true", help="print JSON instead of a sentence")
    record.set_defaults(run=_record)

    replay = kinds.add_parser(
        "replay", help="be the meter on a tape", description=_REPLAY, formatter_class=Help
    )
    replay.add_argument("tape", type=Path, metavar="FILE")
    replay.add_argument("--link", type=Path, metavar="PATH", help="the name of the port")
    replay.add_argument("--seconds", type=float, metavar="S", help="stop by itself after a while")
    replay.set_defaults(run=_replay)


@dataclass(slots=True)
class _Counts:
    """What was read."""

    readings: int = 0
    faults: int = 0


def _record(arguments: argparse.Namespace) -> int:
    from ..instruments import Masker, Recorder, find, mask_of, open_meter, split_address
    from .output import print_json

    if not 0.0 < arguments.seconds <= 1e6:
        raise InputError(f"--seconds expects a positive number; got {arguments.seconds:g}.")
    if arguments.interval is not None and not 0.0 < arguments.interval <= 3600.0:
        raise InputError(f"--interval expects 0 to 3600 s; got {arguments.interval:g}.")
    model, port, _ = split_address(arguments.address)
    head = _head(find(model).model, port, arguments)
    masker = Masker(mask_of(model))
    recorders: list[Recorder] = []
    try:
        with arguments.output.open("x", encoding="utf-8") as out:

            def through(transport: object) -> Recorder:
                recorders.append(Recorder(transport, out, head=head, masker=masker))  # type: ignore[arg-type]
                return recorders[-1]

            try:
                meter = open_meter(arguments.address, through=through)
                counts = _read_on(meter, arguments)
            except BaseException:
                if not recorders:  # nothing was said: no tape
                    arguments.output.unlink()
                raise
    except FileExistsError:
        raise InputError(f"{arguments.output} exists already; choose another name.") from None
    except OSError as error:
        raise InputError(f"{arguments.output} cannot be written: {error}.") from None
    result = {
        "file": str(arguments.output),
        "model": model,
        "evidence": head["evidence"],
        "readings": counts.readings,
        "faults": counts.faults,
        "bytes": arguments.output.stat().st_size,
        "masked": masker.count,
    }
    if arguments.json:
        print_json(result)
    else:
        print(
            f"{result['file']}: {counts.readings} readings, {counts.faults} faults, "
            f"{masker.count} exchanges masked."
        )
    return 0


def _head(model: str, port: str, arguments: argparse.Namespace) -> Mapping[str, str]:
    """Return the head of the tape: what was recorded, through which adapter, at which speed."""
    from .._version import VERSION
    from ..instruments import MASKING_RULE, options_of, serial_ports

    device = str(Path(port).resolve())
    known = {p.device: p for p in serial_ports()}.get(device)
    evidence = arguments.evidence
    scheme = port.partition(":")[0] if ":" in port and not port.startswith("/") else ""
    if scheme and evidence is None:
        raise InputError(
            f"Say what is behind {port}: --evidence real for a meter, calc for an emulated one."
        )
    defaults = {o.name: o.default or "" for o in options_of(model)}
    if "baud" not in defaults:
        raise InputError(f"{model} speaks HTTP; tapes are of serial lines, where masking is sure.")
    given = dict(p.partition("=")[::2] for p in arguments.address.partition("?")[2].split("&"))
    timer = "none" if known is None or known.latency_ms is None else f"{known.latency_ms} ms"
    adapter = scheme or "pseudo-terminal"
    if known is not None:
        adapter = " ".join(x for x in (known.usb_id, known.bridge, known.driver) if x)
    line = [given.get(n, defaults.get(n, "")) for n in ("baud", "parity", "stopbits")]
    return {
        "model": model,
        "evidence": evidence or ("calc" if device.startswith("/dev/pts/") else "real"),
        "recorded": time.strftime("%Y-%m-%d", time.gmtime()),
        "adapter": adapter,
        "latency timer": timer,
        "line": f"{line[0]} baud, 8{line[1]}{line[2]}",
        "wattcal": VERSION,
        "masked": MASKING_RULE,
        **({"note": " ".join(arguments.note.split())} if arguments.note else {}),
    }


def _read_on(meter: Meter | StreamingMeter, arguments: argparse.Namespace) -> _Counts:
    """Read until the time is over; what fails is counted, and the tape holds it."""
    from ..bench.describe import default_cadence_s, is_streaming
    from ..instruments import DriverError, Gone
    from .output import Progress

    counts, progress = _Counts(), Progress("recording", arguments.seconds)
    begin_s = time.monotonic()
    end_s = begin_s + arguments.seconds
    interval_s = 0.0 if is_streaming(meter) else arguments.interval or default_cadence_s(meter)
    try:
        meter.identify()
        take = _taker(meter)
        while (now_s := time.monotonic()) < end_s:
            progress.update(now_s - begin_s)
            try:
                take()
                counts.readings += 1
            except DriverError as error:
                counts.faults += 1
                if isinstance(error, Gone):
                    break
            next_s = min(now_s + interval_s, end_s)
            time.sleep(max(0.0, next_s - time.monotonic()))
    finally:
        progress.close()
        meter.close()
    return counts


def _taker(meter: Meter | StreamingMeter) -> Callable[[], object]:
    from ..bench.describe import is_streaming

    if is_streaming(meter):
        meter.start()
        return meter.read_block
    return cast("Meter", meter).read


def _replay(arguments: argparse.Namespace) -> int:
    from ..instruments import TapeError, TapeServer, load_tape
    from .stopping import stopped_by_signals

    with stopped_by_signals() as stopped:
        try:
            server = TapeServer(load_tape(arguments.tape), link=arguments.link)
        except (OSError, UnicodeDecodeError, TapeError) as error:
            raise InputError(f"{arguments.tape} cannot be replayed: {error}") from None
        with server:
            print(f"{arguments.tape.name} at {server.path}; Ctrl-C ends it.", file=sys.stderr)
            stopped.wait(arguments.seconds)
        print(
            f"{server.player.answered} questions answered, {server.player.unknown} bytes that are "
            "not on the tape.",
            file=sys.stderr,
        )
    return 0
