"""Read what energy tools write: CodeCarbon's `emissions.csv` and plain CSV with named columns.

A row becomes a `ToolRow` in SI units with the facts that bear on its mode. Nothing is filled in:
a field that is missing, empty or NaN is missing, and asking for it names file and line.

CodeCarbon's CSV (codecarbon/output_methods/emissions_data.py, 29 columns in 2.0 to 38 in 3.3):
`duration` in s, energies in kWh, `timestamp` the local wall time of the *end* of the run without
zone, to the second. Its `*_power` columns are unweighted means over samples and are never read.
"""

from __future__ import annotations

import csv
import hashlib
import io
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Literal, TypeAlias

from .errors import InputError
from .grain import codecarbon_grain

__all__ = [
    "Tool",
    "ToolFile",
    "ToolRow",
    "codecarbon_row",
    "overlapping",
    "read_tool_file",
    "table_records",
]

Tool: TypeAlias = Literal["codecarbon", "csv"]

JOULES: Final[Mapping[str, float]] = {"J": 1.0, "Wh": 3600.0, "kWh": 3.6e6}
_SUFFIXES: Final[Mapping[str, float]] = {"_kwh": 3.6e6, "_wh": 3600.0, "_j": 1.0}
_CODECARBON_MARKS: Final = frozenset({"timestamp", "duration", "energy_consumed"})
_CODECARBON_ENERGIES: Final = ("energy_consumed", "cpu_energy", "gpu_energy", "ram_energy")
_CODECARBON_FACTS: Final = (
    "codecarbon_version", "tracking_mode", "pue", "os", "cpu_model", "gpu_model", "on_cloud",
    "project_name",
)  # fmt: skip
_CODECARBON_DURATION_U_S: Final = 0.5
"""Standard uncertainty of CodeCarbon's `duration` in s: the first tracker of a process counts its
own start-up, 0.4 s for a 4 s run with 3.3.2, up to 1.5 s where the CPU is looked up."""
_SHORT_S: Final = 60.0
_TOUCHING_S: Final = 2.0
"""Runs that overlap by less are taken to follow each other: the stamps are whole seconds, and the
durations count up to 1.5 s of start-up."""
_PLAIN: Final = frozenset(
    {"id", "duration_s", "start_unix_s", "timestamp", "session", "workload", "note"}
)
_SAME_NAME: Final[Mapping[str, str]] = {"codecarbon": "codecarbon_total"}


@dataclass(frozen=True, slots=True)
class ToolRow:
    """One run as a tool reports it.

    `energies_j` maps the tool's own field (CodeCarbon) or the input's id (plain CSV) to J;
    `ratios` holds columns without unit (a CPU load); `facts` are what the file says about
    how the numbers were made, as text. `end_s` counts seconds on the file's own clock.
    """

    where: str
    id: str
    tool: Tool
    duration_s: float
    duration_u_s: float
    energies_j: Mapping[str, float]
    ratios: Mapping[str, float] = field(default_factory=dict)
    facts: Mapping[str, str] = field(default_factory=dict)
    end_s: float | None = None
    session: str | None = None
    workload: str | None = None
    flags: tuple[str, ...] = ()

    @property
    def start_s(self) -> float | None:
        """Return when the run began, s on the file's own clock, None where that is not said."""
        return None if self.end_s is None else self.end_s - self.duration_s

    @property
    def machine(self) -> tuple[str, str]:
        """Return what the file says of the machine: CPU and GPU model."""
        return self.facts.get("cpu_model", ""), self.facts.get("gpu_model", "")


@dataclass(frozen=True, slots=True)
class ToolFile:
    """A whole file: which tool wrote it, its rows, and its SHA-256."""

    path: Path
    tool: Tool
    rows: tuple[ToolRow, ...]
    sha256: str


