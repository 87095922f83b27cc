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
from .errors import DeviceError, DriverError, Timeout, Transient
from .opening import open_meter
from .transport import Transport, open_port

__all__ = ["Found", "ask_port", "candidates"]

LIMIT_S: Final = 60.0
_EACH_S: Final = 10.0  # who answers at all says who it is in a second or two
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
    """Ask the candidates in turn, each for at most 10 s, until `limit_s` seconds have passed.

    To that is added only what it takes to open and to close a port. Of a family whose first member
    gets no answer the others are not asked; where the answer comes from another member, they are.
    `talks` tells whether somebody talks unasked at a port.
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
    over = f"{limit_s:g} s were over"

    def ask(address: str, *, later: bool = False) -> Mapping[str, str]:
        """Open, ask who is there, close; with `later` end the line of whoever was asked before."""
        line = _Limited(min(end_ns, now_ns() + round(_EACH_S * 1e9)), now_ns, end_line=later)
        meter = open_at(address, through=line.around)
        try:
            return dict(getattr(meter, "who", meter.identify)())
        finally:
            line.lift()
            meter.close()

    for number, (baud, family) in enumerate(rounds):
        progress(number / len(rounds))
        for place, entry in enumerate(family):
            if now_ns() >= end_ns:
                return Found(port, None, None, tried=tuple(tried), why=over)
            address = _address(entry, port, baud)
            later = bool(tried) and not over_http
            if entry.model not in tried:
                tried.append(entry.model)
            try:
                identity = ask(address, later=later)
            except DeviceError:
                continue  # another member of the family, perhaps
            except Transient:
                break  # none of this family
            except DriverError as error:
                return Found(port, None, None, tried=tuple(tried), why=str(error))
            also = list[str]()
            for other in family[place + 1 :]:
                with contextlib.suppress(DriverError):
                    ask(_address(other, port, baud))
                    also.append(other.model)
            return Found(port, entry.model, address, identity, tuple(tried), tuple(also))
    why = over if now_ns() >= end_ns else "nobody that is known answered"
    return Found(port, None, None, tried=tuple(tried), why=why)


class _Limited:
    """A line on which nothing is heard after `end_ns`, until the limit is lifted.

    With `end_line` a line end is sent before anything else.
    """

    def __init__(self, end_ns: int, now_ns: Callable[[], int], *, end_line: bool) -> None:
        self._end_ns: int | None = end_ns
        self._now_ns, self._end_line = now_ns, end_line
        self._line: Transport

    def around(self, line: Transport) -> Transport:
        """Stand between this line and a driver."""
        self._line, self.name = line, line.name
        if self._end_line:
            line.write(b"\r\n")
            time.sleep(_PAUSE_S)
        return self

    def lift(self) -> None:
        """Let the driver take its leave."""
        self._end_ns = None

    def read(self, deadline_ns: int) -> bytes:
        """Return what arrives first, or no bytes at `deadline_ns`.

        Raises:
            Timeout: the limit is reached.

        """
        if self._end_ns is None:
            return self._line.read(deadline_ns)
        if self._now_ns() >= self._end_ns:
            raise Timeout(f"{self.name}: no proof of who is there came in time.")
        return self._line.read(min(deadline_ns, self._end_ns))

    def write(self, data: bytes) -> None:
        """Hand over all of `data`."""
        self._line.write(data)

    def set_baud(self, baud: int) -> None:
        """Change the speed of the line, in bits per second."""
        self._line.set_baud(baud)

    def close(self) -> None:
        """Give the port back."""
        self._line.close()


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
