"""Eastron SDM120, SDM220, SDM230 (one phase) and SDM630, SDM72D (three): Modbus energy meters.

Seen: no meter of our own yet, and no capture of one. The frames in `tests/tapes/sdm230_*.tape` are
the maker's printed examples; two registers of them were checked against the IEEE-754 encoding.

Sources: the maker's protocol documents, as kept in nmakel/sdm_modbus@fead352 `documents/` (SDM120
old, V2.4, V2.5; SDM230 old, V1.1; SDM630 V1.8, V2.0; SDM72D V1.5, V2 V1.1); register lists
and field reports of reaper7/SDM_Energy_Meter@5d1653a (issues 50, 53); SmartEVSE-3 issue 198.
Accuracy: IEC 62053-21 class 1, EN 50470-3 class B, for active energy.

Wire, Modbus RTU, function 04; every quantity is a float32 in two registers, high word first:

    request  |addr|04|first|count|crc lo hi|          first and count are even, count <= 60
    answer   |addr|04|2·count|float|float|...|crc lo hi|
    SDM120   0x00: V . . I . . P . . S . . Q . . PF       (a point: a register of the three-phase
    SDM220   as SDM120, and the phase angle at 0x24        meters, zero here)
    SDM630   0x34: P  0x38: S  0x3C: Q  0x3E: PF  0x42: angle; 0x00: V1 V2 V3 I1 .. PF3
    all      0x46: f  0x48: kWh imported  0x4A: kWh exported

A reading is two blocks of different lengths, 60 ms apart; its two instants enclose both.
`blocks=1` reads the first alone: V, I, P, S, Q, PF of one phase; totals, f and energies of three.

Quirks
- The word order can be flipped by a write to holding register 0x0028 (SDM630). It is found out
  from the meter's own address (holding 0x0014), a small whole number that cannot be read both
  ways; a voltage in the wrong order (230.2 becomes 4.17e-08) is refused, and the refusal says so.
- A document asks for 60 ms of silence before the next request (`pause_s`). An SDM72D polled
  without pauses rebooted, which 500 ms between its questions cured; here it has `rest_s` = 0.5
  after each reading. That this is enough is assumed: if it falls silent, give `pause_s=0.5`.
- Speeds of 2400 and of 9600 are both called the default, parity none mostly, even in one place:
  all are tried at open, never later.
- A frame with a wrong checksum or parity gets no answer. Exception 05 is "device failure" here.
- Other documents allow 80 registers a request; 60 is what all allow.
- The energies are float32 kilowatt-hours: their step grows with the register
  (`energy_resolution_j`), from 3.4 J at 10 kWh to 28 kJ at 100 MWh. That the firmware rounds
  no further stands in no source.
- What they average and how often they refresh stands in no source; one second is assumed.
- Only the SDM120's meter code (holding 0xFC02: 0x0020) is documented. Other codes are shown.
- "SDM72D" is the SDM72D-M V2. Its elder knows total power and energies only; the rest of its
  registers reads zero, and so it is refused for its frequency of 0 Hz.
- 1P2W wiring of a three-phase meter leaves L2 and L3 at zero; only L1 must be a mains.
- This driver never writes.
"""

from __future__ import annotations

import math
import struct
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import partial
from typing import Final

from ..errors import DeviceError, Implausible, Refused, Transient, Unsupported
from ..formats import Format
from ..held import CounterWatch, HeldWatch
from ..modbus import READ_HOLDING, READ_INPUT, framed, parse_answer, read_request, registers
from ..reading import Accuracy, Channel, Reading
from ..transport import Transport
from ..wire import Answer, Parser, Verdict, ask, drain

__all__ = [
    "FORMATS",
    "VARIANTS",
    "EastronSdm",
    "decode",
    "energy_resolution_j",
    "floats",
    "parse",
    "request",
]

