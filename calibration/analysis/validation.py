"""The correction on data it has not seen, with the uncorrected tool and the null models beside it.

Whole groups are held out (a workload, a session, a date, a block of 30 s), never random rows:
rows of one group share their error, and a random split would test the fit on what it knows.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..errors import FitError, InputError
from .correlated import dependence_of
from .model import Fitted, fit_form
from .points import Points
from .results import ErrorSummary, GroupSummary

__all__ = [
    "ABOVE_IDLE_SHARE",
    "SCHEMES",
    "HeldOut",
    "above_idle_energy_error",
    "above_idle_errors",
    "choose_scheme",
    "group_conformal",
    "group_labels",
    "hold_out",
    "idle_reference",
    "levels",
    "raw_errors",
    "summarise",
    "summarise_groups",
]

Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
SCHEMES = ("workload", "session", "block", "date", "none")
# Points closer to idle than this share of the session's range say nothing about energy above idle.
ABOVE_IDLE_SHARE = 0.05
# Folds times the cube of the points, a second or two of factorisations for all forms.
_MOST_WORK = 1e8
# A point this much of the others' range outside of it is called extrapolated.
_EXTRAPOLATED = 0.02


def choose_scheme(points: Points) -> str:
    """Return the default scheme: workload from three workloads up, else session, else block."""
    if not points.blocks and len(set(points.workload)) >= 3:
        return "workload"
    return "session" if len(set(points.session)) >= 3 else "block"


def group_labels(points: Points, scheme: str) -> tuple[str, ...]:
    """Return the group of each point under a scheme.

    Raises:
        InputError: the scheme is unknown, or needs a column that is empty.

    """
    if scheme == "workload":
        return points.workload
    if scheme == "session":
        return points.session
    if scheme == "block":
        return tuple(f"{s}/{g}" for s, g in zip(points.session, points.segment, strict=True))
    if scheme == "date":
        if np.any(np.isnan(points.start_unix_s)):
            raise InputError(
                "--hold-out date: expected start_unix_s for every point; some lack it."
            )
        return tuple(
            dt.datetime.fromtimestamp(t, tz=dt.UTC).date().isoformat() for t in points.start_unix_s
        )
    raise InputError(f"--hold-out: expected one of {', '.join(SCHEMES)}; got {scheme!r}.")


def levels(x: Floats, reach: float | None = None) -> int:
    """Count levels of an input: the most points that lie 5 % of its range (`reach`) apart."""
    ordered = np.sort(x)
    least = 0.05 * float(ordered[-1] - ordered[0] if reach is None else reach)
    if least <= 0:
        return 1
    count, last = 1, ordered[0]
    for value in ordered[1:]:
        if value - last >= least:
            count, last = count + 1, value
    return count


@dataclass(frozen=True, slots=True, eq=False)
class HeldOut:
    """Predictions of every point by a model that has not seen its group; all arrays (n,).

    `error_w` is prediction minus reference, `variance` the part of its variance that the fold's
    coefficients carry (W²). `*_idle_w` are the predictions at the session's own idle. `slopes`
    holds the coefficients of each fold, to see whether they keep their sign. `others_w` is, for
    each group, the standard deviation of the other groups' mean residuals about their own fit, W
    (`others_dof` degrees of freedom): what a held-out group may differ by if it is like them.
    `distance` is how far a point lies outside the range of the other groups, in such ranges.
    """

    scheme: str
    labels: tuple[str, ...]
    names: tuple[str, ...]
    prediction_w: Floats
    prediction_idle_w: Floats
    variance: Floats
    nulls_w: Mapping[str, Floats]
    nulls_idle_w: Mapping[str, Floats]
    slopes: Floats
    extrapolated: Mask
    rezeroed: bool
    others_w: Floats
    others_dof: int
    distance: Floats

    def error_w(self, points: Points) -> Floats:
        """Return prediction minus reference, W."""
        return self.prediction_w - points.reference_w

    def members(self, name: str) -> Mask:
        """Return which points belong to a group."""
        return np.array([label == name for label in self.labels], dtype=bool)


def idle_reference(points: Points) -> Floats:
    """Return the mean idle reference of each point's session, W; NaN where it has no idle point."""
    found = np.full(points.n, np.nan)
    sessions = np.array(points.session)
    for session in set(points.session):
        idle = (sessions == session) & points.idle
        if idle.any():
            found[sessions == session] = points.reference_w[idle].mean()
    return found


def _idle_inputs(points: Points, inputs: Mapping[str, Floats]) -> dict[str, Floats]:
    sessions = np.array(points.session)
    found = {}
    for key, x in inputs.items():
        idle_x = np.full(points.n, np.nan)
        for session in set(points.session):
            idle = (sessions == session) & points.idle
            if idle.any():
                idle_x[sessions == session] = x[idle].mean()
        found[key] = idle_x
    return found


