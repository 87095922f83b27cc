"""The lines of Yokogawa's compact power meters, judged and decoded; `yokogawa_wt` draws them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from ..errors import Implausible, OverRange
from ..formats import Format
from ..ranges import five_digits
from ..scpi import Number, Sentinel, floats, number, parse_block, parse_line, power_agrees
from ..wire import Verdict
from .yokogawa_tables import BY_DEFAULT, Settings

__all__ = [
    "FORMATS",
    "ITEMS",
    "decode",
    "decode_block",
    "parse_identity",
    "parse_values",
    "refuse_identity",
    "refuse_values",
]

ITEMS: Final = ("U", "I", "P", "LAMB")
_MOST_OVER: Final = 2.0  # times the range; what lies above cannot be measured on it
_MOST_BELOW: Final = 0.005  # a consumer's power is not negative; a sign that is one bit may be
_MAINS_RANGE_V: Final = 150.0
_MAINS_V: Final = 80.0
_DEAD_V: Final = 1.0
_WH_J: Final = 3600.0


def refuse_identity(text: str) -> str | None:
    """Say why a line is no answer of a Yokogawa, of whatever model, to *IDN?, or None."""
    fields = text.split(",")
    if len(fields) == 4 and fields[0] == "YOKOGAWA":
        return None
    return f"{text[:60]!r} is no identity of a Yokogawa"


def refuse_values(text: str, count: int) -> str | None:
    """Say why a line is not a list of `count` values, or None."""
    fields = text.split(",")
    if len(fields) != count:
        return f"{text[:60]!r} holds {len(fields)} values, not {count}"
    for field in fields:
        if number(field) is None:
            return f"{field[:20]!r} is no number"
    return None


def decode(text: str, settings: Settings) -> tuple[dict[str, float], str | None]:
    """Return the values of a line that was not refused, and the fault of those that are missing.

    Raises:
        OverRange: a voltage, current or power exceeds its range.
        Implausible: a value has another number of digits than its range asks for, cannot be
            measured on it, or the power contradicts U·I·λ.

    """
    return _decode([number(field) for field in text.split(",")], settings, text)


def decode_block(payload: bytes, settings: Settings) -> tuple[dict[str, float], str | None]:
    """Return the same of a block of floats, whose values are taken to have the range's steps.

    Raises:
        OverRange, Implausible: as `decode`; a block of another length is implausible, too.

    """
    values = floats(payload)
    count = len(ITEMS) * settings.elements + settings.integrate
    if len(payload) != 4 * count:
        raise Implausible(f"Expected a block of {count} values; got {len(payload)} bytes.")
    volt, amp = settings.voltage_range_v, settings.current_range_a
    steps = [five_digits(s) for s in (volt, amp, volt * amp, 1.0)] * settings.elements
    steps += [five_digits(volt * amp)] * settings.integrate
    fields = [
        v if isinstance(v, Sentinel) else Number(v, s) for v, s in zip(values, steps, strict=True)
    ]
    return _decode(fields, settings, str(values))


def _decode(
    fields: Sequence[Number | Sentinel | None], settings: Settings, text: str
) -> tuple[dict[str, float], str | None]:
    many = settings.elements > 1
    values, fault, total_w = dict[str, float](), None, 0.0
    for element in range(settings.elements):
        voltage, current, power, factor = fields[4 * element : 4 * element + 4]
        tag = f"_{element + 1}" if many else ""
        for field in (voltage, current, power):
            if field is Sentinel.OVER_RANGE:
                raise OverRange(f"Expected values within the ranges; got {text!r}. Widen them.")
        named = {
            f"voltage{tag}_v": voltage,
            f"current{tag}_a": current,
            f"power{tag}_w": power,
            f"power_factor{tag}": factor,
        }
        good = {name: f for name, f in named.items() if isinstance(f, Number)}
        if len(good) < len(named):
            fault = Sentinel.NO_DATA.value
        _check(good, tag, settings, text)
        values |= {name: f.value for name, f in good.items()}
        total_w += power.value if isinstance(power, Number) else float("nan")
    if many and total_w == total_w:
        values["power_w"] = total_w
    if settings.integrate:
        energy = fields[-1]
        if isinstance(energy, Number):
            values["energy_j"] = energy.value * _WH_J
        else:
            fault = Sentinel.NO_DATA.value
    return values, fault


def _check(good: Mapping[str, Number], tag: str, settings: Settings, text: str) -> None:
    """Hold the values of one element against their ranges and against each other."""
    sizes = {
        f"voltage{tag}_v": settings.voltage_range_v,
        f"current{tag}_a": settings.current_range_a,
        f"power{tag}_w": settings.voltage_range_v * settings.current_range_a,
    }
    for name, size in sizes.items():
        field = good.get(name)
        if field is None:
            continue
        if field.step != five_digits(size):
            raise Implausible(
                f"Expected {name} in steps of {float(five_digits(size)):g}; got {text!r}. "
                "Was the range changed at the meter?"
            )
        low = 0.0 if name != f"power{tag}_w" else -_MOST_BELOW * size
        if not low <= field.value <= _MOST_OVER * size:
            raise Implausible(f"{name} of {field.value:g} is not measurable on {size:g}: {text!r}.")
    factor = good.get(f"power_factor{tag}")
    if factor is not None and not (abs(factor.value) <= 1.0 and factor.step == five_digits(1.0)):
        raise Implausible(f"Expected a power factor from -1 to 1 of five digits; got {text!r}.")
    power = good.get(f"power{tag}_w")
    if factor is not None and power is not None and factor.value < 0 < power.value:
        raise Implausible(f"Expected a power factor with the sign of the power; got {text!r}.")
    voltage = good.get(f"voltage{tag}_v")
    mains = settings.voltage_range_v >= _MAINS_RANGE_V
    if factor is None and voltage is not None and mains and _DEAD_V < voltage.value < _MAINS_V:
        # Nothing else holds the first value of a line; 30.12 may be what is left of 230.12.
        raise Implausible(f"Expected a mains voltage; got {voltage.value:g} V in {text!r}.")
    if all(name in good for name in sizes):
        voltage, current, power = (good[name] for name in sizes)
        if not power_agrees(voltage, current, power, factor):
            raise Implausible(f"The power is not voltage times current times factor: {text!r}.")


def parse_values(buffer: bytes) -> Verdict:
    """Judge the first line of `buffer` as the values of one element."""
    return parse_line(buffer, lambda text: refuse_values(text, len(ITEMS)))


def parse_identity(buffer: bytes) -> Verdict:
    """Judge the first line of `buffer` as an identity."""
    return parse_line(buffer, refuse_identity)


FORMATS: Final = {
    "values": Format(
        parse_values,
        (
            b"103.79E+00,1.0143E+00,105.27E+00,1.0000E+00\n",
            b"230.12E+00,1.5713E+00,345.0E+00,0.9541E+00\r\n",
            b"118.83E+00,0.8002E+00,NAN,NAN\n",
        ),
        checked=False,
        decode=lambda payload: decode(payload.decode("ascii"), BY_DEFAULT),
    ),
    "identity": Format(parse_identity, (b"YOKOGAWA,WT310E,C3XX00000X,F1.04\n",), checked=False),
    "block": Format(
        parse_block,
        (
            b"#40012" + bytes.fromhex("43663333 3FC00000 43ACA000"),
            b"#40016" + bytes.fromhex("43661EB8 3FC9205C 43AC8000 3F743FE6"),
        ),
        checked=False,
        decode=lambda payload: decode_block(payload, BY_DEFAULT),
    ),
}
