"""Replies in lines: real ones first, then numbers that are none, blocks, and any bytes at all."""

from __future__ import annotations

import itertools
import struct
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.scpi import (
    Number,
    Sentinel,
    Unit,
    floats,
    number,
    parse_block,
    parse_line,
    power_agrees,
    same_words,
    units,
)
from drivers.wire import Frame, Need, Skip, Verdict

MULTICHANNEL = (
    "118.83E+00,0.8002E+00,79.77E+00,0.8389E+00,NAN,"
    "121.01E+00,0.8001E+00,66.91E+00,0.6910E+00,60.000E+00"
)


def any_line(buffer: bytes) -> Verdict:
    return parse_line(buffer, lambda _text: None)


def test_real_replies_with_headers_and_without() -> None:
    assert units(":MEAS:AVER 0;:MEAS:AVER:TYPE LIN") == (
        Unit(":MEAS:AVER", ("0",)),
        Unit(":MEAS:AVER:TYPE", ("LIN",)),
    )
    assert units(":SYNC CURR") == (Unit(":SYNC", ("CURR",)),)
    assert units(":AVER 0;AVER:TYPE LIN,8")[1] == Unit("AVER:TYPE", ("LIN", "8"))
    assert [u.fields for u in units("3;500.0E-03;0;300.0E+00;0")] == [
        ("3",),
        ("500.0E-03",),
        ("0",),
        ("300.0E+00",),
        ("0",),
    ]
    assert [u.fields for u in units("10;URMS,1;IRMS,1")] == [("10",), ("URMS", "1"), ("IRMS", "1")]
    assert units("V3A3") == (Unit("", ("V3A3",)),)


def test_one_nan_among_real_values() -> None:
    values = [number(f) for f in units(MULTICHANNEL)[0].fields]
    assert values[4] is Sentinel.NO_DATA
    assert values[2] == Number(79.77, Fraction(1, 100))
    assert values[9] == Number(60.0, Fraction(1, 1000))
    assert sum(isinstance(v, Number) for v in values) == 9


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        ("NAN", Sentinel.NO_DATA),
        ("9.91E+37", Sentinel.NO_DATA),
        ("9.910000E+37", Sentinel.NO_DATA),
        ("INF", Sentinel.OVER_RANGE),
        ("-INF", Sentinel.OVER_RANGE),
        ("9.9E37", Sentinel.OVER_RANGE),
        ("-9.9e37", Sentinel.OVER_RANGE),
        ("500.0E-03", Number(0.5, Fraction(1, 10_000))),
        ("-1", Number(-1.0, Fraction(1))),
        ("1,5", None),
        ("", None),
        ("nan", None),
        ("inf", None),
        ("0x10", None),
        ("1_000", None),
        ("12.", None),
        ("١", None),
    ],
)
def test_numbers_and_what_is_none(field: str, expected: object) -> None:
    assert number(field) == expected


def test_both_ends_of_a_line_and_what_is_no_text() -> None:
    assert any_line(b"RES\r\n") == Frame(5, b"RES")
    assert any_line(b"RES\nmore") == Frame(4, b"RES")
    assert any_line(b"RES\r") == Need()
    verdict = any_line(b"\x00\xffRES\n")
    assert isinstance(verdict, Skip)
    assert verdict.count == 2
    assert any_line(b"x" * 2000) == Skip(2000, "2000 bytes came without an end of line")


def test_a_block_is_not_cut_at_a_line_feed() -> None:
    """The example of the manual's format, then one whose payload is full of line feeds."""
    block = bytes.fromhex("23 34 30 30 31 32 43 66 33 33 3F C0 00 00 43 AC A0 00")
    verdict = parse_block(block + b"\n")
    assert isinstance(verdict, Frame)
    assert verdict.length == len(block)
    assert floats(verdict.payload) == pytest.approx((230.2, 1.5, 345.25))
    feeds = struct.pack(">ff", *struct.unpack(">ff", b"\n" * 8))
    assert parse_block(b"#18" + feeds) == Frame(11, feeds)
    assert floats(bytes.fromhex("7E951BEE 7E94F56A 7F800000 7FC00000")) == (
        Sentinel.NO_DATA,
        Sentinel.OVER_RANGE,
        Sentinel.OVER_RANGE,
        Sentinel.NO_DATA,
    )


@given(st.binary(max_size=60), st.lists(st.integers(1, 59), max_size=6))
def test_a_block_is_the_same_however_it_is_cut(payload: bytes, cuts: list[int]) -> None:
    block = b"#3" + f"{len(payload):03d}".encode() + payload
    edges = sorted({0, *(c for c in cuts if c < len(block)), len(block)})
    got = b""
    for begin, end in itertools.pairwise(edges):
        got += block[begin:end]
        verdict = parse_block(got)
        assert isinstance(verdict, Frame if end == len(block) else Need)
    assert parse_block(block) == Frame(len(block), payload)


@given(st.binary(max_size=80))
def test_any_bytes_are_judged(data: bytes) -> None:
    for parse in (any_line, parse_block):
        verdict = parse(data)
        assert isinstance(verdict, (Need, Skip, Frame))
        assert isinstance(verdict, Need) or len(data) >= (
            verdict.count if isinstance(verdict, Skip) else verdict.length
        )
    text = data.decode("latin-1")
    for unit in units(text):
        for field in unit.fields:
            number(field)


def test_power_agrees_within_rounding_and_no_further() -> None:
    u, i, lam = (
        Number(v, Fraction(1, s)) for v, s in ((230.12, 100), (1.5713, 10**4), (0.95, 10**4))
    )
    exact = u.value * i.value * lam.value
    assert power_agrees(u, i, Number(round(exact, 1), Fraction(1, 10)), lam)
    assert power_agrees(u, i, Number(-round(exact, 1), Fraction(1, 10)), lam)
    assert not power_agrees(u, i, Number(round(exact, 1) + 0.2, Fraction(1, 10)), lam)
    assert power_agrees(u, i, Number(10.0, Fraction(1, 10)), None)
    assert not power_agrees(u, i, Number(400.0, Fraction(1, 10)), None)


def test_short_and_long_words() -> None:
    assert same_words("RES", "RESET")
    assert same_words("Star", "STARt")
    assert not same_words("RES", "STOP")
    assert not same_words("", "RESET")
