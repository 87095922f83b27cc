"""Points as a table: the CSV that the lab writes, and that anybody else may write.

The columns are `session, workload, segment, duration_s, reference_w, reference_u_w` and `<id>_w`
for every input (`cpu_load` without a suffix), and optionally `level`, `start_unix_s`, `boundary`,
`load_period_s` (of a pulsed load), `correlation_time_s` (of the meter's readings),
`quantisation_w` (the part of `reference_u_w` that points of one level share), `<id>_u_w` (the
standard uncertainty of an input's mean due to its own noise) and `<id>_mode`. Energies
(`reference_j|_wh|_kwh`, `<id>_j|_wh|_kwh`) are read instead of powers.
"""

from __future__ import annotations

import csv
import io
import math
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ..errors import InputError
from .points import InputColumn, Points, Reference

__all__ = ["TEMPLATE", "format_points", "read_points", "write_points"]

Floats = npt.NDArray[np.float64]

TEMPLATE = (
    "session,workload,segment,duration_s,reference_w,reference_u_w,correlation_time_s,"
    "quantisation_w,rapl_package_w\n"
    "monday,idle,idle-1,60,41.2,0.05,1.5,0.03,8.1\n"
    "monday,cpu-int,cpu-int-50,60,63.9,0.06,1.5,0.03,27.4\n"
)
_KNOWN = {
    "session",
    "workload",
    "segment",
    "duration_s",
    "level",
    "start_unix_s",
    "boundary",
    "load_period_s",
    "correlation_time_s",
    "quantisation_w",
    "reference_w",
    "reference_u_w",
    "wall_w",
    "wall_u_w",
    "reference_j",
    "reference_wh",
    "reference_kwh",
}
_JOULES = {"_j": 1.0, "_wh": 3600.0, "_kwh": 3.6e6}


def write_points(points: Points, path: Path) -> None:
    """Write the table as CSV, atomically."""
    temporary = path.with_name(path.name + ".part")
    try:
        temporary.write_text(format_points(points), encoding="utf-8")
    except OSError as error:
        raise InputError(f"Expected to write {path}; {error.strerror}.") from None
    os.replace(temporary, path)


def format_points(points: Points) -> str:
    """Return the table as CSV text."""
    header = ["session", "workload", "segment", "start_unix_s", "level", "duration_s", "boundary"]
    header += ["reference_w", "reference_u_w"]
    more = {
        name: column
        for name, column in (
            ("correlation_time_s", points.correlation_time_s),
            ("quantisation_w", points.quantisation_w),
            ("load_period_s", points.load_period_s),
        )
        if column is not None and (name != "load_period_s" or np.any(np.isfinite(column)))
    }
    header += more
    for key, column in points.inputs.items():
        header += [_column(key), f"{key}_mode"]
        header += [] if column.u is None else [f"{key}_u_w"]
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(header)
    for i in range(points.n):
        row: list[object] = [points.session[i], points.workload[i], points.segment[i]]
        row += [_text(points.start_unix_s[i]), _text(points.level[i])]
        row += [_text(points.duration_s[i]), points.boundary]
        row += [_text(points.reference_w[i]), _text(points.reference_u_w[i])]
        row += [_text(column[i]) for column in more.values()]
        for column in points.inputs.values():
            row += [_text(column.value[i]), column.mode or ""]
            row += [] if column.u is None else [_text(column.u[i])]
        rows.writerow(row)
    return text.getvalue()


def _column(key: str) -> str:
    return key if key == "cpu_load" else f"{key}_w"


def _text(value: float) -> str:
    return "" if math.isnan(value) else repr(float(value))


