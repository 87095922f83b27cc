"""What is due when: a pure function of plan and time, so that hours are tested in microseconds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from .plan import Plan, PlanStep

__all__ = ["Due", "due"]


@dataclass(frozen=True, slots=True)
class Due:
    """The state of a plan at one instant.

    `index` is the step's number, -1 during warm-up (when `step` is `None`); `since_s` and
    `left_s` are the seconds since the phase began and until it ends.
    """

    index: int
    step: PlanStep | None
    since_s: float
    left_s: float


def due(plan: Plan, t_s: float, took_s: Mapping[int, float] | None = None) -> Due | None:
    """Return what the plan asks for at `t_s` seconds after its beginning; `None` once it is over.

    A step owns its first instant and not its last. `took_s` holds, by index, how long a step really
    took that ended before its time: a warm-up once the machine was steady, a command that was done.
    All later steps move forward by what was saved.
    """
    early = took_s or {}
    if t_s < plan.warm_up_s:
        return Due(-1, None, t_s, plan.warm_up_s - t_s)
    begin_s = plan.warm_up_s
    for index, step in enumerate(plan.steps):
        end_s = begin_s + min(early.get(index, step.duration_s), step.duration_s)
        if t_s < end_s:
            return Due(index, step, t_s - begin_s, end_s - t_s)
        begin_s = end_s
    return None
