"""What a driver's loop makes of bytes that come in pieces: shared by the tests of the parsers."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

from drivers.wire import Frame, Need, Parser


def payloads(parse: Parser, pieces: Iterable[bytes]) -> list[bytes]:
    """Return the payload of every frame in bytes that arrive in pieces."""
    found, buffer = list[bytes](), b""
    for piece in pieces:
        buffer += piece
        while not isinstance(verdict := parse(buffer), Need):
            if isinstance(verdict, Frame):
                found.append(verdict.payload)
                buffer = buffer[verdict.length :]
            else:
                buffer = buffer[verdict.count :]
    return found


def cut(data: bytes, places: Iterable[int]) -> list[bytes]:
    """Cut `data` at the given places, in any order."""
    edges = sorted({0, len(data), *(p % (len(data) + 1) for p in places)})
    return [data[a:b] for a, b in pairwise(edges)]


def flipped(frame: bytes) -> list[bytes]:
    """Return `frame` with each of its bits flipped in turn."""
    whole = int.from_bytes(frame, "big")
    return [(whole ^ 1 << bit).to_bytes(len(frame), "big") for bit in range(8 * len(frame))]
