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

import struct
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Final

from ..errors import DeviceError, Refused, Transient, Unsupported
from ..held import CounterWatch, HeldWatch
from ..masking import mask_registers
from ..modbus import READ_HOLDING, parse_answer, read_request, registers
from ..reading import Channel, Reading
from ..transport import Transport
from ..wire import Answer, Parser, ask, drain
from .sdm_registers import (
    FORMATS,
    JOULE_PER_KWH,
    blocks_of,
    decode,
    energy_resolution_j,
    floats,
    parse,
    request,
)

__all__ = ["FORMATS", "EastronSdm"]

_METER_ID: Final = 0x0014
_SERIAL: Final = 0xFC00  # u32 serial number, u16 meter code, u16 software version
_METER_CODES: Final = {0x0020: "sdm120"}
_REST_S: Final = {"sdm72d": 0.5}


def mask(question: bytes, answer: bytes) -> bytes:
    """Put the masked unit id also where a register holds it, and 0 for the serial number."""
    answer = mask_registers(question, answer, first=_METER_ID, count=2, change=_same_order)
    return mask_registers(
        question, answer, first=_SERIAL, count=4, change=lambda _, block: bytes(4) + block[4:]
    )


def _same_order(unit: int, block: bytes) -> bytes:
    """Return the unit id as a float in the word order of what stands there."""
    number = struct.pack(">f", unit)
    is_id = 1 <= floats(block)[0] <= 247
    return number if is_id else number[2:] + number[:2]


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
        self._blocks = blocks_of(variant, blocks)
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
        return tuple(c for block in blocks_of(variant, blocks) for _, c in block.table)

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
            replace(c, resolution=energy_resolution_j(max(values[c.name], JOULE_PER_KWH)))
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
