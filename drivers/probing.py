"""Who is behind a port: asked politely, one candidate after the other, until one proves itself.

What is sent is what `who` of each driver sends (or `identify`, where that sets nothing): questions
that change nothing in its own instrument. In another instrument they might: some meters take single
bytes as commands. So meters with a bridge of their own, which those are, are asked first on a port
with such a bridge; a port that another process has open is never touched; nor is the system's
console. Before each later candidate a line end is sent, so that one that reads lines does not take
what we asked before for the beginning of its own.

First everybody is asked at the speed that is set at the factory, then those who can be set to
others at the others. Where somebody talks unasked, meters that do so (the class attribute
`talks_unasked` of their drivers) come first.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any, Final

from .catalog import driver_of, entries
from .discovery import SerialPort
from .entry import Entry
from .errors import DeviceError, DriverError, Transient
from .opening import open_meter
from .transport import Transport, open_port

__all__ = ["Found", "ask_port", "candidates"]

LIMIT_S: Final = 60.0
_LISTEN_S: Final = 1.1  # the slowest meters that talk by themselves do so once a second
_PAUSE_S: Final = 0.05  # a line end must not stand before a frame that begins with silence


@dataclass(frozen=True, slots=True)
class Found:
    """What came of asking at a port.

    `model` and `address` are None where nobody proved who it is; `why` then says how that came.
    `identity` is what the meter said of itself, `tried` the models that were asked for, `also`
    the members of the family that answer to the same question: the meter's label tells them apart.
    """

    port: str
    model: str | None
    address: str | None
    identity: Mapping[str, str] = field(default_factory=dict)
    tried: tuple[str, ...] = ()
    also: tuple[str, ...] = ()
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
    open_at: Callable[..., Any] = open_meter,
    talks: Callable[[str], bool] | None = None,
    now_ns: Callable[[], int] = time.monotonic_ns,
    progress: Callable[[float], None] = lambda _share: None,
) -> Found:
    """Ask the candidates in turn; no new one is asked once `limit_s` seconds have passed.

    Of a family whose first member gets no answer the others are not asked; where the answer comes
    from another member, they are. `talks` tells whether somebody talks unasked at a port.
    """
    end_ns = now_ns() + round(limit_s * 1e9)
    families = [list(f) for _, f in groupby(models, key=lambda e: e.driver)]
    over_http = port.startswith("http://")
    try:
        if not over_http and (talks or _talks)(port):
            families.sort(key=lambda family: _turn_where_somebody_talks(family[0]))
    except DriverError as error:
        return Found(port, None, None, why=str(error))
    rounds = list(_rounds(families, network="://" in port, over_http=over_http))
    tried = list[str]()
    for number, (baud, family) in enumerate(rounds):
        progress(number / len(rounds))
        for place, entry in enumerate(family):
            if now_ns() >= end_ns:
                return Found(port, None, None, tried=tuple(tried), why=f"{limit_s:g} s were over")
            address = _address(entry, port, baud)
            later = bool(tried) and not over_http
            if entry.model not in tried:
                tried.append(entry.model)
            try:
                identity = _ask(open_at, address, later)
            except DeviceError:
                continue  # another member of the family, perhaps
            except Transient:
                break  # none of this family
            except DriverError as error:
                return Found(port, None, None, tried=tuple(tried), why=str(error))
            also = _like_it(family[place + 1 :], port, baud, open_at)
            return Found(port, entry.model, address, identity, tuple(tried), also)
    return Found(port, None, None, tried=tuple(tried), why="nobody that is known answered")


def _talks(port: str) -> bool:
    """Listen; at whatever speed, somebody who talks is heard."""
    line = open_port(port, baud=115_200)
    try:
        return bool(line.read(time.monotonic_ns() + round(_LISTEN_S * 1e9)))
    finally:
        line.close()


def _turn_where_somebody_talks(entry: Entry) -> int:
    """Let those who talk unasked come first, then those who stream once they are told to."""
    try:
        driver = driver_of(entry)
    except ImportError:  # needs more than is installed
        return 2
    if getattr(driver, "talks_unasked", False):
        return 0
    return 1 if hasattr(driver, "read_block") else 2


def _rounds(
    families: Sequence[Sequence[Entry]], *, network: bool, over_http: bool
) -> Iterator[tuple[int, Sequence[Entry]]]:
    """Yield (speed, family): everybody's first speed, then everybody's second, and so on.

    Behind a network port the other end has set the speed. Meters that speak HTTP name none, and
    only they are there to be asked over it.
    """
    speeds = []
    for family in families:
        try:
            driver = driver_of(family[0])
        except ImportError:  # needs more than is installed
            continue
        if bool(getattr(driver, "baud", 0)) is not over_http:
            others = () if network else getattr(driver, "bauds", ())
            speeds.append((family, list(dict.fromkeys((getattr(driver, "baud", 0), *others)))))
    for turn in range(max((len(bauds) for _, bauds in speeds), default=0)):
        for family, bauds in speeds:
            if turn < len(bauds):
                yield bauds[turn], family


def _address(entry: Entry, port: str, baud: int) -> str:
    """Return the address at this speed, which it need not name if the driver takes it anyway."""
    plain = f"{entry.model}@{port}"
    driver = driver_of(entry)
    if "://" in port or (baud == driver.baud and not getattr(driver, "bauds", ())):
        return plain
    return f"{plain}?baud={baud}"


def _ask(open_at: Callable[..., Any], address: str, later: bool) -> Mapping[str, str]:
    """Open, ask who is there, close; with `later` end the line of whoever was asked before."""

    def end_line(transport: Transport) -> Transport:
        transport.write(b"\r\n")
        time.sleep(_PAUSE_S)
        return transport

    meter = open_at(address, through=end_line if later else None)
    try:
        return dict(getattr(meter, "who", meter.identify)())
    finally:
        meter.close()


def _like_it(
    others: Iterable[Entry], port: str, baud: int, open_at: Callable[..., Any]
) -> tuple[str, ...]:
    """Return the other members of a family that take the meter for theirs as well."""
    found = []
    for entry in others:
        with contextlib.suppress(DriverError):
            _ask(open_at, _address(entry, port, baud), later=False)
            found.append(entry.model)
    return tuple(found)
