"""Run the real Zeus through one scenario, in a process of its own."""

from __future__ import annotations

import time
from importlib.metadata import version
from typing import Any

from child import ASK, SETUP, measure, report

if SETUP.get("sysfs"):  # where no namespace can be had
    import zeus.device.cpu.rapl as rapl

    rapl.RAPL_DIR = f"{SETUP['sysfs']}/class/powercap/intel-rapl"

from zeus.monitor import ZeusMonitor


def main() -> None:
    """Run it."""
    monitor = ZeusMonitor(gpu_indices=list(range(SETUP["gpus"])))
    if ASK.get("warm"):
        # It starts one process for each counter at the first read.
        monitor.begin_window("warm", sync_execution=False)
        time.sleep(2.0)
        monitor.end_window("warm", sync_execution=False)
    found: list[Any] = []
    marks = measure(
        lambda i: monitor.begin_window(f"task {i}", sync_execution=False),
        lambda i: found.append(monitor.end_window(f"task {i}", sync_execution=False)),
    )
    values = [
        {
            "time": m.time,
            "gpu_energy": {str(k): v for k, v in m.gpu_energy.items()},
            "cpu_energy": m.cpu_energy and {str(k): v for k, v in m.cpu_energy.items()},
            "dram_energy": m.dram_energy and {str(k): v for k, v in m.dram_energy.items()},
            "total_energy": m.total_energy,
        }
        for m in found
    ]
    report({**marks, "version": version("zeus"), "measurements": values})


if __name__ == "__main__":
    main()
