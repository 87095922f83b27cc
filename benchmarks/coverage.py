"""Count how often the stated 95 % intervals hold the truth, row by row, also where they do not.

    make coverage                     10,000 calibrations a row from each of three seeds
    python benchmarks/coverage.py 300 --seeds 1

Each calibration goes from simulated readings once a second over points and `fit_points` to its
intervals; `calibration/analysis/coverage.py` says how. A row passes when every share, over all
seeds, lies in its limits; the binomial standard error of a share of 30,000 is 0.13 points. Two
processes share the work; the numbers do not depend on how it is shared.

Below stands the Monte Carlo check (JCGM 101:2008, section 8) on 100 of the calibrations, spread
over the rows: how far the ends of the interval of the run's energy, as the law of propagation has
it, lie from those of 200,000 draws.

The share of a few rows before the points' correlations were carried (before commit 31e7615; 1,000
calibrations, levels evenly spaced; step means, weights 1/(u² + s²), q²/12 in each point alone):

    row                      slope   P low   P mid  P high   E run
    AR(1) 0.9                 94.1    94.6    95.2    96.1    99.3
    AR(1) 0.97                96.5    93.1    88.3    93.8    99.8
    tool noise 3 W, 0.5       96.8    96.9    95.6    96.1   100.0
    6 sessions, 5 W, 0.5      95.2    92.9    92.9    92.8    93.0
    step 1 σ, 0              100.0   100.0   100.0   100.0    99.6
    step 10 σ, 0.5            89.9    90.1    91.8    90.8    91.2
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")

import numpy as np  # noqa: E402

from calibration.analysis.coverage import (  # noqa: E402
    QUANTITIES,
    SCENARIOS,
    covered,
    monte_carlo_distance,
)

CHECKED = 100


def main() -> int:
    """Print the table; 1 where a row lies outside its limits."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("count", nargs="?", type=int, default=10_000, help="calibrations a seed")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--rows", default="", help="only rows whose name holds this text")
    arguments = parser.parse_args()
    begun = time.monotonic()
    rows = [s for s in SCENARIOS if arguments.rows in s.name]
    chunk = max(arguments.count // 8, 1)
    parts = [(i, min(chunk, arguments.count - i)) for i in range(0, arguments.count, chunk)]
    missed = 0
    print(f"{arguments.count} calibrations a row from each of {arguments.seeds} seeds")
    print("95 % interval holds the truth, % of calibrations; largest difference between seeds")
    print(f"{'':22s}" + "".join(f"{q:>8s}" for q in QUANTITIES) + "   seeds  limits")
    with ProcessPoolExecutor(2) as pool:
        jobs = [
            [[pool.submit(covered, row, seed, n, first) for first, n in parts]
             for seed in range(1, arguments.seeds + 1)]
            for row in rows
        ]  # fmt: skip
        checks = [pool.submit(monte_carlo_distance, rows[i % len(rows)], i) for i in range(CHECKED)]
        for row, of_row in zip(rows, jobs, strict=True):
            hits = np.array([sum(j.result() for j in seed) for seed in of_row], dtype=np.float64)
            share = 100 * hits / arguments.count
            mean = share.mean(axis=0)
            good = bool(np.all((mean >= row.low_pct) & (mean <= row.high_pct)))
            missed += not good
            print(
                f"{row.name:22s}" + "".join(f"{v:8.2f}" for v in mean)
                + f"{np.max(np.ptp(share, axis=0)):8.2f}  {row.low_pct:g}-{row.high_pct:g}"
                + ("" if good else "  MISSED"),
                flush=True,
            )  # fmt: skip
        apart = np.array([c.result() for c in checks])
    print(
        f"Monte Carlo on {apart.size} of them: the ends of the interval differ by "
        f"{100 * np.median(apart):.1f} % of U (median), at most {100 * apart.max():.1f} %"
    )
    print(f"{missed} of {len(rows)} rows missed; {time.monotonic() - begun:.0f} s")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
