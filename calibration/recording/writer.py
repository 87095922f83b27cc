"""Writing a run: documents line by line, samples batch by batch, sealed at the end.

Any thread may append to any stream. A thread of the writer's own hands batches to the kernel at
most half a second after their first row, asks the disk to keep them at most a second later, and
writes a `clock` document every minute; appending never waits for the disk.
"""

from __future__ import annotations

import json
import sys
import threading
import time
import uuid
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Literal, Self

from .._version import VERSION
from ..errors import CalibrationError, RunError
from .columns import check_names
from .documents import Clock, Descriptor, Document, Fault, Start, Step, Stop, to_json
from .files import AppendFile, DirectoryLock, sync_directory
from .seal import arrows_path, seal_stream
from .streams import StreamWriter

__all__ = ["RunWriter", "StreamWriter", "new_start", "read_clocks"]

ExitStatus = Literal["success", "abort", "fail"]

BATCH_S: Final = 0.5
SYNC_S: Final = 1.0
CLOCK_S: Final = 60.0
_TICK_S: Final = 0.2
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
# Import name -> distribution, for the libraries whose version can change a recording.
_LIBRARIES: Final = {
    "numpy": "numpy",
    "pyarrow": "pyarrow",
    "pandas": "pandas",
    "serial": "pyserial",
    "psutil": "psutil",
    "codecarbon": "codecarbon",
    "pynvml": "nvidia-ml-py",
}


def new_start(
    data_kind: Literal["measured", "simulated"],
    session: str,
    *,
    plan: Mapping[str, Any] | None = None,
    seed: int | None = None,
    machine: Mapping[str, Any] | None = None,
    note: str | None = None,
    source: Mapping[str, Any] | None = None,
    versions: Mapping[str, str] | None = None,
) -> Start:
    """Return the head of a new run: a fresh uid, the time, the versions of the loaded libraries.

    `versions` adds those of tools that run in processes of their own.
    """
    return Start(
        uid=uuid.uuid4().hex,
        t_wall_ns=time.time_ns(),
        data_kind=data_kind,
        session=session,
        plan=plan,
        seed=seed,
        machine=dict(machine or {}),
        versions={**_versions(), **(versions or {})},
        note=note,
        source=source,
    )


def _versions() -> dict[str, str]:
    found = {"python": sys.version.split()[0], "wattcal": VERSION}
    for module, distribution in _LIBRARIES.items():
        if module in sys.modules:
            try:
                found[distribution] = metadata.version(distribution)
            except metadata.PackageNotFoundError:
                found[distribution] = "unknown"
    return found


def read_clocks() -> Clock:
    """Look at all clocks of this machine at once."""
    boottime = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
    return Clock(
        monotonic_ns=time.monotonic_ns(),
        boottime_ns=time.clock_gettime_ns(boottime),
        wall_ns=time.time_ns(),
        boot_id=_BOOT_ID.read_text().strip() if _BOOT_ID.exists() else None,
    )


class RunWriter:
    """A run directory while it is being written.

    As a context manager it seals the run however the block ends: `success`, `abort` on Ctrl-C,
    `fail` with the reason on any other exception.
    """

    def __init__(self, path: Path, lock: DirectoryLock, log: AppendFile, *, live: bool) -> None:
        self.path = path
        self._lock = lock
        self._log = log
        self._live = live
        self._guard = threading.Lock()
        self._streams: dict[str, StreamWriter] = {}
        self._fault_counts: dict[str, int] = {}
        self._stop: Stop | None = None
        self._error: CalibrationError | None = None
        self._ending = threading.Event()
        self._keeper = threading.Thread(target=self._keep, name="wattcal-recorder", daemon=True)

    @classmethod
    def create(cls, path: Path | str, *, start: Start, live: bool = True) -> Self:
        """Make a new run directory and write its head.

        `live` runs keep their own clock documents and reach the disk within a second; a run that is
        written after the fact (an import) needs neither.

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
        writer = cls(path, lock, log, live=live)
        writer._write(start)
        if live:
            writer.clock()
            log.sync()
            writer._keeper.start()
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
        return stream

    def clock(self, clock: Clock | None = None) -> None:
        """Write a look at all clocks, of this machine unless one is given."""
        self._write(clock or read_clocks())

    def step(self, step: Step) -> None:
        """Write what the workload was told and what it did."""
        self._write(step)

    def fault(self, fault: Fault) -> None:
        """Write an event that went wrong."""
        with self._guard:
            count = self._fault_counts.get(fault.code, 0)
            self._fault_counts[fault.code] = count + fault.count
        self._write(fault)

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
        self._ending.set()
        if self._keeper.is_alive():
            self._keeper.join()
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
        self._ending.set()
        if self._keeper.is_alive():
            self._keeper.join()
        for stream in self._streams.values():
            stream.close()
        self._log.close()
        self._lock.release()

    def _refuse_if_sealed(self) -> None:
        if self._stop is not None:
            raise RunError(f"{self.path}: the run is sealed; nothing can be added to it.")

    def _write(self, document: Document) -> None:
        text = json.dumps(to_json(document), ensure_ascii=False, allow_nan=False)
        with self._guard:
            self._refuse_if_sealed()
            self._log.append(text.encode() + b"\n")

    def _keep(self) -> None:
        """Flush, sync and look at the clocks until the run ends (the writer's own thread)."""
        synced = clocked = time.monotonic()
        while not self._ending.wait(_TICK_S):
            now = time.monotonic()
            try:
                for stream in tuple(self._streams.values()):
                    stream.flush(older_than_s=BATCH_S - 1.5 * _TICK_S)
                if now - synced >= SYNC_S - _TICK_S:
                    synced = now
                    for stream in tuple(self._streams.values()):
                        stream.sync()
                    self._log.sync()
                if now - clocked >= CLOCK_S:
                    clocked = now
                    self.clock()
            except (RunError, OSError):
                # A full disk now may have room later: the rows stay in memory, and whoever
                # appends is told once they are too many (StreamWriter).
                continue

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
        if error is None:
            self.seal("success")
        elif isinstance(error, KeyboardInterrupt):
            self.seal("abort", "interrupted")
        else:
            try:
                self.seal("fail", f"{type(error).__name__}: {error}")
            except CalibrationError as second:
                error.add_note(f"The run could not be sealed either: {second}")
