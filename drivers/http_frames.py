"""HTTP/1.1 as far as asking a plug needs it: one GET, one answer; pure functions of bytes.

    question  GET /path HTTP/1.1 | Host: ... | Connection: close | empty line
    answer    HTTP/1.1 200 OK | Content-Length: n, or Transfer-Encoding: chunked | empty line | body

Source: RFC 9112, sections 2.1 (message), 4 (status line), 6.1 to 6.3 (length of the body) and 7.1
(chunks). An answer whose end only the end of the connection marks is not accepted: it could not
be told from one that broke off.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlsplit

from .errors import Implausible, Refused
from .wire import Frame, Need, Skip, Verdict

__all__ = ["get", "json_of", "number_at", "parse_response"]

_BEGIN: Final = b"HTTP/1."
_MOST_HEAD: Final = 8192
_MOST_BODY: Final = 65_536


def get(path: str, name: str = "") -> bytes:
    """Return the question for `path`; `name` is the transport's, for example http://10.0.0.9."""
    host = urlsplit(name).netloc if name.startswith("http://") else "meter"
    return (
        f"GET {path} HTTP/1.1\r\nHost: {host}\r\nAccept: application/json\r\n"
        "Connection: close\r\n\r\n"
    ).encode("ascii")


def parse_response(buffer: bytes) -> Verdict:
    """Judge the beginning of `buffer` as an answer; the payload is its status, then its body."""
    if not buffer.startswith(_BEGIN[: len(buffer)]):
        begin = buffer.find(_BEGIN[:1], 1)
        return Skip(len(buffer) if begin < 0 else begin, "it is no answer of HTTP/1.1")
    end = buffer.find(b"\r\n\r\n")
    if end < 0:
        return Need() if len(buffer) <= _MOST_HEAD else Skip(1, "its head never ends")
    status_line, *lines = buffer[:end].split(b"\r\n")
    words = status_line.split(b" ", 2)
    if len(words) < 2 or len(words[1]) != 3 or not words[1].isdigit():
        return Skip(1, "its first line has no status")
    headers = {}
    for line in lines:
        key, _, value = line.partition(b":")
        headers[key.strip().lower()] = value.strip().lower()
    start = end + 4
    if headers.get(b"transfer-encoding") == b"chunked":
        return _chunks(buffer, start, words[1])
    length = headers.get(b"content-length", b"")
    if not length.isdigit() or len(length) > 6 or int(length) > _MOST_BODY:
        return Skip(1, "its head does not say how long it is")
    stop = start + int(length)
    return Frame(stop, words[1] + buffer[start:stop]) if len(buffer) >= stop else Need()


def _chunks(buffer: bytes, at: int, status: bytes) -> Verdict:
    """Put the chunks of a body together; trailers are not expected."""
    body = b""
    while len(body) <= _MOST_BODY:
        line_end = buffer.find(b"\r\n", at)
        if line_end < 0:
            return Need() if len(buffer) - at <= 32 else Skip(1, "a chunk has no size")
        try:
            size = int(buffer[at:line_end].split(b";")[0], 16)
        except ValueError:
            return Skip(1, "a chunk has no size")
        if not 0 <= size <= _MOST_BODY:
            return Skip(1, "a chunk has an impossible size")
        start = line_end + 2
        at = start + size + 2
        if len(buffer) < at:
            return Need()
        if buffer[at - 2 : at] != b"\r\n":
            return Skip(1, "a chunk does not end where it says")
        if size == 0:
            return Frame(at, status + body)
        body += buffer[start : start + size]
    return Skip(1, "it is too long")


def json_of(payload: bytes) -> dict[str, Any]:
    """Return the JSON object of an answer; every number in it as its text (`str`).

    So the caller sees how many decimals were printed, and no text becomes NaN or infinity.

    Raises:
        Refused: the status is not 200; the message says what it means.
        Implausible: the body is no JSON object.

    """
    status, body = payload[:3].decode("ascii", "replace"), payload[3:]
    if status == "401":
        raise Refused("The meter asks for a password (401); switch its authentication off.")
    if status != "200":
        raise Refused(f"The meter answered with the HTTP status {status} instead of 200.")
    try:
        answer = json.loads(body, parse_float=str, parse_int=str, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise Implausible(f"Expected JSON from the meter; got {body[:40]!r} ({error}).") from None
    if not isinstance(answer, dict):
        raise Implausible(f"Expected a JSON object from the meter; got {body[:40]!r}.")
    return answer


def number_at(answer: Mapping[str, Any], *path: str) -> float:
    """Return the number at a path of keys in what `json_of` returned.

    Raises:
        Implausible: a key is missing, or there is no number.

    """
    found: Any = answer
    for key in path:
        found = found.get(key) if isinstance(found, dict) else None
    try:
        value = float(found) if isinstance(found, str) else math.nan
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise Implausible(f"Expected a number for {'.'.join(path)}; got {str(found)[:40]}.")
    return value


def _no_number(text: str) -> str:
    raise ValueError(f"{text} is no number of JSON")
