"""Whether a run is whole, and finishing one whose recorder died.

A check reads every byte and compares it with what `stop` promised. A repair does what is left of
sealing; it appends to `run.jsonl` and never rewrites a line.
"""

from __future__ import annotations

import json
import time
from pathlib import Path

from ..errors import RunError
from .columns import complete_batches, schema_of
from .documents import Stop, to_json
from .files import AppendFile, DirectoryLock, is_locked, sha256_of, sync_directory
from .reader import Run, read_run
from .seal import arrows_path, parquet_path, seal_stream, temporary_path

__all__ = ["check_run", "repair_run"]


def check_run(path: Path | str) -> tuple[str, ...]:
    """Return what is wrong with a run, one sentence each; nothing if it is whole.

    Raises:
        RunError: it cannot be read as a run at all.

    """
    run = read_run(path)
    findings = list(run.notes)
    if run.stop is None:
        if is_locked(run.path):
            findings.append("the run is being recorded right now")
        else:
            findings.append(
                "the run was never sealed; `wattcal runs repair` seals what was recorded"
            )
        return tuple(findings)
    for stream in sorted(run.descriptors.keys() | run.stop.sha256.keys()):
        findings += _check_stream(run, run.stop, stream)
    return tuple(findings)


def _check_stream(run: Run, stop: Stop, stream: str) -> list[str]:
    file = parquet_path(run.path, stream)
    if stream not in run.descriptors:
        return [f"{stream}: stop counts its rows, but no descriptor says what they are"]
    if stream not in stop.sha256:
        return [f"{stream}: it is described, but stop does not know it"]
    if not file.is_file():
        return [f"{file.name} is missing"]
    found = []
    actual = sha256_of(file)
    if actual != stop.sha256[stream]:
        found.append(
            f"{file.name}: expected SHA-256 {stop.sha256[stream][:12]}...; got {actual[:12]}...: "
            "the file was changed or damaged after sealing"
        )
    elif run.rows(stream) != stop.rows.get(stream):
        found.append(
            f"{file.name}: expected {stop.rows.get(stream)} rows; it has {run.rows(stream)}"
        )
    found += [
        f"{left.name} is left over from sealing; `wattcal runs repair` removes it"
        for left in (arrows_path(run.path, stream), temporary_path(run.path, stream))
        if left.exists()
    ]
    return found


def repair_run(path: Path | str) -> Stop:
    """Seal a run whose recorder died, or finish a sealing that was interrupted.

    Raises:
        RunError: it is no run, somebody is writing it, or a stream cannot be sealed.

    """
    run = read_run(path)
    lock = DirectoryLock(run.path)
    try:
        if _end_torn_line(run.path):
            run = read_run(path)
        stop = run.stop or _seal(run)
        for stream in run.descriptors:
            if parquet_path(run.path, stream).exists():
                arrows_path(run.path, stream).unlink(missing_ok=True)
            temporary_path(run.path, stream).unlink(missing_ok=True)
    finally:
        lock.release()
    return stop


def _end_torn_line(path: Path) -> bool:
    """End a line that the recorder could not finish; whether there was one.

    Readers skip it, unless nothing but its end was missing.
    """
    if (path / "run.jsonl").read_bytes().endswith(b"\n"):
        return False
    log = AppendFile(path / "run.jsonl", exclusive=False)
    try:
        log.append(b"\n")
    finally:
        log.close()
    return True


def _seal(run: Run) -> Stop:
    rows: dict[str, int] = {}
    hashes: dict[str, str] = {}
    faults: dict[str, int] = {}
    for fault in run.faults:
        faults[fault.code] = faults.get(fault.code, 0) + fault.count
    for stream, descriptor in run.descriptors.items():
        arrows = arrows_path(run.path, stream)
        if not arrows.exists() and parquet_path(run.path, stream).exists():
            raise RunError(
                f"{run.path}: {stream}.arrows is gone although the run was not sealed; expected it "
                "to be there until stop is written. Compare with a copy of the run."
            )
        first = next(iter(complete_batches(arrows)), None)
        schema = schema_of(descriptor, windows=False) if first is None else first.schema
        if not arrows.exists():  # described, and the recorder died before its file was made
            arrows.touch()
        rows[stream], hashes[stream] = seal_stream(run.path, stream, schema)
        for batch in complete_batches(arrows):
            for text in batch.column("fault").drop_null().to_pylist():
                faults[text] = faults.get(text, 0) + 1
    stop = Stop(
        t_wall_ns=time.time_ns(),
        exit_status="fail",
        reason="the recorder ended without sealing; sealed by `wattcal runs repair`",
        rows=rows,
        sha256=hashes,
        faults=faults,
    )
    log = AppendFile(run.path / "run.jsonl", exclusive=False)
    try:
        text = json.dumps(to_json(stop), ensure_ascii=False, allow_nan=False)
        log.append(text.encode() + b"\n")
        log.sync()
    finally:
        log.close()
    sync_directory(run.path)
    return stop
