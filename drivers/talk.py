"""Questions and answers in lines, and how both sides find back to the same question.

An instrument that answers in the order of the questions, without numbering its answers, shifts
every later answer by one once a single answer came too late. So after any failure, and before the
next question, the instrument is asked who it is: that answer is recognisable, and whatever comes
before it belongs to the past. That holds for answers that take up to three times `reply_s`: one
that outlives even the quiet time after a failure may meet its own question, asked again. Source of
the danger: the ranging log of a WT310E in
mlcommons/inference_results_v2.0@425a0d3, where the answer to a query of ranges was taken for data.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Final

from .errors import Desync, Refused, Transient
from .scpi import Number, number, parse_line, same_words, units
from .transport import Transport
from .wire import Answer, Parser, ask

__all__ = ["Talk"]

_IDENTITY: Final = "*IDN?"


class Talk:
    """A conversation in lines with one instrument.

    `refuse_identity` says why a line is not the instrument's answer to `*IDN?`, or None.
    `again` is True after a failure until `resynchronise` has succeeded.
    """

    def __init__(
        self,
        transport: Transport,
        refuse_identity: Callable[[str], str | None],
        *,
        reply_s: float,
        end: bytes = b"\n",
        now_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._transport, self._refuse_identity = transport, refuse_identity
        self._reply_s, self._end, self._now_ns = reply_s, end, now_ns
        self.again = True  # nobody knows what the instrument was asked before

    def tell(self, command: str) -> None:
        """Send what has no answer."""
        self._transport.write(command.encode("ascii") + self._end)

    def ask(
        self, question: str, refuse: Callable[[str], str | None], *, longer_s: float = 0.0
    ) -> Answer:
        """Ask, and return the first line that is not refused; as `exchange` otherwise."""
        return self.exchange(question, partial(parse_line, refuse=refuse), longer_s=longer_s)

    def exchange(self, question: str, parse: Parser, *, longer_s: float = 0.0) -> Answer:
        """Ask, and return the first frame that comes.

        `longer_s` is how much longer than usual this answer may take, in seconds.

        Raises:
            Timeout, Desync: there was none in time; the next question needs `resynchronise`.

        """
        try:
            return ask(
                self._transport,
                question.encode("ascii") + self._end,
                parse,
                reply_s=self._reply_s + longer_s,
                now_ns=self._now_ns,
            )
        except Transient:
            self.again = True
            raise

    def text(self, question: str) -> str:
        """Ask something whose answer is any text but the echo of the question, and return it."""

        def refuse(text: str) -> str | None:
            if not text:
                return "the line is empty"
            return "the question came back" if question.endswith(text) else None

        return self.ask(question, refuse).payload.decode("ascii")

    def fields(self, question: str, count: int) -> tuple[str, ...]:
        """Ask `count` queries in one line and return their answers, without their headers.

        Raises:
            Desync: there came more or fewer.

        """
        reply = self.text(question)
        found = tuple(",".join(unit.fields) for unit in units(reply))
        if len(found) != count:
            self.again = True
            raise Desync(f"Expected {count} answers to {question}; got {reply!r}.")
        return found

    def numbers(self, question: str, count: int) -> tuple[float, ...]:
        """Ask `count` queries in one line and return their answers as numbers.

        Raises:
            Desync: there came something else.

        """
        found = [number(field) for field in self.fields(question, count)]
        good = tuple(f.value for f in found if isinstance(f, Number))
        if len(good) != count:
            self.again = True
            raise Desync(f"Expected {count} numbers in answer to {question}; got {found}.")
        return good

    def agree(self, set_to: str, question: str, wanted: tuple[str, ...]) -> None:
        """Send the commands `set_to` and, in the same line, the queries that read them back.

        Another answer than `wanted` (numbers and words are compared as such) is asked for once
        more: it may be a damaged one.

        Raises:
            Refused: what was read back is not `wanted`.

        """
        for _ in range(2):
            found = self.fields(set_to + question, len(wanted))
            if all(map(_same, found, wanted)):
                return
        raise Refused(
            f"Expected {' '.join(wanted)} as answer to {question}; the meter says "
            f"{' '.join(found)}."
        )

    def resynchronise(self) -> str:
        """Ask for the identity until it comes, and return it.

        Raises:
            Timeout, Desync: it does not come.

        """
        identity = self.ask(_IDENTITY, self._refuse_identity).payload.decode("ascii")
        self.again = False
        return identity


def _same(found: str, wanted: str) -> bool:
    """Whether a setting was read back as wanted: equal as numbers, or as words in either form."""
    if found == wanted:
        return True
    one, other = number(found), number(wanted)
    if isinstance(one, Number) and isinstance(other, Number):
        return abs(one.value - other.value) <= 1e-6 * abs(other.value)
    return same_words(found, wanted)
