"""What emulated plugs that speak HTTP share: questions out of bytes, answers into bytes, a port.

Written from RFC 9112, without the driver's parser. A plug answers on TCP only, at
`http://127.0.0.1:PORT`.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from .faults import Damage, FaultPlan
from .served import Device, Link, PtyServer, Responder
from .tcp import SCHEME, TcpPort

__all__ = ["HTTP_FAULTS", "HttpPlugServer", "respond", "take_question"]

_MOST_HEAD: Final = 4096
_REASONS: Final = {200: "OK", 401: "Unauthorized", 404: "Not Found", 500: "Internal Server Error"}


def take_question(buffer: bytes) -> tuple[bytes, str, bytes]:
    """Split (question, path, rest) off the bytes received; no question: more are needed."""
    end = buffer.find(b"\r\n\r\n")
    if end < 0:
        return b"", "", buffer[-_MOST_HEAD:]
    begin = max(buffer.rfind(b"GET ", 0, end), 0)
    question, rest = buffer[begin : end + 4], buffer[end + 4 :]
    words = question.split(b"\r\n")[0].split(b" ")
    return question, words[1].decode("ascii", "replace") if len(words) == 3 else "", rest


def respond(body: str, status: int = 200, *, chunk: int | None = None) -> bytes:
    """Return an answer with this body; in chunks of so many bytes, or with its length."""
    head = f"HTTP/1.1 {status} {_REASONS[status]}\r\nContent-Type: application/json\r\n"
    data = body.encode("ascii")
    if chunk is None:
        return f"{head}Content-Length: {len(data)}\r\nConnection: close\r\n\r\n".encode() + data
    pieces = [data[i : i + chunk] for i in range(0, len(data), chunk)]
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(p), p) for p in pieces)
    return f"{head}Transfer-Encoding: chunked\r\n\r\n".encode() + chunks + b"0\r\n\r\n"


def _fail(_chance: random.Random, _question: bytes, _answer: bytes) -> bytes:
    return respond('{"code":-114,"message":"Method failed"}', 500)


HTTP_FAULTS: Final[Mapping[str, Damage]] = {"exception": _fail}


class HttpPlugServer(PtyServer):
    """A plug on a TCP port; `path` is what a client opens, `http://127.0.0.1:PORT`."""

    device: Callable[..., Device]

    def __init__(
        self,
        power_w: Callable[[float], float] | float,
        *,
        link: Link = None,
        faults: FaultPlan | None = None,
        reply_delay_s: float = 0.0,
        now_ns: Callable[[], int] = time.monotonic_ns,
        **options: Any,
    ) -> None:
        where = f"{SCHEME}127.0.0.1:0" if link is None else str(link).replace("http://", SCHEME)
        if not where.startswith(SCHEME):
            raise ValueError(f"A plug answers at http://127.0.0.1:PORT only; got {where!r}.")
        self.faults = faults or FaultPlan()
        self.instrument = type(self).device(power_w, **options)
        responder = Responder(self.instrument, self.faults)
        super().__init__(responder, where, reply_delay_s=reply_delay_s, now_ns=now_ns)
        if isinstance(self._port, TcpPort):
            self._port.newest_wins = True
        self.path = self.path.replace(SCHEME, "http://")
