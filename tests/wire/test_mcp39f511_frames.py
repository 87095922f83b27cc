"""MCP39F5xx answers decoded: real ones, computed ones, and what the meter refuses."""

from __future__ import annotations

from fractions import Fraction
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drivers.emulators.mcp39f511 import Mcp39f511Device
from drivers.errors import Checksum, Implausible
from drivers.meters.mcp39f511 import Mcp39f511
from drivers.meters.mcp39f511_registers import FORMATS, VARIANTS, decode, parse, request
from drivers.tape import Replay, load_tape
from drivers.wire import Frame, Need, Skip
from tests.wire.damage import damaged, share_passed
from tests.wire.sliding import cut, flipped, payloads

TAPES = Path(__file__).parent.parent / "tapes"
# Microchip forum m1140587: an MCP39F511 without mains.
REAL_511 = bytes.fromhex("062351E0101806000000AF00FF7FDB0100000200000000000000020000000000000095")
# arendst/Tasmota xnrg_04: two readings of an MCP39F501, and its calibration registers from 0x28.
REAL_501 = [
    bytes.fromhex("061961060000FE089B0E00000B000000970E0000FF7F0CC635"),
    bytes.fromhex("0619CE180000F2083A3800006600000093380000367F9AC6B7"),
]
REAL_501_SETTING = bytes.fromhex(
    "0637C882B6AD078192730600000000000000000000000000D3FF0300000000039204120C1300204E00009808"
    "E0AB0000D9940000020024"
)


@pytest.mark.parametrize(
    ("address", "count", "frame"),
    [
        (0x16, 8, "A5 08 41 00 16 4E 08 5A"),
        (0x02, 32, "A5 08 41 00 02 4E 20 5E"),
        (0x2E, 16, "A5 08 41 00 2E 4E 10 7A"),
        (0xAE, 4, "A5 08 41 00 AE 4E 04 EE"),
        (0x06, 32, "A5 08 41 00 06 4E 20 62"),
    ],
)
def test_the_questions(address: int, count: int, frame: str) -> None:
    assert request(address, count) == bytes.fromhex(frame)


def test_real_answers_of_a_501() -> None:
    expected = [(230.2, 0.1633, 37.39, 50.7, 1.0), (229.0, 0.635, 143.94, 50.842, 0.9938)]
    for frame, (volts, amperes, watts, hertz, factor) in zip(REAL_501, expected, strict=True):
        verdict = parse(frame, 22)
        assert isinstance(verdict, Frame)
        values = decode(VARIANTS["mcp39f501"], verdict.payload)
        assert values["voltage_v"] == volts
        assert values["current_a"] == pytest.approx(amperes)
        assert values["power_w"] == watts
        assert values["frequency_hz"] == hertz
        assert values["power_factor"] == pytest.approx(factor, abs=1e-4)


def test_a_real_setting_of_a_501_stands_where_the_driver_reads_it() -> None:
    verdict = parse(REAL_501_SETTING, 52)
    assert isinstance(verdict, Frame)
    variant = VARIANTS["mcp39f501"]
    at = variant.ranges[0] - 0x28
    assert tuple(verdict.payload[at : at + 3]) == (18, 12, 19)
    at = variant.interval - 0x28
    assert int.from_bytes(verdict.payload[at : at + 2], "little") == 2


def test_a_real_answer_of_a_511_without_mains_is_refused() -> None:
    verdict = parse(REAL_511, 32)
    assert isinstance(verdict, Frame)
    fields = {c.name: (o, w) for o, w, _, c in VARIANTS["mcp39f511"].fields}
    raw = {n: int.from_bytes(verdict.payload[o : o + w], "little") for n, (o, w) in fields.items()}
    assert raw == {
        "voltage_v": 6,
        "frequency_hz": 0,
        "power_factor": 0x7FFF,
        "current_a": 475,
        "power_w": 2,
    }
    with pytest.raises(Implausible, match=r"voltage_v from 80 to 300; got 0\.6"):
        decode(VARIANTS["mcp39f511"], verdict.payload)


