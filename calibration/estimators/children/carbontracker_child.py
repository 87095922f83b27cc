"""CarbonTracker in a process of its own: what its handlers read, device by device, added here.

Its handler of the CPU sleeps for a second between two reads of the counters and answers with watts
of each device over that second; its handler of GPUs answers at once. They are asked one after the
other, as the tool does, and the devices are added here: its own epoch energy is the mean over
devices (carbontracker 2.4.7). Between two answers lie moments that nobody observed.

Where a counter wraps within the second it answers 0 W for every device: a fault, never a number.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any, Final

from tool_line import Line

# A second that a busy machine made longer is no second: the watts would be too many.
_STRETCHED: Final = 1.05


def _handlers(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the handler that the tool would choose for `cpu` and `gpu`, set up."""
    if config["rapl_root"] is not None:
        import carbontracker.components.cpu.intel as intel

        intel.RAPL_DIR = os.path.join(config["rapl_root"], "class", "powercap") + os.sep
    from carbontracker.components.component import handlers_by_name

    chosen: dict[str, Any] = {}
    for name in ("cpu", "gpu"):
        for handler_class in handlers_by_name(name):
            handler = handler_class(pids=[], devices_by_pid=False)
            if handler.available():
                handler.init()
                chosen[name] = handler
                break
    return chosen


def _mode(handlers: Mapping[str, Any]) -> dict[str, Any]:
    from carbontracker.components.cpu import intel

    return {
        "version": version("carbontracker"),
        "handlers": {name: type(h).__name__ for name, h in handlers.items()},
        "devices": {name: list(h.devices()) for name, h in handlers.items()},
        "tdp_w": getattr(handlers.get("cpu"), "tdp", None),
        "window_s": float(intel.MEASURE_DELAY),
    }


def _look(handlers: Mapping[str, Any], mode: Mapping[str, Any]) -> dict[str, Any]:
    """Ask every handler once; the second of the CPU ends at the stamp."""
    began_s = time.monotonic()
    said: dict[str, Any] = {"values": {}}
    powers: dict[str, float] = {}
    try:
        cpu = handlers["cpu"].power_usage() if "cpu" in handlers else []
        ended_ns = time.monotonic_ns()
        gpu = handlers["gpu"].power_usage() if "gpu" in handlers else []
    except Exception as error:
        now_ns = time.monotonic_ns()
        return {**said, "t_request_ns": now_ns, "t_reply_ns": now_ns,
                "fault": f"unreadable {type(error).__name__}"}  # fmt: skip
    said |= {"t_request_ns": ended_ns, "t_reply_ns": time.monotonic_ns()}
    counted = mode["handlers"].get("cpu") == "IntelCPU"
    if counted and time.monotonic() - began_s > _STRETCHED * mode["window_s"]:
        said["fault"] = "late"
    elif counted and (len(cpu) != len(mode["devices"]["cpu"]) or not any(cpu)):
        said["fault"] = "missing"
    else:
        if "cpu" in handlers:
            powers["carbontracker_cpu_w"] = float(sum(cpu))
        if "gpu" in handlers:
            powers["carbontracker_gpu_w"] = float(sum(gpu))
        said["values"] = {**powers, "carbontracker_w": sum(powers.values())}
    return said


def main() -> int:
    """Ask until the process is to end."""
    line = Line()
    try:
        handlers = _handlers(line.config)
        mode = _mode(handlers)
        if not handlers or ("cpu" in handlers and not mode["devices"]["cpu"]):
            line.say({"error": "it finds no CPU domain and no GPU"})
            return 1
        handlers_first = _look(handlers, mode)  # a warm-up, and whether it may read at all
    except Exception as error:
        line.say({"error": f"{type(error).__name__}: {error}"})
        return 1
    if str(handlers_first.get("fault", "")).startswith("unreadable"):
        line.say({"error": f"{handlers_first['fault']}: it may not read the counters"})
        return 1
    line.say({"ready": mode})
    pause_s = 0.0 if mode["handlers"].get("cpu") == "IntelCPU" else line.config["cadence_s"]
    while not line.ends_within(pause_s):
        line.say(_look(handlers, mode))
    line.say({"finished": {}})
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