_JOULE_PER_KWH: Final = 3_600_000
_MOST_ENERGY_KWH: Final = 100_000.0
_CLASS_1: Final = Accuracy(of_reading=0.01, source="IEC 62053-21 class 1, EN 50470-3 class B")
# The classes speak of active energy. For the rest the documents at hand state nothing.
_POWER: Final = Accuracy(of_reading=0.01, source="that of the active energy", assumed=True)
_OTHER: Final = Accuracy(of_reading=0.03, counts=1, assumed=True)
_METER_ID: Final = 0x0014
_SERIAL: Final = 0xFC00  # u32 serial number, u16 meter code, u16 software version
_MOST_A: Final = 100.0
# Outside of these there is no mains, so the frame belongs to nobody.
_MAINS: Final = {
    "voltage_v": (80.0, 300.0),
    "voltage_l1_v": (80.0, 300.0),
    "frequency_hz": (45.0, 65.0),
}


def energy_resolution_j(energy_j: float) -> float:
    """Return the step, in J, of a float32 register of kilowatt-hours at `energy_j`."""
    return _step(energy_j / _JOULE_PER_KWH) * _JOULE_PER_KWH


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
        scale=Fraction(_JOULE_PER_KWH),
        resolution=_step(_MOST_ENERGY_KWH) * _JOULE_PER_KWH,  # the worst; see `identify`
        accuracy=_CLASS_1,
        refresh_s=1.0,
        range_min=0.0,
        range_max=_MOST_ENERGY_KWH * _JOULE_PER_KWH,
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
_METER_CODES: Final = {0x0020: "sdm120"}
_REST_S: Final = {"sdm72d": 0.5}


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
        channel.name: numbers[(register - block.first) // 2] * float(channel.scale)
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


class EastronSdm:
    """One meter on one port; `variant` is one of `VARIANTS`, `unit` its Modbus address."""

    baud = 9600
    bauds = (9600, 2400, 4800, 19200, 38400, 1200)
    parities = ("N", "E")

    def __init__(
        self,
        transport: Transport,
        *,
        variant: str = "sdm230",
        unit: int = 1,
        blocks: int = 2,
        reply_s: float = 1.0,
        pause_s: float = 0.06,
        rest_s: float | None = None,
        now_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        if not 1 <= unit <= 247:
            raise Unsupported(f"Expected a unit from 1 to 247; got {unit}.")
        self.model, self._unit = variant, unit
        self._blocks = _blocks_of(variant, blocks)
        self.channels = self.channels_of(variant, blocks)
        self._transport, self._now_ns = transport, now_ns
        # 371 ms on the wire at 2400 baud, and field reports of answers after 600 ms.
        self._ask = partial(ask, transport, reply_s=reply_s, now_ns=now_ns)
        self._pause_ns = round(pause_s * 1e9)
        rest_s = _REST_S.get(variant, pause_s) if rest_s is None else rest_s
        self._rest_ns = round(rest_s * 1e9)
        self._quiet_until_ns = now_ns() + self._pause_ns
        # Whether the low words come first; None while nobody knows, or after a failure.
        self._low_first: bool | None = None
        moving = [c.name for c in self.channels if c.quantity in ("voltage", "frequency", "power")]
        self._held = HeldWatch(moving, refresh_s=1.0)
        self._counters = {
            c.name: CounterWatch(c.name) for c in self.channels if c.kind == "counter"
        }

    @staticmethod
    def channels_of(variant: str = "sdm230", blocks: int = 2) -> tuple[Channel, ...]:
        """Return the channels of a variant, without opening one."""
        return tuple(c for block in _blocks_of(variant, blocks) for _, c in block.table)

    def identify(self) -> Mapping[str, str]:
        """Find out the word order, read the meter's code, and take a reading as the proof.

        The resolution of the energies becomes that of the registers of this meter.

        Raises:
            DeviceError: it names another address than the one it answers at, or the code of
                another model.
            Implausible: what it measures is no mains.

        """
        low_first = self._synchronise()
        found = {"model": self.model, "unit": str(self._unit)}
        found["word_order"] = "low first" if low_first else "high first"
        found |= self._meter_code()
        values = self.read().values
        self.channels = tuple(  # a new meter's, as they will be after the first kilowatt-hour
            replace(c, resolution=energy_resolution_j(max(values[c.name], _JOULE_PER_KWH)))
            if c.unit == "J"
            else c
            for c in self.channels
        )
        return found

    def read(self) -> Reading:
        """Take one reading of all channels.

        Raises:
            Implausible: the voltage or the frequency is none of a mains.
            Held: nothing has moved for a minute.
            CounterReset: an energy has fallen.

        """
        low_first = self._synchronise() if self._low_first is None else self._low_first
        values, instants = dict[str, float](), list[int]()
        for block in self._blocks:
            answer = self._exchange(
                request(block, self._unit), partial(parse, block=block, unit=self._unit)
            )
            instants += (answer.t_request_ns, answer.t_reply_ns)
            values |= decode(block, registers(answer.payload), low_first=low_first)
        self._quiet_until_ns = instants[-1] + max(self._rest_ns, self._pause_ns)
        for name, counter in self._counters.items():
            counter.check(instants[-1], values[name])
        self._held.check(instants[-1], values)
        return Reading(instants[0], instants[-1], values)

    def close(self) -> None:
        """Give the port back; the meter needs no farewell."""
        self._transport.close()

    def _synchronise(self) -> bool:
        """Ask for the meter's own address, which no other answer looks like; return the word order.

        So an answer that outlives the quiet time after a failure never meets the next block.
        """
        answer = self._holding(_METER_ID, 2)
        for low_first in (False, True):
            (number,) = floats(registers(answer.payload), low_first=low_first)
            if number == self._unit:
                self._low_first = low_first
                return low_first
        raise DeviceError(
            f"Expected an Eastron meter that calls itself {self._unit}, as it answers to; its "
            f"register 0x{_METER_ID:04X} holds {registers(answer.payload).hex(' ')}. "
            "Check model and unit."
        )

    def _meter_code(self) -> Mapping[str, str]:
        """Ask for serial number and meter code; older meters refuse."""
        try:
            block = registers(self._holding(_SERIAL, 4).payload)
        except Refused:
            return {"meter_code": "none offered", "proof": "address and layout"}
        code = int.from_bytes(block[4:6], "big")
        meant = _METER_CODES.get(code)
        if meant not in (None, self.model):
            raise DeviceError(
                f"Expected {self.model}; the meter's code 0x{code:04X} is that of {meant}."
            )
        return {
            "serial_number": str(int.from_bytes(block[0:4], "big")),
            "meter_code": f"0x{code:04X}",
            "software": f"0x{int.from_bytes(block[6:8], 'big'):04X}",
            "proof": "meter code" if meant else "address and layout",
        }

    def _holding(self, first: int, count: int) -> Answer:
        return self._exchange(
            read_request(self._unit, READ_HOLDING, first, count),
            partial(parse_answer, address=self._unit, function=READ_HOLDING, count=count),
        )

    def _exchange(self, question: bytes, judge: Parser) -> Answer:
        """Ask once the line has been quiet for long enough."""
        left_ns = self._quiet_until_ns - self._now_ns()
        if left_ns > 0:
            drain(self._transport, left_ns * 1e-9, now_ns=self._now_ns)
        try:
            return self._ask(question, judge)
        except Transient:
            self._low_first = None
            raise
        finally:
            self._quiet_until_ns = self._now_ns() + self._pause_ns


def _blocks_of(variant: str, blocks: int) -> tuple[Block, ...]:
    if variant not in VARIANTS:
        raise Unsupported(f"Expected one of {', '.join(VARIANTS)}; got {variant!r}.")
    if blocks not in (1, 2):
        raise Unsupported(f"Expected blocks=1 or blocks=2; got {blocks}.")
    return VARIANTS[variant][:blocks]
