"""Drivers for physical power meters, and byte-exact emulators; knows nothing of calibration."""

from __future__ import annotations

from .catalog import CATALOG, Entry, channels_of, entries, open_meter
from .errors import (
    Busy,
    Checksum,
    Desync,
    DeviceError,
    DriverError,
    FrameError,
    Gone,
    Implausible,
    Refused,
    Timeout,
    Transient,
    TransportError,
    Unsupported,
)
from .reading import Accuracy, Block, Channel, Meter, Reading, StreamingMeter

__all__ = [
    "CATALOG",
    "Accuracy",
    "Block",
    "Busy",
    "Channel",
    "Checksum",
    "Desync",
    "DeviceError",
    "DriverError",
    "Entry",
    "FrameError",
    "Gone",
    "Implausible",
    "Meter",
    "Reading",
    "Refused",
    "StreamingMeter",
    "Timeout",
    "Transient",
    "TransportError",
    "Unsupported",
    "channels_of",
    "entries",
    "open_meter",
]
