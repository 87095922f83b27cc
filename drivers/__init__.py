"""Drivers for physical power meters, and byte-exact emulators; knows nothing of calibration."""

from __future__ import annotations

from .accuracy import PLUG_METER, Accuracy, Conditions
from .catalog import CATALOG, channels_of, entries
from .entry import Entry
from .errors import (
    Busy,
    Checksum,
    CounterReset,
    Desync,
    DeviceError,
    DriverError,
    FrameError,
    Gone,
    Held,
    Implausible,
    OverRange,
    Rebooted,
    Refused,
    SampleError,
    Timeout,
    Transient,
    TransportError,
    Unsupported,
)
from .opening import open_meter
from .reading import Block, Channel, Meter, Reading, StreamingMeter

__all__ = [
    "CATALOG",
    "PLUG_METER",
    "Accuracy",
    "Block",
    "Busy",
    "Channel",
    "Checksum",
    "Conditions",
    "CounterReset",
    "Desync",
    "DeviceError",
    "DriverError",
    "Entry",
    "FrameError",
    "Gone",
    "Held",
    "Implausible",
    "Meter",
    "OverRange",
    "Reading",
    "Rebooted",
    "Refused",
    "SampleError",
    "StreamingMeter",
    "Timeout",
    "Transient",
    "TransportError",
    "Unsupported",
    "channels_of",
    "entries",
    "open_meter",
]
