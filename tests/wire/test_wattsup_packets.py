"""The packets of a Watts Up?: published bytes first, every trap, what the checks let through."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.unchecked import wattsup_share
from drivers.emulators.wattsup import WattsUpDevice
from drivers.errors import Implausible
from drivers.meters.wattsup import FORMATS
from drivers.meters.wattsup_packets import (
    FIELDS,
    PacketDecoder,
    check_fields,
    parse_data,
    parse_packet,
    parse_reply,
)
from drivers.stream import Samples, join
from drivers.wire import Frame, Need, Skip

REAL = b"#d,-,18,124,1191,97,0,_,_,_,124,_,_,_,_,_,100,_,_,_,_;"
COMPUTED = b"#d,-,18,873,1201,764,123,0,0,0,873,1201,764,873,1201,764,95,100,0,599,918;\r\n"
BANNER = b"EED05F01 $Revision: 4.41 $ 200612212301 60Hz 120V\r\n"
WVA = {"W": "power_w", "V": "voltage_v", "A": "current_a", "WH": "energy_j"}
ALL = {**WVA, "PF": "power_factor", "Hz": "frequency_hz", "VA": "apparent_power_va"}


def reports(seconds: int, power_w: float = 87.3, **options: object) -> bytes:
    device = WattsUpDevice(power_w, **options)  # type: ignore[arg-type]
    device.advance(0.0)
    device.take(b"#L,W,3,E,,1;")
    out = b""
    for k in range(1, seconds + 1):
        device.advance(k + 0.001)
        out += device.due(k + 0.001)
        device.sent(0)
    return out


def decode(data: bytes, names: dict[str, str], t_ns: int | None = None, count: int = 18) -> Samples:
    return PacketDecoder(names, count=count).feed(data, t_ns)


def test_the_published_reading() -> None:
    """12.4 W, 119.1 V, 0.097 A; power beyond V x A by 0.85 W, as that meter had it."""
    samples = decode(REAL, WVA)
    assert {n: v.tolist() for n, v in samples.columns.items()} == {
        "power_w": [124], "voltage_v": [1191], "current_a": [97], "energy_j": [0],
    }  # fmt: skip
    assert samples.faults == ()


def test_the_computed_packet_and_its_exact_scales() -> None:
    samples = decode(COMPUTED, ALL)
    raw = {n: int(v[0]) for n, v in samples.columns.items()}
    from drivers.meters.wattsup import CHANNELS

    value = {c.name: raw[c.name] * float(c.scale) for c in CHANNELS}
    assert value == pytest.approx(
        {
            "power_w": 87.3, "voltage_v": 120.1, "current_a": 0.764, "energy_j": 12.3 * 3600,
            "power_factor": 0.95, "frequency_hz": 59.9, "apparent_power_va": 91.8,
        }
    )  # fmt: skip


def test_the_post_of_a_net_meter_fixes_the_units() -> None:
    """119.9 V x 0.381 A against 45.8 VA: thousandths of amperes, tenths of the others."""
    check_fields({"W": 450, "V": 1199, "A": 381, "VA": 458, "Hz": 599})
    with pytest.raises(Implausible):
        check_fields({"W": 450, "V": 1199, "A": 3810, "VA": 458, "Hz": 599})


def test_noise_around_packets_is_no_fault() -> None:
    data = b"xx\x00" + COMPUTED + b"\r\n\t?" + COMPUTED.replace(b"873", b"874") + b"\xff"
    samples = decode(data, WVA)
    assert samples.columns["power_w"].tolist() == [873, 874]
    assert samples.faults == ()


def test_line_ends_and_tabs_inside_a_packet_are_ignored() -> None:
    broken = b"#d,-,18,87\r\n3,12\t01,764,123,0,0,0,873,1201,764,873,1201,764,95,100,0,599,918\n;"
    assert decode(broken, ALL).columns["power_w"].tolist() == [873]


def test_a_torn_packet_is_a_fault_and_the_next_is_not_lost() -> None:
    data = COMPUTED + COMPUTED[:30] + COMPUTED.replace(b"873", b"874")
    samples = decode(data, WVA)
    assert samples.columns["power_w"].tolist() == [873, 874]
    assert samples.faults == ("desync",)


def test_the_count_of_the_packet_is_trusted_and_must_fit() -> None:
    old = b"#d,-,16,873,1201,764,123,0,0,0,873,1201,764,873,1201,764,95,100,0;"
    assert decode(old, WVA, count=16).columns["power_w"].tolist() == [873]
    assert isinstance(parse_data(old.replace(b",16,", b",18,")), Skip)
    first = decode(COMPUTED + old, WVA)  # one of another meter
    assert first.faults == ("implausible",)


def test_a_logged_field_that_is_missing_gives_no_sample() -> None:
    samples = decode(COMPUTED + COMPUTED.replace(b"764,123", b"_,123", 1), WVA)
    assert len(samples.device_ticks) == 1
    assert samples.faults == ("implausible",)


def test_the_banner_is_a_restart() -> None:
    samples = decode(COMPUTED + BANNER + COMPUTED.replace(b"873", b"870"), WVA)
    assert samples.faults == ("reboot",)
    assert samples.columns["power_w"].tolist() == [873, 870]
    assert parse_packet(BANNER[:20]) == Need()
    assert parse_packet(BANNER) == Frame(len(BANNER), b"")


def test_replies() -> None:
    version = b"#v,-,8,1,65206,5,2,3,14,200612211910,0;"
    assert isinstance(parse_reply(version, b"v", 8), Frame)
    assert isinstance(parse_reply(version, b"h"), Skip)
    assert isinstance(parse_reply(COMPUTED, b"v", 8), Skip)  # still reporting
    assert isinstance(parse_reply(b"\r\n" + version, b"v", 8), Frame)


def test_packets_count_the_seconds_and_the_arrival_counts_the_lost() -> None:
    packets = [p + b";" for p in reports(12).split(b";")[:-1]]
    decoder, ticks = PacketDecoder(WVA), []
    for k, packet in enumerate(packets):
        if k in (4, 5):
            continue
        late_ns = 600_000_000 if k == 8 else 3_000_000 * (k % 3)
        ticks += decoder.feed(packet, k * 1_000_000_000 + late_ns).device_ticks.tolist()
    assert ticks == [0, 1, 2, 3, 6, 7, 8, 9, 10, 11]


def test_packets_that_waited_for_the_host_keep_their_seconds() -> None:
    packets = [p + b";" for p in reports(12).split(b";")[:-1]]
    decoder = PacketDecoder(WVA)
    for k in range(3):
        decoder.feed(packets[k], k * 1_000_000_000)
    late = decoder.feed(b"".join(packets[3:6]), 5_400_000_000)
    assert late.device_ticks.tolist() == [3, 4, 5]
    assert decoder.feed(packets[6], 6_000_000_000).device_ticks.tolist() == [6]


def test_a_packet_that_comes_twice_counts_once() -> None:
    decoder = PacketDecoder(WVA)
    assert decoder.feed(COMPUTED + COMPUTED, 1_000_000_000).faults == ("held",)
    assert decoder.feed(COMPUTED, 2_000_000_000).device_ticks.tolist() == [1]


def test_a_minute_without_any_change_is_held() -> None:
    decoder = PacketDecoder(WVA)
    faults = [f for k in range(70) for f in decoder.feed(COMPUTED, k * 1_000_000_000).faults]
    assert "held" in faults


def test_energy_that_falls_is_a_reset_and_energy_that_jumps_is_none() -> None:
    decoder = PacketDecoder(WVA)
    faults = []
    for k, watt_hours in enumerate((b"123", b"124", b"0", b"0", b"90000", b"1", b"1")):
        packet = COMPUTED.replace(b"764,123", b"764," + watt_hours, 1)
        packet = packet.replace(b"1201", b"120%d" % (k % 5))
        faults.append(decoder.feed(packet, k * 1_000_000_000).faults)
    assert faults == [(), (), ("counter-reset",), (), ("implausible",), (), ()]


@pytest.mark.parametrize(
    "counts",
    [
        {"W": 60_000},
        {"W": 100, "V": 600},
        {"W": 3000, "V": 1200, "A": 1000},  # 300 W of 120 VA
        {"W": 900, "V": 1200, "A": 1000, "PF": 30},
        {"W": 900, "V": 1200, "A": 1000, "VA": 2000},
        {"W": 900, "Hz": 200},
    ],
)
def test_what_cannot_belong_together_is_refused(counts: dict[str, int]) -> None:
    with pytest.raises(Implausible):
        check_fields(counts)


def test_what_is_let_through_does_not_grow() -> None:
    """The figures of the driver's docstring, with three standard deviations of this sample."""
    for fields, flips, stated in (
        (18, False, SHARES[0]), (18, True, SHARES[1]), (6, False, SHARES[2]), (6, True, SHARES[3]),
    ):  # fmt: skip
        n = 400
        share = wattsup_share(n, fields=fields, flips=flips, seed=1)
        assert share <= stated + 3 * (stated * (1 - stated) / n) ** 0.5