def read_tool_file(path: Path) -> ToolFile:
    """Read a file of CodeCarbon's or a plain CSV.

    Raises:
        InputError: the file cannot be read, is cut off, or holds a value that is none.

    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(
            f"Expected an emissions.csv or a CSV with named columns in {path}; it cannot be read "
            f"({error.strerror})."
        ) from None
    records = list(table_records(path, data, check=_check_header))
    if not records:
        raise InputError(f"{path}: Expected rows under a header; got none.")
    header = frozenset(records[0][1])
    read = _codecarbon if header >= _CODECARBON_MARKS else _plain
    rows = [read(where, record) for where, record in records]
    unfinished = not data.endswith((b"\n", b"\r"))
    if unfinished:  # complete by its number of fields, yet its last digits may be missing
        last = rows[-1]
        rows[-1] = _flagged(last, "unterminated")
    return ToolFile(path, rows[0].tool, tuple(rows), "sha256:" + hashlib.sha256(data).hexdigest())


def codecarbon_row(record: Mapping[str, str]) -> ToolRow:
    """Return one row of an `emissions.csv`, given as `csv.DictReader` gives it."""
    missing = sorted(_CODECARBON_MARKS - set(record))
    if missing:
        raise InputError(
            f"Expected a row of CodeCarbon's emissions.csv; it has no {', '.join(missing)}."
        )
    return _codecarbon("row", {str(k): "" if v is None else str(v) for k, v in record.items()})


def overlapping(rows: tuple[ToolRow, ...]) -> tuple[tuple[int, ...], ...]:
    """Group the indices of rows that overlap in time on one machine, each group in file order.

    A row without a time stands alone: nothing says that it overlaps.
    """
    order = sorted(
        (i for i, r in enumerate(rows) if r.start_s is not None),
        key=lambda i: (rows[i].machine, rows[i].start_s),
    )
    groups: list[list[int]] = [[i] for i, r in enumerate(rows) if r.start_s is None]
    current: list[int] = []
    end_s = -math.inf
    for i in order:
        start_s, own_end_s = rows[i].start_s or 0.0, rows[i].end_s or 0.0
        joins = current and rows[current[0]].machine == rows[i].machine
        # Two short runs may lie wholly within the tolerance, hence half of either as a bound.
        slack_s = min(_TOUCHING_S, rows[i].duration_s / 2)
        if joins and start_s < end_s - slack_s:
            current.append(i)
            end_s = max(end_s, own_end_s)
        else:
            current = [i]
            groups.append(current)
            end_s = own_end_s
    return tuple(tuple(sorted(g)) for g in sorted(groups, key=min))


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


def _check_header(path: Path, header: list[str]) -> None:
    names = set(header)
    if names >= _CODECARBON_MARKS or "duration_s" in names:
        return
    separator = next((s for s in ";\t|" if len(header) == 1 and s in header[0]), None)
    hint = f" It is separated by {separator!r}; use commas." if separator else ""
    raise InputError(
        f"{path}:1: Expected CodeCarbon's columns ({', '.join(sorted(_CODECARBON_MARKS))}, ...) or "
        f"`duration_s` and `<input>_j|_wh|_kwh|_w`; got {', '.join(header)[:120]!r}.{hint}"
    )


def _codecarbon(where: str, record: Mapping[str, str]) -> ToolRow:
    duration_s = _number(where, "duration", record["duration"], least=0.0)
    if duration_s <= 0:
        raise InputError(f"{where}: Expected duration above 0 s; got {record['duration']!r}.")
    energies = {
        name: 3.6e6 * _number(where, name, record[name], least=0.0)
        for name in _CODECARBON_ENERGIES
        if not _absent(record.get(name))
    }
    facts = {k: record[k] for k in _CODECARBON_FACTS if not _absent(record.get(k))}
    facts.update(_shown_mode(record, duration_s))
    identity = next(
        (record[k] for k in ("run_id", "task_name", "experiment_id") if record.get(k)), where
    )
    row = ToolRow(
        where=where,
        id=record.get("task_name") or identity,
        tool="codecarbon",
        duration_s=duration_s,
        duration_u_s=_CODECARBON_DURATION_U_S,
        energies_j=energies,
        facts=facts,
        end_s=_instant(where, "timestamp", record["timestamp"]),
    )
    return _flagged(row, "short") if duration_s < _SHORT_S else row


def _shown_mode(record: Mapping[str, str], duration_s: float) -> dict[str, str]:
    """Return what the energy itself shows of the mode: see `grain`.

    `cpu_mode` where only a counter can have made it, `cpu_counter` = `no` where none can.
    """
    text = record.get("cpu_energy")
    if _absent(text) or text is None:
        return {}
    pue = 1.0 if _absent(record.get("pue")) else float(record["pue"])
    if pue <= 0:
        return {}
    grain = codecarbon_grain("cpu", text, duration_s, pue)
    if grain.whole == "yes":
        return {"cpu_mode": "intel_rapl"}
    return {"cpu_counter": "no"} if grain.whole == "no" else {}


def _plain(where: str, record: Mapping[str, str]) -> ToolRow:
    """Read a row of a CSV with `duration_s` and columns named after inputs."""
    duration_s = _number(where, "duration_s", record["duration_s"], least=0.0)
    if duration_s <= 0:
        raise InputError(f"{where}: Expected duration_s above 0; got {record['duration_s']!r}.")
    energies: dict[str, float] = {}
    ratios: dict[str, float] = {}
    facts: dict[str, str] = {}
    for column, value in record.items():
        lower = column.lower()
        if lower in _PLAIN or _absent(value):
            continue
        if lower.endswith("_mode") or lower in ("pue", "tracking_mode"):
            facts[lower] = value
            continue
        if lower == "cpu_load":
            ratios[lower] = _number(where, column, value, least=0.0)
            continue
        scale = duration_s if lower.endswith("_w") else None
        name = lower[:-2]
        for suffix, joules in _SUFFIXES.items():
            if lower.endswith(suffix):
                scale, name = joules, lower[: -len(suffix)]
                break
        if scale is None or lower.endswith("_u_w"):
            continue
        name = _SAME_NAME.get(name, name)
        if name in energies:
            raise InputError(f"{where}: Expected {name} in one column; {column!r} is another one.")
        energies[name] = scale * _number(where, column, value, least=0.0)
    end_s = None
    if not _absent(record.get("start_unix_s")):
        end_s = _number(where, "start_unix_s", record["start_unix_s"]) + duration_s
    elif not _absent(record.get("timestamp")):
        end_s = _instant(where, "timestamp", record["timestamp"])
    return ToolRow(
        where=where,
        id=record.get("id") or where,
        tool="csv",
        duration_s=duration_s,
        duration_u_s=0.0,
        energies_j=energies,
        ratios=ratios,
        facts=facts,
        end_s=end_s,
        session=record.get("session") or None,
        workload=record.get("workload") or None,
    )


def _absent(value: str | None) -> bool:
    """Return whether a cell says nothing (pandas writes a missing number as an empty cell)."""
    return value is None or value.lower() in ("", "nan", "none", "null", "na", "n/a")


def _number(where: str, name: str, value: str, *, least: float | None = None) -> float:
    if _absent(value):
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


def _instant(where: str, name: str, value: str) -> float:
    """Return an ISO 8601 instant in s; one without zone counts on a clock of its own."""
    try:
        stamp = datetime.fromisoformat(value)
    except ValueError:
        raise InputError(
            f"{where}: Expected an instant such as 2026-01-31T12:00:00 in {name}; got {value!r}."
        ) from None
    return (stamp if stamp.tzinfo else stamp.replace(tzinfo=UTC)).timestamp()


def _flagged(row: ToolRow, flag: str) -> ToolRow:
    return replace(row, flags=(*row.flags, flag))
