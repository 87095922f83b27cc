"""Which instruments there are, and where driver, emulator, channels and options of one are.

The rows are in `catalog_rows`; `open_meter` is in `opening`. Other packages add instruments
through the entry-point group `wattcal.drivers`; each entry point names an `Entry`.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import inspect
import logging
from dataclasses import dataclass
from typing import Any, Final

from .catalog_rows import CATALOG
from .entry import Entry
from .errors import Unsupported
from .masking import Mask
from .reading import Channel

__all__ = [
    "CATALOG",
    "ENTRY_POINT_GROUP",
    "Option",
    "channels_of",
    "driver_of",
    "emulator_of",
    "entries",
    "find",
    "keywords_of",
    "mask_of",
    "options_of",
]

ENTRY_POINT_GROUP: Final = "wattcal.drivers"
_log = logging.getLogger(__name__)


def entries() -> tuple[Entry, ...]:
    """Return all instruments: ours, then those of other packages.

    A package that cannot be loaded is named in the log and left out; a model of ours is never
    replaced.
    """
    found = {e.model: e for e in CATALOG}
    for point in importlib.metadata.entry_points(group=ENTRY_POINT_GROUP):
        try:
            entry = point.load()
        except Exception as error:
            _log.warning("The meter %s of another package cannot be loaded: %s", point.name, error)
            continue
        if not isinstance(entry, Entry) or entry.model in found:
            _log.warning("The entry point %s names no new meter; it is ignored", point.name)
            continue
        found[entry.model] = entry
    return tuple(found.values())


def find(model: str) -> Entry:
    """Return the entry of a model.

    Raises:
        Unsupported: there is no such model; the message names those that exist.

    """
    known = entries()
    for entry in known:
        if entry.model == model.lower():
            return entry
    raise Unsupported(
        f"Expected one of the meters {', '.join(e.model for e in known)}; got {model!r}."
    )


def driver_of(entry: Entry) -> Any:
    """Return the class of an entry's driver; it takes `**entry.preset` beside its options."""
    return _load(entry.driver)


def emulator_of(entry: Entry) -> Any:
    """Return the class of an entry's emulator: `emulator_of(e)(power_w, link=..., **e.preset)`.

    Raises:
        Unsupported: this instrument has no emulator.

    """
    if entry.emulator is None:
        raise Unsupported(f"{entry.model} has no emulator.")
    return _load(entry.emulator)


def channels_of(model: str) -> tuple[Channel, ...]:
    """Return the channel table of a model, without opening one.

    Raises:
        Unsupported: there is no such model; the message names those that exist.

    """
    entry = find(model)
    driver = driver_of(entry)
    channels: tuple[Channel, ...] = (
        driver.channels_of(**entry.preset) if entry.preset else driver.channels
    )
    return channels


@dataclass(frozen=True, slots=True)
class Option:
    """A key of an address: its name, its default as text, and the kind of value, as annotated.

    `default` is None where the driver has none: the address must name it.
    """

    name: str
    default: str | None
    kind: str


def options_of(model: str) -> tuple[Option, ...]:
    """Return the keys that an address of a model may hold: those of the line, then the driver's.

    Raises:
        Unsupported: there is no such model; the message names those that exist.

    """
    entry = find(model)
    driver = _load(entry.driver)
    line = []
    if getattr(driver, "baud", 0):
        bauds = getattr(driver, "bauds", ()) or (driver.baud,)
        line = [
            Option("baud", "|".join(map(str, bauds)), "int"),
            Option("parity", getattr(driver, "parity", "N"), "N | E | O"),
            Option("stopbits", str(getattr(driver, "stopbits", 1)), "int"),
        ]
    parameters = inspect.signature(driver).parameters
    for name, kind in keywords_of(driver, entry).items():
        default = parameters[name].default
        line.append(
            Option(name, None if default is inspect.Parameter.empty else str(default), kind)
        )
    return tuple(line)


def keywords_of(driver: Any, entry: Entry) -> dict[str, str]:
    """Return the options of a driver in alphabetical order, with their annotations as written."""
    taken = {"transport", "now_ns", *entry.preset}
    parameters = inspect.signature(driver).parameters
    return {n: str(parameters[n].annotation) for n in sorted(parameters) if n not in taken}


def mask_of(model: str) -> Mask | None:
    """Return how a model's driver masks an identity of its own in a tape, if it has one.

    Raises:
        Unsupported: there is no such model; the message names those that exist.

    """
    module = find(model).driver.partition(":")[0]
    return getattr(importlib.import_module(module, __package__), "mask", None)


def _load(where: str) -> Any:
    module, _, name = where.partition(":")
    return getattr(importlib.import_module(module, __package__), name)
