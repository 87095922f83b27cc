"""A change of unit or scale in mid-run that no steady stretch shows: it shows beside the inputs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from .points import Points

__all__ = ["unit_change"]

Floats = npt.NDArray[np.float64]
# Milli, Wh as J and their like; 10 and 100 are scales that a log may lose.
_UP = np.array([10.0, 100.0, 1000.0, 3600.0, 1e6])
_SCALES = np.concatenate([_UP, 1 / _UP])
_LEAST_SIDE = 5


def unit_change(points: Points, inputs: Sequence[str]) -> str:
    """Say whether the reference changes its unit in mid-run, beside inputs that do not.

    For every split of the points in time and every factor, one line is fitted to all points with
    the second side divided by the factor; the sums of both sides are running sums. A change of unit
    leaves a tenth of the misfit at most that a line leaves without it, and a correlation of 0.95.
    Returns a sentence, empty where there is no such change.
    """
    order = np.argsort(points.start_unix_s, kind="stable")
    power = all(points.inputs[k].unit == "W" for k in inputs)
    if not power or points.n < 4 * _LEAST_SIDE or not np.isfinite(points.start_unix_s).all():
        return ""
    y = points.reference_w[order]
    x = np.sum([points.inputs[k].value for k in inputs], axis=0)[order]
    x = x - x.mean()
    left = np.cumsum(np.stack([y, x * y, y * y]), axis=1)[:, _LEAST_SIDE - 1 : -_LEAST_SIDE]
    right = np.array([y.sum(), float(x @ y), float(y @ y)])[:, None] - left
    # All scales at once, shape (3, scales, splits): this runs inside of every fit.
    powers = np.stack([1 / _SCALES, 1 / _SCALES, 1 / _SCALES**2])[:, :, None]
    misfit = _misfit(left[:, None, :] + powers * right[:, None, :], x)
    which, at = np.unravel_index(int(np.argmin(misfit)), misfit.shape)
    left_over, scale = float(misfit[which, at]), float(_SCALES[which])
    whole = float(_misfit((left + right)[:, :1], x)[0])
    if left_over > min(0.1 * whole, 1 - 0.95**2):
        return ""
    times = f"{scale:g}" if scale > 1 else f"1/{1 / scale:g}"
    segment = points.segment[order[at + _LEAST_SIDE]]
    return (
        f"from {segment} on the reference is {times} times what it was before, beside the same "
        "inputs: its unit or scale changed. Split the recording there."
    )


def _misfit(sums: Floats, x: Floats) -> Floats:
    """Return 1 - R² of y on x (centred) from the sums of y, x y and y², shape (3, ...)."""
    sy, sxy, syy = sums
    spread = syy - sy * sy / x.size
    explained = np.divide(sxy * sxy, float(x @ x) * spread, out=np.zeros_like(spread),
                          where=spread > 0)  # fmt: skip
    return np.asarray(1 - np.minimum(explained, 1.0))
