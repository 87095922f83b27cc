r"""Replies of instruments that talk in lines (SCPI and its relatives): pure functions of bytes.

    line      UNIT;UNIT;...  CR LF                (over USB, LAN and GP-IB one terminator, LF)
    unit      [HEADER blank] FIELD,FIELD,...      :MEAS:AVER:TYPE LIN    3    URMS,1    NAN
    block     '#' d length(d digits) payload      payload may hold any byte, 0x0A too

One question may hold several queries; their units come back in one line, in the order asked. A
header stands before a unit where the instrument's headers are on; both forms are accepted.

Numbers that are none: `NAN` and 9.91E+37 mean that there is no data, `INF` and 9.9E+37 that the
range is exceeded. They are returned as a `Sentinel`, never as a number.

Sources: IEEE 488.2-1992, 8.7 (numbers, definite length block); SCPI-1999 volume 1, 7.2 (9.9E37,
9.91E37); IM WT310-17EN (blocks); query and answer transcripts of WT310E, WT333E and WT210 in
mlcommons/inference_results_v2.0@425a0d3 (headers, NAN, mantissas of varying length).

There is no checksum. What a reply is checked for: its line ends where a line ends and holds
nothing but its grammar, the number of units and fields is the one asked for, and each field has
the form of its quantity; `power_agrees` then holds the power against U·I·λ.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from fractions import Fraction
from functools import cache
from typing import Final

from .wire import Frame, Need, Skip, Verdict

__all__ = [
    "Number",
    "Sentinel",
    "Unit",
    "floats",
    "number",
    "parse_block",
    "parse_line",
    "power_agrees",
    "power_of_ten",
    "same_words",
    "units",
]

_LONGEST: Final = 1024
_NUMBER: Final = re.compile(r"[+-]?[0-9]{1,12}(?:\.([0-9]{1,12}))?(?:[Ee]([+-]?[0-9]{1,2}))?")
_HEADER: Final = re.compile(r"(:?[A-Za-z][A-Za-z0-9:]*) +(?=\S)")
_PRINTABLE_END: Final = re.compile(rb"[\x20-\x7e]*\Z")
_INVALID: Final = 9.9e37
_FLOAT_NO_DATA: Final = bytes.fromhex("7E951BEE")
_FLOAT_OVER: Final = bytes.fromhex("7E94F56A")


class Sentinel(Enum):
    """Why there is no number; the value is the code of the fault that a recording stores."""

    NO_DATA = "no-data"
    OVER_RANGE = "overrange"


@dataclass(frozen=True, slots=True)
class Number:
    """A number and the weight of its last digit: 79.77E+00 is 79.77 in steps of 1/100."""

    value: float
    step: Fraction


@dataclass(frozen=True, slots=True)
class Unit:
    """One query's share of a reply: its header, "" where headers are off, and its fields."""

    header: str
    fields: tuple[str, ...]


def parse_line(buffer: bytes, refuse: Callable[[str], str | None]) -> Verdict:
    """Judge the first line of `buffer`; `refuse` says why a line is not the answer, or None.

    The payload of the frame is the line without its end. Noise before an answer is skipped: bytes
    that are no text, and text as far as it spoils the first field alone. A line with too many
    fields is another answer, of which no part is ours.
    """
    end = buffer.find(b"\n")
    if end < 0:
        if len(buffer) > _LONGEST:
            return Skip(len(buffer), f"{len(buffer)} bytes came without an end of line")
        return Need()
    line = buffer[:end].removesuffix(b"\r")
    clean = _PRINTABLE_END.search(line)
    if clean is not None and clean.start() > 0:
        return Skip(clean.start(), f"bytes that are no text: {line[: clean.start()][:40]!r}")
    text = line.decode("ascii")
    why = refuse(text)
    if why is None:
        return Frame(end + 1, line)
    for at in range(1, len(re.split(r"[,;]", text, maxsplit=1)[0])):
        if refuse(text[at:]) is None:
            return Skip(at, why)
    return Skip(end + 1, why)


