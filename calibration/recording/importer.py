"""Other people's recordings as runs: read a mapping, check every file, write, then rename.

An import happens in a folder of its own beside the target; nothing appears under its name before it
is complete. Importing the same files with the same mapping gives the same run, byte for byte but
for the versions of the libraries that wrote it.
"""

from __future__ import annotations

import hashlib
import shutil
import string
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError, RunError
from .check import check_run
from .documents import Clock, Fault, Start, Step
from .files import sha256_of
from .import_rows import Importer, Rows, descriptor_of, stamps
from .mapping import Mapping, RunMapping, SegmentTable
from .mapping_file import read_mapping
from .reader import read_run
from .text_table import TextTable
from .writer import RunWriter, new_start

__all__ = ["import_mapping", "locate_files"]

_EARLIEST_NS = 631_152_000 * 10**9
"""1990-01-01 in unix ns. Seconds read as ms, or ms as us, give January 1970."""
_LATEST_NS = 4_102_444_800 * 10**9
"""2100-01-01 in unix ns."""
_YEAR_NS = 365.2425 * 86_400e9


def import_mapping(
    path: Path | str, *, data: Path | str | None = None, into: Path | str, keep: bool = False
) -> tuple[Path, ...]:
    """Import every run of a mapping; return their directories.

    `data` is the folder with the files, or one that holds a folder of the data set's name; the
    mapping's own folder where it is `None`. With `keep` runs that an earlier import of the same
    mapping and files left whole are kept.

    Raises:
        InputError: a file is missing, changed, or not what the mapping says; nothing is left.

    """
    mapping = read_mapping(path)
    folder = locate_files(mapping, None if data is None else Path(data))
    hashes = _verify(mapping, folder)
    into = Path(into)
    wanted = [_wanted(mapping, run, hashes) for run in mapping.runs]
    targets = [into / mapping.run_directory(run) for run in mapping.runs]
    there = [_is_there(t, uid, keep) for t, (uid, _) in zip(targets, wanted, strict=True)]
    work = into / f".import-{uuid.uuid4().hex[:8]}"
    try:
        for run, target, (uid, source), done in zip(
            mapping.runs, targets, wanted, there, strict=True
        ):
            if not done:
                _import_run(mapping, run, folder, work / target.name, uid, source)
        for target, done in zip(targets, there, strict=True):
            if not done:
                (work / target.name).rename(target)
    except OSError as error:
        raise InputError(f"{path}: the import stopped ({error}).") from None
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return tuple(targets)


def locate_files(mapping: Mapping, data: Path | None) -> Path:
    """Return the folder that the mapping's file names start from."""
    base = mapping.path.parent if data is None else data
    return base / mapping.name if (base / mapping.name).is_dir() else base


def _verify(mapping: Mapping, folder: Path) -> dict[str, str]:
    """Return the SHA-256 of every file that a run needs, after comparing it with the mapping's."""
    given = {f.file: f.sha256 for f in mapping.files}
    hashes: dict[str, str] = {}
    for file in dict.fromkeys(f for run in mapping.runs for f in run.files()):
        path = folder / file
        if not path.is_file():
            raise InputError(
                f"{mapping.path}: expected the file {file} in {folder}; it is not there. Say where "
                f"the files are with --data, or fetch them: wattcal datasets get {mapping.name}."
            )
        hashes[file] = sha256_of(path)
        expected = given.get(file)
        if expected is not None and hashes[file] != expected:
            raise InputError(
                f"{path}: expected SHA-256 {expected[:12]}...; got {hashes[file][:12]}...: it is "
                "not the file that the mapping was written for. Fetch it again."
            )
    return hashes


def _wanted(
    mapping: Mapping, run: RunMapping, hashes: dict[str, str]
) -> tuple[str, dict[str, Any]]:
    """Return the uid that mapping and files determine, and what the run says of its source."""
    files = {file: hashes[file] for file in run.files()}
    own = hashlib.sha256(mapping.path.read_bytes()).hexdigest()
    parts = [own, run.id, *(f"{k}={v}" for k, v in sorted(files.items()))]
    uid = hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]
    epoch = run.streams[0].time.epoch
    clock = "unix time" if epoch == "unix" else "the recording's own, with a zero of its own"
    return uid, {
        "mapping": mapping.name,
        "mapping_sha256": own,
        "title": mapping.title,
        "url": mapping.url,
        "commit": mapping.commit,
        "licence": mapping.licence,
        "citation": mapping.citation,
        "files": files,
        "clock": clock,
    }


