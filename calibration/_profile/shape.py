"""Check the shape of plain JSON values, with one sentence per fault, in the standard library.

A check is a function of a value and its path that raises `SchemaError`. They are small enough to
read, and the consumer of a profile has no jsonschema.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date, datetime
from typing import Any, Final, NoReturn

from ..errors import SchemaError

__all__ = [
    "Check",
    "any_json",
    "boolean",
    "choice",
    "day",
    "each",
    "fail",
    "instant",
    "integer",
    "mapping",
    "number",
    "pair",
    "record",
    "scalar",
    "shown",
    "text",
    "union",
]

Check = Callable[[Any, str], None]


def fail(path: str, expected: str, came: Any, advice: str = "") -> NoReturn:
    """Raise the sentence: where, what was expected, what came, what to do."""
    raise SchemaError(
        f"Expected `{path or 'the profile'}` to be {expected}; got {shown(came)}."
        + (f" {advice}" if advice else "")
    )


def shown(value: Any) -> str:
    """Return a short name for a value that came."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (Mapping, list, tuple)):
        kind = "an object" if isinstance(value, Mapping) else "a list"
        return f"{kind} of {len(value)}"
    shortened = repr(value)
    return shortened if len(shortened) <= 60 else shortened[:57] + "..."


def any_json(value: Any, path: str) -> None:
    """Accept anything (an `x-` extension)."""


def boolean(value: Any, path: str) -> None:
    """Accept true and false."""
    if not isinstance(value, bool):
        fail(path, "true or false", value)


_HUGE: Final = 1e100
"""No quantity is as large; its square would overflow, and an uncertainty become infinite."""


def number(
    *, above: float | None = None, least: float | None = None, most: float | None = None
) -> Check:
    """Accept a finite number within the limits."""
    limits = [
        f"{word} {limit:g}"
        for word, limit in (("above", above), ("at least", least), ("at most", most))
        if limit is not None
    ]
    expected = " ".join(["a finite number", " and ".join(limits)]).strip()

    def check(value: Any, path: str) -> None:
        if (
            isinstance(value, bool)
            or not isinstance(value, (int, float))
            or not abs(value) < _HUGE
            or (above is not None and not value > above)
            or (least is not None and not value >= least)
            or (most is not None and not value <= most)
        ):
            fail(path, expected, value)

    return check


def integer(*, least: int, most: int | None = None) -> Check:
    """Accept a whole number."""

    def check(value: Any, path: str) -> None:
        whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
        if isinstance(value, bool) or not whole or value < least or (most and value > most):
            upper = f" and at most {most}" if most else ""
            fail(path, f"a whole number of at least {least}{upper}", value)

    return check


def text(pattern: str | None = None, meaning: str = "a text that is not empty") -> Check:
    """Accept a text that is not empty and fits the whole pattern."""
    compiled = re.compile(pattern) if pattern else None

    def check(value: Any, path: str) -> None:
        if not isinstance(value, str) or not value or (compiled and not compiled.fullmatch(value)):
            fail(path, meaning, value)

    return check


def choice(*allowed: str) -> Check:
    """Accept one of a few words."""

    def check(value: Any, path: str) -> None:
        if not isinstance(value, str) or value not in allowed:
            fail(path, f"one of {', '.join(allowed)}", value)

    return check


def day(value: Any, path: str) -> None:
    """Accept a calendar day, YYYY-MM-DD."""
    try:
        if not re.fullmatch(r"\d{4}-\d{2}-\d{2}", value, re.ASCII):
            raise ValueError
        date.fromisoformat(value)
    except (TypeError, ValueError):
        fail(path, "a day as YYYY-MM-DD", value)


def instant(value: Any, path: str) -> None:
    """Accept an instant in UTC, YYYY-MM-DDThh:mm:ssZ."""
    try:
        if not re.fullmatch(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d{1,6})?Z", value, re.ASCII):
            raise ValueError
        datetime.strptime(value[:19], "%Y-%m-%dT%H:%M:%S")
    except (TypeError, ValueError):
        fail(path, "an instant as YYYY-MM-DDThh:mm:ssZ", value)


def scalar(value: Any, path: str) -> None:
    """Accept a text, a number, true, false or null."""
    if isinstance(value, float) and not math.isfinite(value):
        fail(path, "a finite number", value)
    if not (value is None or isinstance(value, (str, int, float, bool))):
        fail(path, "a text, a number, true, false or null", value)


def union(*checks: Check) -> Check:
    """Accept what one of the checks accepts; the last one's sentence is raised."""

    def check(value: Any, path: str) -> None:
        for one in checks[:-1]:
            try:
                return one(value, path)
            except SchemaError:
                continue
        return checks[-1](value, path)

    return check


def each(item: Check, *, least: int = 0, most: int | None = None) -> Check:
    """Accept a list of items."""

    def check(value: Any, path: str) -> None:
        if not isinstance(value, (list, tuple)):
            fail(path, "a list", value)
        if len(value) < least or (most is not None and len(value) > most):
            bound = f"at least {least}" if len(value) < least else f"at most {most}"
            fail(path, f"a list of {bound}", value)
        for i, one in enumerate(value):
            item(one, f"{path}[{i}]")

    return check


def pair(value: Any, path: str) -> None:
    """Accept two numbers, the lower one first."""
    each(number(), least=2, most=2)(value, path)
    if not value[0] <= value[1]:
        fail(path, "two numbers, the lower one first", list(value))


def mapping(item: Check, *, key: str = r".+", least: int = 0) -> Check:
    """Accept an object whose keys fit a pattern and whose values all pass one check."""
    compiled = re.compile(key)

    def check(value: Any, path: str) -> None:
        if not isinstance(value, Mapping):
            fail(path, "an object", value)
        if len(value) < least:
            fail(path, f"an object with at least {least} key", value)
        for name, one in value.items():
            if not isinstance(name, str) or not compiled.fullmatch(name):
                fail(f"{path}.{name}", f"a key that fits {key}", name)
            item(one, f"{path}.{name}")

    return check


def record(required: Mapping[str, Check], optional: Mapping[str, Check] | None = None) -> Check:
    """Accept an object with these keys, and with no other but extensions (`x-...`)."""
    known = {**required, **(optional or {})}

    def check(value: Any, path: str) -> None:
        if not isinstance(value, Mapping):
            fail(path, "an object", value)
        for name in required:
            if name not in value:
                raise SchemaError(
                    f"Expected `{path or 'the profile'}` to hold `{name}`; it is missing. "
                    f"It needs {_listed(required)}."
                )
        for name, one in value.items():
            if name in known:
                known[name](one, f"{path}.{name}" if path else str(name))
            elif not (isinstance(name, str) and name.startswith("x-")):
                raise SchemaError(
                    f"Expected `{path or 'the profile'}` to hold only {_listed(known)}; "
                    f"got {name!r}. An extension's name starts with `x-`."
                )

    return check


def _listed(names: Iterable[str]) -> str:
    quoted: Sequence[str] = [f"`{n}`" for n in names]
    return ", ".join(quoted)
