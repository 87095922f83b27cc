"""The grammar of addresses: `MODEL@PORT?key=value&key=value`; pure functions of text.

    pzem-004t@/dev/ttyUSB0?unit=2
    sdm120@socket://10.0.0.7:4001?baud=2400&parity=E
    pzem-004t@rfc2217://lab:4000?ign_set_control&unit=3

`baud`, `parity` and `stopbits` set the line; `unit`, `refresh_s`, `reply_s` and whatever else the
driver's constructor takes are options of the driver. What is neither goes to pyserial, unchanged,
where the port is a URL whose kind knows that name (`_OF_PYSERIAL`); every other name is refused,
together with the list of those that are known.

Source of pyserial's names: the `from_url` methods of `serial.urlhandler` and of `serial.rfc2217`
in pyserial 3.5.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal
from urllib.parse import unquote

from .errors import Unsupported

__all__ = ["Address", "Line", "Parity", "parse_address", "split_address", "value_of"]

Parity = Literal["N", "E", "O"]

_EXAMPLE: Final = "for example pzem-004t@/dev/ttyUSB0 or pzem-004t@/dev/ttyUSB0?unit=2"
_PARITIES: Final[Mapping[str, Parity]] = {"N": "N", "E": "E", "O": "O"}
_LINE: Final = ("baud", "parity", "stopbits")
_OF_PYSERIAL: Final[Mapping[str, tuple[str, ...]]] = {
    "alt": ("class",),
    "loop": ("logging",),
    "rfc2217": ("ign_set_control", "logging", "poll_modem", "timeout"),
    "socket": ("logging",),
    "spy": ("all", "color", "file", "raw"),
}
_TRUE: Final = {"1": True, "true": True, "yes": True, "on": True}
_FALSE: Final = {"0": False, "false": False, "no": False, "off": False}


@dataclass(frozen=True, slots=True)
class Line:
    """How a serial line is set, where the address says so; None leaves it to the driver."""

    baud: int | None = None
    parity: Parity | None = None
    stopbits: int | None = None


@dataclass(frozen=True, slots=True)
class Address:
    """An address taken apart: the model, the port as the transport wants it, line and options."""

    model: str
    port: str
    line: Line
    options: Mapping[str, str | int | float | bool]


def split_address(address: str) -> tuple[str, str, str]:
    """Return model (lower case), port and query of an address, without judging any of them.

    Raises:
        Unsupported: it is not of the form MODEL@PORT.

    """
    model, at, rest = address.partition("@")
    port, _, query = rest.partition("?")
    if not (model and at and port):
        raise Unsupported(f"Expected MODEL@PORT[?KEY=VALUE&...], {_EXAMPLE}; got {address!r}.")
    if "," in model:
        raise Unsupported(
            f"Options stand behind the port, as in MODEL@PORT?KEY=VALUE, {_EXAMPLE}; "
            f"got {address!r}."
        )
    return model.lower(), port, query


def parse_address(address: str, options: Mapping[str, str]) -> Address:
    """Take an address apart for a driver with these `options`: name -> annotation, as written.

    Raises:
        Unsupported: the address has another form, names a key that nobody knows, or gives a
            value of the wrong kind; the message says what was expected.

    """
    model, port, query = split_address(address)
    scheme = port.partition("://")[0] if "://" in port else ""
    foreign = _OF_PYSERIAL.get(scheme, ())
    values = dict[str, str]()
    passed_on = list[str]()
    for pair in filter(None, query.split("&")):
        key, equals, text = pair.partition("=")
        if key in values:
            raise Unsupported(f"The address names {key} twice: {address!r}.")
        if key in options or key in _LINE:
            if not equals:
                raise Unsupported(f"Expected {key}=VALUE in the address; got {pair!r}.")
            values[key] = unquote(text)
        elif key in foreign:
            passed_on.append(pair)
        else:
            known = ", ".join(sorted({*options, *_LINE}))
            beside = f", and pyserial's {', '.join(foreign)}" if foreign else ""
            raise Unsupported(f"{model} knows the keys {known}{beside}; got {key!r}.")
    return Address(
        model,
        f"{port}?{'&'.join(passed_on)}" if passed_on else port,
        _line(values),
        {k: value_of(k, v, options[k]) for k, v in values.items() if k not in _LINE},
    )


def _line(values: Mapping[str, str]) -> Line:
    """Return the settings of the serial line among the values."""
    parity = values.get("parity", "").upper()
    if parity and parity not in _PARITIES:
        raise Unsupported(f"Expected parity N, E or O; got {values['parity']!r}.")
    baud = _whole("baud", values["baud"]) if "baud" in values else None
    if baud is not None and not 50 <= baud <= 20_000_000:
        raise Unsupported(f"Expected a baud rate such as 9600; got {values['baud']!r}.")
    stopbits = _whole("stopbits", values["stopbits"]) if "stopbits" in values else None
    if stopbits not in (None, 1, 2):
        raise Unsupported(f"Expected 1 or 2 stopbits; got {values['stopbits']!r}.")
    return Line(baud, _PARITIES.get(parity), stopbits)


def value_of(key: str, text: str, annotation: str) -> str | int | float | bool:
    """Return the text as what the driver's annotation asks for, numbers before words.

    Raises:
        Unsupported: the text is no such value.

    """
    kinds = set(re.findall(r"\w+", annotation))
    words = bool(kinds & {"str", "Literal"})
    if "bool" in kinds:
        answer = {**_TRUE, **_FALSE}.get(text.lower())
        if answer is None:
            raise Unsupported(f"Expected {key}=1 or {key}=0; got {text!r}.")
        return answer
    if "int" in kinds and "float" not in kinds and not words:
        return _whole(key, text)
    if kinds & {"int", "float"}:
        number = _number(text)
        if number is not None:
            return number
        if not words:
            raise Unsupported(f"Expected a number for {key}; got {text!r}.")
    return text


def _number(text: str) -> int | float | None:
    try:
        return int(text, 0)
    except ValueError:
        pass
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _whole(key: str, text: str) -> int:
    try:
        return int(text, 0)
    except ValueError:
        raise Unsupported(f"Expected a whole number for {key}; got {text!r}.") from None
