"""What a plan cannot tell, whatever comes out of it: said before it is run.

The codes are those of the verdict where the verdict has one, and the thresholds its own: what is
found here would be refused there, an hour later.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from ..errors import InputError
from .activity import COMPONENT, activity
from .information import LagBound
from .plan import IDLE, Plan
from .prediction import LEAST_GROUPS, LEAST_LEVELS, Assumptions, Prediction, planned_points

__all__ = ["Problem", "energy_for_j", "problems"]

COLLINEAR: Final = 30.0
SHORT_RANGE: Final = 0.05
COARSE: Final = 0.05
_SUFFICIENT_PCT: Final = 1.0


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that a plan cannot tell, and why; `fatal` where no correction can come of it."""

    code: str
    message: str
    fatal: bool = True


def energy_for_j(register_j: float, relative: float) -> float:
    """Return the energy, J, that a register's step measures to a relative standard uncertainty.

    q/√6 is that of a difference of two readings: E = q / (√6 u). 1 Wh needs 41 Wh for 1 %.
    """
    return register_j / (math.sqrt(6) * relative)


def problems(
    plan: Plan,
    assumed: Assumptions,
    prediction: Prediction | None,
    lag: LagBound,
    *,
    inputs: Sequence[str] = (),
    rating_w: float | None = None,
) -> tuple[Problem, ...]:
    """Return what cannot be identified with this plan on this machine, the fatal things first."""
    found = []
    if rating_w is not None and assumed.full_w > rating_w:
        found.append(
            Problem(
                "over_rating",
                f"the machine can draw {assumed.full_w:g} W; the meter is rated {rating_w:g} W",
            )
        )
    if not plan.measured:
        why = "no steps that measure: nothing can be predicted, the data will show what they hold"
        return (*found, Problem("no_steps", why))
    if all(s.workload == IDLE for s in plan.measured):
        return (*found, Problem("idle_only", "idle only: it re-zeroes a profile and fits none"))
    groups = len({s.workload for s in plan.measured})
    if groups < LEAST_GROUPS:
        found.append(
            Problem(
                "too_few_groups",
                f"{groups} workloads, idle being one; a correction needs {LEAST_GROUPS}",
            )
        )
    levels = 1 if prediction is None else prediction.levels
    if levels < LEAST_LEVELS:
        found.append(Problem("too_few_levels", f"{levels} levels of power; needs {LEAST_LEVELS}"))
    power = planned_points(plan, assumed).power_w
    if power.size and np.ptp(power) < SHORT_RANGE * power.mean():
        found.append(Problem("range_too_short", "the power spans less than 5 % of its mean"))
    if power.size and assumed.resolution_w > COARSE * np.ptp(power):
        found.append(
            Problem(
                "meter_too_coarse",
                f"the display's step of {assumed.resolution_w:g} W exceeds 5 % of the range",
            )
        )
    if prediction is not None and prediction.resolution_pct > _SUFFICIENT_PCT:
        found.append(
            Problem(
                "meter_too_coarse",
                f"the meter's step alone makes U(gain) {prediction.resolution_pct:.1f} %; longer "
                "steps help, see below",
                fatal=prediction.resolution_pct > 20,
            )
        )
    found += _inputs(plan, inputs)
    if all(s.workload != IDLE for s in plan.measured):
        found.append(
            Problem("no_idle", "no idle step: energy above idle cannot be judged", fatal=False)
        )
    if not assumed.register_j and not lag.u_lag_s < 0.25 * assumed.cadence_s:
        found.append(
            Problem("lag_unresolved", "too few changes of load to tell the lag", fatal=False)
        )
    return tuple(sorted(found, key=lambda p: not p.fatal))


def _inputs(plan: Plan, inputs: Sequence[str]) -> list[Problem]:
    """Return inputs that this plan does not move, or moves together only."""
    found = []
    columns = []
    for key in inputs:
        if key not in COMPONENT:
            raise InputError(
                f"--input: expected one of {', '.join(COMPONENT)}; got {key!r}. What other inputs "
                "see is not known here."
            )
        column = np.array([s.level * activity(s.workload)[COMPONENT[key]] for s in plan.measured])
        if np.ptp(column) < SHORT_RANGE:
            found.append(
                Problem(
                    "unmoved_input", f"no step moves {key}: add workloads that use what it sees"
                )
            )
        columns.append(column - column.mean())
    if len(columns) > 1 and not found:
        scaled = np.stack([c / np.linalg.norm(c) for c in columns], axis=1)
        condition = float(np.linalg.cond(scaled))
        if condition > COLLINEAR:
            size = f"{condition:.0f}" if condition < 1e6 else "above a million"
            found.append(
                Problem(
                    "collinear",
                    f"{' and '.join(inputs)} rise and fall together (condition {size}, at most "
                    f"{COLLINEAR:g}): only their sum can be told",
                )
            )
    return found
