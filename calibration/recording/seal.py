"""Sealing: from the stream that grew while recording to a Parquet file with a hash.

The order makes every instant safe to die at: the Parquet file is written under a temporary name,
synced, read back and compared, renamed; only when every stream is there is `stop` appended to
`run.jsonl`; only then are the `.arrows` files removed. Until `stop` stands the `.arrows` files are
the truth; from then on the Parquet files are.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from ..errors import RunError
from .columns import complete_batches
from .files import sha256_of, sync_directory

__all__ = ["arrows_path", "parquet_path", "seal_stream", "temporary_path"]

_ROWS_PER_GROUP = 1 << 17
_FINITE_STEPS = ("t_request_ns", "t_reply_ns", "device_ticks", "window_ns")


def arrows_path(run: Path, stream: str) -> Path:
    """Return where a stream lies while it is recorded."""
    return run / f"{stream}.arrows"


def parquet_path(run: Path, stream: str) -> Path:
    """Return where a stream lies once it is sealed."""
    return run / f"{stream}.parquet"


def temporary_path(run: Path, stream: str) -> Path:
    """Return the name under which a stream's Parquet file is written."""
    return run / f".{stream}.parquet.part"


def seal_stream(run: Path, stream: str, schema: pa.Schema) -> tuple[int, str]:
    """Turn `<stream>.arrows` into `<stream>.parquet`; return its rows and its SHA-256.

    Memory does not grow with the length of the run. Doing it again after a crash is harmless.

    Raises:
        RunError: the disk refuses, or the file does not read back as what was written.

    """
    source, target = arrows_path(run, stream), parquet_path(run, stream)
    part = temporary_path(run, stream)
    try:
        part.unlink(missing_ok=True)
        rows = _write(source, part, schema)
        _compare(source, part, schema)
        os.replace(part, target)
        sync_directory(run)
        return rows, sha256_of(target)
    except OSError as error:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
        raise RunError(
            f"{run}: {stream} cannot be sealed, the disk refuses ({error}). What it has stays "
            f"readable; make room, then `wattcal runs repair {run}`."
        ) from error


def _write(source: Path, part: Path, schema: pa.Schema) -> int:
    steps = [name for name in schema.names if name in _FINITE_STEPS]
    rows = 0
    with part.open("wb") as file:
        with pq.ParquetWriter(
            file,
            schema,
            compression="zstd",
            use_dictionary=["fault"],
            # Instants and ticks advance by nearly equal steps: their differences are small.
            column_encoding=dict.fromkeys(steps, "DELTA_BINARY_PACKED"),
            # A damaged page is refused when it is read, not only by `runs check`.
            write_page_checksum=True,
        ) as writer:
            for group in _groups(source, schema):
                writer.write_table(group, row_group_size=_ROWS_PER_GROUP)
                rows += group.num_rows
        file.flush()
        os.fsync(file.fileno())
    return rows


def _compare(source: Path, part: Path, schema: pa.Schema) -> None:
    with pq.ParquetFile(part) as written:
        groups = 0
        for number, group in enumerate(_groups(source, schema)):
            groups = number + 1
            if number >= written.num_row_groups or not written.read_row_group(number).equals(group):
                raise RunError(
                    f"{part}: expected the Parquet file to read back as {source.name}; row group "
                    f"{number} differs. The disk or its memory is faulty; the stream is kept."
                )
        if groups != written.num_row_groups:
            raise RunError(
                f"{part}: expected {groups} row groups to read back; got {written.num_row_groups}."
            )


def _groups(source: Path, schema: pa.Schema) -> Iterator[pa.Table]:
    """Yield the stream in tables of one row group each, the same every time."""
    pending: list[pa.RecordBatch] = []
    count = 0
    for batch in complete_batches(source):
        pending.append(batch)
        count += batch.num_rows
        if count >= _ROWS_PER_GROUP:
            whole = pa.Table.from_batches(pending, schema).combine_chunks()
            full = count - count % _ROWS_PER_GROUP
            for start in range(0, full, _ROWS_PER_GROUP):
                yield whole.slice(start, _ROWS_PER_GROUP)
            pending = whole.slice(full).to_batches() if full < count else []
            count -= full
    if count:
        yield pa.Table.from_batches(pending, schema).combine_chunks()
