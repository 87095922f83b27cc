"""The long proofs of the recorder: 200 kills, ten minutes at 20 kHz, two days of memory.

    python -m tests.lab.soak [--kills 200] [--seconds 600] [--hours 48]

Prints what was measured, and ends with exit code 1 if anything was lost that must not be.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from tests.lab.fast_streams import record_fast
from tests.lab.kills import kills
from tests.lab.long_hours import record_hours

_MOST_LOST_S = 1.0
_MOST_GROWTH_BYTES = 32 << 20


def killed(count: int, folder: Path) -> bool:
    """Kill recordings at random instants; return whether each lost at most a second."""
    found = []
    begin_s = time.monotonic()
    for number, kill in enumerate(kills(count, 6, folder), start=1):
        found.append(kill)
        if number % 20 == 0:
            print(f"  {number} of {count} after {time.monotonic() - begin_s:.0f} s", flush=True)
    lost_s = np.array([k.lost_s for k in found])
    losing = lost_s[lost_s > 0]
    sealing = sum(k.caught == "sealing" for k in found)
    print(
        f"kill -9: {count} recordings, {sealing} of them while sealing, "
        f"{sum(k.sent for k in found)} readings sent, {sum(k.rows for k in found)} kept; "
        f"lost: median {np.median(losing) if losing.size else 0:.3f} s, most {lost_s.max():.3f} s; "
        "none corrupt, all sealed by a repair"
    )
    return bool(lost_s.max() <= _MOST_LOST_S)


def fast(seconds: float, folder: Path) -> bool:
    """Record 20 kHz, 10 Hz and 1 Hz; return whether nothing is missing without a word."""
    r = record_fast(seconds, folder)
    cost = r.cost
    own_s = cost.writer_cpu_s + cost.plan_cpu_s + sum(s.cpu_s for s in cost.sources)
    print(
        f"20 kHz + 10 Hz + 1 Hz: {r.seconds:.0f} s, {r.frames_recorded:,} of {r.frames_sent:,} "
        f"frames sent recorded, {r.frames_lost_by_line} lost by the line, {r.gaps} gaps, of them "
        f"{r.unexplained} unexplained, {r.faults} blocks with a fault; readings (sent, recorded) "
        f"{r.readings}, failed or missed {r.missed}"
    )
    print(
        f"  processor: {100 * own_s / cost.elapsed_s:.2f} % of a core, process "
        f"{100 * cost.process_cpu_s / cost.elapsed_s:.2f} %; {r.bytes_per_frame:.2f} bytes "
        "a frame; "
        f"resident memory at most {r.peak_rss_bytes / 1e6:.0f} MB"
    )
    for source in cost.sources:
        print(f"  {source}")
    return not (r.unexplained or r.out_of_order or r.findings)


def hours(count: float, folder: Path) -> bool:
    """Record hours with a clock of its own; return whether the memory stayed constant."""
    memory = record_hours(count, folder)
    tenths = " ".join(f"{rss / 1e6:.0f}" for rss in memory.tenths)
    print(
        f"memory: {count:g} h, {memory.rows:,} rows; resident after each tenth: {tenths} MB; "
        f"after sealing {memory.sealed / 1e6:.0f} MB"
    )
    return memory.growth < _MOST_GROWTH_BYTES


def main() -> int:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--hours", type=float, default=48.0)
    arguments = parser.parse_args()
    good = True
    for proof, amount in (
        (killed, arguments.kills),
        (fast, arguments.seconds),
        (hours, arguments.hours),
    ):
        if amount:
            with tempfile.TemporaryDirectory() as folder:
                good &= proof(amount, Path(folder))
    print("nothing was lost that must not be" if good else "SOMETHING WAS LOST")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
