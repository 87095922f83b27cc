"""The bench: plan x meters x estimators -> a run."""

from .ambient import PLAUSIBLE_C, AmbientSensor
from .describe import MeterNotes, descriptor_from_meter, identity_of
from .interrupts import Interrupts
from .lab import Lab, LabMachine, LabMeter, read_lab, same_serial
from .session import AnyEstimator, AnyMeter, Snapshot, record

__all__ = [
    "PLAUSIBLE_C",
    "AmbientSensor",
    "AnyEstimator",
    "AnyMeter",
    "Interrupts",
    "Lab",
    "LabMachine",
    "LabMeter",
    "MeterNotes",
    "Snapshot",
    "descriptor_from_meter",
    "identity_of",
    "read_lab",
    "record",
    "same_serial",
]
