"""A program of the user's own, or stress-ng, as a workload: started, ended, and accounted for.

The program runs in a process group of its own. When its step ends it is asked to end (SIGINT for
stress-ng, which then says what it did; SIGTERM otherwise) and killed after two seconds, with all
of its group. Its CPU time is the kernel's account of it and of the children that it waited for
(wait4(2)). What it prints goes to a temporary file; the end of that stands in the report if it
failed.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

__all__ = ["run_program", "stress_ng_argv"]

_PATIENCE_S: Final = 2.0
_LOOK_S: Final = 0.02
_TAIL: Final = 500


def stress_ng_argv(method: str, level: float, cores: int, report: Path) -> list[str]:
    """Return the command line of stress-ng(1): one CPU method on all cores at a load of `level`."""
    load = ["--cpu-load", str(max(1, round(100 * level)))]
    return [
        "stress-ng", "--cpu", str(cores), "--cpu-method", method, *load,
        "--metrics-brief", "--yaml", str(report), "--timeout", "0",
    ]  # fmt: skip


def run_program(
    argv: Sequence[str], wait: Callable[[float], bool], said_ended: Callable[[], None]
) -> dict[str, Any]:
    """Run a program until it ends or `wait` (which takes seconds) returns True, and account for it.

    `said_ended` is called once if it ends by itself; `wait` then still decides when to return.
    """
    with tempfile.TemporaryFile() as printed:
        begin_s = time.monotonic()
        try:
            process = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=printed,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        except OSError as error:
            said_ended()
            while not wait(1.0):
                pass
            return _report(0.0, 0.0, None, f"{argv[0]}: {error.strerror}")
        ended: tuple[int, float] | None = None
        lasted_s = 0.0
        try:
            while not wait(_LOOK_S if ended is None else 1.0):
                if ended is None:
                    ended = _reaped(process.pid)
                    if ended is not None:
                        lasted_s = time.monotonic() - begin_s
                        said_ended()
            stopped = ended is None
            if ended is None:
                ended = _end(process.pid, argv[0])
                lasted_s = time.monotonic() - begin_s
        finally:
            # Also on the way out because nobody gives orders any more: nothing may stay behind.
            _signal(process.pid, signal.SIGKILL)
            if ended is None:
                ended = _waited(process.pid)
            process.returncode = ended[0]
        code, cpu_s = ended
        printed.seek(0)
        text = printed.read()[-_TAIL:].decode(errors="replace")
    return _report(cpu_s, lasted_s, None if stopped else code, "" if stopped else text)


def _report(cpu_s: float, wall_s: float, code: int | None, text: str) -> dict[str, Any]:
    """Return what is said of a program; `exit_code` only where it ended by itself."""
    failed = {"output_tail": text} if code != 0 and text else {}
    done = {} if code is None and not text else {"exit_code": code}
    return {"cpu_s": cpu_s, "busy_s": cpu_s, "wall_s": wall_s, "operations": 0, **done, **failed}


def _reaped(pid: int) -> tuple[int, float] | None:
    """Return exit code and CPU seconds of a child that has ended, else None."""
    found, status, usage = os.wait4(pid, os.WNOHANG)
    if not found:
        return None
    return os.waitstatus_to_exitcode(status), usage.ru_utime + usage.ru_stime


def _waited(pid: int) -> tuple[int, float]:
    """Wait for a child's end and return its exit code and CPU seconds."""
    _, status, usage = os.wait4(pid, 0)
    return os.waitstatus_to_exitcode(status), usage.ru_utime + usage.ru_stime


def _end(pid: int, program: str) -> tuple[int, float]:
    """Ask a program to end, and kill it if it does not."""
    _signal(pid, signal.SIGINT if program == "stress-ng" else signal.SIGTERM)
    deadline_s = time.monotonic() + _PATIENCE_S
    while time.monotonic() < deadline_s:
        ended = _reaped(pid)
        if ended is not None:
            return ended
        time.sleep(_LOOK_S)
    _signal(pid, signal.SIGKILL)
    return _waited(pid)


def _signal(group: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)
