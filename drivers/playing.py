"""A tape as a meter on a pseudo-terminal: for trying any program on what a real meter once said.

A question that stands on the tape gets the answer that stands behind it, with its delays; the next
one in order if the same question comes several times, and after the last the first again. What a
meter says by itself follows its own clock from the question before. Bytes that begin no question
of the tape get no answer, as from a meter that does not understand them, and are counted.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from .emulators.port import PtyPort
from .tape import Event, Tape, TapeError

__all__ = ["Exchange", "Player", "TapeServer", "exchanges"]

_TICK_S: Final = 0.01
_GIVE_UP_S: Final = 0.5


@dataclass(frozen=True, slots=True)
class Exchange:
    """A question and what came back: (delay in ns, bytes); no bytes means that the port vanished.

    The question is empty for what a meter said before it was asked anything.
    """

    question: bytes
    answer: tuple[tuple[int, bytes], ...]


def exchanges(tape: Tape) -> tuple[Exchange, ...]:
    """Cut a tape into questions and answers; changes of speed are left out."""
    found: list[tuple[Event, list[tuple[int, bytes]]]] = [(Event(0, ">"), [])]
    for event in tape.events:
        if event.kind == ">":
            found.append((event, []))
        elif event.kind in "<!":
            begin, answer = found[-1]
            answer.append((event.t_ns - begin.t_ns, event.data))
    return tuple(Exchange(e.data, tuple(answer)) for e, answer in found if e.data or answer)


class Player:
    """Answers from a tape, without a port: `hear` what the client wrote, `due` is to be sent."""

    def __init__(self, tape: Sequence[Exchange]) -> None:
        self._tape = tape
        self._next = 0
        self._buffer = b""
        self._heard_ns = 0
        self._pending: deque[tuple[int, bytes]] = deque()
        self.answered = 0
        self.unknown = 0

    def begin(self, t_ns: int) -> None:
        """Let the client arrive at `t_ns` (monotonic); what the meter says unasked begins."""
        for number, exchange in enumerate(self._tape):
            if not exchange.question:
                self._play(number, t_ns)

    def hear(self, data: bytes, t_ns: int) -> None:
        """Take what the client wrote at `t_ns`."""
        if data:
            self._heard_ns = t_ns
        elif t_ns - self._heard_ns < _GIVE_UP_S * 1e9:
            return
        else:  # half a question, and nothing more came
            self.unknown += len(self._buffer)
            self._buffer = b""
            return
        self._buffer += data
        while self._buffer:
            order = [*range(self._next, len(self._tape)), *range(self._next)]
            asked = [i for i in order if self._tape[i].question]
            whole = [i for i in asked if self._buffer.startswith(self._tape[i].question)]
            if whole:
                self._buffer = self._buffer[len(self._tape[whole[0]].question) :]
                self._play(whole[0], t_ns)
                self.answered += 1
            elif any(self._tape[i].question.startswith(self._buffer) for i in asked):
                return
            else:
                self._buffer = self._buffer[1:]
                self.unknown += 1

    def due(self, t_ns: int) -> list[bytes]:
        """Return what is to be sent by `t_ns`, in pieces; an empty one: the port vanishes."""
        out = list[bytes]()
        while self._pending and self._pending[0][0] <= t_ns:
            out.append(self._pending.popleft()[1])
        return out

    def _play(self, number: int, t_ns: int) -> None:
        self._pending = deque((t_ns + delay, data) for delay, data in self._tape[number].answer)
        self._next = (number + 1) % len(self._tape)


class TapeServer:
    """A tape behind a pty, served by a thread; a context manager. `path` is what a client opens."""

    def __init__(
        self,
        tape: Tape,
        *,
        link: Path | None = None,
        now_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        played = exchanges(tape)
        if not played:
            raise TapeError("The tape is empty; there is nothing to replay.")
        self.player = Player(played)
        self._port = PtyPort(link)
        self.path = str(self._port.path)
        self._now_ns = now_ns
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="tape", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop serving and take the port away."""
        self._stop.set()
        self._thread.join()
        self._port.close()

    def __enter__(self) -> TapeServer:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _serve(self) -> None:
        self.player.begin(self._now_ns())
        back_ns: int | None = None
        while not self._stop.is_set():
            data = self._port.read(_TICK_S / 10)
            now_ns = self._now_ns()
            self.player.hear(data, now_ns)
            for piece in self.player.due(now_ns):
                if piece:
                    self._port.write(piece)
                else:
                    self._port.unplug()
                    back_ns = now_ns + 1_000_000_000
            if back_ns is not None and now_ns >= back_ns:
                self._port.plug()
                back_ns = None
