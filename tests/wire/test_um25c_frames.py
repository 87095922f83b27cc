"""RDTech USB testers decoded: computed answers, end marks, and what damage gets through."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drivers.emulators.um25c import Um25cDevice
from drivers.errors import Checksum, Implausible
from drivers.formats import Format
from drivers.meters.um25c import FORMATS, MODELS, decode, parse
from drivers.wire import Frame, Need, Skip
from tests.wire.damage import damaged, share_passed
from tests.wire.sliding import cut, payloads

FINE, XORED = FORMATS["answer"].examples  # type: ignore[union-attr]
CHECKED = (
    *(1, 3, 7, 9, 15, 17, 19, 23, 31, 39, 41, 45, 49, 53, 55, 57, 59),
    *(63, 67, 69, 73, 79, 83, 89, 97, 99, 109, 111, 113, 119, 121, 127, 129),
)


def test_the_scales_of_a_um25c_are_ten_times_finer() -> None:
    assert decode(FINE) == {"voltage_v": 5.1, "current_a": 0.328, "power_w": 1.672}
    assert decode(XORED) == {"voltage_v": 5.1, "current_a": 0.328, "power_w": 1.672}
    assert FINE[2:6] == bytes.fromhex("13EC 0CD0")
    assert XORED[2:6] == bytes.fromhex("01FE 0148")


def test_the_checksum_of_a_um34c_is_the_exclusive_or_of_its_bytes() -> None:
    expected = 0
    for place in CHECKED[:-1]:
        expected ^= XORED[place]
    assert XORED[-1] == expected
    for place in range(130):
        for bit in range(8):
            bad = bytearray(XORED)
            bad[place] ^= 1 << bit
            if place in CHECKED or place < 2:
                assert isinstance(parse(bytes(bad)), Skip), place
    bad = XORED[:-1] + bytes((XORED[-1] ^ 1,))
    verdict = parse(bad)
    assert isinstance(verdict, Skip)
    assert verdict.error is Checksum


def test_another_end_is_no_answer() -> None:
    verdict = parse(FINE[:-2] + b"\xff\xf0")
    assert isinstance(verdict, Skip)
    assert "ends in FF F0 instead of FF F1" in verdict.why


def test_a_power_that_is_not_voltage_times_current_is_a_fault() -> None:
    with pytest.raises(Implausible, match=r"5.1 V x 0.328 A = 1.673 W; got 3.344 W"):
        decode(FINE[:6] + (3344).to_bytes(4, "big") + FINE[10:])


@given(
    st.lists(st.integers(0, 1000), max_size=8),
    st.binary(max_size=40).filter(lambda noise: 0x09 not in noise and 0x0D not in noise),
    st.sampled_from([FINE, XORED]),
)
def test_any_pieces_and_any_noise_before_give_the_same(
    places: list[int], noise: bytes, frame: bytes
) -> None:
    assert payloads(parse, cut(noise + frame, places)) == [frame]


@given(st.binary(max_size=200))
def test_any_bytes_give_a_verdict(data: bytes) -> None:
    verdict = parse(data)
    if isinstance(verdict, Need):
        assert len(data) < 130
    elif isinstance(verdict, Skip):
        assert 1 <= verdict.count <= len(data)


@settings(deadline=None)
@given(st.sampled_from(sorted(MODELS.values())), st.floats(0.0, 60.0), st.floats(4.5, 21.0))
def test_what_the_emulator_encodes_the_driver_decodes(
    variant: str, power_w: float, voltage_v: float
) -> None:
    device = Um25cDevice(min(power_w, 5.0 * voltage_v), variant=variant, voltage_v=voltage_v)
    device.advance(0.0)
    _, answer, rest = device.take(b"\xf0")
    assert rest == b""
    verdict = parse(answer)
    assert isinstance(verdict, Frame)
    values = decode(verdict.payload)
    assert MODELS[answer[:2]] == variant
    assert values["power_w"] == pytest.approx(min(power_w, 5.0 * voltage_v), abs=0.00051)
    assert values["voltage_v"] == pytest.approx(voltage_v, abs=0.0051)


@pytest.mark.parametrize(("example", "most"), [(FINE, 0.11), (XORED, 0.012)])
def test_the_damage_that_gets_through_is_what_the_driver_says(example: bytes, most: float) -> None:
    form = Format(parse, (example,), checked=False, decode=decode)
    assert share_passed(form, damaged(1, range(2, 10)), 5_000) <= most
