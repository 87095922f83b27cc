"""Addresses: what stands where, who gets which key, and one sentence for every mistake."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.address import Address, Line, parse_address, split_address
from drivers.errors import Unsupported

OPTIONS = {
    "unit": "int",
    "reply_s": "float",
    "refresh_s": "float | None",
    "elements": "str",
    "range_v": "float | str",
    "mode": "Literal['rms', 'dc']",
    "quiet": "bool",
}


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("M@/dev/ttyUSB0", Address("m", "/dev/ttyUSB0", Line(), {})),
        ("m@/dev/a?baud=2400&parity=e&stopbits=2", Address("m", "/dev/a", Line(2400, "E", 2), {})),
        ("m@/dev/a?unit=0x10", Address("m", "/dev/a", Line(), {"unit": 16})),
        ("m@/dev/a?reply_s=0.5", Address("m", "/dev/a", Line(), {"reply_s": 0.5})),
        ("m@/dev/a?refresh_s=2", Address("m", "/dev/a", Line(), {"refresh_s": 2})),
        ("m@/dev/a?elements=123", Address("m", "/dev/a", Line(), {"elements": "123"})),
        ("m@/dev/a?elements=a%26b", Address("m", "/dev/a", Line(), {"elements": "a&b"})),
        ("m@/dev/a?range_v=300", Address("m", "/dev/a", Line(), {"range_v": 300})),
        ("m@/dev/a?range_v=auto", Address("m", "/dev/a", Line(), {"range_v": "auto"})),
        (
            "m@/dev/a?mode=dc&quiet=yes",
            Address("m", "/dev/a", Line(), {"mode": "dc", "quiet": True}),
        ),
        ("m@socket://h:1?logging=debug", Address("m", "socket://h:1?logging=debug", Line(), {})),
        (
            "m@rfc2217://h:1?ign_set_control&unit=3&timeout=5&baud=9600",
            Address("m", "rfc2217://h:1?ign_set_control&timeout=5", Line(baud=9600), {"unit": 3}),
        ),
        (
            "m@visa:TCPIP::10.0.0.7::INSTR?unit=1",
            Address("m", "visa:TCPIP::10.0.0.7::INSTR", Line(), {"unit": 1}),
        ),
        ("m@http://10.0.0.9:8080", Address("m", "http://10.0.0.9:8080", Line(), {})),
    ],
)
def test_who_gets_which_key(text: str, address: Address) -> None:
    assert parse_address(text, OPTIONS) == address


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("m", "Expected MODEL@PORT"),
        ("@/dev/a", "Expected MODEL@PORT"),
        ("m@", "Expected MODEL@PORT"),
        ("m@?unit=1", "Expected MODEL@PORT"),
        ("m,unit=2@/dev/a", "Options stand behind the port"),
        ("m@/dev/a?unit=two", "whole number for unit; got 'two'"),
        ("m@/dev/a?unit", "Expected unit=VALUE in the address; got 'unit'"),
        ("m@/dev/a?unit=1&unit=2", "names unit twice"),
        ("m@/dev/a?reply_s=soon", "Expected a number for reply_s; got 'soon'"),
        ("m@/dev/a?reply_s=nan", "Expected a number for reply_s; got 'nan'"),
        ("m@/dev/a?quiet=maybe", "Expected quiet=1 or quiet=0"),
        ("m@/dev/a?baud=fast", "whole number for baud"),
        ("m@/dev/a?baud=0", "Expected a baud rate"),
        ("m@/dev/a?parity=M", "Expected parity N, E or O; got 'M'"),
        ("m@/dev/a?stopbits=3", "Expected 1 or 2 stopbits"),
        ("m@/dev/a?ign_set_control", "knows the keys baud, elements, mode,"),
        ("m@socket://h:1?ign_set_control", "and pyserial's logging; got 'ign_set_control'"),
        ("m@rfc2217://h:1?colour=3", "pyserial's ign_set_control, logging, poll_modem, timeout"),
    ],
)
def test_a_mistake_is_one_sentence(text: str, words: str) -> None:
    with pytest.raises(Unsupported) as caught:
        parse_address(text, OPTIONS)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@given(st.text(max_size=60))
def test_any_text_is_an_address_or_refused(text: str) -> None:
    try:
        model, port, _ = split_address(text)
        parse_address(text, OPTIONS)
    except Unsupported:
        return
    assert model
    assert port
