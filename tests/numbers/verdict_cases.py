"""Synthetic calibrations with one known fault each, and good ones: what the verdict is judged by.

Each of ten reasons has a published threshold (`THRESHOLDS`, the same numbers as in `RULES`). A bad
case has one fault, with a severity drawn log-uniformly between 1.5 and 10 times the threshold; a
good case has every quality within 0 to 0.67 of it, one of them drawn and the others at rest. A bad
case is found when the verdict is not `correction`, and for the right reason when the fault's code
is among the reasons that refuse or downgrade. Severities near 1 are printed as an operating curve,
and nothing is asked of them.

What severity means: `too_few_groups` needed over present; `collinear` condition over limit;
`extrapolation` distance of one workload from the range of the others, in ranges; `aliased_load`
ten sensor periods over the load's period; `moved_baseline` change of idle within a session over
5 % of the power range (or, between sessions without a re-zero, over 5 % of idle); `non_monotone`
drop behind the peak over 1 % of the curve's rise; `meter_too_coarse` resolution over 5 % of the
range; `implausible_gain` the gain (or its inverse) over 4; `wrong_mode` number of modes;
`transfer_failure` bias of one workload over 15 % of the power range.

    python tests/numbers/verdict_cases.py [cases per reason, 100]
"""

from __future__ import annotations

import math
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from calibration.analysis import InputColumn, Points, Reference, fit_points

THRESHOLDS = {
    "too_few_groups": 4.0,
    "collinear": 30.0,
    "extrapolation": 1.0,
    "aliased_load": 10.0,
    "moved_baseline": 0.05,
    "non_monotone": 0.01,
    "meter_too_coarse": 0.05,
    "implausible_gain": 4.0,
    "wrong_mode": 1.0,
    "transfer_failure": 0.15,
}
CASES = 100
SEED = 20220331
SENSOR_PERIOD_S = 0.1


@dataclass(frozen=True)
class Case:
    """Points with one quality at `severity` thresholds, and the inputs to fit."""

    code: str
    severity: float
    points: Points
    inputs: tuple[str, ...]


@dataclass
class Machine:
    """A machine that is drawn: wall = a + b x, nearly the same for every workload."""

    rng: np.random.Generator
    workloads: int
    sessions: int
    levels: int
    base_w: float
    gain: float
    noise_w: float
    spread: float  # of the gain between workloads


def machine(rng: np.random.Generator) -> Machine:
    return Machine(
        rng,
        workloads=int(rng.integers(5, 9)),
        sessions=int(rng.integers(1, 4)),
        levels=int(rng.integers(6, 10)),
        base_w=float(rng.uniform(20, 60)),
        gain=float(rng.uniform(1.05, 1.6)),
        noise_w=float(rng.uniform(0.03, 0.2)),
        spread=float(rng.uniform(0.0, 0.01)),
    )


