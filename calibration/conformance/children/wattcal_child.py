"""Read the counters of one scenario through this project's own adapters, beside the tools."""

from __future__ import annotations

import threading
from pathlib import Path

from child import ASK, SETUP, measure, report

from calibration._version import VERSION
from calibration.errors import NotAvailable
from calibration.estimators import NvmlReader, RaplReader


class Sampler:
    """Reads at its own pace between the edges, so that no wrap goes unnoticed."""

    def __init__(self, readers: list[RaplReader | NvmlReader]) -> None:
        self._readers, self._stop = readers, threading.Event()
        self._lock = threading.Lock()
        self.faults: list[str] = []
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def take(self) -> dict[str, float]:
        """Take one reading of each now; a fault is remembered and gives nothing."""
        with self._lock:
            readings = [reader.read() for reader in self._readers]
        self.faults += [r.fault for r in readings if r.fault is not None]
        return {
            k: v for r in readings for k, v in r.values.items() if k.startswith(("rapl_", "nvml_j"))
        }

    def _run(self) -> None:
        while not self._stop.wait(ASK.get("interval_s", 0.1)):
            self.take()

    def close(self) -> None:
        """Stop."""
        self._stop.set()
        self._thread.join()


def main() -> None:
    """Run it."""
    root = Path(SETUP.get("sysfs") or "/sys")
    readers: list[RaplReader | NvmlReader] = []
    try:
        readers.append(RaplReader(root))
        if SETUP["gpus"]:
            readers.append(NvmlReader())
        sampler = Sampler(readers)
    except NotAvailable as why:
        marks = measure(lambda _i: None, lambda _i: None)
        report({**marks, "version": VERSION, "refused": str(why)})
        return
    begun: list[dict[str, float]] = []
    ended: list[dict[str, float]] = []
    marks = measure(
        lambda _i: begun.append(sampler.take()), lambda _i: ended.append(sampler.take())
    )
    sampler.close()
    values = [{k: b[k] - a[k] for k in a if k in b} for a, b in zip(begun, ended, strict=True)]
    faults = sorted(set(sampler.faults))
    refused = f"the reading named its faults: {', '.join(faults)}" if faults else None
    report({**marks, "version": VERSION, "energies_j": values, "refused": refused})


if __name__ == "__main__":
    main()
