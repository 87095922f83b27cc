"""The three verdicts of a parser, and the one loop that asks, listens and finds its way back.

A parser is a pure function: it looks at the bytes received so far and says one of

    Need()              these may be the beginning of a frame; wait for more
    Skip(n, why)        the first n bytes are certainly no frame; here is why
    Frame(n, payload)   the first n bytes are a frame, and this is what it carries

and it says so for *any* bytes: it never raises. So it can be tried on every hostile input
without a port, and the same loop serves every instrument that answers when asked.

A late answer is the danger. Where answers carry no number (Modbus RTU, most text protocols) an
answer that comes after its deadline looks exactly like the answer to the next question. So after
*any* failure the loop listens, and asks nothing, until the line has been quiet for twice the
longest time that an answer may take (never less than 0.25 s).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from .errors import Checksum, Desync, FrameError, Timeout, Transient
from .transport import Transport

__all__ = ["Answer", "Frame", "Need", "Parser", "Skip", "Verdict", "ask", "drain", "quiet_s"]

_LEAST_QUIET_S = 0.25
_MOST_QUIETS = 10


@dataclass(frozen=True, slots=True)
class Need:
    """The bytes may be the beginning of a frame; more are needed to tell."""


@dataclass(frozen=True, slots=True)
class Skip:
    """The first `count` (at least one) bytes are certainly no frame, because of `why`."""

    count: int
    why: str
    error: type[FrameError] = Desync


@dataclass(frozen=True, slots=True)
class Frame:
    """The first `length` bytes are a whole frame; `payload` is what it carries."""

    length: int
    payload: bytes


Verdict: TypeAlias = Need | Skip | Frame
Parser: TypeAlias = Callable[[bytes], Verdict]


@dataclass(frozen=True, slots=True)
class Answer:
    """A frame, and the two instants (monotonic ns) between which its content was true."""

    payload: bytes
    t_request_ns: int
    t_reply_ns: int


def quiet_s(reply_s: float) -> float:
    """Return how long a line must be quiet until no late answer can come, in seconds."""
    return max(_LEAST_QUIET_S, 2 * reply_s)


def ask(
    transport: Transport,
    request: bytes,
    parse: Parser,
    *,
    reply_s: float,
    now_ns: Callable[[], int] = time.monotonic_ns,
) -> Answer:
    """Send `request` and return its answer, which must be whole within `reply_s` seconds.

    Raises:
        Timeout: nothing, or only part of a frame, came in time.
        Checksum: what came looks like the answer, but its checksum does not fit.
        Desync: what came is no answer, or the line does not go quiet.
        Gone: the port has vanished.

    """
    # An answer nobody waits for any more must not meet the next question.
    if not drain(transport, 0.0, limit_s=reply_s, now_ns=now_ns):
        raise _babble(transport)
    t_request_ns = now_ns()
    transport.write(request)
    deadline_ns = t_request_ns + round(reply_s * 1e9)
    buffer, skips = b"", list[Skip]()
    while chunk := transport.read(deadline_ns):
        t_reply_ns = now_ns()  # before anything else is done with the bytes
        buffer, frame = _first_frame(buffer + chunk, parse, skips)
        if frame is not None:
            return Answer(frame.payload, t_request_ns, t_reply_ns)
        if t_reply_ns >= deadline_ns:
            break  # a line that babbles never lets `read` return empty-handed
    failure = _failure(transport, len(buffer), skips, reply_s)
    if not drain(transport, quiet_s(reply_s), now_ns=now_ns):
        raise _babble(transport)
    raise failure


def drain(
    transport: Transport,
    quiet_s: float,
    *,
    limit_s: float | None = None,
    now_ns: Callable[[], int] = time.monotonic_ns,
) -> bool:
    """Throw bytes away until the line has been quiet for `quiet_s`; False if it never was.

    `limit_s` is how long to go on trying, by default ten times `quiet_s`.
    """
    now = now_ns()
    give_up_ns = now + round((_MOST_QUIETS * quiet_s if limit_s is None else limit_s) * 1e9)
    while transport.read(now + round(quiet_s * 1e9)):
        now = now_ns()
        if now >= give_up_ns:
            return False
    return True


def _first_frame(buffer: bytes, parse: Parser, skips: list[Skip]) -> tuple[bytes, Frame | None]:
    """Slide over what is no frame; return the bytes that are left, and the frame if there is one.

    What was slid over is appended to `skips`.
    """
    while True:
        verdict = parse(buffer)
        if isinstance(verdict, Need):
            return buffer, None
        if isinstance(verdict, Frame):
            return buffer[verdict.length :], verdict
        skips.append(verdict)
        buffer = buffer[verdict.count :]


def _babble(transport: Transport) -> Desync:
    return Desync(f"{transport.name} never goes quiet; is another device talking on the line?")


def _failure(transport: Transport, pending: int, skips: list[Skip], reply_s: float) -> Transient:
    """Say in one sentence why there is no answer."""
    skipped = sum(s.count for s in skips)
    for skip in skips:
        if issubclass(skip.error, Checksum):
            return skip.error(f"{transport.name}: expected an answer, but {skip.why}.")
    if skips:
        return Desync(
            f"{transport.name}: expected an answer within {reply_s:g} s; got {skipped + pending} "
            f"bytes that are none ({skips[0].why})."
        )
    if pending:
        return Timeout(
            f"{transport.name}: the answer broke off after {pending} bytes; check the wiring."
        )
    return Timeout(
        f"{transport.name}: no answer within {reply_s:g} s; check power, wiring, speed and address."
    )
