"""What observing costs in watts: idle with and without each estimator, by a run of its own.

A difference is the mean power of a step with one source less the mean of the steps without any
around it. Of the n differences of a source the mean is its cost, with the standard uncertainty
s/sqrt(n) (JCGM 100:2008, 4.2.3) and the coverage factor of Student's t for n-1 degrees of freedom.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .energy import window_energy
from .uncertainty import student_t

if TYPE_CHECKING:
    from ..recording.documents import Step
    from ..recording.reader import Run

__all__ = ["ObserverCost", "observer_costs"]

_LEAST_SEEN = 0.5  # of a step's time; with less, its mean is none


@dataclass(frozen=True, slots=True)
class ObserverCost:
    """The cost of one source at the meter: `cost_w` with the expanded uncertainty `expanded_w`, W.

    `n` differences; `measurable` is whether the cost is larger than its uncertainty. Where it is
    not, all that is known is that it lies within.
    """

    stream: str
    meter: str
    cost_w: float
    expanded_w: float
    n: int
    measurable: bool


def observer_costs(run: Run) -> tuple[ObserverCost, ...]:
    """Return what each source cost, by the run's first meter; nothing where the run says nothing.

    At least three differences are needed: two would give an interval of six standard deviations.
    """
    if not run.meters() or not any("sources" in s.achieved for s in run.steps):
        return ()
    meter = run.meters()[0]
    channel = next((c for c in run.channels(meter) if c.unit == "W"), None)
    if channel is None:
        return ()
    plan_settle_s = float((run.start.plan or {}).get("settle_s", 0.0))
    settle_ns = round(plan_settle_s * 1e9)
    steps = sorted(run.steps, key=lambda s: s.t_start_ns)
    series = run.series(meter, channel.name)
    begin = np.array([s.t_start_ns + settle_ns for s in steps], dtype=np.int64)
    end = np.array([s.t_end_ns for s in steps], dtype=np.int64)
    energy_j, seen_s = window_energy(series, begin, np.maximum(begin, end))
    enough = seen_s >= _LEAST_SEEN * (end - begin) / 1e9
    with np.errstate(invalid="ignore", divide="ignore"):
        mean_w = np.where(enough & (seen_s > 0), energy_j / seen_s, math.nan)
    differences: dict[str, list[float]] = {}
    for i in range(1, len(steps) - 1):
        before, now, after = (_sources(steps[j]) for j in (i - 1, i, i + 1))
        if now is None or len(now) != 1 or before != [] or after != []:
            continue
        difference_w = float(mean_w[i] - 0.5 * (mean_w[i - 1] + mean_w[i + 1]))
        if math.isfinite(difference_w):
            differences.setdefault(now[0], []).append(difference_w)
    return tuple(_cost(s, meter, d) for s, d in differences.items() if len(d) >= 3)


def _sources(step: Step) -> list[str] | None:
    sources = step.achieved.get("sources")
    return None if sources is None else list(sources)


def _cost(stream: str, meter: str, differences_w: list[float]) -> ObserverCost:
    n = len(differences_w)
    cost_w = math.fsum(differences_w) / n
    s_w = math.sqrt(math.fsum((d - cost_w) ** 2 for d in differences_w) / (n - 1))
    expanded_w = float(student_t(float(n - 1))) * s_w / math.sqrt(n)
    return ObserverCost(stream, meter, cost_w, expanded_w, n, abs(cost_w) > expanded_w)
