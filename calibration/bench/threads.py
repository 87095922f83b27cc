"""The thin shell around a sampler: a thread that steps it when it is due, and sleeps otherwise."""

from __future__ import annotations

import logging
import threading
import time
from typing import Final

from ..errors import RunError
from ..recording.documents import Fault
from ..recording.writer import RunWriter
from .sampler import Sampler

__all__ = ["SamplerThread"]

# So long nobody minds that it does not hear of the end; a plain sleep costs half of a wait.
_BRIEF_S: Final = 0.15

_log = logging.getLogger(__name__)


class SamplerThread(threading.Thread):
    """Runs one sampler until `halt` is set.

    A disk that refuses ends the whole recording and is kept in `fatal`. Any other surprise is a
    mistake of ours or of a driver: it ends this stream only, stands in the run, and in the log.
    """

    def __init__(self, sampler: Sampler, writer: RunWriter, halt: threading.Event) -> None:
        super().__init__(name=f"wattcal-{sampler.stream}", daemon=True)
        self.fatal: RunError | None = None
        self.cpu_s = 0.0
        self._sampler, self._writer, self._halt = sampler, writer, halt

    def run(self) -> None:
        """Step the sampler whenever it is due."""
        try:
            next_ns: int | None = time.monotonic_ns()
            while next_ns is not None and not self._halt.is_set():
                wait_s = (next_ns - time.monotonic_ns()) / 1e9
                if wait_s > _BRIEF_S:
                    if self._halt.wait(wait_s):
                        return
                elif wait_s > 0:
                    time.sleep(wait_s)
                next_ns = self._sampler.step(time.monotonic_ns())
                self.cpu_s = time.thread_time()
        except RunError as error:
            self.fatal = error
        except Exception as error:
            _log.exception("The stream %s has ended", self._sampler.stream)
            now_ns = time.monotonic_ns()
            message = f"{type(error).__name__}: {error}"
            self._writer.fault(
                Fault(
                    stream=self._sampler.stream,
                    code="internal",
                    message=message,
                    t_opened_ns=now_ns,
                )
            )
