"""When a source is asked: ticks on a grid, and what happens to those that were missed. Pure."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Schedule"]


@dataclass(frozen=True, slots=True)
class Schedule:
    """Ticks at `begin_ns + i * cadence_ns`, i = 0, 1, ...; a late one never shifts those after."""

    begin_ns: int
    cadence_ns: int

    def tick_ns(self, index: int) -> int:
        """Return the instant of a tick, ns."""
        return self.begin_ns + index * self.cadence_ns

    def last(self, now_ns: int) -> int:
        """Return the number of the last tick at or before now; -1 before the first."""
        return (now_ns - self.begin_ns) // self.cadence_ns if now_ns >= self.begin_ns else -1

    def missed(self, expected: int, now_ns: int) -> range:
        """Return the ticks from `expected` on that are over: a later one is due already."""
        return range(expected, max(self.last(now_ns), expected))
