"""What every child does: wait for its turn, mark its windows, say go, and print one line of JSON.

Standard library only: it runs in the tools' own environments, next to the script that imports it.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

SETUP: dict[str, Any] = json.loads(sys.argv[1]) if len(sys.argv) > 1 else {}
ASK: dict[str, float] = SETUP.get("ask", {})
_MARK = "wattcal-report "


def measure(begin: Callable[[int], None], end: Callable[[int], None]) -> dict[str, Any]:
    """Run the scenario's windows through `begin(i)` and `end(i)`; return their instants, ns.

    A scenario that kills does so here: what is known so far is printed first.
    """
    count = int(ASK.get("tasks", 1))
    windows: list[list[int]] = []
    with open(SETUP["go"], "w", encoding="ascii"):
        pass
    cpu_s = time.process_time()
    for i in range(count):
        before = time.monotonic_ns()
        begin(i)
        after = time.monotonic_ns()
        # A tool may take its time to begin: the window is counted from when it has.
        begun_s = time.monotonic()
        if ASK.get("kill_at_s"):
            _sleep_until(begun_s + ASK["kill_at_s"])
            now, cpu_s = time.monotonic_ns(), time.process_time() - cpu_s
            said = {"windows": [[before, after, now, now]], "cpu_s": cpu_s}
            report({**said, "version": version(SETUP["distribution"])})
            os.kill(os.getpid(), signal.SIGKILL)
        _sleep_until(begun_s + SETUP["duration_s"] / count)
        ending = time.monotonic_ns()
        end(i)
        windows.append([before, after, ending, time.monotonic_ns()])
    return {"windows": windows, "cpu_s": time.process_time() - cpu_s}


def report(values: dict[str, Any]) -> None:
    """Print what is known as one marked line."""
    sys.stdout.write("\n" + _MARK + json.dumps(values) + "\n")
    sys.stdout.flush()


def _sleep_until(t_s: float) -> None:
    while (left := t_s - time.monotonic()) > 0:
        time.sleep(min(left, 0.2))
