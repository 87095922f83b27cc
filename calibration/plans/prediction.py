"""What a calibration by a plan will be worth, before an hour is spent on it.

The points of a plan are its measured steps: powers P_k over T_k = duration - settling - one meter
window, known but for four things: the meter's noise and resolution (independent), the lack of fit
between workloads (common to the points of one), the meter's gain and offset (common to all). With
y = a + b x, x without error of its own, and the design X = [1, P/b],

    V_kl = δ_kl (σ² τ / T_k + q_k²) + [same workload] g² D_k D_l,      D_k = P_k - P_idle,
    C = H V Hᵀ,   H = (Xᵀ W X)⁻¹ Xᵀ W,   W_k = 1/(u_k² + s²),

where σ is the noise of one reading and τ the time between readings, q_k the resolution: q/√12 of a
power display, which a steady load does not average away, q/√6/T_k of an energy register
(two readings of it), u_k² their sum, and s² the mean of g² D²: the fit weights that way, with one
lack of fit for all points. Then, with c = (1, P/b),

    u²(gain)/b² = C_bb/b² + u_gain²
    u²(P) = c C cᵀ + g² D² + (u_gain P)² + u_offset² + u_session²,

the second term because the next workload is none of those that were measured. U = k u with k from
Student's t at the degrees of freedom of Welch and Satterthwaite (JCGM 100:2008, G.4.1): groups - 2
for C, groups for g, infinite for the rest.

What is assumed stands in `Assumptions`, and is printed with the result. The prediction knows
nothing of the machine's curvature, drift and outliers, so a real calibration is as good at best.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt

from ..errors import InputError
from .activity import activity
from .plan import IDLE, Plan

__all__ = [
    "Assumptions",
    "PlannedPoints",
    "Prediction",
    "more_workloads",
    "planned_points",
    "predict",
]

Floats = npt.NDArray[np.float64]
CONFORMAL_GROUPS: Final = 19
LEAST_GROUPS: Final = 4
LEAST_LEVELS: Final = 5


@dataclass(frozen=True, slots=True)
class Assumptions:
    """What a prediction takes for granted.

    `noise_w`: standard deviation of one meter reading about a steady load; `cadence_s`: time
    between readings. `resolution_w`: step of the display; `register_j`: step of an energy
    register, if that is what is read. `u_meter_gain` (relative) and `u_meter_offset_w`: standard
    uncertainties of the meter. `lack_of_fit`: standard deviation of the gain between workloads,
    relative; 2 % is what held-out workloads of two re-zeroed public recordings of servers show.
    `session`: standard deviation of the offset between sessions, as a share of idle power.
    """

    idle_w: float = 40.0
    full_w: float = 150.0
    noise_w: float = 0.5
    cadence_s: float = 1.0
    resolution_w: float = 0.0
    register_j: float = 0.0
    u_meter_gain: float = 0.02 / math.sqrt(3)
    u_meter_offset_w: float = 0.0
    lack_of_fit: float = 0.02
    session: float = 0.05

    def __post_init__(self) -> None:
        """Refuse a machine that no plan can calibrate."""
        if not 0 < self.idle_w < self.full_w < math.inf:
            raise InputError(
                "Expected 0 < idle power < full power in W; "
                f"got {self.idle_w:g} and {self.full_w:g}."
            )
        for name in ("noise_w", "resolution_w", "register_j", "u_meter_gain", "u_meter_offset_w",
                     "lack_of_fit", "session"):  # fmt: skip
            if not 0 <= getattr(self, name) < math.inf:
                raise InputError(f"Expected {name} of 0 or more; got {getattr(self, name):g}.")
        if not 0 < self.cadence_s < math.inf:
            raise InputError(f"Expected cadence_s above 0; got {self.cadence_s:g}.")


@dataclass(frozen=True, slots=True, eq=False)
class PlannedPoints:
    """The points that a plan will give: power (W), time (s), and number of its workload; (n,)."""

    power_w: Floats
    duration_s: Floats
    group: npt.NDArray[np.intp]
    workloads: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Prediction:
    """The predicted 95 % uncertainties, U = k u.

    `gain_pct` of the gain; `gain_statistical_pct` is its standard uncertainty without the meter's
    part, what repeated calibrations would scatter by. `power_w` holds U of the power at idle, half
    and full load in a session of its own, `rezeroed_w` the same after a re-zero. `groups` counts
    idle; `levels` are those that lie 5 % of the range apart. `resolution_pct` is what the meter's
    resolution alone does to the gain, U in %.
    """

    points: int
    groups: int
    levels: int
    gain_pct: float
    gain_statistical_pct: float
    power_w: tuple[float, float, float]
    rezeroed_w: tuple[float, float, float]
    resolution_pct: float

    @property
    def interval(self) -> str:
        """Return the kind of interval that so many groups allow."""
        if self.groups < LEAST_GROUPS:
            return "none"
        return "student" if self.groups < CONFORMAL_GROUPS else "conformal"


def planned_points(plan: Plan, assumed: Assumptions, *, steps: float = 1.0) -> PlannedPoints:
    """Return the points of a plan whose steps last `steps` times as long as it says.

    The power of a step is idle + level x (share of the CPU that its workload uses) x (full - idle).
    """
    swing = assumed.full_w - assumed.idle_w
    names = tuple(dict.fromkeys(s.workload for s in plan.measured))
    rows = [
        (
            assumed.idle_w + swing * s.level * activity(s.workload)[0] * (s.workload != IDLE),
            s.duration_s * steps - plan.settle_s - assumed.cadence_s,
            names.index(s.workload),
        )
        for s in plan.measured
        if s.duration_s * steps - plan.settle_s - assumed.cadence_s > 0
    ]
    power, duration, group = np.array(rows, dtype=float).reshape(-1, 3).T
    return PlannedPoints(power, duration, group.astype(np.intp), names)


def predict(points: PlannedPoints, assumed: Assumptions) -> Prediction | None:
    """Return what a calibration with these points will be worth; None where no line can be fitted.

    The gain is relative, so the estimator's own scale does not matter: b = 1.
    """
    power = points.power_w
    groups = len(set(points.group.tolist()))
    if power.size < 3 or np.ptp(power) <= 1e-9 * power.mean() or groups < 3:
        return None
    idle_w, full_w = assumed.idle_w, assumed.full_w
    resolution = np.full(power.size, assumed.resolution_w**2 / 12)
    resolution += (assumed.register_j / math.sqrt(6) / points.duration_s) ** 2
    noise = assumed.noise_w**2 * assumed.cadence_s / points.duration_s + resolution
    above = power - idle_w
    together = points.group[:, None] == points.group[None, :]
    lack = assumed.lack_of_fit**2 * np.outer(above, above) * together
    full = np.diag(noise) + lack
    design = np.stack([np.ones_like(power), power], axis=1)
    weight = 1 / np.maximum(noise + np.diag(lack).mean(), 1e-12)
    inverse = np.linalg.inv(design.T @ (design * weight[:, None]))
    solve = inverse @ (design * weight[:, None]).T

    statistical = solve @ full @ solve.T
    coarse = math.sqrt(float((solve @ np.diag(resolution) @ solve.T)[1, 1]))
    freedom = groups - 2
    u_b = math.sqrt(float(statistical[1, 1]))

    def expanded(at_w: float, session_w: float) -> float:
        c = np.array([1.0, at_w])
        own = math.sqrt(float(c @ statistical @ c))
        next_one = assumed.lack_of_fit * (at_w - idle_w)
        rest = math.hypot(assumed.u_meter_gain * at_w, assumed.u_meter_offset_w, session_w)
        return _expand([(own, freedom), (next_one, groups), (rest, math.inf)])

    def powers(session_w: float) -> tuple[float, float, float]:
        half_w = 0.5 * (idle_w + full_w)
        return expanded(idle_w, session_w), expanded(half_w, session_w), expanded(full_w, session_w)

    return Prediction(
        points=int(power.size),
        groups=groups,
        levels=_levels(power),
        gain_pct=100 * _expand([(u_b, freedom), (assumed.u_meter_gain, math.inf)]),
        gain_statistical_pct=100 * u_b,
        power_w=powers(assumed.session * idle_w),
        rezeroed_w=powers(0.0),
        resolution_pct=100 * _expand([(coarse, math.inf)]),
    )


def more_workloads(points: PlannedPoints, times: int = 2) -> PlannedPoints:
    """Return the points of a plan with `times` as many workloads, each at the levels of one."""
    shift = len(points.workloads)
    busy = np.array([points.workloads[g] != IDLE for g in points.group])
    more = [points.group + i * shift * busy for i in range(times)]
    names = points.workloads + tuple(
        f"{name} {i + 1}" for i in range(1, times) for name in points.workloads
    )
    return replace(
        points,
        power_w=np.tile(points.power_w, times),
        duration_s=np.tile(points.duration_s, times),
        group=np.concatenate(more),
        workloads=names,
    )


def _expand(parts: Sequence[tuple[float, float]]) -> float:
    """Return U = k u of independent parts (u, degrees of freedom), 95 %, Welch-Satterthwaite."""
    from scipy.special import stdtrit

    u2 = sum(u * u for u, _ in parts)
    if u2 == 0:
        return 0.0
    spread = sum(u**4 / dof for u, dof in parts if math.isfinite(dof))
    freedom = u2 * u2 / spread if spread > 0 else 1e9
    return float(stdtrit(min(freedom, 1e9), 0.975)) * math.sqrt(u2)


def _levels(power_w: Floats) -> int:
    """Count levels as the verdict does: the most that lie 5 % of the range apart."""
    ordered = np.sort(power_w)
    least = 0.05 * float(np.ptp(ordered))
    count, last = 1, float(ordered[0])
    for value in ordered[1:].tolist():
        if value - last >= least > 0:
            count, last = count + 1, value
    return count
