"""The PowerSensor3 stream: computed frames, any chunking, damage, gaps and what hides one."""

from __future__ import annotations

import math
import random
import struct
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.unchecked import stream_share
from drivers.emulators.powersensor3 import PowerSensor3Device
from drivers.meters.powersensor3 import FORMATS
from drivers.meters.powersensor3_frames import (
    CHANNELS,
    Sensor,
    channels,
    decode_record,
    decoder,
    pairs_in_use,
    parse_done,
    parse_record,
    parse_version,
)
from drivers.stream import Samples, join
from drivers.wire import Frame, Need, Skip

NAMES = tuple(c.name for c in CHANNELS)
GOLDEN = bytes.fromhex("F46C 8A3A 9506 A000 B000 C000 D000 E000 F000")
MARKED = bytes.fromhex("F55E 8A7A 9506 A000 B000 C000 D000 E000 F000")


def made_up(seconds: float = 0.1, power_w: Callable[[float], float] | float = 60.0) -> bytes:
    device = PowerSensor3Device(power_w, rails_v=(12.0, 3.3, 5.0))
    device.advance(0.0)
    device.take(b"S")
    out = b""
    for k in range(1, math.ceil(10 * seconds) + 1):
        made = device.due(0.1 * k + 1e-6)
        out += made
        device.sent(len(made))
    return out


MADE_UP = made_up(power_w=lambda t_s: 60.0 + 300.0 * t_s)


def decode(data: bytes, t_ns: int | None = None) -> Samples:
    fresh = decoder()
    samples = fresh.feed(data, t_ns, last=True)
    return Samples(
        samples.device_ticks, samples.columns, samples.skipped + fresh.pending, samples.faults
    )


def in_pieces(data: bytes, sizes: list[int]) -> Samples:
    fresh, at, parts = decoder(), 0, []
    while at < len(data):
        size = sizes[len(parts) % len(sizes)]
        parts.append(fresh.feed(data[at : at + size]))
        at += size
    parts.append(fresh.feed(b"", last=True))
    joined = join(parts, NAMES)
    return Samples(
        joined.device_ticks, joined.columns, joined.skipped + fresh.pending, joined.faults
    )


def same(a: Samples, b: Samples) -> bool:
    return (
        np.array_equal(a.device_ticks, b.device_ticks)
        and all(np.array_equal(a.columns[n], b.columns[n]) for n in NAMES)
        and (a.skipped, a.faults) == (b.skipped, b.faults)
    )


def rows(samples: Samples) -> set[tuple[int, ...]]:
    return set(zip(*(c.tolist() for c in samples.columns.values()), strict=True))


def test_the_computed_frames_of_the_reference() -> None:
    samples = decode(GOLDEN + MARKED)
    assert samples.device_ticks.tolist() == [300, 350]
    # Level 698 with zero 1.65 V and 0.12 V/A; level 326 with 0.0877 V/V.
    assert (samples.columns["pair0_i"] * 1e-6).round(3).tolist() == [5.013, 5.013]
    assert (samples.columns["pair0_v"] * 1e-6).round(3).tolist() == [11.991, 11.991]
    assert samples.columns["marker"].tolist() == [0, 1]
    assert (samples.skipped, samples.faults) == (0, ())


def test_values_are_exact_to_a_millionth() -> None:
    sensor = Sensor("current", "", 1.6483, 0.1187, True)
    table = sensor.table()
    for level in (0, 1, 511, 1023):
        exact = (3.3 * level / 1023 - 1.6483) / 0.1187
        assert abs(table[level] * 1e-6 - exact) <= 0.5000001e-6
    assert sensor.resolution == pytest.approx(3.3 / 1023 / 0.1187)


def test_the_clock_wraps_and_is_unwrapped() -> None:
    samples = decode(MADE_UP)
    assert len(samples.device_ticks) == len(MADE_UP) // 18
    assert set(np.diff(samples.device_ticks)) == {50}
    assert samples.device_ticks[-1] > 90 * 1024


