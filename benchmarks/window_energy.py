"""Energies of windows from ten million jittered samples: ours, pandas and polars, in one run.

    python benchmarks/window_energy.py [--samples 10000000] [--repeats 7]

Samples: int64 ns, float64 W, power linear between them. Windows: 1 kHz -> 1 Hz and 20 kHz -> 1 kHz.
All compute the same energies, exact at the edges (checked to 1e-9 of a window), from the same
arrays; the time is the best of the repeats, one thread (polars too, unless POLARS_MAX_THREADS says
otherwise), and the unit is reading both arrays once, `t.sum(), p.sum()`.

Peers, in the fastest idiom found for each (an as-of join finds the sample before every edge, the
rest is a cumulative sum and one closed form per edge; joins with group-by, resampling with
interpolated edge rows and `interp` of the cumulative energy were slower):

    numpy cumsum   cumulative trapezoids, searchsorted, closed form
    pandas         the same columns in a DataFrame, `merge_asof` on the stamps
    polars         lazy `cum_sum`, `join_asof` on sorted stamps, closed form as expressions

Accuracy: 200 windows of each case against exact rational arithmetic.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

os.environ.setdefault("POLARS_MAX_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import pandas as pd
import polars as pl

from calibration.analysis.integrals import integrate

CASES = (
    ("1 kHz -> 1 Hz", 1_000_000, 1_000_000_000, (3.0, 6.0, 2.0)),
    ("20 kHz -> 1 kHz", 50_000, 1_000_000, (6.0, 4.0, 2.0)),
)


def record(n: int, step_ns: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    t = np.arange(n, dtype=np.int64) * step_ns + rng.integers(0, int(0.8 * step_ns), n)
    return t, 100 + rng.normal(0, 15, n)


def by_numpy(t: np.ndarray, p: np.ndarray, edges: np.ndarray) -> np.ndarray:
    step = np.diff(t)
    total = np.concatenate([[0.0], np.cumsum((p[1:] + p[:-1]) * step)])
    j = np.minimum(np.searchsorted(t, edges, side="right") - 1, t.size - 2)
    into = edges - t[j]
    at = p[j] + (p[j + 1] - p[j]) * (into / step[j])
    return np.diff(total[j] + (p[j] + at) * into) / 2e9


def by_pandas(t: np.ndarray, p: np.ndarray, edges: np.ndarray) -> np.ndarray:
    frame = pd.DataFrame({"t": t, "p": p}, copy=False)
    step, rise = frame["t"].diff().shift(-1), frame["p"].diff().shift(-1)
    twice = (frame["p"] * 2 + rise) * step
    frame = frame.assign(e=twice.cumsum().shift(fill_value=0.0), s=rise / step)
    joined = pd.merge_asof(
        pd.DataFrame({"t": edges, "edge": edges}), frame.assign(b=frame["t"]), on="t"
    )
    into = joined["edge"] - joined["b"]
    up_to = joined["e"] + (2 * joined["p"] + joined["s"] * into) * into
    return up_to.diff().to_numpy()[1:] / 2e9


def by_polars(t: np.ndarray, p: np.ndarray, edges: np.ndarray) -> np.ndarray:
    step, rise = pl.col("t").diff().shift(-1), pl.col("p").diff().shift(-1)
    frame = (
        pl.DataFrame({"t": t, "p": p})
        .lazy()
        .with_columns(
            e=((pl.col("p") * 2 + rise) * step).cum_sum().shift(1, fill_value=0.0),
            s=rise / step,
            b=pl.col("t"),
        )
    )
    into = pl.col("t") - pl.col("b")
    up_to = pl.col("e") + (2 * pl.col("p") + pl.col("s") * into) * into
    rim = pl.DataFrame({"t": edges}).lazy().set_sorted("t")
    found = rim.join_asof(frame.set_sorted("t"), on="t").select(up_to.diff() / 2e9).collect()
    return found.to_series().to_numpy()[1:]


def by_us(t: np.ndarray, p: np.ndarray, edges: np.ndarray) -> np.ndarray:
    return integrate(t, p, edges)[0]


def best_s(call: Callable[[], object], repeats: int) -> float:
    times = []
    for _ in range(repeats):
        begin = time.perf_counter()
        call()
        times.append(time.perf_counter() - begin)
    return min(times)


def worst_error(t: np.ndarray, p: np.ndarray, edges: np.ndarray, energy: np.ndarray) -> float:
    """Return the largest relative error of 200 windows against rational arithmetic."""
    worst = 0.0
    for k in np.random.default_rng(3).integers(0, energy.size, 200):
        begin, end = int(edges[k]), int(edges[k + 1])
        lo = int(np.searchsorted(t, begin, side="right")) - 1
        hi = int(np.searchsorted(t, end, side="left"))
        true = Fraction(0)
        for i in range(lo, hi):
            a, b, x, y = int(t[i]), int(t[i + 1]), Fraction(float(p[i])), Fraction(float(p[i + 1]))
            left, right = max(a, begin), min(b, end)
            true += (x + (y - x) * (Fraction(left + right, 2) - a) / (b - a)) * (right - left)
        true /= 10**9
        worst = max(worst, abs(float((Fraction(float(energy[k])) - true) / true)))
    return worst


def main() -> int:
    parser = argparse.ArgumentParser(description="Compare exact window energies side by side.")
    parser.add_argument("--samples", type=int, default=10_000_000)
    parser.add_argument("--repeats", type=int, default=7)
    options = parser.parse_args()
    ways = (
        ("wattcal", by_us),
        ("numpy cumsum", by_numpy),
        ("pandas", by_pandas),
        ("polars", by_polars),
    )
    print(
        f"{options.samples:,} samples; numpy {np.__version__}, pandas {pd.__version__}, "
        f"polars {pl.__version__} on {pl.thread_pool_size()} thread(s)"
    )
    missed = 0
    for name, step_ns, window_ns, goals in CASES:
        t, p = record(options.samples, step_ns)
        edges = np.arange(t[0] + window_ns // 3, t[-1], window_ns)
        ours = by_us(t, p, edges)
        floor = best_s(lambda t=t, p=p: (t.sum(), p.sum()), options.repeats)
        print(f"\n{name}: {edges.size - 1:,} windows; t.sum(), p.sum() {1e3 * floor:.1f} ms")
        print(f"{'':14}{'ms':>9}{'x reading':>11}{'x ours':>9}{'worst error':>13}")
        taken = {}
        for way, call in ways:
            energy = call(t, p, edges)
            if not np.allclose(energy, ours, rtol=1e-9, atol=0.0):
                worst = float(np.max(np.abs(energy / ours - 1)))
                print(f"{way}: differs by {worst:.2g} of a window's energy; expected 1e-9")
                return 1
            taken[way] = best_s(lambda c=call, t=t, p=p, e=edges: c(t, p, e), options.repeats)
            error = worst_error(t, p, edges, energy)
            print(
                f"{way:14}{1e3 * taken[way]:9.1f}{taken[way] / floor:11.1f}"
                f"{taken[way] / taken['wattcal']:9.1f}{error:13.1e}"
            )
        got = (
            taken["wattcal"] / floor,
            *(taken[k] / taken["wattcal"] for k in ("pandas", "polars")),
        )
        for text, value, goal, good in (
            ("times reading", got[0], goals[0], got[0] <= goals[0]),
            ("faster than pandas", got[1], goals[1], got[1] >= goals[1]),
            ("faster than polars", got[2], goals[2], got[2] >= goals[2]),
        ):
            missed += not good
            print(f"  {text}: {value:.1f} (goal {goal:g}) {'ok' if good else 'MISSED'}")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
