"""The one folder that a demo writes into, and what becomes of an older one.

A file `demo.json` marks the folder as a demo's and says how far it came; no other folder is ever
touched. An older demo is set aside while a new one runs, and comes back if the new one ends
early. Two demos in one folder are kept apart by a lock on the mark.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from pathlib import Path
from types import TracebackType
from typing import Final, Literal, Self

from ..errors import InputError

__all__ = ["MARK", "DemoFolder"]

MARK: Final = "demo.json"
State = Literal["running", "finished", "interrupted"]


class DemoFolder:
    """A folder under work; `finish` or `keep` decide that its content stays.

    Raises:
        InputError: the folder holds something that is no demo's, or another demo works in it.

    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._aside = path.with_name(path.name + ".old")
        self._interrupted = path.with_name(path.name + ".interrupted")
        self._done = False
        if path.exists() or path.is_symlink():
            _require_demo(path)
            if _state(path) == "finished":
                _require_demo(self._aside, missing=True)
                _remove(self._aside)
                path.rename(self._aside)
            else:
                _remove(path)
        try:
            path.mkdir(parents=True)
        except OSError as error:
            raise InputError(f"{path}: cannot make the demo's folder here ({error}).") from None
        self._lock = _write_mark(path, "running")
        fcntl.flock(self._lock, fcntl.LOCK_EX)

    def finish(self) -> None:
        """Keep the folder as a whole demo and let an older one go."""
        _set_state(self.path, "finished")
        _remove(self._aside)
        self._done = True

    def keep(self) -> Path:
        """Keep what an interrupted demo has recorded; return where it lies.

        An older whole demo is not given up for it: it comes back to its place.
        """
        _set_state(self.path, "interrupted")
        self._done = True
        if not self._aside.exists():
            return self.path
        _require_demo(self._interrupted, missing=True)
        _remove(self._interrupted)
        self.path.rename(self._interrupted)
        self._aside.rename(self.path)
        return self._interrupted

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if not self._done:
            _remove(self.path)
            if self._aside.exists():
                self._aside.rename(self.path)
        os.close(self._lock)


def _write_mark(path: Path, state: State) -> int:
    mark = {"wattcal": "demo", "data_kind": "simulated", "state": state}
    descriptor = os.open(path / MARK, os.O_RDWR | os.O_CREAT, 0o644)
    os.write(descriptor, (json.dumps(mark) + "\n").encode())
    return descriptor


def _set_state(path: Path, state: State) -> None:
    # In place: the lock is on this very file.
    os.truncate(path / MARK, 0)
    os.close(_write_mark(path, state))


def _state(path: Path) -> str | None:
    """Return the state of a demo's folder, None where it is none."""
    try:
        mark = json.loads((path / MARK).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if not isinstance(mark, dict) or mark.get("wattcal") != "demo":
        return None
    return str(mark.get("state"))


def _require_demo(path: Path, *, missing: bool = False) -> None:
    if missing and not path.exists():
        return
    if path.is_dir() and not path.is_symlink() and not any(path.iterdir()):
        return
    if not path.is_dir() or path.is_symlink() or _state(path) is None:
        raise InputError(
            f"{path}: expected a folder of a demo or none; this one holds something else, which "
            "is left alone. Choose another one: wattcal demo -o DIR"
        )
    with (path / MARK).open("rb") as mark:
        try:
            fcntl.flock(mark, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise InputError(
                f"{path}: another demo is at work in this folder. Wait for it, or choose another "
                "one: wattcal demo -o DIR"
            ) from None


def _remove(path: Path) -> None:
    if path.exists():
        shutil.rmtree(path)
