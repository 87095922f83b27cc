"""A short `make fuzz`, every case that once failed, and planted mistakes that it must find."""

from __future__ import annotations

import pytest

from drivers.errors import Checksum
from drivers.formats import Format, Stream
from drivers.meters.pzem004t import FORMATS
from drivers.wire import Frame, Need, Skip, Verdict
from tests.wire.fuzz import check, corpus, formats, fuzz, shrunk

AMOUNT = 200_000


@pytest.mark.parametrize("name", formats())
def test_no_bytes_break_a_format(name: str) -> None:
    tally = fuzz(name, formats()[name], AMOUNT)
    assert tally.failures == []
    assert tally.bytes >= AMOUNT


@pytest.mark.parametrize("name", formats())
def test_the_examples_are_what_they_say(name: str) -> None:
    form = formats()[name]
    assert form.examples
    if isinstance(form, Format):
        for example in form.examples:
            verdict = form.parse(example)
            assert isinstance(verdict, Frame), example
            assert verdict.length == len(example)


def test_what_once_failed_holds() -> None:
    known = formats()
    for name, path in corpus():
        check(known[name], path.read_bytes(), ())


GOOD = FORMATS["measurements"]


def without_checksum(buffer: bytes) -> Verdict:
    verdict = GOOD.parse(buffer)
    if isinstance(verdict, Skip) and verdict.error is Checksum:
        return Frame(25, buffer[1:23])
    return verdict


def raises(buffer: bytes) -> Verdict:
    if buffer[2:3] == b"\x13":
        raise IndexError("planted")
    return GOOD.parse(buffer)


def stands_still(buffer: bytes) -> Verdict:
    verdict = GOOD.parse(buffer)
    return Skip(0, "planted") if isinstance(verdict, Skip) and buffer[0] == 7 else verdict


def waits(buffer: bytes) -> Verdict:
    return Need() if buffer[:1] == b"\x00" else GOOD.parse(buffer)


def greedy(buffer: bytes) -> Verdict:
    verdict = GOOD.parse(buffer)
    return Frame(len(buffer), buffer) if isinstance(verdict, Frame) else verdict


@pytest.mark.parametrize(
    ("parse", "words"),
    [
        (without_checksum, "it accepts"),
        (raises, "IndexError: planted"),
        (stands_still, "it takes 0 of"),
        (waits, "it waits for more for ever"),
        (greedy, "the frames depend on how the bytes are cut"),
    ],
)
def test_a_planted_mistake_is_found(parse: object, words: str) -> None:
    bad = Format(parse, GOOD.examples, checked=True, decode=GOOD.decode)  # type: ignore[arg-type]
    tally = fuzz("planted", bad, AMOUNT)
    assert [why for why, _ in tally.failures if words in why]


def test_a_failing_case_is_cut_down() -> None:
    bad = Format(raises, GOOD.examples, checked=True, decode=GOOD.decode)
    tally = fuzz("planted", bad, AMOUNT)
    (_, data), *_ = tally.failures
    assert len(shrunk(bad, data)) <= 3 < len(data)


class Hoarder:
    """Keeps everything."""

    def __init__(self) -> None:
        self.pending = 0

    def feed(self, data: bytes) -> None:
        self.pending += 100 * len(data)


def test_a_decoder_that_keeps_everything_is_found() -> None:
    tally = fuzz("planted", Stream(Hoarder, GOOD.examples), AMOUNT)
    assert "it keeps bytes for ever" in tally.failures[0][0]
