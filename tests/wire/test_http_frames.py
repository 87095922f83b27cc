"""HTTP answers of plugs: real ones, framed at any cut, behind garbage; and what JSON lets in."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drivers.emulators.http_plug import respond, take_question
from drivers.errors import DriverError, Implausible, OverRange, Refused
from drivers.http_frames import get, json_of, number_at, parse_response
from drivers.meters import shelly, tasmota
from drivers.meters.shelly import Shelly
from drivers.meters.tasmota import Tasmota, energy_of
from drivers.tape import Replay, load_tape
from drivers.wire import Frame, Need, Skip
from tests.wire.damage import damaged, share_passed

TAPES = Path(__file__).parent.parent / "tapes"


def test_the_real_answers_of_shelly_plugs() -> None:
    expected = [(4.1, 242.5, 0.033, 18.015), (10.7, 120.7, 0.133, 46791.262)]
    with Replay(load_tape(TAPES / "shelly_gen2_published.tape")) as line:
        meter = Shelly(line, now_ns=line.now_ns)
        for power_w, voltage_v, current_a, energy_wh in expected:
            values = meter.read().values
            assert values["power_w"] == power_w
            assert (values["voltage_v"], values["current_a"]) == (voltage_v, current_a)
            assert values["energy_j"] == pytest.approx(energy_wh * 3600)


def test_the_real_answers_of_tasmota_plugs() -> None:
    """The second plug's register is further on: a fall would be a reset."""
    expected = [(26.0, 239.0, 0.106, 0.06, 0.003), (2.0, 230.0, 0.094, 0.08, 41.573)]
    with Replay(load_tape(TAPES / "tasmota_published.tape")) as line:
        meter = Tasmota(line, now_ns=line.now_ns)
        for power_w, voltage_v, current_a, factor, energy_kwh in expected:
            values = meter.read().values
            assert (values["power_w"], values["voltage_v"]) == (power_w, voltage_v)
            assert (values["current_a"], values["power_factor"]) == (current_a, factor)
            assert values["energy_j"] == pytest.approx(energy_kwh * 3.6e6)


def test_questions_and_answers_fit_each_other() -> None:
    question = get("/cm?cmnd=Status%208", "http://10.0.0.9:8080")
    assert b"\r\nHost: 10.0.0.9:8080\r\n" in question
    assert take_question(question + b"GET") == (question, "/cm?cmnd=Status%208", b"GET")
    assert take_question(question[:-1])[0] == b""
    assert take_question(b"\x00\xff" + question)[1] == "/cm?cmnd=Status%208"


@pytest.mark.parametrize("chunk", [None, 1, 7, 1000])
def test_any_cut_gives_the_same_answer(chunk: int | None) -> None:
    answer = respond('{"id":0,"text":"0123456789"}', chunk=chunk)
    for length in range(len(answer)):
        assert isinstance(parse_response(answer[:length]), Need), length
    verdict = parse_response(answer + b"HTTP/1.1")
    assert verdict == Frame(len(answer), b'200{"id":0,"text":"0123456789"}')


@given(st.binary(max_size=200))
def test_garbage_before_an_answer_is_slid_over(garbage: bytes) -> None:
    answer = respond("{}")
    buffer = garbage.replace(b"HTTP/1.", b"") + answer
    if b"HTTP/1." in buffer[: -len(answer)]:
        return
    while isinstance(verdict := parse_response(buffer), Skip):
        buffer = buffer[verdict.count :]
    assert verdict == Frame(len(answer), b"200{}")


@settings(max_examples=300)
@given(
    st.one_of(st.binary(max_size=120), st.binary(max_size=80).map(lambda b: b"HTTP/1.1 200 " + b))
)
def test_any_bytes_get_a_verdict(data: bytes) -> None:
    verdict = parse_response(data)
    if isinstance(verdict, Skip):
        assert 1 <= verdict.count <= len(data)