def _is_there(target: Path, uid: str, keep: bool) -> bool:
    if not target.exists():
        return False
    if keep:
        try:
            if read_run(target).start.uid == uid and not check_run(target):
                return True
        except RunError:
            pass
    raise InputError(
        f"{target}: expected no such directory; it is there already. Remove it, or choose another "
        "place with -o."
    )


def _import_run(
    mapping: Mapping, run: RunMapping, folder: Path, target: Path, uid: str, source: dict[str, Any]
) -> None:
    importers = [Importer(s, folder) for s in run.streams]
    sources = [_begun(i) for i in importers]
    begin_ns = min(int(first.t_ns[0]) for first, _ in sources)
    if run.streams[0].time.epoch == "unix":
        for importer, (first, _) in zip(importers, sources, strict=True):
            _check_epoch(importer, int(first.t_ns[0]))
    start: Start = replace(
        new_start(mapping.data_kind, run.session, note=run.note, source=source),
        uid=uid,
        t_wall_ns=begin_ns,
    )
    writer = RunWriter.create(target, start=start, live=False)
    unix = run.streams[0].time.epoch == "unix"
    try:
        if unix:
            writer.clock(_identity(begin_ns))
        end_ns = begin_ns
        spans: dict[str, tuple[int, int]] = {}
        for importer, (first, rest) in zip(importers, sources, strict=True):
            stream = writer.open_stream(descriptor_of(importer.stream), windows=importer.windows)
            for rows in _joined(first, rest):
                stream.append_rows(
                    rows.t_ns,
                    rows.t_ns,
                    rows.columns,
                    device_ticks=rows.device_ticks,
                    window_ns=rows.window_ns,
                )
                spans[importer.stream.id] = (int(first.t_ns[0]), int(rows.t_ns[-1]))
                end_ns = max(end_ns, int(rows.t_ns[-1]))
            for code, message, count in importer.notes:
                jumped = importer.jump_ns if code == "backwards" else None
                writer.fault(
                    Fault(
                        stream=importer.stream.id,
                        code=code,
                        message=message,
                        t_opened_ns=begin_ns if jumped is None else jumped,
                        t_ended_ns=end_ns,
                        count=count,
                    )
                )
        _check_together(run, spans)
        for step in _steps(run, folder, begin_ns, end_ns):
            writer.step(step)
        if unix:
            writer.clock(_identity(end_ns))
        writer.seal("success", "imported", t_wall_ns=end_ns)
    except BaseException:
        writer.abandon()
        raise


def _begun(importer: Importer) -> tuple[Rows, Iterator[Rows]]:
    """Read the first rows, which say when the run begins, before anything is written."""
    rest = importer.rows()
    first = next(rest, None)
    if first is None:
        raise InputError(f"{importer.stream.file}: expected rows; there is none.")
    return first, rest


def _joined(first: Rows, rest: Iterator[Rows]) -> Iterator[Rows]:
    yield first
    yield from rest


def _check_epoch(importer: Importer, t_ns: int) -> None:
    """Refuse a unix time that no recording with a power meter has: its unit is another one."""
    if not _EARLIEST_NS <= t_ns < _LATEST_NS:
        time = importer.stream.time
        raise InputError(
            f"{importer.stream.file}: read in {time.unit or time.format} the first row is of the "
            f"year {1970 + t_ns / _YEAR_NS:.0f}; is that the right unit? A clock with a zero of "
            'its own is epoch = "none".'
        )


