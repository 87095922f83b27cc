"""What a recording needs every 0.5 s: its rows on the disk, a look at the clocks.

Rows wait for the next turn and then for the disk, so that a crash costs those of the last turn
only: half a second, and what the disk takes for one `fdatasync`.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Final

from ..errors import RunError
from .clocks import jumps, read_clocks
from .documents import Clock, Fault

__all__ = ["Keeper"]

TURN_S: Final = 0.5
CLOCK_NS: Final = 60_000_000_000

_log = logging.getLogger(__name__)


class Keeper:
    """Keeps a run safe while it is recorded; `turn` is one round of it, `start` lets a thread turn.

    `save` brings everything that waits to the disk and raises where it refuses; `clock` and `fault`
    write documents. `trouble` says what is wrong with the disk at present.
    """

    def __init__(
        self,
        save: Callable[[], None],
        clock: Callable[[Clock], None],
        fault: Callable[[Fault], None],
        *,
        clocks: Callable[[], Clock] = read_clocks,
    ) -> None:
        self._save, self._clock, self._fault, self._clocks = save, clock, fault, clocks
        self._seen = self._written = clocks()
        self._refused_ns = 0
        self.trouble: str | None = None
        self.cpu_s = 0.0
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="wattcal-recorder", daemon=True)

    @property
    def alive(self) -> bool:
        """Whether its thread turns."""
        return self._thread.is_alive()

    def start(self) -> None:
        """Write the first clock document and turn until `stop`, in a thread of its own."""
        self._clock(self._seen)
        self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        self._ending.set()
        if self._thread.is_alive():
            self._thread.join()

    def turn(self) -> None:
        """Look at the clocks, save what waits, and write down what went wrong."""
        self._look()
        try:
            self._save()
        except (RunError, OSError) as error:
            self._refused(str(error))
        else:
            self._accepted()

    def _run(self) -> None:
        while not self._ending.wait(TURN_S):
            self.turn()
            self.cpu_s = time.thread_time()

    def _look(self) -> None:
        before, now = self._seen, self._clocks()
        self._seen = now
        found = jumps(before, now)
        if found and before is not self._written:
            self._clock(before)  # the last look before it, so that it is known when it happened
        if found or now.monotonic_ns - self._written.monotonic_ns >= CLOCK_NS:
            self._written = now
            self._clock(now)
        for fault in found:
            self._fault(fault)

    def _refused(self, why: str) -> None:
        if self.trouble is None:
            self.trouble, self._refused_ns = why, self._seen.monotonic_ns
            _log.warning("The disk refuses; the rows wait in memory. %s", why)
            self._tell("disk", f"The disk refuses; the rows wait in memory: {why}", None)

    def _accepted(self) -> None:
        if self.trouble is not None:
            self.trouble = None
            message = "The disk takes everything again; no row that waited is lost."
            self._tell("disk_recovered", message, self._seen.monotonic_ns)

    def _tell(self, code: str, message: str, t_ended_ns: int | None) -> None:
        self._fault(
            Fault(
                stream=None,
                code=code,
                message=message,
                t_opened_ns=self._refused_ns,
                t_ended_ns=t_ended_ns,
            )
        )
