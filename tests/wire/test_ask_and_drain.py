"""The loop that asks and finds its way back, on a clock that moves only when somebody waits."""

from __future__ import annotations

import itertools
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import drivers.wire
from drivers.errors import Checksum, Desync, Timeout
from drivers.modbus import framed, parse_answer, read_request
from drivers.wire import Answer, ask, drain, quiet_s

QUESTION = read_request(1, 4, 0, 1)
PARSE = partial(parse_answer, address=1, function=4, count=1)


def answer_with(value: int) -> bytes:
    return framed(bytes((1, 4, 2)) + value.to_bytes(2, "big"))


class Line:
    """A line whose far end answers the n-th question with prepared pieces at prepared delays."""

    name = "line"

    def __init__(self, *answers: list[tuple[float, bytes]]) -> None:
        self.answers = list(answers)
        self.arriving: list[tuple[int, bytes]] = []
        self.written: list[tuple[int, bytes]] = []
        self.t_ns = 1_000

    def now_ns(self) -> int:
        return self.t_ns

    def write(self, data: bytes) -> None:
        self.written.append((self.t_ns, data))
        pieces = self.answers.pop(0) if self.answers else []
        self.arriving += [(self.t_ns + round(d * 1e9), p) for d, p in pieces]
        self.arriving.sort(key=lambda piece: piece[0])

    def read(self, deadline_ns: int) -> bytes:
        if self.arriving and self.arriving[0][0] <= max(deadline_ns, self.t_ns):
            t_ns, data = self.arriving.pop(0)
            self.t_ns = max(self.t_ns, t_ns)
            return data
        self.t_ns = max(self.t_ns, deadline_ns)
        return b""

    def set_baud(self, baud: int) -> None:
        raise AssertionError

    def close(self) -> None:
        raise AssertionError

    def ask(self, reply_s: float = 0.3) -> Answer:
        return ask(self, QUESTION, PARSE, reply_s=reply_s, now_ns=self.now_ns)


def value_of(answer: Answer) -> int:
    return int.from_bytes(answer.payload[2:], "big")


def test_the_instants_are_those_of_the_question_and_of_the_last_byte() -> None:
    frame = answer_with(7)
    line = Line([(0.01, frame[:3]), (0.05, frame[3:])])
    answer = line.ask()
    assert value_of(answer) == 7
    assert answer.t_request_ns == 1_000
    assert answer.t_reply_ns == 1_000 + 50_000_000


def test_a_late_answer_is_never_taken_for_the_next_one() -> None:
    line = Line([(0.5, answer_with(1))], [(0.25, answer_with(2))])
    with pytest.raises(Timeout):
        line.ask()
    assert value_of(line.ask()) == 2


def test_without_the_quiet_time_it_would_be_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """The danger is real: this is what the test above protects from."""
    monkeypatch.setattr(drivers.wire, "drain", lambda *_args, **_options: True)
    line = Line([(0.5, answer_with(1))], [(0.25, answer_with(2))])
    with pytest.raises(Timeout):
        line.ask()
    assert value_of(line.ask()) == 1  # the stale one


@settings(deadline=None)
@given(st.floats(0.301, 0.89), st.floats(0.0, 0.29))
def test_no_lateness_up_to_the_quiet_time_gives_a_stale_value(late_s: float, next_s: float) -> None:
    line = Line([(late_s, answer_with(1))], [(next_s, answer_with(2))])
    with pytest.raises(Timeout):
        line.ask()
    assert value_of(line.ask()) == 2


def test_an_answer_that_came_between_two_questions_is_thrown_away() -> None:
    line = Line([(0.05, answer_with(1) + answer_with(1))], [(0.05, answer_with(2))])
    assert value_of(line.ask()) == 1
    line.arriving.append((line.t_ns + 1_000_000, answer_with(1)))
    line.t_ns += 10_000_000
    assert value_of(line.ask()) == 2


def test_after_a_wrong_checksum_nothing_is_asked_until_the_line_is_quiet() -> None:
    damaged = answer_with(1)[:-1] + b"\xff"
    line = Line([(0.05, damaged), (0.4, answer_with(1)), (0.9, b"\x00")], [(0.05, answer_with(2))])
    with pytest.raises(Checksum, match="checksum is 0x"):
        line.ask()
    assert line.t_ns >= 1_000 + round((0.9 + quiet_s(0.3)) * 1e9)
    assert value_of(line.ask()) == 2


def test_the_quiet_time_is_twice_the_worst_answer_and_at_least_a_quarter_second() -> None:
    assert quiet_s(0.3) == 0.6
    assert quiet_s(0.05) == 0.25


def test_silence_and_a_torn_answer_are_timeouts() -> None:
    with pytest.raises(Timeout, match="no answer within"):
        Line().ask()
    with pytest.raises(Timeout, match="broke off after 4 bytes"):
        Line([(0.01, answer_with(1)[:4])]).ask()


def test_bytes_that_are_no_answer_are_a_desync() -> None:
    with pytest.raises(Desync, match="got 6 bytes that are none"):
        Line([(0.01, b"\x55" * 6)]).ask()


def test_a_line_that_never_goes_quiet_is_given_up() -> None:
    line = Line([(0.01 * i, b"\x55") for i in range(2_000)])
    with pytest.raises(Desync, match="never goes quiet"):
        line.ask()
    assert line.t_ns < 10e9


@settings(deadline=None)
@given(st.binary(max_size=30), st.lists(st.integers(1, 40), max_size=12), st.integers(0, 65535))
def test_noise_and_any_chunking_give_the_same_answer(
    noise: bytes, cuts: list[int], value: int
) -> None:
    data = noise + answer_with(value)
    edges = sorted({0, len(data), *(c for c in cuts if c < len(data))})
    pieces = [(0.005 * i, data[a:b]) for i, (a, b) in enumerate(itertools.pairwise(edges))]
    assert value_of(Line(pieces).ask()) == value


def test_draining_counts_the_quiet_from_the_last_byte() -> None:
    line = Line()
    line.arriving = [(1_000 + 200_000_000 * i, b"x") for i in range(4)]
    assert drain(line, 0.25, now_ns=line.now_ns)
    assert line.t_ns == 1_000 + 600_000_000 + 250_000_000
