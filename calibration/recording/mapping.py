"""The mapping: which file and column of a recording is which stream and channel.

A mapping is a TOML file. It describes one run (`[[stream]]` at the top) or several (`[[run]]`
tables with streams of their own, or with `where` conditions that pick their rows out of streams
that all runs share); `[template.NAME]` holds what streams share. The keys are those
of the dataclasses below; `datasets/` holds three worked examples.
"""

from __future__ import annotations

from collections.abc import Mapping as MappingABC
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

from .documents import ChannelInfo, Derived

__all__ = [
    "TIME_UNITS",
    "ChannelMapping",
    "Column",
    "DataFile",
    "FitRecipe",
    "Mapping",
    "RunMapping",
    "Segment",
    "SegmentTable",
    "StreamMapping",
    "TimeMapping",
]

Column: TypeAlias = str | int
# Unit of time -> picoseconds.
TIME_UNITS: Final = {"s": 10**12, "ms": 10**9, "us": 10**6, "ns": 10**3, "ps": 1}


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeMapping:
    """How the rows of a file get their instants.

    `column` holds the stamp, as a number of `unit` or as text in the (strptime) `format` at
    `zone_s` seconds east of UTC; `offset_s` is added. `epoch` is `unix`, or `none` for a clock with
    a zero of its own. A mean's own window begins at `begin_column`, or at the stamp before
    (`window = "since_previous"`; the first row's is then unknown). A raw byte stream has neither:
    its samples count `tick_rate_hz` from the instant that stands in `start_file`. `backwards` is
    what to do with rows out of order: `error`, or `drop` them and record how many (as is always
    done with those that repeat a time because a clock was set back). `window_column` holds how long
    each row's own window was, in `unit` (s where the stamps are text).
    """

    column: Column | None
    begin_column: Column | None
    unit: str | None
    format: str | None
    epoch: Literal["unix", "none"]
    zone_s: int
    offset_s: float
    stamp_at: Literal["start", "middle", "end"]
    window: Literal["since_previous"] | None
    window_column: Column | None
    backwards: Literal["error", "drop"]
    start_file: str | None
    tick_rate_hz: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelMapping:
    """One channel: the sum of `columns` times `scale`, in the unit of `info`.

    An `increment` is the energy since the row before; it is stored as a counter that ends at the
    sum. `plausible` bounds what is read (for an increment: each of them), in the channel's unit.
    """

    columns: tuple[Column, ...]
    scale: Fraction
    increment: bool
    plausible: tuple[float, float] | None
    info: ChannelInfo


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamMapping:
    """One stream of a run, and the file it lies in.

    `last_line` is what to do with a last line that has no line end and may be cut: `error`, `keep`
    or `drop` it. `missing` lists the cells that mean "no value". `where` holds (column, text): only
    rows with these texts belong to the run, where one file holds several.
    """

    id: str
    role: Literal["meter", "estimator", "sensor"]
    boundary: str | None
    file: str
    format: Literal["columns", "csv", "tsv", "pmd-usb"]
    time: TimeMapping
    channels: tuple[ChannelMapping, ...]
    derived: tuple[Derived, ...]
    source: str
    mode: str | None
    scope: tuple[str, ...]
    cadence_s: float | None
    configuration: MappingABC[str, Any]
    identity: MappingABC[str, str]
    missing: tuple[str, ...]
    last_line: Literal["error", "keep", "drop"]
    where: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """A stretch of the recording in which one thing ran, in unix seconds (or the file's own)."""

    workload: str
    level: float | None
    start_s: float
    end_s: float
    settle_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentTable:
    """Segments that stand in a file, one a row.

    `workload` may hold column names in braces (`"kernel-{experiment}"`). `level` names a column, or
    is `position`: the row's place among the rows of its workload, from 1. `between` names the
    workload of the stretches before, between and after the segments, where the source says what it
    was (`idle`). `where` holds (column, text), as for a stream.
    """

    file: str
    format: Literal["columns", "csv", "tsv"]
    time: TimeMapping
    workload: str
    level: Column | None
    settle_s: float
    between: str | None = None
    where: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RunMapping:
    """One run: an id (its directory's name), a session, streams, and what ran when."""

    id: str
    session: str
    note: str | None
    streams: tuple[StreamMapping, ...]
    segments: tuple[Segment, ...]
    segment_table: SegmentTable | None

    def files(self) -> tuple[str, ...]:
        """Return every file that the run is made from."""
        names = [s.file for s in self.streams]
        names += [s.time.start_file for s in self.streams if s.time.start_file is not None]
        if self.segment_table is not None:
            names.append(self.segment_table.file)
        return tuple(dict.fromkeys(names))


@dataclass(frozen=True, slots=True, kw_only=True)
class DataFile:
    """A file of the data set: its SHA-256, and its path at the source.

    `derived` says how we made it where the source has no such file.
    """

    file: str
    sha256: str | None
    path: str
    derived: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class FitRecipe:
    """How a run is looked at in the table of all data sets: options of `wattcal fit`.

    `published_gain` is the span of gains that the recording's authors have published, W/W.
    """

    run: str
    input: str
    reference: str | None
    segments: str
    model: str
    published_gain: tuple[float, float] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Mapping:
    """A whole mapping. `url` holds `{commit}` and `{path}` where it can be fetched from."""

    path: Path
    name: str
    title: str | None
    licence: str
    citation: str
    data_kind: Literal["measured", "simulated"]
    url: str | None
    commit: str | None
    runs: tuple[RunMapping, ...]
    files: tuple[DataFile, ...]
    fits: tuple[FitRecipe, ...] = ()

    def run_directory(self, run: RunMapping) -> str:
        """Return the name of a run's directory."""
        return self.name if run.id == self.name else f"{self.name}-{run.id}"
