"""The estimators under test: one adapter per tool, each with the mode it runs in."""

from .board import BoardPower
from .carbontracker import CarbonTracker
from .codecarbon import CodeCarbon
from .cpu_load import CpuLoad
from .nvml import NvmlReader
from .opened import ESTIMATORS, available, open_estimator
from .powercap import Zone, find_zones
from .protocol import Estimator, PushedEstimator
from .rapl import RaplReader
from .rapl_perf import RaplPerf
from .smi import SmiPower
from .zeus import Zeus

__all__ = [
    "ESTIMATORS",
    "BoardPower",
    "CarbonTracker",
    "CodeCarbon",
    "CpuLoad",
    "Estimator",
    "NvmlReader",
    "PushedEstimator",
    "RaplPerf",
    "RaplReader",
    "SmiPower",
    "Zeus",
    "Zone",
    "available",
    "find_zones",
    "open_estimator",
]
