"""The bench: plan x meters x estimators -> a run."""

from .ambient import PLAUSIBLE_C, AmbientSensor
from .describe import MeterNotes, descriptor_from_meter, identity_of
from .display import Display, parse_display
from .interrupts import Interrupts
from .lab import Lab, LabMachine, LabMeter, read_lab, same_serial
from .made import AnyEstimator, AnyMeter
from .manual import Console, ManualMeter, Terminal
from .recorder import record
from .snapshot import Snapshot

__all__ = [
    "PLAUSIBLE_C",
    "AmbientSensor",
    "AnyEstimator",
    "AnyMeter",
    "Console",
    "Display",
    "Interrupts",
    "Lab",
    "LabMachine",
    "LabMeter",
    "ManualMeter",
    "MeterNotes",
    "Snapshot",
    "Terminal",
    "descriptor_from_meter",
    "identity_of",
    "parse_display",
    "read_lab",
    "record",
    "same_serial",
]
