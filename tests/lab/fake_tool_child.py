"""A small energy tool that reads powercap itself; run by the conformance lab as a tool under test.

It is honest, unless the scenario's folder holds a file `defects` with the names of mistakes.
"""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

from child import SETUP, measure, report

ROOT = Path(SETUP.get("sysfs") or "/sys") / "class" / "powercap"
DEFECTS = set(os.environ.get("FAKE_DEFECTS", "").split(","))


def counters() -> dict[str, list[int]]:
    """Return the counters in uJ by kind."""
    found: dict[str, list[int]] = {}
    for folder in sorted(ROOT.glob("intel-rapl:*")):
        kind = (folder / "name").read_text().strip().partition("-")[0]
        found.setdefault(kind, []).append(int((folder / "energy_uj").read_text()))
    return found


def main() -> None:
    looks: list[tuple[float, dict[str, list[int]]]] = []
    marks = measure(
        lambda _i: looks.append((time.monotonic(), counters())),
        lambda _i: looks.append((time.monotonic(), counters())),
    )
    (t0, first), (t1, last) = looks
    if "helper" in DEFECTS:
        helper = subprocess.Popen(["sleep", "600"])
        Path("helper").write_text(str(helper.pid))
    energy_j = {
        kind: [(b - a) / 1e6 for a, b in zip(first[kind], last[kind], strict=True)]
        for kind in first
    }
    package_j = sum(energy_j["package"])
    if "mean" in DEFECTS:
        package_j /= len(energy_j["package"])
    memory_j = 0.0 if "memory" in DEFECTS else sum(energy_j.get("dram", [0.0]))
    duration_s = (t1 - t0) * (1.06 if "duration" in DEFECTS else 1.0)
    power_w = package_j / (t1 - t0) * (1.9575 if "power" in DEFECTS else 1.0)
    report(
        {
            **marks,
            "version": "1",
            "cpu_j": package_j + memory_j,
            "package_w": power_w,
            "duration_s": duration_s,
        }
    )


if __name__ == "__main__":
    main()