def rows(m: Machine) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return session, workload (0 is idle) and package power, W, of every point."""
    session, workload, x = [], [], []
    for s in range(m.sessions):
        for w in range(m.workloads + 1):
            own = np.full(4, 10.0) if w == 0 else np.linspace(16.0, 80.0, m.levels)
            own = own + m.rng.normal(0, 0.3 if w else 0.05, own.size)
            session += [s] * own.size
            workload += [w] * own.size
            x += list(own)
    return np.array(session), np.array(workload), np.array(x)


def table(
    m: Machine,
    session: np.ndarray,
    workload: np.ndarray,
    wall: np.ndarray,
    inputs: dict[str, np.ndarray],
    resolution_w: float = 0.01,
) -> Points:
    noisy = wall + m.rng.normal(0, m.noise_w, wall.size)
    if resolution_w > 0.01:
        noisy = np.round(noisy / resolution_w) * resolution_w
    n = wall.size
    return Points(
        session=tuple(f"s{i}" for i in session),
        workload=tuple("idle" if w == 0 else f"work-{w}" for w in workload),
        segment=tuple(f"p{i}" for i in range(n)),
        duration_s=np.full(n, 30.0),
        reference_w=noisy,
        reference_u_w=np.full(n, math.hypot(m.noise_w, resolution_w / math.sqrt(12))),
        level=np.full(n, math.nan),
        start_unix_s=np.arange(n) * 60.0,
        inputs={k: InputColumn(v, mode="powercap", modes=("powercap",)) for k, v in inputs.items()},
        reference=Reference("meter", 0.002, 0.0, resolution_w, "made up", window_s=1.0),
    )


def plain(m: Machine, workload: np.ndarray, x: np.ndarray) -> np.ndarray:
    gains = m.gain * (1 + m.rng.normal(0, m.spread, m.workloads + 1))
    return np.asarray(m.base_w + gains[workload] * x)


def too_few_groups(rng: np.random.Generator, severity: float) -> Points:
    m = machine(rng)
    m.workloads = max(round(THRESHOLDS["too_few_groups"] / max(severity, 0.4)) - 1, 1)
    session, workload, x = rows(m)
    return table(m, session, workload, plain(m, workload, x), {"rapl_package": x})


def collinear(rng: np.random.Generator, severity: float) -> Points:
    m = machine(rng)
    session, workload, x = rows(m)
    other = rng.normal(0, 1, x.size)
    other[workload == 0] = 0.0
    design = np.column_stack([np.ones(x.size), x])
    other -= design @ np.linalg.lstsq(design, other, rcond=None)[0]
    condition = max(THRESHOLDS["collinear"] * severity, 1.5)
    r = (condition**2 - 1) / (condition**2 + 1)
    other *= np.linalg.norm(x - x.mean()) / np.linalg.norm(other) * math.sqrt(1 - r * r) / r
    dram = 0.2 * (x + other) + 3.0
    wall = plain(m, workload, x) + 1.2 * dram
    return table(m, session, workload, wall, {"rapl_package": x, "rapl_dram": dram})


def extrapolation(rng: np.random.Generator, severity: float) -> Points:
    m = machine(rng)
    session, workload, x = rows(m)
    others = workload < m.workloads
    reach = x[others].max() - x[others].min()
    far = x[others].max() + severity * reach
    x[~others] = far + np.linspace(0.0, 0.2 * reach, int(np.sum(~others)))
    return table(m, session, workload, plain(m, workload, x), {"rapl_package": x})


def aliased_load(rng: np.random.Generator, severity: float) -> Points:
    m = machine(rng)
    session, workload, x = rows(m)
    period_s = THRESHOLDS["aliased_load"] * SENSOR_PERIOD_S / max(severity, 1e-3)
    found = table(m, session, workload, plain(m, workload, x), {"nvml": x})
    column = replace(
        found.inputs["nvml"], period_s=SENSOR_PERIOD_S, observed_share=float(rng.uniform(0.2, 0.5))
    )
    pulsed = np.where(workload == 1 + int(rng.integers(m.workloads)), period_s, np.nan)
    return replace(found, inputs={"nvml": column}, load_period_s=pulsed)


def moved_baseline(rng: np.random.Generator, severity: float) -> Points:
    m = machine(rng)
    inside = bool(rng.random() < 0.5)
    m.sessions = m.sessions if inside else max(m.sessions, 2)
    session, workload, x = rows(m)
    wall = plain(m, workload, x)
    sign = -1.0 if rng.random() < 0.5 else 1.0
    if inside:
        change = severity * THRESHOLDS["moved_baseline"] * (wall.max() - wall.min())
        for s in range(m.sessions):  # idle is measured at both ends; the state changes in between
            own = np.flatnonzero(session == s)
            idle = own[workload[own] == 0]
            later = np.concatenate([idle[idle.size // 2 :], own[own.size * 2 // 3 :]])
            wall[np.unique(later)] += sign * change if s == 0 else 0.0
    else:
        idle_w = float(wall[workload == 0].mean())
        change = severity * THRESHOLDS["moved_baseline"] * idle_w
        # The mean idle power moves with the step, so the ratio to it is taken of the mean of both.
        wall[session == 0] += change / (1 - 0.5 * severity * THRESHOLDS["moved_baseline"])
    return table(m, session, workload, wall, {"rapl_package": x})


def non_monotone(rng: np.random.Generator, severity: float) -> Points:
    m = machine(rng)
    session, workload, x = rows(m)
    low, high = float(x.min()), float(x.max())
    beyond = math.sqrt(severity * THRESHOLDS["non_monotone"])  # (x_max - peak) / (peak - x_min)
    peak = (high + beyond * low) / (1 + beyond)
    rise = m.gain * (high - low)
    wall = m.base_w + rise * (1 - ((x - peak) / (peak - low)) ** 2)
    return table(m, session, workload, wall, {"rapl_package": x})


def meter_too_coarse(rng: np.random.Generator, severity: float) -> Points:
    m = machine(rng)
    session, workload, x = rows(m)
    wall = plain(m, workload, x)
    # The step changes the range that it is measured by: five rounds settle it.
    step = 0.01
    reach = float(wall.max() - wall.min())
    for _ in range(5):
        step = max(severity * THRESHOLDS["meter_too_coarse"] * reach, 0.01)
        reach = max(float(np.ptp(np.round(wall / step) * step)), 0.5 * float(np.ptp(wall)))
    return table(m, session, workload, wall, {"rapl_package": x}, resolution_w=step)


def implausible_gain(rng: np.random.Generator, severity: float) -> Points:
    m = machine(rng)
    m.noise_w *= 0.3
    ratio = max(THRESHOLDS["implausible_gain"] * severity, 1.0)
    session, workload, x = rows(m)
    m.gain = 1.2
    wall = plain(m, workload, x)
    gain = ratio if rng.random() < 0.5 else 1 / ratio
    return table(m, session, workload, wall, {"rapl_package": x * m.gain / gain})


def wrong_mode(rng: np.random.Generator, severity: float) -> Points:
    m = machine(rng)
    session, workload, x = rows(m)
    found = table(m, session, workload, plain(m, workload, x), {"codecarbon_cpu": x})
    count = max(math.ceil(severity), 1)
    modes = tuple(f"mode-{i}" for i in range(count))
    column = replace(
        found.inputs["codecarbon_cpu"], mode=modes[0] if count == 1 else None, modes=modes
    )
    return replace(found, inputs={"codecarbon_cpu": column})


def transfer_failure(rng: np.random.Generator, severity: float) -> Points:
    m = machine(rng)
    session, workload, x = rows(m)
    wall = plain(m, workload, x)
    sign = -1.0 if rng.random() < 0.5 else 1.0
    shift = severity * THRESHOLDS["transfer_failure"] * float(wall.max() - wall.min())
    wall[workload == 1 + int(rng.integers(m.workloads))] += sign * shift
    wall += max(0.0, 5.0 - float(wall.min()))  # no machine gives power back
    return table(m, session, workload, wall, {"rapl_package": x})


MAKERS: dict[str, Callable[[np.random.Generator, float], Points]] = {
    "too_few_groups": too_few_groups,
    "collinear": collinear,
    "extrapolation": extrapolation,
    "aliased_load": aliased_load,
    "moved_baseline": moved_baseline,
    "non_monotone": non_monotone,
    "meter_too_coarse": meter_too_coarse,
    "implausible_gain": implausible_gain,
    "wrong_mode": wrong_mode,
    "transfer_failure": transfer_failure,
}


def case(code: str, severity: float, seed: int) -> Case:
    """Return one case; the same three arguments give the same points."""
    rng = np.random.default_rng([SEED, list(MAKERS).index(code), seed])
    points = MAKERS[code](rng, severity)
    return Case(code, severity, points, tuple(points.inputs))


def bad_cases(per_reason: int) -> list[Case]:
    rng = np.random.default_rng(SEED)
    draws = {c: np.exp(rng.uniform(math.log(1.5), math.log(10), per_reason)) for c in MAKERS}
    return [case(c, float(s), i) for c, found in draws.items() for i, s in enumerate(found)]


def good_cases(per_reason: int) -> list[Case]:
    rng = np.random.default_rng(SEED + 1)
    draws = {c: rng.uniform(0.0, 0.67, per_reason) for c in MAKERS}
    return [
        case(c, float(s), 10_000 + i) for c, found in draws.items() for i, s in enumerate(found)
    ]


@dataclass(frozen=True)
class Outcome:
    """What the verdict made of a case."""

    case: Case
    verdict: str
    codes: tuple[str, ...]

    @property
    def refused(self) -> bool:
        return self.verdict != "correction"

    @property
    def right(self) -> bool:
        return self.refused and self.case.code in self.codes


def judge(c: Case) -> Outcome:
    result = fit_points(c.points, c.inputs)
    codes = tuple(r.code for r in result.reasons if r.consequence != "flag")
    return Outcome(c, result.verdict, codes)


def main(per_reason: int) -> int:
    print(f"{per_reason} bad and {per_reason} good cases a reason; seed {SEED}")
    print(f"{'reason':18}{'found %':>9}{'right %':>9}{'false %':>9}  named instead, falsely named")
    total = Counter[str]()
    for code in MAKERS:
        bad = [judge(c) for c in bad_cases(per_reason) if c.code == code]
        good = [judge(c) for c in good_cases(per_reason) if c.code == code]
        found, right = sum(o.refused for o in bad), sum(o.right for o in bad)
        false = sum(o.refused for o in good)
        total.update(found=found, right=right, false=false)
        other = Counter(k for o in bad if not o.right for k in o.codes or ("nothing",))
        wrong = Counter(k for o in good if o.refused for k in o.codes)
        print(
            f"{code:18}{100 * found / per_reason:9.1f}{100 * right / per_reason:9.1f}"
            f"{100 * false / per_reason:9.1f}  {dict(other)} {dict(wrong)}"
        )
    n = per_reason * len(MAKERS)
    print(
        f"{'all':18}" + "".join(f"{100 * total[k] / n:9.1f}" for k in ("found", "right", "false"))
    )
    print("\noperating curve, share not given as a correction, %, by severity")
    curve = (0.8, 0.9, 0.95, 1.0, 1.05, 1.1, 1.25)
    print(f"{'':18}" + "".join(f"{s:>7}" for s in curve))
    few = max(per_reason // 5, 5)
    for code in MAKERS:
        shares = [
            np.mean([judge(case(code, s, 20_000 + i)).refused for i in range(few)]) for s in curve
        ]
        print(f"{code:18}" + "".join(f"{100 * s:7.0f}" for s in shares))
    good_enough = total["found"] >= 0.99 * n and total["right"] >= 0.95 * n
    return 0 if good_enough and total["false"] <= 0.01 * n else 1


if __name__ == "__main__":
    raise SystemExit(main(int(sys.argv[1]) if len(sys.argv) > 1 else CASES))
