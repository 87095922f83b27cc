"""The types that cross the border between instruments and the rest: readings, what they mean.

A `Channel` is said once per instrument and holds everything that is needed to understand its
numbers: unit, what the instrument averages, how finely it resolves, and what its maker promises.
A `Reading` is one answer of a polled instrument, a `Block` a stretch of samples of a streaming
one. Instants are integer nanoseconds of CLOCK_MONOTONIC (`time.monotonic_ns`), never floats,
never wall time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import TYPE_CHECKING, Literal, Protocol

from .accuracy import Accuracy

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

__all__ = ["Accuracy", "Block", "Channel", "Kind", "Meter", "Reading", "StampAt", "StreamingMeter"]

Kind = Literal["counter", "mean", "instant"]
StampAt = Literal["start", "middle", "end"]


@dataclass(frozen=True, slots=True)
class Channel:
    """One quantity of one instrument: what its numbers mean and what they are worth.

    `kind` decides the integral: `counter` accumulates, `mean` is the average over `window_s`
    seconds that end at the stamp, lie around it or begin with it (`stamp_at`), `instant` is a
    sample. `scale` turns the raw integer on the wire into `unit`, exactly. `resolution` is the
    step of the numbers, `refresh_s` how often a new one comes, `wrap` where a counter begins again,
    `range_min` and `range_max` what is rated, all in `unit` and s. `assumed` names the fields of
    this channel that stand in no source.
    """

    name: str
    quantity: str
    unit: str
    kind: Kind
    scale: Fraction
    resolution: float
    accuracy: Accuracy | None = None
    window_s: float | None = None
    refresh_s: float | None = None
    stamp_at: StampAt = "end"
    wrap: float | None = None
    range_min: float | None = None
    range_max: float | None = None
    assumed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Reading:
    """One answer: values by channel name, between the instants of its request and its last byte.

    A failed reading has no values and names its `fault`; a number is never made up for it.
    """

    t_request_ns: int
    t_reply_ns: int
    values: Mapping[str, float] = field(default_factory=dict)
    fault: str | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """A stretch of samples of a streaming instrument, in its own raw integers.

    `t_request_ns` is the arrival of the block before, `t_reply_ns` that of this one.
    `device_ticks` (int64, shape (n,)) is the instrument's own clock, unwrapped; `columns` holds
    one integer array of shape (n,) per channel name; a value in the channel's unit is raw times
    `Channel.scale`. `faults` says what was lost before or inside the block, in words of
    `DriverError.code`.
    """

    t_request_ns: int
    t_reply_ns: int
    device_ticks: npt.NDArray[np.int64]
    columns: Mapping[str, npt.NDArray[np.integer]]
    faults: tuple[str, ...] = ()


class Meter(Protocol):
    """An instrument that answers when it is asked."""

    model: str
    channels: tuple[Channel, ...]

    def identify(self) -> Mapping[str, str]:
        """Ask the instrument who it is and how it is set; short texts by name."""
        ...

    def read(self) -> Reading:
        """Take one reading; raise a `DriverError` where there is none."""
        ...

    def close(self) -> None:
        """Leave the instrument quiet and give the port back."""
        ...


class StreamingMeter(Protocol):
    """An instrument that talks by itself once it is started."""

    model: str
    channels: tuple[Channel, ...]
    tick_rate_hz: float
    tick_modulus: int

    def identify(self) -> Mapping[str, str]:
        """Ask the instrument who it is and how it is set; short texts by name."""
        ...

    def start(self) -> None:
        """Start the stream."""
        ...

    def read_block(self) -> Block:
        """Return what has arrived since the last block; raise a `DriverError` if nothing comes."""
        ...

    def stop(self) -> None:
        """Stop the stream and drain what is still on its way."""
        ...

    def close(self) -> None:
        """Leave the instrument quiet and give the port back."""
        ...
