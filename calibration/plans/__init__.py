"""Plans as pure data: what the machine is told to do, and when."""

from .order import level_time_correlation, shuffled_plan
from .plan import IDLE, Plan, PlanStep, from_mapping, from_toml, to_mapping, to_toml
from .ready import READY, find_plan, staircase, staircase_short
from .schedule import Due, due

__all__ = [
    "IDLE",
    "READY",
    "Due",
    "Plan",
    "PlanStep",
    "due",
    "find_plan",
    "from_mapping",
    "from_toml",
    "level_time_correlation",
    "shuffled_plan",
    "staircase",
    "staircase_short",
    "to_mapping",
    "to_toml",
]
