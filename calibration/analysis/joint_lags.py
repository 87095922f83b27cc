"""The lags of all inputs of one recording, each found in what the others do not explain.

An input that sees one part of a machine only (a processor's counters beside busy GPUs) fits the
wall badly at any lag, and the best of bad fits is chance: steps of the other part that happen to
lie seconds from its own decide. So where taking the others' share out of the meter's power makes
an input's own edges clear, its lag is looked for in what is left.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
import numpy.typing as npt

from .alignment import Lag, coarsen, estimate_lag
from .energy import EnergyCurve, Pieces
from .lagged import lag_matters, shift_ns_of

__all__ = ["joint_lags"]

Floats = npt.NDArray[np.float64]
# Another input is taken out only where this one then leaves less than half as much unexplained.
_CLEARER: Final = 0.5
_LEAST_WINDOWS: Final = 12
_MOST_SWEEPS: Final = 12
# Lags that move by less than this share of their uncertainty stand still.
_STILL: Final = 0.1


def joint_lags(meter: Pieces, inputs: Mapping[str, Pieces]) -> dict[str, Lag]:
    """Return the lag of each input behind the meter (`alignment.Lag`), by its name.

    Each is estimated alone first. Then, from the input that explains most of the meter's power to
    the one that explains least, and until no lag moves any more: the others whose removal at least
    halves what this one leaves unexplained (1 - r², r its partial correlation with the meter's
    power, at the lag found so far or at none, whichever is clearer) are subtracted from the meter's
    power with their coefficients of the joint least-squares fit, and the lag is estimated again.
    """
    lags = {key: estimate_lag(meter, own) for key, own in inputs.items()}
    if len(inputs) < 2:
        return lags
    curves = {key: EnergyCurve(own) for key, own in inputs.items()}
    start, end, power = coarsen(meter)
    meter = Pieces(start.astype(np.int64), end.astype(np.int64), power, power)
    still = {key: _means(curve, meter, None) for key, curve in curves.items()}
    means = {key: _means(curve, meter, lags[key]) for key, curve in curves.items()}
    for _ in range(_MOST_SWEEPS):
        moved = False
        for key in sorted(inputs, key=lambda k: _unexplained(power, means[k], [])):
            others = {k: x for k, x in means.items() if k != key}
            tried = [(own, _clearing(power, own, others)) for own in (means[key], still[key])]
            own, taken_out = min(tried, key=lambda pair: _unexplained(power, *pair))
            if taken_out:
                before, rest = lags[key], _without(meter, own, taken_out)
                lags[key] = estimate_lag(rest, inputs[key])
                means[key] = _means(curves[key], meter, lags[key])
                moved |= _moved(before, lags[key])
        if not moved:
            break
    return lags


def _moved(before: Lag, after: Lag) -> bool:
    if before.resolved and after.resolved:
        return abs(after.offset_s - before.offset_s) > _STILL * after.u_s
    return before.resolved is not after.resolved


def _means(curve: EnergyCurve, meter: Pieces, lag: Lag | None) -> Floats:
    """Return an input's mean over each of the meter's windows, shifted by its lag; NaN unseen."""
    shift = np.zeros(meter.start_ns.size)
    if lag is not None and lag_matters(lag, meter):
        shift = shift_ns_of(lag, meter)
    energy, observed = curve.between(meter.start_ns + shift, meter.end_ns + shift)
    seen = observed > 0.99 * meter.duration_s
    mean: Floats = np.divide(energy, observed, out=np.full(energy.shape, np.nan), where=seen)
    return mean


def _clearing(power: Floats, own: Floats, others: Mapping[str, Floats]) -> list[Floats]:
    """Return the others beside which an input stands out clearest, chosen one after the other."""
    left, chosen = dict(others), list[Floats]()
    unexplained = _unexplained(power, own, [])
    while left:
        tried = {k: _unexplained(power, own, [*chosen, x]) for k, x in left.items()}
        best = min(tried, key=lambda k: tried[k])
        if tried[best] >= _CLEARER * unexplained:
            break
        unexplained = tried[best]
        chosen.append(left.pop(best))
    return chosen


def _unexplained(power: Floats, own: Floats, others: list[Floats]) -> float:
    """Return 1 - r², r the partial correlation of the power with an input beside others."""
    seen = _seen(power, own, others)
    if np.count_nonzero(seen) < _LEAST_WINDOWS + len(others):
        return 1.0
    base = np.column_stack([np.ones(power.size), *others])[seen]
    y, x = (v[seen] - base @ np.linalg.lstsq(base, v[seen], rcond=None)[0] for v in (power, own))
    product = float(y @ y) * float(x @ x)
    return 1.0 - float(y @ x) ** 2 / product if product > 0 else 1.0


def _seen(power: Floats, own: Floats, others: list[Floats]) -> npt.NDArray[np.bool_]:
    """Say in which windows all of it was observed."""
    return np.asarray(np.isfinite(np.sum([power, own, *others], axis=0)))


def _without(meter: Pieces, own: Floats, others: list[Floats]) -> Pieces:
    """Return the meter's windows without the share of the others, where all were observed."""
    power = meter.start_w
    seen = _seen(power, own, others)
    design = np.column_stack([np.ones(power.size), own, *others])[seen]
    gains = np.linalg.lstsq(design, power[seen], rcond=None)[0][2:]
    rest = power[seen] - design[:, 2:] @ gains
    return Pieces(meter.start_ns[seen], meter.end_ns[seen], rest, rest)
