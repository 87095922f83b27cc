"""Calibration functions: which terms, how they are fitted, what they predict.

y_st = a_s + Σ b_j φ_j(x) + ε: one intercept per session, gains common to all. Session intercepts
are coded as deviations that sum to zero, so that the constant is the mean intercept. Weights are
1/(u_y² + s²), where s, the lack of fit, is found by the fit itself: the smallest s for which χ²
does not exceed its degrees of freedom (Paule and Mandel, J. Res. NBS 87 (1982) 377). What points
share (`analysis.correlated`) makes the weights a matrix: generalised least squares.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..errors import FitError, InputError
from .correlated import Dependence
from .dependent import with_dependence
from .noisy_inputs import noisy_inputs
from .results import Model, Term
from .weighting import with_lack_of_fit

__all__ = ["FORMS", "Fitted", "fit_form", "term_values"]

Floats = npt.NDArray[np.float64]
FORMS = ("offset", "gain", "affine", "quadratic", "hinge")


@dataclass(frozen=True, slots=True, eq=False)
class Fitted:
    """A fitted calibration function.

    `session_offset_w` maps a session to its deviation from the mean intercept; `lack_of_fit_w` is
    the s of the weights, `chi_squared` that of the points' own u without it; `noise_w` is their own
    u as a root mean square, scaled down where χ² < dof, and averages over `noise_time_s` (None: the
    length of a point). `covariance` is that of the terms, in their order, known with
    `effective_dof`. `reliability` holds the λ of each input whose errors were taken out of the gain
    (`analysis.noisy_inputs`), empty where none had to be.
    """

    form: str
    terms: tuple[Term, ...]
    covariance: Floats
    dof: int
    effective_dof: float
    lack_of_fit_w: float
    chi_squared: float
    noise_w: float
    noise_time_s: float | None
    session_offset_w: Mapping[str, float]
    reliability: Mapping[str, float]
    condition: float

    def predict(self, inputs: Mapping[str, Floats]) -> Floats:
        """Return the corrected power at the mean session, W, shape (n,)."""
        columns = term_values(self.terms, inputs)
        return np.asarray(columns @ np.array([t.value for t in self.terms]))

    def variance(self, inputs: Mapping[str, Floats]) -> Floats:
        """Return the variance of the prediction due to the coefficients, W², shape (n,)."""
        columns = term_values(self.terms, inputs)
        return np.asarray(np.einsum("ij,jk,ik->i", columns, self.covariance, columns))

    def model(self) -> Model:
        """Return the function as plain numbers."""
        return Model(
            terms=self.terms,
            covariance=tuple(tuple(float(v) for v in row) for row in self.covariance),
            dof=float(self.effective_dof),
        )


def term_values(terms: Sequence[Term], inputs: Mapping[str, Floats]) -> Floats:
    """Return the basis functions at each point, shape (n, terms)."""
    n = next(iter(inputs.values())).size
    columns = []
    for term in terms:
        x = inputs[term.input] if term.input is not None else np.ones(n)
        if term.basis == "hinge":
            columns.append(np.maximum(x - (term.knot or 0.0), 0.0))
        else:
            columns.append(x**term.power)
    return np.column_stack(columns)


def _terms(form: str, inputs: Mapping[str, Floats], units: Mapping[str, str]) -> tuple[Term, ...]:
    """Return the terms of a form with their coefficients still zero (one where it is fixed)."""
    constant = Term("b0", "const", 0.0, "W")
    linear = []
    for i, key in enumerate(inputs, start=1):
        unit = "1" if units[key] == "W" else "W"
        linear.append(Term(f"b{i}", "input", 1.0, unit, input=key))
    if form == "gain":
        return tuple(linear)
    terms = (constant, *linear)
    if form in ("offset", "affine"):
        return terms
    if len(inputs) != 1:
        raise InputError(f"--model {form}: expected one input; got {len(inputs)}.")
    key, x = next(iter(inputs.items()))
    unit = "1/W" if units[key] == "W" else "W"
    if form == "quadratic":
        return (*terms, Term("b2", "input", 0.0, unit, input=key, power=2))
    knot = float(np.median(x))
    return (*terms, Term("b2", "hinge", 0.0, linear[0].unit, input=key, knot=knot))


def fit_form(
    form: str,
    inputs: Mapping[str, Floats],
    reference_w: Floats,
    reference_u_w: Floats,
    session: Sequence[str],
    units: Mapping[str, str],
    shared: Dependence | None = None,
) -> Fitted:
    """Fit one form by weighted least squares with one intercept per session.

    `reference_w`, `reference_u_w` and every input have shape (n,). With `shared`, what the points
    have in common (noise slower than a step, the meter's resolution) is in the weights and in the
    covariance.

    Raises:
        FitError: the points do not determine the coefficients.
        InputError: the form is unknown, or takes one input only.

    """
    if form not in FORMS:
        raise InputError(f"--model: expected one of auto, {', '.join(FORMS)}; got {form!r}.")
    terms = _terms(form, inputs, units)
    columns = term_values(terms, inputs)
    target = reference_w
    free = np.ones(len(terms), dtype=bool)
    if form == "offset":  # gains fixed at one
        free[1:] = False
        target = reference_w - columns[:, 1:].sum(axis=1)
    names = sorted(set(session))
    coding = np.zeros((reference_w.size, max(len(names) - 1, 0)))
    if form != "gain":
        place = {name: i for i, name in enumerate(names)}
        where = np.array([place[s] for s in session])
        for i in range(coding.shape[1]):
            coding[where == i, i] = 1.0
            coding[where == len(names) - 1, i] = -1.0
    else:
        coding = coding[:, :0]
    design = np.hstack([columns[:, free], coding])
    reliability: Mapping[str, float] = {}
    if shared is None:
        solution = with_lack_of_fit(design, target, reference_u_w)
    else:
        design, u2_inputs, reliability = noisy_inputs(terms, columns, design, target, shared)
        solution = with_dependence(design, target, reference_u_w, shared, u2_inputs)
    count = int(free.sum())
    values = np.array([t.value for t in terms])
    values[free] = solution.coefficients[:count]
    covariance = np.zeros((len(terms), len(terms)))
    covariance[np.ix_(free, free)] = solution.covariance[:count, :count]
    offsets = solution.coefficients[count:]
    deviations = [*offsets, -float(offsets.sum())] if offsets.size else [0.0] * len(names)
    return Fitted(
        form=form,
        terms=tuple(
            Term(t.id, t.basis, float(v), t.unit, t.input, t.power, t.knot)
            for t, v in zip(terms, values, strict=True)
        ),
        covariance=covariance,
        dof=solution.dof,
        effective_dof=solution.effective_dof,
        lack_of_fit_w=solution.lack_w,
        chi_squared=solution.chi_squared,
        noise_w=solution.noise_w,
        noise_time_s=solution.noise_time_s,
        session_offset_w=dict(zip(names, map(float, deviations), strict=True)),
        reliability=reliability,
        condition=_centred_condition(columns[:, [t.basis != "const" for t in terms]]),
    )


def _centred_condition(columns: Floats) -> float:
    """Return the condition number of the centred, scaled inputs; 1 for a single input."""
    if columns.shape[1] < 2:
        return 1.0
    centred = columns - columns.mean(axis=0)
    norm = np.sqrt(np.sum(centred**2, axis=0))
    if not np.all(norm > 0):
        raise FitError("Expected inputs that vary; got one that is constant over all points.")
    return float(np.linalg.cond(centred / norm))
