"""The line of this project for microcontroller meters, as CONTRIBUTING.md defines it."""

from __future__ import annotations

import contextlib
import random
import re
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drivers.emulators.pm_line import PmLineDevice
from drivers.errors import Checksum, DriverError, Implausible, Unsupported
from drivers.meters.pm_line import (
    Header,
    channels,
    decode_header,
    decode_line,
    decoder,
    parse,
    parse_header,
    parse_sample,
)
from drivers.stream import Samples, join
from drivers.wire import Frame, Need, Skip

HEADER = b"#pm,1,in_v;in_i,V;A,1000*06\n"
LINE = b"123456789,12.003,4.987*03\n"
NAMES = ("in_v", "in_i")


def lines(n: int = 50, boot_us: int = 123_456) -> bytes:
    device = PmLineDevice(60.0, rate_hz=1000.0, boot_us=boot_us)
    device.advance(0.0)
    return device.due(n / 1000 + 1e-6)


def in_pieces(data: bytes, sizes: list[int]) -> Samples:
    stream, at, parts = decoder(), 0, []
    while at < len(data):
        size = sizes[len(parts) % len(sizes)]
        parts.append(stream.feed(data[at : at + size]))
        at += size
    return join(parts, NAMES)


def test_the_lines_of_the_definition() -> None:
    text = (Path(__file__).parents[2] / "CONTRIBUTING.md").read_text(encoding="utf-8")
    section = text.partition("## A meter of your own")[2].partition("\n## ")[0]
    found = re.findall(r"^    ([#0-9].*\*[0-9A-F]{2})$", section, re.MULTILINE)
    assert len(found) >= 3
    assert found[0].encode() + b"\n" == HEADER
    for line in found:
        assert isinstance(parse(line.encode() + b"\n"), Frame), line
    assert parse_header(HEADER) == Frame(len(HEADER), HEADER[:-4])
    assert decode_header(HEADER[:-4]) == Header(NAMES, ("V", "A"), 1000.0)
    assert decode_line(LINE[:-4]) == (123_456_789, (12_003, 4987), (3, 3))


def test_units_and_places_make_the_scale() -> None:
    table = channels(Header(("in_v", "in_i", "power_w"), ("mV", "uA", "W"), 10.0), (0, 1, 2))
    assert [c.scale for c in table] == [
        Fraction(1, 1000), Fraction(1, 10_000_000), Fraction(1, 100),
    ]  # fmt: skip
    assert [c.unit for c in table] == ["V", "A", "W"]
    assert [c.quantity for c in table] == ["voltage", "current", "power"]
    assert all(c.resolution == float(c.scale) for c in table)


@pytest.mark.parametrize("line", [HEADER, LINE])
def test_every_flipped_bit_is_noticed(line: bytes) -> None:
    for at in range(len(line)):
        for bit in range(8):
            damaged = line[:at] + bytes((line[at] ^ 1 << bit,)) + line[at + 1 :]
            assert not isinstance(parse(damaged), Frame), damaged


def test_a_wrong_checksum_is_named_and_cr_is_allowed() -> None:
    assert parse(LINE.replace(b"*03", b"*04")) == Skip(26, "its checksum does not fit", Checksum)
    assert isinstance(parse(LINE.replace(b"\n", b"\r\n")), Frame)
    assert isinstance(parse_sample(HEADER), Skip)
    assert isinstance(parse_header(LINE), Skip)


@pytest.mark.parametrize(
    "header",
    [
        b"#pm,2,in_v,V,10",
        b"#pm,1,in_v;in_i,V,10",
        b"#pm,1,in_v;in_v,V;V,10",
        b"#pm,1,In-V,V,10",
        b"#pm,1,in_v,Volt,10",
        b"#pm,1,in_v,V,0",
        b"#pm,1,in_v,V,often",
        b"#pm,1,fault,V,10",
    ],
)
def test_a_header_of_another_kind_is_refused(header: bytes) -> None:
    with pytest.raises(Unsupported):
        decode_header(header)


@pytest.mark.parametrize(
    "line",
    [b"1", b"1,", b"x,1", b"1,1.2.3", b"4294967296,1", b"1,+1", b"1,nan", b"1,9999999999"],
)
def test_a_line_that_is_none_is_implausible(line: bytes) -> None:
    with pytest.raises(Implausible):
        decode_line(line)


def test_a_header_that_nobody_asked_for_is_a_restart() -> None:
    stream = decoder()
    stream.feed(lines(5, boot_us=10**9), 1_000_000_000)
    samples = stream.feed(HEADER + lines(5, boot_us=0)[len(HEADER) :], 3_000_000_000)
    assert samples.faults == ("reboot", "reboot")  # the header, then the clock
    assert len(samples.device_ticks) == 4


def test_another_header_ends_all_samples() -> None:
    body = b"#pm,1,in_v;in_i,mV;A,1000"
    samples = decoder().feed(lines(3) + body + b"*%02X\n" % xor_of(body) + lines(9)[len(HEADER) :])
    assert samples.device_ticks.size == 3
    assert samples.faults[0] == "reboot"
    assert set(samples.faults[1:]) == {"desync"}


def test_places_that_change_are_refused() -> None:
    body = b"200000,12.00,4.987"
    samples = decoder().feed(lines(3) + body + b"*%02X\n" % xor_of(body))
    assert samples.faults == ("implausible",)


def xor_of(body: bytes) -> int:
    xor = 0
    for octet in body:
        xor ^= octet
    return xor


def test_the_clock_wraps_after_71_minutes() -> None:
    samples = decoder().feed(lines(20, boot_us=2**32 - 5_500))
    assert set(np.diff(samples.device_ticks)) == {1000}
    assert samples.faults == ()


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(1, 200), min_size=1, max_size=5), st.integers(0, 2**32))
def test_damaged_bytes_in_any_chunking(sizes: list[int], seed: int) -> None:
    chance, data = random.Random(seed), bytearray(lines(60))
    for _ in range(3):
        at, kind = chance.randrange(len(data)), chance.randrange(3)
        if kind == 0:
            data[at] ^= 1 << chance.randrange(8)
        elif kind == 1:
            del data[at : at + chance.randrange(1, 100)]
        else:
            data[at:at] = chance.randbytes(chance.randrange(1, 100))
    whole, cut = in_pieces(bytes(data), [len(data)]), in_pieces(bytes(data), sizes)
    assert np.array_equal(whole.device_ticks, cut.device_ticks)
    assert all(np.array_equal(whole.columns[n], cut.columns[n]) for n in NAMES)
    assert (whole.skipped, whole.faults) == (cut.skipped, cut.faults)


@settings(deadline=None)
@given(st.binary(max_size=500))
def test_the_parsers_are_total(data: bytes) -> None:
    for judge in (parse, parse_header, parse_sample):
        verdict = judge(data)
        if not isinstance(verdict, Need):
            taken = verdict.length if isinstance(verdict, Frame) else verdict.count
            assert 1 <= taken <= len(data)
    for decode in (decode_header, decode_line):
        with contextlib.suppress(DriverError):
            decode(data)
    in_pieces(data + b"\n", [9])
