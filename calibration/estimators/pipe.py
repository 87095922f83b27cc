"""A third-party tool in a process of its own: JSON lines out, end of stdin means stop.

The child says, one JSON object a line:

    {"ready": {...}}                                         how it runs
    {"t_request_ns": ., "t_reply_ns": ., "values": {...}}    a reading, stamped by the child
    {"finished": {...}}                                      its last word after it was told to stop
    {"error": "..."}                                         why it cannot run

Its stdout is ours alone (it moves the tool's own prints to stderr), and stderr is kept in a
temporary file, whose last line tells why a child died.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from ..errors import EstimatorError, NotAvailable
from ..instruments import Reading

__all__ = ["ToolProcess"]

_CHUNK: Final = 65536
_START_TIMEOUT_S: Final = 60.0
_FINISH_TIMEOUT_S: Final = 20.0
_CHILDREN: Final = Path(__file__).with_name("children")


class ToolProcess:
    """Runs a script of `children/` with a configuration and collects what it says.

    `python` is the interpreter of the environment that the tool lives in. Nothing of this package
    is on its path but the folder of the script: a tool must find its own libraries.
    """

    def __init__(
        self,
        name: str,
        script: str,
        config: Mapping[str, Any],
        *,
        start_timeout_s: float = _START_TIMEOUT_S,
        python: Path | None = None,
    ) -> None:
        self._name = name
        self._pending = b""
        self._readings: list[Reading] = []
        self._ended = False
        self._ready: Mapping[str, Any] | None = None
        self.finished: Mapping[str, Any] | None = None
        # A script's own folder comes first on its path, unless this is set.
        environment = {k: v for k, v in os.environ.items() if k != "PYTHONSAFEPATH"}
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 - closed by close()
        self.process = subprocess.Popen(
            [str(python or sys.executable), str(_CHILDREN / script), str(os.getpid())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            bufsize=0,
            env=environment,
        )
        # Where memory runs out, the kernel takes the tool and not the recorder (proc(5)).
        with contextlib.suppress(OSError):
            Path(f"/proc/{self.process.pid}/oom_score_adj").write_text("1000")
        try:
            self._say(config)
            self.ready: Mapping[str, Any] = self._wait_until_ready(start_timeout_s)
        except BaseException:
            self.close()
            raise

    def drain(self) -> tuple[Reading, ...]:
        """Return what has arrived, without waiting.

        Raises:
            EstimatorError: the process has ended and nothing of it is left to hand out.

        """
        while self._receive(0.0):
            continue
        readings, self._readings = tuple(self._readings), []
        if self._ended and not readings and self.finished is None:
            raise EstimatorError(f"{self._name} has ended by itself: {self._last_words()}.")
        return readings

    def finish(self, timeout_s: float = _FINISH_TIMEOUT_S) -> tuple[Reading, ...]:
        """Tell it to stop, wait for its last word, and return the remaining readings.

        Raises:
            EstimatorError: it did not take leave in time.

        """
        if self.process.stdin is not None:
            with contextlib.suppress(OSError):
                self.process.stdin.close()
        deadline_s = time.monotonic() + timeout_s
        while not self._ended and time.monotonic() < deadline_s:
            self._receive(max(deadline_s - time.monotonic(), 0.0))
        readings, self._readings = tuple(self._readings), []
        if self.finished is None and not readings:
            raise EstimatorError(
                f"Expected a last measurement of {self._name} within {timeout_s:g} s; "
                f"none came: {self._last_words()}."
            )
        return readings

    def close(self) -> None:
        """End the process; closing twice is harmless."""
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self._ended = True
        self._stderr.close()

    def _say(self, config: Mapping[str, Any]) -> None:
        if self.process.stdin is not None:
            with contextlib.suppress(OSError):  # one that is dead already says why on stderr
                self.process.stdin.write(json.dumps(config).encode() + b"\n")

    def _wait_until_ready(self, timeout_s: float) -> Mapping[str, Any]:
        deadline_s = time.monotonic() + timeout_s
        while self._ready is None:
            left_s = deadline_s - time.monotonic()
            if left_s <= 0:
                raise NotAvailable(
                    f"Expected {self._name} to start within {timeout_s:g} s; it did not: "
                    f"{self._last_words()}."
                )
            if not self._receive(left_s) and self._ended:
                raise NotAvailable(f"{self._name} cannot run here: {self._last_words()}.")
        return self._ready

    def _receive(self, wait_s: float) -> bool:
        """Take in what arrives within `wait_s` seconds; whether anything did."""
        if self._ended or self.process.stdout is None:
            return False
        descriptor = self.process.stdout.fileno()
        if not select.select([descriptor], [], [], wait_s)[0]:
            return False
        piece = os.read(descriptor, _CHUNK)
        if not piece:
            self._ended = True
            return False
        *lines, self._pending = (self._pending + piece).split(b"\n")
        for line in lines:
            try:
                said = json.loads(line)
            except ValueError:
                self.close()
                raise EstimatorError(
                    f"Expected {self._name} to send JSON lines; it sent {line[:80]!r} and was "
                    "ended."
                ) from None
            self._understand(said)
        return True

    def _understand(self, said: Mapping[str, Any]) -> None:
        if "values" in said:
            self._readings.append(
                Reading(said["t_request_ns"], said["t_reply_ns"], said["values"], said.get("fault"))
            )
        elif "ready" in said:
            self._ready = said["ready"]
        elif "finished" in said:
            self.finished = said["finished"]
        elif "error" in said:
            raise NotAvailable(f"{self._name} cannot run here: {said['error']}")

    def _last_words(self) -> str:
        """Return why it ended, as far as it said so."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(timeout=0.5)
        if self._stderr.closed:
            return "it was closed"
        self._stderr.seek(0, os.SEEK_END)
        self._stderr.seek(max(0, self._stderr.tell() - 4096))
        text = self._stderr.read().decode(errors="replace").strip()
        code = self.process.returncode
        how = "it still runs" if code is None else f"exit status {code}"
        return f"{how}, {text.splitlines()[-1]}" if text else how
