"""`wattcal meters --ask`: who is behind a port, found by talking."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InputError

if TYPE_CHECKING:
    from ..instruments import Found, SerialPort

__all__ = ["ask"]


def ask(arguments: argparse.Namespace) -> int:
    """Talk to the ports that were named, or to all free ones on USB, and print who is there."""
    from ..instruments import ask_port, candidates, find, serial_ports
    from .output import Progress, filled, print_json, table

    if not 0.0 < arguments.limit < 3600.0:
        raise InputError(f"--limit expects seconds from 0 to 3600; got {arguments.limit:g}.")
    known = {p.device: p for p in serial_ports()}
    asked: list[tuple[str, SerialPort | None]] = [
        (name, known.get(str(Path(name).resolve()))) for name in arguments.port
    ]
    if arguments.ask:
        asked += [(p.device, p) for p in known.values() if p.vid is not None]
    only = None if arguments.model is None else [find(arguments.model)]
    results: list[tuple[SerialPort | None, Found]] = []
    for name, port in asked:
        progress = Progress(f"asking at {name}", 1.0)
        found = _refused(name, port) or ask_port(
            name,
            only or candidates(port),
            limit_s=arguments.limit,
            progress=progress.update,
        )
        progress.close()
        results.append((port, found))
    if arguments.json:
        print_json([_found_facts(port, found) for port, found in results])
        return 0
    if not results:
        print("no USB serial port to ask at (wattcal doctor says why)")
        return 0
    rows = [(f.port, f.model or "-", f.address or "-") for _, f in results]
    print(table(("port", "meter", "address"), rows))
    for _, found in results:
        if found.model is None:
            print(filled(f"{found.port}: ", found.why))
        if found.model is not None:
            said = ", ".join(f"{k} {v}" for k, v in found.identity.items() if k != "model")
            print(filled(f"{found.model} says: ", said or "nothing more"))
        if found.also:
            print(filled("it may also be ", f"{', '.join(found.also)}: look at its label"))
    return 0


def _refused(name: str, port: SerialPort | None) -> Found | None:
    """Say why a port is not to be talked to, if there is a reason."""
    from ..instruments import Found

    if port is not None and port.console:
        return Found(name, None, None, why="the system's own console; it is left alone")
    if port is not None and port.held_by:
        return Found(name, None, None, why=f"open in {', '.join(port.held_by)}; it is left alone")
    return None


def _found_facts(port: SerialPort | None, found: Found) -> dict[str, Any]:
    return {
        "port": found.port,
        "usb_id": None if port is None else port.usb_id,
        "bridge": None if port is None else port.bridge,
        "by_id": None if port is None else port.by_id,
        "model": found.model,
        "address": found.address,
        "identity": found.identity,
        "tried": found.tried,
        "also": found.also,
        "why": found.why,
    }
