"""Run the real CarbonTracker through one scenario, in a process of its own."""

from __future__ import annotations

import time
from importlib.metadata import version
from typing import Any

from child import ASK, SETUP, measure, report

if SETUP.get("sysfs"):  # where no namespace can be had
    import carbontracker.components.cpu.intel as intel

    intel.RAPL_DIR = f"{SETUP['sysfs']}/class/powercap/"

from carbontracker.tracker import CarbonTracker


def main() -> None:
    """Run it."""
    epochs = int(ASK.get("tasks", 1))
    options: dict[str, Any] = {}
    if "interval_s" in ASK:
        options["update_interval"] = ASK["interval_s"]
    tracker = CarbonTracker(
        epochs=epochs, epochs_before_pred=0, monitor_epochs=epochs, log_dir=".", **options
    )
    time.sleep(1.0)  # its thread looks for components first
    marks = measure(lambda _i: tracker.epoch_start(), lambda _i: tracker.epoch_end())
    tracker.stop()
    report({**marks, "version": version("carbontracker")})


if __name__ == "__main__":
    main()