def hold_out(points: Points, inputs: tuple[str, ...], form: str, scheme: str) -> HeldOut:
    """Predict every group from the others.

    A held-out session uses its own idle points for its zero where it has any (`rezeroed`). The
    folds weigh their points as the fit does, with what they share (`analysis.correlated`), where
    the readings say how slow their noise is and so many folds of so many points do not take
    minutes; elsewhere by their own u alone.

    Raises:
        FitError: there are not two groups, or the rest of a fold does not determine the model.

    """
    labels = group_labels(points, scheme)
    names = tuple(dict.fromkeys(labels))
    if len(names) < 2:
        raise FitError(
            f"Expected at least two groups to hold one out; got {len(names)} ({scheme})."
        )
    data = {k: points.inputs[k].value for k in inputs}
    units = {k: points.inputs[k].unit for k in inputs}
    idle_x = _idle_inputs(points, data)
    idle_y = idle_reference(points)
    group = np.array(labels)
    sessions = np.array(points.session)
    prediction, at_idle = np.full(points.n, np.nan), np.full(points.n, np.nan)
    variance = np.full(points.n, np.nan)
    nulls = {k: np.full(points.n, np.nan) for k in ("time_only", "idle_only", "gain_only")}
    nulls_idle = {k: np.full(points.n, np.nan) for k in nulls}
    outside = np.zeros(points.n, dtype=bool)
    distance = np.zeros(points.n)
    shared = dependence_of(points)
    if shared is not None and (
        shared.correlation_time_s is None or len(names) * points.n**3 > _MOST_WORK
    ):
        shared = None
    slopes = []
    others = []
    freedom = 1
    rezeroed = False
    for name in names:
        test = group == name
        train = ~test
        kept = {k: x[train] for k, x in data.items()}
        if any(levels(kept[k], float(np.ptp(x))) < 2 for k, x in data.items()):
            raise FitError(f"without {name} the other groups hold one level only")
        fold = fit_form(
            form,
            kept,
            points.reference_w[train],
            points.reference_u_w[train],
            sessions[train].tolist(),
            units,
            None if shared is None else shared.select(train),
        )
        slopes.append([t.value for t in fold.terms if t.basis != "const"])
        here = {k: x[test] for k, x in data.items()}
        idle_here = {k: x[test] for k, x in idle_x.items()}
        zero = np.array([fold.session_offset_w.get(s, 0.0) for s in sessions[test]])
        if scheme in ("session", "date") and (points.idle & test).any() and form != "gain":
            zero, rezeroed = _rezero(points, fold, data, test), True
        prediction[test] = fold.predict(here) + zero
        at_idle[test] = fold.predict(idle_here) + zero
        variance[test] = fold.variance(here)
        for x in data.values():
            low, high = float(x[train].min()), float(x[train].max())
            beyond = np.maximum(np.maximum(low - x[test], x[test] - high), 0.0)
            distance[test] = np.maximum(distance[test], beyond / (high - low))
        outside[test] = distance[test] > _EXTRAPOLATED
        offset = np.array([fold.session_offset_w.get(s, 0.0) for s in sessions[train]])
        residual = points.reference_w[train] - fold.predict(kept) - offset
        freedom = max(len(names) - 1 - len(fold.terms), 1)
        others.append(_group_scatter(residual, group[train], freedom))
        _null_predictions(points, kept, here, idle_here, train, test, idle_y, nulls, nulls_idle)
    return HeldOut(
        scheme=scheme,
        labels=labels,
        names=names,
        prediction_w=prediction,
        prediction_idle_w=at_idle,
        variance=variance,
        nulls_w=nulls,
        nulls_idle_w=nulls_idle,
        slopes=np.array(slopes),
        extrapolated=outside,
        rezeroed=rezeroed,
        others_w=np.array(others),
        others_dof=freedom,
        distance=distance,
    )


def _group_scatter(residual: Floats, group: npt.NDArray[np.str_], dof: int) -> float:
    """Return sqrt(Σ r̄_g² / dof) over the mean residuals r̄_g of the groups, W."""
    means = [float(residual[group == g].mean()) for g in np.unique(group)]
    return float(np.sqrt(np.sum(np.square(means)) / dof))


def _rezero(points: Points, fold: Fitted, data: Mapping[str, Floats], test: Mask) -> Floats:
    """Return the zero of each held-out point's session from that session's own idle points."""
    sessions = np.array(points.session)
    zero = np.zeros(int(test.sum()))
    for session in set(sessions[test]):
        idle = (sessions == session) & points.idle
        if idle.any():
            deviation = points.reference_w[idle] - fold.predict(
                {k: x[idle] for k, x in data.items()}
            )
            zero[sessions[test] == session] = deviation.mean()
    return zero