SHARES = (0.005, 0.055, 0.004, 0.046)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(1, 200), min_size=1, max_size=5), st.integers(0, 2**32))
def test_damaged_bytes_in_any_chunking(sizes: list[int], seed: int) -> None:
    chance, data = random.Random(seed), bytearray(reports(15))
    for _ in range(4):
        at, kind = chance.randrange(len(data)), chance.randrange(3)
        if kind == 0:
            data[at] ^= 1 << chance.randrange(8)
        elif kind == 1:
            del data[at : at + chance.randrange(1, 100)]
        else:
            data[at:at] = chance.randbytes(chance.randrange(1, 100))
    whole, pieces, parts, at = decode(bytes(data), ALL), PacketDecoder(ALL), [], 0
    while at < len(data):
        size = sizes[len(parts) % len(sizes)]
        parts.append(pieces.feed(bytes(data[at : at + size])))
        at += size
    joined = join(parts, ALL.values())
    assert np.array_equal(whole.device_ticks, joined.device_ticks)
    assert all(np.array_equal(whole.columns[n], joined.columns[n]) for n in ALL.values())
    assert (whole.skipped, whole.faults) == (joined.skipped, joined.faults)


@settings(deadline=None)
@given(st.binary(max_size=60).filter(lambda b: b"#" not in b and b"$" not in b))
def test_any_noise_before_a_packet_is_survived(prefix: bytes) -> None:
    assert decode(prefix + COMPUTED, WVA).columns["power_w"].tolist() == [873]


@settings(deadline=None)
@given(st.binary(max_size=500))
def test_the_parsers_are_total(data: bytes) -> None:
    for parse in (parse_packet, parse_data, lambda b: parse_reply(b, b"v", 8)):
        verdict = parse(data)
        if not isinstance(verdict, Need):
            taken = verdict.length if isinstance(verdict, Frame) else verdict.count
            assert 1 <= taken <= len(data)
    decode(data, ALL)


def test_the_names_are_those_of_the_specification() -> None:
    names = FORMATS["names"].examples[0]
    assert names == b"#h,-,18," + ",".join(FIELDS).encode() + b";"
