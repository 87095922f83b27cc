"""Reading columns of numbers and times out of text files, in pieces, whole columns at a time.

A cell is a number, one of the texts that mean "no value", or an error that names its line. Nothing
is guessed: not a delimiter, not a decimal comma, not a unit.
"""

from __future__ import annotations

import csv
import os
import re
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
import numpy.typing as npt

from ..errors import InputError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Cells", "TextTable"]

Column = str | int
ROWS_AT_A_TIME: Final = 200_000
_FARTHEST_NS: Final = 9.2e18  # int64 ends there, in the year 2262
_SEPARATOR: Final = {"columns": r"\s+", "csv": ",", "tsv": "\t"}


@dataclass(frozen=True, slots=True, eq=False)
class Cells:
    """Some rows of a text table: the line that each stands in, and the texts of its columns."""

    file: Path
    line: npt.NDArray[np.int64]
    columns: dict[Column, pd.Series[str]]

    def where(self, conditions: Sequence[tuple[str, str]]) -> Cells:
        """Return the rows in which every named column holds the given text."""
        if not conditions:
            return self
        keep = np.ones(self.line.size, dtype=bool)
        for column, text in conditions:
            keep &= np.asarray(self.columns[column].str.strip() == text, dtype=bool)
        return Cells(self.file, self.line[keep], {c: v[keep] for c, v in self.columns.items()})

    def numbers(self, column: Column, missing: Sequence[str]) -> npt.NDArray[np.float64]:
        """Return a column as float64, NaN where a cell means "no value".

        Raises:
            InputError: a cell is neither; the message names the line.

        """
        values, absent = self._parse(column, missing)
        return np.where(absent, np.nan, np.asarray(values, dtype=np.float64))

    def instants(self, column: Column, picoseconds: int) -> npt.NDArray[np.int64]:
        """Return a column of time stamps in ns; integers stay exact.

        Raises:
            InputError: a cell is no number; a row without a time cannot be placed. Or the time is
                beyond what 64 bits of ns hold.

        """
        values, absent = self._parse(column, ("",))
        if absent.any():
            line = int(self.line[int(np.argmax(absent))])
            raise InputError(
                f"{self.file.name}, line {line}: expected a time in column {column!r}; it is "
                "empty. Complete the row or take it out."
            )
        far = np.abs(np.asarray(values, dtype=np.float64)) * (picoseconds / 1000) > _FARTHEST_NS
        if far.any():
            at = int(np.argmax(far))
            raise InputError(
                f"{self.file.name}, line {int(self.line[at])}: expected a time in column "
                f"{column!r}; {values[at]:.15g} is beyond any date in its unit. Is that the right "
                "unit?"
            )
        if values.dtype.kind == "i":
            whole = values.astype(np.int64)
            if picoseconds >= 1000:
                return whole * (picoseconds // 1000)
            return (whole + 500) // 1000
        scaled = np.asarray(values, dtype=np.float64) * (picoseconds / 1000)
        return np.rint(scaled).astype(np.int64)

    def times(self, column: Column, form: str, zone_s: int) -> npt.NDArray[np.int64]:
        """Return a column of local times written in `form` as unix ns.

        Raises:
            InputError: a cell does not have that form.

        """
        import pandas as pd

        text = self.columns[column].str.strip()
        try:
            parsed = pd.to_datetime(text, format=form, errors="coerce")
        except ValueError as error:
            raise InputError(f"time.format: {form!r} is no strptime format ({error}).") from None
        wrong = np.asarray(parsed.isna(), dtype=bool)
        if wrong.any():
            at = int(np.argmax(wrong))
            raise InputError(
                f"{self.file.name}, line {int(self.line[at])}: expected a time like {form!r} in "
                f"column {column!r}; got {text.iloc[at]!r}."
            )
        ns = np.asarray(parsed.to_numpy().astype("datetime64[ns]").astype(np.int64))
        return ns - zone_s * 10**9

    def _parse(
        self, column: Column, missing: Sequence[str]
    ) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
        import pandas as pd

        text = self.columns[column].str.strip()
        absent = np.asarray(text.isin(list(missing)), dtype=bool)
        filled = text.mask(absent, "0") if absent.any() else text
        values = pd.to_numeric(filled, errors="coerce").to_numpy()
        wrong = ~np.isfinite(np.asarray(values, dtype=np.float64))
        if wrong.any():
            at = int(np.argmax(wrong))
            raise InputError(
                f"{self.file.name}, line {int(self.line[at])}: expected a number in column "
                f"{column!r}; got {text.iloc[at]!r}. If it means that there is no value, list it "
                "under missing in the mapping."
            )
        return values, absent


class TextTable:
    """A text file of rows: `columns` (by white space, no head), `csv` or `tsv` (with a head)."""

    def __init__(
        self,
        path: Path,
        form: Literal["columns", "csv", "tsv"],
        *,
        last_line: Literal["error", "keep", "drop"] = "error",
    ) -> None:
        self.path = path
        self._form = form
        self._head_lines = 0 if form == "columns" else 1
        self._drop_last = False
        self._check_end(last_line)
        self.names: tuple[str, ...] = self._read_head()

    def _check_end(self, last_line: str) -> None:
        with self.path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            if size == 0:
                raise InputError(
                    f"{self.path}: expected a table; the file is empty. Fetch it again."
                )
            file.seek(-1, os.SEEK_END)
            ended = file.read(1) in (b"\n", b"\r")
        if not ended and last_line == "error":
            raise InputError(
                f"{self.path}: the last line has no line end, so the file may be cut off there. "
                'Fetch it again, or say last_line = "keep" or "drop" in the mapping.'
            )
        self._drop_last = not ended and last_line == "drop"

    @property
    def dropped_last(self) -> bool:
        """Whether a last line without a line end is left out."""
        return self._drop_last

    def _read_head(self) -> tuple[str, ...]:
        """Return the column names; a table without a head has its numbers as names."""
        try:
            with self.path.open(encoding="utf-8-sig", newline="") as file:
                if self._form == "columns":
                    first = next((line for line in file if line.strip()), "")
                    names = [str(i) for i in range(len(first.split()))]
                else:
                    reader = csv.reader(
                        file, delimiter=_SEPARATOR[self._form], skipinitialspace=True
                    )
                    names = [n.strip() for n in next(reader, [])]
        except (UnicodeDecodeError, csv.Error) as error:
            raise InputError(f"{self.path}: expected UTF-8 text; {error}.") from None
        if not names:
            raise InputError(
                f"{self.path}: expected a table; there is no row in it. Is it the right file?"
            )
        return tuple(names)

    def index_of(self, column: Column, wanted_by: str) -> int:
        """Return the place of a column.

        Raises:
            InputError: there is none of that name or number, or more than one.

        """
        if isinstance(column, int):
            if column < len(self.names):
                return column
            raise InputError(
                f"{wanted_by}: {self.path.name} has no column {column}; its rows have "
                f"{len(self.names)}, counted from 0."
            )
        count = self.names.count(column)
        if count == 1 and self._form != "columns":
            return self.names.index(column)
        if self._form == "columns":
            what = f"has no head, so its columns have numbers (0 to {len(self.names) - 1})"
        elif count:
            what = f"has {count} columns of that name; give the number of the right one, from 0"
        else:
            what = f"has {', '.join(self.names)}"
        raise InputError(
            f"{wanted_by}: column {column!r} is not to be found; {self.path.name} {what}."
        )

    def read(self, columns: Sequence[tuple[Column, str]]) -> Iterator[Cells]:
        """Yield the rows, some at a time; `columns` are (column, who wants it).

        Raises:
            InputError: a column is not there, a row has too many cells, or there is no row at all.

        """
        places = {column: self.index_of(column, who) for column, who in columns}
        empty = True
        line = self._head_lines + 1
        for chunk in self._chunks(sorted(set(places.values()))):
            lines = np.arange(line, line + len(chunk), dtype=np.int64)
            line += len(chunk)
            blank = np.logical_and.reduce([np.asarray(chunk[i] == "") for i in chunk.columns])
            kept = chunk[~blank]
            if len(kept):
                empty = False
                yield Cells(self.path, lines[~blank], {c: kept[i] for c, i in places.items()})
        if empty:
            raise InputError(
                f"{self.path}: expected rows of numbers; there is none. Is it the right file?"
            )

    def _chunks(self, places: list[int]) -> Iterator[pd.DataFrame]:
        import pandas as pd

        waiting: pd.DataFrame | None = None
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error", pd.errors.ParserWarning)
                with pd.read_csv(
                    self.path,
                    sep=_SEPARATOR[self._form],
                    header=None,
                    names=list(range(len(self.names))),
                    index_col=False,
                    skiprows=self._head_lines,
                    dtype=str,
                    na_filter=False,
                    skip_blank_lines=False,
                    skipinitialspace=True,
                    encoding="utf-8-sig",
                    chunksize=ROWS_AT_A_TIME,
                ) as reader:
                    for chunk in reader:
                        if waiting is not None:
                            yield waiting
                        waiting = chunk[places]
        except pd.errors.EmptyDataError:
            return
        except (pd.errors.ParserError, pd.errors.ParserWarning, UnicodeDecodeError) as error:
            raise InputError(f"{self.path}: {self._why(error)}") from None
        if waiting is not None:
            yield waiting.iloc[:-1] if self._drop_last else waiting

    def _why(self, error: Exception) -> str:
        found = re.search(r"Expected (\d+) fields in line (\d+), saw (\d+)", str(error))
        if found:
            return (
                f"line {found[2]}: expected {found[1]} cells; got {found[3]}. A cell may hold the "
                "delimiter, or two lines ran together."
            )
        if "names does not match" in str(error):
            return (
                f"expected {len(self.names)} cells a row, as in the head; some have more. Complete "
                "the head, or take the surplus out."
            )
        return f"expected a table of text ({error})."
