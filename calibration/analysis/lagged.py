"""What is done with a lag once it is known: whether it matters, the shift, and what it leaves.

A lag that is established and matters shifts each meter window by the lag of its own time; its
uncertainty stays behind in every mean.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from .alignment import Lag, alignment_uncertainty, power_slope
from .energy import Pieces

__all__ = ["lag_matters", "lag_u_w", "shift_ns_of"]

Floats = npt.NDArray[np.float64]
_NS = 1e9


def lag_matters(lag: Lag, cut: Pieces) -> bool:
    """Whether a lag is established and large enough to be worth a shift.

    Rows that share one time column have no lag; what the fit finds there is noise. A lag below
    three of its uncertainties, or below 2 % of the meter's window, stays unapplied (its effect on
    a window without an edge is nil, on one with an edge below the window's own uncertainty).
    """
    if not lag.resolved:
        return False
    window_s = float(np.median(cut.duration_s))
    return abs(lag.offset_s) > 3 * lag.u_s and abs(lag.offset_s) > 0.02 * window_s


def shift_ns_of(lag: Lag, cut: Pieces) -> Floats:
    """Return by how much each meter window is shifted, ns: with the skew once it is established."""
    known = math.isfinite(lag.skew) and abs(lag.skew) > 3 * lag.u_skew
    middle = 0.5 * (cut.start_ns + cut.end_ns)
    shift_s = lag.at(middle) if known else np.full(middle.shape, lag.offset_s)
    return _NS * shift_s


def lag_u_w(
    lag: Lag | None,
    own: Pieces,
    cut: Pieces,
    groups: Sequence[npt.NDArray[np.intp]],
    *,
    applied: bool,
) -> Floats | None:
    """Return what the lag's uncertainty adds to each mean, W; None where nothing is known.

    `groups` holds the indices of the meter windows of each point. Nothing in the middle of a
    plateau, something where a point begins or ends near an edge. A lag that was found and not
    applied leaves itself behind: its whole size counts.
    """
    if lag is None or not lag.resolved:
        return None
    begin = cut.start_ns[[g[0] for g in groups]]
    end = cut.end_ns[[g[-1] for g in groups]]
    u = alignment_uncertainty(lag, own, begin, end)
    return u if applied else np.hypot(u, power_slope(own, begin, end) * lag.offset_s)
