"""What the bench asks of a software estimator: a description, then readings.

Counters of the host (RAPL, /proc/stat) are *polled* in the recorder's threads. Third-party
Python tools run in a process of their own, keep their own cadence and *push* finished readings
through a pipe, stamped there; a tool that stalls or dies costs its own stream only.
"""

from __future__ import annotations

from typing import Protocol

from ..instruments import Reading
from ..recording.documents import Descriptor

__all__ = ["Estimator", "PushedEstimator"]


class Estimator(Protocol):
    """An estimator that answers when it is asked.

    `id` names its stream, `cadence_s` is how often it likes to be asked, in seconds.
    `since_previous` says that each value is the mean since the reading before it, good or failed.
    """

    id: str
    cadence_s: float
    since_previous: bool

    def descriptor(self) -> Descriptor:
        """Return what its channels mean and in which mode it runs."""
        ...

    def read(self) -> Reading:
        """Take one reading; one that failed names its fault and has no values."""
        ...

    def close(self) -> None:
        """Give its files back; closing twice is harmless."""
        ...


class PushedEstimator(Protocol):
    """An estimator that measures by itself in a process of its own."""

    id: str
    cadence_s: float

    def descriptor(self) -> Descriptor:
        """Return what its channels mean and in which mode it runs."""
        ...

    def drain(self) -> tuple[Reading, ...]:
        """Return the readings that have arrived since the last call, without waiting.

        Raises:
            EstimatorError: the process has ended, and every reading was handed out.

        """
        ...

    def finish(self) -> tuple[Reading, ...]:
        """Let it take its last measurement, end it, and return what was not yet handed out."""
        ...

    def close(self) -> None:
        """End its process, measured or not; closing twice is harmless."""
        ...
