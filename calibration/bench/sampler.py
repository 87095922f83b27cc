"""Samplers: each asks one source and writes rows; `step(now)` does what is due and says what next.

A sampler has no thread and no clock of its own: `step` is called with the time and returns when it
wants to be called again, so that hours of recording run in a test's single thread. What goes wrong
is recorded and never ends the recording: a failed reading is a row with its fault, a tick that
passed while the source was busy is a row `missed`, a port that has vanished is opened again until
it is back, and stands in the run as one fault with beginning, end and count.
"""

from __future__ import annotations

from typing import Protocol

from .costs import Observed
from .watts import LiveWatts

__all__ = ["Sampler"]


class Sampler(Observed, Protocol):
    """What the recorder's threads run."""

    @property
    def faults(self) -> int:
        """Return how many rows failed so far."""
        ...

    @property
    def watts(self) -> LiveWatts:
        """Return what it reads at present."""
        ...

    def step(self, now_ns: int) -> int | None:
        """Do what is due now; return when to come back, or `None` if there is nothing more."""
        ...

    def finish(self, now_ns: int) -> None:
        """Write what is left, once no thread steps it any more."""
        ...
