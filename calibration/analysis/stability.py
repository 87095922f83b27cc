"""What one recording can say of its own stability: each half predicted from the other.

Blocks of one recording share whatever drifts while it lasts, so that holding blocks out cannot see
it. The two halves share less: what one says of the other is the best evidence of what the next
stretch will do that a single session holds.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from .model import Fitted, fit_form
from .points import Points
from .validation import levels

__all__ = ["half_to_half"]

_LEAST_POINTS = 40


def half_to_half(points: Points, fitted: Fitted) -> tuple[float, float] | None:
    """Return the relative error of the energy of the second half by the first, and the reverse.

    Points are split at the middle of their order in time; each half is fitted with the form of
    `fitted` and predicts the mean power of the other: (predicted - true) / true. `None` where the
    points are no blocks of one recording, are fewer than 40, or a half holds one level only.
    """
    if not points.blocks or points.n < _LEAST_POINTS or len(set(points.session)) > 1:
        return None
    order = np.argsort(points.start_unix_s, kind="stable")
    first = np.zeros(points.n, dtype=bool)
    first[order[: points.n // 2]] = True
    names = dict.fromkeys(t.input for t in fitted.terms if t.input is not None)
    if any(levels(points.inputs[k].value[h]) < 2 for k in names for h in (first, ~first)):
        return None
    return _bias(points, fitted.form, tuple(names), first), _bias(
        points, fitted.form, tuple(names), ~first
    )


def _bias(points: Points, form: str, names: tuple[str, ...], train: npt.NDArray[np.bool_]) -> float:
    known, other = points.select(train), points.select(~train)
    fold = fit_form(
        form,
        {k: known.inputs[k].value for k in names},
        known.reference_w,
        known.reference_u_w,
        known.session,
        {k: known.inputs[k].unit for k in names},
    )
    error = fold.predict({k: other.inputs[k].value for k in names}) - other.reference_w
    return float(error @ other.duration_s) / float(other.reference_w @ other.duration_s)
