"""What a page shows of a fit: its points, its line with U, its errors before and after.

The numbers are made here, once, from the fit and the points it came from; the page and its figures
only print them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..analysis.model import term_values
from ..analysis.points import Points
from ..analysis.results import FitResult
from ..analysis.uncertainty import interval

__all__ = ["Dot", "FitView", "GroupError", "LinePoint", "fit_view"]

_LINE_POINTS = 61


@dataclass(frozen=True, slots=True)
class Dot:
    """One point of the fit: the input (its own unit), the reference and the residual, W."""

    workload: str
    input: float
    reference_w: float
    residual_w: float | None


@dataclass(frozen=True, slots=True)
class LinePoint:
    """The fitted function at one value of the input: power and its expanded uncertainty, W."""

    input: float
    power_w: float
    expanded_w: float


@dataclass(frozen=True, slots=True)
class GroupError:
    """One workload: mean |error| of the raw tool and of the correction that has not seen it, %.

    `inside_pct` is the share of its held-out points inside the stated interval.
    """

    workload: str
    before_pct: float | None
    after_pct: float | None
    bias_after_pct: float | None
    inside_pct: float | None


@dataclass(frozen=True, slots=True)
class FitView:
    """One fit, ready to be shown; `unit` is that of its input (W, or 1 for a load)."""

    name: str
    source: str
    mode: str | None
    input: str
    unit: str
    fit: FitResult
    dots: tuple[Dot, ...]
    line: tuple[LinePoint, ...]
    groups: tuple[GroupError, ...]


def fit_view(points: Points, fit: FitResult, *, name: str) -> FitView:
    """Prepare a fit of one input for showing, beside the points it was made from."""
    key = fit.inputs[0]
    column = points.inputs[key]
    seen = points.select(np.isfinite(column.value))
    x = seen.inputs[key].value
    line: list[LinePoint] = []
    residual = np.full(seen.n, np.nan)
    if fit.model is not None:
        coefficients = np.array([t.value for t in fit.model.terms])
        covariance = np.array(fit.model.covariance)
        grid = np.linspace(float(x.min()), float(x.max()), _LINE_POINTS)
        basis = term_values(fit.model.terms, {key: grid})
        power = basis @ coefficients
        variance = np.einsum("ij,jk,ik->i", basis, covariance, basis)
        expanded = interval(variance, fit.model.dof, power, fit.uncertainty).half_width_w
        line = [LinePoint(*map(float, p)) for p in zip(grid, power, expanded, strict=True)]
        residual = seen.reference_w - term_values(fit.model.terms, {key: x}) @ coefficients
    dots = tuple(
        Dot(w, float(a), float(y), None if np.isnan(r) else float(r))
        for w, a, y, r in zip(seen.workload, x, seen.reference_w, residual, strict=True)
    )
    return FitView(
        name=name,
        source=column.source,
        mode=column.mode,
        input=key,
        unit=column.unit,
        fit=fit,
        dots=dots,
        line=tuple(line),
        groups=_groups(seen, fit, key),
    )


def _groups(points: Points, fit: FitResult, key: str) -> tuple[GroupError, ...]:
    held = {g.group: g for g in fit.validation.per_group}
    column = points.inputs[key]
    found = []
    for workload in dict.fromkeys(points.workload):
        mine = np.array([w == workload for w in points.workload], dtype=bool)
        before = None
        if column.unit == "W":
            y = points.reference_w[mine]
            before = float(100 * np.mean(np.abs(column.value[mine] - y) / np.abs(y)))
        after = held.get(workload)
        found.append(
            GroupError(
                workload,
                before,
                None if after is None else after.mape_pct,
                None if after is None else after.bias_pct,
                None if after is None else after.covered_pct,
            )
        )
    return tuple(found)
