"""The first PZEM-004T decoded: computed frames, stale answers, and what damage gets through."""

from __future__ import annotations

from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.emulators.pzem004t_v1 import Pzem004tV1Device
from drivers.errors import Checksum, Implausible, Unsupported
from drivers.meters.pzem004t_v1 import FORMATS, QUANTITIES, Pzem004tV1, decode, parse, request
from drivers.wire import Frame, Need, Skip
from tests.wire.damage import damaged, share_passed
from tests.wire.sliding import cut, flipped, payloads

ADDRESS = bytes((192, 168, 1, 1))
SET = (0xB4, "B4 C0 A8 01 01 00 1E", "A4 00 00 00 00 00 A4")
# Question, answer and value as the source computes them.
COMPUTED = [
    (0xB0, "B0 C0 A8 01 01 00 1A", "A0 00 E6 02 00 00 88", 230.2),
    (0xB1, "B1 C0 A8 01 01 00 1B", "A1 00 11 20 00 00 D2", 17.32),
    (0xB2, "B2 C0 A8 01 01 00 1C", "A2 08 98 00 00 00 42", 2200.0),
    (0xB3, "B3 C0 A8 01 01 00 1D", "A3 01 86 9F 00 00 C9", 99_999 * 3600.0),
]


def test_the_questions_are_those_of_the_source() -> None:
    for code, question, *_ in (SET, *COMPUTED):
        assert request(code, ADDRESS) == bytes.fromhex(question)


@pytest.mark.parametrize(("code", "question", "answer", "value"), COMPUTED)
def test_the_answers(code: int, question: str, answer: str, value: float) -> None:
    verdict = parse(bytes.fromhex(answer), code)
    assert isinstance(verdict, Frame)
    quantity = next(q for q in QUANTITIES if q.code == code)
    assert decode(quantity, verdict.payload) == pytest.approx(value)


@pytest.mark.parametrize(("code", "answer"), [(c, a) for c, _, a, *_ in (SET, *COMPUTED)])
def test_an_answer_to_another_question_is_known_as_such(code: int, answer: str) -> None:
    for other in {0xB0, 0xB1, 0xB2, 0xB3, 0xB4} - {code}:
        verdict = parse(bytes.fromhex(answer), other)
        assert isinstance(verdict, Skip)
        assert verdict.count == 7
        assert f"it answers 0x{code:02X} instead of 0x{other:02X}" in verdict.why


@pytest.mark.parametrize("name", FORMATS)
def test_no_flipped_bit_is_accepted(name: str) -> None:
    form = FORMATS[name]
    for frame in flipped(form.examples[0]):
        assert isinstance(form.parse(frame), Skip), frame.hex()


def test_a_zero_byte_at_power_up_is_skipped() -> None:
    judge = partial(parse, code=0xB0)
    frame = bytes.fromhex(COMPUTED[0][2])
    assert payloads(judge, [b"\0" + frame]) == [frame[1:-1]]


@given(
    st.sampled_from(sorted(FORMATS)),
    st.lists(st.integers(0, 1000), max_size=8),
    st.binary(max_size=20).filter(lambda noise: not set(noise) & set(range(0xA0, 0xA5))),
)
def test_any_pieces_and_any_noise_before_give_the_same(
    name: str, places: list[int], noise: bytes
) -> None:
    form = FORMATS[name]
    frame = form.examples[0]
    assert payloads(form.parse, cut(noise + frame, places)) == [frame[1:-1]]


@given(st.binary(max_size=30), st.sampled_from([0xB0, 0xB1, 0xB2, 0xB3, 0xB4]))
def test_any_bytes_give_a_verdict(data: bytes, code: int) -> None:
    verdict = parse(data, code)
    if isinstance(verdict, Need):
        assert len(data) < 7
    elif isinstance(verdict, Skip):
        assert 1 <= verdict.count <= len(data)


@pytest.mark.parametrize(
    ("place", "data", "words"),
    [
        (0, "00 E6 0A 00 00", "digits below 10"),
        (1, "00 11 64 00 00", "digits below 100"),
        (2, "08 98 01 00 00", "then zeros"),
        (3, "01 86 9F 00 01", "then zeros"),
        (0, "00 20 02 00 00", "a mains from 80 to 300 V; got 32.2 V"),
    ],
)
def test_what_the_module_never_says_is_a_fault(place: int, data: str, words: str) -> None:
    with pytest.raises(Implausible, match=words):
        decode(QUANTITIES[place], bytes.fromhex(data))


def test_a_wrong_checksum_says_so() -> None:
    verdict = parse(bytes.fromhex("A2 08 98 00 00 00 43"), 0xB2)
    assert isinstance(verdict, Skip)
    assert verdict.error is Checksum
    assert "0x43 instead of 0x42" in verdict.why


@given(st.integers(30, 22_000), st.integers(1000, 2600), st.integers(0, 9_000_000))
def test_what_the_emulator_encodes_the_driver_decodes(
    power_w: int, decivolts: int, energy_wh: int
) -> None:
    device = Pzem004tV1Device(power_w, voltage_v=decivolts / 10, energy_wh=energy_wh)
    device.advance(0.0)
    device.take(request(0xB4, ADDRESS))
    values = []
    for quantity in QUANTITIES:
        _, answer, _ = device.take(request(quantity.code, ADDRESS))
        verdict = parse(answer, quantity.code)
        assert isinstance(verdict, Frame)
        values.append(decode(quantity, verdict.payload))
    volts, amperes, watts, joules = values
    assert (volts, watts, joules) == (decivolts / 10, power_w, energy_wh * 3600.0)
    assert amperes == pytest.approx(power_w / volts / 0.95, abs=0.0051)


def test_the_damage_that_gets_through_is_what_the_driver_says() -> None:
    """Two damaged bytes of seven; see the driver's Quirks."""
    for name, most in (
        ("voltage", 0.0003),
        ("current", 0.001),
        ("power", 0.001),
        ("energy", 0.002),
    ):
        assert share_passed(FORMATS[name], damaged(2), 20_000) <= most
        assert share_passed(FORMATS[name], damaged(1), 5_000) == 0.0


@pytest.mark.parametrize("ip", ["192.168.1", "1.2.3.256", "a.b.c.d", "", "1.2.3.4.5"])
def test_an_address_that_is_none_is_refused(ip: str) -> None:
    with pytest.raises(Unsupported, match="four numbers"):
        Pzem004tV1(None, ip=ip)  # type: ignore[arg-type]
