"""Reading a run, sealed or not, ours or imported: documents and series in SI units.

A sealed run is read from its Parquet files; one that is still being recorded, or whose recorder
died, from its Arrow streams up to the last complete batch. A `Series` is one channel with the
instants that its values belong to; what a value means for the energy is in its `channel.kind`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from ..errors import RunError
from .clocks import suspends
from .columns import complete_batches
from .device_clock import device_instants
from .documents import (
    ChannelInfo,
    Clock,
    Cost,
    Derived,
    Descriptor,
    Document,
    Fault,
    Start,
    Step,
    Stop,
    from_json,
)
from .seal import arrows_path, parquet_path
from .units import si_factor

__all__ = ["Run", "Series", "parse_log", "read_run"]

Instants = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

_GAP_CADENCES = 5.0


@dataclass(frozen=True, slots=True, eq=False)
class Series:
    """One channel of a run as arrays of equal length, in SI units (W, J, V, A, Hz, 1).

    `t_ns` is the stamp of each value: for a polled meter the reply, for a polled estimator the
    middle between request and reply (the truth lies within `t_half_width_ns`), for a streaming
    instrument its own clock fitted to the arrival of its blocks. `value` is NaN where there is
    none; `faults` says why, by index. `window_ns` holds each row's own averaging window, 0 where it
    is unknown; where it is `None`, `channel.window_s` holds for all. An `instant` channel is
    unobserved between samples further apart than `max_gap_s`. `slept_ns` are the spans (monotonic)
    in which the machine slept, when a register of its own may have begun again.
    """

    stream: str
    channel: ChannelInfo
    t_ns: Instants
    t_half_width_ns: Instants
    value: Floats
    window_ns: Instants | None
    cadence_s: float | None
    max_gap_s: float | None
    source: str
    mode: str | None
    boundary: str | None
    role: Literal["meter", "estimator", "sensor"]
    faults: Mapping[int, str]
    slept_ns: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Run:
    """A recording: its documents, and its samples on demand.

    `stop` is `None` while the run is not sealed; `notes` says what had to be skipped. `cost` is the
    last word on what the observation cost.
    """

    path: Path
    start: Start
    descriptors: Mapping[str, Descriptor]
    clocks: tuple[Clock, ...]
    steps: tuple[Step, ...]
    faults: tuple[Fault, ...]
    cost: Cost | None
    stop: Stop | None
    notes: tuple[str, ...] = ()

    def meters(self) -> tuple[str, ...]:
        """Return the streams of physical instruments, in the order they were opened."""
        return tuple(d.stream for d in self.descriptors.values() if d.role == "meter")

    def estimators(self) -> tuple[str, ...]:
        """Return the streams of software estimators, in the order they were opened."""
        return tuple(d.stream for d in self.descriptors.values() if d.role == "estimator")

    def inputs(self) -> Mapping[str, tuple[str, str]]:
        """Return stream and channel of every input id that an estimator of this run offers.

        Where two streams offer the same id, the later one's is `<id>@<stream>`.
        """
        found: dict[str, tuple[str, str]] = {}
        for stream in self.estimators():
            for channel in self.channels(stream):
                if channel.input is not None:
                    taken = channel.input in found
                    key = f"{channel.input}@{stream}" if taken else channel.input
                    found.setdefault(key, (stream, channel.name))
        return found

    def channels(self, stream: str) -> tuple[ChannelInfo, ...]:
        """Return the channels of a stream as they were recorded, derived ones last."""
        descriptor = self._descriptor(stream)
        return descriptor.channels + tuple(d.channel for d in descriptor.derived)

    def rows(self, stream: str) -> int:
        """Return how many rows a stream has."""
        self._descriptor(stream)
        source = _file_of(self.path, stream, sealed=self.stop is not None)
        if source.suffix == ".parquet":
            return int(pq.read_metadata(source).num_rows)
        return sum(batch.num_rows for batch in complete_batches(source))

    def series(self, stream: str, channel: str) -> Series:
        """Return one channel, recorded or derived, in SI units.

        Raises:
            RunError: the run has no such stream or channel, or its file cannot be read.

        """
        descriptor = self._descriptor(stream)
        derived = next((d for d in descriptor.derived if d.channel.name == channel), None)
        own = next((c for c in descriptor.channels if c.name == channel), None)
        if own is not None:
            needed: tuple[str, ...] = (channel,)
        elif derived is not None:
            needed = tuple(sorted({name for term in derived.terms for name in term}))
        else:
            names = ", ".join(c.name for c in self.channels(stream))
            raise RunError(f"{self.path}: stream {stream} has {names}; got {channel!r}.")
        table = _table(self.path, descriptor, needed, sealed=self.stop is not None)
        by_name = {c.name: c for c in descriptor.channels}
        si = {name: _in_si(_numbers(table, name), by_name[name]) for name in needed}
        value = si[channel] if derived is None else _derive(derived, si)
        info = _info_in_si(own if derived is None else derived.channel)  # type: ignore[arg-type]
        t_ns, half_width_ns = _instants(table, descriptor)
        cadence_s = descriptor.cadence_s or _cadence_s(t_ns)
        return Series(
            stream=stream,
            channel=info,
            t_ns=t_ns,
            t_half_width_ns=half_width_ns,
            value=value,
            window_ns=_windows(table, info),
            cadence_s=cadence_s,
            max_gap_s=None if cadence_s is None else _GAP_CADENCES * cadence_s,
            source=descriptor.source,
            mode=descriptor.mode,
            boundary=descriptor.boundary,
            role=descriptor.role,
            faults=_faults(table),
            slept_ns=self._slept_ns() if descriptor.role == "estimator" else (),
        )

    def _slept_ns(self) -> tuple[tuple[int, int], ...]:
        return tuple((begin, end) for begin, end, _ in suspends(self.clocks))

    def _descriptor(self, stream: str) -> Descriptor:
        if stream not in self.descriptors:
            raise RunError(
                f"{self.path}: the run has the streams {', '.join(self.descriptors) or 'none'}; "
                f"got {stream!r}."
            )
        return self.descriptors[stream]


def read_run(path: Path | str) -> Run:
    """Read the documents of a run; its samples are read when they are asked for.

    Raises:
        RunError: the directory is no run, or its documents contradict each other.

    """
    path = Path(path)
    log = path / "run.jsonl"
    if not log.is_file():
        what = "no run.jsonl in it" if path.is_dir() else "no such directory"
        raise RunError(f"{path}: expected the directory of a run; there is {what}.")
    documents, notes = parse_log(log)
    if not documents or not isinstance(documents[0], Start):
        raise RunError(f"{log}: expected a start document in the first line; found none.")
    start = documents[0]
    major = start.schema_version.split(".")[0]
    if major != "1":
        raise RunError(
            f"{log}: expected schema version 1.x; got {start.schema_version}. "
            "Read it with a newer wattcal."
        )
    descriptors: dict[str, Descriptor] = {}
    stop = None
    for document in documents[1:]:
        if isinstance(document, Start) or stop is not None:
            raise RunError(f"{log}: a {document.type} document stands where the run has ended.")
        if isinstance(document, Descriptor):
            if document.stream in descriptors:
                raise RunError(f"{log}: the stream {document.stream} is described twice.")
            descriptors[document.stream] = document
        elif isinstance(document, Stop):
            stop = document
    return Run(
        path=path,
        start=start,
        descriptors=descriptors,
        clocks=tuple(d for d in documents if isinstance(d, Clock)),
        steps=tuple(d for d in documents if isinstance(d, Step)),
        faults=tuple(d for d in documents if isinstance(d, Fault)),
        cost=next((d for d in reversed(documents) if isinstance(d, Cost)), None),
        stop=stop,
        notes=notes,
    )


def parse_log(
    log: Path,
) -> tuple[list[Document], tuple[str, ...]]:
    """Return the documents of a `run.jsonl`, and a note for each line that had to be skipped.

    A recorder that dies may leave its last line unterminated; a repair ends that line and goes on
    behind it. Either way the line holds no document and is skipped.
    """
    lines = log.read_bytes().split(b"\n")
    documents, notes = [], []
    if lines[-1]:
        notes.append(f"run.jsonl: the last line ({len(lines)}) is cut off and was skipped")
    for number, line in enumerate(lines[:-1], start=1):
        try:
            value = json.loads(line)
        except ValueError:
            notes.append(f"run.jsonl: line {number} is not JSON and was skipped")
            continue
        if not isinstance(value, dict):
            notes.append(f"run.jsonl: line {number} is no document and was skipped")
            continue
        try:
            documents.append(from_json(value))
        except RunError as error:
            raise RunError(f"{log}, line {number}: {error}") from None
    return documents, tuple(notes)


def _file_of(run: Path, stream: str, *, sealed: bool) -> Path:
    """Return where the samples lie: before `stop` the Arrow stream is the truth, then Parquet."""
    arrows, parquet = arrows_path(run, stream), parquet_path(run, stream)
    if not sealed and (arrows.exists() or not parquet.exists()):
        return arrows
    return parquet


def _table(run: Path, descriptor: Descriptor, channels: Sequence[str], *, sealed: bool) -> pa.Table:
    source = _file_of(run, descriptor.stream, sealed=sealed)
    wanted = ["t_request_ns", "t_reply_ns", "device_ticks", "window_ns", *channels, "fault"]
    if source.suffix == ".arrows":
        batches = list(complete_batches(source))
        if not batches:
            from .columns import schema_of

            return schema_of(descriptor, windows=False).empty_table()
        names = [n for n in wanted if n in batches[0].schema.names]
        table = pa.Table.from_batches([b.select(names) for b in batches])
    else:
        try:
            with pq.ParquetFile(source, page_checksum_verification=True) as file:
                names = [n for n in wanted if n in file.schema_arrow.names]
                table = file.read(columns=names)
        except (OSError, pa.ArrowInvalid) as error:
            raise RunError(
                f"{source}: expected the sealed samples of {descriptor.stream}; cannot read them "
                f"({error}). `wattcal runs check` says what is left of the run."
            ) from None
    lost = [c for c in (*channels, "t_reply_ns") if c not in table.column_names]
    if lost:
        raise RunError(f"{source}: expected the columns {', '.join(lost)}; they are not there.")
    return table


def _numbers(table: pa.Table, name: str) -> Floats:
    """Return a column as float64, NaN where it is null."""
    column = table.column(name)
    if column.null_count or not pa.types.is_floating(column.type):
        column = column.cast(pa.float64())
    return np.asarray(column.to_numpy(), dtype=np.float64)


def _integers(table: pa.Table, name: str) -> Instants:
    return np.asarray(table.column(name).to_numpy(), dtype=np.int64)


def _factor(channel: ChannelInfo) -> Fraction:
    """Return the exact factor from a stored number to the SI unit."""
    scale = Fraction(1) if channel.scale is None else Fraction(*channel.scale)
    return scale * si_factor(channel.unit)[1]


def _in_si(stored: Floats, channel: ChannelInfo) -> Floats:
    factor = _factor(channel)
    # One rounding per value: an integer times p, then divided by q.
    scaled = stored if factor.numerator == 1 else stored * float(factor.numerator)
    return scaled if factor.denominator == 1 else scaled / float(factor.denominator)


def _info_in_si(channel: ChannelInfo) -> ChannelInfo:
    unit, exact = si_factor(channel.unit)
    factor = float(exact)

    def scaled(value: float | None) -> float | None:
        return None if value is None else value * factor

    accuracy = channel.accuracy
    if accuracy is not None and "absolute" in accuracy:
        accuracy = {**accuracy, "absolute": float(accuracy["absolute"]) * factor}
    low_high = channel.plausible
    return replace(
        channel,
        unit=unit,
        scale=None,
        resolution=scaled(channel.resolution),
        wrap=scaled(channel.wrap),
        range_max=scaled(channel.range_max),
        accuracy=accuracy,
        plausible=None if low_high is None else (low_high[0] * factor, low_high[1] * factor),
    )


def _derive(derived: Derived, si: Mapping[str, Floats]) -> Floats:
    products = [np.prod([si[name] for name in term], axis=0) for term in derived.terms]
    # The factors are in SI, so the sum is too, whatever unit the derived channel is declared in.
    return np.asarray(np.sum(products, axis=0), dtype=np.float64)


def _instants(table: pa.Table, descriptor: Descriptor) -> tuple[Instants, Instants]:
    request, reply = _integers(table, "t_request_ns"), _integers(table, "t_reply_ns")
    if descriptor.arrival == "streamed":
        return _streamed_instants(table, descriptor, reply), np.zeros(reply.size, dtype=np.int64)
    half = (reply - request) // 2
    return (reply if descriptor.role == "meter" else request + half), half


def _streamed_instants(table: pa.Table, descriptor: Descriptor, reply: Instants) -> Instants:
    if descriptor.tick_rate_hz is None or "device_ticks" not in table.column_names:
        return reply
    column = table.column("device_ticks")
    ticking = ~np.asarray(column.is_null().to_numpy(), dtype=bool)
    if not ticking.any():
        return reply
    ticks = np.asarray(column.drop_null().to_numpy(), dtype=np.int64)
    lost = np.asarray(table.column("fault").is_valid().to_numpy(), dtype=bool)
    # A fault without samples (a silence) breaks the count of the sample behind it.
    behind = np.zeros(lost.size, dtype=bool)
    behind[1:] = lost[:-1] & ~ticking[:-1]
    result = reply.copy()
    result[ticking] = device_instants(
        ticks, reply[ticking], descriptor.tick_rate_hz, (lost | behind)[ticking]
    )
    return result


def _windows(table: pa.Table, channel: ChannelInfo) -> Instants | None:
    if channel.kind != "mean" or "window_ns" not in table.column_names:
        return None
    return np.asarray(table.column("window_ns").fill_null(0).to_numpy(), dtype=np.int64)


def _cadence_s(t_ns: Instants) -> float | None:
    return float(np.median(np.diff(t_ns))) / 1e9 if t_ns.size > 1 else None


def _faults(table: pa.Table) -> Mapping[int, str]:
    column = table.column("fault")
    index = np.flatnonzero(np.asarray(column.is_valid().to_numpy(), dtype=bool))
    return dict(zip(index.tolist(), column.drop_null().to_pylist(), strict=True))
