"""`wattcal meters`: which instruments can be read, what one of them says, what is plugged in."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InputError
from .help import Help

if TYPE_CHECKING:
    from ..instruments import Accuracy, Channel, Entry, SerialPort

__all__ = ["markdown", "register"]

_METERS = """\
List the power meters that can be read, what stands behind each driver, and what is plugged in. Of
evidence there are bytes of real hardware (real), the maker's document (spec), computed frames
(calc), and another implementation (crosscheck). With a MODEL: its channels and its address.

A USB id names a bridge, not the meter behind it. --ask talks to every free USB port, --port to
the ports that you name (also a pseudo-terminal, socket://HOST:PORT or rfc2217://HOST:PORT); with
a MODEL only that one is asked for. Nothing is sent without one of the two, because what is a
harmless question to a meter may be a command to another device.

examples:
  wattcal meters
  wattcal meters pzem-004t
  wattcal meters --ask
  wattcal meters --port socket://lab:4000 --json"""

_BEGIN = "<!-- meters: written by `make meters-table` -->"
_END = "<!-- end of meters -->"


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `meters`."""
    meters = commands.add_parser(
        "meters",
        help="the power meters that can be read, and what is plugged in",
        description=_METERS,
        formatter_class=Help,
    )
    meters.add_argument("model", nargs="?", metavar="MODEL", help="show (or ask for) one model")
    meters.add_argument("--ask", action="store_true", help="talk to every free USB port")
    meters.add_argument(
        "--port", action="append", default=[], metavar="PORT", help="talk to this port; repeatable"
    )
    meters.add_argument(
        "--limit", type=float, default=60.0, metavar="S", help="seconds per port (default 60)"
    )
    meters.add_argument("--json", action="store_true", help="print JSON instead of a table")
    meters.add_argument(
        "--markdown", action="store_true", help="print the catalogue as a Markdown table"
    )
    meters.add_argument(
        "--update", type=Path, metavar="FILE", help="write that table between its marks in a file"
    )
    meters.set_defaults(run=_meters)


def _meters(arguments: argparse.Namespace) -> int:
    if arguments.update is not None:
        return _update(arguments.update)
    if arguments.markdown:
        print(markdown())
        return 0
    if arguments.ask or arguments.port:
        from .asking import ask

        return ask(arguments)
    if arguments.model is not None:
        return _one(arguments)
    return _list(arguments)


def _list(arguments: argparse.Namespace) -> int:
    from ..instruments import entries, serial_ports
    from .output import print_json, table

    known = entries()
    if arguments.json:
        print_json([_facts(e) for e in known])
        return 0
    rows = [(e.model, e.manufacturer, _evidence(e), "yes" if e.emulator else "no") for e in known]
    print(table(("model", "maker", "evidence", "emulator"), rows))
    print("\nplugged in:")
    ports = [p for p in serial_ports() if not p.console]
    if not ports:
        print("  no serial port (wattcal doctor says why)")
    for port in ports:
        print("\n".join(_plugged(port)))
    if ports:
        print("\nWhich meter it is, only talking tells: wattcal meters --ask")
    return 0


def _plugged(port: SerialPort) -> list[str]:
    from ..instruments import candidates

    name = f"  {port.by_id or port.device}: {port.usb_id or ''} {port.bridge}"
    if port.held_by:
        return [f"{name}, open in {', '.join(port.held_by)}"]
    own = [e.model for e in candidates(port) if e.bridges and port.usb_id in e.bridges]
    may = f"perhaps {', '.join(own)}, or" if own else "perhaps"
    return [name, f"      {may} any meter behind an adapter"]


def _facts(entry: Entry) -> dict[str, Any]:
    return {
        "model": entry.model,
        "family": entry.family,
        "manufacturer": entry.manufacturer,
        "interfaces": entry.interfaces,
        "quantities": entry.quantities,
        "evidence": [{"kind": kind, "where": where} for kind, where in entry.evidence],
        "emulator": entry.emulator,
    }


def _evidence(entry: Entry) -> str:
    kinds = {kind for kind, _ in entry.evidence}
    return " ".join(kind for kind in ("real", "spec", "calc", "crosscheck") if kind in kinds)


# ---- one model


def _one(arguments: argparse.Namespace) -> int:
    from ..instruments import channels_of, find, options_of
    from .output import filled, print_json

    entry = find(arguments.model)
    channels, options = channels_of(entry.model), options_of(entry.model)
    if arguments.json:
        print_json(
            {
                **_facts(entry),
                "bridges": entry.bridges,
                "options": [
                    {"name": o.name, "default": o.default, "kind": o.kind} for o in options
                ],
                "channels": [_channel_facts(c) for c in channels],
            }
        )
        return 0
    print(f"{entry.model}: {entry.manufacturer} {entry.family}")
    print(filled("  interfaces  ", ", ".join(entry.interfaces)))
    for kind, where in entry.evidence:
        print(filled(f"  {kind:<10}  ", where))
    print()
    print(_channel_table(channels))
    print("\nkeys of its address, MODEL@PORT?KEY=VALUE&..., with their defaults:")
    words = [o.name if o.default is None else f"{o.name}={o.default}" for o in options]
    print(filled("  ", "  ".join(words)))
    return 0


def _channel_table(channels: Sequence[Channel]) -> str:
    """Return one row a channel; promises move below where they are too long for 80 columns."""
    from .output import filled, table

    header = ("channel", "unit", "step", "accuracy, ±", "window", "renewed", "stamp")
    promises = ["none" if c.accuracy is None else _accuracy(c.accuracy) for c in channels]
    shown = table(header, _rows(channels, promises), right="llr")
    legend: dict[str, str] = {}
    if max(map(len, shown.splitlines())) > 80:
        for promise in promises:
            legend.setdefault(promise, f"({len(legend) + 1})")
        rows = _rows(channels, [legend[p] for p in promises])
        shown = table(header, rows, right="llr")
    notes = [filled(f"{sign} ", f"±({promise})") for promise, sign in legend.items()]
    assumed = sorted({n for c in channels for n in c.assumed})
    if assumed or "*" in shown:
        notes.append(filled("* ", f"assumed, in no source: {', '.join(assumed) or 'accuracy'}"))
    sources = sorted({c.accuracy.source for c in channels if c.accuracy and c.accuracy.source})
    notes += [filled("accuracy: ", source) for source in sources]
    return "\n".join([shown, "", *notes])


def _rows(channels: Sequence[Channel], promises: Sequence[str]) -> list[tuple[str, ...]]:
    return [
        (
            c.name,
            c.unit,
            f"{c.resolution:.3g}" + _mark(c, "resolution"),
            promise,
            _seconds(c.window_s, c, "window_s"),
            _seconds(c.refresh_s, c, "refresh_s"),
            "-" if c.kind != "mean" else c.stamp_at + _mark(c, "stamp_at"),
        )
        for c, promise in zip(channels, promises, strict=True)
    ]


def _seconds(value: float | None, channel: Channel, name: str) -> str:
    return "-" if value is None else f"{value:g} s{_mark(channel, name)}"


def _mark(channel: Channel, name: str) -> str:
    return "*" if name in channel.assumed else ""


def _accuracy(accuracy: Accuracy) -> str:
    parts = [
        f"{100 * share:g} % {of}"
        for share, of in (
            (accuracy.of_reading, "rdg"),
            (accuracy.of_range, "rng"),
            (accuracy.of_reactive, "Q"),
        )
        if share
    ]
    if accuracy.counts:
        parts.append(f"{accuracy.counts:g} dgt")
    if accuracy.absolute:
        parts.append(f"{accuracy.absolute:g}")
    return (" + ".join(parts) or "0") + ("*" if accuracy.assumed else "")


def _channel_facts(c: Channel) -> dict[str, Any]:
    return {
        "name": c.name,
        "quantity": c.quantity,
        "unit": c.unit,
        "kind": c.kind,
        "resolution": c.resolution,
        "accuracy": None
        if c.accuracy is None
        else {
            "limit": _accuracy(c.accuracy),
            "source": c.accuracy.source,
            "assumed": c.accuracy.assumed,
        },
        "window_s": c.window_s,
        "refresh_s": c.refresh_s,
        "stamp_at": c.stamp_at,
        "wrap": c.wrap,
        "range_min": c.range_min,
        "range_max": c.range_max,
        "assumed": c.assumed,
    }


# ---- the table of the README


def markdown() -> str:
    """Return the catalogue of this package as a Markdown table; other packages' are left out."""
    from ..instruments import CATALOG

    rows = [
        f"| `{e.model}` | {e.manufacturer} {e.family} | {', '.join(e.interfaces)} "
        f"| {', '.join(q.replace('_', ' ') for q in e.quantities)} "
        f"| {', '.join(_evidence(e).split())} |"
        for e in CATALOG
    ]
    head = ["| model | instrument | interface | quantities | evidence |", "|---|---|---|---|---|"]
    return "\n".join([*head, *rows])


def _update(path: Path) -> int:
    try:
        text = path.read_text(encoding="utf-8")
        before, _, rest = text.partition(_BEGIN)
        _, end, after = rest.partition(_END)
        if not end:
            raise InputError(f"{path}: expected the lines {_BEGIN} and {_END}; they are missing.")
        path.write_text(f"{before}{_BEGIN}\n\n{markdown()}\n\n{_END}{after}", encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read or written: {error}.") from None
    return 0