def read_points(
    path: Path, *, meter: Reference | None = None, resolution_j: float | None = None
) -> Points:
    """Read a table of points from CSV.

    `meter` says what the reference is worth; `resolution_j` is the step of an energy register,
    whose difference of two readings carries q/√6 (two rectangular errors of half-width q/2).

    Raises:
        InputError: a column is missing, a cell is not a number, or there are no rows; the message
            names the file and the line.

    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file)
            header = [h.strip() for h in next(reader, [])]
            rows = [(reader.line_num, r) for r in reader if any(c.strip() for c in r)]
    except OSError as error:
        raise InputError(f"Expected a table of points at {path}; {error.strerror}.") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"Expected UTF-8 CSV in {path}; got {error}.") from None
    if not header or not rows:
        raise InputError(
            f"Expected a table of points in {path}; it has no rows. `wattcal points --template` "
            "prints one."
        )
    twice = sorted({h for h in header if h and header.count(h) > 1})
    if twice:
        raise InputError(f"{path}: expected each column once; got {', '.join(twice)} twice.")
    table = _Table(path, header, rows)
    duration = table.numbers("duration_s")
    if np.any(duration <= 0):
        raise InputError(
            f"{path}, column duration_s: expected seconds above 0; got {duration.min():g}."
        )
    reference_w, name = table.power(("reference", "wall"), duration)
    if np.any(reference_w == 0):
        line = rows[int(np.argmin(np.abs(reference_w)))][0]
        raise InputError(
            f"{path}, line {line}: expected the power of a running machine as {name}; got 0 W. "
            "Where the meter did not answer, leave the row out."
        )
    u_w = table.optional(f"{name}_u_w")
    if u_w is not None and np.any(u_w < 0):
        raise InputError(
            f"{path}, column {name}_u_w: expected a standard uncertainty of at least 0 W; "
            f"got {np.nanmin(u_w):g}."
        )
    if resolution_j is not None:
        quantised = resolution_j / math.sqrt(6) / duration
        u_w = quantised if u_w is None else np.hypot(u_w, quantised)
    if u_w is None and meter is not None and meter.resolution_w is not None:
        u_w = np.full(duration.size, meter.resolution_w / math.sqrt(12))
    if u_w is None:
        raise InputError(
            f"{path}: expected a column reference_u_w (standard uncertainty of the segment's "
            "mean, W); there is none. Say --meter MODEL or --resolution 1Wh instead."
        )
    boundaries = tuple(dict.fromkeys(table.texts("boundary", "psu_ac_input")))
    if len(boundaries) > 1:
        raise InputError(
            f"{path}, column boundary: expected one; got {', '.join(boundaries)}. Power at "
            "different boundaries is not comparable: fit them apart."
        )
    return Points(
        session=table.texts("session", "session-1"),
        workload=table.texts("workload", None),
        segment=table.texts("segment", None),
        duration_s=duration,
        reference_w=reference_w,
        reference_u_w=u_w,
        level=table.or_nan("level"),
        start_unix_s=table.or_nan("start_unix_s"),
        inputs=table.inputs(duration),
        boundary=boundaries[0],
        reference=meter,
        load_period_s=table.optional("load_period_s"),
        correlation_time_s=table.not_negative("correlation_time_s"),
        quantisation_w=table.not_negative("quantisation_w"),
    )


@dataclass(frozen=True, slots=True)
class _Table:
    path: Path
    header: list[str]
    rows: list[tuple[int, list[str]]]

    def _cells(self, name: str) -> list[tuple[int, str]]:
        column = self.header.index(name)
        cells = []
        for line, row in self.rows:
            if len(row) != len(self.header):
                raise InputError(
                    f"{self.path}, line {line}: expected {len(self.header)} fields; "
                    f"got {len(row)}. Is the file cut short?"
                )
            cells.append((line, row[column].strip()))
        return cells

    def numbers(self, name: str, *, blank: float | None = None) -> Floats:
        if name not in self.header:
            raise InputError(
                f"{self.path}: expected a column {name}; got {', '.join(self.header)}. "
                "`wattcal points --template` prints a table that fits."
            )
        values = np.empty(len(self.rows))
        for i, (line, cell) in enumerate(self._cells(name)):
            try:
                value = blank if cell == "" and blank is not None else float(cell)
            except ValueError:
                value = math.nan
            # Beyond 1e15 of anything here it is no measurement, and its square overflows.
            if not abs(value) < 1e15 and not (cell == "" and blank is not None):
                raise InputError(
                    f"{self.path}, line {line}, column {name}: expected a number; got {cell!r}."
                )
            values[i] = value
        return values

    def optional(self, name: str) -> Floats | None:
        return self.numbers(name, blank=math.nan) if name in self.header else None

    def not_negative(self, name: str) -> Floats | None:
        """Return an optional column of what cannot be below zero."""
        found = self.optional(name)
        if found is not None and np.any(found < 0):
            raise InputError(
                f"{self.path}, column {name}: expected at least 0; got {np.nanmin(found):g}."
            )
        return found

    def or_nan(self, name: str) -> Floats:
        found = self.optional(name)
        return np.full(len(self.rows), math.nan) if found is None else found

    def texts(self, name: str, default: str | None) -> tuple[str, ...]:
        if name in self.header:
            return tuple(cell for _, cell in self._cells(name))
        if default is None:
            raise InputError(
                f"{self.path}: expected a column {name}; got {', '.join(self.header)}."
            )
        return (default,) * len(self.rows)

    def power(self, names: tuple[str, ...], duration: Floats) -> tuple[Floats, str]:
        """Return the power of the first name that has a column, from powers or energies."""
        for name in names:
            if f"{name}_w" in self.header:
                return self.numbers(f"{name}_w"), name
            for suffix, joules in _JOULES.items():
                if name + suffix in self.header:
                    return self.numbers(name + suffix) * joules / duration, name
        wanted = " or ".join(f"{n}_w" for n in names)
        raise InputError(f"{self.path}: expected a column {wanted}; got {', '.join(self.header)}.")

    def u_of(self, key: str) -> Floats | None:
        """Return the standard uncertainty of an input's means; None unless every point has it."""
        found = self.not_negative(f"{key}_u_w")
        return None if found is None or np.any(np.isnan(found)) else found

    def inputs(self, duration: Floats) -> dict[str, InputColumn]:
        found: dict[str, InputColumn] = {}
        for column in self.header:
            key = column
            for suffix in ("_w", *_JOULES):
                key = key.removesuffix(suffix) if key == column else key
            if column in _KNOWN or column.endswith(("_u_w", "_mode")):
                continue
            if column == "cpu_load":
                found[column] = InputColumn(self.numbers(column), unit="1", u=self.u_of(column))
            elif key != column:
                value, _ = self.power((key,), duration)
                key = "codecarbon_total" if key == "codecarbon" else key
                modes = self.texts(f"{key}_mode", "")
                distinct = tuple(dict.fromkeys(m or None for m in modes))
                found[key] = InputColumn(
                    value,
                    mode=distinct[0] if len(distinct) == 1 else None,
                    modes=distinct,
                    u=self.u_of(key),
                )
        if not found:
            raise InputError(
                f"{self.path}: expected at least one input column such as rapl_package_w; "
                f"got {', '.join(self.header)}."
            )
        return found
