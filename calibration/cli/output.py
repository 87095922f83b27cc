"""How commands print: results on stdout, progress on stderr, tables that fit 80 columns."""

from __future__ import annotations

import json
import math
import sys
import textwrap
import time
from collections.abc import Iterable, Sequence
from typing import Any

__all__ = ["Progress", "filled", "print_json", "table"]


def print_json(value: Any) -> None:
    """Print one JSON document on stdout; a number that does not exist is `null`, never NaN."""
    json.dump(_finite(value), sys.stdout, indent=2, allow_nan=False, ensure_ascii=False)
    sys.stdout.write("\n")


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(k): _finite(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(v) for v in value]
    return value


def table(header: Sequence[str], rows: Iterable[Sequence[str]], *, right: str = "") -> str:
    """Return rows aligned under their header; `right` holds one of `l` or `r` per column."""
    cells = [list(header), *[list(r) for r in rows]]
    widths = [max(len(r[i]) for r in cells) for i in range(len(header))]
    sides = (right + "l" * len(header))[: len(header)]

    def line(row: Sequence[str]) -> str:
        parts = [
            c.rjust(w) if s == "r" else c.ljust(w)
            for c, w, s in zip(row, widths, sides, strict=True)
        ]
        return "  ".join(parts).rstrip()

    rule = "  ".join("-" * w for w in widths)
    return "\n".join([line(cells[0]), rule, *[line(r) for r in cells[1:]]])


def filled(head: str, text: str) -> str:
    """Return `text` in 80 columns behind `head`, the next lines indented as far."""
    return textwrap.fill(
        text,
        80,
        initial_indent=head,
        subsequent_indent=" " * len(head),
        break_long_words=False,
        break_on_hyphens=False,
    )


class Progress:
    """A one-line progress bar with the time left on stderr; silent when stderr is no terminal."""

    def __init__(self, label: str, total: float) -> None:
        self._label, self._total = label, total
        self._started = time.monotonic()
        self._last = 0.0
        self._shown = sys.stderr.isatty()

    def update(self, done: float) -> None:
        """Redraw, at most four times a second, and only once two seconds have passed."""
        now = time.monotonic()
        if not self._shown or now - self._started < 2.0 or now - self._last < 0.25:
            return
        self._last = now
        share = min(max(done / self._total, 0.0), 1.0) if self._total > 0 else 1.0
        left = (now - self._started) * (1 - share) / share if share > 0 else math.inf
        bar = "#" * round(30 * share)
        eta = "" if math.isinf(left) else f"  {left:4.0f} s left"
        sys.stderr.write(f"\r{self._label} [{bar:<30}] {100 * share:3.0f} %{eta}\x1b[K")
        sys.stderr.flush()

    def close(self) -> None:
        """Take the bar away."""
        if self._shown:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
