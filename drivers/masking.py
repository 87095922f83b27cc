"""Identities taken out of a recorded conversation before it is written.

The rule, which every tape recorded by `wattcal tape record` states in its head:

- Modbus RTU: every unit id becomes 1, 2, ... in the order of appearance, in questions and answers,
  and the checksum is made valid again. 0 (everybody) and 248 (a PZEM's "whoever is there") name
  nobody and stay. A damaged frame keeps its wrong checksum.
- `*IDN?` (IEEE 488.2, 10.14: maker, model, serial number, firmware): of the serial number each
  digit becomes 0 and each letter X, there and wherever the same serial number comes again.
- A format with another identity brings its own rule: a function `mask` in the driver's module, of
  (question, answer), both masked so far, which returns an answer of the same length. Those of the
  Modbus meters put the masked unit id also where a register holds it, and 0 for a serial number.

Lengths never change, so a tape parses, times and replays as what was recorded.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeAlias

from .modbus import READ_HOLDING, crc16, framed, parse_answer, read_request
from .wire import Frame

__all__ = ["RULE", "Mask", "Masker", "mask_registers"]

RULE: Final = (
    "unit ids are 1, 2, ... in the order of appearance with valid checksums; serial numbers of "
    "*IDN? are 0 for a digit and X for a letter, those in registers 0"
)
Mask: TypeAlias = Callable[[bytes, bytes], bytes]

_NOBODY: Final = (0x00, 0xF8)
_HIGHEST_ID: Final = 0xF7
_SHORTEST: Final = 4
_LONGEST: Final = 256


class Masker:
    """Masks one conversation, exchange by exchange; keeps nothing but what it has replaced."""

    def __init__(self, own: Mask | None = None) -> None:
        self._own = own
        self._units: dict[int, int] = {}
        self._serials: dict[bytes, bytes] = {}
        self.count = 0

    def exchange(self, question: bytes, answer: bytes) -> tuple[bytes, bytes]:
        """Return question and answer without identities, each as long as before.

        Raises:
            ValueError: the driver's own rule changed a length.

        """
        before = (question, answer)
        if _is_modbus(question):
            function = question[1]
            question = self._frame(question)
            answer = self._answer(answer, function)
        elif b"*IDN?" in question.upper():
            self._learn(answer)
        for serial, masked in self._serials.items():
            answer, question = answer.replace(serial, masked), question.replace(serial, masked)
        if self._own is not None:
            length, answer = len(answer), self._own(question, answer)
            if len(answer) != length:
                raise ValueError(f"mask() made {len(answer)} bytes of {length}; lengths must stay.")
        self.count += before != (question, answer)
        return question, answer

    def _unit(self, unit: int) -> int:
        if unit in _NOBODY or unit > _HIGHEST_ID:
            return unit
        return self._units.setdefault(unit, len(self._units) % _HIGHEST_ID + 1)

    def _frame(self, frame: bytes) -> bytes:
        return framed(bytes((self._unit(frame[0]),)) + frame[1:-2])

    def _answer(self, data: bytes, function: int) -> bytes:
        """Mask every frame in the bytes that came back, whole or damaged, and its echo."""
        out, at = bytearray(data), 0
        while at < len(data) - 1:
            length = _whole_frame(data[at : at + _LONGEST])
            if length:
                out[at : at + length] = self._frame(data[at : at + length])
                at += length
                continue
            if data[at + 1] & 0x7F == function and data[at] in self._units:
                out[at] = self._units[data[at]]
            at += 1
        return bytes(out)

    def _learn(self, answer: bytes) -> None:
        fields = answer.strip().split(b",")
        if len(fields) >= 3 and len(fields[2].strip()) > 1:
            serial = fields[2].strip()
            self._serials[serial] = bytes(_blank(c) for c in serial)


def mask_registers(
    question: bytes,
    answer: bytes,
    *,
    first: int,
    count: int,
    change: Callable[[int, bytes], bytes],
) -> bytes:
    """Return an answer with holding registers that are an identity changed, checksums valid again.

    For a driver's `mask`: `question` must have asked for `count` registers from `first` on, else
    the answer stays. `change` makes of (unit id, the registers' bytes) as many other bytes. A torn
    or damaged answer may hold a part of the identity, so without a whole frame all is zeros.
    """
    asked = read_request(0, READ_HOLDING, first, count)[1:6]
    if question[1:6] != asked or not answer:
        return answer
    at, found, out = 0, False, bytearray(answer)
    while at < len(answer):
        verdict = parse_answer(answer[at:], address=None, function=READ_HOLDING, count=count)
        if isinstance(verdict, Frame):
            head = answer[at : at + 3]
            if not head[1] & 0x80:
                masked = framed(head + change(head[0], answer[at + 3 : at + 3 + 2 * count]))
                out[at : at + verdict.length] = masked
            at, found = at + verdict.length, True
        else:
            at += 1
    return bytes(out) if found else bytes(len(answer))


def _blank(character: int) -> int:
    if chr(character).isdigit():
        return ord("0")
    return ord("X") if chr(character).isalpha() else character


def _is_modbus(question: bytes) -> bool:
    return len(question) >= _SHORTEST and _checks(question) and question[1] & 0x7F != 0


def _checks(frame: bytes) -> bool:
    return crc16(frame[:-2]) == int.from_bytes(frame[-2:], "little")


def _whole_frame(data: bytes) -> int:
    """Return the length of the frame at the beginning, 0 if none is there."""
    if len(data) < _SHORTEST or data[0] > 0xF8:
        return 0
    lengths = (5 + data[2], 8, 5, 4) if data[1] in (1, 2, 3, 4) else (8, 5, 4)
    return next((n for n in lengths if n <= len(data) and _checks(data[:n])), 0)
