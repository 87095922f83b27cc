"""Who is behind a port: asked politely, one candidate after the other, until one proves itself.

What is sent is what `identify` of each driver sends (or `who`, where `identify` would set the
meter's ranges), which changes nothing in its own instrument. In another instrument it might: some
meters take single bytes as commands. So meters with a bridge of their own, which those are, are
asked first on a port with such a bridge; a port that another process has open is never touched;
nor is the system's console.
"""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any, Final

from .catalog import Entry, entries, open_meter
from .discovery import SerialPort
from .errors import DeviceError, DriverError, Transient

__all__ = ["Found", "ask_port", "candidates"]

LIMIT_S: Final = 30.0


@dataclass(frozen=True, slots=True)
class Found:
    """What came of asking at a port.

    `model` and `address` are None where nobody proved who it is; `why` then says how that came.
    `identity` is what the meter said of itself, `tried` the models that were asked for.
    """

    port: str
    model: str | None
    address: str | None
    identity: Mapping[str, str] = field(default_factory=dict)
    tried: tuple[str, ...] = ()
    why: str = ""


def candidates(port: SerialPort | None, known: Iterable[Entry] | None = None) -> tuple[Entry, ...]:
    """Return which meters may be behind a port, those with such a bridge of their own first.

    `port` None is one of which nothing is known: a pseudo-terminal, another computer's. The rest
    are meters behind any adapter.
    """
    all_of_them = tuple(entries() if known is None else known)
    own = [
        e for e in all_of_them
        if e.bridges and (port is None or port.usb_id is None or port.usb_id in e.bridges)
    ]  # fmt: skip
    return (*own, *(e for e in all_of_them if not e.bridges))


def ask_port(
    port: str,
    models: Iterable[Entry],
    *,
    limit_s: float = LIMIT_S,
    open_at: Callable[[str], Any] = open_meter,
    now_ns: Callable[[], int] = time.monotonic_ns,
    progress: Callable[[float], None] = lambda _share: None,
) -> Found:
    """Ask the candidates in turn; no new one is asked once `limit_s` seconds have passed.

    Of a family whose first member gets no answer the others are not asked; where the answer comes
    from another member, they are.
    """
    end_ns = now_ns() + round(limit_s * 1e9)
    tried = list[str]()
    wanted = [e for e in models if _speaks_serial(e)]
    for _, family in groupby(wanted, key=lambda e: e.driver):
        for entry in family:
            if now_ns() >= end_ns:
                return Found(port, None, None, tried=tuple(tried), why=f"{limit_s:g} s were over")
            progress(len(tried) / len(wanted))
            tried.append(entry.model)
            address = f"{entry.model}@{port}"
            try:
                meter = open_at(address)
            except Transient:
                break  # at none of its speeds
            except DeviceError:
                continue
            except DriverError as error:
                return Found(port, None, None, tried=tuple(tried), why=str(error))
            try:
                # A meter that is set by `identify` has `who`, which asks and sets nothing.
                identity = getattr(meter, "who", meter.identify)()
            except DeviceError:
                continue
            except Transient:
                break
            except DriverError as error:
                return Found(port, None, None, tried=tuple(tried), why=str(error))
            else:
                return Found(port, entry.model, address, dict(identity), tuple(tried))
            finally:
                meter.close()
    return Found(port, None, None, tried=tuple(tried), why="nobody that is known answered")


def _speaks_serial(entry: Entry) -> bool:
    """Tell the meters that a serial port may hold: their drivers name the speed of a line."""
    module, _, name = entry.driver.partition(":")
    try:
        return hasattr(getattr(importlib.import_module(module, __package__), name), "baud")
    except ImportError:  # needs more than is installed
        return False
