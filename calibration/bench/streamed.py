"""The sampler of a streaming meter: blocks as they come, raw integers with the device's clock."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np

from ..instruments import Block, DriverError, StreamingMeter, Transient
from ..recording.streams import StreamWriter
from ..recording.writer import RunWriter
from .costs import Child, Jitter
from .outage import Outage
from .port import MeterPort
from .watts import LiveWatts

__all__ = ["StreamSampler"]

_REOPEN_NS: Final = 500_000_000


class StreamSampler:
    """Writes the blocks of a streaming meter, and starts it again when it has gone or fallen dry.

    `step` waits for a block; its thread does nothing else.
    """

    child: Child | None = None
    jitter: Jitter | None = None

    def __init__(
        self,
        meter: StreamingMeter,
        sink: StreamWriter,
        writer: RunWriter,
        *,
        now_ns: Callable[[], int],
        reopen: Callable[[], StreamingMeter] | None,
    ) -> None:
        self.stream, self.faults = sink.descriptor.stream, 0
        self.watts = LiveWatts(sink.descriptor)
        self._scale = {c.name: c.scale or (1, 1) for c in sink.descriptor.channels}
        self._terms = tuple(t for d in sink.descriptor.derived for t in d.terms)
        self._sink, self._now_ns = sink, now_ns
        self._port = MeterPort(meter, reopen, Outage(writer, self.stream, "outage"))
        self._running = False

    def step(self, now_ns: int) -> int:
        """Write the next block."""
        meter = self._port.get(now_ns)
        if meter is None:
            self._failed(now_ns, "gone")
            return now_ns + _REOPEN_NS
        try:
            if not self._running:
                meter.start()
                self._running = True
            block = meter.read_block()
        except DriverError as error:
            self._failed(now_ns, error.code)
            self._running = False
            if not isinstance(error, Transient):
                self._port.lost(now_ns, str(error))
            return self._now_ns()
        fault = " ".join(dict.fromkeys(block.faults)) or None
        self._sink.append_block(
            block.t_request_ns, block.t_reply_ns, block.device_ticks, block.columns, fault
        )
        self.faults += fault is not None
        self._port.answered(block.t_reply_ns)
        if len(block.device_ticks):
            self.watts.value = self._mean_w(block)
        return self._now_ns()

    def _mean_w(self, block: Block) -> float:
        """Return the mean power of a block over all rails, W."""
        total_w = 0.0
        for term in self._terms:
            product = np.ones(len(block.device_ticks))
            for name in term:
                numerator, denominator = self._scale[name]
                product *= block.columns[name] * (numerator / denominator)
            total_w += float(product.mean())
        return total_w

    def _failed(self, now_ns: int, code: str) -> None:
        self.faults += 1
        self._sink.append(now_ns, self._now_ns(), {}, code)

    def finish(self, now_ns: int) -> None:
        """Stop the stream, and close a meter that was opened here."""
        self._port.finish(lambda meter: meter.stop())
