"""One stream while it is written: rows collect in memory and leave as Arrow batches."""

from __future__ import annotations

import math
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ..errors import RunError
from .columns import END_OF_STREAM, schema_of
from .documents import Descriptor
from .files import AppendFile

__all__ = ["StreamWriter"]

_ROWS_PER_BATCH: Final = 1 << 15
# What may wait in memory while the disk refuses: two million rows are ten minutes at 3 kHz.
_ROWS_AT_MOST: Final = 1 << 21


class StreamWriter:
    """The growing file of one stream; every method may be called from any thread.

    Whoever appends does not wait for the disk until far too many rows wait in memory: a streaming
    instrument does not wait either, and the kernel holds a fifth of a second of it.

    A row whose channels are not all there carries a fault: the one that is given, else `missing`.
    """

    def __init__(self, path: Path, descriptor: Descriptor, *, windows: bool = False) -> None:
        self.descriptor = descriptor
        self.schema = schema_of(descriptor, windows=windows)
        self.fault_counts: dict[str, int] = {}
        self._path = path
        self._names = tuple(c.name for c in descriptor.channels)
        self._known = frozenset(self._names)
        self._streamed = descriptor.arrival == "streamed"
        self._windows = windows
        self._disk = threading.Lock()  # one thread writes; taken before the guard, never inside
        self._guard = threading.Lock()
        self._file: AppendFile | None = None
        self._rows: list[tuple[Any, ...]] = []
        self._batches: list[pa.RecordBatch] = []
        self._waiting = 0
        self._closed = False

    def open(self) -> None:
        """Create the file and write the schema message."""
        # The first conversion loads pandas, which takes longer than a kernel keeps a fast stream.
        pa.array(np.empty(0))
        with self._guard:
            self._file = AppendFile(self._path)
            self._file.append(self.schema.serialize().to_pybytes())

    def append(
        self,
        t_request_ns: int,
        t_reply_ns: int,
        values: Mapping[str, float],
        fault: str | None = None,
        *,
        window_ns: int | None = None,
    ) -> None:
        """Add one polled row; a channel that is absent or not finite is stored as null.

        Raises:
            RunError: a value belongs to no channel, or the disk has refused for too long.

        """
        if not values.keys() <= self._known:
            strange = ", ".join(sorted(values.keys() - self._known))
            raise RunError(
                f"Stream {self.descriptor.stream} has the channels {', '.join(self._names)}; "
                f"got a value for {strange}."
            )
        row: list[float | None] = []
        for name in self._names:
            value = values.get(name)
            row.append(None if value is None or not math.isfinite(value) else float(value))
        if fault is None and None in row:
            fault = "missing"
        window = (window_ns,) if self._windows else ()
        ticks = (None,) if self._streamed else ()
        with self._guard:
            self._count(fault)
            self._rows.append((t_request_ns, t_reply_ns, *ticks, *window, *row, fault))
            self._grown(1)
        self._relieve()

    def append_block(
        self,
        t_request_ns: int,
        t_reply_ns: int,
        device_ticks: npt.NDArray[np.int64],
        columns: Mapping[str, npt.NDArray[Any]],
        fault: str | None = None,
    ) -> None:
        """Add a stretch of samples that arrived together at `t_reply_ns`.

        A fault (what was lost before or inside the block) stands in its first row, beside the
        values that did arrive; an empty block with a fault becomes one row without values.
        """
        n = len(device_ticks)
        if n == 0:
            if fault is not None:
                self.append(t_request_ns, t_reply_ns, {}, fault)
            return
        self.append_rows(
            np.full(n, t_request_ns),
            np.full(n, t_reply_ns),
            columns,
            faults=None if fault is None else {0: fault},
            device_ticks=device_ticks,
        )

    def append_rows(
        self,
        t_request_ns: npt.NDArray[np.int64],
        t_reply_ns: npt.NDArray[np.int64],
        columns: Mapping[str, npt.NDArray[Any]],
        *,
        faults: Mapping[int, str] | None = None,
        device_ticks: npt.NDArray[np.int64] | None = None,
        window_ns: npt.NDArray[np.int64] | None = None,
    ) -> None:
        """Add many rows at once, as whole columns; NaN becomes null with a fault.

        `faults` holds texts by row; a row with a null and no text gets `missing`.
        """
        if set(columns) != set(self._names):
            raise RunError(
                f"Stream {self.descriptor.stream} needs the columns {', '.join(self._names)}; "
                f"got {', '.join(columns)}."
            )
        given: dict[str, npt.NDArray[Any] | None] = {
            "t_request_ns": t_request_ns,
            "t_reply_ns": t_reply_ns,
            "device_ticks": device_ticks,
            "window_ns": window_ns,
            **columns,
        }
        missing = np.zeros(len(t_reply_ns), dtype=bool)
        for name in self._names:
            if columns[name].dtype.kind == "f":
                missing |= ~np.isfinite(columns[name])
        texts = dict.fromkeys(np.flatnonzero(missing).tolist(), "missing") | dict(faults or {})
        arrays = []
        for field in self.schema:
            if field.name == "fault":
                arrays.append(_sparse(texts, missing.size))
                continue
            values = given[field.name]
            if values is None:
                arrays.append(pa.nulls(missing.size, field.type))
                continue
            mask = ~np.isfinite(values) if values.dtype.kind == "f" else None
            if field.type == pa.float64():
                values = np.asarray(values, dtype=np.float64)
            arrays.append(pa.array(values, mask=mask).cast(field.type))
        batch = pa.RecordBatch.from_arrays(arrays, schema=self.schema)
        with self._guard:
            for text in texts.values():
                self._count(text)
            self._collect()
            self._batches.append(batch)
            self._grown(batch.num_rows)
        self._relieve()

    @property
    def waiting(self) -> int:
        """Return how many rows are in memory only."""
        return self._waiting

    def flush(self) -> None:
        """Hand what waits to the kernel as one batch.

        Raises:
            RunError: the disk refuses; the rows go on waiting.

        """
        with self._disk:
            self._flush()

    def sync(self) -> None:
        """Wait until what was flushed has reached the disk."""
        with self._disk:
            if self._file is not None and not self._closed:
                self._file.sync()

    def close(self) -> None:
        """Flush, mark the end of the stream and close the file; closing twice is harmless."""
        with self._disk:
            while not self._closed and self._file is not None:
                self._flush()
                with self._guard:
                    if self._waiting:
                        continue  # of somebody who appended meanwhile
                    self._file.append(END_OF_STREAM)
                    self._file.sync()
                    self._closed = True
                    self._file.close()

    def _count(self, fault: str | None) -> None:
        if fault is not None:
            self.fault_counts[fault] = self.fault_counts.get(fault, 0) + 1

    def _grown(self, rows: int) -> None:
        """Note that rows wait (the guard is held)."""
        if self._closed or self._file is None:
            raise RunError(f"Stream {self.descriptor.stream} is closed; nothing can be added.")
        self._waiting += rows

    def _relieve(self) -> None:
        """Flush early when many rows wait, unless somebody writes; wait for it when too many do."""
        if self._waiting < _ROWS_PER_BATCH:
            return
        too_many = self._waiting >= _ROWS_AT_MOST
        if not self._disk.acquire(blocking=too_many):
            return
        try:
            self._flush()
        except RunError:
            if too_many:
                raise
        finally:
            self._disk.release()

    def _collect(self) -> None:
        """Turn the single rows that wait into a batch, so that order is kept."""
        if not self._rows:
            return
        columns = zip(*self._rows, strict=True)
        arrays = [pa.array(c, f.type) for c, f in zip(columns, self.schema, strict=True)]
        self._batches.append(pa.RecordBatch.from_arrays(arrays, schema=self.schema))
        self._rows = []

    def _flush(self) -> None:
        """Write what waits (the disk is held, the guard is not); what fails goes on waiting."""
        with self._guard:
            file = self._file
            if file is None or self._closed:
                return
            self._collect()
            waiting, self._batches = self._batches, []
        if not waiting:
            return
        try:
            # One message per flush, but none so large that a cut would lose much.
            if len(waiting) > 1 or waiting[0].num_rows > 2 * _ROWS_PER_BATCH:
                table = pa.Table.from_batches(waiting, self.schema).combine_chunks()
                waiting = table.to_batches(max_chunksize=2 * _ROWS_PER_BATCH)
            while waiting:
                file.append(waiting[0].serialize().to_pybytes())
                rows = waiting.pop(0).num_rows
                with self._guard:
                    self._waiting -= rows
        finally:
            if waiting:
                with self._guard:
                    self._batches = waiting + self._batches


def _sparse(texts: Mapping[int, str], n: int) -> pa.Array:
    """Return a text column of n rows, null but for the given ones."""
    if not texts:
        return pa.nulls(n, pa.string())
    column = np.full(n, None, dtype=object)
    column[list(texts)] = list(texts.values())
    return pa.array(column, pa.string())