def _check_together(run: RunMapping, spans: dict[str, tuple[int, int]]) -> None:
    """Refuse streams that were never recorded at the same time: a clock or a file is wrong."""
    late = max(spans, key=lambda s: spans[s][0])
    early = min(spans, key=lambda s: spans[s][1])
    apart_s = (spans[late][0] - spans[early][1]) / 1e9
    if apart_s > 0:
        raise InputError(
            f"run {run.id}: {late} begins {apart_s:.6g} s after {early} has ended; expected "
            "streams of one time. Check the unit, the zone and the offset of their clocks."
        )


def _identity(t_ns: int) -> Clock:
    """Return the clock document of a run whose instants are unix time themselves."""
    return Clock(monotonic_ns=t_ns, boottime_ns=t_ns, wall_ns=t_ns, boot_id=None)


def _steps(run: RunMapping, folder: Path, begin_ns: int, end_ns: int) -> list[Step]:
    """Return the segments as steps in order of time."""
    found = [
        (round(s.start_s * 1e9), round(s.end_s * 1e9), s.workload, s.level, s.settle_s)
        for s in run.segments
    ]
    if run.segment_table is not None:
        found += _segment_rows(run.segment_table, folder)
    found.sort(key=lambda s: s[:2])
    if run.segment_table is not None and run.segment_table.between is not None:
        found = _filled(found, run.segment_table, begin_ns, end_ns)
    if found and (found[-1][1] <= begin_ns or found[0][0] >= end_ns):
        raise InputError(
            f"run {run.id}: the segments lie {(begin_ns - found[0][0]) / 1e9:+.0f} s away from the "
            "recording; expected them inside it. Check their time zone and unit."
        )
    return [
        Step(
            index=index,
            workload=workload,
            level=level,
            t_start_ns=start,
            t_end_ns=end,
            settle_s=settle_s,
        )
        for index, (start, end, workload, level, settle_s) in enumerate(found)
    ]


def _filled(
    found: list[tuple[int, int, str, float | None, float]],
    table: SegmentTable,
    begin_ns: int,
    end_ns: int,
) -> list[tuple[int, int, str, float | None, float]]:
    """Add the stretches before, between and after the segments that outlast settling."""
    last = begin_ns
    between: list[tuple[int, int, str, float | None, float]] = []
    for start, end in [*((f[0], f[1]) for f in found), (end_ns, end_ns)]:
        if start - last > round(table.settle_s * 1e9):
            between.append((last, start, str(table.between), None, table.settle_s))
        last = max(last, end)
    return sorted([*found, *between], key=lambda s: s[:2])


def _segment_rows(
    table: SegmentTable, folder: Path
) -> list[tuple[int, int, str, float | None, float]]:
    text = TextTable(folder / table.file, table.format)
    names = [field for _, field, _, _ in string.Formatter().parse(table.workload) if field]
    wanted: list[tuple[Any, str]] = [(n, "segments, workload") for n in names]
    wanted += [(c, "segments, time") for c in (table.time.begin_column, table.time.column)]
    if table.level is not None and table.level != "position":
        wanted.append((table.level, "segments, level"))
    rows: list[tuple[int, int, str, float | None, float]] = []
    count: dict[str, int] = {}
    wanted += [(c, "segments, where") for c, _ in table.where]
    for every in text.read(wanted):
        cells = every.where(table.where)
        if not cells.line.size:
            continue
        begin = stamps(cells, table.time.begin_column, table.time)
        end = stamps(cells, table.time.column, table.time)
        if np.any(end <= begin):
            line = int(cells.line[int(np.argmax(end <= begin))])
            raise InputError(
                f"{table.file}, line {line}: expected a segment to end after it began."
            )
        texts = [cells.columns[n].tolist() for n in names]
        levels = (
            cells.numbers(table.level, ("",))
            if table.level is not None and table.level != "position"
            else None
        )
        for i in range(begin.size):
            workload = table.workload.format(**{n: t[i] for n, t in zip(names, texts, strict=True)})
            count[workload] = count.get(workload, 0) + 1
            level = None if levels is None or np.isnan(levels[i]) else float(levels[i])
            if table.level == "position":
                level = float(count[workload])
            rows.append((int(begin[i]), int(end[i]), workload, level, table.settle_s))
    return rows
