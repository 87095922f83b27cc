"""Two ways to find the frames of a stream: runs of binary frames, and lines that parse alone.

Both turn bytes into the same samples however the bytes are cut into pieces, and both say one fault
per loss or refused frame. Nothing is said about what comes before the first frame: a stream may be
met in its middle.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from .errors import Desync, FrameError, SampleError
from .stream import DeviceClock, Integers, Samples
from .wire import Frame, Need, Parser

__all__ = ["DecodeLine", "Frames", "Layout", "LineDecoder", "RunDecoder"]

Frames = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Layout:
    """How a stream of frames of one length is recognised; every function is pure.

    `search(buffer)` returns where the first frame begins and whether there is one (without one,
    how many bytes certainly begin none). `good(frames, tick)` returns how many frames from the
    first on are frames and in step with each other and with `tick`, the clock of the one before
    (None: there was none). `clock` and `columns` take frames apart; frames have the shape
    (n, frame_bytes). `mean_step` is the usual number of ticks from one frame to the next.
    """

    frame_bytes: int
    tick_rate_hz: float
    tick_modulus: int
    mean_step: int
    search: Callable[[bytes], tuple[int, bool]]
    good: Callable[[Frames, int | None], int]
    clock: Callable[[Frames], Integers]
    columns: Callable[[Frames], Mapping[str, Integers]]


class RunDecoder:
    """Frames of one length without a checksum, found in runs.

    Where bytes were lost inside a frame, its beginning and the end of a later one can look like a
    frame. So a frame counts only once the next one has come in step; the one before a break is
    thrown away with it.
    """

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._buffer = b""
        self._in_step = False
        self._gap = True  # no frame has counted since the last break
        self._clock = DeviceClock(layout.tick_rate_hz, layout.tick_modulus)
        self._foreign = 0  # bytes that began no frame since the last one that counted
        self._thrown = 0  # frames thrown away since then

    @property
    def pending(self) -> int:
        """Return how many bytes wait for more to come."""
        return len(self._buffer)

    def feed(self, data: bytes, t_ns: int | None = None, *, last: bool = False) -> Samples:
        """Decode what `data`, which arrived at `t_ns` (monotonic), completes."""
        layout, size = self._layout, self._layout.frame_bytes
        buffer = self._buffer + data
        at = skipped = 0
        ticks, kept = list[npt.NDArray[np.int64]](), [np.empty((0, size), np.uint8)]
        faults = list[str]()
        while True:
            if not self._in_step:
                count, self._in_step = layout.search(buffer[at:] if at else buffer)
                at, skipped, self._foreign = at + count, skipped + count, self._foreign + count
                if not self._in_step:
                    break
            n = (len(buffer) - at) // size
            frames = np.frombuffer(buffer, np.uint8, n * size, at).reshape(-1, size)
            good = layout.good(frames, None if self._gap else self._clock.tick)
            whole = good == n
            sure = good if whole and last else max(good - 1, 0)
            if sure:
                ticks.append(self._unwrap(layout.clock(frames[:sure]), t_ns))
                kept.append(frames[:sure])
                at += sure * size
            if whole:
                break
            if good:
                at, skipped, self._thrown = at + size, skipped + size, self._thrown + 1
            if not self._gap:
                faults.append(Desync.code)
            self._in_step, self._gap = False, True
        self._buffer = buffer[at:]
        if ticks and t_ns is not None and self._clock.slipped(t_ns):
            faults.append(Desync.code)
        return Samples(
            np.concatenate(ticks) if ticks else np.empty(0, np.int64),
            layout.columns(kept[1] if len(kept) == 2 else np.concatenate(kept)),
            skipped,
            tuple(faults),
        )

    def _unwrap(self, words: Integers, t_ns: int | None) -> npt.NDArray[np.int64]:
        """Unwrap the clock; whole frames that were damaged, not missing, count themselves."""
        expected, size = None, self._layout.frame_bytes
        if self._foreign and self._foreign % size == 0:
            lost = self._foreign // size + self._thrown
            expected = float(self._layout.mean_step * (lost + 1))
        gap, self._gap = self._gap, False
        self._foreign = self._thrown = 0
        return self._clock.unwrap(words, t_ns, gap=gap, expected=expected)


class DecodeLine(Protocol):
    """Takes one frame apart: its unwrapped tick and its raw integers by channel."""

    def __call__(self, payload: bytes, t_ns: int | None) -> tuple[int, Mapping[str, int]]:
        """Decode a frame that arrived at `t_ns`; raise a `FrameError` or `SampleError` for none."""
        ...


class LineDecoder:
    """Frames that a parser recognises one by one, each of them a sample: streams of text."""

    def __init__(self, parse: Parser, decode: DecodeLine, names: Iterable[str]) -> None:
        self._parse, self._decode, self._names = parse, decode, tuple(names)
        self._buffer = b""
        self._begun = False
        self._in_step = True

    @property
    def pending(self) -> int:
        """Return how many bytes wait for more to come."""
        return len(self._buffer)

    def feed(self, data: bytes, t_ns: int | None = None, *, last: bool = False) -> Samples:
        """Decode what `data`, which arrived at `t_ns` (monotonic), completes."""
        self._buffer += data
        ticks, rows = list[int](), list[Mapping[str, int]]()
        faults, skipped = list[str](), 0
        while not isinstance(verdict := self._parse(self._buffer), Need):
            if isinstance(verdict, Frame):
                self._buffer = self._buffer[verdict.length :]
                try:
                    tick, row = self._decode(verdict.payload, t_ns)
                except (FrameError, SampleError) as error:
                    skipped += verdict.length
                    if self._begun:
                        faults.append(error.code)
                    self._in_step = True
                    continue
                ticks.append(tick)
                rows.append(row)
                self._begun = self._in_step = True
            else:
                skipped += verdict.count
                self._buffer = self._buffer[verdict.count :]
                self._fault(verdict.error.code, faults)
        return Samples(
            np.array(ticks, np.int64),
            {n: np.array([row[n] for row in rows], np.int32) for n in self._names},
            skipped,
            tuple(faults),
        )

    def _fault(self, code: str, faults: list[str]) -> None:
        """Say one fault per loss of frames, in however many pieces it is skipped."""
        if self._begun and self._in_step:
            faults.append(code)
        self._in_step = False
