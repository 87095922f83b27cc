"""The estimators under test: one adapter per tool, each with the mode it runs in."""

from .codecarbon import CodeCarbon
from .cpu_load import CpuLoad
from .nvml import NvmlReader
from .opened import ESTIMATORS, available, open_estimator
from .powercap import Zone, find_zones
from .protocol import Estimator, PushedEstimator
from .rapl import RaplReader

__all__ = [
    "ESTIMATORS",
    "CodeCarbon",
    "CpuLoad",
    "Estimator",
    "NvmlReader",
    "PushedEstimator",
    "RaplReader",
    "Zone",
    "available",
    "find_zones",
    "open_estimator",
]
