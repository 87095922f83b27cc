"""Any meter on a microcontroller that speaks the line of this project: `pm`, version 1.

Seen: the emulated one only; the format is this project's own, because there is no standard.

Sources: `CONTRIBUTING.md`, "A meter of your own", which is the definition; Linux `pty(7)` and the
Arduino Uno's reset circuit for the state of DTR and RTS.

Wire, 8N1, 115200 baud unless the address says otherwise, text, one line a sample:

    #pm,1,in_v;in_i,V;A,1000*CC LF       fields, their units, lines a second; first line, and
                                         the answer to `?`
    123456789,12.003,4.987*CC LF         t_us, then a value per field

CC is the xor of all bytes before `*`, two capital hexadecimal digits. Units are V, A, W, also with
m or u before them. A value is a decimal number with a dot; the places behind it are those of the
first line and stay, and one unit of the last is its resolution. Values are samples at t_us, which
counts microseconds modulo 2^32. A rail's voltage and current are named `<rail>_v`, `<rail>_i`:
their products are summed into the power, unless a field is named `power_w`.

Quirks
- Opening a port raises DTR, which resets an Uno or ESP board: DTR and RTS stay low. A board that
  restarts all the same says its header, which is taken as the answer.
- A header that nobody asked for is a restart (`reboot`). Another header than before ends all
  samples: their units are no longer known.
- One line in 256 that is damaged in several bytes has the right xor. So the number of fields, their
  places and the clock are checked as well.
- It cannot be told to stop: it is closed while it talks.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from typing import Final

from ..accuracy import PLUG_METER
from ..decoders import LineDecoder
from ..errors import Checksum, Desync, Implausible, Rebooted, Refused, Timeout, Unsupported
from ..formats import Format, Stream
from ..reading import Block, Channel
from ..stream import DeviceClock, take_block
from ..transport import Transport
from ..wire import Frame, Need, Skip, Verdict, ask

__all__ = ["CHANNELS", "FORMATS", "Header", "PmLine", "decode_header", "decode_line", "parse"]

TICK_RATE_HZ: Final = 1_000_000.0
TICK_MODULUS: Final = 1 << 32
_LONGEST: Final = 400
_QUANTITY: Final = {"V": "voltage", "A": "current", "W": "power"}
_PREFIX: Final = {"": 0, "m": 3, "u": 6}
_UNIT: Final = re.compile(r"([mu]?)([VAW])")
_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,23}")
_RESERVED: Final = ("t_request_ns", "t_reply_ns", "device_ticks", "window_ns", "fault")
_NUMBER: Final = re.compile(rb"-?[0-9]{1,9}(?:\.([0-9]{1,6}))?")


@dataclass(frozen=True, slots=True)
class Header:
    """What a header says: fields, their units as written, and lines a second."""

    fields: tuple[str, ...]
    units: tuple[str, ...]
    rate_hz: float


def parse(buffer: bytes) -> Verdict:
    """Judge the beginning of `buffer` as a line; the payload stands before `*`."""
    end = buffer.find(b"\n", 0, _LONGEST)
    if end < 0:
        return Need() if len(buffer) < _LONGEST else Skip(1, "the line is too long")
    body, star, check = buffer[:end].removesuffix(b"\r").rpartition(b"*")
    if not star:
        return Skip(end + 1, "it is no line of a pm meter")
    xor = 0
    for octet in body:
        xor ^= octet
    if check != b"%02X" % xor:
        return Skip(end + 1, "its checksum does not fit", Checksum)
    return Frame(end + 1, body)


def parse_header(buffer: bytes) -> Verdict:
    """Judge the beginning of `buffer` as the header; samples are skipped."""
    verdict = parse(buffer)
    if isinstance(verdict, Frame) and not verdict.payload.startswith(b"#pm,"):
        return Skip(verdict.length, "it is no header")
    return verdict


def parse_sample(buffer: bytes) -> Verdict:
    """Judge the beginning of `buffer` as a sample; headers are skipped."""
    verdict = parse(buffer)
    if isinstance(verdict, Frame) and verdict.payload.startswith(b"#"):
        return Skip(verdict.length, "it is no sample")
    return verdict


def decode_header(payload: bytes) -> Header:
    """Take a header apart.

    Raises:
        Unsupported: it is of another version, or names what this driver does not know.

    """
    words = payload.decode("latin-1").split(",")
    if len(words) != 5 or words[:2] != ["#pm", "1"]:
        raise Unsupported(f"Expected #pm,1,fields,units,rate; got {payload.decode('latin-1')!r}.")
    fields, units = tuple(words[2].split(";")), tuple(words[3].split(";"))
    known = all(_UNIT.fullmatch(u) for u in units) and all(
        _NAME.fullmatch(f) and f not in _RESERVED for f in fields
    )
    if not known or len(fields) != len(units) or len(set(fields)) != len(fields):
        raise Unsupported(
            "Expected as many units (V, A, W, also with m or u) as fields (small letters, each "
            f"once); got {words[2]!r} and {words[3]!r}."
        )
    if not re.fullmatch(r"[0-9]{1,6}(\.[0-9]{1,3})?", words[4]) or not float(words[4]):
        raise Unsupported(f"Expected a rate in lines a second; got {words[4]!r}.")
    return Header(fields, units, float(words[4]))


def decode_line(payload: bytes) -> tuple[int, tuple[int, ...], tuple[int, ...]]:
    """Return the clock, the values as integers without their dots, and the places behind them.

    Raises:
        Implausible: a value is no number.

    """
    clock, *texts = payload.split(b",")
    found = [_NUMBER.fullmatch(text) for text in texts]
    if not texts or not re.fullmatch(rb"[0-9]{1,10}", clock) or int(clock) >= TICK_MODULUS:
        raise Implausible("Expected t_us and values, parted by commas.")
    if not all(found):
        raise Implausible("Expected decimal numbers with a dot.")
    places = tuple(len(match.group(1) or b"") for match in found if match)
    counts = tuple(int(text.replace(b".", b"")) for text in texts)
    if max(map(abs, counts)) >= 1 << 31:
        raise Implausible("A value has too many digits.")
    return int(clock), counts, places


def channels(header: Header, places: Sequence[int]) -> tuple[Channel, ...]:
    """Return what a meter with this header and so many places delivers."""
    table = []
    for name, unit, behind in zip(header.fields, header.units, places, strict=True):
        prefix, base = _UNIT.fullmatch(unit).groups()  # type: ignore[union-attr]
        scale = Fraction(1, 10 ** (behind + _PREFIX[prefix]))
        table.append(
            Channel(
                name=name,
                quantity=_QUANTITY[base],
                unit=base,
                kind="instant",
                scale=scale,
                resolution=float(scale),
                accuracy=PLUG_METER,
                assumed=("accuracy",),
            )
        )
    return tuple(table)


_EXAMPLE: Final = Header(("in_v", "in_i"), ("V", "A"), 1000.0)
_PLACES: Final = (3, 3)
CHANNELS: Final = channels(_EXAMPLE, _PLACES)


def decoder(
    header: bytes = b"#pm,1,in_v;in_i,V;A,1000", places: tuple[int, ...] = _PLACES
) -> LineDecoder:
    """Return a decoder for the lines of a meter with this header."""
    fields = decode_header(header).fields
    clock = DeviceClock(TICK_RATE_HZ, TICK_MODULUS)
    strange = False

    def sample(payload: bytes, t_ns: int | None) -> tuple[int, Mapping[str, int]]:
        nonlocal strange
        if payload.startswith(b"#"):
            strange = strange or payload != header
            raise Rebooted("The meter has said its header: it was restarted.")
        if strange:
            raise Desync("The meter has another header than before; start again.")
        word, counts, behind = decode_line(payload)
        if behind != places:
            raise Implausible("The number of values, or the places behind their dots, changed.")
        return clock.follow(word, t_ns), dict(zip(fields, counts, strict=True))

    return LineDecoder(parse, sample, fields)


_HEADER: Final = b"#pm,1,in_v;in_i,V;A,1000*06\n"
_LINES: Final = (b"123456789,12.003,4.987*03\n", b"123457789,12.001,4.990*06\n")

FORMATS: Final = {
    "header": Format(parse_header, (_HEADER,), checked=True, decode=decode_header),
    "sample": Format(parse_sample, _LINES, checked=True, decode=decode_line),
    "stream": Stream(decoder, (_HEADER + _LINES[0] + _LINES[1],)),
}


class PmLine:
    """One meter that speaks `pm` lines; `channels` are those of its header once it was asked."""

    model = "pm-line"
    baud = 115_200
    talks_unasked = True
    dtr = False
    rts = False
    channels: tuple[Channel, ...] = CHANNELS
    tick_rate_hz = TICK_RATE_HZ
    tick_modulus = TICK_MODULUS

    def __init__(
        self,
        transport: Transport,
        *,
        block_s: float = 0.1,
        reply_s: float = 3.0,
        now_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._transport, self._now_ns = transport, now_ns
        self._block_s, self._reply_s = block_s, reply_s  # a board that restarts takes two seconds
        self._ask = partial(ask, transport, reply_s=reply_s, now_ns=now_ns)
        self._header: bytes | None = None
        self._places: tuple[int, ...] = ()
        self._slowest_s = 1.0
        self._decoder = decoder()
        self._t_last_ns = 0

    def identify(self) -> Mapping[str, str]:
        """Ask for the header, and wait for a line to see how many places its values have.

        Raises:
            Unsupported: it speaks another version.
            Timeout: it says no header, or no line behind it.

        """
        payload = self._ask(b"?", parse_header).payload
        header = decode_header(payload)
        self._slowest_s = max(1.0, 2.5 / header.rate_hz)
        places = self._first_places(len(header.fields))
        self._header, self._places = payload, places
        self.channels = channels(header, places)
        return {
            "model": self.model,
            "fields": " ".join(header.fields),
            "units": " ".join(header.units),
            "rate_hz": f"{header.rate_hz:g}",
        }

    def start(self) -> None:
        """Begin to take its lines, once it has said again which ones they are.

        Raises:
            Refused: it has another header than before.

        """
        if self._header is None:
            self.identify()
        header = self._header or b""
        if self._ask(b"?", parse_header).payload != header:
            raise Refused(
                f"{self._transport.name}: the meter has another header than before; open it again."
            )
        self._decoder = decoder(header, self._places)
        self._t_last_ns = self._now_ns()

    def read_block(self) -> Block:
        """Return what arrives within `block_s` seconds, or as soon after as there is a line.

        Raises:
            Timeout: no line comes any more.
            Desync: bytes come, but no lines.

        """
        block = take_block(
            self._transport,
            self._decoder,
            (c.name for c in self.channels),
            t_before_ns=self._t_last_ns,
            block_s=self._block_s,
            patience_s=self._slowest_s,
            now_ns=self._now_ns,
            what="lines of a pm meter",
            advice="check its speed, and its lines against CONTRIBUTING.md",
        )
        self._t_last_ns = block.t_reply_ns
        return block

    def stop(self) -> None:
        """Stop listening: it cannot be told to stop."""

    def close(self) -> None:
        """Give the port back."""
        self._transport.close()

    def __enter__(self) -> PmLine:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _first_places(self, count: int) -> tuple[int, ...]:
        """Return the places behind the dots of two lines that agree."""
        seen: tuple[int, ...] | None = None
        buffer, end_ns = b"", self._now_ns() + round((self._slowest_s + self._reply_s) * 1e9)
        while self._now_ns() < end_ns:
            buffer += self._transport.read(end_ns)
            while not isinstance(verdict := parse_sample(buffer), Need):
                taken = verdict.length if isinstance(verdict, Frame) else verdict.count
                buffer = buffer[taken:]
                if isinstance(verdict, Skip):
                    continue
                try:
                    places = decode_line(verdict.payload)[2]
                except Implausible:
                    continue
                if places == seen and len(places) == count:
                    return places
                seen = places
        raise Timeout(
            f"{self._transport.name}: the meter said its header, but no lines with {count} values "
            "behind it."
        )
