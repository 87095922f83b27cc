"""Time the fits on a million rows, as multiples of reading the arrays once.

    python benchmarks/fits.py [ROWS] [REPEATS]

The floor of each row is the sum of the very arrays that the fit takes, `x.sum(), y.sum(), u.sum()`,
timed in turn with the fit, best of REPEATS each, on one thread (OPENBLAS_NUM_THREADS=1). Targets:
the weighted line within 5 times, York within 60, the whole certificate with grouped validation
(line, each of 40 workloads held out, group-conformal interval) within 400. scipy.odr and odrpack
stand beside when they are installed. All fits get the same data, and the slopes are printed so that
a fast wrong answer shows.
"""

from __future__ import annotations

import os
import sys
import time
import warnings
from collections.abc import Callable

import numpy as np

from calibration.analysis import (
    GroupedMoments,
    Moments,
    deming,
    least_squares,
    polynomial,
    robust_line,
)
from calibration.analysis import straight_line as line

GROUPS = 40
Slope = Callable[[], float]


def in_turn_s(
    work: Callable[[], object], floor: Callable[[], object], repeats: int
) -> tuple[float, float]:
    """Return the shortest time of the work and of the floor, s, timed in turn."""
    best = [float("inf"), float("inf")]
    for _ in range(repeats):
        for i, call in enumerate((work, floor)):
            start = time.perf_counter()
            call()
            best[i] = min(best[i], time.perf_counter() - start)
    return best[0], best[1]


def odr(x: np.ndarray, y: np.ndarray, u_x: np.ndarray, u_y: np.ndarray) -> Slope | None:
    """Return scipy.odr on the data, or None where scipy has it no more (1.19)."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from scipy import odr as module
    except ImportError:
        return None

    def work() -> float:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            data = module.RealData(x, y, sx=u_x, sy=u_y)
            model = module.Model(lambda b, t: b[0] + b[1] * t)
            return float(module.ODR(data, model, beta0=[0.0, 1.0]).run().beta[1])

    return work


def odrpack(x: np.ndarray, y: np.ndarray, u_x: np.ndarray, u_y: np.ndarray) -> Slope | None:
    """Return odrpack on the data, or None where it is not installed."""
    try:
        from odrpack import odr_fit
    except ImportError:
        return None
    w_x, w_y = u_x**-2, u_y**-2

    def work() -> float:
        found = odr_fit(
            lambda t, b: b[0] + b[1] * t, x, y, np.array([0.0, 1.0]), weight_x=w_x, weight_y=w_y
        )
        return float(found.beta[1])

    return work


def main(rows: int = 1_000_000, repeats: int = 11) -> None:
    """Print the table."""
    random = np.random.default_rng(20260101)
    truth = random.uniform(50.0, 250.0, rows)
    u_x, u_y = random.uniform(0.5, 1.5, rows), random.uniform(0.5, 2.0, rows)
    x = truth + u_x * random.normal(0, 1, rows)
    y = 12.0 + 1.12 * truth + u_y * random.normal(0, 1, rows)
    design = np.column_stack([np.ones(rows), x])
    workload, mixed = np.arange(rows) * GROUPS // rows, random.integers(0, GROUPS, rows)
    names = [f"w{i}" for i in range(GROUPS)]

    def certificate(group: np.ndarray) -> float:
        return GroupedMoments().add(x, y, u_y, group, names).certificate().line.slope

    two, three, four = (x, y), (x, y, u_y), (x, y, u_x, u_y)
    peers = [("scipy.odr", four, odr(*four), None), ("odrpack", four, odrpack(*four), None)]
    fits = [
        ("line", two, lambda: line(x, y).slope, None),
        ("line, u_y", three, lambda: line(x, y, u_y=u_y).slope, 5),
        ("line, u_x and u_y (York)", four, lambda: line(x, y, u_x, u_y).slope, 60),
        ("Deming", two, lambda: deming(x, y, 1.5).slope, None),
        ("moments", three, lambda: Moments().add(x, y, u_y).line().slope, None),
        ("certificate, u_y, 40 groups", three, lambda: certificate(workload), 400),
        ("certificate, rows mixed", three, lambda: certificate(mixed), 400),
        ("least_squares, u_y (QR)", three,
         lambda: float(least_squares(design, y, u_y).coefficients[1]), None),
        ("polynomial of degree 2", two, lambda: float(polynomial(x, y, 2).coefficients[1]), None),
        ("robust line (Huber)", two, lambda: robust_line(x, y).line.slope, None),
        *peers,
    ]  # fmt: skip
    print(f"{rows:,} rows, best of {repeats}; slope of the truth 1.12")
    print(f"{'fit':27} {'floor ms':>9} {'ms':>9} {'ratio':>7} {'target':>7}  slope")
    for name, arrays, work, target in fits:
        if work is None:
            print(f"{name:27} not installed")
            continue
        slope = work()
        times = 1 if name in ("scipy.odr", "odrpack") else repeats
        took, floor = in_turn_s(work, lambda arrays=arrays: [a.sum() for a in arrays], times)
        wanted = f"{target:7d}" if target else " " * 7
        row = f"{name:27} {1e3 * floor:9.2f} {1e3 * took:9.2f} {took / floor:7.1f} {wanted}"
        print(f"{row}  {slope:.9f}")


if __name__ == "__main__":
    if os.environ.get("OPENBLAS_NUM_THREADS") != "1":  # read when numpy is loaded: start again
        os.environ["OPENBLAS_NUM_THREADS"] = "1"
        os.execv(sys.executable, [sys.executable, *sys.argv])
    main(*(int(v) for v in sys.argv[1:3]))
