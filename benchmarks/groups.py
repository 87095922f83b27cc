"""Count how often the stated interval of a new group's mean error holds it, by number of groups.

    python benchmarks/groups.py [CALIBRATIONS]

Each calibration: m workloads of four levels each, over different parts of the range, every one off
the common line by an effect of its own (standard deviation 1 W: normal, Laplace, or Student's t
with 3 degrees of freedom), noise of 0.2 W in a point; `fit_points` holds each workload out in turn.
A workload more is drawn from the same distribution; the share of calibrations in which its mean
error lies within `validation.interval_half_width_w` is printed with the median half-width and with
what the interval rested on. Below 19 groups that is Student's t with the variance between groups,
never narrower than the worst of them; from 19 on the group-conformal interval. The binomial
standard error of a share is printed at the end. Effects of a fixed variance cannot be bounded from
four groups without a distribution: the largest of m is exceeded once in m + 1.
"""

from __future__ import annotations

import math
import os
import sys
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")

import numpy as np  # noqa: E402

from calibration.analysis import InputColumn, Points, Reference, fit_points  # noqa: E402

GROUPS = (4, 5, 6, 8, 12, 18, 19, 30)
LEVELS = 4
EFFECTS: dict[str, Callable[[np.random.Generator, int], np.ndarray]] = {
    "normal": lambda g, n: g.standard_normal(n),
    "Laplace": lambda g, n: g.laplace(0.0, math.sqrt(0.5), n),
    "t, 3 dof": lambda g, n: g.standard_t(3, n) / math.sqrt(3),
}


def once(groups: int, effect: str, index: int) -> tuple[bool, float, str]:
    """Return whether the interval of one calibration holds a new group, half-width (W), kind."""
    g = np.random.default_rng((groups, list(EFFECTS).index(effect), index))
    low = 10 + 30 * g.random(groups + 1)
    x = low[:, None] + np.linspace(0, 1, LEVELS) * (20 + 20 * g.random(groups + 1))[:, None]
    own = EFFECTS[effect](g, groups + 1)
    y = 40 + 1.25 * x + own[:, None] + 0.2 * g.standard_normal(x.shape)
    n = groups * LEVELS
    points = Points(
        session=("s",) * n,
        workload=tuple(f"w{i // LEVELS}" for i in range(n)),
        segment=tuple(f"p{i}" for i in range(n)),
        duration_s=np.full(n, 50.0),
        reference_w=y[:groups].ravel(),
        reference_u_w=np.full(n, 0.2),
        level=np.full(n, math.nan),
        start_unix_s=60.0 * np.arange(n),
        inputs={"tool": InputColumn(x[:groups].ravel())},
        data_kind="simulated",
        reference=Reference("simulated meter", 0.0, 0.0, None, "simulation"),
        correlation_time_s=np.ones(n),
    )
    result = fit_points(points, ("tool",), model="affine", scheme="workload")
    half_w = result.validation.interval_half_width_w
    if result.model is None or half_w is None:
        return False, math.nan, "none"
    a, b = (t.value for t in result.model.terms)
    return (
        abs(float(np.mean(a + b * x[-1] - y[-1]))) <= half_w,
        half_w,
        str(result.validation.interval),
    )


def some(groups: int, effect: str, first: int, count: int) -> list[tuple[bool, float, str]]:
    """Return `once` for a stretch of indices."""
    return [once(groups, effect, i) for i in range(first, first + count)]


def main(count: int = 2000) -> None:
    """Print the table."""
    print(f"{'effects':10}{'groups':>7}{'covers %':>10}{'half W':>8}  rests on")
    chunk = max(count // 4, 1)
    starts = range(0, count, chunk)
    with ProcessPoolExecutor(2) as pool:
        for effect in EFFECTS:
            for m in GROUPS:
                jobs = [pool.submit(some, m, effect, i, min(chunk, count - i)) for i in starts]
                found = [row for job in jobs for row in job.result()]
                share = 100 * sum(inside for inside, _, _ in found) / len(found)
                half = float(np.median([w for _, w, _ in found]))
                kinds = Counter(kind for _, _, kind in found)
                why = ", ".join(f"{k} {100 * v / len(found):.0f} %" for k, v in kinds.items())
                print(f"{effect:10}{m:7d}{share:10.1f}{half:8.2f}  {why}", flush=True)
    print(f"standard error of a share: {100 * math.sqrt(0.95 * 0.05 / count):.1f} points")


if __name__ == "__main__":
    main(*(int(v) for v in sys.argv[1:2]))
