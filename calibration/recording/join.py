"""One run of two: a machine's recording with the meters that another host has recorded."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq

from ..errors import RunError
from .check import check_run
from .documents import Descriptor
from .reader import Run
from .seal import parquet_path
from .streams import StreamWriter
from .tool_runs import INDEX
from .writer import RunWriter, new_start

__all__ = ["join_runs", "refuse_unfinished"]

Instants = npt.NDArray[np.int64]
_INSTANTS = ("t_request_ns", "t_reply_ns")


def refuse_unfinished(run: Run) -> None:
    """Refuse a run that is not sealed and whole.

    Raises:
        RunError: it is not.

    """
    found = check_run(run.path)
    if run.stop is None or found:
        why = "; ".join(found) or "it is not sealed"
        raise RunError(f"{run.path}: expected a finished run to join; {why}.")


def join_runs(
    machine: Run,
    meters: Run,
    path: Path,
    *,
    to_machine: Callable[[Instants], Instants],
    how: Mapping[str, Any],
) -> None:
    """Write a new run: all of `machine`, and the meters and sensors of `meters` on its clock.

    `to_machine` moves instants of the meters' host to the machine's clock; `how` says how it was
    found and stands in the new run's setup, together with the uids of the two.

    Raises:
        RunError: a stream of one name is in both, or the directory is taken.

    """
    moved = [d for d in meters.descriptors.values() if d.role in ("meter", "sensor")]
    twice = sorted({d.stream for d in moved} & machine.descriptors.keys())
    if twice:
        raise RunError(
            f"{machine.path} and {meters.path} both hold a stream {twice[0]}; expected different "
            "names. Record with --meter NAME=ADDRESS."
        )
    simulated = "simulated" in (machine.start.data_kind, meters.start.data_kind)
    setup = dict(machine.start.setup)
    for key, value in meters.start.setup.items():
        if not setup.get(key):
            setup[key] = value
    setup["joined"] = {"machine": machine.start.uid, "meters": meters.start.uid, **how}
    fresh = new_start("measured", machine.start.session)
    start = replace(
        machine.start,
        uid=fresh.uid,
        data_kind="simulated" if simulated else "measured",
        versions={**meters.start.versions, **machine.start.versions},
        setup=setup,
    )
    writer = RunWriter.create(path, start=start, live=False)
    try:
        for clock in machine.clocks:
            writer.clock(clock)
        for descriptor in machine.descriptors.values():
            _copy(machine, descriptor, writer, lambda t_ns: t_ns)
        for descriptor in moved:
            _copy(meters, descriptor, writer, to_machine)
        for step in machine.steps:
            writer.step(step)
        for fault in machine.faults:
            writer.fault(fault)
        if machine.cost is not None:
            writer.cost(machine.cost)
        if (machine.path / INDEX).is_file():  # what the machine's tools wrote by themselves
            shutil.copytree(machine.path / "as_used", path / "as_used")
            shutil.copy2(machine.path / INDEX, path / INDEX)
        names = {d.stream for d in moved}
        for fault in (f for f in meters.faults if f.stream in names):
            opened, ended = (
                None if t is None else int(to_machine(np.array([t], np.int64))[0])
                for t in (fault.t_opened_ns, fault.t_ended_ns)
            )
            writer.fault(replace(fault, t_opened_ns=opened or 0, t_ended_ns=ended))
        stop = machine.stop
        writer.seal(
            "success" if stop is None else stop.exit_status,
            "joined" if stop is None or stop.reason is None else stop.reason,
            t_wall_ns=None if stop is None else stop.t_wall_ns,
        )
    except BaseException:
        writer.abandon()
        shutil.rmtree(path, ignore_errors=True)
        raise


def _copy(
    run: Run, descriptor: Descriptor, writer: RunWriter, move: Callable[[Instants], Instants]
) -> None:
    with pq.ParquetFile(
        parquet_path(run.path, descriptor.stream), page_checksum_verification=True
    ) as file:
        windows = "window_ns" in file.schema_arrow.names
        sink = writer.open_stream(descriptor, windows=windows)
        for batch in file.iter_batches():
            _append(sink, batch, move)


def _append(sink: StreamWriter, batch: Any, move: Callable[[Instants], Instants]) -> None:
    def column(name: str) -> Any:
        return batch.column(name).to_numpy(zero_copy_only=False)

    texts = batch.column("fault").to_pylist()
    names = batch.schema.names
    request_ns, reply_ns = (move(np.asarray(column(n), np.int64)) for n in _INSTANTS)
    sink.append_rows(
        request_ns,
        reply_ns,
        {c.name: column(c.name) for c in sink.descriptor.channels},
        faults={i: text for i, text in enumerate(texts) if text is not None},
        device_ticks=column("device_ticks") if "device_ticks" in names else None,
        window_ns=column("window_ns") if "window_ns" in names else None,
    )
