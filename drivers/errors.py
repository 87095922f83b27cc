"""What can go wrong between a computer and an instrument, as one tree.

    DriverError
    ├── TransportError            the bytes did not travel
    │   ├── Timeout (Transient)   nothing, or too little, arrived in time
    │   ├── Gone                  the port has vanished: unplugged, powered off
    │   └── Busy                  somebody else holds the port
    ├── FrameError (Transient)    bytes arrived that are not an answer
    │   ├── Checksum              a frame whose checksum does not fit
    │   ├── Desync                the stream of frames was lost and had to be found again
    │   └── Implausible           a whole frame with values that no such instrument can have
    ├── SampleError (Transient)   a whole answer that holds no new measurement
    │   ├── OverRange             the measurand lies outside the range that is set
    │   ├── NoData                the instrument itself says that it has no number
    │   ├── Held                  the instrument repeats itself: nothing moves that should have
    │   ├── Rebooted              it has restarted; its clock or its registers began anew
    │   └── CounterReset          a counter fell, and not because it wrapped
    └── DeviceError               the instrument answered, and said no
        ├── Refused               it names an error
        └── Unsupported           this model cannot do that

Whether asking again is sensible is a type, `Transient`, not a flag. `code` is the short name that a
recording stores beside the failed sample.
"""

from __future__ import annotations

from typing import ClassVar

__all__ = [
    "Busy",
    "Checksum",
    "CounterReset",
    "Desync",
    "DeviceError",
    "DriverError",
    "FrameError",
    "Gone",
    "Held",
    "Implausible",
    "NoData",
    "OverRange",
    "Rebooted",
    "Refused",
    "SampleError",
    "Timeout",
    "Transient",
    "TransportError",
    "Unsupported",
]


class DriverError(Exception):
    """Anything that stands between a caller and a reading."""

    code: ClassVar[str] = "driver"


class Transient(DriverError):  # noqa: N818 - a property of an error, not a thing
    """An error after which the next request may well succeed."""

    code = "transient"


class TransportError(DriverError):
    """The bytes did not travel."""

    code = "transport"


class Timeout(TransportError, Transient):  # noqa: N818
    """Nothing, or too little, arrived before the deadline."""

    code = "timeout"


class Gone(TransportError):  # noqa: N818
    """The port has vanished: the device was unplugged or lost its power."""

    code = "gone"


class Busy(TransportError):  # noqa: N818
    """Somebody else holds the port."""

    code = "busy"


class FrameError(Transient):
    """Bytes arrived that are not an answer to the request."""

    code = "frame"


class Checksum(FrameError):  # noqa: N818
    """A frame arrived whose checksum does not fit its bytes."""

    code = "crc"


class Desync(FrameError):  # noqa: N818
    """The beginning of the frames was lost in a stream of bytes."""

    code = "desync"


class Implausible(FrameError):  # noqa: N818
    """A whole frame holds values that the instrument cannot have measured."""

    code = "implausible"


class SampleError(Transient):
    """A whole answer arrived, and it holds no new measurement."""

    code = "sample"


class OverRange(SampleError):  # noqa: N818
    """The measurand lies outside the range that is set, so there is no number for it."""

    code = "overrange"


class NoData(SampleError):  # noqa: N818
    """The instrument answers that it has no number for what was asked."""

    code = "no-data"


class Held(SampleError):  # noqa: N818
    """The instrument repeats its last values: nothing moves that should have moved."""

    code = "held"


class Rebooted(SampleError):  # noqa: N818
    """The instrument has restarted since the reading before."""

    code = "reboot"


class CounterReset(SampleError):  # noqa: N818
    """A counter fell, and not because it had reached the end of its register."""

    code = "counter-reset"


class DeviceError(DriverError):
    """The instrument answered, and said no."""

    code = "device"


class Refused(DeviceError):  # noqa: N818
    """The instrument names an error, for example a Modbus exception."""

    code = "refused"


class Unsupported(DeviceError):  # noqa: N818
    """Neither the model nor its firmware can do what was asked."""

    code = "unsupported"
