"""Find rows of a file whose energy another row of the same run holds too."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from ..toolfiles import ToolRow

__all__ = ["contained"]

_SAME_INSTANT_S: Final = 1e-3
"""Zeus writes Unix times as doubles, and reads its clock once for each edge."""


def contained(rows: Sequence[ToolRow]) -> dict[int, str]:
    """Return the indices of rows that are not to be added, each with the id of what holds it.

    CodeCarbon's `flush()` writes the totals so far under the run's id: same start, longer, and no
    energy smaller. A window of Zeus may lie within another one, and both read the same counters.
    """
    runs: dict[str, list[int]] = {}
    for i, row in enumerate(rows):
        if row.tool == "codecarbon" and row.start_s is not None:
            runs.setdefault(row.id, []).append(i)
    flushed = {
        i: run
        for run, members in runs.items()
        for n, i in enumerate(members)
        if any(_continues(rows[j], rows[i]) for j in members[n + 1 :])
    }
    return flushed | _nested(rows)


def _continues(late: ToolRow, early: ToolRow) -> bool:
    """Return whether one row counts everything that another of the same run does, and more."""
    return (
        abs((late.start_s or 0.0) - (early.start_s or 0.0)) <= 2.0
        and late.duration_s > early.duration_s
        and _no_smaller(late, early)
    )


def _nested(rows: Sequence[ToolRow]) -> dict[int, str]:
    windows = [(i, r) for i, r in enumerate(rows) if r.tool == "zeus"]
    windows.sort(key=lambda w: (w[1].start_s or 0.0, -w[1].duration_s))
    found: dict[int, str] = {}
    outer: ToolRow | None = None
    for i, row in windows:
        end_s = row.end_s or 0.0
        if outer is None or end_s > (outer.end_s or 0.0) + _SAME_INSTANT_S:
            outer = row
        elif _no_smaller(outer, row):
            found[i] = outer.id
    return found


def _no_smaller(whole: ToolRow, part: ToolRow) -> bool:
    return all(v <= whole.energies_j.get(k, -1) for k, v in part.energies_j.items())