def _null_predictions(
    points: Points,
    kept: Mapping[str, Floats],
    here: Mapping[str, Floats],
    idle_here: Mapping[str, Floats],
    train: Mask,
    test: Mask,
    idle_y: Floats,
    nulls: Mapping[str, Floats],
    nulls_idle: Mapping[str, Floats],
) -> None:
    """Predict the held-out points without the tool (mean, idle), and with a gain alone.

    Above idle, a null that does not read the tool is judged against the session's true idle; the
    gain against what it says itself at idle.
    """
    nulls["time_only"][test] = np.average(
        points.reference_w[train], weights=points.duration_s[train]
    )
    nulls_idle["time_only"][test] = idle_y[test]
    idle = points.idle & train
    if not idle.any():
        idle = points.idle
    if idle.any():
        nulls["idle_only"][test] = points.reference_w[idle].mean()
        nulls_idle["idle_only"][test] = idle_y[test]
    total = sum(kept.values())
    total_here, total_idle = sum(here.values()), sum(idle_here.values())
    reference = points.reference_w[train]
    gain = float(total @ reference) / float(total @ total) if float(total @ total) > 0 else 0.0  # type: ignore[operator]
    nulls["gain_only"][test] = gain * total_here
    nulls_idle["gain_only"][test] = gain * total_idle


def summarise(points: Points, prediction_w: Floats, prediction_idle_w: Floats) -> ErrorSummary:
    """Summarise the errors of one predictor over all points, in W and in % of the reference."""
    error = prediction_w - points.reference_w
    relative = 100 * np.abs(error) / np.abs(points.reference_w)
    above = above_idle_errors(points, prediction_w, prediction_idle_w)
    return ErrorSummary(
        bias_w=float(error.mean()),
        rmse_w=float(np.sqrt(np.mean(error**2))),
        mape_pct=float(relative.mean()),
        max_abs_pct=float(relative.max()),
        above_idle_mape_pct=None if above is None else float(np.abs(above).mean()),
        above_idle_max_pct=None if above is None else float(np.abs(above).max()),
    )


def above_idle_errors(
    points: Points, prediction_w: Floats, prediction_idle_w: Floats
) -> Floats | None:
    """Return the error of power above idle in % of it, for points that are above idle at all."""
    found = _above_idle(points, prediction_w, prediction_idle_w)
    return None if found is None else 100 * found[0] / found[1]


def above_idle_energy_error(
    points: Points, prediction_w: Floats, prediction_idle_w: Floats
) -> float | None:
    """Return the sum of the absolute errors of the energy above idle, in % of that energy.

    Each point counts with its energy, so that a small denominator cannot decide.
    """
    found = _above_idle(points, prediction_w, prediction_idle_w)
    if found is None:
        return None
    error, above, seconds = found
    return 100 * float(np.abs(error) @ seconds) / float(above @ seconds)


def _above_idle(
    points: Points, prediction_w: Floats, prediction_idle_w: Floats
) -> tuple[Floats, Floats, Floats] | None:
    """Return error (W), truth (W) and duration (s) above idle of the points that are above it."""
    idle_y = idle_reference(points)
    above = points.reference_w - idle_y
    sessions = np.array(points.session)
    reach = np.full(points.n, np.nan)
    for session in set(points.session):
        own = points.reference_w[sessions == session]
        reach[sessions == session] = own.max() - own.min()
    with np.errstate(invalid="ignore"):
        counted = (above >= ABOVE_IDLE_SHARE * reach) & (above > 0)
    if not counted.any():
        return None
    error = prediction_w - prediction_idle_w - above
    return error[counted], above[counted], points.duration_s[counted]


def summarise_groups(points: Points, held: HeldOut, covered: Mask) -> tuple[GroupSummary, ...]:
    """Summarise the held-out errors of each group."""
    error = held.error_w(points)
    found = []
    for name in held.names:
        own = held.members(name)
        relative = 100 * error[own] / points.reference_w[own]
        found.append(
            GroupSummary(
                group=name,
                n=int(own.sum()),
                bias_pct=float(relative.mean()),
                mape_pct=float(np.abs(relative).mean()),
                max_abs_pct=float(np.abs(relative).max()),
                covered_pct=float(100 * covered[own].mean()),
            )
        )
    return tuple(found)


def group_conformal(error_w: Floats, labels: Sequence[str], alpha: float = 0.05) -> float | None:
    """Return the group-conformal half-width of a new group's mean error, W, or None.

    The score of a group is |its mean held-out error|; the half-width is the
    ceil((m + 1)(1 - alpha))-th smallest of the m scores (Vovk, Gammerman and Shafer 2005, section
    2.2; Lei et al. 2018, JASA 113:1094). It holds without a distribution if the next group is
    exchangeable with these, and exists from m = 19 groups for 95 %: below that there is no such
    statement, and Student's t with the between-group variance takes its place. `error_w` has
    shape (n,), one label each.
    """
    group = np.array(labels)
    scores = np.sort([abs(float(error_w[group == g].mean())) for g in dict.fromkeys(labels)])
    rank = math.ceil((scores.size + 1) * (1 - alpha) - 1e-9)
    return float(scores[rank - 1]) if 1 <= rank <= scores.size else None


def raw_errors(points: Points, value: Floats) -> ErrorSummary:
    """Summarise the uncorrected tool against the reference."""
    idle = _idle_inputs(points, {"raw": value})["raw"]
    return summarise(points, value, idle)
