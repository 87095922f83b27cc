"""Writing a run: documents line by line, samples batch by batch, sealed at the end.

Any thread may append to any stream. A thread of the writer's own (`keeper`) hands batches to the
kernel and waits for the disk every 0.5 s, and writes a `clock` document every minute; appending
never waits for the disk. While the disk refuses, rows and documents wait in memory.
"""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Final, Literal, Self

from ..errors import CalibrationError, RunError
from .clocks import read_clocks
from .columns import check_names
from .documents import Clock, Cost, Descriptor, Document, Fault, Start, Step, Stop, to_json
from .files import AppendFile, DirectoryLock, is_locked, sync_directory
from .keeper import Keeper
from .seal import arrows_path, seal_stream
from .start import new_start
from .streams import StreamWriter

__all__ = ["RunWriter", "StreamWriter", "new_start"]

ExitStatus = Literal["success", "abort", "fail"]

# Documents have this many bytes set aside: a full disk must not keep a run from saying so.
_RESERVE: Final = 1 << 16
_LINES_AT_MOST: Final = 10_000  # that may wait while the disk refuses


def _ending(error: BaseException | None) -> tuple[ExitStatus, str | None]:
    if error is None:
        return "success", None
    if isinstance(error, KeyboardInterrupt):
        return "abort", "interrupted"
    return "fail", f"{type(error).__name__}: {error}"


