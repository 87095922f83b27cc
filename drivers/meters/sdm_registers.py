"""The registers of Eastron's SDM meters, and what their bytes mean; pure functions.

Sources, quirks and the wire are described in `drivers.meters.sdm`.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from typing import Final

from ..errors import Implausible, Unsupported
from ..formats import Format
from ..modbus import READ_HOLDING, READ_INPUT, framed, parse_answer, read_request, registers
from ..reading import Accuracy, Channel
from ..wire import Verdict

__all__ = [
    "FORMATS",
    "JOULE_PER_KWH",
    "VARIANTS",
    "Block",
    "blocks_of",
    "decode",
    "energy_resolution_j",
    "floats",
    "parse",
    "request",
]

JOULE_PER_KWH: Final = 3_600_000
_MOST_ENERGY_KWH: Final = 100_000.0
_CLASS_1: Final = Accuracy(of_reading=0.01, source="IEC 62053-21 class 1, EN 50470-3 class B")
# The classes speak of active energy. For the rest the documents at hand state nothing.
_POWER: Final = Accuracy(of_reading=0.01, source="that of the active energy", assumed=True)
_OTHER: Final = Accuracy(of_reading=0.03, counts=1, assumed=True)
_MOST_A: Final = 100.0
# Outside of these there is no mains, so the frame belongs to nobody.
_MAINS: Final = {
    "voltage_v": (80.0, 300.0),
    "voltage_l1_v": (80.0, 300.0),
    "frequency_hz": (45.0, 65.0),
}


def energy_resolution_j(energy_j: float) -> float:
    """Return the step, in J, of a float32 register of kilowatt-hours at `energy_j`."""
    return _step(energy_j / JOULE_PER_KWH) * JOULE_PER_KWH


def _step(value: float) -> float:
    """Return the distance between neighbouring float32 numbers at `value`."""
    exponent = math.frexp(value)[1] if value else -125  # the smallest, of subnormal numbers
    return math.ldexp(1.0, max(exponent, -125) - 24)


def _mean(
    name: str, quantity: str, unit: str, top: float, accuracy: Accuracy, low: float = 0.0
) -> Channel:
    return Channel(
        name=name,
        quantity=quantity,
        unit=unit,
        kind="mean",
        scale=Fraction(1),
        resolution=_step(top),
        accuracy=accuracy,
        window_s=1.0,
        refresh_s=1.0,
        range_min=low,
        range_max=top,
        assumed=("resolution", "window_s", "refresh_s", "stamp_at", "range_min", "range_max"),
    )


def _energy(name: str) -> Channel:
    return Channel(
        name=name,
        quantity="energy",
        unit="J",
        kind="counter",
        scale=Fraction(JOULE_PER_KWH),
        resolution=_step(_MOST_ENERGY_KWH) * JOULE_PER_KWH,  # the worst; see `identify`
        accuracy=_CLASS_1,
        refresh_s=1.0,
        range_min=0.0,
        range_max=_MOST_ENERGY_KWH * JOULE_PER_KWH,
        assumed=("resolution", "refresh_s", "range_max"),
    )


def _quantities(line: str, amperes: float = _MOST_A) -> tuple[Channel, ...]:
    """Return V, I, P, S, Q and PF of one line (or of all), in the order of their registers."""
    watts = 300.0 * amperes
    return (
        _mean(f"voltage{line}_v", "voltage", "V", 300.0, _OTHER),
        _mean(f"current{line}_a", "current", "A", amperes, _OTHER),
        _mean(f"power{line}_w", "power", "W", watts, _POWER, -watts),
        _mean(f"apparent_power{line}_va", "apparent_power", "VA", watts, _OTHER),
        _mean(f"reactive_power{line}_var", "reactive_power", "var", watts, _OTHER, -watts),
        _mean(f"power_factor{line}", "power_factor", "1", 1.0, _OTHER, -1.0),
    )


_ANGLE: Final = _mean("phase_angle_deg", "phase_angle", "deg", 180.0, _OTHER, -180.0)
_COUNTERS: Final = (
    (0x46, _mean("frequency_hz", "frequency", "Hz", 65.0, _OTHER, 45.0)),
    (0x48, _energy("energy_import_j")),
    (0x4A, _energy("energy_export_j")),
)
_LINE: Final = tuple(zip(range(0x00, 0x24, 6), _quantities(""), strict=True))
_LINES: Final = tuple(
    (register + 2 * (line - 1), channel)
    for line in (1, 2, 3)
    for register, channel in zip(range(0x00, 0x24, 6), _quantities(f"_l{line}"), strict=True)
)
_TOTALS: Final = tuple(zip((0x34, 0x38, 0x3C, 0x3E), _quantities("", 3 * _MOST_A)[2:], strict=True))


@dataclass(frozen=True, slots=True)
class Block:
    """Registers that are read at once: the first, how many, and which channel begins where."""

    first: int
    count: int
    table: tuple[tuple[int, Channel], ...]


_LINE_BLOCK: Final = Block(0x00, 38, (*_LINE, (0x24, _ANGLE)))
_LINE_BLOCK_120: Final = Block(0x00, 32, _LINE)
_COUNTER_BLOCK: Final = Block(0x46, 10, _COUNTERS)
_TOTAL_BLOCK: Final = Block(0x34, 24, (*_TOTALS, (0x42, _ANGLE), *_COUNTERS))
_TOTAL_BLOCK_72: Final = Block(0x34, 24, (*_TOTALS, *_COUNTERS))
_LINES_BLOCK: Final = Block(0x00, 36, _LINES)

# The two blocks of a variant differ in length: an answer carries nothing else to know it by.
VARIANTS: Final[Mapping[str, tuple[Block, Block]]] = {
    "sdm120": (_LINE_BLOCK_120, _COUNTER_BLOCK),
    "sdm220": (_LINE_BLOCK, _COUNTER_BLOCK),
    "sdm230": (_LINE_BLOCK, _COUNTER_BLOCK),
    "sdm630": (_TOTAL_BLOCK, _LINES_BLOCK),
    "sdm72d": (_TOTAL_BLOCK_72, _LINES_BLOCK),
}


def request(block: Block, unit: int) -> bytes:
    """Return the request for a block of measurements."""
    return read_request(unit, READ_INPUT, block.first, block.count)


def parse(buffer: bytes, block: Block, unit: int) -> Verdict:
    """Judge the beginning of `buffer` as the answer to `request`."""
    return parse_answer(buffer, address=unit, function=READ_INPUT, count=block.count)


def floats(registers_: bytes, *, low_first: bool = False) -> tuple[float, ...]:
    """Return the float32 numbers in the bytes of registers, in either word order."""
    count = len(registers_) // 4
    if low_first:
        words = struct.unpack(f">{2 * count}H", registers_)
        swapped = (w for pair in zip(words[1::2], words[0::2], strict=True) for w in pair)
        registers_ = struct.pack(f">{2 * count}H", *swapped)
    return struct.unpack(f">{count}f", registers_)


def decode(block: Block, registers_: bytes, *, low_first: bool = False) -> dict[str, float]:
    """Return the value of every channel of a block, in the channel's unit.

    Raises:
        Implausible: a value is no number, or the voltage or the frequency is none of a mains;
            where the other word order would give one, the message says so.

    """
    values = _values(block, registers_, low_first)
    wrong = _impossible(values)
    if wrong is None:
        return values
    hint = ""
    if _impossible(_values(block, registers_, not low_first)) is None:
        hint = " The other word order would fit: has it been changed? Open the meter again."
    raise Implausible(wrong + hint)


def _values(block: Block, registers_: bytes, low_first: bool) -> dict[str, float]:
    numbers = floats(registers_, low_first=low_first)
    return {
        channel.name: numbers[(register - block.first) // 2]
        * channel.scale.numerator  # all are whole
        for register, channel in block.table
    }


def _impossible(values: Mapping[str, float]) -> str | None:
    """Say what in `values` cannot be, or None."""
    for name, value in values.items():
        if not math.isfinite(value):
            return f"Expected a number for {name}; got {value}."
    for name, (low, high) in _MAINS.items():
        if name in values and not low <= values[name] <= high:
            return f"Expected {name} from {low:g} to {high:g}; got {values[name]:.3g}."
    return None


def blocks_of(variant: str, blocks: int) -> tuple[Block, ...]:
    """Return the first `blocks` blocks of a variant.

    Raises:
        Unsupported: there is no such variant, or not so many blocks.

    """
    if variant not in VARIANTS:
        raise Unsupported(f"Expected one of {', '.join(VARIANTS)}; got {variant!r}.")
    if blocks not in (1, 2):
        raise Unsupported(f"Expected blocks=1 or blocks=2; got {blocks}.")
    return VARIANTS[variant][:blocks]


def _format(block: Block, values: Mapping[int, float]) -> Format:
    """Show the format of a block with a computed answer of these registers."""
    body = bytearray(2 * block.count)
    for register, value in values.items():
        at = 2 * (register - block.first)
        body[at : at + 4] = struct.pack(">f", value)
    return Format(
        parse=partial(parse, block=block, unit=1),
        decode=lambda payload: decode(block, registers(payload)),
        checked=True,
        examples=(framed(bytes((1, READ_INPUT, len(body))) + body), framed(b"\x01\x84\x02")),
    )


FORMATS: Final = {
    "line": _format(_LINE_BLOCK, {0x00: 230.2, 0x0C: 345.25}),
    "line_sdm120": _format(_LINE_BLOCK_120, {0x00: 230.2, 0x0C: 345.25}),
    "counters": _format(_COUNTER_BLOCK, {0x46: 50.0, 0x48: 123.456}),
    "totals": _format(_TOTAL_BLOCK, {0x34: 345.25, 0x46: 50.0, 0x48: 123.456}),
    "lines": _format(_LINES_BLOCK, {0x00: 230.2, 0x0C: 345.25}),
    "address": Format(
        parse=partial(parse_answer, address=1, function=READ_HOLDING, count=2),
        decode=lambda payload: floats(registers(payload)),
        checked=True,
        examples=(bytes.fromhex("0103043F800000F7CF"),),
    ),
}
