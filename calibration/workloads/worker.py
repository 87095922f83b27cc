"""One worker process: `python -m calibration.workloads.worker`, orders on stdin, reports on stdout.

Orders and reports are JSON, one object a line:

    {"load": ["integer-loop"]}                  -> {"ready": true} or {"error": "..."}
    {"run": "integer-loop", "level": 0.5}       -> {"running": true}
    {"serve": 558.0, "seed": 1}                 -> {"running": true}      (inference, per hour)
    {"program": ["python", "train.py"]}         -> {"running": true}, {"ended": true} if it ends
    {"stress-ng": "matrixprod", "level": 0.5, "cores": 8}                 -> the same
    {"stop": true}                  -> {"cpu_s": ., "busy_s": ., "wall_s": ., "operations": ., ...}

A worker looks for orders after every chunk of work, so that it stops within milliseconds. It ends
when its stdin ends or when its parent is not its parent any more: whoever started it may die in
any way and leaves no load behind. Ctrl-C is the parent's business and ignored here.
"""

from __future__ import annotations

import json
import os
import re
import select
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from .devices import DEVICE_KERNELS
from .duty import DutyCycle
from .inference import Model, arrivals_s
from .kernels import Kernel, build
from .program import run_program, stress_ng_argv

__all__ = ["main"]

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


class _Loads:
    """What has been made ready: kernels by name, and the model if there is one."""

    def __init__(self) -> None:
        self.kernels: dict[str, Kernel] = {}
        self.model: Model | None = None

    def load(self, names: list[str]) -> dict[str, Any]:
        """Make loads ready, so that no step pays for imports and memory."""
        try:
            for name in names:
                if name == "inference":
                    self.model = self.model or Model()
                elif name not in self.kernels:
                    self.kernels[name] = build(name)
        except (ImportError, MemoryError, OSError, KeyError) as error:
            return {"error": f"{name}: {error or type(error).__name__}"}
        return {"ready": True}


def _run(
    name: str,
    kernel: Kernel,
    level: float,
    period_s: float,
    orders: _Orders,
    *,
    square_s: float | None = None,
) -> None:
    """Work at a level until the next order, whatever it says, and report.

    With `square_s` it is a square wave of exactly that period, s.

    A kernel of the CPU is held to its share by its CPU time, one of a device by the time that it
    kept the device busy.
    """
    wall_0_s, cpu_0_s, operations, device_s = time.monotonic(), time.process_time(), 0, 0.0
    on_device = name in DEVICE_KERNELS

    def busy_s() -> float:
        return device_s if on_device else time.process_time() - cpu_0_s

    cycle = (
        DutyCycle(level, period_s, wall_s=wall_0_s, cpu_s=0.0)
        if square_s is None
        else DutyCycle(level, square_s, wall_s=wall_0_s, cpu_s=0.0, wander=0.0)
    )
    order: dict[str, Any] | None = None
    while order is None:
        phase = cycle.next(wall_s=time.monotonic(), cpu_s=busy_s())
        while (
            order is None and busy_s() < phase.busy_until_cpu_s and time.monotonic() < phase.end_s
        ):
            chunk_0_s = time.monotonic()
            operations += kernel()
            device_s += time.monotonic() - chunk_0_s
            order = orders.next(0.0)
        if order is None:
            order = orders.next(phase.end_s - time.monotonic())
    _say(
        {
            "cpu_s": time.process_time() - cpu_0_s,
            "busy_s": busy_s(),
            "wall_s": time.monotonic() - wall_0_s,
            "operations": operations,
        }
    )


def _serve(model: Model, per_hour: float, seed: int, orders: _Orders) -> None:
    """Answer requests as they arrive until the next order, and report every one of them."""
    begin_ns, cpu_0_s, busy_ns = time.monotonic_ns(), time.process_time(), 0
    requests: list[tuple[int, int, int]] = []
    arrivals = arrivals_s(per_hour, seed)
    order: dict[str, Any] | None = None
    due_ns = _next_ns(arrivals, begin_ns)

    def go_on() -> bool:
        nonlocal order
        order = orders.next(0.0)
        return order is None

    while order is None:
        now_ns = time.monotonic_ns()
        if due_ns is None or now_ns < due_ns:
            wait_s = _ORPHAN_CHECK_S if due_ns is None else (due_ns - now_ns) / 1e9
            order = orders.next(min(wait_s, _ORPHAN_CHECK_S))
            continue
        answered = model.answer(go_on)
        end_ns = time.monotonic_ns()
        busy_ns += end_ns - now_ns
        if answered:
            requests.append((due_ns, now_ns, end_ns))
            due_ns = _next_ns(arrivals, begin_ns)
    end_ns = time.monotonic_ns()
    waiting = 0
    while due_ns is not None and due_ns <= end_ns:
        waiting, due_ns = waiting + 1, _next_ns(arrivals, begin_ns)
    _say(
        {
            "cpu_s": time.process_time() - cpu_0_s,
            "busy_s": busy_ns / 1e9,
            "wall_s": (end_ns - begin_ns) / 1e9,
            "operations": len(requests),
            "unanswered": waiting,
            # Arrival, begin and end of each, ns of CLOCK_MONOTONIC.
            "requests_ns": requests,
        }
    )


def _next_ns(arrivals: Iterator[float], begin_ns: int) -> int | None:
    t_s = next(arrivals, None)
    return None if t_s is None else begin_ns + round(t_s * 1e9)


def _program(argv: list[str], orders: _Orders) -> dict[str, Any]:
    """Run a program until it ends and the next order comes."""
    return run_program(
        argv,
        lambda seconds: orders.next(seconds) is not None,
        lambda: _say({"ended": True}),
    )


def _stress_ng(method: str, level: float, cores: int, orders: _Orders) -> dict[str, Any]:
    """Run one method of stress-ng; it counts its operations itself and says so at its end."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.yaml"
        done = _program(stress_ng_argv(method, level, cores, report), orders)
        text = report.read_text(encoding="utf-8") if report.exists() else ""
    counted = re.search(r"^\s*bogo-ops: (\d+)", text, re.MULTILINE)
    return {**done, "operations": int(counted.group(1)) if counted else 0}


def main() -> int:
    """Serve orders until there are no more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent, period_s, nice = int(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3])
    os.nice(nice)
    orders = _Orders(parent)
    loads = _Loads()
    while True:
        order = orders.next(_ORPHAN_CHECK_S)
        if order is None:
            continue
        if "load" in order:
            _say(loads.load(order["load"]))
            continue
        if "stop" in order:  # nothing runs
            continue
        _say({"running": True})
        if "run" in order:
            name, level = order["run"], float(order["level"])
            _run(name, loads.kernels[name], level, period_s, orders, square_s=order.get("square_s"))
        elif "serve" in order and loads.model is not None:
            _serve(loads.model, float(order["serve"]), int(order["seed"]), orders)
        elif "program" in order:
            _say(_program(order["program"], orders))
        elif "stress-ng" in order:
            method, level = order["stress-ng"], float(order["level"])
            _say(_stress_ng(method, level, int(order["cores"]), orders))


if __name__ == "__main__":
    raise SystemExit(main())
