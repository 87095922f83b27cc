"""Zeus in a process of its own: windows back to back, energies by device, added up.

Each window begins just before the one before it ends, so that nothing is left out. What both
contain (a few reads, more on a busy machine) would be counted twice: each window's energy is
therefore taken for the time from its own begin to the next one's, as if its power had been steady.
Stamps are CLOCK_MONOTONIC around both, never the tool's `time`. Of its `cpu_energy` the package
zones are added (it lists psys among them), of its `total_energy` nothing is used (it adds up GPUs
only). A window that went back, or that holds more than the machine can draw, comes from a wrap that
its counting process has not noticed yet (zeus 0.16.0): a fault, and the sums begin again at 0.

The first window of a process is a warm-up: its counting processes, one a zone, start with it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any, Final

from tool_line import Line

_WARM_UP_S: Final = 2.0
# More than a package, its memory, or a GPU draws.
_MOST_W: Final = 2000.0


def _monitor(config: Mapping[str, Any]) -> Any:
    if config["rapl_root"] is not None:
        import zeus.device.cpu.rapl as rapl

        rapl.RAPL_DIR = os.path.join(config["rapl_root"], "class", "powercap", "intel-rapl")
    from zeus.monitor import ZeusMonitor

    return ZeusMonitor(approx_instant_energy=False)


def _zones(monitor: Any) -> dict[int, str]:
    """Return the name of every zone that it lists as a CPU."""
    cpus = getattr(monitor.cpus, "cpus", ())
    files = {i: getattr(cpu, "rapl_file", None) for i, cpu in enumerate(cpus)}
    return {i: str(getattr(f, "name", "")) for i, f in files.items() if i in monitor.cpu_indices}


def _mode(monitor: Any) -> dict[str, Any]:
    zones = _zones(monitor)
    packages = [i for i, name in zones.items() if name.startswith("package")]
    counts = monitor.gpus.supports_get_total_energy_consumption
    return {
        "version": version("zeus"),
        "cpus": type(monitor.cpus).__name__,
        "gpus": type(monitor.gpus).__name__,
        "zones": {str(i): name for i, name in zones.items()},
        "summed": packages,
        "dram": [i for i in packages if monitor.cpus.supports_get_dram_energy_consumption(i)],
        "gpu_source": {
            str(i): "energy_counter" if counts(i) else "power_monitor" for i in monitor.gpu_indices
        },
    }


def _energies_j(measurement: Any, mode: Mapping[str, Any]) -> dict[str, float] | None:
    """Return energy by component, J; None where one of them is missing."""
    found: dict[str, float] = {}
    parts = (
        ("zeus_cpu_j", measurement.cpu_energy, mode["summed"]),
        ("zeus_dram_j", measurement.dram_energy, mode["dram"]),
        ("zeus_gpu_j", measurement.gpu_energy, list(measurement.gpu_energy or ())),
    )
    for name, energies, devices in parts:
        if devices:
            values = [(energies or {}).get(i) for i in devices]
            if any(v is None for v in values):
                return None
            found[name] = float(sum(v for v in values if v is not None))
    return found


def main() -> int:
    """Measure windows until the process is to end."""
    line = Line()
    try:
        monitor = _monitor(line.config)
        mode = _mode(monitor)
        monitor.begin_window("warm-up", sync_execution=False)
        ended = line.ends_within(_WARM_UP_S)
        first = _energies_j(monitor.end_window("warm-up", sync_execution=False), mode)
    except Exception as error:
        line.say({"error": f"{type(error).__name__}: {error}"})
        return 1
    if not first:
        line.say({"error": "it reads no package of the CPU and no GPU"})
        return 1
    columns = list(first)
    line.say({"ready": {**mode, "columns": columns}})
    devices = len(mode["summed"]) + len(mode["gpu_source"])
    sums = dict.fromkeys(columns, 0.0)
    monitor.begin_window("0", sync_execution=False)
    begun_ns, number = time.monotonic_ns(), 0
    middle_ns = begun_ns
    while not ended:
        ended = line.ends_within(line.config["cadence_s"])
        before_ns = time.monotonic_ns()
        monitor.begin_window(str(number + 1), sync_execution=False)
        between_ns = time.monotonic_ns()
        found = _energies_j(monitor.end_window(str(number), sync_execution=False), mode)
        after_ns = time.monotonic_ns()
        next_ns, ended_ns = (before_ns + between_ns) // 2, (between_ns + after_ns) // 2
        once = (next_ns - middle_ns) / (ended_ns - middle_ns)
        middle_ns = next_ns
        most_j = devices * _MOST_W * ((after_ns - begun_ns) / 1e9 + 0.1)
        begun_ns, number = before_ns, number + 1
        said: dict[str, Any] = {"t_request_ns": before_ns, "t_reply_ns": after_ns, "values": {}}
        if found is None or list(found) != columns:
            said["fault"] = "missing"
        elif not all(0 <= v <= most_j for v in found.values()):
            said["fault"] = "went_back" if min(found.values()) < 0 else "implausible"
        else:
            sums = {k: sums[k] + once * v for k, v in found.items()}
            said["values"] = {**sums, "zeus_total_j": sum(sums.values())}
        if "fault" in said:
            sums = dict.fromkeys(columns, 0.0)
        line.say(said)
    line.say({"finished": {}})
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
