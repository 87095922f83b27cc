"""Conversations with instruments as small text files: recorded byte for byte, with their times.

    # wattcal tape 1
    # model: pzem-004t
    # evidence: real
    0.000000000 > F8 04 00 00 00 0A 64 64         we wrote
    0.037120000 < 01 04 14 08 D1 00 6C            we read; the pieces are those that arrived
    0.052000000 = 921600                          we changed the speed
    4.000000000 ! gone                            the port vanished

(without the remarks). Seconds since the first entry, nanoseconds in full. An hour with a borrowed
meter becomes a fixture for ever: a replay answers exactly as the meter did, on a clock of its own,
fails when other bytes are written, and says what was not used up.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Final, Literal, TextIO, TypeAlias

from .errors import Gone, TransportError
from .masking import Masker
from .transport import Transport

__all__ = ["Event", "Recorder", "Replay", "Tape", "TapeError", "load_tape", "parse_tape"]

_TITLE: Final = "# wattcal tape 1"
_STRETCH: Final = 65_536  # bytes of a stream that are held back before they are written
Kind: TypeAlias = Literal[">", "<", "=", "!"]
_KINDS: Final[Mapping[str, Kind]] = {">": ">", "<": "<", "=": "=", "!": "!"}


class TapeError(Exception):
    """A tape cannot be read, or the conversation is not the one on the tape.

    No `DriverError`: whoever turns those into faults must not swallow it.
    """


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened on the line `t_ns` after the first event."""

    t_ns: int
    kind: Kind
    data: bytes = b""
    text: str = ""


@dataclass(frozen=True, slots=True)
class Tape:
    """A recorded conversation; `head` says with what, by whom, and what kind of evidence it is."""

    head: Mapping[str, str]
    events: tuple[Event, ...]


def load_tape(path: Path) -> Tape:
    """Read a tape.

    Raises:
        TapeError: it is none; the message names the line.

    """
    return parse_tape(path.read_text(encoding="utf-8"), name=path.name)


def parse_tape(text: str, *, name: str = "tape") -> Tape:
    """Build a tape from its text.

    Raises:
        TapeError: it is none; the message names the line.

    """
    lines = text.splitlines()
    if not lines or lines[0].strip() != _TITLE:
        raise TapeError(f"{name}: expected {_TITLE!r} in the first line.")
    head: dict[str, str] = {}
    events: list[Event] = []
    for number, line in enumerate(lines[1:], start=2):
        if line.startswith("#"):
            key, _, value = line[1:].partition(":")
            head[key.strip()] = value.strip()
        elif line.strip():
            try:
                events.append(_event(line))
            except ValueError as error:
                raise TapeError(f"{name}, line {number}: {error}.") from None
    return Tape(head, tuple(events))


def _event(line: str) -> Event:
    stamp, kind, rest = [*line.split(maxsplit=2), "", ""][:3]
    seconds, _, fraction = stamp.partition(".")
    t_ns = int(seconds) * 1_000_000_000 + int((fraction + "0" * 9)[:9])
    if kind not in _KINDS:
        raise ValueError(f"expected SECONDS, one of > < = !, and what passed; got {line!r}")
    if kind in "<>":
        return Event(t_ns, _KINDS[kind], data=bytes.fromhex(rest))
    return Event(t_ns, _KINDS[kind], text=rest)


def _line(event: Event) -> str:
    seconds, rest = divmod(event.t_ns, 1_000_000_000)
    what = event.data.hex(" ").upper() or event.text
    return f"{seconds}.{rest:09d} {event.kind} {what}\n"


