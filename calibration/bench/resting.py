"""A sampler that can be put to rest: it asks nothing, and its tool's own process stands still."""

from __future__ import annotations

import signal
from typing import Final, Protocol

from .costs import Child, Jitter
from .sampler import Sampler
from .watts import LiveWatts

__all__ = ["Interruptible", "Resting"]

_LOOK_NS: Final = 250_000_000


class Interruptible(Sampler, Protocol):
    """A sampler that does not take a rest for missed ticks or for a stall."""

    def resume(self, now_ns: int) -> None:
        """Go on at `now_ns`; what was due before is not missed."""
        ...


class Resting:
    """Lets a sampler work or rest; `rest` may be called from any thread."""

    def __init__(self, inner: Interruptible) -> None:
        self._inner, self._resting, self._slept = inner, False, False

    @property
    def stream(self) -> str:
        """Return the name of its stream."""
        return self._inner.stream

    @property
    def faults(self) -> int:
        """Return how many rows failed so far."""
        return self._inner.faults

    @property
    def watts(self) -> LiveWatts:
        """Return what it reads at present."""
        return self._inner.watts

    @property
    def jitter(self) -> Jitter | None:
        """Return how far from its time it was asked."""
        return self._inner.jitter

    @property
    def child(self) -> Child | None:
        """Return the process of its own that its tool runs in."""
        return self._inner.child

    def rest(self, resting: bool) -> None:
        """Put it to rest, or let it work; a process is stopped and continued (signal(7))."""
        if resting == self._resting:
            return
        self._resting = resting
        if self.child is not None:
            self.child.signal(signal.SIGSTOP if resting else signal.SIGCONT)

    def step(self, now_ns: int) -> int | None:
        """Do what is due now, unless it rests."""
        if self._resting:
            self._slept = True
            return now_ns + _LOOK_NS
        if self._slept:
            self._slept = False
            self._inner.resume(now_ns)
        return self._inner.step(now_ns)

    def finish(self, now_ns: int) -> None:
        """Write what is left; a process that stands still is continued first."""
        self.rest(False)
        if self._slept:
            self._inner.resume(now_ns)
        self._inner.finish(now_ns)
