"""The line from a tool's process to the recorder; what is said on it stands in `pipe.py`.

Standard library only: it is loaded from its folder, in the environment of the tool.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Mapping
from typing import Any

__all__ = ["Line"]


class Line:
    """A descriptor that the tool's own prints cannot reach, and the configuration it began with.

    The process is to end when stdin does, or when its parent is not its parent any more.
    """

    def __init__(self) -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        self._parent = int(sys.argv[1])
        self.config: Mapping[str, Any] = json.loads(_first_line())
        self._descriptor = os.dup(1)
        os.dup2(2, 1)
        self._guard = threading.Lock()
        self._ended = threading.Event()
        threading.Thread(target=self._read_to_the_end, daemon=True).start()

    def say(self, what: Mapping[str, Any]) -> None:
        """Say one thing."""
        with self._guard:
            os.write(self._descriptor, json.dumps(what).encode() + b"\n")

    def ends_within(self, seconds: float) -> bool:
        """Wait so long; whether the process is to end by now."""
        end_s = time.monotonic() + seconds
        while not self._ended.wait(min(max(end_s - time.monotonic(), 0.0), 0.5)):
            if os.getppid() != self._parent:
                return True
            if time.monotonic() >= end_s:
                return False
        return True

    def wait_for_the_end(self) -> None:
        """Return when the process is to end."""
        while not self.ends_within(60.0):
            continue

    def _read_to_the_end(self) -> None:
        while os.read(0, 4096):
            continue
        self._ended.set()


def _first_line() -> bytes:
    line = b""
    while not line.endswith(b"\n"):
        piece = os.read(0, 1)
        if not piece:
            raise SystemExit(0)
        line += piece
    return line
