"""How right a profile is on data it never saw, once and over many verification runs."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from ..errors import CalibrationError
from ..profile import Profile
from .drift import control_chart
from .points import Points

__all__ = ["Chart", "Verification", "chart_runs", "predictor", "verify_points"]

Quantity = Literal["power", "baseline", "above_idle"]
Predict = Callable[[dict[str, Any]], tuple[float, float, float] | str]


@dataclass(frozen=True, slots=True)
class Chart:
    """The control chart of one quantity over verification runs in order of time.

    `e_n` holds mean error over U of each of `runs`; `outside` names those with |E_n| > 1, `trend`
    the run at which the CUSUM of 2 E_n raised its alarm, `None` where it did not
    (`drift.control_chart`). `power` takes all points; `baseline` those at idle, which show a moved
    offset; `above_idle` those above it less the run's own idle, which show a changed gain.
    """

    quantity: Quantity
    runs: tuple[str, ...]
    e_n: tuple[float, ...]
    outside: tuple[str, ...]
    trend: str | None
    false_alarm_runs: float
    action: Literal["extend", "recalibrate"]


@dataclass(frozen=True, slots=True)
class Verification:
    """A profile on points it never saw, without refit; E_n over 1 in magnitude fails (ISO 13528).

    `outside` counts points beyond the domain that were corrected all the same; `coverage_95_pct` is
    the share of points whose reference lies inside the stated interval,
    widened by the reference's own standard uncertainty.
    """

    profile: str
    n: int
    refused: int
    bias_w: float | None
    rmse_w: float | None
    mape_pct: float | None
    max_abs_pct: float | None
    e_n_max: float | None
    e_n_passed_pct: float | None
    coverage_95_pct: float | None
    energy_error_pct: float | None
    passed: bool
    flags: tuple[str, ...]
    outside: int = 0
    charts: tuple[Chart, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return the JSON object that `wattcal verify --json` prints."""
        return asdict(self)


def verify_points(
    name: str,
    points: Points,
    predict: Predict,
) -> Verification:
    """Verify a correction on points it never saw.

    `predict` takes the inputs of one point and returns power (W), its standard uncertainty (W)
    and k, or the reason for which it refuses the point.
    """
    rows: list[tuple[float, float, float, float, float]] = []
    flags: dict[str, None] = {}
    refused = 0
    meter = points.reference
    for i in range(points.n):
        inputs = {k: float(c.value[i]) for k, c in points.inputs.items() if np.isfinite(c.value[i])}
        answer = predict(inputs)
        if isinstance(answer, str):
            refused += 1
            flags[answer] = None
            continue
        corrected, u, k = answer
        true = float(points.reference_w[i])
        u_y = float(points.reference_u_w[i])
        if meter is not None:
            u_y = math.sqrt(u_y**2 + (meter.u_gain * true) ** 2 + meter.u_offset_w**2)
        rows.append((corrected, k * u, true, 2 * u_y, float(points.duration_s[i])))
    if not rows:
        return Verification(
            name, 0, refused, None, None, None, None, None, None, None, None, False, tuple(flags)
        )
    power, big_u, y, big_u_y, seconds = (np.array(c) for c in zip(*rows, strict=True))
    error = power - y
    e_n = error / np.hypot(big_u, big_u_y)
    passed_pct = 100 * float(np.mean(np.abs(e_n) <= 1))
    energy = 100 * float(error @ seconds) / float(y @ seconds)
    return Verification(
        profile=name,
        n=len(rows),
        refused=refused,
        bias_w=float(error.mean()),
        rmse_w=float(np.sqrt(np.mean(error**2))),
        mape_pct=100 * float(np.mean(np.abs(error) / np.abs(y))),
        max_abs_pct=100 * float(np.max(np.abs(error) / np.abs(y))),
        e_n_max=float(np.max(np.abs(e_n))),
        e_n_passed_pct=passed_pct,
        coverage_95_pct=100 * float(np.mean(np.abs(error) <= np.hypot(big_u, big_u_y / 2))),
        energy_error_pct=energy,
        passed=passed_pct >= 95.0,
        flags=tuple(flags),
    )


