"""Questions and answers in lines, with an instrument that is slow and noisy, but in order."""

from __future__ import annotations

import re
from collections import deque

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import drivers.talk
from drivers.errors import Desync, DriverError, Refused, Timeout
from drivers.talk import Talk

REPLY_S = 0.5


class Slow:
    """Answers one question after the other, each after a delay of its own, as real ones do.

    The n-th answer is `V<n>` to V?, `A<n>` to A?, so that it is known whose it is.
    """

    name = "slow"

    def __init__(self, delays_s: list[float], *, noise: bytes = b"", piece: int = 64) -> None:
        self.delays_s, self.noise, self.piece = deque(delays_s), noise, piece
        self.t_ns = self.free_ns = 1_000
        self.asked = 0
        self.arriving: deque[tuple[int, bytes]] = deque()

    def now_ns(self) -> int:
        return self.t_ns

    def write(self, data: bytes) -> None:
        question = data.decode().strip()
        delay_s = self.delays_s.popleft() if self.delays_s else 0.01
        self.free_ns = max(self.free_ns, self.t_ns) + round(delay_s * 1e9)
        self.asked += 1
        answer = "ACME,1,2,3" if question == "*IDN?" else f"{question[0]}{self.asked}"
        raw = self.noise + answer.encode() + b"\r\n"
        for at in range(0, len(raw), self.piece):
            self.arriving.append((self.free_ns + at, raw[at : at + self.piece]))

    def read(self, deadline_ns: int) -> bytes:
        if self.arriving and self.arriving[0][0] <= max(deadline_ns, self.t_ns):
            at_ns, data = self.arriving.popleft()
            self.t_ns = max(self.t_ns, at_ns)
            return data
        self.t_ns = max(self.t_ns, deadline_ns)
        return b""

    def set_baud(self, baud: int) -> None: ...

    def close(self) -> None: ...


def refuse_identity(text: str) -> str | None:
    return None if text.startswith("ACME,") else "no identity"


def refuse_any(text: str) -> str | None:
    """Take any answer, to whichever question: nothing but the order protects."""
    return None if re.fullmatch(r"[VA]\d+", text) else "no value"


def values(line: Slow, count: int) -> list[tuple[str, str]]:
    """Ask V? and A? in turn, resynchronising after failures; return (question, answer)."""
    talk = Talk(line, refuse_identity, reply_s=REPLY_S, now_ns=line.now_ns)
    got = []
    for i in range(count):
        question = "VA"[i % 2] + "?"
        try:
            if talk.again:
                talk.resynchronise()
            got.append((question, talk.ask(question, refuse_any).payload.decode()))
        except DriverError:
            continue
    return got


@settings(deadline=None, max_examples=150)
@given(
    st.lists(st.floats(0.0, 2.95 * REPLY_S), max_size=12),  # the limit that `Talk` states
    st.binary(max_size=12).filter(lambda b: not re.search(rb"[VA0-9,;]", b)),
    st.integers(1, 8),
)
def test_no_answer_is_ever_taken_for_the_other_quantity(
    delays_s: list[float], noise: bytes, piece: int
) -> None:
    line = Slow(delays_s, noise=noise, piece=piece)
    got = values(line, 30)
    assert all(question[0] == answer[0] for question, answer in got)
    assert len(got) >= 30 - len(delays_s) - 2


def test_without_resynchronising_every_later_answer_is_another_ones(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The danger is real: with neither the quiet time nor *IDN?, the order is lost for good."""
    monkeypatch.setattr("drivers.wire.drain", lambda *_args, **_options: True)
    monkeypatch.setattr(drivers.talk.Talk, "resynchronise", lambda self: setattr(self, "again", 0))
    line = Slow([0.01, 0.8, *([0.4] * 20)])
    got = values(line, 12)
    assert any(question[0] != answer[0] for question, answer in got)


def test_what_is_read_back_must_be_what_was_set() -> None:
    line = Slow([])
    talk = Talk(line, refuse_identity, reply_s=REPLY_S, now_ns=line.now_ns)
    talk.resynchronise()
    with pytest.raises(Refused, match=r"Expected V1 as answer to V\?; the meter says V3"):
        talk.agree("", "V?", ("V1",))  # asked twice
    with pytest.raises(Desync, match="Expected 2 answers"):
        talk.fields("V?", 2)
    assert talk.again
    with pytest.raises(Desync, match="Expected 1 numbers"):
        talk.numbers("V?", 1)
    silent = Slow([9.0])
    with pytest.raises(Timeout):
        Talk(silent, refuse_identity, reply_s=REPLY_S, now_ns=silent.now_ns).text("V?")
