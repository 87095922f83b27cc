"""RDTech UM24C, UM25C, UM34C: USB testers that are read over Bluetooth.

They sit in a USB cable: what they see is the DC side of one USB device, never the wall.

Seen: no meter of our own, and no capture whose checksum fits. All frames of the tests are computed.

Sources: libsigrok@883c2ac `hardware/rdtech-um` (models, offsets, end marks, checksum; facts only);
the test cases of pyummeter (power in mW at offset 6, equal to V x I there).

Wire, Bluetooth SPP (an rfcomm device; the speed of the port means nothing); big-endian:

    request  |F0|
    answer   |model|V|I|P P|..|T|...|D+ D-|...|mWh|...|end|    130 bytes
    offset    0     2 4 6   10 11    96 98     106     128
    model    09 63 UM24C, 09 C9 UM25C, 0D 4C UM34C
    end      FF F1 (UM24C, UM25C); UM34C: its last byte is the exclusive or of 32 chosen bytes

Voltage and current count 10 mV and 1 mA; on the UM25C 1 mV and 0.1 mA. Power counts 1 mW.

What it averages and how often it refreshes stands in no source; half a second is assumed.

Quirks
- The UM24C and UM25C have no checksum, and that of the UM34C leaves out three bytes of four,
  among them the low ones of V, I and P. So each answer must agree with itself: model at the
  front, mark at the end, and the power equal to voltage times current within their last digits
  and 1 %. Of answers with one damaged byte among the eight of V, I and P, 9.1 % get through on
  the UM25C and 0.5 % on the UM34C, changed within that agreement (tests/wire/test_um25c_frames.py);
  of answers with one damaged byte anywhere, 0.6 % and 0.03 %.
- An answer carries no number: a late one is kept from the next question by the quiet time alone.
- The energy register (106) counts only while the current is above a threshold that is set on the
  meter. It is no integral of the power and is left out.
- The meter stores, clears and switches its screen on other one-byte commands: only F0 is sent.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from fractions import Fraction
from functools import partial
from typing import Final

from ..errors import Checksum, DeviceError, Implausible, Unsupported
from ..formats import Format
from ..held import HeldWatch
from ..reading import Accuracy, Channel, Reading
from ..transport import Transport
from ..wire import Answer, Frame, Need, Skip, Verdict, ask

__all__ = ["FORMATS", "MODELS", "Um25c", "decode", "parse"]

LENGTH: Final = 130
_POLL: Final = b"\xf0"
MODELS: Final[Mapping[bytes, str]] = {
    b"\x09\x63": "um24c",
    b"\x09\xc9": "um25c",
    b"\x0d\x4c": "um34c",
}
_END: Final = b"\xff\xf1"
_COVERED: Final = (
    *(1, 3, 7, 9, 15, 17, 19, 23, 31, 39, 41, 45, 49, 53, 55, 57),
    *(59, 63, 67, 69, 73, 79, 83, 89, 97, 99, 109, 111, 113, 119, 121, 127),
)
_UNSTATED: Final = Accuracy(of_reading=0.03, counts=1, assumed=True)
_AGREEMENT: Final = 0.01


def _channel(name: str, quantity: str, unit: str, scale: Fraction, top: float) -> Channel:
    return Channel(
        name=name,
        quantity=quantity,
        unit=unit,
        kind="mean",
        scale=scale,
        resolution=float(scale),
        accuracy=_UNSTATED,
        window_s=0.5,
        refresh_s=0.5,
        range_min=0.0,
        range_max=top,
        assumed=("window_s", "refresh_s", "stamp_at", "range_max"),
    )


def _channels(volt: Fraction, ampere: Fraction) -> tuple[tuple[int, int, Channel], ...]:
    """Return first byte, number of bytes and channel of each field."""
    return (
        (2, 2, _channel("voltage_v", "voltage", "V", volt, 30.0)),
        (4, 2, _channel("current_a", "current", "A", ampere, 5.0)),
        (6, 4, _channel("power_w", "power", "W", Fraction(1, 1000), 150.0)),
    )


_COARSE: Final = _channels(Fraction(1, 100), Fraction(1, 1000))
_FINE: Final = _channels(Fraction(1, 1000), Fraction(1, 10_000))
_TABLES: Final = {"um24c": _COARSE, "um25c": _FINE, "um34c": _COARSE}


def parse(buffer: bytes) -> Verdict:
    """Judge the beginning of `buffer` as an answer of any of the models."""
    if not buffer:
        return Need()
    if len(buffer) == 1:
        known = any(model[:1] == buffer for model in MODELS)
        return Need() if known else Skip(1, f"0x{buffer[0]:02X} begins no model number")
    model = MODELS.get(buffer[:2])
    if model is None:
        return Skip(1, f"0x{buffer[:2].hex().upper()} is no model number")
    if len(buffer) < LENGTH:
        return Need()
    frame = buffer[:LENGTH]
    if model == "um34c":
        expected = 0
        for place in _COVERED:
            expected ^= frame[place]
        if frame[-1] != expected:
            why = f"its checksum is 0x{frame[-1]:02X} instead of 0x{expected:02X}"
            return Skip(1, why, Checksum)
    elif not frame.endswith(_END):
        return Skip(1, f"it ends in {frame[-2:].hex(' ').upper()} instead of FF F1")
    return Frame(LENGTH, frame)


def decode(frame: bytes) -> dict[str, float]:
    """Return the value of every channel, in the channel's unit, from a whole answer.

    Raises:
        Implausible: the power is not voltage times current.

    """
    values, digits = dict[str, float](), dict[str, float]()
    for first, width, channel in _TABLES[MODELS[frame[:2]]]:
        raw = int.from_bytes(frame[first : first + width], "big")
        values[channel.name] = raw * channel.scale.numerator / channel.scale.denominator
        digits[channel.name] = channel.resolution
    volts, amperes = values["voltage_v"], values["current_a"]
    slack_w = digits["voltage_v"] * amperes + digits["current_a"] * volts + digits["power_w"]
    if abs(values["power_w"] - volts * amperes) > slack_w + _AGREEMENT * volts * amperes:
        raise Implausible(
            f"Expected the power to be {volts:g} V x {amperes:g} A = {volts * amperes:.3f} W; "
            f"got {values['power_w']:g} W."
        )
    return values


def _example(model: bytes, fields: bytes) -> bytes:
    """Return a computed answer, for `FORMATS`; the tests check it against the sources."""
    body = bytearray(model + fields + bytes(LENGTH - 2 - len(fields)))
    body[-2:] = _END
    if MODELS[model] == "um34c":
        body[-1] = 0
        for place in _COVERED:
            body[-1] ^= body[place]
    return bytes(body)


FORMATS: Final = {
    "answer": Format(
        parse=parse,
        decode=decode,
        checked=False,
        examples=(
            _example(b"\x09\xc9", bytes.fromhex("13EC 0CD0 00000688")),
            _example(b"\x0d\x4c", bytes.fromhex("01FE 0148 00000688")),
        ),
    ),
}


class Um25c:
    """One tester on one port; `variant` is its model."""

    baud = 9600

    def __init__(
        self,
        transport: Transport,
        *,
        variant: str = "um25c",
        reply_s: float = 0.5,
        now_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self.model, self.channels = variant, self.channels_of(variant)
        self._transport = transport
        # 130 bytes take 135 ms at 9600 baud; Bluetooth may add as much again.
        self._ask = partial(ask, transport, reply_s=reply_s, now_ns=now_ns)
        self._held = HeldWatch([c.name for c in self.channels], refresh_s=0.5, refreshes=1200)

    @staticmethod
    def channels_of(variant: str = "um25c") -> tuple[Channel, ...]:
        """Return the channels of a model, without opening one."""
        if variant not in _TABLES:
            raise Unsupported(f"Expected one of {', '.join(_TABLES)}; got {variant!r}.")
        return tuple(channel for _, _, channel in _TABLES[variant])

    def identify(self) -> Mapping[str, str]:
        """Ask which model it is.

        Raises:
            DeviceError: it is another one.

        """
        self._poll()
        return {"model": self.model, "boundary": "dc_usb"}

    def read(self) -> Reading:
        """Take one reading of all channels.

        Raises:
            Implausible: the power is not voltage times current.
            DeviceError: another model answers.
            Held: nothing has moved for ten minutes.

        """
        answer = self._poll()
        values = decode(answer.payload)
        self._held.check(answer.t_reply_ns, values)
        return Reading(answer.t_request_ns, answer.t_reply_ns, values)

    def close(self) -> None:
        """Give the port back; the tester needs no farewell."""
        self._transport.close()

    def _poll(self) -> Answer:
        answer = self._ask(_POLL, parse)
        found = MODELS[answer.payload[:2]]
        if found != self.model:
            raise DeviceError(f"Expected a {self.model}; a {found} answers. Name it so.")
        return answer