def predictor(profile: Profile, flags: Counter[str] | None = None) -> Predict:
    """Return a function from the inputs of a point to power (W), u (W) and k, or to a refusal.

    What the profile says of each answer is counted in `flags`, and under `outside` the answers that
    lie beyond the domain in any way.
    """
    wanted = profile.input_ids

    def predict(inputs: dict[str, Any]) -> tuple[float, float, float] | str:
        missing = [k for k in wanted if k not in inputs]
        if missing:
            return f"no {', '.join(missing)} in the data"
        try:
            answer = profile.correct(machine=None, **{k: inputs[k] for k in wanted})
        except CalibrationError as error:
            return str(error)
        if flags is not None:
            flags.update(answer.flags)
            flags["outside"] += any(f.startswith("outside:") for f in answer.flags)
        return answer.power_w, answer.u_w, answer.k

    return predict


def chart_runs(profile: Profile, runs: Sequence[tuple[str, Points]]) -> tuple[Chart, ...]:
    """Return the control charts of power, baseline and above idle over verification runs.

    `runs` are (name, points); they are put in order of time where all say when they began. E_n of
    a run is the mean error of its points over the mean of their U (what the points of a run share
    does not average out), U of the reference included. A quantity that fewer than two runs hold has
    no chart.
    """
    begin = [float(np.min(p.start_unix_s)) for _, p in runs]
    if all(math.isfinite(t) for t in begin):
        runs = [runs[i] for i in np.argsort(begin, kind="stable")]
    found = []
    for quantity in ("power", "baseline", "above_idle"):
        known = [(n, e) for n, p in runs if (e := _run_e_n(profile, p, quantity)) is not None]
        if len(known) < 2:
            continue
        names, e_n = zip(*known, strict=True)
        chart = control_chart(e_n)
        found.append(
            Chart(
                quantity, names, chart.e_n, tuple(names[i] for i in chart.outside),
                None if chart.trend is None else names[chart.trend], chart.false_alarm_runs,
                chart.action,
            )
        )  # fmt: skip
    return tuple(found)


def _run_e_n(profile: Profile, points: Points, quantity: Quantity) -> float | None:
    """Return the E_n of one run, or None where the profile answers for none of its points."""
    wanted = profile.input_ids
    if any(k not in points.inputs for k in wanted):
        return None
    seen = np.all([np.isfinite(points.inputs[k].value) for k in wanted], axis=0)
    points = points.select(seen)
    idle = points.idle
    if quantity != "above_idle" and profile.above_idle_only:
        return None
    if quantity != "power" and not idle.any():
        return None
    zero, zero_w = None, 0.0
    if quantity == "above_idle":
        zero = points.idle_inputs(wanted)
        zero_w = float(points.reference_w[idle].mean())
    chosen = {"power": np.ones(points.n, dtype=bool), "baseline": idle, "above_idle": ~idle}
    meter, errors, limits, true = points.reference, [], [], []
    for i in np.flatnonzero(chosen[quantity]):
        inputs: dict[str, Any] = {k: float(points.inputs[k].value[i]) for k in wanted}
        try:
            answer = profile.correct(machine=None, idle=zero, **inputs)
        except CalibrationError:
            continue
        y = float(points.reference_w[i]) - zero_w
        u_y = float(points.reference_u_w[i])
        if meter is not None:
            u_y = math.sqrt(u_y**2 + (meter.u_gain * y) ** 2 + meter.u_offset_w**2)
        errors.append(answer.power_w - y)
        limits.append(math.hypot(answer.k * answer.u_w, 2 * u_y))
        true.append(y)
    return float(np.mean(errors) / np.mean(limits)) if errors else None
