"""How wrong each tool is before any correction."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from .averaging import AveragingWindow
from .checks_points import aliased_text
from .points import Points
from .validation import above_idle_errors, idle_reference
from .verdict import RULES

__all__ = ["Comparison", "ToolComparison", "compare_points"]

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class ToolComparison:
    """One tool beside the reference: tool minus reference, W and %, with limits of agreement.

    Limits of agreement are bias ± 1.96 standard deviations of the differences (Bland and Altman,
    Lancet 1986). `*_above_idle_pct` compares energy above idle, tool and reference each above their
    own idle: the bias is that of the total, the limits are about the mean over the points. Where
    the scope of the tool is smaller than the boundary, the difference is one of scope, not an
    error.
    """

    input: str
    source: str
    mode: str | None
    scope: tuple[str, ...]
    n: int
    bias_w: float
    loa_low_w: float
    loa_high_w: float
    bias_pct: float
    loa_low_pct: float
    loa_high_pct: float
    max_abs_w: float
    bias_above_idle_pct: float | None
    loa_low_above_idle_pct: float | None
    loa_high_above_idle_pct: float | None
    mape_above_idle_pct: float | None
    lag_s: float | None
    u_lag_s: float | None
    constant: bool


@dataclass(frozen=True, slots=True)
class Comparison:
    """All tools of a set of points beside one reference; `reference_expanded_w` is U, k = 2."""

    boundary: str
    data_kind: str
    n_points: int
    sessions: int
    workloads: int
    reference: str | None
    reference_mean_w: float
    reference_expanded_w: float | None
    reference_expanded_pct: float | None
    idle_w: float | None
    tools: tuple[ToolComparison, ...]
    notes: tuple[str, ...]
    averaging: tuple[AveragingWindow, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return the JSON object that `wattcal compare --json` prints."""
        return asdict(self)


def compare_points(points: Points) -> Comparison:
    """Compare every tool with the reference, without any fit."""
    mean = float(np.average(points.reference_w, weights=points.duration_s))
    expanded = None
    if points.reference is not None:
        u2 = (points.reference.u_gain * mean) ** 2 + points.reference.u_offset_w**2
        expanded = 2.0 * math.sqrt(u2 + float(np.mean(points.reference_u_w**2)))
    idle = idle_reference(points)
    return Comparison(
        boundary=points.boundary,
        data_kind=points.data_kind,
        n_points=points.n,
        sessions=len(set(points.session)),
        workloads=len(set(points.workload)),
        reference=None if points.reference is None else points.reference.meter,
        reference_mean_w=mean,
        reference_expanded_w=expanded,
        reference_expanded_pct=None if expanded is None else 100 * expanded / mean,
        idle_w=None if np.all(np.isnan(idle)) else float(np.nanmean(idle)),
        tools=tuple(_tool(points, key) for key, c in points.inputs.items() if c.unit == "W"),
        notes=(*points.notes, *_doubts(points)),
        averaging=points.averaging,
    )


def _doubts(points: Points) -> list[str]:
    """Return what makes figures doubtful: findings on a tool, pulses that it cannot follow."""
    found = [f"{f.code}: {f.message}" for f in points.findings if f.inputs]
    aliased = aliased_text(points, points.inputs, RULES["aliased_load"].threshold)
    return [*found, f"aliased_load: {aliased}"] if aliased else found


def _tool(points: Points, key: str) -> ToolComparison:
    column = points.inputs[key]
    seen = np.isfinite(column.value)
    if not seen.any():
        nan = math.nan
        return ToolComparison(
            key, column.source, column.mode, column.scope, 0, nan, nan, nan, nan, nan, nan, nan,
            None, None, None, None, None, None, column.constant,
        )  # fmt: skip
    kept = points.select(seen)
    value = kept.inputs[key].value
    difference = value - kept.reference_w
    relative = 100 * difference / kept.reference_w
    spread = 1.96 * (float(difference.std(ddof=1)) if difference.size > 1 else math.nan)
    spread_pct = 1.96 * (float(relative.std(ddof=1)) if relative.size > 1 else math.nan)
    bias_above, loa_above, mape_above = _above_idle(kept, value)
    lag = column.lag if column.lag is not None and column.lag.resolved else None
    return ToolComparison(
        input=key,
        source=column.source,
        mode=column.mode,
        scope=column.scope,
        n=kept.n,
        bias_w=float(difference.mean()),
        loa_low_w=float(difference.mean()) - spread,
        loa_high_w=float(difference.mean()) + spread,
        bias_pct=float(relative.mean()),
        loa_low_pct=float(relative.mean()) - spread_pct,
        loa_high_pct=float(relative.mean()) + spread_pct,
        max_abs_w=float(np.abs(difference).max()),
        bias_above_idle_pct=bias_above,
        loa_low_above_idle_pct=loa_above[0],
        loa_high_above_idle_pct=loa_above[1],
        mape_above_idle_pct=mape_above,
        lag_s=None if lag is None else lag.offset_s,
        u_lag_s=None if lag is None else lag.u_s,
        constant=column.constant,
    )


def _above_idle(
    points: Points, value: Floats
) -> tuple[float | None, tuple[float | None, float | None], float | None]:
    """Return bias of the total, limits of agreement and mean |error| of energy above idle, %."""
    idle_y = idle_reference(points)
    sessions = np.array(points.session)
    idle_x = np.full(points.n, np.nan)
    for session in set(points.session):
        idle = (sessions == session) & points.idle
        if idle.any():
            idle_x[sessions == session] = value[idle].mean()
    errors = above_idle_errors(points, value, idle_x)
    if errors is None:
        return None, (None, None), None
    known = np.isfinite(idle_y) & ~points.idle
    true_j = float(np.sum(((points.reference_w - idle_y) * points.duration_s)[known]))
    tool_j = float(np.sum(((value - idle_x) * points.duration_s)[known]))
    bias = 100 * (tool_j - true_j) / true_j if true_j > 0 else None
    limits: tuple[float | None, float | None] = (None, None)
    if errors.size > 1:
        middle, spread = float(errors.mean()), 1.96 * float(errors.std(ddof=1))
        limits = middle - spread, middle + spread
    return bias, limits, float(np.abs(errors).mean())
