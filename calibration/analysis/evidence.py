"""What the checks of a verdict look at, and what a check answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from .model import Fitted
from .points import Points
from .results import Validation
from .uncertainty import Interval
from .validation import HeldOut

__all__ = ["Check", "Consequence", "Evidence", "Found"]

Consequence = Literal["refuse", "downgrade", "flag"]


@dataclass(frozen=True, slots=True, eq=False)
class Evidence:
    """What the rules look at."""

    points: Points
    inputs: tuple[str, ...]
    fitted: Fitted | None
    held: HeldOut | None
    validation: Validation
    bounds: Interval | None


# A sentence that says what was found (empty: nothing), with a consequence where it is not the
# rule's own.
Found = str | tuple[str, Consequence]
# Takes the evidence and the rule's threshold.
Check = Callable[[Evidence, float], Found]
