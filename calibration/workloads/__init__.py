"""The load generators: what the machine does while it is measured."""

from .catalog import WORKLOADS, Workload, available_cores, workload
from .runner import WorkloadRunner

__all__ = ["WORKLOADS", "Workload", "WorkloadRunner", "available_cores", "workload"]