@pytest.mark.parametrize(
    ("head", "why"),
    [
        ("HTTP/1.1 OK", "status"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 1e3", "how long"),
        ("HTTP/1.1 200 OK\r\nContent-Length: -5", "how long"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 999999999", "how long"),
        ("HTTP/1.1 200 OK", "how long"),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz", "no size"),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffff", "impossible size"),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nabcd", "does not end"),
    ],
)
def test_a_head_that_cannot_be_is_no_answer(head: str, why: str) -> None:
    verdict = parse_response(head.encode() + b"\r\n\r\n")
    assert isinstance(verdict, Skip)
    assert why in verdict.why


@pytest.mark.parametrize(
    ("payload", "kind", "words"),
    [
        (b"401{}", Refused, "asks for a password"),
        (b"500{}", Refused, "HTTP status 500"),
        (b"200", Implausible, "Expected JSON"),
        (b"200[1]", Implausible, "Expected a JSON object"),
        (b'200{"a":NaN}', Implausible, "no number of JSON"),
        (b'200{"a":1', Implausible, "Expected JSON"),
        (b"200" + b"[" * 100_000, Implausible, "Expected JSON"),
        (b"200\xff\xfe", Implausible, "Expected JSON"),
    ],
)
def test_what_is_no_answer_is_one_sentence(
    payload: bytes, kind: type[DriverError], words: str
) -> None:
    with pytest.raises(kind, match=words) as caught:
        json_of(payload)
    assert "\n" not in str(caught.value)


def test_a_number_is_a_number_and_nothing_else() -> None:
    answer = json_of(b'200{"a":{"b":1.50,"c":"1","d":true,"e":null,"f":1e999}}')
    assert number_at(answer, "a", "b") == 1.5
    for path in (("a", "d"), ("a", "e"), ("a", "f"), ("a",), ("x",), ("a", "b", "c")):
        with pytest.raises(Implausible, match="Expected a number for"):
            number_at(answer, *path)


STATUS = {"id": "0", "apower": "4.1", "voltage": "242.5", "current": "0.033",
          "aenergy": {"total": "18.015"}}  # fmt: skip


@pytest.mark.parametrize(
    ("change", "kind", "words"),
    [
        ({"id": "1"}, Implausible, "component 0; got '1'"),
        ({"apower": None}, Implausible, "a number for apower"),
        ({"aenergy": {}}, Implausible, "a number for aenergy.total"),
        ({"voltage": "0.0"}, Implausible, "voltage_v from 80 to 300"),
        ({"apower": "41.0"}, Implausible, "8.0 VA"),
        ({"errors": ["overpower"]}, OverRange, "overpower"),
        ({"errors": ["out_of_range:current", "overtemp"]}, OverRange, "out_of_range:current;"),
        ({"errors": ["out_of_range:apower", "power_meter_failure"]}, Implausible, "cannot be used"),
        ({"errors": ["a word of a later firmware"]}, Implausible, "later firmware"),
        ({"errors": "overvoltage"}, OverRange, "overvoltage"),
    ],
)
def test_a_shelly_that_says_the_impossible(
    change: dict[str, object], kind: type[DriverError], words: str
) -> None:
    assert shelly.decode(STATUS)["power_w"] == 4.1
    assert shelly.decode({**STATUS, "errors": ["overtemp", "undervoltage"]})["power_w"] == 4.1
    with pytest.raises(kind, match=words):
        shelly.decode({**STATUS, **change})


@pytest.mark.parametrize(
    ("body", "kind", "words"),
    [
        (b'{"WARNING":"Need user=<username>&password=<password>"}', Refused, "password"),
        (b'{"StatusSNS":{"Time":"2020-01-01T00:00:00"}}', Implausible, "with ENERGY"),
        (b'{"Command":"Unknown"}', Implausible, "got Command"),
        (b'{"StatusSNS":{"ENERGY":{"Power":[1]}}}', Implausible, "outlet 2 of Power; there are 1"),
    ],
)
def test_a_tasmota_without_energy(body: bytes, kind: type[DriverError], words: str) -> None:
    with pytest.raises(kind, match=words):
        energy_of(json_of(b"200" + body), 2)


@pytest.mark.parametrize(("module", "most"), [(shelly, 0.003), (tasmota, 0.003)])
def test_the_share_of_corrupted_bytes_that_come_through_does_not_grow(
    module: object, most: float
) -> None:
    """One byte of the whole answer replaced; TCP's own checksum is not asked."""
    share = share_passed(module.FORMATS["status"], damaged(1), 4000)  # type: ignore[attr-defined]
    assert 0.0 < share <= most
