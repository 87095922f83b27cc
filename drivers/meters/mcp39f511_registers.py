"""The register maps of Microchip's MCP39F5xx, and what their bytes mean; pure functions.

Sources, quirks and the wire are described in `drivers.meters.mcp39f511`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from typing import Final

from ..errors import Checksum, Desync, Implausible
from ..formats import Format
from ..reading import Accuracy, Channel
from ..wire import Frame, Need, Skip, Verdict

__all__ = [
    "AMPERE_RANGE",
    "FACTORY_WINDOW_S",
    "FORMATS",
    "VARIANTS",
    "VOLT_RANGE",
    "WATT",
    "Variant",
    "decode",
    "parse",
    "request",
]

_ACK: Final = 0x06
_SAID_NO: Final = {
    0x51: ("the meter found a wrong checksum in the question", Checksum),
    0x15: ("the meter does not acknowledge the question", Desync),
}
# Of active power, and of the chip once it is calibrated; taken for the other quantities too.
_SHEETS: Final = {
    0.005: "DS20005473 (MCP39F511N), front page",
    0.001: "data sheets of MCP39F511 and MCP39F501, front page",
}
VOLT_RANGE: Final = 18
AMPERE_RANGE: Final = 12
WATT: Final = {19: Fraction(1, 100), 6: Fraction(1, 100 * 2**13)}
_MAINS: Final = {"voltage_v": (80.0, 300.0), "frequency_hz": (45.0, 65.0)}
_SLACK: Final = 0.02  # of V x I, for the rounding of V and I and the error of all three
_SLACK_W: Final = 0.5
FACTORY_WINDOW_S: Final = 0.32  # N = 4 at 50 Hz


def _channel(
    name: str, quantity: str, unit: str, scale: Fraction, accuracy: float, low: float = 0.0
) -> Channel:
    return Channel(
        name=name,
        quantity=quantity,
        unit=unit,
        kind="mean",
        scale=scale,
        resolution=float(scale),
        accuracy=Accuracy(of_reading=accuracy, source=_SHEETS[accuracy], assumed=True),
        window_s=FACTORY_WINDOW_S,
        refresh_s=FACTORY_WINDOW_S,
        range_min=low,
        assumed=("stamp_at",),
    )


def _outlet(suffix: str, accuracy: float) -> tuple[Channel, Channel, Channel]:
    """Return power factor, current and power of one outlet."""
    return (
        _channel(f"power_factor{suffix}", "power_factor", "1", Fraction(1, 32768), accuracy, -1.0),
        _channel(f"current{suffix}_a", "current", "A", Fraction(1, 10_000), accuracy),
        _channel(f"power{suffix}_w", "power", "W", WATT[19], accuracy),
    )


@dataclass(frozen=True, slots=True)
class Variant:
    """One chip: where N and the ranges stand, the block of a reading, and what is in it where.

    A field is offset in the block, bytes, whether it is signed, and its channel.
    """

    interval: int
    ranges: tuple[int, ...]
    first: int
    count: int
    fields: tuple[tuple[int, int, bool, Channel], ...]


def _fields(
    accuracy: float, volts: int, hertz: int, *outlets: tuple[int, int, int]
) -> tuple[tuple[int, int, bool, Channel], ...]:
    fields = [
        (volts, 2, False, _channel("voltage_v", "voltage", "V", Fraction(1, 10), accuracy)),
        (hertz, 2, False, _channel("frequency_hz", "frequency", "Hz", Fraction(1, 1000), accuracy)),
    ]
    for number, (factor, amperes, watts) in enumerate(outlets, start=1):
        pf, current, power = _outlet("" if number == 1 else f"_{number}", accuracy)
        fields += [(factor, 2, True, pf), (amperes, 4, False, current), (watts, 4, False, power)]
    return tuple(fields)


VARIANTS: Final[Mapping[str, Variant]] = {
    "mcp39f511n": Variant(
        0xA8, (0xAE, 0xBE), 0x02, 32, _fields(0.005, 4, 6, (8, 12, 20), (10, 16, 24))
    ),
    "mcp39f511": Variant(0x9E, (0x82,), 0x02, 32, _fields(0.001, 4, 6, (10, 12, 16))),
    "mcp39f501": Variant(0x5A, (0x48,), 0x04, 22, _fields(0.001, 4, 20, (18, 0, 6))),
}


def request(address: int, count: int) -> bytes:
    """Return the request for `count` bytes of the register map."""
    body = bytes((0xA5, 8, 0x41)) + address.to_bytes(2, "big") + bytes((0x4E, count))
    return body + bytes((sum(body) & 0xFF,))


def parse(buffer: bytes, count: int) -> Verdict:
    """Judge the beginning of `buffer` as the answer with `count` bytes, which are its payload.

    That the meter said no is skipped and named, so that noise which looks like it does no harm.
    """
    if not buffer:
        return Need()
    if buffer[0] in _SAID_NO:
        return Skip(1, *_SAID_NO[buffer[0]])
    if buffer[0] != _ACK:
        return Skip(1, f"0x{buffer[0]:02X} is not 0x06")
    if len(buffer) < 2:
        return Need()
    length = count + 3
    if buffer[1] != length:
        return Skip(1, f"it announces {buffer[1]} bytes, not {length}")
    if len(buffer) < length:
        return Need()
    expected = sum(buffer[: length - 1]) & 0xFF
    if buffer[length - 1] != expected:
        why = f"its checksum is 0x{buffer[length - 1]:02X} instead of 0x{expected:02X}"
        return Skip(1, why, Checksum)
    return Frame(length, buffer[2 : length - 1])


def decode(
    variant: Variant, block: bytes, watts: tuple[Fraction, ...] = (WATT[19], WATT[19])
) -> dict[str, float]:
    """Return the value of every channel, in the channel's unit.

    `watts` is what a count of power is worth at each outlet.

    Raises:
        Implausible: there is no mains, or a power is above voltage times current.

    """
    values = dict[str, float]()
    outlets = iter(watts)
    for offset, width, signed, channel in variant.fields:
        raw = int.from_bytes(block[offset : offset + width], "little", signed=signed)
        scale = next(outlets) if channel.unit == "W" else channel.scale
        values[channel.name] = raw * scale.numerator / scale.denominator
    for name, (low, high) in _MAINS.items():
        if not low <= values[name] <= high:
            raise Implausible(f"Expected {name} from {low:g} to {high:g}; got {values[name]:g}.")
    for suffix in ("", "_2"):
        if f"power{suffix}_w" not in values:
            continue
        power_w, apparent_va = values[f"power{suffix}_w"], values[f"current{suffix}_a"]
        apparent_va *= values["voltage_v"]
        if power_w > (1.0 + _SLACK) * apparent_va + _SLACK_W:
            raise Implausible(
                f"Expected power{suffix}_w not above V x I = {apparent_va:.2f} VA; "
                f"got {power_w:.2f} W."
            )
    return values


def _format(model: str, *answers: str) -> Format:
    variant = VARIANTS[model]
    return Format(
        parse=partial(parse, count=variant.count),
        decode=partial(decode, variant),
        checked=True,
        examples=tuple(bytes.fromhex(a) for a in answers),
    )


FORMATS: Final = {
    "mcp39f511n": _format(
        "mcp39f511n",
        "062300001018FE0850C3FF7F000061060000000000009B0E00000000000000000000F8",
    ),
    "mcp39f511": _format(
        "mcp39f511",
        "062351E0101806000000AF00FF7FDB0100000200000000000000020000000000000095",
    ),
    "mcp39f501": _format(
        "mcp39f501",
        "061961060000FE089B0E00000B000000970E0000FF7F0CC635",
        "0619CE180000F2083A380000660000009338 0000367F9AC6B7",
    ),
    "interval": Format(
        parse=partial(parse, count=2), checked=True, examples=(bytes.fromhex("060504000F"),)
    ),
    "ranges": Format(
        parse=partial(parse, count=4), checked=True, examples=(bytes.fromhex("0607120C13003E"),)
    ),
}
