"""The sampler that fits a source."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias, cast

from ..estimators import Estimator, PushedEstimator
from ..instruments import Meter, StreamingMeter
from ..recording.streams import StreamWriter
from ..recording.writer import RunWriter
from .describe import is_streaming
from .polled import MeterSampler, PolledSampler
from .pushed import PushedSampler
from .resting import Interruptible
from .sampler import Sampler
from .streamed import StreamSampler

__all__ = ["AnyEstimator", "AnyMeter", "sampler_of_estimator", "sampler_of_meter"]

AnyMeter: TypeAlias = Meter | StreamingMeter
AnyEstimator: TypeAlias = Estimator | PushedEstimator


def sampler_of_meter(
    meter: AnyMeter,
    sink: StreamWriter,
    writer: RunWriter,
    begin_ns: int,
    reopen: Callable[[], AnyMeter] | None,
    now_ns: Callable[[], int],
) -> Sampler:
    """Return the sampler of a meter, by whether it is asked or talks by itself."""
    if is_streaming(meter):
        again = cast("Callable[[], StreamingMeter] | None", reopen)
        return StreamSampler(meter, sink, writer, now_ns=now_ns, reopen=again)
    polled = cast("Callable[[], Meter] | None", reopen)
    return MeterSampler(cast("Meter", meter), sink, writer, begin_ns, now_ns=now_ns, reopen=polled)


def sampler_of_estimator(
    estimator: AnyEstimator, sink: StreamWriter, writer: RunWriter, begin_ns: int
) -> Interruptible:
    """Return the sampler of an estimator, by whether it is asked or sends."""
    if hasattr(estimator, "drain"):
        return PushedSampler(cast("PushedEstimator", estimator), sink, writer, begin_ns)
    return PolledSampler(estimator, sink, writer, begin_ns)
