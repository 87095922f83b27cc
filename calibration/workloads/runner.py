"""The runner: keeps one worker process per core alive and tells them what to do.

Processes, because threads of one interpreter share one core; kept alive between steps, because
starting an interpreter and importing numpy is a load of its own; numerical libraries are held to
one thread each, because otherwise one worker would use every core.
"""

from __future__ import annotations

import json
import os
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from ..errors import CalibrationError, NotAvailable
from .catalog import Workload, available_cores, workload

__all__ = ["WorkloadRunner"]

_ONE_THREAD: Final = {
    f"{library}_NUM_THREADS": "1"
    for library in ("OMP", "OPENBLAS", "MKL", "NUMEXPR", "VECLIB_MAXIMUM", "BLIS")
}
# The recorder and the meters' readers are served first; the load itself is the same. A program of
# the user's own keeps its priority.
_NICE: Final = 5
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
        self._wanted = wanted
        self._count = max((w.workers(self._cores) for w in wanted), default=0)
        self._programs = any(w.external for w in wanted)
        self._workers: list[_Worker] = []
        self._starter: _Worker | None = None
        self._active: list[_Worker] = []
        self._now: Workload | None = None
        self._lost = self._started = 0
        for entry in wanted:
            _check_program(entry)
        try:
            self._fill()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> WorkloadRunner:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    @property
    def pids(self) -> tuple[int, ...]:
        """Return the process ids of the workers."""
        return tuple(w.process.pid for w in self._all())

    @property
    def ended(self) -> bool:
        """Return whether what was started has ended by itself, as a program may."""
        return bool(self._active) and all(w.ended for w in self._active)

    def start(self, name: str, level: float) -> None:
        """Start a workload; returns once every worker has said that it runs."""
        if self._now is not None:
            self.stop()
        self._now, self._lost = workload(name), 0
        self._started += 1
        self._fill()
        if self._now.external:
            self._active = [self._starter] if self._starter is not None else []
        else:
            self._active = self._workers[: self._now.workers(self._cores)]
        order = _order(self._now, level, self._cores, self._started)
        for worker in self._active:
            worker.order(order)
        for worker in self._active:
            if worker.answer(_ANSWER_TIMEOUT_S) is None:
                self._lost += 1

    def stop(self) -> Mapping[str, Any]:
        """Stop what runs, at once, and return what was really done.

        `duty` is how long the workers were busy over how long they ran (0 to 1, mean over the
        workers): by their own CPU time, for a device by the time that they waited for it. A
        program's CPU time may exceed the time that it ran. `operations` is their work,
        `lost_workers` how many died or fell silent on the way. Inference adds `unanswered` and
        `requests_ns` (arrival, begin and end of each request, ns of CLOCK_MONOTONIC), a program
        that ended by itself its `exit_code`, a square wave its `period_s` and its `device`.
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
        own = {k: v for r in done for k, v in r.items() if k not in _COMMON}
        return {
            "workers": len(active),
            "duty": sum(r["busy_s"] for r in done) / wall_s if wall_s > 0 else None,
            "cpu_s": sum(r["cpu_s"] for r in done),
            "operations": sum(r["operations"] for r in done),
            "operation": now.operation or None,
            **own,
            **(
                {"period_s": now.argument, "device": "gpu" if now.gpu else "cpu"}
                if now.square
                else {}
            ),
            **({"lost_workers": lost} if lost else {}),
        }

    def close(self) -> None:
        """End all workers and wait for them."""
        for worker in self._all():
            worker.close()
        self._workers, self._starter, self._active, self._now = [], None, [], None

    def _kernels_of(self, number: int) -> list[str]:
        """Return the kernels that the worker of this number may be asked for."""
        kernels = {w.kernel for w in self._wanted if w.workers(self._cores) > number}
        return sorted(k for k in kernels if k is not None)

    def _all(self) -> list[_Worker]:
        return [*self._workers, *([self._starter] if self._starter is not None else [])]

    def _fill(self) -> None:
        """Start the workers that are missing, all at once, and wait until they are ready."""
        for worker in [w for w in self._all() if w.process.poll() is not None]:
            worker.close()
            if worker is self._starter:
                self._starter = None
            else:
                self._workers.remove(worker)
        fresh = [_Worker(self._period_s, _NICE) for _ in range(self._count - len(self._workers))]
        self._workers += fresh
        if self._programs and self._starter is None:
            self._starter = _Worker(self._period_s, 0)
        for worker in fresh:
            worker.order({"load": self._kernels_of(self._workers.index(worker))})
        for worker in fresh:
            answer = worker.answer(_START_TIMEOUT_S)
            if answer is None:
                raise CalibrationError(
                    "A workload process did not start; look for a full process table or too "
                    "little memory."
                )
            if "error" in answer:
                raise NotAvailable(
                    f"A workload cannot run here: {answer['error']}. Take it out of the plan, or "
                    "install what it needs (numpy comes with: pip install 'wattcal[lab]')."
                )


_COMMON: Final = frozenset({"cpu_s", "busy_s", "wall_s", "operations"})


def _order(now: Workload, level: float, cores: int, seed: int) -> dict[str, Any]:
    """Return what a worker is told for this workload at this level."""
    if now.command:
        return {"program": list(now.command)}
    if now.stress_ng is not None:
        return {"stress-ng": now.stress_ng, "level": level, "cores": cores}
    if now.kernel == "inference":
        return {"serve": level * (now.argument or 0.0), "seed": seed}
    return {"run": now.kernel, "level": level, "square_s": now.argument}


def _check_program(entry: Workload) -> None:
    """Refuse a program that is not there, before anything is measured."""
    if entry.stress_ng is not None:
        if shutil.which("stress-ng") is None:
            raise NotAvailable(
                f"{entry.name} needs stress-ng, which is not installed: apt install stress-ng."
            )
        known = _stress_ng_methods()
        if entry.stress_ng not in known:
            raise NotAvailable(
                f"Expected a CPU method of stress-ng; got {entry.stress_ng!r}. "
                f"This one knows {', '.join(known)}."
            )
    if entry.command and shutil.which(entry.command[0]) is None:
        raise NotAvailable(f"Expected a program to run; {entry.command[0]!r} is not one.")


def _stress_ng_methods() -> list[str]:
    """Ask stress-ng for its CPU methods: it lists them where it is given one that it lacks."""
    asked = ["stress-ng", "--cpu", "1", "--cpu-method", "?"]
    done = subprocess.run(asked, capture_output=True, text=True, check=False, timeout=10)
    return (done.stderr + done.stdout).partition("one of:")[2].split()


class _Worker:
    """One worker process and the two pipes to it."""

    def __init__(self, period_s: float, nice: int) -> None:
        root = str(Path(__file__).resolve().parents[2])
        inherited = os.environ.get("PYTHONPATH")
        path = root if not inherited else root + os.pathsep + inherited
        self._pending, self._ended = b"", False
        self.process = subprocess.Popen(
            # -P: a folder `calibration` in the current directory must not shadow ours.
            [
                *(sys.executable, "-P", "-m", f"{__package__}.worker"),
                *(str(os.getpid()), str(period_s), str(nice)),
            ],
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
        deadline_s = time.monotonic() + timeout_s
        while True:
            line = self._line(deadline_s)
            if line is None:
                self.process.kill()
                return None
            if "ended" not in line:
                self._ended = False
                return line

    @property
    def ended(self) -> bool:
        """Return whether it has said that the program it started has ended."""
        if not self._ended:
            line = self._line(0.0)
            self._ended = line is not None and "ended" in line
        return self._ended

    def _line(self, deadline_s: float) -> dict[str, Any] | None:
        """Return its next line, if there is one by then (CLOCK_MONOTONIC, s)."""
        if self.process.stdout is None:
            return None
        fd = self.process.stdout.fileno()
        while b"\n" not in self._pending:
            left_s = max(deadline_s - time.monotonic(), 0.0)
            ready = select.select([fd], [], [], left_s)[0]
            piece = os.read(fd, 65536) if ready else b""
            if not piece:
                return None
            self._pending += piece
        line, self._pending = self._pending.split(b"\n", 1)
        said: dict[str, Any] = json.loads(line)
        return said

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
