"""Checks of a verdict on the held-out errors: whether the correction holds elsewhere.

Each takes the evidence and its rule's threshold (`verdict.RULES`) and returns what was found.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from .evidence import Check, Evidence, Found
from .stability import half_to_half
from .uncertainty import student_t
from .validation import HeldOut, above_idle_energy_error

__all__ = ["HELD_OUT_CHECKS"]

# An interval that misses a fifth of the groups does not hold at 95 %.
_MOST_OUTSIDE = 0.2
_LEAST_COVERED = 0.9
_LEAST_COVERED_GROUP = 0.5
# One stray point, or two, may be chance or a slip; several in one group are that group's error.
_LEAST_BEYOND = 3


def _relation(e: Evidence, threshold: float) -> str:
    if e.fitted is None or e.fitted.form == "offset":
        return ""
    for i, term in enumerate(e.fitted.terms):
        if term.basis == "input" and term.power == 1 and e.fitted.form in ("gain", "affine"):
            u = math.sqrt(max(e.fitted.covariance[i, i], 0.0))
            if not term.value > threshold * u:
                return (
                    f"the gain of {term.input} is {term.value:.3g} with u {u:.2g}: no relation to "
                    "the meter shows."
                )
    return ""


def _null(e: Evidence, threshold: float) -> str:
    if e.held is None or e.fitted is None:
        return ""
    held, points, what = e.held, e.points, "energy above idle"
    predictors = {"": (held.prediction_w, held.prediction_idle_w)}
    predictors |= {k: (held.nulls_w[k], held.nulls_idle_w[k]) for k in held.nulls_w}
    if e.fitted.form == "gain":  # the correction is that null model
        del predictors["gain_only"]
    if not points.idle.any():
        what = "energy"
        wrong = {
            k: 100 * float(np.mean(np.abs(p - points.reference_w) / points.reference_w))
            for k, (p, _) in predictors.items()
        }
    else:
        wrong = {
            k: above_idle_energy_error(points, p, at_idle) or math.nan
            for k, (p, at_idle) in predictors.items()
        }
    own, null = wrong[""], {k: v for k, v in wrong.items() if k and not math.isnan(v)}
    # A gain alone also reads the tool: a draw with it says that the intercept adds nothing, not
    # that the tool does. So it has to win; the nulls that ignore the tool only have to draw.
    bars = {k: v / threshold if k == "gain_only" else v * threshold for k, v in null.items()}
    best = min(bars, key=lambda k: bars[k], default=None)
    if best is None or math.isnan(own) or own < bars[best]:
        return ""
    return (
        f"held-out {what}: {own:.1f} % error with the tool, {null[best]:.1f} % with the null model "
        f"{best}; it takes less than {bars[best]:.1f} % to say that the tool adds anything."
    )


def _workload(e: Evidence, threshold: float) -> str:
    after = e.validation.after
    if after is None or after.above_idle_mape_pct is None:
        return ""
    if after.above_idle_mape_pct <= threshold:
        return ""
    return (
        f"held-out power above idle is wrong by {after.above_idle_mape_pct:.0f} % on average "
        f"(limit {threshold:g} %): the relation is not one line for all loads."
    )


def _transfer(e: Evidence, threshold: float) -> Found:
    if e.held is None or e.bounds is None:
        return ""
    error = e.held.error_w(e.points)
    half = e.bounds.half_width_w
    outside = [
        g
        for g in e.held.names
        if abs(error[e.held.members(g)].mean()) > half[e.held.members(g)].mean()
    ]
    if len(outside) <= _MOST_OUTSIDE * len(e.held.names):
        unlike = _unlike_the_others(e, e.held, threshold)
        return unlike or _not_covered(e, e.held, np.abs(error) <= half)
    return f"{len(outside)} of {len(e.held.names)} groups lie outside the interval: " + ", ".join(
        outside[:5]
    )


def _not_covered(e: Evidence, held: HeldOut, inside: npt.NDArray[np.bool_]) -> Found:
    """Say whether the stated 95 % interval misses what was held out."""
    share = float(inside.mean())
    by_group = {g: float(inside[held.members(g)].mean()) for g in held.names}
    worst = min(by_group, key=lambda g: by_group[g])
    if share >= _LEAST_COVERED and by_group[worst] >= _LEAST_COVERED_GROUP:
        return ""
    return (
        f"the stated 95 % interval holds {100 * share:.0f} % of the held-out points, and "
        f"{100 * by_group[worst]:.0f} % of those of {worst}."
    ), "downgrade"


def _uncertain(e: Evidence, threshold: float) -> str:
    if e.bounds is None:
        return ""
    half = e.bounds.half_width_w
    usual, reach = float(np.median(half)), float(np.ptp(e.points.reference_w))
    if usual > threshold * reach:
        much = f"{100 * usual / reach:.0f} % of" if reach else "more than"
        return (
            f"the correction holds within {usual:.3g} W (95 %), {much} the {reach:.3g} W that the "
            "reference spans: too little to tell loads apart."
        )
    share = half / np.abs(e.points.reference_w)
    at = int(np.argmax(share))
    if share[at] <= threshold:
        return ""
    return (
        f"the correction holds within {half[at]:.3g} W (95 %), {100 * share[at]:.0f} % of the "
        f"{e.points.reference_w[at]:.3g} W at {e.points.segment[at]}: the low end of its domain."
    )


def _tails(e: Evidence, threshold: float) -> str:
    if e.held is None or e.bounds is None:
        return ""
    size = np.abs(e.held.error_w(e.points)) / e.bounds.half_width_w
    beyond = int(np.count_nonzero(size > 2))
    where = {e.held.labels[i] for i in np.flatnonzero(size > 2)}
    if len(where) < _LEAST_BEYOND or beyond <= threshold * size.size:
        return ""
    worst = int(np.argmax(size))
    percent = 100 * abs(e.held.error_w(e.points)[worst]) / e.points.reference_w[worst]
    return (
        f"{beyond} of {size.size} held-out points miss by more than twice the stated U, up to "
        f"{percent:.0f} % of the power: U says nothing of such points. Take longer windows, which "
        "hold fewer changes of load, or steady segments."
    )


def _drift(e: Evidence, threshold: float) -> str:
    """Say what each half of a recording makes of the other; blocks share whatever drifts."""
    found = None if e.fitted is None else half_to_half(e.points, e.fitted)
    if found is None or max(abs(b) for b in found) <= threshold:
        return ""
    first, second = (100 * b for b in found)
    return (
        f"the first half predicts the second with a bias of {first:+.1f} %, the second the "
        f"first with {second:+.1f} %; another recording may differ by as much, and U says so."
    )


def _unlike_the_others(e: Evidence, held: HeldOut, threshold: float) -> str:
    """Say which group errs by more than a group like the others could."""
    m = len(held.names)
    k = float(student_t(held.others_dof, 1 - 0.01 / m))
    error = held.error_w(e.points)
    for name, scatter in zip(held.names, held.others_w, strict=True):
        own = held.members(name)
        if np.all(e.points.idle[own]):
            continue
        bias = float(error[own].mean())
        reach = float(np.ptp(e.points.reference_w[~own]))
        if abs(bias) > max(threshold * reach, k * scatter):
            return (
                f"{name}, held out, is wrong by {bias:+.3g} W on average; the others scatter by "
                f"{scatter:.2g} W about their line. Fit it apart, or find what else it uses."
            )
    return ""


def _extrapolated(e: Evidence, threshold: float) -> Found:
    if e.held is None:
        return ""
    for name in e.held.names:
        own = e.held.members(name)
        far = float(e.held.distance[own].mean())
        if far > threshold and not np.all(e.points.idle[own]):
            return (
                f"{name} lies {far:.2g} times the range of all others away from them; nothing in "
                "between was measured. Record levels there."
            )
    names = [g for g in e.held.names if e.held.extrapolated[e.held.members(g)].any()]
    if not names:
        return ""
    return f"held out beyond the range of the others: {', '.join(names[:5])}.", "flag"


HELD_OUT_CHECKS: dict[str, Check] = {
    "no_relation": _relation,
    "not_better_than_null": _null,
    "workload_dependence": _workload,
    "transfer_failure": _transfer,
    "too_uncertain": _uncertain,
    "heavy_tails": _tails,
    "drift": _drift,
    "extrapolation": _extrapolated,
}
