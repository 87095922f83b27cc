"""Decide whether a version lies in a range such as `>=3.3,<4`."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from typing import Final

__all__ = ["in_range"]

_Key = tuple[list[int], int]
_OPERATORS: Final[Mapping[str, Callable[[_Key, _Key], bool]]] = {
    ">=": operator.ge,
    "<=": operator.le,
    "==": operator.eq,
    "!=": operator.ne,
    ">": operator.gt,
    "<": operator.lt,
}


def in_range(version: str, wanted: str) -> bool:
    """Return whether a version satisfies every clause; a text that is no version satisfies none.

    A pre-release (3.0.0rc1, 3.0.0_beta) counts as just below its release (PEP 440's order).
    """
    seen = re.match(r"v?(\d+(?:\.\d+)*)(.*)", version.strip())
    if not seen:
        return False
    early = re.match(r"[._-]?(a|b|c|rc|alpha|beta|pre|dev)", seen[2], re.IGNORECASE)
    have = (_numbers(seen[1]), -1 if early else 0)
    for clause in wanted.split(","):
        parts = re.fullmatch(r"(>=|<=|==|!=|>|<)(\d+(?:\.\d+)*)", clause.strip())
        if not parts or not _OPERATORS[parts[1]](have, (_numbers(parts[2]), 0)):
            return False
    return True


def _numbers(text: str) -> list[int]:
    """Return the numbers without trailing zeros: 3.0 and 3 are one version."""
    numbers = [int(p) for p in text.split(".")]
    while numbers and numbers[-1] == 0:
        numbers.pop()
    return numbers
