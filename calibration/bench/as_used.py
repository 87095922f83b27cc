"""Run tools beside a recording as their users run them: defaults, own process, own file.

Each tool gets a process of its own that starts it, waits, stops it, and does so once for every
duration asked for; the tool appends a row to its own file each time. The windows are stamped in
that process with CLOCK_MONOTONIC, which the run counts in too: from where a user would call
`start` to where `stop` has returned. Nothing of the tool is set but where it writes, and its
country, so that it need not ask the network for one.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Self

from .._profile.as_used import DURATIONS_S
from ..errors import InputError, NotAvailable
from ..plans import Plan
from ..recording.files import sha256_of
from ..recording.tool_runs import ToolRun, Window, write_tool_runs

__all__ = ["TOOLS", "ToolsAsUsed", "check", "fitting"]

_FOLDER: Final = "as_used"
_MARGIN_S: Final = 15.0
_START_UP_S: Final = 5.0
_CODECARBON: Final = """
import json, sys, time
from codecarbon import OfflineEmissionsTracker
folder, durations = sys.argv[1], json.loads(sys.argv[2])
for seconds in durations:
    tracker = OfflineEmissionsTracker(country_iso_code="FRA", output_dir=folder)
    start_ns = time.monotonic_ns()
    tracker.start()
    time.sleep(seconds)
    tracker.stop()
    print(json.dumps({"t_start_ns": start_ns, "t_end_ns": time.monotonic_ns()}), flush=True)
"""


TOOLS: Final[Mapping[str, tuple[str, str]]] = {"codecarbon": (_CODECARBON, "emissions.csv")}
"""What runs a tool, and the file that it then has written; a further tool is a further line."""


def fitting(plan: Plan) -> tuple[float, ...]:
    """Return the durations, s, of the runs that fit one after the other into a plan's time.

    Each run takes a while to start, and all of them have to lie inside the recording, whose warm-up
    may end early.
    """
    found: list[float] = []
    left_s = sum(s.duration_s for s in plan.steps if s.purpose != "warm-up") - _MARGIN_S
    for duration_s in DURATIONS_S:
        left_s -= duration_s + _START_UP_S
        if left_s < 0:
            break
        found.append(float(duration_s))
    return tuple(found)


def check(tools: Sequence[str], durations_s: Sequence[float]) -> None:
    """Refuse a tool that is not known here, and a plan that is too short for any run.

    Raises:
        NotAvailable: there is no such tool.
        InputError: there are tools, and no duration.

    """
    unknown = [t for t in tools if t not in TOOLS]
    if unknown:
        raise NotAvailable(
            f"--as-used: expected a tool among {', '.join(TOOLS)}; got {unknown[0]!r}."
        )
    if tools and not durations_s:
        raise InputError(
            f"--as-used: expected a plan that holds a run of {DURATIONS_S[0]} s at least; this one "
            "is shorter. Take a longer plan, or leave --as-used away."
        )


class ToolsAsUsed:
    """Tools at work beside a recording; `finish` writes what they left into the run's folder."""

    def __init__(
        self,
        run: Path,
        tools: Sequence[str],
        durations_s: Sequence[float] = DURATIONS_S,
        *,
        python: str = sys.executable,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        check(tools, durations_s)
        self._run, self._count = run, len(durations_s)
        self._running: dict[str, subprocess.Popen[str]] = {}
        for tool in tools:
            folder = run / _FOLDER / tool
            folder.mkdir(parents=True)
            script, _ = TOOLS[tool]
            with (folder / "log").open("w", encoding="utf-8") as log:
                self._running[tool] = subprocess.Popen(
                    [python, "-c", script, str(folder), json.dumps(list(durations_s))],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=log,
                    text=True,
                    cwd=folder,
                    env={**os.environ, **(environment or {})},
                    start_new_session=True,
                )

    def finish(self, limit_s: float, *, ended_ns: int | None = None) -> dict[str, str]:
        """Wait for the tools, write the index, and return why a tool left nothing, by its name.

        `ended_ns` (monotonic) is when the recording ended, now by default: a run that lasted longer
        has no reference.
        """
        ended_ns = time.monotonic_ns() if ended_ns is None else ended_ns
        done: list[ToolRun] = []
        failed: dict[str, str] = {}
        for tool, process in self._running.items():
            try:
                out, _ = process.communicate(timeout=limit_s)
            except subprocess.TimeoutExpired:
                process.kill()
                process.communicate()
                failed[tool] = f"it had not ended {limit_s:g} s after the recording"
                continue
            windows = tuple(_windows(out))
            file = f"{_FOLDER}/{tool}/{TOOLS[tool][1]}"
            if process.returncode or len(windows) != self._count:
                failed[tool] = (
                    f"it ended with {process.returncode} after {len(windows)} of {self._count} "
                    f"runs; see {self._run / _FOLDER / tool / 'log'}"
                )
            elif windows[-1].t_end_ns > ended_ns:
                failed[tool] = "it ran on after the recording had ended"
            elif not (self._run / file).is_file():
                failed[tool] = f"it wrote no {TOOLS[tool][1]}"
            else:
                digest = sha256_of(self._run / file)
                done.append(ToolRun(tool, _version(tool), "default", file, digest, windows))
        if done:
            write_tool_runs(self._run, done)
        return failed

    def close(self) -> None:
        """End what still runs."""
        for process in self._running.values():
            if process.poll() is None:
                process.kill()
            process.communicate()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def _windows(out: str) -> list[Window]:
    rows: list[dict[str, Any]] = [json.loads(x) for x in out.splitlines() if x.startswith("{")]
    return [Window(int(r["t_start_ns"]), int(r["t_end_ns"])) for r in rows]


def _version(tool: str) -> str | None:
    try:
        return importlib.metadata.version(tool)
    except importlib.metadata.PackageNotFoundError:
        return None
