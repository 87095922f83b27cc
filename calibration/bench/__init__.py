"""The bench: plan x meters x estimators -> a run."""

from .describe import descriptor_from_meter, identity_of
from .interrupts import Interrupts
from .session import AnyEstimator, AnyMeter, Snapshot, record

__all__ = [
    "AnyEstimator",
    "AnyMeter",
    "Interrupts",
    "Snapshot",
    "descriptor_from_meter",
    "identity_of",
    "record",
]
