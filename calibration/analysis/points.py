"""Points: the unit of every fit, one row per steady segment, never a single sample.

A table of points has the columns `session, workload, segment, duration_s, reference_w,
reference_u_w` and `<id>_w` for every input (`cpu_load` without a suffix), and optionally `level`,
`start_unix_s`, `boundary`, `load_period_s` (of a pulsed load), `<id>_mode`. `read_points` accepts
anybody's CSV with these columns, also with energies (`reference_j|_wh|_kwh`, `<id>_j|_wh|_kwh`)
instead of powers.
"""

from __future__ import annotations

import csv
import io
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from ..errors import InputError
from .alignment import Lag

__all__ = [
    "TEMPLATE",
    "Finding",
    "InputColumn",
    "Points",
    "Reference",
    "concatenate",
    "format_points",
    "read_points",
    "write_points",
]

Floats = npt.NDArray[np.float64]

TEMPLATE = (
    "session,workload,segment,duration_s,reference_w,reference_u_w,rapl_package_w\n"
    "monday,idle,idle-1,60,41.2,0.05,8.1\n"
    "monday,cpu-int,cpu-int-50,60,63.9,0.06,27.4\n"
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
    "reference_w",
    "reference_u_w",
    "wall_w",
    "wall_u_w",
    "reference_j",
    "reference_wh",
    "reference_kwh",
}
_JOULES = {"_j": 1.0, "_wh": 3600.0, "_kwh": 3.6e6}


@dataclass(frozen=True, slots=True)
class Reference:
    """What the reference is worth: its common gain (relative) and offset (W), as standard u.

    `resolution_w` is its smallest step; `assumed` is True where the gain stands in no data sheet.
    `correlation_time_s` is that of its readings about a steady level, `quantisation_w` what its
    step leaves in points of one level, as a standard uncertainty; both None where not known.
    """

    meter: str
    u_gain: float
    u_offset_w: float
    resolution_w: float | None
    source: str
    assumed: bool = False
    window_s: float | None = None
    correlation_time_s: float | None = None
    quantisation_w: float | None = None


@dataclass(frozen=True, slots=True, eq=False)
class InputColumn:
    """One input over all points: mean power, W (`cpu_load`: 0 to 1), with its mode and lag.

    `period_s` is the time between two looks of its sensor, `observed_share` how much of it the
    sensor sees (a part-time sensor sees less than 1). `u` holds the standard uncertainty of each
    mean due to the input's own noise and to its lag, where known.
    """

    value: Floats
    unit: str = "W"
    mode: str | None = None
    modes: tuple[str | None, ...] = ()
    scope: tuple[str, ...] = ()
    source: str = ""
    lag: Lag | None = None
    constant: bool = False
    period_s: float | None = None
    observed_share: float = 1.0
    u: Floats | None = None

    def select(self, index: npt.NDArray[np.intp]) -> InputColumn:
        """Return the column at these points."""
        u = None if self.u is None else self.u[index]
        return replace(self, value=self.value[index], u=u)


@dataclass(frozen=True, slots=True)
class Finding:
    """Something found in a recording: its code (a row of `verdict.RULES`) and what was seen.

    `inputs` names the inputs that it concerns; none means all of them. `consequence` replaces that
    of the rule where the fault does not reach what is fitted.
    """

    code: str
    message: str
    inputs: tuple[str, ...] = ()
    consequence: Literal["refuse", "downgrade", "flag"] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Points:
    """A table of points; every array has shape (n,).

    `load_period_s` is the period of a pulsed load, s, NaN where the load is steady.
    """

    session: tuple[str, ...]
    workload: tuple[str, ...]
    segment: tuple[str, ...]
    duration_s: Floats
    reference_w: Floats
    reference_u_w: Floats
    level: Floats
    start_unix_s: Floats
    inputs: Mapping[str, InputColumn]
    boundary: str = "psu_ac_input"
    data_kind: str = "measured"
    reference: Reference | None = None
    blocks: bool = False
    notes: tuple[str, ...] = field(default=())
    load_period_s: Floats | None = None
    findings: tuple[Finding, ...] = ()

    @property
    def n(self) -> int:
        """Return the number of points."""
        return len(self.segment)

    @property
    def idle(self) -> npt.NDArray[np.bool_]:
        """Return which points are idle."""
        return np.array([w == "idle" for w in self.workload], dtype=bool)

    def idle_inputs(self, inputs: Sequence[str]) -> dict[str, float] | None:
        """Return the mean of each input over the idle points, or None without idle points."""
        idle = self.idle
        if not idle.any():
            return None
        return {k: float(np.nanmean(self.inputs[k].value[idle])) for k in inputs}

    def select(self, keep: npt.NDArray[np.bool_]) -> Points:
        """Return the points for which `keep` is true."""
        index = np.flatnonzero(keep)

        def pick(names: tuple[str, ...]) -> tuple[str, ...]:
            return tuple(names[i] for i in index)

        return Points(
            session=pick(self.session),
            workload=pick(self.workload),
            segment=pick(self.segment),
            duration_s=self.duration_s[index],
            reference_w=self.reference_w[index],
            reference_u_w=self.reference_u_w[index],
            level=self.level[index],
            start_unix_s=self.start_unix_s[index],
            inputs={k: c.select(index) for k, c in self.inputs.items()},
            boundary=self.boundary,
            data_kind=self.data_kind,
            reference=self.reference,
            blocks=self.blocks,
            notes=self.notes,
            load_period_s=None if self.load_period_s is None else self.load_period_s[index],
            findings=self.findings,
        )


