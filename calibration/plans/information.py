"""How well a recording can tell the lag of an estimator: the bound that no method can pass.

Cramér-Rao: for meter windows k with independent noise of standard deviation σ and the model of
`analysis.alignment`,

    y_k = a + b x_k(λ, κ),   J = [1, x, b ∂x/∂λ, b (t - t_ref) ∂x/∂λ],   cov >= σ² (JᵀJ)⁻¹,

with ∂x_k/∂λ = [P(u_k) - P(u_k - w)] / w: only a window that begins in one step and ends in another
says anything about the lag. a, b, λ and κ are all taken as unknown; t_ref is where λ and κ do not
correlate. The meter's phase is not known before, so JᵀJ is averaged over phases. For n edges of
height h this is about σ w / (b h √n).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from .plan import Plan

__all__ = ["LagBound", "lag_bound", "power_steps"]

Floats = npt.NDArray[np.float64]
_PHASES: Final = 16


@dataclass(frozen=True, slots=True)
class LagBound:
    """The least standard uncertainties of lag (s) and skew (s/s) that the data allow.

    `edges` is the number of changes of power; both are infinite where there are too few.
    """

    u_lag_s: float
    u_skew: float
    edges: int


def power_steps(
    plan: Plan, *, idle_w: float, full_w: float, until_s: float | None = None
) -> tuple[Floats, Floats]:
    """Return the edges (s from the plan's beginning, shape n + 1) and powers (W, n) of its steps.

    Power is taken as linear in the level: idle + level (full - idle), for every workload alike.
    """
    power = [idle_w, *(idle_w + s.level * (full_w - idle_w) for s in plan.steps)]
    edges = np.cumsum([0.0, plan.warm_up_s, *(s.duration_s for s in plan.steps)])
    values = np.array(power)
    keep = np.diff(edges) > 0
    edges, values = np.concatenate([edges[:1], edges[1:][keep]]), values[keep]
    if until_s is not None and until_s < edges[-1]:
        inside = edges < until_s
        edges = np.append(edges[inside], until_s)
        values = values[: edges.size - 1]
    return edges, values


def lag_bound(
    edges_s: npt.ArrayLike,
    power_w: npt.ArrayLike,
    *,
    noise_w: float,
    window_s: float = 1.0,
) -> LagBound:
    """Return the Cramér-Rao bound of lag and skew for powers (W) between edges (s, one more).

    `power_w` is what the meter sees, with noise of `noise_w` watts in each window of `window_s`.
    """
    edges, power = np.asarray(edges_s, float), np.asarray(power_w, float)
    energy = np.concatenate([[0.0], np.cumsum(power * np.diff(edges))])
    total = np.zeros((4, 4))
    middle = 0.5 * (edges[0] + edges[-1])
    for phase in (np.arange(_PHASES) + 0.5) / _PHASES * window_s:
        end = np.arange(edges[0] + window_s + phase, edges[-1], window_s)
        x = np.diff(np.interp(np.stack([end - window_s, end]), edges, energy), axis=0)[0] / window_s
        level = power[np.clip(np.searchsorted(edges, np.stack([end - window_s, end])) - 1, 0, None)]
        slope = (level[1] - level[0]) / window_s
        jacobian = np.stack(
            [np.ones_like(x), x - x.mean(), slope, slope * (end - 0.5 * window_s - middle)], axis=1
        )
        total += jacobian.T @ jacobian / _PHASES
    changes = int(np.count_nonzero(np.diff(power)))
    size = np.sqrt(np.diag(total))
    if not np.all(size > 0) or np.linalg.cond(total / np.outer(size, size)) > 1e12:
        return LagBound(np.inf, np.inf, changes)
    covariance = noise_w**2 * np.linalg.inv(total / np.outer(size, size)) / np.outer(size, size)
    # At t_ref the lag is uncorrelated with the skew: its variance there is the least.
    least = covariance[2, 2] - covariance[2, 3] ** 2 / covariance[3, 3]
    return LagBound(float(np.sqrt(least)), float(np.sqrt(covariance[3, 3])), changes)