class RunWriter:
    """A run directory while it is being written.

    As a context manager it seals the run however the block ends: `success`, `abort` on Ctrl-C,
    `fail` with the reason on any other exception.
    """

    def __init__(
        self,
        path: Path,
        lock: DirectoryLock,
        log: AppendFile,
        *,
        live: bool,
        clocks: Callable[[], Clock] = read_clocks,
    ) -> None:
        self.path = path
        self._lock = lock
        self._log = log
        self._live = live
        self._guard = threading.Lock()
        self._streams: dict[str, StreamWriter] = {}
        self._fault_counts: dict[str, int] = {}
        self._stop: Stop | None = None
        self._lines: deque[bytes] = deque()
        self._clocks = clocks
        self.keeper = Keeper(self._save, self.clock, self.fault, clocks=clocks)

    @classmethod
    def create(
        cls,
        path: Path | str,
        *,
        start: Start,
        live: bool = True,
        clocks: Callable[[], Clock] = read_clocks,
    ) -> Self:
        """Make a new run directory and write its head.

        `live` runs keep their own clock documents and reach the disk within a second; a run that is
        written after the fact (an import) needs neither. `clocks` looks at the clocks.

        Raises:
            RunError: the directory holds something already, or another process writes in it.

        """
        path = Path(path)
        try:
            path.mkdir(parents=True, exist_ok=True)
            occupied = next((p.name for p in sorted(path.iterdir()) if p.name != ".lock"), None)
        except OSError as error:
            raise RunError(f"{path}: cannot make a run directory here ({error}).") from None
        if occupied is not None:
            if is_locked(path):
                raise RunError(
                    f"{path}: another process is recording into this directory; choose another one."
                )
            raise RunError(
                f"{path}: expected a new or empty directory for the run; it holds {occupied}. "
                "Choose another one."
            )
        lock = DirectoryLock(path)
        try:
            log = AppendFile(path / "run.jsonl")
        except OSError as error:
            lock.release()
            raise RunError(f"{path}: cannot write a run here ({error}).") from None
        writer = cls(path, lock, log, live=live, clocks=clocks)
        try:
            log.reserve(_RESERVE if live else 0)
            writer._write(start)
            if live:
                writer.keeper.start()
                log.sync()
                sync_directory(path)
                sync_directory(path.parent)
        except BaseException:
            writer.abandon()
            raise
        return writer

    def open_stream(self, descriptor: Descriptor, *, windows: bool = False) -> StreamWriter:
        """Describe a stream and open it; `windows` gives every row its own averaging window.

        Raises:
            RunError: a stream of that name is there already, or the run is sealed.

        """
        with self._guard:
            self._refuse_if_sealed()
            check_names(descriptor)
            if descriptor.stream in self._streams:
                raise RunError(f"{self.path}: the stream {descriptor.stream} is open already.")
            stream = StreamWriter(
                arrows_path(self.path, descriptor.stream), descriptor, windows=windows
            )
            self._streams[descriptor.stream] = stream
        self._write(descriptor)
        stream.open()
        if self._live:
            sync_directory(self.path)
        return stream

    def clock(self, clock: Clock | None = None) -> None:
        """Write a look at all clocks, of this machine unless one is given."""
        self._write(clock or self._clocks())

    def step(self, step: Step) -> None:
        """Write what the workload was told and what it did."""
        self._write(step)

    def cost(self, cost: Cost) -> None:
        """Write what the observation cost so far."""
        self._write(cost)

    def fault(self, fault: Fault) -> None:
        """Write an event that went wrong."""
        self._write(fault)
        with self._guard:
            count = self._fault_counts.get(fault.code, 0)
            self._fault_counts[fault.code] = count + fault.count

    def seal(
        self, exit_status: ExitStatus, reason: str | None = None, *, t_wall_ns: int | None = None
    ) -> Stop:
        """End the run: Parquet files, `stop`, and nothing left of the working files.

        `t_wall_ns` is when the run ended; now, unless a recording of the past is written.

        Raises:
            RunError: the run is sealed already, or the disk refuses; then it stays readable as it
                is and can be sealed again.

        """
        self._refuse_if_sealed()
        self.keeper.stop()
        try:
            self._flush_all()
        except RunError as error:
            raise RunError(
                f"{self.path}: cannot be sealed, the disk refuses ({error}). What it has stays "
                f"readable; make room, then `wattcal runs repair {self.path}`."
            ) from error
        rows: dict[str, int] = {}
        hashes: dict[str, str] = {}
        faults = dict(self._fault_counts)
        for name, stream in self._streams.items():
            stream.close()
            rows[name], hashes[name] = seal_stream(self.path, name, stream.schema)
            for code, count in stream.fault_counts.items():
                faults[code] = faults.get(code, 0) + count
        if self._live:
            self.clock()
        stop = Stop(
            t_wall_ns=time.time_ns() if t_wall_ns is None else t_wall_ns,
            exit_status=exit_status,
            reason=reason,
            rows=rows,
            sha256=hashes,
            faults=faults,
        )
        self._write(stop)
        self._log.sync()
        sync_directory(self.path)
        self._stop = stop
        self._log.close()
        for name in self._streams:
            arrows_path(self.path, name).unlink(missing_ok=True)
        self._lock.release()
        return stop

    def abandon(self) -> None:
        """Let go of the files without sealing; what was written stays readable."""
        self.keeper.stop()
        for stream in self._streams.values():
            with contextlib.suppress(RunError):
                stream.close()
        self._log.close()
        self._lock.release()

    def _refuse_if_sealed(self) -> None:
        if self._stop is not None:
            raise RunError(f"{self.path}: the run is sealed; nothing can be added to it.")

    def _write(self, document: Document) -> None:
        """Write a line; while the disk of a live run refuses, it waits for the next turn."""
        text = json.dumps(to_json(document), ensure_ascii=False, allow_nan=False)
        with self._guard:
            self._refuse_if_sealed()
            self._lines.append(text.encode() + b"\n")
            try:
                self._write_lines()
            except RunError:
                if not self.keeper.alive or len(self._lines) > _LINES_AT_MOST:
                    self._lines.pop()
                    raise

    def _write_lines(self) -> None:
        """Write the lines that wait, in their order (the guard is held)."""
        while self._lines:
            self._log.append(self._lines[0])
            self._lines.popleft()

    def _flush_all(self) -> None:
        """Hand every row that waits to the kernel; a stream that cannot does not keep the others.

        Raises:
            RunError: of the first stream that the disk refused.

        """
        refused: RunError | None = None
        for stream in tuple(self._streams.values()):
            try:
                stream.flush()
            except RunError as error:
                refused = refused or error
        if refused is not None:
            raise refused

    def _save(self) -> None:
        """Bring to the disk what waits: one turn of the keeper."""
        try:
            self._flush_all()
        finally:
            for stream in tuple(self._streams.values()):
                stream.sync()
            with self._guard:
                self._write_lines()
            self._log.reserve(_RESERVE)
            self._log.sync()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._stop is not None:
            return
        status, reason = _ending(error)
        try:
            self.seal(status, reason)
        except CalibrationError as second:
            self._say_what_is_lost()
            self.abandon()
            if error is None:
                raise
            error.add_note(f"The run could not be sealed either: {second}")

    def _say_what_is_lost(self) -> None:
        """Write down what was in memory only; a full disk has room set aside for these lines."""
        now_ns = time.monotonic_ns()
        for name, stream in self._streams.items():
            if stream.waiting:
                with contextlib.suppress(RunError):
                    self.fault(
                        Fault(
                            stream=name,
                            code="lost",
                            message="These rows waited in memory, and the disk refused to the end.",
                            t_opened_ns=now_ns,
                            count=stream.waiting,
                        )
                    )