def test_a_record_is_taken_apart() -> None:
    record = struct.pack("<16s16sff?", b"MLX91221\0junk", b"12V ext", 1.65, 0.12, True)
    assert parse_record(record) == Frame(41, record)
    sensor = decode_record(record)
    assert (sensor.kind, sensor.pair_name, sensor.in_use) == ("MLX91221", "12V ext", True)
    assert sensor.vref_v == pytest.approx(1.65)
    assert parse_record(record[:40]) == Need()
    for zero, slope in ((9.0, 0.1), (float("nan"), 0.1), (0.0, 0.0), (0.0, float("inf"))):
        bad = struct.pack("<16s16sff?", b"x", b"y", zero, slope, True)
        assert isinstance(parse_record(bad), Skip)
    assert isinstance(parse_record(record[:40] + b"\xff"), Skip)  # erased flash


def test_only_whole_pairs_have_channels() -> None:
    used = Sensor("k", "n", 1.65, 0.12, True)
    unused = Sensor("", "", 0.0, 0.0, False)
    sensors = (used, used, used, unused, unused, used, used, used)
    assert pairs_in_use(sensors) == (0, 3)
    assert [c.name for c in channels(sensors)] == [
        "pair0_v", "pair0_i", "pair3_v", "pair3_i", "marker",
    ]  # fmt: skip
    stream = decoder(sensors).feed(GOLDEN + MARKED, last=True)
    assert set(stream.columns) == {c.name for c in channels(sensors)}


def test_version_and_end() -> None:
    assert parse_version(b"F411-1.6.1\r\nF4") == Frame(12, b"F411-1.6.1")
    assert parse_version(b"F411-1.") == Need()
    assert isinstance(parse_version(b"\xff?F411"), Skip)
    assert isinstance(parse_version(b"F411 1.6.1\r\n"), Skip)
    assert isinstance(parse_version(b"F" * 30), Skip)
    assert parse_done(b"D") == Frame(1, b"D")
    assert isinstance(parse_done(b"E"), Skip)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(7, 3000), min_size=1, max_size=6), st.integers(0, 2**32))
def test_damaged_bytes_in_any_chunking(sizes: list[int], seed: int) -> None:
    chance = random.Random(seed)
    damaged = bytearray(MADE_UP[: 18 * 600])
    for _ in range(5):
        at = chance.randrange(len(damaged))
        kind = chance.randrange(3)
        if kind == 0:
            damaged[at] ^= 1 << chance.randrange(8)
        elif kind == 1:
            del damaged[at : at + chance.randrange(1, 100)]
        else:
            damaged[at:at] = chance.randbytes(chance.randrange(1, 100))
    whole = decode(bytes(damaged))
    assert same(whole, in_pieces(bytes(damaged), sizes))
    assert 18 * len(whole.device_ticks) + whole.skipped == len(damaged)


def test_byte_by_byte() -> None:
    data = b"\x00\xf4\x6c" + MADE_UP[7 : 18 * 200]
    assert same(decode(data), in_pieces(data, [1]))


@settings(deadline=None, max_examples=50)
@given(st.binary(max_size=200))
def test_any_prefix_is_survived(prefix: bytes) -> None:
    stretch = MADE_UP[: 18 * 100]
    samples, whole = decode(prefix + stretch), decode(stretch)
    assert rows(samples) <= rows(whole) | rows(decode(prefix))
    assert len(samples.device_ticks) >= 98


def test_starting_in_the_middle_of_a_frame_is_no_fault() -> None:
    whole = decode(MADE_UP)
    for cut in range(1, 18):
        samples = decode(MADE_UP[cut:])
        assert (samples.skipped, samples.faults) == (18 - cut, ())
        assert np.array_equal(samples.columns["pair0_i"], whole.columns["pair0_i"][1:])


