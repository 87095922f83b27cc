"""Read a file, whichever tool wrote it."""

from __future__ import annotations

import hashlib
from pathlib import Path

from ..errors import InputError
from . import carbontracker, codecarbon, zeus
from .cells import table_records
from .plain import plain_row
from .rows import ToolFile, ToolRow, flagged

__all__ = ["read_tool_file"]


def read_tool_file(path: Path) -> ToolFile:
    """Read an `emissions.csv` of CodeCarbon, a log of CarbonTracker, a CSV of Zeus, or a plain CSV.

    Of CarbonTracker's two logs either may be named; the one with the epochs is read.

    Raises:
        InputError: the file cannot be read, is cut off, or holds a value that is none.

    """
    path = carbontracker.log_beside(path)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(
            f"Expected an emissions.csv, a log of CarbonTracker, a CSV of Zeus or one with named "
            f"columns in {path}; it cannot be read ({error.strerror})."
        ) from None
    if carbontracker.is_log(path, data):
        rows = list(carbontracker.read_rows(path, data))
    else:
        rows = _table(path, data)
    if not data.endswith((b"\n", b"\r")):
        # Complete by its number of fields, yet its last digits may be missing.
        rows[-1] = flagged(rows[-1], "unterminated")
    return ToolFile(path, rows[0].tool, tuple(rows), "sha256:" + hashlib.sha256(data).hexdigest())


def _table(path: Path, data: bytes) -> list[ToolRow]:
    records = list(table_records(path, data, check=_check_header))
    if not records:
        raise InputError(f"{path}: Expected rows under a header; got none.")
    header = frozenset(records[0][1])
    if header >= zeus.COLUMNS:
        return zeus.read_rows(records)
    read = codecarbon.read_row if header >= codecarbon.MARKS else plain_row
    return [read(where, record) for where, record in records]


def _check_header(path: Path, header: list[str]) -> None:
    names = set(header)
    if names >= codecarbon.MARKS or names >= zeus.COLUMNS or "duration_s" in names:
        return
    separator = next((s for s in ";\t|" if len(header) == 1 and s in header[0]), None)
    hint = f" It is separated by {separator!r}; use commas." if separator else ""
    raise InputError(
        f"{path}:1: Expected CodeCarbon's columns ({', '.join(sorted(codecarbon.MARKS))}, ...), "
        f"those of Zeus ({', '.join(sorted(zeus.COLUMNS))}, ...), or `duration_s` and "
        f"`<input>_j|_wh|_kwh|_w`; got {', '.join(header)[:120]!r}.{hint}"
    )
