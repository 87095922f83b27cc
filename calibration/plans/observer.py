"""The plan that finds out what each estimator costs: idle with it and without it, by turns."""

from __future__ import annotations

from collections.abc import Sequence

from .plan import IDLE, Plan, PlanStep

__all__ = ["observer_plan"]


def observer_plan(
    sources: Sequence[str], *, rounds: int = 6, step_s: float = 10.0, settle_s: float = 3.0
) -> tuple[Plan, tuple[frozenset[str], ...]]:
    """Return the plan, and which of `sources` run in each of its steps.

    A source runs in the middle one of three steps of idle, so that what drifts meanwhile cancels;
    every difference has idle steps of its own, so that they are independent. The order of the
    sources turns from round to round.
    """
    active: list[frozenset[str]] = []
    for number in range(rounds):
        shift = number % len(sources) if sources else 0
        for source in (*sources[shift:], *sources[:shift]):
            active += [frozenset(), frozenset([source]), frozenset()]
    step = PlanStep(IDLE, 0.0, step_s, "observe")
    plan = Plan("observer", 0, (step,) * len(active), warm_up_s=2.0, settle_s=settle_s)
    return plan, tuple(active)
