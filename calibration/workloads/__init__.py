"""The load generators: what the machine does while it is measured."""

from .catalog import STRESS_NG, WORKLOADS, Workload, available_cores, workload
from .load import Load
from .played import PlayedGpus
from .runner import WorkloadRunner

__all__ = [
    "STRESS_NG",
    "WORKLOADS",
    "Load",
    "PlayedGpus",
    "Workload",
    "WorkloadRunner",
    "available_cores",
    "workload",
]
