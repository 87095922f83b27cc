"""What one sees while the demo records: progress, time left, watts per source.

On a terminal a small table that is redrawn at most four times a second; elsewhere one line a
step, so that a log stays readable. Both go to stderr: stdout belongs to the result.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Mapping
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any, Protocol, Self

from ..bench import Snapshot

if TYPE_CHECKING:
    from rich.console import RenderableType

__all__ = ["PlainView", "TerminalView", "View", "open_view"]

_FRAME_S = 0.25
_BAR = 32


class View(Protocol):
    """Shows what goes on; a context manager."""

    def say(self, text: str) -> None:
        """Show what is being done now."""
        ...

    def update(self, snapshot: Snapshot) -> None:
        """Show the state of the recording."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...


def open_view(names: Mapping[str, str], *, on_screen: bool | None = None) -> View:
    """Return the view that fits stderr; `on_screen` decides instead of looking at it.

    `names` maps a stream to what a person calls it.
    """
    live = sys.stderr.isatty() if on_screen is None else on_screen
    return TerminalView(names) if live else PlainView(sys.stderr)


class PlainView:
    """One line a step, for logs and pipes."""

    def __init__(self, out: IO[str]) -> None:
        self._out = out
        self._index: int | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._out.flush()

    def say(self, text: str) -> None:
        """Write a line."""
        self._out.write(f"{text}\n")
        self._out.flush()

    def update(self, snapshot: Snapshot) -> None:
        """Write a line when a step begins."""
        if snapshot.index != self._index:
            self._index = snapshot.index
            self.say(f"{snapshot.t_s:5.0f} of {snapshot.total_s:.0f} s  {_task(snapshot)}")


class TerminalView:
    """A table that redraws itself, with rich."""

    def __init__(self, names: Mapping[str, str]) -> None:
        from rich.console import Console
        from rich.live import Live

        self._names = names
        self._drawn = -math.inf
        self._live = Live(
            console=Console(stderr=True),
            auto_refresh=False,
            transient=True,
            redirect_stdout=False,
        )

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._live.stop()

    def say(self, text: str) -> None:
        """Show what is being done now."""
        from rich.text import Text

        self._live.update(Text(f"SIMULATED  {text}"), refresh=True)

    def update(self, snapshot: Snapshot) -> None:
        """Redraw, at most four times a second."""
        now = time.monotonic()
        if now - self._drawn < _FRAME_S:
            return
        self._drawn = now
        self._live.update(_table(snapshot, self._names), refresh=True)


def _task(snapshot: Snapshot) -> str:
    if snapshot.workload is None:
        return "warming up"
    level = f" {snapshot.level:.1f}" if snapshot.level else ""
    return f"{snapshot.workload}{level}"


def _table(snapshot: Snapshot, names: Mapping[str, str]) -> RenderableType:
    from rich import box
    from rich.table import Table

    share = min(snapshot.t_s / snapshot.total_s, 1.0) if snapshot.total_s else 1.0
    full = round(_BAR * share)
    left = max(snapshot.total_s - snapshot.t_s, 0.0)
    table = Table(box=box.SIMPLE, show_edge=False, pad_edge=False)
    table.add_column("SIMULATED machine", min_width=34)
    table.add_column("W", justify="right", min_width=8)
    table.add_column("", min_width=18)
    table.caption = f"{'━' * full}{'─' * (_BAR - full)} {left:3.0f} s left   {_task(snapshot)}"
    table.caption_justify = "left"
    largest = max([w for w in snapshot.watts.values() if not math.isnan(w)] or [1.0])
    for stream, name in names.items():
        watts = snapshot.watts.get(stream, math.nan)
        faults = snapshot.faults.get(stream, 0)
        note: Any = "▇" * round(16 * max(watts, 0.0) / largest) if not math.isnan(watts) else ""
        if faults:
            note = f"{faults} faults"
        table.add_row(name, "–" if math.isnan(watts) else f"{watts:.1f}", note)
    return table
