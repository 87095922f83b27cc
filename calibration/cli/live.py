"""What one sees while a run is recorded: progress, time left, watts per source, faults, steadiness.

A few lines on stderr, redrawn in place at most four times a second; nothing where stderr is no
terminal. Plain text and four control sequences (ECMA-48), because it must cost the machine that is
measured next to nothing.
"""

from __future__ import annotations

import math
import shutil
import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import IO, TYPE_CHECKING, Final

if TYPE_CHECKING:
    from ..bench import Snapshot

__all__ = ["LiveView", "frame"]

_FRAME_S: Final = 0.25
_BAR: Final = 24
_NAME: Final = 22
_UP, _CLEAR_LINE, _CLEAR_BELOW = "\x1b[{}F", "\x1b[K", "\x1b[J"


class LiveView:
    """Draws snapshots of a recording; a context manager that takes its lines away at the end."""

    def __init__(
        self,
        label: str,
        out: IO[str] | None = None,
        *,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._label, self._out, self._now_s = label, out or sys.stderr, now_s
        self._drawn_s, self._lines = -math.inf, 0
        self.shown = self._out.isatty()

    def update(self, snapshot: Snapshot) -> None:
        """Draw the state of the recording, at most four times a second."""
        now_s = self._now_s()
        if not self.shown or now_s - self._drawn_s < _FRAME_S:
            return
        self._drawn_s = now_s
        width = shutil.get_terminal_size().columns
        lines = [line[: width - 1] for line in frame(self._label, snapshot)]
        back = _UP.format(self._lines) if self._lines else ""
        text = "".join(f"{line}{_CLEAR_LINE}\n" for line in lines)
        self._lines = len(lines)
        self._write(back + text + _CLEAR_BELOW)

    def __enter__(self) -> LiveView:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._lines:
            self._write(_UP.format(self._lines) + _CLEAR_BELOW)
            self._lines = 0

    def _write(self, text: str) -> None:
        self._out.write(text)
        self._out.flush()


def frame(label: str, snapshot: Snapshot) -> list[str]:
    """Return the lines of one snapshot: the plan, the present step, every source, the disk."""
    s = snapshot
    share = min(s.t_s / s.total_s, 1.0) if s.total_s else 1.0
    bar = "#" * round(_BAR * share)
    lines = [
        f"{label} [{bar:<{_BAR}}] {100 * share:3.0f} %  {_time(s.total_s - s.t_s)} left",
        f"  {_step(s)}",
    ]
    for stream, faults in s.faults.items():
        watts = s.watts.get(stream)
        shown = "" if watts is None else "- W" if math.isnan(watts) else f"{watts:.1f} W"
        failed = f"{faults} faults" if faults != 1 else "1 fault"
        lines.append(f"  {stream:<{_NAME}} {shown:>10}{f'  {failed}' if faults else ''}".rstrip())
    if s.trouble is not None:
        lines.append(f"  THE DISK REFUSES, rows wait in memory: {s.trouble}")
    return lines


def _step(s: Snapshot) -> str:
    if s.workload is None:
        return f"nothing asked of the machine yet, {_time(s.step_left_s)} left"
    level = f" {s.level:.2f}" if s.level else ""
    head = f"step {s.index + 1} of {s.steps}: {s.workload}{level}, {_time(s.step_left_s)} left"
    return f"{head}; {_steadiness(s)}"


def _steadiness(s: Snapshot) -> str:
    if not math.isnan(s.slope_per_min):
        verdict = "steady" if s.steady else "not yet steady"
        return f"{verdict}, {100 * s.slope_per_min:+.2f} %/min"
    return f"one level for {_time(s.level_s)}"


def _time(seconds: float) -> str:
    left = max(round(seconds), 0)
    if left < 100:
        return f"{left} s"
    if left < 6000:
        return f"{left // 60} min {left % 60:02} s"
    return f"{left // 3600} h {left % 3600 // 60:02} min"
