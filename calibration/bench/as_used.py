"""Run tools beside a recording as their users run them: defaults, own process, own file.

Each tool gets a process of its own that starts it, waits, stops it, and does so once for every
duration asked for; the tool appends a row to its own file each time. The windows are stamped in
that process with CLOCK_MONOTONIC, which the run counts in too. What runs which tool, and what of it
is set, stands in `used_tools`. None of them reaches the network: CarbonTracker would ask a service
where it is, so the variables for a proxy lead nowhere.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, Self

from .._profile.as_used import DURATIONS_S
from ..errors import InputError, NotAvailable
from ..estimators.peers import peers_python
from ..plans import Plan
from ..recording.files import sha256_of
from ..recording.tool_runs import ToolRun, Window, write_tool_runs
from .used_tools import TOOLS

__all__ = ["ToolsAsUsed", "check", "fitting"]

_FOLDER: Final = "as_used"
_MARGIN_S: Final = 15.0
_START_UP_S: Final = 5.0
_LOOK_LIMIT_S: Final = 60.0
_LOOK: Final = """
import importlib.metadata, sys
try:
    version = importlib.metadata.version("{tool}")
except importlib.metadata.PackageNotFoundError:
    raise SystemExit("it is not installed, do it: " + sys.executable + " -m pip install {tool}")
{ready}
print(version)
"""
_NO_NETWORK: Final = {
    **dict.fromkeys(("http_proxy", "https_proxy", "all_proxy"), "http://127.0.0.1:9"),
    **dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"), "http://127.0.0.1:9"),
    **dict.fromkeys(("no_proxy", "NO_PROXY"), ""),
}
"""Port 9 is `discard`, which nobody serves."""


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


def check(tools: Sequence[str], durations_s: Sequence[float]) -> dict[str, str]:
    """Return the versions of tools, or refuse one that cannot run, or a plan that is too short.

    Raises:
        NotAvailable: there is no such tool, it is not installed, or has nothing to read here.
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
    return {tool: _version(tool) for tool in tools}


def _version(tool: str) -> str:
    """Return the version that its own environment has, where the tool can run."""
    try:
        done = subprocess.run(
            [_python(tool), "-c", _LOOK.format(tool=tool, ready=TOOLS[tool].ready)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_LOOK_LIMIT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise NotAvailable(
            f"--as-used {tool}: not available: it does not start within {_LOOK_LIMIT_S:g} s."
        ) from None
    if done.returncode:
        why = (done.stderr.strip().splitlines() or ["it does not start"])[-1]
        raise NotAvailable(f"--as-used {tool}: not available: {why}.")
    return done.stdout.strip().splitlines()[-1]


def _python(tool: str) -> str:
    return str(peers_python()) if TOOLS[tool].peers else sys.executable


class ToolsAsUsed:
    """Tools at work beside a recording; `finish` writes what they left into the run's folder.

    `versions` are those of `check`, by the name of the tool.
    """

    def __init__(
        self,
        run: Path,
        versions: Mapping[str, str],
        durations_s: Sequence[float] = DURATIONS_S,
        *,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._run, self._count, self._versions = run, len(durations_s), versions
        self._running: dict[str, subprocess.Popen[str]] = {}
        for tool in versions:
            folder = run / _FOLDER / tool
            folder.mkdir(parents=True)
            with (folder / "log").open("w", encoding="utf-8") as log:
                self._running[tool] = subprocess.Popen(
                    [
                        _python(tool), "-c", TOOLS[tool].script, str(folder.resolve()),
                        json.dumps(list(durations_s)),
                    ],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=log,
                    text=True,
                    cwd=folder,
                    env={**os.environ, **_NO_NETWORK, **(environment or {})},
                    start_new_session=True,
                )  # fmt: skip

    def finish(self, limit_s: float, *, ended_ns: int | None = None) -> dict[str, str]:
        """Wait for the tools, write the index, and return why a tool left nothing, by its name.

        `ended_ns` (monotonic) is when the recording ended, now by default: a run that lasted longer
        has no reference.
        """
        ended_ns = time.monotonic_ns() if ended_ns is None else ended_ns
        done: list[ToolRun] = []
        failed: dict[str, str] = {}
        for tool, process in list(self._running.items()):
            try:
                out, _ = process.communicate(timeout=limit_s)
            except subprocess.TimeoutExpired:
                failed[tool] = f"it had not ended {limit_s:g} s after the recording"
                continue
            del self._running[tool]
            said = [json.loads(x) for x in out.splitlines() if x.startswith("{")]
            windows = tuple(Window(**x) for x in said if "t_start_ns" in x)
            folder = self._run / _FOLDER / tool
            files = sorted(folder.glob(TOOLS[tool].file))
            if process.returncode or len(windows) != self._count:
                failed[tool] = (
                    f"it ended with {process.returncode} after {len(windows)} of {self._count} "
                    f"runs; see {folder / 'log'}"
                )
            elif windows[-1].t_end_ns > ended_ns:
                failed[tool] = "it ran on after the recording had ended"
            elif len(files) != 1:
                failed[tool] = f"expected one {TOOLS[tool].file} of it; got {len(files)}"
            else:
                asserted = {k: v for x in said for k, v in x.get("asserted", {}).items()}
                name = files[0].relative_to(self._run).as_posix()
                digest, version = sha256_of(files[0]), self._versions[tool]
                done.append(ToolRun(tool, version, "default", name, digest, windows, asserted))
        self.close()
        if done:
            write_tool_runs(self._run, done)
        return failed

    def close(self) -> None:
        """End what still runs, and its helpers: Zeus has a process for each counter."""
        for process in self._running.values():
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
        self._running.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()
