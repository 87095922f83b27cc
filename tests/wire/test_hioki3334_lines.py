"""The lines of a Hioki 3334: what its users' programs read, what cannot be, corrupted bytes."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from drivers.errors import DriverError, Implausible, OverRange
from drivers.meters.hioki3334 import Hioki3334, decode, refuse_identity, refuse_values
from drivers.scpi import parse_line
from drivers.tape import Replay, load_tape
from drivers.wire import Frame

TAPES = Path(__file__).parent.parent / "tapes"
LINE = "V +230.12E+0;A +1.5713E+0;W +345.00E+0;PF +0.9541E+0"


def test_a_whole_computed_conversation() -> None:
    with Replay(load_tape(TAPES / "hioki3334_computed.tape")) as line:
        meter = Hioki3334(line, now_ns=line.now_ns)
        assert meter.identify()["identity"] == "3334"
        powers = [meter.read().values["power_w"] for _ in range(3)]
        meter.close()
    assert powers == pytest.approx([352.5, 357.5, 362.5], abs=0.6)


def test_values() -> None:
    assert refuse_values(LINE) is None
    assert decode(LINE, 300.0, 3.0) == {
        "voltage_v": 230.12,
        "current_a": 1.5713,
        "power_w": 345.0,
        "power_factor": 0.9541,
    }


@pytest.mark.parametrize(
    "line",
    [
        ":VOLTAGE:RANGE 300;AUTO OFF",
        "+230.12E+0;+1.5713E+0;+345.00E+0;+0.9541E+0",  # headers off
        LINE + ";000",  # a confirmation behind
        LINE + ";WH +1.0000E+0",
        LINE.replace("PF", "VA"),
        LINE.replace("V +230.12E+0", "V 230,12"),
        "V +230.12E+0;A +1.5713E+0;W +345.00E+0",
    ],
)
def test_another_line_is_no_answer(line: str) -> None:
    assert refuse_values(line) is not None


@pytest.mark.parametrize(
    ("line", "error", "words"),
    [
        (LINE.replace("+1.5713E+0", "+999.99E+9"), OverRange, "Widen"),
        (LINE.replace("+1.5713E+0", "-999.99E+9"), OverRange, "Widen"),
        (LINE.replace("345", "245"), Implausible, "not voltage times current"),
        (LINE.replace("230.12", "30.12"), Implausible, "five digits"),
        (LINE.replace("230.12", "930.12"), Implausible, "not measurable"),
        (LINE.replace("0.9541", "1.9541"), Implausible, "not measurable"),
        (LINE.replace("+1.5713E+0", "NAN"), Implausible, "a number"),
    ],
)
def test_a_value_that_cannot_be_is_a_fault(line: str, error: type[DriverError], words: str) -> None:
    assert refuse_values(line) is None
    with pytest.raises(error, match=words):
        decode(line, 300.0, 3.0)


def test_who_it_is() -> None:
    assert refuse_identity("HIOKI,3334,0,V1.00") is None
    assert refuse_identity("YOKOGAWA,WT310E,X,F1.04") is not None


def test_how_many_corrupted_bytes_go_unnoticed() -> None:
    """The figures of the driver's docstring; they may only shrink."""
    parse, true = partial(parse_line, refuse=refuse_values), decode(LINE, 300.0, 3.0)
    accepted = tries = 0
    worst_w = 0.0
    for at in range(len(LINE)):
        for byte in range(256):
            if byte == ord(LINE[at]):
                continue
            tries += 1
            if not 32 <= byte < 127 and byte != 10:
                continue  # no text: `parse_line` cuts the line there
            verdict = parse(LINE[:at].encode() + bytes((byte,)) + LINE[at + 1 :].encode() + b"\r\n")
            if not isinstance(verdict, Frame):
                continue
            try:
                values = decode(verdict.payload.decode(), 300.0, 3.0)
            except DriverError:
                continue
            accepted += values != true
            worst_w = max(worst_w, abs(values["power_w"] - true["power_w"]))
    assert (accepted <= 13, tries, worst_w <= 0.031) == (True, 13_260, True)
