"""The PMD-USB stream: real bytes, any chunking, damage, and the exact meaning of a frame."""

from __future__ import annotations

import random
from fractions import Fraction
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.unchecked import stream_share
from drivers.emulators.pmd_usb import synthesise
from drivers.meters.pmd_usb import (
    CHANNELS,
    CHANNELS_SC24,
    decode,
    decoder,
    parse_id,
    parse_welcome,
    power_w,
)
from drivers.stream import Samples
from drivers.wire import Frame, Need, Skip

FILES = {
    "5050/3090": 47_940,
    "5050/A100": 47_735,
    "Transient_Response/3090_TR": 66_852,
    "Transient_Response/A100_TR": 67_051,
    "Transient_Response/K40m_TR": 67_015,
}
MADE_UP = synthesise(lambda t_s: 100.0 + 50.0 * t_s, 1.0)


def same(a: Samples, b: Samples) -> bool:
    return np.array_equal(a.device_ticks, b.device_ticks) and all(
        np.array_equal(a.columns[c.name], b.columns[c.name]) for c in CHANNELS
    )


def in_pieces(data: bytes, sizes: list[int]) -> Samples:
    fresh, at, parts, i = decoder(), 0, [], 0
    while at < len(data):
        size = sizes[i % len(sizes)]
        parts.append(fresh.feed(data[at : at + size]))
        at, i = at + size, i + 1
    parts.append(fresh.feed(b"", last=True))
    return Samples(
        np.concatenate([p.device_ticks for p in parts]),
        {c.name: np.concatenate([p.columns[c.name] for p in parts]) for c in CHANNELS},
        sum(p.skipped for p in parts) + fresh.pending,
        tuple(f for p in parts for f in p.faults),
    )


@pytest.mark.parametrize(("name", "frames"), FILES.items())
def test_real_streams_have_no_torn_frame(name: str, frames: int, wattcal_data: Path) -> None:
    data = (wattcal_data / "gpu-pmdusb-nvidiasmi" / name / "PMD_data.bin").read_bytes()
    samples = decode(data)
    assert len(samples.device_ticks) == frames == len(data) // 18
    assert samples.skipped == 0
    assert samples.faults == ()
    duration_s = (samples.device_ticks[-1] - samples.device_ticks[0]) / 2_934_500
    assert frames / duration_s == pytest.approx(4780, rel=0.002)


def test_real_frames_decode_as_published(wattcal_data: Path) -> None:
    data = (wattcal_data / "gpu-pmdusb-nvidiasmi/5050/3090/PMD_data.bin").read_bytes()
    samples = decode(data)
    value = {c.name: samples.columns[c.name] * float(c.scale) for c in CHANNELS_SC24}
    first = [round(float(value[c.name][0]), 3) for c in CHANNELS_SC24]
    assert first == [12.124, 3.026, 12.139, 5.807, 11.955, 1.903, 12.094, 0.098]
    assert samples.device_ticks[0] == 57_428
    assert samples.device_ticks[1] - samples.device_ticks[0] == 601
    assert samples.columns["eps2_i"][41] == -1
    watt = power_w(samples.columns, CHANNELS_SC24)
    assert [round(float(w), 1) for w in watt[:2]] == [131.1, 131.3]


def test_real_bytes_in_any_chunking(wattcal_data: Path) -> None:
    data = (wattcal_data / "gpu-pmdusb-nvidiasmi/5050/A100/PMD_data.bin").read_bytes()[:200_000]
    whole = decode(data)
    for sizes in ([1], [17], [5, 4096, 1], [65_536]):
        subset = data if len(sizes) == 3 else data[:20_000]
        assert same(in_pieces(subset, sizes), whole if len(sizes) == 3 else decode(subset))


def test_a_frame_from_the_description() -> None:
    """Frame 0 of the RTX 3090 recording, eight of them in a row with the clock moving on."""
    frame = bytes.fromhex("54E0 2064 E003 4064 7007 A063 7002 E063 2000")
    clock = int.from_bytes(frame[:2], "little")
    row = b"".join(
        ((clock + 602 * i) & 0xFFFF).to_bytes(2, "little") + frame[2:] for i in range(40)
    )
    samples = decode(row)
    assert list(samples.device_ticks) == [57_428 + 602 * i for i in range(40)]  # wraps, unwrapped
    assert [int(samples.columns[c.name][0]) for c in CHANNELS] == [
        0x642, 0x3E, 0x644, 0x77, 0x63A, 0x27, 0x63E, 2,
    ]  # fmt: skip


def test_negative_noise_keeps_its_sign() -> None:
    samples = decode(MADE_UP)
    assert set(samples.columns["eps2_i"].tolist()) == {-1}
    assert set(samples.columns["pcie1_v"].tolist()) == {1599}
    watt = power_w(samples.columns)
    assert watt[0] == pytest.approx(100.0, abs=0.95)  # half a count, and the -1
    assert watt[-1] == pytest.approx(150.0, abs=1.0)


def test_scales_are_exact() -> None:
    by_name = {c.name: c.scale for c in CHANNELS}
    assert by_name["eps1_v"] == Fraction(7568, 1_000_000)
    assert by_name["pcie1_i"] == Fraction(488, 10_000)
    assert {c.name: c.scale for c in CHANNELS_SC24}["eps1_v"] == Fraction(75, 10_000)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(7, 3000), min_size=1, max_size=6), st.integers(0, 2**32))
