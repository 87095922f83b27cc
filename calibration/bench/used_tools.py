"""What runs a tool as its users run it, and where it lives: data for `as_used`.

Each script gets a folder and the durations in s, runs the tool with its defaults, and says on
stdout, one JSON object a line, when each of its runs was (CLOCK_MONOTONIC, ns)::

    {"t_start_ns": 1, "t_end_ns": 2}
    {"asserted": {"zeus_version": "0.16.0"}}    what the tool said of its mode beyond its file

A run is from where its user says that the work begins to where they say that it ended. CodeCarbon
measures once more before `stop` returns, which is then the end; CarbonTracker predicts and
prints after the mark, and Zeus measures at it.

Set is where a tool writes, and the country of CodeCarbon, so that it need not ask the network for
one. Zeus waits for the GPUs through PyTorch, and cannot without it; the work is another
process's, so that this changes no figure.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

__all__ = ["TOOLS", "UsedTool"]

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
_CARBONTRACKER: Final = """
import json, sys, time
from carbontracker.tracker import CarbonTracker
folder, durations = sys.argv[1], json.loads(sys.argv[2])
tracker = CarbonTracker(epochs=len(durations), log_dir=folder)
for seconds in durations:
    start_ns = time.monotonic_ns()
    tracker.epoch_start()
    time.sleep(seconds)
    end_ns = time.monotonic_ns()
    tracker.epoch_end()
    print(json.dumps({"t_start_ns": start_ns, "t_end_ns": end_ns}), flush=True)
tracker.stop()
"""
_ZEUS: Final = """
import importlib.metadata, importlib.util, json, sys, time
from zeus.monitor import ZeusMonitor
folder, durations = sys.argv[1], json.loads(sys.argv[2])
monitor = ZeusMonitor(log_file=folder + "/zeus.csv")
sync = importlib.util.find_spec("torch") is not None
counts = monitor.gpus.supports_get_total_energy_consumption
modes = sorted({"energy_counter" if counts(i) else "power_monitor" for i in monitor.gpu_indices})
print(json.dumps({"asserted": {
    "zeus_version": importlib.metadata.version("zeus"),
    "gpu_mode": " + ".join(modes), "zeus_mode": " + ".join(["no CPUs", *modes]),
}}), flush=True)
for number, seconds in enumerate(durations):
    start_ns = time.monotonic_ns()
    monitor.begin_window(f"run {number}", sync_execution=sync)
    time.sleep(seconds)
    monitor.end_window(f"run {number}", sync_execution=sync)
    print(json.dumps({"t_start_ns": start_ns, "t_end_ns": time.monotonic_ns()}), flush=True)
"""
_SEES_GPUS: Final = """
from zeus.device import get_gpus
try:
    cards = len(get_gpus())
except Exception:
    cards = 0
if not cards:
    raise SystemExit("its file holds GPUs only, and it finds none here; leave it away")
"""


@dataclass(frozen=True, slots=True)
class UsedTool:
    """One tool: what runs it, and the file that it leaves, as a pattern.

    `peers` is whether it lives in the environment of the peers; `ready` is what it needs here, a
    script that ends with a sentence where that is not given.
    """

    script: str
    file: str
    peers: bool = False
    ready: str = ""


TOOLS: Final[Mapping[str, UsedTool]] = {
    "codecarbon": UsedTool(_CODECARBON, "emissions.csv"),
    "carbontracker": UsedTool(_CARBONTRACKER, "*_carbontracker.log", peers=True),
    "zeus": UsedTool(_ZEUS, "zeus.csv", peers=True, ready=_SEES_GPUS),
}
"""Names are those of the distributions."""
