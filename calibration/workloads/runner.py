"""The runner: keeps one worker process per core alive and tells them what to do.

Processes, because threads of one interpreter share one core; kept alive between steps, because
starting an interpreter and importing numpy is a load of its own; numerical libraries are held to
one thread each, because otherwise one worker would use every core.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Final

from ..errors import CalibrationError, NotInstalled
from .catalog import Workload, available_cores, workload

__all__ = ["WorkloadRunner"]

_ONE_THREAD: Final = {
    f"{library}_NUM_THREADS": "1"
    for library in ("OMP", "OPENBLAS", "MKL", "NUMEXPR", "VECLIB_MAXIMUM", "BLIS")
}
_START_TIMEOUT_S: Final = 60.0
_ANSWER_TIMEOUT_S: Final = 5.0


class WorkloadRunner:
    """Runs one workload at a time at one level, on worker processes that outlive the steps.

    `names` are the workloads that will be asked for: their kernels are made ready before the
    first step. `period_s` is the mean period of the duty cycle. Use it as a context manager;
    leaving it ends the workers.
    """

    def __init__(
        self, names: Iterable[str], *, cores: int | None = None, period_s: float = 0.08
    ) -> None:
        wanted = [workload(n) for n in names]
        self._cores = cores or available_cores()
        self._period_s = period_s
        self._kernels = sorted({w.kernel for w in wanted if w.kernel is not None})
        self._count = max((w.workers(self._cores) for w in wanted), default=0)
        self._workers: list[_Worker] = []
        self._active: list[_Worker] = []
        self._now: Workload | None = None
        self._lost = 0
        try:
            self._fill()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> WorkloadRunner:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def pids(self) -> tuple[int, ...]:
        """Return the process ids of the workers."""
        return tuple(w.process.pid for w in self._workers)

    def start(self, name: str, level: float) -> None:
        """Start a workload; returns once every worker has said that it runs."""
        if self._now is not None:
            self.stop()
        self._now, self._lost = workload(name), 0
        self._fill()
        self._active = self._workers[: self._now.workers(self._cores)]
        for worker in self._active:
            worker.order({"run": self._now.kernel, "level": level})
        for worker in self._active:
            if worker.answer(_ANSWER_TIMEOUT_S) is None:
                self._lost += 1

    def stop(self) -> Mapping[str, Any]:
        """Stop what runs, at once, and return what was really done.

        `duty` is the workers' own CPU time over the time they ran (0 to 1, mean over the workers),
        `operations` their work, `lost_workers` how many died or fell silent on the way.
        """
        now, active = self._now, self._active
        self._now, self._active = None, []
        if now is None or not active:
            return {"workers": 0, "duty": 0.0, "operations": 0, "operation": None}
        for worker in active:
            worker.order({"stop": True})
        reports = [worker.answer(_ANSWER_TIMEOUT_S) for worker in active]
        done = [r for r in reports if r is not None and "cpu_s" in r]
        wall_s = sum(r["wall_s"] for r in done)
        lost = max(self._lost, len(active) - len(done))
        return {
            "workers": len(active),
            "duty": sum(r["cpu_s"] for r in done) / wall_s if wall_s > 0 else None,
            "cpu_s": sum(r["cpu_s"] for r in done),
            "operations": sum(r["operations"] for r in done),
            "operation": now.operation,
            **({"lost_workers": lost} if lost else {}),
        }

    def close(self) -> None:
        """End all workers and wait for them."""
        for worker in self._workers:
            worker.close()
        self._workers, self._active, self._now = [], [], None

    def _fill(self) -> None:
        """Start the workers that are missing, all at once, and wait until they are ready."""
        for worker in [w for w in self._workers if w.process.poll() is not None]:
            worker.close()
            self._workers.remove(worker)
        fresh = [_Worker(self._period_s) for _ in range(self._count - len(self._workers))]
        self._workers += fresh
        for worker in fresh:
            worker.order({"load": self._kernels})
        for worker in fresh:
            answer = worker.answer(_START_TIMEOUT_S)
            if answer is None:
                raise CalibrationError(
                    "A workload process did not start; look for a full process table or too "
                    "little memory."
                )
            if "error" in answer:
                raise NotInstalled(
                    f"A workload cannot run here ({answer['error']}); "
                    "install what it needs with: pip install 'wattcal[lab]'"
                )


class _Worker:
    """One worker process and the two pipes to it."""

    def __init__(self, period_s: float) -> None:
        root = str(Path(__file__).resolve().parents[2])
        inherited = os.environ.get("PYTHONPATH")
        path = root if not inherited else root + os.pathsep + inherited
        self._pending = b""
        self.process = subprocess.Popen(
            # -P: a folder `calibration` in the current directory must not shadow ours.
            [sys.executable, "-P", "-m", f"{__package__}.worker", str(os.getpid()), str(period_s)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
            env={**os.environ, **_ONE_THREAD, "PYTHONPATH": path},
        )

    def order(self, order: Mapping[str, Any]) -> None:
        """Send an order; one that is dead will be missed when it is asked for its answer."""
        if self.process.stdin is not None:
            try:
                self.process.stdin.write(json.dumps(order).encode() + b"\n")
            except OSError:
                self.process.kill()

    def answer(self, timeout_s: float) -> dict[str, Any] | None:
        """Return the next line it says, or `None`, and its end, when there is none in time."""
        if self.process.stdout is None:
            return None
        deadline_s = time.monotonic() + timeout_s
        fd = self.process.stdout.fileno()
        while b"\n" not in self._pending:
            left_s = deadline_s - time.monotonic()
            ready = left_s > 0 and select.select([fd], [], [], left_s)[0]
            piece = os.read(fd, 65536) if ready else b""
            if not piece:
                self.process.kill()
                return None
            self._pending += piece
        line, self._pending = self._pending.split(b"\n", 1)
        answer: dict[str, Any] = json.loads(line)
        return answer

    def close(self) -> None:
        """Close its pipes, which ends it; kill it if that takes longer than a second."""
        if self.process.stdin is not None:
            self.process.stdin.close()
        try:
            self.process.wait(timeout=1.0)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()