def concatenate(tables: Sequence[Points]) -> Points:
    """Join tables of points; they must share their boundary, and only common inputs remain.

    Raises:
        InputError: there is nothing to join, or the boundaries differ.

    """
    if not tables:
        raise InputError("Expected at least one run or table of points; got none.")
    first = tables[0]
    boundaries = sorted({t.boundary for t in tables})
    if len(boundaries) > 1:
        raise InputError(
            f"Expected one boundary; got {', '.join(boundaries)}. Power at different boundaries is "
            "not comparable: fit them apart."
        )
    common = [k for k in first.inputs if all(k in t.inputs for t in tables)]
    worst = max((t.reference for t in tables if t.reference), key=lambda r: r.u_gain, default=None)
    inputs = {}
    for key in common:
        columns = [t.inputs[key] for t in tables]
        modes = tuple(dict.fromkeys(m for c in columns for m in (c.modes or (c.mode,))))
        inputs[key] = InputColumn(
            value=np.concatenate([c.value for c in columns]),
            unit=columns[0].unit,
            mode=modes[0] if len(modes) == 1 else None,
            modes=modes,
            scope=columns[0].scope,
            source=columns[0].source,
            lag=_usual([c.lag for c in columns]),
            constant=all(c.constant for c in columns),
            u=_joined([c.u for c in columns]),
            period_s=max((c.period_s for c in columns if c.period_s is not None), default=None),
            observed_share=min(c.observed_share for c in columns),
        )
    periods = None
    if any(t.load_period_s is not None for t in tables):
        periods = np.concatenate(
            [np.full(t.n, math.nan) if t.load_period_s is None else t.load_period_s for t in tables]
        )
    return Points(
        session=tuple(s for t in tables for s in t.session),
        workload=tuple(w for t in tables for w in t.workload),
        segment=tuple(s for t in tables for s in t.segment),
        duration_s=np.concatenate([t.duration_s for t in tables]),
        reference_w=np.concatenate([t.reference_w for t in tables]),
        reference_u_w=np.concatenate([t.reference_u_w for t in tables]),
        level=np.concatenate([t.level for t in tables]),
        start_unix_s=np.concatenate([t.start_unix_s for t in tables]),
        inputs=inputs,
        boundary=first.boundary,
        data_kind="simulated" if any(t.data_kind == "simulated" for t in tables) else "measured",
        reference=worst,
        blocks=any(t.blocks for t in tables),
        notes=tuple(dict.fromkeys(n for t in tables for n in t.notes)),
        load_period_s=periods,
        findings=tuple(dict.fromkeys(f for t in tables for f in t.findings)),
    )


def _usual(lags: Sequence[Lag | None]) -> Lag | None:
    """Return the median lag of several recordings; an unresolved one where half of them are."""
    known = [lag for lag in lags if lag is not None]
    told = sorted((lag for lag in known if lag.resolved), key=lambda lag: lag.offset_s)
    if not known or 2 * len(told) <= len(known):
        return next((lag for lag in known if not lag.resolved), None)
    return told[len(told) // 2]


def _joined(parts: Sequence[Floats | None]) -> Floats | None:
    """Join what every table knows; None where one does not."""
    known = [p for p in parts if p is not None]
    return np.concatenate(known) if len(known) == len(parts) else None


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
    for key in points.inputs:
        header += [_column(key), f"{key}_mode"]
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(header)
    for i in range(points.n):
        row: list[object] = [points.session[i], points.workload[i], points.segment[i]]
        row += [_text(points.start_unix_s[i]), _text(points.level[i])]
        row += [_text(points.duration_s[i]), points.boundary]
        row += [_text(points.reference_w[i]), _text(points.reference_u_w[i])]
        for column in points.inputs.values():
            row += [_text(column.value[i]), column.mode or ""]
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

    def inputs(self, duration: Floats) -> dict[str, InputColumn]:
        found: dict[str, InputColumn] = {}
        for column in self.header:
            key = column
            for suffix in ("_w", *_JOULES):
                key = key.removesuffix(suffix) if key == column else key
            if column in _KNOWN or column.endswith(("_u_w", "_mode")):
                continue
            if column == "cpu_load":
                found[column] = InputColumn(self.numbers(column), unit="1")
            elif key != column:
                value, _ = self.power((key,), duration)
                key = "codecarbon_total" if key == "codecarbon" else key
                modes = self.texts(f"{key}_mode", "")
                distinct = tuple(dict.fromkeys(m or None for m in modes))
                found[key] = InputColumn(
                    value, mode=distinct[0] if len(distinct) == 1 else None, modes=distinct
                )
        if not found:
            raise InputError(
                f"{self.path}: expected at least one input column such as rapl_package_w; "
                f"got {', '.join(self.header)}."
            )
        return found
