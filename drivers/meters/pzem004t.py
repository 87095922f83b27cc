"""Peacefair PZEM-004T version 3.0 (TTL) and PZEM-014/016 (RS-485): a mains meter for 80 to 260 V.

Seen: no module of our own yet. The answers in `tests/tapes/pzem004t_v3_field_readings.tape` were
captured by others on real modules (see its head); everything else is from the manual.

Sources: "PZEM-004T V3.0 User Manual", sections 1 (ranges, resolution, accuracy) and 2 (protocol);
mandulaj/PZEM-004T-v30@eec09ab (checksum order, general address); frames in the sources of ESPHome
and Tasmota.

Wire, 9600 8N1, Modbus RTU; one block answers everything at one instant:

    request  |addr|04|00 00|00 0A|crc lo hi|
    answer   |addr|04|14|V|I lo|I hi|P lo|P hi|E lo|E hi|f|PF|alarm|crc lo hi|
    register             0  1    2    3    4    5    6   7  8    9

Each register is big-endian; of a 32-bit value the *low* register comes first.

What it averages and how often it refreshes stands in no source. One second is assumed for both
(`Channel.assumed`); measure it by the time between changes of the voltage before trusting it.

Quirks
- Power comes from the mains side: without mains there is no answer at all.
- The manual draws the checksum high byte first; on the wire it is low byte first (all tapes).
- Starts at 0.4 W and 0.01 A (10 A shunt) or 0.02 A (100 A transformer); below that it says 0.
- Power factor x voltage x current is not the power within its resolution: never compute it.
- The PZEM-014 has a 10 A shunt inside, the PZEM-016 a 100 A transformer, the PZEM-004T either:
  here it stands for the latter. A current above the rated one is a fault. All have the same
  registers, so the address must name the right one.
- Address 0xF8 reaches any single module, which answers with an address of its choice.
- Function 0x41 recalibrates the module. This driver never sends it, nor any other write.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from fractions import Fraction
from functools import partial
from typing import Final

from ..errors import Implausible, OverRange, Transient, Unsupported
from ..formats import Format
from ..held import CounterWatch, HeldWatch
from ..masking import mask_registers
from ..modbus import (
    READ_HOLDING,
    READ_INPUT,
    framed,
    parse_answer,
    read_request,
    registers,
)
from ..reading import Accuracy, Channel, Reading
from ..transport import Transport
from ..wire import Verdict, ask

__all__ = [
    "ANY_ADDRESS",
    "CHANNELS",
    "FORMATS",
    "VARIANTS",
    "Pzem004t",
    "decode",
    "parse",
    "request",
]

ANY_ADDRESS: Final = 0xF8

_REFRESH_S: Final = 1.0
_MANUAL: Final = "PZEM-004T V3.0 User Manual, section 1"
_HALF_PERCENT: Final = Accuracy(of_reading=0.005, source=_MANUAL)
_ONE_PERCENT: Final = Accuracy(of_reading=0.01, source=_MANUAL)


def _channel(
    name: str, unit: str, scale: Fraction, accuracy: Accuracy, low: float, high: float
) -> Channel:
    """Describe one averaged quantity; its resolution is one count, its window is assumed."""
    return Channel(
        name=name,
        quantity=name.rpartition("_")[0] if unit != "1" else name,
        unit=unit,
        kind="mean",
        scale=scale,
        resolution=float(scale),
        accuracy=accuracy,
        window_s=1.0,
        refresh_s=_REFRESH_S,
        range_min=low,
        range_max=high,
        assumed=("window_s", "refresh_s", "stamp_at"),
    )


# First register, registers, channel. Ranges are those of the 100 A models with a transformer.
_TABLE: Final = (
    (0, 1, _channel("voltage_v", "V", Fraction(1, 10), _HALF_PERCENT, 80.0, 260.0)),
    (1, 2, _channel("current_a", "A", Fraction(1, 1000), _HALF_PERCENT, 0.0, 100.0)),
    (3, 2, _channel("power_w", "W", Fraction(1, 10), _HALF_PERCENT, 0.0, 23_000.0)),
    (
        5,
        2,
        Channel(  # counts watt-hours; what it does past 9999.99 kWh stands in no source
            name="energy_j",
            quantity="energy",
            unit="J",
            kind="counter",
            scale=Fraction(3600),
            resolution=3600.0,
            accuracy=_HALF_PERCENT,
            range_min=0.0,
            range_max=9_999_990 * 3600.0,
        ),
    ),
    (7, 1, _channel("frequency_hz", "Hz", Fraction(1, 10), _HALF_PERCENT, 45.0, 65.0)),
    (8, 1, _channel("power_factor", "1", Fraction(1, 100), _ONE_PERCENT, 0.0, 1.0)),
)
CHANNELS: Final = tuple(channel for _, _, channel in _TABLE)
# The same as bare numbers: name, first register, registers (low word first), scale.
_PLACES: Final = tuple(
    (channel.name, first, width, channel.scale.numerator, channel.scale.denominator)
    for first, width, channel in _TABLE
)
# Rated current in A: the PZEM-014 has a shunt inside, the others a transformer.
VARIANTS: Final[Mapping[str, float]] = {"pzem-004t": 100.0, "pzem-014": 10.0, "pzem-016": 100.0}
_RATED_V: Final = 230.0
_BLOCK: Final = 10
_BLOCK_WITHOUT_ALARM: Final = 9
_REGISTERS: Final = struct.Struct(f">{_BLOCK_WITHOUT_ALARM}H")  # the alarm is no channel

# A frame whose checksum fits and whose mains is none belongs to nobody: it becomes a fault.
# Wider than the rated range in voltage, so that a high mains (240 V + 10 %) is not thrown away.
_PLAUSIBLE: Final = {"voltage_v": (80.0, 300.0), "frequency_hz": (45.0, 65.0)}


def request(address: int, count: int = _BLOCK) -> bytes:
    """Return the request for the block of measurements."""
    return read_request(address, READ_INPUT, 0, count)


def parse(buffer: bytes, address: int, count: int = _BLOCK) -> Verdict:
    """Judge the beginning of `buffer` as the answer to `request`."""
    wanted = None if address == ANY_ADDRESS else address
    return parse_answer(buffer, address=wanted, function=READ_INPUT, count=count)


def decode(block: bytes) -> dict[str, float]:
    """Return the value of every channel, in the channel's unit, from the registers' bytes.

    Raises:
        Implausible: the voltage or the frequency is none of a mains.

    """
    words = _REGISTERS.unpack_from(block)
    values = {}
    for name, first, width, numerator, denominator in _PLACES:
        raw = words[first] if width == 1 else words[first] | words[first + 1] << 16
        values[name] = raw * numerator / denominator
    for name, (low, high) in _PLAUSIBLE.items():
        if not low <= values[name] <= high:
            raise Implausible(f"Expected {name} from {low:g} to {high:g}; got {values[name]:g}.")
    return values


def mask(question: bytes, answer: bytes) -> bytes:
    """Put the masked unit id of an answer also where the settings hold it, for a tape."""
    return mask_registers(
        question,
        answer,
        first=1,
        count=2,
        change=lambda unit, block: block[:2] + unit.to_bytes(2, "big"),
    )


FORMATS: Final = {
    "measurements": Format(
        parse=partial(parse, address=ANY_ADDRESS),
        decode=lambda payload: decode(registers(payload)),
        checked=True,
        examples=(
            bytes.fromhex("01041408D1006C000000F400000026000001F4006400005134"),
            bytes.fromhex("020414089A0027000000060000000100000257000700003CAB"),
            framed(b"\x01\x84\x04"),
        ),
    ),
    "settings": Format(
        parse=partial(parse_answer, address=None, function=READ_HOLDING, count=2),
        decode=registers,
        checked=True,
        examples=(framed(bytes.fromhex("01030459D80001")),),
    ),
}


class Pzem004t:
    """One module on one port; `variant` is one of `VARIANTS`."""

    baud = 9600
    channels = CHANNELS

    def __init__(
        self,
        transport: Transport,
        *,
        variant: str = "pzem-004t",
        unit: int = ANY_ADDRESS,
        reply_s: float = 0.3,
        now_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self.model, self.channels = variant, self.channels_of(variant)
        self._rated_a = VARIANTS[variant]
        self._transport, self._unit = transport, unit
        # An answer takes 34 ms on the wire; 0.3 s leaves room for adapters and network bridges.
        self._ask = partial(ask, transport, reply_s=reply_s, now_ns=now_ns)
        self._count = _BLOCK
        self._held = HeldWatch([c.name for c in CHANNELS], refresh_s=_REFRESH_S)
        # Its end and what comes after it stand in no source, so a fall is a reset.
        self._energy = CounterWatch("energy_j")

    @staticmethod
    def channels_of(variant: str = "pzem-004t") -> tuple[Channel, ...]:
        """Return the channels of a variant, without opening one."""
        if variant not in VARIANTS:
            raise Unsupported(f"Expected one of {', '.join(VARIANTS)}; got {variant!r}.")
        top = {"current_a": VARIANTS[variant], "power_w": _RATED_V * VARIANTS[variant]}
        return tuple(replace(c, range_max=top.get(c.name, c.range_max)) for c in CHANNELS)

    def identify(self) -> Mapping[str, str]:
        """Ask for the module's own address and its alarm threshold.

        The three variants have the same registers and cannot be told apart by talking.
        """
        wanted = None if self._unit == ANY_ADDRESS else self._unit
        answer = self._ask(
            read_request(self._unit, READ_HOLDING, 1, 2),
            partial(parse_answer, address=wanted, function=READ_HOLDING, count=2),
        )
        block = registers(answer.payload)
        return {
            "model": self.model,
            "unit": str(int.from_bytes(block[2:4], "big")),
            "alarm_threshold_w": str(int.from_bytes(block[0:2], "big")),
        }

    def read(self) -> Reading:
        """Take one reading of all channels.

        Raises:
            OverRange: the current is above the rated one.
            CounterReset: the energy register fell.
            Held: nothing has moved for a minute.
            DriverError: there is no answer, or none that can be used.

        """
        count = self._count
        try:
            answer = self._ask(
                request(self._unit, count),
                partial(parse, address=self._unit, count=count),
            )
        except Transient:
            # An answer carries no number. Asking for another length next makes even an answer
            # that outlives the quiet time after a failure unlike the one that is waited for.
            self._count = _BLOCK_WITHOUT_ALARM if count == _BLOCK else _BLOCK
            raise
        values = decode(registers(answer.payload))
        if values["current_a"] > self._rated_a:
            raise OverRange(
                f"Expected at most {self._rated_a:g} A; got {values['current_a']:g} A. Use a "
                "module for more."
            )
        self._energy.check(answer.t_reply_ns, values["energy_j"])
        self._held.check(answer.t_reply_ns, values)
        return Reading(answer.t_request_ns, answer.t_reply_ns, values)

    def close(self) -> None:
        """Give the port back; the module needs no farewell."""
        self._transport.close()

    def __enter__(self) -> Pzem004t:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()
