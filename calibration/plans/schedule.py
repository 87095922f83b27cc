"""What is due when: a pure function of plan and time, so that hours are tested in microseconds."""

from __future__ import annotations

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


def due(plan: Plan, t_s: float) -> Due | None:
    """Return what the plan asks for at `t_s` seconds after its beginning; `None` once it is over.

    A step owns its first instant and not its last.
    """
    if t_s < plan.warm_up_s:
        return Due(-1, None, t_s, plan.warm_up_s - t_s)
    begin_s = plan.warm_up_s
    for index, step in enumerate(plan.steps):
        end_s = begin_s + step.duration_s
        if t_s < end_s:
            return Due(index, step, t_s - begin_s, end_s - t_s)
        begin_s = end_s
    return None
