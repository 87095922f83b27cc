"""Read tables and their cells: nothing is filled in, and what is wrong names file and line."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

from ..errors import InputError

__all__ = ["absent", "instant", "length_s", "number", "table_records"]


def table_records(
    path: Path, data: bytes, *, check: Callable[[Path, list[str]], None] | None = None
) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield `file:line` and the fields of every record of a CSV with a header.

    `check` is called with the header before any record is read.

    Raises:
        InputError: it is no UTF-8, no CSV, has no header or a column twice, or a record does not
            fit the header.

    """
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise InputError(
            f"{path}:{line}: Expected UTF-8 text; byte {error.start} is none."
        ) from None
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    header: list[str] | None = None
    begun = 1
    try:
        for values in reader:
            where, begun = f"{path}:{begun}", reader.line_num + 1
            if not values or all(not v.strip() for v in values):
                continue
            if header is None:
                header = [v.strip() for v in values]
                _check_unique(path, header)
                if check is not None:
                    check(path, header)
                continue
            if [v.strip() for v in values] == header:
                continue  # two files put one after the other
            if len(values) != len(header):
                raise InputError(
                    f"{where}: Expected {len(header)} fields, as in the header; got {len(values)}. "
                    "The line is cut off or comes from another version: remove or complete it."
                )
            yield where, dict(zip(header, (v.strip() for v in values), strict=True))
    except csv.Error as error:
        raise InputError(
            f"{path}:{reader.line_num}: Expected CSV; {error}. The file may be cut off."
        ) from None
    if header is None:
        raise InputError(f"{path}: Expected a CSV with a header; the file is empty.")


def _check_unique(path: Path, header: list[str]) -> None:
    twice = {h for h in header if header.count(h) > 1}
    if twice:
        raise InputError(f"{path}:1: Expected each column once; got {min(twice)!r} twice.")


def absent(value: str | None) -> bool:
    """Return whether a cell says nothing (pandas writes a missing number as an empty cell)."""
    return value is None or value.lower() in ("", "nan", "none", "null", "na", "n/a")


def number(where: str, name: str, value: str, *, least: float | None = None) -> float:
    """Return a cell as a finite number, of at least `least` where that is given."""
    if absent(value):
        raise InputError(f"{where}: Expected a number in {name}; it is missing ({value!r}).")
    try:
        if "_" in value:
            raise ValueError
        number = float(value)
    except ValueError:
        hint = " Write it with a decimal point." if "," in value else ""
        raise InputError(f"{where}: Expected a number in {name}; got {value!r}.{hint}") from None
    if not math.isfinite(number) or (least is not None and number < least):
        bound = "" if least is None else f" of at least {least:g}"
        raise InputError(f"{where}: Expected a finite number{bound} in {name}; got {value!r}.")
    return number


def length_s(where: str, name: str, value: str) -> float:
    """Return a cell as a duration above 0 s."""
    found = number(where, name, value, least=0.0)
    if found <= 0:
        raise InputError(f"{where}: Expected {name} above 0 s; got {value!r}.")
    return found


def instant(where: str, name: str, value: str) -> float:
    """Return an ISO 8601 instant in s; one without zone counts on a clock of its own."""
    try:
        stamp = datetime.fromisoformat(value)
    except ValueError:
        raise InputError(
            f"{where}: Expected an instant such as 2026-01-31T12:00:00 in {name}; got {value!r}."
        ) from None
    return (stamp if stamp.tzinfo else stamp.replace(tzinfo=UTC)).timestamp()
