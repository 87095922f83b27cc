"""What the reference of a run is, and whether its meters may carry the machine. Pure.

A reference is one meter, or the sum of several that feed one machine: `psu-a+psu-b`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from ..errors import InputError

__all__ = ["over_rating", "parse_reference"]


def parse_reference(expression: str, known: Sequence[str]) -> tuple[str, ...]:
    """Return the streams of a reference `A` or `A+B`, in the order in which they stand there.

    Raises:
        InputError: a name is empty, stands twice, or is none of the `known` meters.

    """
    names = tuple(part.strip() for part in expression.split("+"))
    if "" in names or len(set(names)) < len(names):
        raise InputError(
            f"--reference: expected a meter, or several different ones as A+B; got {expression!r}."
        )
    absent = [n for n in names if n not in known]
    if absent:
        raise InputError(
            f"--reference: expected one of {', '.join(known) or 'no meters at all'}, or a sum of "
            f"them; got {absent[0]!r}. A supply without its meter is missing from the sum."
        )
    return names


def over_rating(full_w: float, ratings_w: Mapping[str, float | None]) -> tuple[str, ...]:
    """Return a sentence for each meter that the machine can overload.

    Of several supplies each must carry the whole machine: when one fails, the other one does.
    """
    return tuple(
        f"{name} is rated for {rating_w:g} W, and the machine can draw {full_w:g} W"
        for name, rating_w in ratings_w.items()
        if rating_w is not None and math.isfinite(full_w) and full_w > rating_w
    )