class Recorder:
    """A transport that writes down everything that passes through it.

    With a `masker` no identity reaches the file: an exchange (a question and what came back) is
    written when the next one begins, a stream in stretches. `close` writes what is left.
    """

    def __init__(
        self,
        transport: Transport,
        out: TextIO,
        *,
        head: Mapping[str, str] | None = None,
        masker: Masker | None = None,
        now_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self.name = transport.name
        self._transport, self._out, self._now_ns = transport, out, now_ns
        self._masker = masker
        self._exchange: list[Event] = []
        self._begin_ns: int | None = None
        out.write(_TITLE + "\n")
        for key, value in (head or {}).items():
            out.write(f"# {key}: {value}\n")

    def read(self, deadline_ns: int) -> bytes:
        """Pass on what arrives, and write it down."""
        try:
            data = self._transport.read(deadline_ns)
        except TransportError as error:
            self._note("!", text=error.code)
            raise
        if data:
            self._note("<", data)
        return data

    def write(self, data: bytes) -> None:
        """Write it down, and pass it on."""
        self._note(">", data)
        self._transport.write(data)

    def set_baud(self, baud: int) -> None:
        """Write it down, and pass it on."""
        self._note("=", text=str(baud))
        self._transport.set_baud(baud)

    def close(self) -> None:
        """Write what is left and close the transport; the file is its owner's to close."""
        self._write_exchange()
        self._transport.close()

    def _note(self, kind: Kind, data: bytes = b"", text: str = "") -> None:
        now_ns = self._now_ns()
        if self._begin_ns is None:
            self._begin_ns = now_ns
        if kind == ">" or sum(len(e.data) for e in self._exchange) >= _STRETCH:
            self._write_exchange()
        self._exchange.append(Event(now_ns - self._begin_ns, kind, data, text))
        if self._masker is None:
            self._write_exchange()

    def _write_exchange(self) -> None:
        events, self._exchange = self._exchange, []
        if self._masker is not None:
            events = _masked(events, self._masker)
        self._out.writelines(map(_line, events))
        self._out.flush()


def _masked(events: list[Event], masker: Masker) -> list[Event]:
    """Mask one exchange; the pieces keep their lengths and times."""
    question = b"".join(e.data for e in events if e.kind == ">")
    answer = b"".join(e.data for e in events if e.kind == "<")
    left = dict(zip("><", masker.exchange(question, answer), strict=True))
    out = []
    for event in events:
        masked = left.get(event.kind, b"")
        out.append(replace(event, data=masked[: len(event.data)]))
        left[event.kind] = masked[len(event.data) :]
    return out


class Replay:
    """A transport that answers as the tape does; hand its `now_ns` to the driver as the clock.

    As a context manager it fails at its end when part of the tape was not used.
    """

    name = "tape"

    def __init__(self, tape: Tape) -> None:
        self._events = tape.events
        self._next = 0
        self._now_ns = self._shift_ns = 1_000_000_000

    def now_ns(self) -> int:
        """Return the present instant of the replay, in ns."""
        return self._now_ns

    def read(self, deadline_ns: int) -> bytes:
        """Return what the meter said next, if it said it before `deadline_ns`."""
        event = self._peek()
        until_ns = max(deadline_ns, self._now_ns)
        if event is None or event.kind in ">=" or event.t_ns + self._shift_ns > until_ns:
            self._now_ns = until_ns
            return b""
        self._now_ns = max(self._now_ns, event.t_ns + self._shift_ns)
        self._next += 1
        if event.kind == "!":
            raise Gone(f"The port vanished on the tape ({event.text}).")
        return event.data

    def write(self, data: bytes) -> None:
        """Compare with what was written on the tape.

        Raises:
            TapeError: other bytes stand there.

        """
        self._expect(Event(0, ">", data))

    def set_baud(self, baud: int) -> None:
        """Compare with the change of speed on the tape.

        Raises:
            TapeError: there is none, or to another speed.

        """
        self._expect(Event(0, "=", text=str(baud)))

    def close(self) -> None:
        """Do nothing; `unused` says what is left."""

    def unused(self) -> tuple[Event, ...]:
        """Return the events that nobody asked for."""
        return self._events[self._next :]

    def __enter__(self) -> Replay:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None and (left := self.unused()):
            raise TapeError(
                f"{len(left)} events of the tape were not used, first {_line(left[0]).strip()!r}."
            )

    def _peek(self) -> Event | None:
        return self._events[self._next] if self._next < len(self._events) else None

    def _expect(self, done: Event) -> None:
        """Check what the driver does, and count the tape's times from this instant on."""
        event = self._peek()
        if event is None or (event.kind, event.data, event.text) != (
            done.kind,
            done.data,
            done.text,
        ):
            stands = "nothing more" if event is None else _line(event).strip()
            did = _line(done).partition(" ")[2].strip()
            raise TapeError(f"The driver did {did!r}; the tape has {stands!r} here.")
        self._shift_ns = self._now_ns - event.t_ns
        self._next += 1
