"""One worker process: `python -m calibration.workloads.worker`, orders on stdin, reports on stdout.

Orders and reports are JSON, one object a line:

    {"load": ["integer-loop"]}                  -> {"ready": true} or {"error": "..."}
    {"run": "integer-loop", "level": 0.5}       -> {"running": true}
    {"stop": true}                              -> {"cpu_s": ., "wall_s": ., "operations": .}

A worker looks for orders after every chunk of work, so that it stops within milliseconds. It ends
when its stdin ends or when its parent is not its parent any more: whoever started it may die in
any way and leaves no load behind. Ctrl-C is the parent's business and ignored here.
"""

from __future__ import annotations

import json
import os
import select
import signal
import sys
import time
from typing import Any, Final

from .duty import DutyCycle
from .kernels import Kernel, build

__all__ = ["main"]

# The recorder and the meters' readers are served first; the load itself is the same.
_NICE: Final = 5
_ORPHAN_CHECK_S: Final = 0.5


class _Orders:
    """Lines from stdin, without waiting longer than asked."""

    def __init__(self, parent: int) -> None:
        self._parent, self._pending = parent, b""

    def next(self, wait_s: float) -> dict[str, Any] | None:
        """Return the next order, or `None` after `wait_s` seconds; leave when nobody gives any."""
        if b"\n" not in self._pending:
            if os.getppid() != self._parent:
                raise SystemExit(0)
            if not select.select([0], [], [], max(wait_s, 0.0))[0]:
                return None
            piece = os.read(0, 65536)
            if not piece:
                raise SystemExit(0)
            self._pending += piece
            if b"\n" not in self._pending:
                return None
        line, self._pending = self._pending.split(b"\n", 1)
        order: dict[str, Any] = json.loads(line)
        return order


def _say(report: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(report) + "\n")
    sys.stdout.flush()


def _load(names: list[str], kernels: dict[str, Kernel]) -> None:
    """Make kernels ready, so that no step pays for imports and memory."""
    try:
        for name in names:
            if name not in kernels:
                kernels[name] = build(name)
    except (ImportError, MemoryError, KeyError) as error:
        _say({"error": f"{type(error).__name__}: {error}"})
    else:
        _say({"ready": True})


def _run(kernel: Kernel, level: float, period_s: float, orders: _Orders) -> None:
    """Work at a level until the next order, whatever it says, and report."""
    wall_0_s, cpu_0_s, operations = time.monotonic(), time.process_time(), 0
    cycle = DutyCycle(level, period_s, wall_s=wall_0_s, cpu_s=cpu_0_s)
    order: dict[str, Any] | None = None
    while order is None:
        phase = cycle.next(wall_s=time.monotonic(), cpu_s=time.process_time())
        while (
            order is None
            and time.process_time() < phase.busy_until_cpu_s
            and time.monotonic() < phase.end_s
        ):
            operations += kernel()
            order = orders.next(0.0)
        if order is None:
            order = orders.next(phase.end_s - time.monotonic())
    _say(
        {
            "cpu_s": time.process_time() - cpu_0_s,
            "wall_s": time.monotonic() - wall_0_s,
            "operations": operations,
        }
    )


def main() -> int:
    """Serve orders until there are no more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent, period_s = int(sys.argv[1]), float(sys.argv[2])
    os.nice(_NICE)
    orders = _Orders(parent)
    kernels: dict[str, Kernel] = {}
    while True:
        order = orders.next(_ORPHAN_CHECK_S)
        if order is None:
            continue
        if "load" in order:
            _load(order["load"], kernels)
        elif "run" in order:
            _say({"running": True})
            _run(kernels[order["run"]], float(order["level"]), period_s, orders)


if __name__ == "__main__":
    raise SystemExit(main())
