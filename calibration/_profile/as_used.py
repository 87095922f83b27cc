"""Say whether a profile holds for the file that a tool writes when nobody looks after it.

A calibration reads a tool under the lab's care; its users run it with its defaults and keep its
file. `calibration.validation.as_used` states, per tool, what the profile made of such files beside
a reference: error and coverage for runs of about 30 s, 2 min and 10 min. A tool fails where so few
of its intervals held the true energy that chance explains it in at most one case of twenty, or
where the profile refuses every row. What failed is not offered for that tool's files.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

from ..errors import SchemaError

__all__ = ["DURATIONS_S", "check_as_used", "duration_class", "holds", "why_not"]

DURATIONS_S: Final = (30, 120, 600)
_LEAST_S: Final = 20.0
_STATED: Final = 0.95
_CHANCE: Final = 0.05


def duration_class(duration_s: float) -> int | None:
    """Return which of `DURATIONS_S` a run counts to, by ratio; None for less than 20 s."""
    if duration_s < _LEAST_S:
        return None
    return min(DURATIONS_S, key=lambda d: abs(math.log(duration_s / d)))


def holds(n: int, covered: int) -> bool:
    """Return whether `covered` of `n` intervals that hold the truth in 95 % of cases are enough.

    The binomial probability of so few or fewer has to exceed 5 %: of three runs two are enough, of
    one none is not.
    """
    tail = math.fsum(
        math.comb(n, i) * _STATED**i * (1 - _STATED) ** (n - i) for i in range(covered + 1)
    )
    return tail > _CHANCE * (1 + 1e-9)


def why_not(document: Mapping[str, Any], tool: str) -> str | None:
    """Return why a profile is not offered for a tool's own files, None where it is."""
    for entry in document["calibration"]["validation"].get("as_used", ()):
        if entry["tool"] == tool and entry["passed"] is False:
            return str(entry["reason"])
    return None


def check_as_used(document: Mapping[str, Any]) -> None:
    """Raise `SchemaError` where a verdict does not follow from the figures beside it."""
    entries = document["calibration"]["validation"].get("as_used", ())
    tools = [e["tool"] for e in entries]
    for i, entry in enumerate(entries):
        where = f"calibration.validation.as_used[{i}]"
        if tools.count(entry["tool"]) > 1:
            raise SchemaError(f"Expected each tool in `as_used` once; got {entry['tool']!r} twice.")
        classes = [d["duration_s"] for d in entry["durations"]]
        if len(set(classes)) < len(classes):
            raise SchemaError(f"Expected each duration in `{where}` once; got {classes}.")
        judged = sum(d["n"] for d in entry["durations"])
        if judged + entry["refused"] > entry["rows"]:
            raise SchemaError(
                f"Expected `{where}.rows` to be at least what was judged and refused, "
                f"{judged + entry['refused']}; got {entry['rows']}."
            )
        if (entry["passed"] is False) != (entry["reason"] is not None):
            raise SchemaError(f"Expected a reason in `{where}` where it failed, and only there.")
        passed = _passed(entry, judged)
        if passed != entry["passed"]:
            raise SchemaError(
                f"Expected `{where}.passed` to be {_word(passed)}, as its figures say; got "
                f"{_word(entry['passed'])}."
            )


def _passed(entry: Mapping[str, Any], judged: int) -> bool | None:
    if not judged:
        return False if entry["refused"] else None
    return all(
        holds(d["n"], round(d["n"] * d["coverage_95_pct"] / 100)) for d in entry["durations"]
    )


def _word(value: bool | None) -> str:
    return "null" if value is None else str(value).lower()
