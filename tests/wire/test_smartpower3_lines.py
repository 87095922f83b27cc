"""The log of a SmartPower 3: its checksums, its long lines, its clock, and power that wraps."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drivers.decoders import LineDecoder
from drivers.emulators.smartpower3 import SmartPower3Device
from drivers.errors import Checksum
from drivers.meters.smartpower3 import CHANNELS, decode, decoder, parse
from drivers.stream import Samples, join
from drivers.wire import Frame, Need, Skip

GOLDEN = b"0000123456,15012,1234,18524,0,05001,0987,04936,1,00,12003,0040,00480,0,00,d5,11\r\n"
NAMES = tuple(c.name for c in CHANNELS)


def log(power_w: float = 60.0, lines: int = 200, **options: int) -> bytes:
    device = SmartPower3Device(power_w, **options)
    device.advance(0.0)
    return device.due(lines * 0.005 + 0.001)


def in_pieces(data: bytes, sizes: list[int], into: LineDecoder | None = None) -> Samples:
    lines, at, parts = into or decoder(), 0, []
    while at < len(data):
        size = sizes[len(parts) % len(sizes)]
        parts.append(lines.feed(data[at : at + size]))
        at += size
    return join([*parts, lines.feed(b"", last=True)], NAMES)


def test_the_computed_line_of_the_reference() -> None:
    assert parse(GOLDEN) == Frame(81, GOLDEN[:-2])
    assert decode(GOLDEN[:-2]) == (
        123_456,
        {
            "input_voltage_v": 15_012, "input_current_a": 1234,
            "output0_v": 5001, "output0_i": 987, "output1_v": 12_003, "output1_i": 40,
        },
    )  # fmt: skip


def test_ten_amperes_make_the_line_longer() -> None:
    line = log(5.0 * 12.0 * 2.2, lines=1)  # 11 A
    assert len(line) > 81
    verdict = parse(line)
    assert isinstance(verdict, Frame)
    assert decode(verdict.payload)[1]["output0_i"] == 11_000


def test_a_power_that_has_wrapped_is_not_used() -> None:
    """132 W are 132,000 mW, which the line states as 928 mW (16 bits)."""
    line = log(132.0, lines=1)
    assert b",00928,1," in line
    row = decode(line[:-2])[1]
    assert row["output0_v"] * row["output0_i"] * 1e-6 == pytest.approx(132.0)


def test_every_flipped_bit_is_noticed() -> None:
    for at in range(len(GOLDEN)):
        for bit in range(8):
            damaged = GOLDEN[:at] + bytes((GOLDEN[at] ^ 1 << bit,)) + GOLDEN[at + 1 :]
            assert not isinstance(parse(damaged), Frame), damaged


def test_a_wrong_checksum_is_named() -> None:
    verdict = parse(GOLDEN.replace(b"d5", b"d4"))
    assert verdict == Skip(81, "its checksum does not fit", Checksum)
    samples = decoder().feed(log(lines=5) + GOLDEN.replace(b"05001", b"05002") + b"x")
    assert samples.faults == ("crc",)


def test_the_clock_wraps_after_49_days() -> None:
    samples = decoder().feed(log(boot_ms=2**32 - 303))
    assert set(np.diff(samples.device_ticks)) == {5}
    assert samples.faults == ()
    assert samples.device_ticks[-1] > 2**32


def test_a_clock_that_goes_back_is_a_restart() -> None:
    lines = decoder()
    first = lines.feed(log(boot_ms=5_000_000, lines=10), 1_000_000_000)
    second = lines.feed(log(boot_ms=0, lines=10), 3_000_000_000)
    assert second.faults == ("reboot",)
    assert len(second.device_ticks) == 9
    assert second.device_ticks[0] == first.device_ticks[-1] + 2000 + 5


def test_a_restart_late_in_the_clock_is_no_wrap() -> None:
    """From 40 days to nothing is a step that fits into 32 bits, but not into two seconds."""
    lines = decoder()
    lines.feed(log(boot_ms=40 * 86_400_000, lines=10), 1_000_000_000)
    assert lines.feed(log(boot_ms=0, lines=10), 3_000_000_000).faults == ("reboot",)


def test_a_line_that_comes_twice_is_held() -> None:
    line = log(lines=1)
    samples = decoder().feed(line + line)
    assert samples.faults == ("held",)
    assert len(samples.device_ticks) == 1


def test_the_answer_to_a_stranger_is_skipped() -> None:
    text = log(lines=3)
    samples = decoder().feed(text[:-50] + b">>> Unknown command <<<\r\n" + log(lines=2))
    assert samples.faults == ("desync", "held", "held")  # the lines behind have been seen
    assert decoder().feed(b"15,00,12\r\n" + text).faults == ()  # met in its middle


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(1, 300), min_size=1, max_size=5), st.integers(0, 2**32))
def test_damaged_bytes_in_any_chunking(sizes: list[int], seed: int) -> None:
    chance, data = random.Random(seed), bytearray(log(lines=40))
    sent = {tuple(r.values()) for r in (decode(x) for x in bytes(data).split(b"\r\n")[:-1])
            for r in (r[1],)}  # fmt: skip
    for _ in range(4):
        at, kind = chance.randrange(len(data)), chance.randrange(3)
        if kind == 0:
            data[at] ^= 1 << chance.randrange(8)
        elif kind == 1:
            del data[at : at + chance.randrange(1, 100)]
        else:
            data[at:at] = chance.randbytes(chance.randrange(1, 100))
    whole, pieces = in_pieces(bytes(data), [len(data)]), in_pieces(bytes(data), sizes)
    assert np.array_equal(whole.device_ticks, pieces.device_ticks)
    assert all(np.array_equal(whole.columns[n], pieces.columns[n]) for n in NAMES)
    assert (whole.skipped, whole.faults) == (pieces.skipped, pieces.faults)
    assert set(zip(*(whole.columns[n].tolist() for n in NAMES), strict=True)) <= sent


@given(st.binary(max_size=60))
def test_any_prefix_costs_one_line_at_most(prefix: bytes) -> None:
    assert len(in_pieces(prefix + log(lines=5), [7]).device_ticks) >= 4


@given(st.binary(max_size=300))
def test_the_parser_is_total(data: bytes) -> None:
    verdict = parse(data)
    if isinstance(verdict, Frame):
        assert verdict.length <= len(data)
    elif isinstance(verdict, Need):
        assert len(data) < 160
