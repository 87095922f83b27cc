"""The frames of a PowerSpy2: reports and EEPROM as others wrote them down, every fault by name."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.unchecked import powerspy2_share
from drivers.emulators.powerspy2 import PowerSpy2Device
from drivers.errors import Implausible, OverRange
from drivers.meters.powerspy2_frames import (
    Identity,
    ReportDecoder,
    Scales,
    decode_identity,
    decode_report,
    decode_scale,
    parse_byte,
    parse_identity,
    parse_period,
    parse_report,
    parse_state,
)
from drivers.stream import Samples, join
from drivers.wire import Frame, Need, Skip

# patrickmarlier/powerspy.py@1963d32, powerspysimulator.py.
REPORTS = (
    b"<007A1FCA 001F82FB 003AC29C 0FA9 0AB5>\n\r",
    b"<007656F4 001CF0BF 00379ECF 0F2E 09DA>\n\r",
    b"<007650A7 001C1FEB 003688C2 0F2F 09EE>\n\r",
    b"<00765D23 001D2704 00378BCB 0F2F 0A00>\n\r",
    b"<00766B6A 001B26BF 0035D7A8 0F2F 0957>",
)
SCALES = Scales(decode_scale(bytes.fromhex("6C02A73D")), decode_scale(bytes.fromhex("CEDC0E3A")))
NAMES = ("voltage_v", "current_a", "power_w", "voltage_peak_v", "current_peak_a")


def reports(seconds: int, power_w: float = 87.3) -> bytes:
    device = PowerSpy2Device(power_w)
    device.advance(0.0)
    device.take(b"<J0032>")
    device.advance(seconds + 0.001)
    return device.due(seconds + 0.001)


def test_the_reports_and_scales_that_others_wrote_down() -> None:
    assert (SCALES.volt, SCALES.ampere) == pytest.approx((0.081548, 5.4498e-4), rel=1e-4)
    first = decode_report(REPORTS[0][1:-3], SCALES)
    assert {n: round(v * 1e-6, 2) for n, v in first.items()} == {
        "voltage_v": 230.7, "current_a": 0.78, "power_w": 171.14,
        "voltage_peak_v": 326.92, "current_peak_a": 1.49,
    }  # fmt: skip
    samples = ReportDecoder(SCALES, 1.0).feed(b"".join(REPORTS))
    assert samples.device_ticks.tolist() == [0, 1, 2, 3, 4]
    watt = samples.columns["power_w"] * 1e-6
    assert (watt < samples.columns["voltage_v"] * 1e-6 * samples.columns["current_a"] * 1e-6).all()
    assert samples.faults == ()


def test_nothing_plugged_in_is_a_fault_and_no_zero() -> None:
    empty = b"<007A1FCA 00000000 FFFFFFFF 0FA9 0000>\n\r"
    with pytest.raises(OverRange, match="Nothing is plugged in"):
        decode_report(empty[1:-3], SCALES)
    samples = ReportDecoder(SCALES, 1.0).feed(REPORTS[0] + empty + REPORTS[1])
    assert samples.faults == ("overrange",)
    assert len(samples.device_ticks) == 2


def test_an_identity_is_taken_apart() -> None:
    assert decode_identity(b"POWERSPYC01FF350A0001") == Identity("C", 1, 255, 0x35, 10, 1)
    assert isinstance(parse_identity(b"<POWERSPYC01FF350A0001>\r\n"), Frame)
    assert isinstance(parse_identity(b"<POWERSPY>"), Skip)


def test_other_frames() -> None:
    assert parse_byte(b"<6C>") == Frame(4, b"6C")
    assert parse_period(b"<F6C00>") == Frame(7, b"F6C00")
    assert parse_state(b"\n\r<K>") == Frame(5, b"K")
    assert parse_state(b"<") == Need()
    assert isinstance(parse_state(REPORTS[0]), Skip)
    assert isinstance(parse_byte(b"<6c>"), Skip)


@pytest.mark.parametrize(
    "report",
    [
        b"00000000 001F82FB 003AC29C 0FA9 0AB5",  # no mains
        b"007A1FCA 001F82FB 00FAC29C 0FA9 0AB5",  # more watts than volt times ampere
        b"007A1FCA 001F82FB 003AC29C 00A9 0AB5",  # a peak below the mean
        b"007A1FCA 001F82FB 003AC29C 7FA9 0AB5",  # a peak that no mains has
        b"007A1FCA 001F82FB 003AC29C 0FA9 00B5",
    ],
)
def test_what_cannot_belong_together_is_refused(report: bytes) -> None:
    with pytest.raises(Implausible):
        decode_report(report, SCALES)


def test_torn_and_doubled_reports() -> None:
    decoder = ReportDecoder(SCALES, 1.0)
    samples = decoder.feed(REPORTS[0] + REPORTS[1][:20] + REPORTS[2], 1_000_000_000)
    assert (len(samples.device_ticks), samples.faults) == (2, ("desync",))
    assert decoder.feed(REPORTS[3] + REPORTS[3], 2_000_000_000).faults == ("held",)


def test_what_is_let_through_does_not_grow() -> None:
    """The figures of the driver's docstring, with three standard deviations of this sample."""
    n = 400
    for flips, stated in ((False, SHARES[0]), (True, SHARES[1])):
        share = powerspy2_share(n, flips=flips, seed=1)
        assert share <= stated + 3 * (stated * (1 - stated) / n) ** 0.5


SHARES = (0.033, 0.18)


def pieces(data: bytes, sizes: list[int]) -> Samples:
    decoder, at, parts = ReportDecoder(SCALES, 1.0), 0, []
    while at < len(data):
        size = sizes[len(parts) % len(sizes)]
        parts.append(decoder.feed(data[at : at + size]))
        at += size
    return join(parts, NAMES)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(1, 200), min_size=1, max_size=5), st.integers(0, 2**32))
def test_damaged_bytes_in_any_chunking(sizes: list[int], seed: int) -> None:
    chance, data = random.Random(seed), bytearray(reports(30))
    for _ in range(4):
        at, kind = chance.randrange(len(data)), chance.randrange(3)
        if kind == 0:
            data[at] ^= 1 << chance.randrange(8)
        elif kind == 1:
            del data[at : at + chance.randrange(1, 100)]
        else:
            data[at:at] = chance.randbytes(chance.randrange(1, 100))
    whole, cut = pieces(bytes(data), [len(data)]), pieces(bytes(data), sizes)
    assert np.array_equal(whole.device_ticks, cut.device_ticks)
    assert all(np.array_equal(whole.columns[n], cut.columns[n]) for n in NAMES)


@given(st.binary(max_size=60).filter(lambda b: b"<" not in b))
def test_any_noise_before_a_report_is_survived(prefix: bytes) -> None:
    assert len(pieces(prefix + REPORTS[0], [11]).device_ticks) == 1


@settings(deadline=None)
@given(st.binary(max_size=300))
def test_the_parsers_are_total(data: bytes) -> None:
    for parse in (parse_identity, parse_byte, parse_period, parse_state, parse_report):
        verdict = parse(data)
        if not isinstance(verdict, Need):
            taken = verdict.length if isinstance(verdict, Frame) else verdict.count
            assert 1 <= taken <= len(data)
    pieces(data + b"\n", [7])