def test_damaged_bytes_in_any_chunking(sizes: list[int], seed: int) -> None:
    chance = random.Random(seed)
    damaged = bytearray(MADE_UP[: 18 * 1500])
    for _ in range(6):
        at = chance.randrange(len(damaged))
        kind = chance.randrange(3)
        if kind == 0:
            damaged[at] ^= 1 << chance.randrange(8)
        elif kind == 1:
            del damaged[at : at + chance.randrange(1, 100)]
        else:
            damaged[at:at] = chance.randbytes(chance.randrange(1, 100))
    whole, pieces = decode(bytes(damaged)), in_pieces(bytes(damaged), sizes)
    assert same(whole, pieces)
    assert (whole.skipped, whole.faults) == (pieces.skipped, pieces.faults)
    assert 18 * len(whole.device_ticks) + whole.skipped == len(damaged)


def test_starting_in_the_middle_of_a_frame() -> None:
    whole = decode(MADE_UP)
    for cut in range(1, 18):
        samples = decode(MADE_UP[cut:])
        assert samples.skipped == 18 - cut
        assert samples.faults == ()
        assert np.array_equal(samples.columns["pcie2_i"], whole.columns["pcie2_i"][1:])


def test_lost_bytes_are_a_fault_and_no_sample_is_invented() -> None:
    cut = MADE_UP[: 18 * 1000 + 7] + MADE_UP[18 * 1003 + 2 :]
    whole, samples = decode(MADE_UP), decode(cut)
    assert samples.faults == ("desync",)
    kept = np.concatenate([whole.device_ticks[:999], whole.device_ticks[1004:]])
    assert np.array_equal(samples.device_ticks, kept)


def rows(samples: Samples) -> set[tuple[int, ...]]:
    """Return the eight values of every sample."""
    return set(zip(*(c.tolist() for c in samples.columns.values()), strict=True))


def test_no_frame_is_spliced_from_two() -> None:
    """Bytes lost anywhere, in any number: voltages and currents of a sample were sent together.

    Only a clock word cut in its middle can pass, with an error below 256 counts (0.09 ms).
    """
    chance = random.Random(7)
    words = np.frombuffer(MADE_UP[: 18 * 1200], "<u2").reshape(-1, 9).copy()
    words[:, 1:] += chance_words(chance, words.shape[0])
    sent = words.tobytes()
    known = rows(decode(sent))
    assert len(known) == 1200
    for _ in range(300):
        at = chance.randrange(18 * 20, 18 * 1100)
        lost = chance.choice([chance.randrange(1, 18), 18 * chance.randrange(1, 50)])
        assert rows(decode(sent[:at] + sent[at + lost :])) <= known


def chance_words(chance: random.Random, n: int) -> npt.NDArray[np.uint16]:
    """Return small changes of every word, low nibble 0, so that no two frames are alike."""
    return np.array([[16 * chance.randrange(8) for _ in range(8)] for _ in range(n)], np.uint16)


def test_a_long_damaged_stretch_keeps_the_clock() -> None:
    """300 frames are 61 ms, nearly three periods of the clock: they count themselves."""
    damaged = MADE_UP[: 18 * 1000] + bytes(18 * 300) + MADE_UP[18 * 1300 :]
    whole, samples = decode(MADE_UP), decode(damaged)
    assert samples.skipped == 18 * 301  # and the frame before, which nothing confirms
    assert np.array_equal(samples.device_ticks[999:], whole.device_ticks[1300:])


def test_a_long_loss_takes_the_arrival_time_to_keep_the_clock() -> None:
    whole, fresh = decode(MADE_UP), decoder()
    at_ns = round(float(whole.device_ticks[1000]) / 2_934_500 * 1e9)
    later_ns = round(float(whole.device_ticks[1500]) / 2_934_500 * 1e9) + 4_000_000
    first = fresh.feed(MADE_UP[: 18 * 1000], at_ns)
    second = fresh.feed(MADE_UP[18 * 1500 + 5 :], later_ns, last=True)
    assert first.faults == ()
    assert second.faults == ("desync",)
    assert np.array_equal(second.device_ticks, whole.device_ticks[1501:])


@settings(deadline=None)
@given(st.binary(max_size=4000))
def test_any_bytes_give_samples_or_none(data: bytes) -> None:
    samples = decode(data)
    assert 18 * len(samples.device_ticks) + samples.skipped == len(data)


def test_a_million_random_bytes_hold_no_sample() -> None:
    assert len(decode(random.Random(0).randbytes(1_000_000)).device_ticks) == 0


def test_welcome_and_identity() -> None:
    assert parse_welcome(b"ElmorLabs PMD-USB") == Frame(17, b"ElmorLabs PMD-USB")
    assert parse_welcome(b"Elmor") == Need()
    assert isinstance(parse_welcome(b"\x00Elmor"), Skip)
    assert parse_id(b"\xee\x0a\x06") == Frame(3, b"\x06")
    assert parse_id(b"\xee") == Need()
    assert isinstance(parse_id(b"\x0a"), Skip)


@settings(deadline=None)
@given(st.binary(max_size=40))
def test_the_parsers_are_total(data: bytes) -> None:
    for parse in (parse_welcome, parse_id):
        verdict = parse(data)
        if isinstance(verdict, Frame):
            assert verdict.length <= len(data)
        if isinstance(verdict, Skip):
            assert data


@pytest.mark.parametrize(("flips", "stated"), list(zip((False, True), (0.3, 0.62), strict=True)))
def test_what_is_let_through_does_not_grow(flips: bool, stated: float) -> None:
    """The figures of the driver's docstring, with three standard deviations of this sample."""
    n = 300
    share = stream_share("pmd-usb", n, flips=flips, seed=1)
    assert share <= stated + 3 * (stated * (1 - stated) / n) ** 0.5
