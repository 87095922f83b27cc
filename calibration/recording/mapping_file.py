"""Reading a mapping: everything is checked before any data file is opened.

An unknown key is an error, as is a missing one; the message names the table and the key.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from ..errors import InputError
from .mapping import DataFile, FitRecipe, Mapping, RunMapping, Segment, SegmentTable
from .mapping_stream import (
    Hashes,
    conditions,
    identifier,
    read_file,
    read_stream,
    read_time,
    relative,
    sha256,
)
from .toml_table import Table

__all__ = ["read_mapping"]


def read_mapping(path: Path | str) -> Mapping:
    """Read and check a mapping.

    Raises:
        InputError: the file is missing, is no TOML, or says something that it cannot mean.

    """
    path = Path(path)
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: cannot read the mapping ({error.strerror}).") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: expected a TOML file; {error}.") from None
    top = Table(values, str(path))
    name = identifier(top, "name")
    url, commit = _source(top)
    templates = {key: _as_table(v, path, key) for key, v in top.plain("template").items()}
    hashes: Hashes = {}
    session = top.text("session", None)
    if "run" in top:
        runs = tuple(_run(t, top, session, templates, hashes) for t in top.tables("run", "id"))
    else:
        runs = (_run_body(top, name, session, templates, hashes),)
    mapping = Mapping(
        path=path,
        name=name,
        title=top.text("title", None),
        licence=top.text("licence"),
        citation=top.text("citation"),
        data_kind=top.choice("data_kind", ("measured", "simulated")),
        url=url,
        commit=commit,
        runs=runs,
        files=_files(top, runs, hashes),
        fits=tuple(_fit(table, runs) for table in top.tables("fit", "input")),
    )
    top.done()
    ids = [run.id for run in runs]
    for run_id in ids:
        if ids.count(run_id) > 1:
            raise InputError(f"{path}: two runs have the id {run_id!r}; each needs its own.")
    return mapping


def _as_table(value: Any, path: Path, key: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise InputError(f"{path}: template.{key}: expected a table; got {value!r}.")
    return value


def _source(top: Table) -> tuple[str | None, str | None]:
    table = top.table("source", None)
    if table is None:
        return None, None
    url, commit = table.text("url"), table.text("commit", None)
    if "{path}" not in url:
        raise table.wrong("url", "a URL with {path} in it (and {commit})")
    table.done()
    return url, commit


def _files(top: Table, runs: tuple[RunMapping, ...], hashes: Hashes) -> tuple[DataFile, ...]:
    """Collect every file once: those named in `[[file]]`, then those that only runs name."""
    listed: dict[str, DataFile] = {}
    for table in top.tables("file", "file"):
        file = relative(table, "file")
        listed[file] = DataFile(
            file=file,
            sha256=sha256(table),
            path=table.text("path", file),
            derived=table.text("derived", None),
        )
        table.done()
    for file in dict.fromkeys(f for run in runs for f in run.files()):
        known = listed.get(file)
        own = hashes.get(file)
        if known is None:
            listed[file] = DataFile(file=file, sha256=own, path=file, derived=None)
        elif own is not None and known.sha256 != own:
            raise InputError(f"{top.where}: {file} is given two different sha256.")
    return tuple(listed.values())


def _fit(table: Table, runs: tuple[RunMapping, ...]) -> FitRecipe:
    ids = [run.id for run in runs]
    run = table.choice("run", ids) if len(ids) > 1 else table.text("run", ids[0])
    gain = table.get("published_gain", (list,), "a list of two numbers", None)
    if gain is not None and (len(gain) != 2 or not all(isinstance(g, float) for g in gain)):
        raise table.wrong("published_gain", "a list of two numbers")
    recipe = FitRecipe(
        run=run,
        input=table.text("input"),
        reference=table.text("reference", None),
        segments=table.text("segments", "auto"),
        model=table.text("model", "auto"),
        published_gain=None if gain is None else (gain[0], gain[1]),
    )
    table.done()
    return recipe


def _run(
    table: Table,
    top: Table,
    session: str | None,
    templates: dict[str, dict[str, Any]],
    hashes: Hashes,
) -> RunMapping:
    run = _run_body(
        table, identifier(table, "id"), table.text("session", session), templates, hashes, top
    )
    table.done()
    return run


def _run_body(
    table: Table,
    run_id: str,
    session: str | None,
    templates: dict[str, dict[str, Any]],
    hashes: Hashes,
    shared: Table | None = None,
) -> RunMapping:
    """Read a run; streams and segments that it does not have itself are those that all share."""
    if session is None:
        raise InputError(
            f"{table.where}: session is missing; expected a name for the power-up that the runs "
            "share."
        )
    where = conditions(table) if shared is not None else ()
    own = shared if shared is not None and "stream" not in table else table
    streams = tuple(read_stream(t, templates, hashes, where) for t in own.tables("stream", "id"))
    if not streams:
        raise InputError(f"{table.where}: expected at least one [[stream]]; there is none.")
    names = [s.id for s in streams]
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"{table.where}: two streams have the id {name!r}.")
    if len({s.time.epoch for s in streams}) > 1:
        raise InputError(
            f"{table.where}: some streams have a unix clock and others none, so they cannot be "
            "laid side by side; give them one epoch."
        )
    marks = shared if shared is not None and "segments" not in table else table
    rows = marks.table("segments", None)
    inline = tuple(_segment(t) for t in table.tables("segment", "workload"))
    return RunMapping(
        id=run_id,
        session=session,
        note=table.text("note", None),
        streams=streams,
        segments=inline,
        segment_table=None if rows is None else _segment_table(rows, hashes, where),
    )


def _segment(table: Table) -> Segment:
    segment = Segment(
        workload=table.text("workload"),
        level=table.number("level", None),
        start_s=table.number("start_unix_s"),
        end_s=table.number("end_unix_s"),
        settle_s=table.number("settle_s", 0.0),
    )
    if segment.end_s - segment.start_s <= segment.settle_s:
        raise table.wrong("end_unix_s", "an end after start_unix_s plus settle_s")
    table.done()
    return segment


def _segment_table(
    table: Table, hashes: Hashes, where: tuple[tuple[str, str], ...]
) -> SegmentTable:
    segments = SegmentTable(
        file=read_file(table, hashes),
        format=table.choice("format", ("columns", "csv", "tsv")),
        time=read_time(table.table("time"), raw=False),
        workload=table.text("workload"),
        level=table.column("level", None),
        settle_s=table.number("settle_s", 0.0),
        between=table.text("between", None),
        where=where + conditions(table),
    )
    if segments.time.begin_column is None:
        raise InputError(f"{table.where}, time: begin_column is missing; a segment needs both.")
    table.done()
    return segments
