"""Files that tools wrote by themselves beside a recording, and when each of their runs was.

A run's folder may hold `as_used.json` and, in the folder `as_used`, the files that it names::

    {"version": 1, "files": [{
        "tool": "codecarbon", "version": "3.3.2", "settings": "default",
        "file": "as_used/codecarbon.csv", "sha256": "...",
        "asserted": {"cpu_mode": "intel_rapl"},
        "windows": [{"t_start_ns": 1, "t_end_ns": 2}]}]}

The windows are CLOCK_MONOTONIC, as in the run, one for each row of the file in order. `asserted` is
what the tool itself said of its mode while it ran, beyond what its file shows.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from ..errors import RunError
from .files import sha256_of

__all__ = ["INDEX", "ToolRun", "Window", "read_tool_runs", "write_tool_runs"]

INDEX: Final = "as_used.json"
_VERSION: Final = 1


@dataclass(frozen=True, slots=True)
class Window:
    """One run of a tool, from where its user started it to where they stopped it."""

    t_start_ns: int
    t_end_ns: int


@dataclass(frozen=True, slots=True)
class ToolRun:
    """One file of a tool: its place relative to the run, and a window for each of its rows."""

    tool: str
    version: str | None
    settings: str
    file: str
    sha256: str
    windows: tuple[Window, ...]
    asserted: Mapping[str, Any] = field(default_factory=dict)


def write_tool_runs(folder: Path, runs: Sequence[ToolRun]) -> None:
    """Write the index of a run's tool files, whole or not at all."""
    part = folder / f".{INDEX}.part"
    document = {"version": _VERSION, "files": [asdict(r) for r in runs]}
    part.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    part.replace(folder / INDEX)


def read_tool_runs(folder: Path) -> tuple[ToolRun, ...]:
    """Return the tool files of a run, none where it carries none.

    Raises:
        RunError: the index is none, or a file is missing or not the one that was recorded.

    """
    path = folder / INDEX
    if not path.exists():
        return ()
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        if document["version"] != _VERSION:
            raise ValueError(f"version {document['version']}")
        found = tuple(
            ToolRun(**{**f, "windows": tuple(Window(**w) for w in f["windows"])})
            for f in document["files"]
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(
            f"{path}: expected the index of a run's tool files, version {_VERSION}; {error}."
        ) from None
    for run in found:
        file = folder / run.file
        if not file.resolve().is_relative_to(folder.resolve()) or not file.is_file():
            raise RunError(f"{path}: expected {run.file} inside the run; it is not there.")
        if sha256_of(file) != run.sha256:
            raise RunError(f"{file}: expected the file that was recorded; its SHA-256 differs.")
    return found
