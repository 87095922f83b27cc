"""Reading a TOML table strictly: each key is asked for by type, and what is left over is wrong."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from difflib import get_close_matches
from fractions import Fraction
from typing import Any, Final

from ..errors import InputError

__all__ = ["REQUIRED", "Table"]

REQUIRED: Final[Any] = object()


class Table:
    """One table of a TOML file and the words that lead to it; `done` refuses unknown keys."""

    __slots__ = ("_asked", "_values", "where")

    def __init__(self, values: dict[str, Any], where: str) -> None:
        self._values = values
        self._asked: set[str] = set()
        self.where = where

    def __contains__(self, key: str) -> bool:
        return key in self._values

    def items(self) -> tuple[tuple[str, Any], ...]:
        """Return the keys and values as they are."""
        return tuple(self._values.items())

    def wrong(self, key: str, expected: str) -> InputError:
        """Return the error for a key whose value is not what it should be."""
        return InputError(f"{self.where}: {key}: expected {expected}; got {self._values[key]!r}.")

    def get(self, key: str, kinds: tuple[type, ...], expected: str, default: Any = REQUIRED) -> Any:
        """Return a value of one of `kinds`, or the default where the key is absent."""
        self._asked.add(key)
        if key not in self._values:
            if default is REQUIRED:
                close = get_close_matches(key, self._values.keys() - self._asked, 1)
                hint = f" (is {close[0]} meant?)" if close else ""
                raise InputError(f"{self.where}: {key} is missing; expected {expected}{hint}.")
            return default
        value = self._values[key]
        if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
            raise self.wrong(key, expected)
        return value

    def text(self, key: str, default: Any = REQUIRED) -> Any:
        """Return a text."""
        value = self.get(key, (str,), "a text", default)
        if value == "" and value is not default:
            raise self.wrong(key, "a text that is not empty")
        return value

    def number(self, key: str, default: Any = REQUIRED) -> Any:
        """Return a finite number as float; TOML has `nan` and `inf` too."""
        value = self.get(key, (int, float), "a number", default)
        if not isinstance(value, (int, float)):
            return value
        if not math.isfinite(value):
            raise self.wrong(key, "a finite number")
        return float(value)

    def positive(self, key: str, default: Any = REQUIRED) -> Any:
        """Return a finite number above zero as float."""
        value = self.number(key, default)
        if value is not default and value <= 0:
            raise self.wrong(key, "a number above zero")
        return value

    def flag(self, key: str, default: bool) -> bool:
        """Return true or false."""
        return bool(self.get(key, (bool,), "true or false", default))

    def choice(self, key: str, allowed: Iterable[str], default: Any = REQUIRED) -> Any:
        """Return one of a few words."""
        words = tuple(allowed)
        expected = f"one of {', '.join(words)}"
        value = self.get(key, (str,), expected, default)
        if value is not default and value not in words:
            raise self.wrong(key, expected)
        return value

    def column(self, key: str, default: Any = REQUIRED) -> Any:
        """Return the name of a column, or its number counted from 0."""
        value = self.get(key, (str, int), "a column's name, or its number from 0", default)
        if value is not default and isinstance(value, int) and value < 0:
            raise self.wrong(key, "a column's number from 0")
        return value

    def fraction(self, key: str, default: Fraction) -> Fraction:
        """Return an exact positive ratio, written `"1/100"`, `"0.007568"` or as a number."""
        expected = 'a positive number, or a ratio such as "1/100"'
        value = self.get(key, (str, int, float), expected, None)
        if value is None:
            return default
        try:
            ratio = Fraction(str(value))
        except (ValueError, ZeroDivisionError):
            raise self.wrong(key, expected) from None
        if ratio <= 0:
            raise self.wrong(key, expected)
        return ratio

    def texts(self, key: str, default: tuple[str, ...] = ()) -> tuple[str, ...]:
        """Return a list of texts as a tuple."""
        value = self.get(key, (list,), "a list of texts", None)
        if value is None:
            return default
        if not all(isinstance(v, str) for v in value):
            raise self.wrong(key, "a list of texts")
        return tuple(value)

    def table(self, key: str, default: Any = REQUIRED) -> Any:
        """Return a table inside this one."""
        value = self.get(key, (dict,), "a table", default)
        return value if value is default else Table(value, f"{self.where}, {key}")

    def tables(self, key: str, label: str = "name") -> tuple[Table, ...]:
        """Return a list of tables, each called by its `label`; empty where the key is absent."""
        value = self.get(key, (list,), "a list of tables", [])
        if not all(isinstance(v, dict) for v in value):
            raise self.wrong(key, "a list of tables")
        return tuple(
            Table(v, f"{self.where}, {key} {v.get(label, number)}")
            for number, v in enumerate(value, start=1)
        )

    def plain(self, key: str) -> dict[str, Any]:
        """Return a table as it is, empty where the key is absent; a run keeps it as JSON.

        TOML knows dates, `nan` and `inf`, which JSON does not.
        """
        value = dict(self.get(key, (dict,), "a table", {}))
        try:
            json.dumps(value, allow_nan=False)
        except (TypeError, ValueError):
            raise self.wrong(
                key, "texts, finite numbers, true and false (a date as a text)"
            ) from None
        return value

    def done(self) -> None:
        """Refuse what was not asked for.

        Raises:
            InputError: a key is unknown.

        """
        for key in self._values:
            if key not in self._asked:
                close = get_close_matches(key, self._asked, 1)
                hint = f"is {close[0]} meant?" if close else f"known: {', '.join(self._asked)}."
                raise InputError(f"{self.where}: unknown key {key!r}; {hint}")
