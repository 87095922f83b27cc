"""What emulated instruments that talk in lines share: commands taken apart, mnemonics recognised.

A line holds commands separated by `;`. A mnemonic is written in its short form (the capitals) or
its long one, in any case; a node in brackets may be left out: `[:INPut]:VOLTage:RANGe`. Numbers in
mnemonics stand as `<n>`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import cache

__all__ = ["CommandTable", "Handler", "commands", "take_line"]

# Takes the numbers in the mnemonic and the parameters; returns the reply of a query, else None.
Handler = Callable[[tuple[int, ...], str], str | None]


class CommandTable:
    """What a device does at each mnemonic; a mnemonic that it has met is found at once."""

    def __init__(self, handlers: Mapping[str, Handler]) -> None:
        self._patterns = [(_pattern(m), handler) for m, handler in handlers.items()]
        self._met: dict[str, tuple[Handler, tuple[int, ...]]] = {}

    def carry_out(self, line: bytes) -> tuple[list[str], list[str]]:
        """Carry out a line; return the replies of its queries, and the mnemonics nobody knows."""
        replies, unknown = list[str](), list[str]()
        for head, parameters in commands(line):
            known = self._met.get(head) or self._find(head)
            if known is None:
                unknown.append(head)
                continue
            handler, numbers = known
            reply = handler(numbers, parameters)
            if reply is not None:
                replies.append(reply)
        return replies, unknown

    def _find(self, head: str) -> tuple[Handler, tuple[int, ...]] | None:
        for pattern, handler in self._patterns:
            match = pattern.fullmatch(head.upper())
            if match is not None:
                self._met[head] = handler, tuple(int(g) for g in match.groups() if g)
                return self._met[head]
        return None


def take_line(buffer: bytes) -> tuple[bytes, bytes]:
    """Split the first line, with its end, off the bytes received; no line: more are needed."""
    end = buffer.find(b"\n") + 1
    return buffer[:end], buffer[end:]


def commands(line: bytes) -> list[tuple[str, str]]:
    """Return (mnemonic without its leading colon, parameters) of each command of a line."""
    found = []
    for part in line.decode("latin-1").strip().split(";"):
        head, _, rest = part.strip().partition(" ")
        if head:
            found.append((head.removeprefix(":"), rest.strip()))
    return found


@cache
def _pattern(mnemonic: str) -> re.Pattern[str]:
    text = ""
    for opened, name, counted, asked in re.findall(
        r"(\[?):?(\*?[A-Za-z0-9]+)(<n>)?(\??)\]?", mnemonic
    ):
        short = "".join(c for c in name if not c.islower())
        node = re.escape(short)
        if len(short) < len(name):
            node += f"(?:{name[len(short) :].upper()})?"
        if counted:
            node += r"(\d+)"
        node += re.escape(asked)
        text += f"(?:{node}:)?" if opened else f"{node}:"
    return re.compile(text.removesuffix(":"))
