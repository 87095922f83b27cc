"""The columns of a stream on disk, and how its batches follow each other in the file.

A stream file is an Arrow IPC stream: one schema message, then record batch messages, each complete
in itself (Arrow columnar format, "IPC Streaming Format"). The messages are serialised here one by
one, so that the writer can hand each to the kernel in a single `write` and cut a failed one off
again.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from ..errors import RunError
from .documents import Descriptor

__all__ = [
    "END_OF_STREAM",
    "FIXED_COLUMNS",
    "check_names",
    "complete_batches",
    "schema_of",
]

FIXED_COLUMNS = ("t_request_ns", "t_reply_ns", "device_ticks", "window_ns", "fault")
# Continuation marker and a metadata length of zero (Arrow columnar format, "IPC Streaming Format").
END_OF_STREAM = b"\xff\xff\xff\xff\x00\x00\x00\x00"


_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


def check_names(descriptor: Descriptor) -> None:
    """Refuse names that cannot be a file or a column of a run.

    Raises:
        RunError: a name has other characters, appears twice, or is one of the fixed columns.

    """
    names = [c.name for c in descriptor.channels] + [d.channel.name for d in descriptor.derived]
    for name in (descriptor.stream, *names):
        if not _NAME.fullmatch(name):
            raise RunError(
                f"Stream {descriptor.stream!r}: expected a name of letters, digits, '_', '.' and "
                f"'-'; got {name!r}."
            )
    for name in names:
        if name in FIXED_COLUMNS or names.count(name) > 1:
            raise RunError(
                f"Stream {descriptor.stream}: the channel name {name} is taken; choose another."
            )
    known = {c.name for c in descriptor.channels}
    for derived in descriptor.derived:
        for name in (n for term in derived.terms for n in term):
            if name not in known:
                raise RunError(
                    f"Stream {descriptor.stream}: {derived.channel.name} is derived from {name}, "
                    f"which is no channel of it; it has {', '.join(sorted(known))}."
                )


def schema_of(descriptor: Descriptor, *, windows: bool) -> pa.Schema:
    """Return the Arrow schema of a stream; `windows` adds a column with each row's own window, ns.

    A polled channel is float64. A streamed one keeps the instrument's raw integers (int32 holds the
    24 bits of the finest converters); the descriptor has their scale.
    """
    streamed = descriptor.arrival == "streamed"
    fields = [
        pa.field("t_request_ns", pa.int64(), nullable=False),
        pa.field("t_reply_ns", pa.int64(), nullable=False),
    ]
    if streamed:
        fields.append(pa.field("device_ticks", pa.int64()))
    if windows:
        fields.append(pa.field("window_ns", pa.int64()))
    value = pa.int32() if streamed else pa.float64()
    fields += [pa.field(c.name, value) for c in descriptor.channels]
    fields.append(pa.field("fault", pa.string()))
    return pa.schema(fields)


def complete_batches(path: Path) -> Iterator[pa.RecordBatch]:
    """Yield the batches of an Arrow IPC stream up to the last complete one, wherever it is cut.

    Reading all at once would fail on a cut file; batch by batch only the cut batch is lost.
    """
    try:
        with pa.OSFile(str(path), "rb") as source, pa.ipc.open_stream(source) as reader:
            while True:
                try:
                    yield reader.read_next_batch()
                except StopIteration:
                    return
    except (pa.ArrowInvalid, OSError, EOFError):
        return
