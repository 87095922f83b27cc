"""The certificate of a million rows and more: a line and its held-out errors, from sums by group.

Every group keeps seven numbers (`Moments`): constant memory for any length, mergeable across
partitions. The sums of all others are the total less its own, so that holding out each of m groups
costs m lines and no second look at the rows.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from ..errors import FitError, InputError
from .moments import Moments
from .straight import StraightLine
from .uncertainty import student_t
from .validation import group_conformal

__all__ = ["Certificate", "GroupedMoments"]

Floats = npt.NDArray[np.float64]
_BLOCK = 65536


@dataclass(frozen=True, slots=True, eq=False)
class Certificate:
    """A line with its grouped validation; arrays of shape (m,), in the order of the groups.

    `bias` is the mean error (prediction less y) of each held-out group and `rms` its root mean
    square, both weighted as the fit; `half_width` the 95 % interval of a new group's mean error:
    group-conformal from 19 groups on, below that Student's t with the between-group variance and
    m - 2 degrees of freedom, never narrower than the worst group (`interval` says which).
    """

    line: StraightLine
    groups: tuple[str, ...]
    n: npt.NDArray[np.int64]
    slopes: Floats
    bias: Floats
    rms: Floats
    half_width: float
    interval: str


@dataclass(frozen=True, slots=True)
class GroupedMoments:
    """`Moments` of each group. `GroupedMoments()` holds none."""

    parts: tuple[tuple[str, Moments], ...] = ()

    def add(
        self,
        x: npt.ArrayLike,
        y: npt.ArrayLike,
        u_y: npt.ArrayLike | None,
        group: npt.NDArray[np.integer],
        names: Sequence[str],
    ) -> GroupedMoments:
        """Return these with one block of rows added.

        `x`, `y`, `u_y` have shape (n,); `group` (n,) holds the index of each row's group in
        `names`. Rows of one group that follow each other are summed together, so that sorted rows
        cost one pass.

        Raises:
            InputError: shapes that do not fit, a group without a name, values that are not finite
                or u_y not positive.

        """
        x, y = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
        group = np.asarray(group)
        u = None if u_y is None else np.broadcast_to(np.asarray(u_y, dtype=np.float64), x.shape)
        if x.ndim != 1 or y.shape != x.shape or group.shape != x.shape:
            raise InputError(
                f"Expected x, y and group of one shape (n,); got {x.shape}, {y.shape}, "
                f"{group.shape}."
            )
        if x.size == 0:
            return self
        if int(group.min()) < 0 or int(group.max()) >= len(names):
            raise InputError(
                f"group: expected indices from 0 to {len(names) - 1}; got {group.min()} to "
                f"{group.max()}."
            )
        if np.count_nonzero(np.diff(group)) > 4 * len(names):  # mixed: bring each together first
            order = np.argsort(group, kind="stable")
            x, y, group = x[order], y[order], group[order]
            u = None if u is None else u[order]
        edges = np.concatenate([[0], np.flatnonzero(np.diff(group)) + 1, [x.size]]).tolist()
        found = dict(self.parts)
        for first, last in pairwise(edges):
            name = names[int(group[first])]
            for i in range(first, last, _BLOCK):
                part = slice(i, min(i + _BLOCK, last))
                own = found.get(name, Moments())
                found[name] = own.add(x[part], y[part], None if u is None else u[part])
        return GroupedMoments(tuple(found.items()))

    def merge(self, other: GroupedMoments) -> GroupedMoments:
        """Return the moments of both sets of rows, group by group."""
        found = dict(self.parts)
        for name, part in other.parts:
            found[name] = found.get(name, Moments()).merge(part)
        return GroupedMoments(tuple(found.items()))

    def certificate(self) -> Certificate:
        """Return the line of all rows and what it is worth on groups that it has not seen.

        With W, x̄, ȳ, Sxx, Sxy, Syy of the held-out group and a + b x of the others, its mean error
        is a + b x̄ - ȳ and its mean square (Syy - 2 b Sxy + b² Sxx)/W + the square of the mean: no
        row is looked at again. The line of the others comes from merging their moments, forwards
        and backwards, never by subtraction, which would cancel digits.

        Raises:
            FitError: fewer than 4 groups, or the others of a group do not determine a line.

        """
        m = len(self.parts)
        if m < 4:
            raise FitError(f"Expected at least 4 groups; got {m}.")
        moments = [part for _, part in self.parts]
        before, after = [Moments()], [Moments()]
        for i in range(m - 1):
            before.append(before[-1].merge(moments[i]))
            after.append(after[-1].merge(moments[m - 1 - i]))
        slopes, bias, rms = np.empty(m), np.empty(m), np.empty(m)
        for i, own in enumerate(moments):
            others = before[i].merge(after[m - 1 - i]).line()
            slope = others.slope
            slopes[i] = slope
            bias[i] = others.intercept + slope * own.mean_x - own.mean_y
            about = own.syy - 2 * slope * own.sxy + slope * slope * own.sxx
            rms[i] = math.sqrt(max(about, 0.0) / own.weight + bias[i] ** 2)
        names = tuple(name for name, _ in self.parts)
        half, interval = group_conformal(bias, names), "group_conformal"
        if half is None:
            k = float(student_t(float(m - 2)))
            half, interval = k * math.sqrt(float(np.mean(bias**2))), "student_t"
            if half < float(np.abs(bias).max()):
                half, interval = float(np.abs(bias).max()), "worst_group"
        return Certificate(
            line=before[-1].merge(moments[-1]).line(),
            groups=names,
            n=np.array([part.n for part in moments]),
            slopes=slopes,
            bias=bias,
            rms=rms,
            half_width=half,
            interval=interval,
        )