def test_no_frame_is_spliced_from_two() -> None:
    """Bytes lost anywhere, but in a number of frames that the clock cannot see."""
    chance = random.Random(5)
    device = PowerSensor3Device(lambda t_s: 30.0 + 30.0 * chance.random())
    device.advance(0.0)
    device.take(b"S")
    sent = device.due(0.05)
    known = rows(decode(sent))
    for _ in range(300):
        at = chance.randrange(18 * 20, 18 * 900)
        lost = chance.choice([chance.randrange(1, 18), 18 * chance.randrange(1, 60)])
        assert rows(decode(sent[:at] + sent[at + lost :])) <= known


@pytest.mark.parametrize("lost", [1, 5, 20, 21, 41, 61, 82, 100, 200])
def test_a_gap_is_a_fault_and_the_arrival_counts_the_periods(lost: int) -> None:
    whole, fresh = decode(MADE_UP), decoder()
    fresh.feed(MADE_UP[: 18 * 1000], 50_000_000)
    late_ns = 50_000_000 + lost * 50_000 + 200_000
    second = fresh.feed(MADE_UP[18 * (1000 + lost) : 18 * 1201], late_ns, last=True)
    assert second.faults == ("desync",)
    assert np.array_equal(second.device_ticks, whole.device_ticks[1000 + lost : 1201])


def test_damaged_frames_count_themselves() -> None:
    damaged = MADE_UP[: 18 * 500] + b"\x5a" * (18 * 300) + MADE_UP[18 * 800 :]
    whole, samples = decode(MADE_UP), decode(damaged)
    assert samples.faults == ("desync",)
    assert np.array_equal(samples.device_ticks[499:], whole.device_ticks[800:])


def test_512_lost_frames_leave_no_trace_but_in_the_arrival() -> None:
    """25.6 ms are 25 periods; found within two seconds, also with a clock that is 2 % slow."""
    data = made_up(9.0)
    cut = data[: 18 * 125_000] + data[18 * 125_512 :]
    assert decode(cut).faults == ()
    fresh, faults = decoder(), []
    for i in range(0, len(cut) // 18 - 200, 200):
        sent = i + 200 + (512 if i + 200 > 125_000 else 0)
        samples = fresh.feed(cut[18 * i : 18 * (i + 200)], 1_000_000_000 + sent * 51_000)
        faults += [(sent, f) for f in samples.faults]
    assert [f for _, f in faults] == ["desync"]
    assert 0 < faults[0][0] - 125_512 <= 45_000
    assert samples.device_ticks[-1] // 50 - 1 == pytest.approx(sent - 1, abs=21)


def test_a_late_host_is_no_loss() -> None:
    """Delays up to 80 ms that come and go."""
    data, fresh, chance = made_up(4.0), decoder(), random.Random(3)
    for i in range(0, len(data) // 18 - 200, 200):
        late_ns = chance.choice([0, 0, 0, 5, 80]) * 1_000_000
        samples = fresh.feed(data[18 * i : 18 * (i + 200)], (i + 200) * 50_000 + late_ns)
        assert samples.faults == ()


@settings(deadline=None)
@given(st.binary(max_size=3000))
def test_any_bytes_give_samples_or_none(data: bytes) -> None:
    samples = decode(data)
    assert 18 * len(samples.device_ticks) + samples.skipped == len(data)
    for parse in (parse_version, parse_record, parse_done):
        verdict = parse(data)
        assert not isinstance(verdict, Frame) or verdict.length <= len(data)


def test_a_million_random_bytes_hold_no_sample() -> None:
    assert len(decode(random.Random(0).randbytes(1_000_000)).device_ticks) == 0


def test_the_formats_have_examples() -> None:
    assert set(FORMATS) == {"version", "record", "done", "stream"}


@pytest.mark.parametrize(("flips", "stated"), list(zip((False, True), (0.14, 0.57), strict=True)))
def test_what_is_let_through_does_not_grow(flips: bool, stated: float) -> None:
    """The figures of the driver's docstring, with three standard deviations of this sample."""
    n = 300
    share = stream_share("powersensor3", n, flips=flips, seed=1)
    assert share <= stated + 3 * (stated * (1 - stated) / n) ** 0.5