def parse_block(buffer: bytes) -> Verdict:
    """Judge the beginning of `buffer` as a definite length block; it is never cut at 0x0A."""
    if not buffer:
        return Need()
    if buffer[:1] != b"#":
        return Skip(1, f"0x{buffer[0]:02X} is not the '#' of a block")
    if len(buffer) < 2:
        return Need()
    if not b"1" <= buffer[1:2] <= b"4":
        return Skip(1, f"{buffer[1:2]!r} is no number of digits from 1 to 4")
    head = 2 + buffer[1] - 0x30
    digits = buffer[2:head]
    if not all(0x30 <= d <= 0x39 for d in digits):
        return Skip(1, f"{digits!r} is no length")
    if len(buffer) < head or len(buffer) < head + int(digits):
        return Need()
    return Frame(head + int(digits), buffer[head : head + int(digits)])


def floats(payload: bytes) -> tuple[float | Sentinel, ...]:
    """Return the big-endian float32 values of a block; a rest of fewer than 4 bytes is dropped."""
    values = list[float | Sentinel]()
    for at in range(0, len(payload) - 3, 4):
        word = payload[at : at + 4]
        value = struct.unpack(">f", word)[0]
        if word == _FLOAT_OVER or value in (float("inf"), float("-inf")):
            values.append(Sentinel.OVER_RANGE)
        elif word == _FLOAT_NO_DATA or value != value or abs(value) >= _INVALID:
            values.append(Sentinel.NO_DATA)
        else:
            values.append(value)
    return tuple(values)


def units(line: str) -> tuple[Unit, ...]:
    """Split a reply at its semicolons, and each unit into header and fields."""
    found = []
    for part in line.split(";"):
        text = part.strip()
        header = _HEADER.match(text)
        body = text[header.end() :] if header else text
        fields = tuple(field.strip() for field in body.split(","))
        found.append(Unit(header.group(1) if header else "", fields))
    return tuple(found)


def number(field: str) -> Number | Sentinel | None:
    """Return what a numeric field says; None where it is no numeric field at all."""
    if field == "NAN":
        return Sentinel.NO_DATA
    if field in ("INF", "+INF", "-INF"):
        return Sentinel.OVER_RANGE
    match = _NUMBER.fullmatch(field)
    if match is None:
        return None
    decimals, exponent = match.group(1) or "", int(match.group(2) or 0)
    value = float(field)
    if abs(value) >= _INVALID:
        return Sentinel.NO_DATA if abs(value) >= 9.905e37 else Sentinel.OVER_RANGE
    return Number(value, power_of_ten(exponent - len(decimals)))


@cache
def power_of_ten(exponent: int) -> Fraction:
    """Return 10 to the power of `exponent`, exactly."""
    return Fraction(10) ** exponent


def same_words(short: str, long: str) -> bool:
    """Whether two mnemonics name one thing, each in its short or its long form, in any case.

    The short form is a beginning of the long one: LAMB and LAMBDA, but not U and URMS.
    """
    one, other = short.upper(), long.upper()
    return bool(one and other) and (one.startswith(other) or other.startswith(one))


def power_agrees(
    voltage: Number, current: Number, power: Number, power_factor: Number | None
) -> bool:
    """Whether |P| is U·I·|λ| within what rounding each of them to its last digit allows.

    Where there is no power factor (no current, for example), whether |P| exceeds U·I.
    """
    u, i, p = abs(voltage.value), abs(current.value), abs(power.value)
    du, di, dp = (float(n.step) / 2 for n in (voltage, current, power))
    lam, dlam = (1.0, 0.0)
    if power_factor is not None:
        lam, dlam = abs(power_factor.value), float(power_factor.step) / 2
    high = (u + du) * (i + di) * (lam + dlam) + dp
    low = max(u - du, 0.0) * max(i - di, 0.0) * max(lam - dlam, 0.0) - dp
    slack = 1e-9 * (1.0 + p)  # of the arithmetic
    return p <= high + slack and (power_factor is None or p >= low - slack)
