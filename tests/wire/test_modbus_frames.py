"""Modbus RTU: bytes in, verdict out, for any bytes."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drivers.errors import Checksum, Refused
from drivers.modbus import crc16, framed, parse_answer, read_request, registers
from drivers.wire import Frame, Need, Skip

# Printed by others from real PZEM-004T v3 modules; see tests/tapes/pzem004t_v3_field_readings.tape.
REAL = [
    bytes.fromhex(text)
    for text in (
        "01 04 14 08 D1 00 6C 00 00 00 F4 00 00 00 26 00 00 01 F4 00 64 00 00 51 34",
        "01 04 14 08 9A 00 29 00 00 00 12 00 00 00 ED 00 00 02 57 00 14 00 00 51 38",
        "02 04 14 08 9A 00 27 00 00 00 06 00 00 00 01 00 00 02 57 00 07 00 00 3C AB",
        "03 04 14 08 9B 00 29 00 00 00 07 00 00 00 35 00 00 02 57 00 08 00 00 FC EB",
    )
]


def test_the_check_value_of_the_standard() -> None:
    assert crc16(b"123456789") == 0x4B37
    assert crc16(b"") == 0xFFFF


@pytest.mark.parametrize(
    ("address", "function", "start", "count", "frame"),
    [
        (0x01, 4, 0, 10, "01 04 00 00 00 0A 70 0D"),
        (0xF8, 4, 0, 10, "F8 04 00 00 00 0A 64 64"),
        (0x01, 3, 1, 2, "01 03 00 01 00 02 95 CB"),
    ],
)
def test_questions_are_those_of_the_manual(
    address: int, function: int, start: int, count: int, frame: str
) -> None:
    assert read_request(address, function, start, count) == bytes.fromhex(frame)


@pytest.mark.parametrize("frame", REAL)
def test_real_answers_are_whole(frame: bytes) -> None:
    verdict = parse_answer(frame, address=frame[0], function=4, count=10)
    assert verdict == Frame(25, frame[1:-2])
    assert registers(frame[1:-2]) == frame[3:-2]
    assert parse_answer(frame, address=None, function=4, count=10) == verdict


@pytest.mark.parametrize("frame", REAL)
def test_every_truncation_of_a_real_answer_needs_more(frame: bytes) -> None:
    for length in range(len(frame)):
        verdict = parse_answer(frame[:length], address=frame[0], function=4, count=10)
        assert verdict == Need()


@pytest.mark.parametrize("frame", REAL)
def test_every_single_flipped_bit_is_rejected(frame: bytes) -> None:
    for bit in range(8 * len(frame)):
        damaged = bytearray(frame)
        damaged[bit // 8] ^= 1 << bit % 8
        verdict = parse_answer(bytes(damaged), address=frame[0], function=4, count=10)
        assert isinstance(verdict, Skip), f"bit {bit} was accepted"


def test_a_wrong_checksum_says_so() -> None:
    damaged = REAL[0][:-1] + b"\x00"
    verdict = parse_answer(damaged, address=1, function=4, count=10)
    assert isinstance(verdict, Skip)
    assert verdict.error is Checksum
    assert "0x0051 instead of 0x3451" in verdict.why


def test_the_checksum_is_low_byte_first_on_the_wire() -> None:
    swapped = REAL[0][:-2] + REAL[0][-1:] + REAL[0][-2:-1]
    assert isinstance(parse_answer(swapped, address=1, function=4, count=10), Skip)


def test_an_exception_is_a_frame_that_refuses() -> None:
    frame = bytes.fromhex("01 84 02 C2 C1")  # PZEM-004T v3 manual: illegal address
    verdict = parse_answer(frame, address=1, function=4, count=10)
    assert verdict == Frame(5, b"\x84\x02")
    with pytest.raises(Refused, match="exception 2"):
        registers(b"\x84\x02")


def test_our_own_echo_is_no_answer() -> None:
    echo = read_request(1, 4, 0, 10)
    assert isinstance(parse_answer(echo, address=1, function=4, count=10), Skip)


def test_an_answer_of_another_length_is_no_answer() -> None:
    assert isinstance(parse_answer(REAL[0], address=1, function=4, count=9), Skip)


def test_an_answer_of_another_device_is_no_answer() -> None:
    assert isinstance(parse_answer(REAL[2], address=1, function=4, count=10), Skip)


@settings(deadline=None)
@given(st.binary(max_size=80), st.one_of(st.none(), st.integers(1, 247)), st.integers(1, 125))
def test_any_bytes_give_a_verdict(data: bytes, address: int | None, count: int) -> None:
    verdict = parse_answer(data, address=address, function=4, count=count)
    if isinstance(verdict, Skip):
        assert 1 <= verdict.count <= len(data)
        assert verdict.why
    if isinstance(verdict, Frame):
        assert verdict.length <= len(data)
        assert crc16(data[: verdict.length]) == 0  # a CRC over its own checksum vanishes


@settings(deadline=None)
@given(st.binary(min_size=20, max_size=20), st.integers(1, 247))
def test_what_is_framed_is_found(block: bytes, address: int) -> None:
    frame = framed(bytes((address, 4, 20)) + block)
    assert parse_answer(frame, address=address, function=4, count=10) == Frame(25, frame[1:-2])
