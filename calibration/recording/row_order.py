"""Rows whose time goes back: a clock that was set, or a file out of order."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["out_of_order"]

# A clock that was set back goes on from there; fewer rows are out of order, and the file is wrong.
_LEAST_STRETCH = 3


def out_of_order(t_ns: npt.NDArray[np.int64], back: npt.NDArray[np.bool_]) -> int | None:
    """Return the first row that a clock which was set back does not explain, or None.

    Such a clock gives a stretch of rows that go back together and advance among themselves; one at
    the end of `t_ns` may go on behind it.
    """
    edge = np.flatnonzero(np.diff(np.concatenate([[False], back, [False]]).astype(np.int8)))
    for begin, end in zip(edge[::2], edge[1::2], strict=True):
        falls = np.flatnonzero(np.diff(t_ns[begin:end]) < 0)
        if falls.size:
            return int(begin + falls[0] + 1)
        if end - begin < _LEAST_STRETCH and end < t_ns.size:
            return int(begin)
    return None