@pytest.mark.parametrize(
    ("frame", "lsb_w"),
    [
        ("06 0B 39 30 00 00 00 00 00 00 7A", Fraction(1, 100)),
        ("06 0B 00 20 07 06 00 00 00 00 3E", Fraction(1, 819_200)),
    ],
)
def test_a_count_of_power_is_worth_what_its_range_says(frame: str, lsb_w: Fraction) -> None:
    """Two computed answers of 123.45 W, one in each of the known ranges."""
    verdict = parse(bytes.fromhex(frame), 8)
    assert isinstance(verdict, Frame)
    assert int.from_bytes(verdict.payload[:4], "little") * lsb_w == Fraction(12345, 100)


def test_that_the_meter_said_no_is_named_and_survived() -> None:
    for byte, words in ((0x51, "wrong checksum in the question"), (0x15, "not acknowledge")):
        verdict = parse(bytes((byte,)), 22)
        assert isinstance(verdict, Skip)
        assert words in verdict.why
    assert payloads(partial(parse, count=22), [b"\x51\x15" + REAL_501[0]]) == [REAL_501[0][2:-1]]


@pytest.mark.parametrize("frame", [REAL_511, *REAL_501])
def test_no_flipped_bit_is_accepted(frame: bytes) -> None:
    for bad in flipped(frame):
        assert isinstance(parse(bad, len(frame) - 3), Skip | Need)


def test_a_wrong_checksum_says_so() -> None:
    verdict = parse(REAL_501[0][:-1] + b"\x36", 22)
    assert isinstance(verdict, Skip)
    assert verdict.error is Checksum


@given(
    st.lists(st.integers(0, 1000), max_size=8),
    st.binary(max_size=30).filter(lambda noise: 0x06 not in noise),
)
def test_any_pieces_and_any_noise_before_give_the_same(places: list[int], noise: bytes) -> None:
    judge = partial(parse, count=22)
    assert payloads(judge, cut(noise + REAL_501[1], places)) == [REAL_501[1][2:-1]]


@given(st.binary(max_size=60), st.integers(1, 40))
def test_any_bytes_give_a_verdict(data: bytes, count: int) -> None:
    verdict = parse(data, count)
    if isinstance(verdict, Skip):
        assert 1 <= verdict.count <= len(data)


@settings(deadline=None)
@given(
    st.sampled_from(sorted(VARIANTS)),
    st.floats(0.0, 5000.0),
    st.floats(100.0, 260.0),
    st.sampled_from([19, 6]),
)
def test_what_the_emulator_encodes_the_driver_decodes(
    model: str, power_w: float, voltage_v: float, watt_range: int
) -> None:
    device = Mcp39f511Device(
        power_w,
        variant=model,
        voltage_v=voltage_v,
        ranges=(18, 12, watt_range),
        power_factor=0.99,
        second_share=0.5,
    )
    device.advance(0.0)
    variant = VARIANTS[model]
    _, answer, _ = device.take(request(variant.first, variant.count))
    verdict = parse(answer, variant.count)
    assert isinstance(verdict, Frame)
    lsb_w = Fraction(1, 100) if watt_range == 19 else Fraction(1, 819_200)
    values = decode(variant, verdict.payload, (lsb_w, lsb_w))
    assert values["power_w"] == pytest.approx(power_w, abs=0.51 * float(lsb_w))
    assert values["voltage_v"] == pytest.approx(voltage_v, abs=0.051)
    assert values["frequency_hz"] == 50.0
    if model == "mcp39f511n":
        assert values["power_2_w"] == pytest.approx(power_w / 2, abs=0.51 * float(lsb_w))


def test_the_damage_that_gets_through_is_what_the_driver_says() -> None:
    for name in ("mcp39f511n", "mcp39f501"):
        assert share_passed(FORMATS[name], damaged(2), 4_000) <= 0.004
        assert share_passed(FORMATS[name], damaged(1), 2_000) == 0.0


def test_the_tape_of_real_answers_of_a_501() -> None:
    with Replay(load_tape(TAPES / "mcp39f501_real_answers.tape")) as line:
        meter = Mcp39f511(line, variant="mcp39f501", now_ns=line.now_ns)
        assert [meter.read().values["power_w"] for _ in range(2)] == [37.39, 143.94]
        assert meter.channels[0].window_s == 0.08


def test_the_tape_of_a_real_511_without_mains() -> None:
    with Replay(load_tape(TAPES / "mcp39f511_without_mains.tape")) as line:
        meter = Mcp39f511(line, variant="mcp39f511", now_ns=line.now_ns)
        with pytest.raises(Implausible, match="voltage_v"):
            meter.read()
