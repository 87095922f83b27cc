"""Identities leave a tape; lengths, times and checksums stay."""

from __future__ import annotations

import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drivers.catalog import mask_of
from drivers.emulators.faults import FaultPlan
from drivers.emulators.pzem004t import Pzem004tDevice
from drivers.emulators.served import NullModem, Responder, VirtualClock
from drivers.errors import DriverError
from drivers.masking import Masker
from drivers.meters.pzem004t import Pzem004t
from drivers.modbus import crc16, framed, read_request
from drivers.tape import Recorder, Replay, parse_tape

IDN = b"YOKOGAWA,WT310E,C2PH13005V,F1.04\r\n"


def valid(frame: bytes) -> bool:
    return crc16(frame[:-2]) == int.from_bytes(frame[-2:], "little")


def test_unit_ids_become_one_two_three() -> None:
    masker = Masker()
    for unit, expected in ((0x21, 1), (0x07, 2), (0x21, 1)):
        answer = framed(bytes((unit, 4, 2, 0x21, 0x07)))
        question, masked = masker.exchange(read_request(unit, 4, 0, 1), answer)
        assert question == read_request(expected, 4, 0, 1)
        assert masked == framed(bytes((expected, 4, 2, 0x21, 0x07)))  # values are no identities
    assert masker.count == 3


def test_nobody_in_particular_stays_and_who_answers_is_masked() -> None:
    masker = Masker()
    question, answer = masker.exchange(
        read_request(0xF8, 4, 0, 1), framed(bytes((0x42, 4, 2, 0, 1)))
    )
    assert question[0] == 0xF8
    assert answer == framed(bytes((1, 4, 2, 0, 1)))


def test_noise_echo_and_damage_around_a_frame() -> None:
    masker = Masker()
    ask = read_request(0x21, 4, 0, 1)
    frame = framed(bytes((0x21, 4, 2, 0, 1)))
    damaged = frame[:3] + b"\x55" + frame[4:]
    got = masker.exchange(ask, b"\x00\xff" + ask + frame + damaged)[1]
    assert got[:2] == b"\x00\xff"
    assert got[2:10] == read_request(1, 4, 0, 1)
    assert got[10:17] == framed(bytes((1, 4, 2, 0, 1)))
    assert got[17:] == b"\x01" + damaged[1:]  # its checksum stays as wrong as it was
    assert not valid(got[17:])
    assert b"\x21" not in got


def test_a_serial_number_is_blanked_wherever_it_comes_again() -> None:
    masker = Masker()
    assert masker.exchange(b"*IDN?\n", IDN)[1] == b"YOKOGAWA,WT310E,X0XX00000X,F1.04\r\n"
    assert masker.exchange(b":SYST:SER?\n", b"C2PH13005V\n")[1] == b"X0XX00000X\n"
    assert masker.exchange(b":NUM:VAL?\n", b"1.234E+00\n")[1] == b"1.234E+00\n"
    assert masker.count == 2


def test_what_has_no_identity_is_not_touched() -> None:
    masker = Masker()
    assert masker.exchange(b"#V,R,0;", b"#v,-,8,1,65206,5,2,3,14,200612211910,0;") == (
        b"#V,R,0;",
        b"#v,-,8,1,65206,5,2,3,14,200612211910,0;",
    )
    assert masker.exchange(b"", b"\x01\x04" * 40000)[1] == b"\x01\x04" * 40000
    assert masker.count == 0


def test_a_rule_that_changes_a_length_is_refused() -> None:
    with pytest.raises(ValueError, match="lengths must stay"):
        Masker(lambda _q, answer: answer[1:]).exchange(b"?", b"abc")


@settings(deadline=None)
@given(st.binary(max_size=60), st.binary(max_size=200))
def test_lengths_stay_for_any_bytes(question: bytes, answer: bytes) -> None:
    got = Masker(mask_of("pzem-004t")).exchange(question, answer)
    assert [len(x) for x in got] == [len(question), len(answer)]
    if len(question) >= 2:
        got = Masker(mask_of("pzem-004t")).exchange(framed(question), answer)
        assert [len(x) for x in got] == [len(question) + 2, len(answer)]


def test_a_masked_tape_replays_to_the_same_values() -> None:
    """Unit 0x2A of the bus is nowhere on the tape, not even in the settings, and all else is."""
    faults = FaultPlan()
    for name in (None, None, "noise", "torn", None):
        faults.inject(name)
    clock, out = VirtualClock(), io.StringIO()
    line = NullModem(Responder(Pzem004tDevice(100.0, unit=0x2A), faults), clock)
    recorder = Recorder(line, out, masker=Masker(mask_of("pzem-004t")), now_ns=clock.now_ns)

    def converse(meter: Pzem004t) -> list[object]:
        results: list[object] = [dict(meter.identify())]
        for _ in range(5):
            try:
                results.append(meter.read().values)
            except DriverError as error:
                results.append(type(error))
        meter.close()
        return results

    lived = converse(Pzem004t(recorder, unit=0x2A, now_ns=clock.now_ns))
    tape = parse_tape(out.getvalue())
    assert not [e for e in tape.events if e.data[:1] == b"\x2a"]
    with Replay(tape) as replay:
        again = converse(Pzem004t(replay, unit=1, now_ns=replay.now_ns))
    assert lived[0] == {**again[0], "unit": "42"}  # type: ignore[dict-item]
    assert again[0]["unit"] == "1"  # type: ignore[index]
    assert again[1:] == lived[1:]
    assert DriverError not in map(type, again)
