"""What a meter is worth as the reference: its data sheet as uncertainties, and what it did not see.

A data sheet's limit of error is taken as rectangular (GUM 4.3.7). Its part proportional to the
reading becomes a relative gain uncertainty, the rest an offset; both are common to all points of a
run. Half a count is the step of the display, which the points carry themselves, so only what a
data sheet has beyond it counts as offset.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from .points import Reference

if TYPE_CHECKING:
    from ..recording.documents import ChannelInfo
    from ..recording.reader import Run

__all__ = ["LEAST_OBSERVED_SHARE", "aliasing_u_w", "power_factor_of", "reference_of"]

Floats = npt.NDArray[np.float64]

LEAST_OBSERVED_SHARE: Final = 0.95
_ASSUMED_GAIN_LIMIT: Final = 0.02
# Where a data sheet needs the power factor and nobody recorded it: low, so that it rather
# overstates. Power supplies with correction have 0.9 and more at load, and half of that at idle.
_ASSUMED_POWER_FACTOR: Final = 0.5
_TERMS: Final = ("of_reading", "of_range", "counts", "absolute", "of_reactive")


def reference_of(
    meter: str, channel: ChannelInfo, *, power_factor: float | None = None
) -> Reference:
    """Say what a meter is worth from its accuracy specification.

    `of_range` is of the channel's `range_max`, the range that was set. A share `of_reactive` of the
    reactive power |Q| = P·tan φ is proportional to P at a given `power_factor`; where that is not
    known, 0.5 is assumed, and the source says so.
    """
    spec = channel.accuracy
    resolution = channel.resolution if channel.kind != "counter" else None
    if not spec or not any(spec.get(k) for k in _TERMS):
        return Reference(
            meter=meter,
            u_gain=_ASSUMED_GAIN_LIMIT / math.sqrt(3),
            u_offset_w=0.0,
            resolution_w=resolution,
            source=f"no accuracy is known; ±{100 * _ASSUMED_GAIN_LIMIT:g} % of reading assumed",
            assumed=True,
            window_s=channel.window_s,
        )
    gain_limit = spec.get("of_reading", 0.0)
    source = str(spec.get("source", "")) or "data sheet"
    if of_reactive := spec.get("of_reactive", 0.0):
        factor = _ASSUMED_POWER_FACTOR if power_factor is None else power_factor
        gain_limit += of_reactive * math.sqrt(1.0 - factor**2) / factor
        how = "assumed" if power_factor is None else "of the run"
        source += f"; its influence at the power factor {factor:.2f} ({how}) is in it"
    limit_w = (
        spec.get("of_range", 0.0) * (channel.range_max or 0.0)
        + max(spec.get("counts", 0.0) - 0.5, 0.0) * (channel.resolution or 0.0)
        + spec.get("absolute", 0.0)
    )
    return Reference(
        meter=meter,
        u_gain=gain_limit / math.sqrt(3),
        u_offset_w=limit_w / math.sqrt(3),
        resolution_w=resolution,
        source=source,
        assumed=bool(spec.get("assumed", False)),
        window_s=channel.window_s,
    )


def power_factor_of(run: Run, stream: str) -> float | None:
    """Return the mean power factor (0 to 1) that a meter recorded, or None."""
    for channel in run.channels(stream):
        if channel.quantity == "power_factor":
            value = np.abs(run.series(stream, channel.name).value)
            value = value[np.isfinite(value) & (value > 0)]
            return float(min(value.mean(), 1.0)) if value.size else None
    return None


def aliasing_u_w(windows_w: Sequence[Floats], share: float) -> Floats:
    """Return the standard uncertainty of each point's mean from what no window of the meter saw.

    `windows_w` holds the powers of each point's windows, `share` is the part s of the time that
    lies inside a window. A window is a sample of s without replacement from its poll interval, so
    the error of that interval's mean has the variance (1-s)·σ², σ being the scatter of the windows
    (finite population correction: Cochran, Sampling Techniques, 3rd ed. 1977, 2.6). Over many
    intervals it would average out, were the load's phase against the poll random. It need not be:
    a load whose period divides the poll interval is met in the same phase each time, and then all
    windows tell no more than one (ibid., 8.7, systematic sampling of periodic variation). So
    nothing is divided by the number of windows: u = √(1-s)·σ. What a load in step hides from every
    window shows in no scatter; only a better poll finds it.
    """
    if share >= LEAST_OBSERVED_SHARE:
        return np.zeros(len(windows_w))
    sigma = [float(w.std(ddof=1)) if w.size > 1 else math.nan for w in windows_w]
    known = [s for s in sigma if math.isfinite(s)]
    pooled = math.sqrt(float(np.mean(np.square(known)))) if known else 0.0
    return np.array([math.sqrt(1.0 - share) * (s if math.isfinite(s) else pooled) for s in sigma])
