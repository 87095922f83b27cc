"""From points to a fit: select a form, hold groups out, state the uncertainty, pass the verdict."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from ..errors import FitError, InputError
from .choices import choices, form_choice
from .correlated import dependence_of
from .model import Fitted, fit_form
from .points import Points
from .results import Domain, FitResult, Reason, Validation
from .uncertainty import between_groups, components, held_out_interval, idle_power
from .validation import (
    SCHEMES,
    HeldOut,
    choose_scheme,
    group_labels,
    hold_out,
    levels,
    raw_errors,
    summarise,
    summarise_groups,
)
from .verdict import Evidence, judge

__all__ = ["fit_points"]

Floats = npt.NDArray[np.float64]


def fit_points(
    points: Points,
    inputs: tuple[str, ...],
    *,
    model: str = "auto",
    scheme: str | None = None,
) -> FitResult:
    """Fit a calibration function to points and judge it.

    `model` is one of `analysis.model.FORMS` or `auto`: affine, unless a simpler form is as good
    on held-out groups or a curved one better by more than one standard error. `scheme` says what
    is held out (`analysis.validation.SCHEMES`); by default workloads from three up, else
    sessions, else blocks.

    Raises:
        InputError: an input, the model or the scheme is unknown.
        FitError: there is not a single usable point.

    """
    points = _usable(points, inputs)
    told = scheme is not None
    scheme = choose_scheme(points) if scheme is None else scheme
    if scheme not in SCHEMES:
        raise InputError(f"--hold-out: expected one of {', '.join(SCHEMES)}; got {scheme!r}.")
    notes = list(points.notes)
    made: list[str] = []
    fitted, held, impossible = _select(points, inputs, model, scheme, notes, made)
    idle_w = idle_power(points)
    parts = () if fitted is None else components(points, fitted, held, idle_w)
    validation = _validation(points, inputs, held, scheme)
    bounds = None
    if fitted is not None and held is not None:
        bounds = held_out_interval(points, held, fitted.dof, parts)
        covered = np.abs(held.error_w(points)) <= bounds.half_width_w
        validation = _with_coverage(points, validation, held, covered)
        between = between_groups(points, fitted, held)
        validation = replace(
            validation,
            interval=between.interval,
            interval_half_width_w=between.half_width_w,
        )
        if between.interval == "group_conformal":
            notes.append(
                f"group-conformal: the mean error of a new {scheme} stays within "
                f"{between.half_width_w:.3g} W in 95 % of cases, as far as it is like the "
                f"{len(held.names)} held out"
            )
    verdict, reasons = judge(Evidence(points, inputs, fitted, held, validation, bounds))
    if impossible:
        verdict, reasons = "refused", (*reasons, impossible)
    return FitResult(
        inputs=inputs,
        boundary=points.boundary,
        data_kind="simulated" if points.data_kind == "simulated" else "measured",
        model=None if fitted is None else fitted.model(),
        form=model if fitted is None else fitted.form,
        domain=None if fitted is None else _domain(points, inputs, fitted),
        validation=validation,
        uncertainty=parts,
        verdict=verdict,
        reasons=reasons,
        n_points=points.n,
        sessions=tuple(dict.fromkeys(points.session)),
        workloads=tuple(dict.fromkeys(points.workload)),
        levels=min(levels(points.inputs[k].value) for k in inputs),
        idle_w=idle_w,
        modes={k: points.inputs[k].mode for k in inputs},
        notes=tuple(notes),
        choices=(*choices(points, inputs, fitted, held, scheme, told), *made),
        reliability={} if fitted is None else dict(fitted.reliability),
    )


def _usable(points: Points, inputs: tuple[str, ...]) -> Points:
    """Return the points at which every input was observed."""
    if not inputs:
        raise InputError("Expected at least one input; got none.")
    for key in inputs:
        if key not in points.inputs:
            have = ", ".join(points.inputs) or "none"
            raise InputError(f"--input: expected one of {have}; got {key!r}.")
        if points.inputs[key].constant:
            raise InputError(
                f"--input {key}: it is a constant times the duration, which merges with the "
                "intercept. Leave it out."
            )
    seen = np.ones(points.n, dtype=bool)
    for key in inputs:
        seen &= np.isfinite(points.inputs[key].value)
    if not seen.any():
        raise FitError(f"Expected points with {', '.join(inputs)}; none was observed completely.")
    return points if seen.all() else points.select(seen)


def _select(
    points: Points,
    inputs: tuple[str, ...],
    model: str,
    scheme: str,
    notes: list[str],
    made: list[str],
) -> tuple[Fitted | None, HeldOut | None, Reason | None]:
    """Return the chosen form, its held-out predictions, or why there is none."""
    single = len(inputs) == 1
    candidates: tuple[str, ...] = (model,)
    if model == "auto":
        candidates = ("affine", "gain") if single else ("affine",)
        # Blocks of one recording share its work: a curve that fits them may be the work's, not the
        # machine's. Only other workloads, sessions or dates can speak for a curve.
        if single and scheme in ("workload", "session", "date"):
            candidates = (*candidates, "quadratic", "hinge")
    data = {k: points.inputs[k].value for k in inputs}
    units = {k: points.inputs[k].unit for k in inputs}
    shared = dependence_of(points)
    found: dict[str, tuple[Fitted, HeldOut | None]] = {}
    failure: FitError | None = None
    for form in candidates:
        try:
            fitted = fit_form(
                form, data, points.reference_w, points.reference_u_w, points.session, units, shared
            )
        except FitError as error:
            failure = failure or error
            continue
        held = None
        if scheme != "none":
            try:
                held = hold_out(points, inputs, form, scheme)
            except FitError as error:
                notes.append(f"{form}: nothing could be held out ({error})")
        found[form] = (fitted, held)
    if not found:
        return None, None, Reason("too_few_levels", str(failure), "refuse")
    chosen = _one_standard_error(points, found)
    rms = {
        form: float(np.sqrt(np.mean(held.error_w(points) ** 2)))
        for form, (_, held) in found.items()
        if held is not None
    }
    made.append(form_choice(rms, chosen, scheme, model != "auto"))
    if model == "auto" and len(found) > 1:
        notes.append(f"{len(found)} forms tried ({', '.join(found)}); {chosen} chosen")
    return *found[chosen], None


def _one_standard_error(points: Points, found: dict[str, tuple[Fitted, HeldOut | None]]) -> str:
    """Choose by held-out error per group: affine by default, ties to fewer parameters.

    A curved form does not correct energies of runs, only of short windows, so it must clearly earn
    its place: better than the line by more than one standard error of the paired difference over
    the groups, and by a fifth of the mean square. A gain alone takes the line's place when it is no
    worse.
    """
    scores = {}
    for form, (_, held) in found.items():
        if held is not None:
            squares = held.error_w(points) ** 2
            scores[form] = np.array([squares[held.members(g)].mean() for g in held.names])
    default = "affine" if "affine" in found else next(iter(found))
    if default not in scores or scores[default].size < 4:
        return default
    chosen = default
    if "gain" in scores and float((scores[chosen] - scores["gain"]).mean()) >= 0:
        chosen = "gain"
    for form in ("quadratic", "hinge"):
        if form not in scores:
            continue
        gained = scores[chosen] - scores[form]
        error = float(gained.std(ddof=1)) / math.sqrt(gained.size)
        if float(gained.mean()) > max(error, 0.2 * float(scores[chosen].mean())):
            chosen = form
    return chosen


def _validation(
    points: Points, inputs: tuple[str, ...], held: HeldOut | None, scheme: str
) -> Validation:
    before = None
    if all(points.inputs[k].unit == "W" for k in inputs):
        total = np.sum([points.inputs[k].value for k in inputs], axis=0)
        before = raw_errors(points, total)
    names = ("time_only", "idle_only", "gain_only")
    if held is None:
        groups = 0 if scheme == "none" else len(set(group_labels(points, scheme)))
        return Validation(
            scheme,
            groups,
            points.n,
            False,
            dict.fromkeys(names),
            before,
            None,
            (),
            None,
            None,
            None,
        )
    nulls = {
        k: None
        if np.any(np.isnan(held.nulls_w[k]))
        else summarise(points, held.nulls_w[k], held.nulls_idle_w[k])
        for k in names
    }
    return Validation(
        scheme=scheme,
        groups=len(held.names),
        n=points.n,
        rezeroed=held.rezeroed,
        nulls=nulls,
        before=before,
        after=summarise(points, held.prediction_w, held.prediction_idle_w),
        per_group=(),
        coverage_95_pct=None,
        coverage_95_low=None,
        coverage_95_high=None,
    )


def _with_coverage(
    points: Points, validation: Validation, held: HeldOut, covered: npt.NDArray[np.bool_]
) -> Validation:
    """Add the share of held-out points inside U, with its own 95 % interval over the groups.

    The groups, not the points, are the independent trials: Wilson's interval with n = groups.
    """
    m = len(held.names)
    share = float(np.mean([covered[held.members(g)].mean() for g in held.names]))
    z = 1.959964
    centre = (share + z * z / (2 * m)) / (1 + z * z / m)
    half = z * math.sqrt(share * (1 - share) / m + z * z / (4 * m * m)) / (1 + z * z / m)
    return replace(
        validation,
        per_group=summarise_groups(points, held, covered),
        coverage_95_pct=100 * float(covered.mean()),
        coverage_95_low=100 * max(0.0, centre - half),
        coverage_95_high=100 * min(1.0, centre + half),
    )


def _domain(points: Points, inputs: tuple[str, ...], fitted: Fitted) -> Domain:
    """Return the ranges covered; a curve holds only for windows as short as those it was fitted to.

    The mean of a curve is not the curve of the mean, so a longer window may hide levels inside.
    """
    return Domain(
        inputs={
            k: (float(points.inputs[k].value.min()), float(points.inputs[k].value.max()))
            for k in inputs
        },
        output_w=(float(points.reference_w.min()), float(points.reference_w.max())),
        min_averaging_s=float(points.duration_s.min()),
        max_averaging_s=None if fitted.model().additive else float(points.duration_s.max()),
    )
