"""Peacefair PZEM-004T, the first version: a mains meter with frames of seven bytes.

Seen: no module of our own, and no capture. The frames of the tests are computed.

Sources: olehs/PZEM004T@0d6c138 `PZEM004T.cpp` (commands, scales, the checksum, the zero byte at
power-up). No manual of the protocol is at hand.

Wire, 9600 8N1; one question a quantity:

    request  |code|4 bytes of address|00|sum|     sum of the first six bytes, modulo 256
    answer   |code - 10|D0 D1 D2 D3 D4|sum|
    B4  set the address, must come first   answer A4 00 00 00 00 00 A4
    B0  voltage   D0 D1 volts, D2 tenths
    B1  current   D0 D1 amperes, D2 hundredths
    B2  power     D0 D1 watts
    B3  energy    D0 D1 D2 watt-hours

A reading is four questions; its two instants enclose all four answers.

What it averages and how often it refreshes stands in no source; one second is assumed for both.
So does an accuracy: 3 % and one digit are assumed.

Quirks
- The power counts whole watts: 5 % of an idle machine of 20 W is one count.
- An answer names its quantity, so the late answer to another question is known as such; one to
  the same question is not. After any failure the address is set again, and what comes before
  the answer to that is thrown away.
- The checksum is a sum: it notices every single damaged byte, but of two some pass. Digits that
  are none and bytes that must be zero are refused too. Of answers with two damaged bytes of
  seven there get through: voltage 0.01 %, current 0.08 %, power 0.06 %, energy 0.11 % (measured,
  see tests/wire/test_pzem004t_v1_frames.py).
- A zero byte comes before the first answer after power-up; it is skipped like any noise.
- What the energy does at the end of its three bytes stands in no source.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from typing import Final

from ..errors import Checksum, Implausible, Transient, Unsupported
from ..formats import Format
from ..held import CounterWatch, HeldWatch
from ..reading import Accuracy, Channel, Reading
from ..transport import Transport
from ..wire import Answer, Frame, Need, Skip, Verdict, ask

__all__ = ["CHANNELS", "FORMATS", "Pzem004tV1", "decode", "framed", "parse", "request"]

_LENGTH: Final = 7
_SET_ADDRESS: Final = 0xB4
_CODES: Final = (0xA0, 0xA1, 0xA2, 0xA3, 0xA4)
_UNSTATED: Final = Accuracy(of_reading=0.03, counts=1, assumed=True)


def _mean(name: str, quantity: str, unit: str, scale: Fraction, top: float) -> Channel:
    return Channel(
        name=name,
        quantity=quantity,
        unit=unit,
        kind="mean",
        scale=scale,
        resolution=float(scale),
        accuracy=_UNSTATED,
        window_s=1.0,
        refresh_s=1.0,
        range_min=0.0,
        range_max=top,
        assumed=("window_s", "refresh_s", "stamp_at", "range_min", "range_max"),
    )


@dataclass(frozen=True, slots=True)
class Quantity:
    """One question: its code, how many bytes count whole units, how many of them make one more.

    `parts` is what the byte behind the whole units counts: tenths, hundredths, or nothing (1).
    """

    code: int
    width: int
    parts: int
    channel: Channel


QUANTITIES: Final = (
    Quantity(0xB0, 2, 10, _mean("voltage_v", "voltage", "V", Fraction(1, 10), 260.0)),
    Quantity(0xB1, 2, 100, _mean("current_a", "current", "A", Fraction(1, 100), 100.0)),
    Quantity(0xB2, 2, 1, _mean("power_w", "power", "W", Fraction(1), 22_000.0)),
    Quantity(
        0xB3,
        3,
        1,
        Channel(
            name="energy_j",
            quantity="energy",
            unit="J",
            kind="counter",
            scale=Fraction(3600),
            resolution=3600.0,
            accuracy=_UNSTATED,
            refresh_s=1.0,
            range_min=0.0,
            assumed=("refresh_s",),
        ),
    ),
)
CHANNELS: Final = tuple(q.channel for q in QUANTITIES)
_MAINS_V: Final = (80.0, 300.0)


def framed(body: bytes) -> bytes:
    """Return six bytes with their checksum behind them."""
    return body + bytes((sum(body) & 0xFF,))


def request(code: int, address: bytes) -> bytes:
    """Return the question with this code."""
    return framed(bytes((code,)) + address + b"\0")


def parse(buffer: bytes, code: int) -> Verdict:
    """Judge the beginning of `buffer` as the answer to the question with this code.

    The payload of the frame is its five bytes of data.
    """
    if not buffer:
        return Need()
    if buffer[0] not in _CODES:
        return Skip(1, f"0x{buffer[0]:02X} begins no answer")
    if len(buffer) < _LENGTH:
        return Need()
    expected = sum(buffer[: _LENGTH - 1]) & 0xFF
    if buffer[_LENGTH - 1] != expected:
        why = f"its checksum is 0x{buffer[_LENGTH - 1]:02X} instead of 0x{expected:02X}"
        return Skip(1, why, Checksum)
    if buffer[0] != code - 0x10:
        return Skip(_LENGTH, f"it answers 0x{buffer[0] + 0x10:02X} instead of 0x{code:02X}")
    return Frame(_LENGTH, buffer[1 : _LENGTH - 1])


def decode(quantity: Quantity, data: bytes) -> float:
    """Return the value of an answer's five bytes, in the channel's unit.

    Raises:
        Implausible: digits are none, bytes are not zero that must be, or there is no mains.

    """
    used = quantity.width + (quantity.parts > 1)
    part = data[quantity.width] if quantity.parts > 1 else 0
    if part >= quantity.parts or any(data[used:]):
        raise Implausible(
            f"Expected {quantity.channel.name} as {quantity.width} bytes of units and digits below "
            f"{quantity.parts}, then zeros; got {data.hex(' ').upper()}."
        )
    raw = int.from_bytes(data[: quantity.width], "big") * quantity.parts + part
    scale = quantity.channel.scale
    value = raw * scale.numerator / scale.denominator
    if quantity.channel.unit == "V" and not _MAINS_V[0] <= value <= _MAINS_V[1]:
        raise Implausible(f"Expected a mains from 80 to 300 V; got {value:g} V.")
    return value


def _format(code: int, answer: str, quantity: Quantity | None = None) -> Format:
    return Format(
        parse=partial(parse, code=code),
        decode=None if quantity is None else partial(decode, quantity),
        checked=True,
        examples=(bytes.fromhex(answer),),
    )


FORMATS: Final = {
    "address": _format(_SET_ADDRESS, "A40000000000A4"),
    "voltage": _format(0xB0, "A000E602000088", QUANTITIES[0]),
    "current": _format(0xB1, "A10011200000D2", QUANTITIES[1]),
    "power": _format(0xB2, "A2089800000042", QUANTITIES[2]),
    "energy": _format(0xB3, "A301869F0000C9", QUANTITIES[3]),
}


class Pzem004tV1:
    """One module on one port; `ip` is the address that it is given, as its sources write it."""

    model = "pzem-004t-v1"
    baud = 9600
    channels = CHANNELS

    def __init__(
        self,
        transport: Transport,
        *,
        ip: str = "192.168.1.1",
        reply_s: float = 1.0,
        now_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._transport, self._address = transport, _address(ip)
        self._ask = partial(ask, transport, reply_s=reply_s, now_ns=now_ns)
        self._in_step = False
        self._held = HeldWatch([c.name for c in CHANNELS], refresh_s=1.0)
        self._energy = CounterWatch("energy_j")

    def identify(self) -> Mapping[str, str]:
        """Set the address, which only such a module confirms, and take a reading as the proof."""
        self._in_step = False
        self.read()
        return {"model": self.model, "ip": ".".join(str(b) for b in self._address)}

    def read(self) -> Reading:
        """Take one reading of all channels.

        Raises:
            Implausible: an answer holds what the module never says.
            Held: nothing has moved for a minute.
            CounterReset: the energy has fallen.

        """
        if not self._in_step:
            self._exchange(_SET_ADDRESS)
            self._in_step = True
        answers = [self._exchange(q.code) for q in QUANTITIES]
        values = {
            q.channel.name: decode(q, a.payload) for q, a in zip(QUANTITIES, answers, strict=True)
        }
        first, last = answers[0], answers[-1]
        self._energy.check(last.t_reply_ns, values["energy_j"])
        self._held.check(last.t_reply_ns, values)
        return Reading(first.t_request_ns, last.t_reply_ns, values)

    def close(self) -> None:
        """Give the port back; the module needs no farewell."""
        self._transport.close()

    def _exchange(self, code: int) -> Answer:
        try:
            return self._ask(request(code, self._address), partial(parse, code=code))
        except Transient:
            self._in_step = False
            raise


def _address(ip: str) -> bytes:
    parts = ip.split(".")
    if len(parts) != 4 or not all(p.isdecimal() and p.isascii() and int(p) < 256 for p in parts):
        raise Unsupported(f"Expected ip as four numbers such as 192.168.1.1; got {ip!r}.")
    return bytes(int(p) for p in parts)
