"""Tapes: what is recorded replays byte for byte, and anything else is noticed."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from drivers.emulators.faults import FaultPlan
from drivers.emulators.pzem004t import Pzem004tDevice
from drivers.emulators.served import NullModem, Responder, VirtualClock
from drivers.errors import Checksum, DriverError, Gone
from drivers.meters.pzem004t import Pzem004t
from drivers.tape import Event, Recorder, Replay, Tape, TapeError, load_tape, parse_tape

TAPES = Path(__file__).parent.parent / "tapes"


def converse(meter: Pzem004t) -> list[object]:
    """Take readings; an error counts as its type."""
    results: list[object] = [dict(meter.identify())]
    for _ in range(6):
        try:
            results.append(meter.read().values)
        except DriverError as error:
            results.append(type(error))
    return results


def test_a_recorded_conversation_replays_with_its_faults_and_times() -> None:
    faults = FaultPlan()
    for name in (None, None, "bad_crc", "late", "noise", "unplug"):
        faults.inject(name)
    clock = VirtualClock()
    line = NullModem(Responder(Pzem004tDevice(100.0), faults), clock)
    out = io.StringIO()
    recorder = Recorder(line, out, head={"model": "pzem-004t"}, now_ns=clock.now_ns)
    lived = converse(Pzem004t(recorder, now_ns=clock.now_ns))
    assert Checksum in lived
    assert lived[-1] is Gone

    tape = parse_tape(out.getvalue())
    assert tape.head["model"] == "pzem-004t"
    with Replay(tape) as replay:
        assert converse(Pzem004t(replay, now_ns=replay.now_ns))[:6] == lived[:6]


def test_other_bytes_are_noticed() -> None:
    tape = load_tape(TAPES / "pzem004t_v3_field_readings.tape")
    line = Replay(tape)
    with pytest.raises(TapeError, match="The driver did '> 07 04 00"):
        Pzem004t(line, unit=7, now_ns=line.now_ns).read()


def test_what_is_left_over_is_noticed() -> None:
    tape = load_tape(TAPES / "pzem004t_v3_field_readings.tape")
    with pytest.raises(TapeError, match="6 events of the tape were not used"), Replay(tape) as line:
        Pzem004t(line, unit=1, now_ns=line.now_ns).read()


def test_a_change_of_speed_is_compared() -> None:
    tape = Tape({}, (Event(0, "=", text="921600"),))
    with Replay(tape) as line:
        line.set_baud(921_600)
    with pytest.raises(TapeError, match="921600"):
        Replay(tape).set_baud(115_200)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "expected '# wattcal tape 1'"),
        ("# wattcal tape 1\n0.5 ? 00", "line 2: expected SECONDS"),
        ("# wattcal tape 1\n0.5 > 0G", "line 2"),
        ("# wattcal tape 1\nsoon > 00", "line 2"),
        ("# wattcal tape 1\n\n0.5", "line 3"),
    ],
)
def test_what_is_no_tape_is_refused_in_a_sentence(text: str, words: str) -> None:
    with pytest.raises(TapeError, match=words):
        parse_tape(text)


@pytest.mark.parametrize("path", sorted(TAPES.glob("*.tape")), ids=lambda p: p.stem)
def test_every_tape_says_what_evidence_it_is(path: Path) -> None:
    tape = load_tape(path)
    assert tape.head["evidence"] in ("real", "spec", "calc")
    assert tape.head["model"]
    assert list(tape.events) == sorted(tape.events, key=lambda e: e.t_ns)
