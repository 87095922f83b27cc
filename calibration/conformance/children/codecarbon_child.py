"""Run the real CodeCarbon through one scenario, in a process of its own."""

from __future__ import annotations

import sys
from typing import Any

from child import ASK, SETUP, measure, report
from codecarbon import OfflineEmissionsTracker
from codecarbon._version import __version__


def inject(tracker: OfflineEmissionsTracker) -> None:
    """Point it at the tree where no namespace can be had: private names, this version only."""
    if SETUP.get("sysfs"):
        from codecarbon.external.hardware import CPU

        tracker._ensure_hardware_ready()
        for i, item in enumerate(tracker._hardware):
            if isinstance(item, CPU):
                tracker._hardware[i] = CPU(
                    ".", "intel_rapl", item._model, item._tdp,
                    rapl_dir=f"{SETUP['sysfs']}/class/powercap/intel-rapl",
                )  # fmt: skip


def options() -> dict[str, Any]:
    """Return what the scenario asks for in the tool's own words."""
    found: dict[str, Any] = {"country_iso_code": "FRA", "output_dir": "."}
    if "interval_s" in ASK:
        found["measure_power_secs"] = ASK["interval_s"]
    if ASK.get("dram"):
        found["rapl_include_dram"] = True
    return found


def main() -> None:
    """Run it."""
    if ASK.get("warm"):
        first = OfflineEmissionsTracker(**{**options(), "output_file": "warm.csv"})
        inject(first)
        first.start()
        first.stop()
    tracker = OfflineEmissionsTracker(**options())
    inject(tracker)
    if ASK.get("tasks"):
        marks = measure(
            lambda i: tracker.start_task(f"task {i}"), lambda i: tracker.stop_task(f"task {i}")
        )
        tracker.stop()
    else:
        marks = measure(lambda _i: tracker.start(), lambda _i: tracker.stop())
    report({**marks, "version": __version__})
    sys.stdout.flush()


if __name__ == "__main__":
    main()
