"""An emulated instrument by the name of its model: `start("pzem-004t", 60.0, options={...})`."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Final

from ..address import value_of
from ..catalog import Option, emulator_of, find
from ..errors import Unsupported
from .faults import NOT_IN_STREAMS, FaultPlan, faults_of
from .served import Link, PtyServer

__all__ = ["emulator_faults", "emulator_options", "start"]

# What the command line has words of its own for, and what only a program can pass.
_NOT_OPTIONS: Final = frozenset({"self", "link", "faults", "now_ns", "options"})


def emulator_options(model: str) -> tuple[Option, ...]:
    """Return what can be set on the emulated instrument, in alphabetical order.

    Raises:
        Unsupported: there is no such model, or no emulator of it.

    """
    entry = find(model)
    server = emulator_of(entry)
    found = dict[str, Option]()
    for part in (server.device, server):
        # The first parameter is the power; `options` are those of the device.
        named = [p for p in inspect.signature(part).parameters.values() if p.name != "self"][1:]
        for p in named:
            if p.name in _NOT_OPTIONS or p.name in entry.preset:
                continue
            default = None if p.default is p.empty else str(p.default)
            found.setdefault(p.name, Option(p.name, default, str(p.annotation)))
    return tuple(found[n] for n in sorted(found))


def emulator_faults(model: str) -> tuple[str, ...]:
    """Return the faults that the emulated instrument can suffer.

    Raises:
        Unsupported: there is no such model, or no emulator of it.

    """
    device = emulator_of(find(model)).device
    known = faults_of(device)
    return tuple(n for n in known if not (hasattr(device, "due") and n in NOT_IN_STREAMS))


def start(
    model: str,
    power_w: Callable[[float], float] | float | bytes,
    *,
    link: Link = None,
    faults: FaultPlan | None = None,
    options: Mapping[str, str] | None = None,
) -> PtyServer:
    """Start an emulated instrument; `options` are texts, as they stand on a command line.

    Raises:
        Unsupported: there is no such model, emulator, option or fault; the message lists them.
        ValueError, OSError: an option has no such value, or the port cannot be made.

    """
    entry = find(model)
    server = emulator_of(entry)
    known = {o.name: o for o in emulator_options(model)}
    for name in options or {}:
        if name not in known:
            words = ", ".join(o.name if o.default is None else f"{o.name}={o.default}"
                              for o in known.values())  # fmt: skip
            raise Unsupported(f"{entry.model} emulated has the options {words}; got {name!r}.")
    for name in faults.rates if faults is not None else {}:
        if name not in emulator_faults(model):
            raise Unsupported(
                f"{entry.model} can suffer {', '.join(emulator_faults(model))}; got {name!r}."
            )
    values = {n: value_of(n, text, known[n].kind) for n, text in (options or {}).items()}
    started: PtyServer = server(power_w, link=link, faults=faults, **entry.preset, **values)
    return started
