"""Plans as pure data: what the machine is told to do, and when."""

from .observer import observer_plan
from .order import both_sides, level_time_correlation, shuffled_plan
from .plan import COMMAND, IDLE, Plan, PlanStep, from_mapping, from_toml, to_mapping, to_toml
from .ready import READY, SUMMARIES, find_plan
from .schedule import Due, due
from .steadiness import Stretch, Trend, thermal_trend
from .sync import peak_sidelobe, sync_intervals, sync_preamble

__all__ = [
    "COMMAND",
    "IDLE",
    "READY",
    "SUMMARIES",
    "Due",
    "Plan",
    "PlanStep",
    "Stretch",
    "Trend",
    "both_sides",
    "due",
    "find_plan",
    "from_mapping",
    "from_toml",
    "level_time_correlation",
    "observer_plan",
    "peak_sidelobe",
    "shuffled_plan",
    "sync_intervals",
    "sync_preamble",
    "thermal_trend",
    "to_mapping",
    "to_toml",
]
