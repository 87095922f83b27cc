"""Calibration functions: which terms, how they are fitted, what they predict.

y_st = a_s + Σ b_j φ_j(x) + ε: one intercept per session, gains common to all. Session intercepts
are coded as deviations that sum to zero, so that the constant is the mean intercept. Weights are
1/(u_y² + s²), where s, the lack of fit, is found by the fit itself: the smallest s for which χ²
does not exceed its degrees of freedom (Paule and Mandel, J. Res. NBS 87 (1982) 377). What points
share (`analysis.correlated`) makes the weights a matrix: generalised least squares.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from ..errors import FitError, InputError
from .correlated import Dependence
from .line import LeastSquares, least_squares
from .results import Model, Term

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
    `effective_dof`.
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
    if shared is None:
        solution = _with_lack_of_fit(design, target, reference_u_w)
    else:
        design, u2_inputs = _noisy_inputs(terms, columns, design, target, shared)
        solution = _with_dependence(design, target, reference_u_w, shared, u2_inputs)
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
        condition=_centred_condition(columns[:, [t.basis != "const" for t in terms]]),
    )


def _with_lack_of_fit(design: Floats, y: Floats, u_y: Floats) -> _Solved:
    """Find the smallest s with χ²(1/(u² + s²)) ≤ n - p; where the u_y suffice, scale them.

    The points' own scatter is the judge in both directions, so that Student's t with n - p degrees
    of freedom holds for normal errors of any size: u_y that are too small are widened by s, those
    that are too large are scaled by √(χ²/(n - p)), unless the points scatter implausibly little.
    """
    floor = 1e-9 * max(float(np.max(np.abs(y))), 1e-9)
    u_y = np.maximum(u_y, floor)
    first = least_squares(design, y, u_y, method="fast")
    dof = first.dof
    scale = _scale(first.chi_squared, dof)
    chi2, noise = first.chi_squared, math.sqrt(scale * float(np.mean(u_y**2)))
    if dof <= 0 or chi2 <= dof:
        covariance = first.covariance * scale
        root = math.sqrt(scale)
        return _Solved(first.coefficients, covariance, dof, 0.0, root, float(dof), chi2, noise)
    norm = np.sqrt(np.sum(design**2, axis=0))
    system = _Weighted(design / norm, y, u_y**2, np.ones(y.size))
    s2 = system.match(dof, float(first.residuals @ first.residuals) / dof)
    found = least_squares(design, y, np.sqrt(u_y**2 + s2), method="fast")
    lack = math.sqrt(s2)
    return _Solved(found.coefficients, found.covariance, dof, lack, 1.0, float(dof), chi2, noise)


# Below this quantile of χ² the stated u hold something that the scatter cannot show (a resolution,
# a type B limit): they are kept as they are.
_IMPLAUSIBLY_QUIET = 0.005


def _scale(chi_squared: float, dof: int) -> float:
    """Return the factor of the stated variances, χ²/dof, between a plausible one and 1."""
    if dof <= 0 or chi_squared >= dof or chi_squared < _least_chi_squared(dof):
        return 1.0
    return chi_squared / dof


@lru_cache(maxsize=1024)
def _least_chi_squared(dof: int) -> float:
    from scipy.special import chdtri

    return float(chdtri(float(dof), 1 - _IMPLAUSIBLY_QUIET))


@dataclass(frozen=True, slots=True, eq=False)
class _Solved:
    """A solution with its variance: lack of fit s (W), scale of the stated u, effective dof.

    `chi_squared` is that of the stated u alone; `noise_w` the points' own u, scaled, as a root mean
    square; `noise_time_s` the time over which it averages (None: the length of a point).
    """

    coefficients: Floats
    covariance: Floats
    dof: int
    lack_w: float
    scale: float
    effective_dof: float
    chi_squared: float
    noise_w: float
    noise_time_s: float | None = None


class _Weighted:
    """Weighted least squares for variances base + t·slope, all in a basis that stays the same."""

    __slots__ = ("base", "design", "slope", "y")

    def __init__(self, design: Floats, y: Floats, base: Floats, slope: Floats) -> None:
        self.design, self.y, self.base, self.slope = design, y, base, slope

    def solve(self, t: float) -> tuple[Floats, Floats, float]:
        """Return coefficients, their covariance and χ² for one t."""
        weight = 1.0 / (self.base + t * self.slope)
        weighted = self.design * weight[:, None]
        inverse = np.asarray(np.linalg.inv(self.design.T @ weighted), dtype=np.float64)
        coefficients = inverse @ (weighted.T @ self.y)
        residual = self.y - self.design @ coefficients
        return coefficients, inverse, float(weight @ (residual * residual))

    def match(self, dof: int, start: float) -> float:
        """Return the t at which χ² equals `dof`; χ² falls with t. 0 where it does not reach it.

        Newton's method on 1/χ², which is nearly linear in t, between bounds that it may not leave.
        """
        low, high = 0.0, math.inf
        t = start
        for _ in range(80):
            coefficients, _, chi2 = self.solve(t)
            low, high = (t, high) if chi2 > dof else (low, t)
            residual = self.y - self.design @ coefficients
            weight = 1.0 / (self.base + t * self.slope)
            falls = float((weight * weight * self.slope) @ (residual * residual))  # -dχ²/dt
            step = (chi2 - dof) * chi2 / (dof * falls) if falls > 0 else math.inf
            new = t + step
            if not low < new < high:
                new = 0.5 * (low + high) if math.isfinite(high) else 4 * t
            if abs(new - t) <= 1e-10 * max(new, 1e-300) or new < 1e-14 * start:
                return new
            t = new
        return t


# Correlation times that are tried where none is known, in units of the spacing of the points.
_TRIED = (0.0, 0.5, 1.0, 2.0)
# As likely as not there is none; two dozen points say little of it.
_PRIOR = (0.55, 0.15, 0.15, 0.15)
_LEAST_DOF = 8


# Errors of an input flatten its gain by λ; below this they are taken out.
_LEAST_RELIABILITY = 0.995


def _noisy_inputs(
    terms: Sequence[Term], columns: Floats, design: Floats, y: Floats, shared: Dependence
) -> tuple[Floats, Floats | None]:
    """Return the design freed of attenuation, and what the inputs' own noise adds, W², (n,).

    Noise of an input acts as noise of the output b² u_x² (York et al., Am. J. Phys. 72 (2004) 367:
    the effective variance), and flattens a gain by λ = 1 - mean(u_x²)/Var(x). A single input whose
    λ falls below 0.995 is replaced by its regression on the truth, x̄ + λ (x - x̄) (Fuller,
    Measurement Error Models, 1987, section 1.2), which takes the flattening out.
    """
    linear = [
        (i, shared.inputs_u[t.input])
        for i, t in enumerate(terms)
        if t.input is not None
        and t.basis == "input"
        and t.power == 1
        and t.input in shared.inputs_u
    ]
    if not linear:
        return design, None
    gains = np.zeros(len(terms))
    free = design.shape[1] >= len(terms)
    if free:
        gains[:] = least_squares(design, y, method="fast").coefficients[: len(terms)]
    else:  # the offset alone is free: gains are one
        gains[1:] = 1.0
    added = np.zeros(y.size)
    for i, u in linear:
        added += (gains[i] * u) ** 2
    if free and len(linear) == 1 and len(terms) == 2 and terms[0].basis == "const":
        i, u = linear[0]
        others = np.delete(design, i, axis=1)
        x = columns[:, i]
        middle = others @ np.linalg.lstsq(others, x, rcond=None)[0]
        about = x - middle
        freedom = y.size - others.shape[1]
        reliability = 1 - float(np.mean(u**2)) / (float(about @ about) / max(freedom, 1))
        if 0.5 < reliability < _LEAST_RELIABILITY:
            design = design.copy()
            design[:, i] = middle + reliability * about
    return design, added


def _with_dependence(
    design: Floats, y: Floats, u_y: Floats, shared: Dependence, u2_inputs: Floats | None = None
) -> _Solved:
    """Fit by generalised least squares with the correlations between the points.

    V = s² C + U C U + Q, with U the points' own u, C their correlation in time, Q the quantisation
    that points of one level share; what the inputs' noise adds stands on the diagonal of U C U. s
    is as small as χ² ≤ n - p allows, or, where s = 0 is enough, V = φ U C U + Q with the φ ≤ 1 for
    which χ² = n - p.

    A correlation time that is not known from the readings is taken from the points: each one tried
    counts with its restricted likelihood (Patterson and Thompson, Biometrika 58 (1971) 545), which
    does not suffer from the bias of residual autocorrelations. The coefficients are then those of
    weighted least squares, which an ill-known V cannot disturb, and their covariance H V Hᵀ.
    """
    floor = 1e-9 * max(float(np.max(np.abs(y))), 1e-9)
    first = least_squares(
        design, y, method="fast"
    )  # says so if the points do not determine the coefficients
    norm = np.sqrt(np.sum(design**2, axis=0))
    scaled = design / norm
    common2 = np.minimum(u_y**2, shared.quantisation_w**2)
    own2 = np.maximum(u_y**2 - common2, floor**2)
    quantised = None
    if np.any(common2 > 1e-6 * own2):
        common = np.sqrt(common2)
        quantised = shared.in_level(design, first) * common[:, None] * common[None, :]
    known = shared.correlation_time_s
    if known is not None:
        tried: tuple[float, ...] = (known,)
    elif first.dof < _LEAST_DOF:
        tried = (0.0,)
    else:
        order = np.sort(shared.start_s)
        tried = tuple(k * float(np.median(np.diff(order))) for k in _TRIED)
    found = [_one_time(scaled, y, own2, u2_inputs, quantised, shared, t, first) for t in tried]
    times = np.array([shared.averaging_time(t) for t in tried])
    best = found[0][0]
    coefficients, covariance, weight = best.coefficients, best.covariance, np.ones(1)
    if len(found) > 1:
        plain = _with_lack_of_fit(scaled, y, np.sqrt(own2 + common2))
        likelihood = np.array([f[1] for f in found])
        weight = np.exp(likelihood - likelihood.max()) * np.array(_PRIOR)
        weight /= weight.sum()
        best = found[int(np.argmax(weight))][0]
        coefficients = plain.coefficients
        weighted = scaled / (own2 + common2 + plain.lack_w**2)[:, None]
        solver = np.linalg.solve(weighted.T @ scaled, weighted.T)
        variance = np.einsum("k,kij->ij", weight, np.array([f[2] for f in found]))
        covariance = solver @ variance @ solver.T
    return _Solved(
        coefficients / norm,
        covariance / np.outer(norm, norm),
        first.dof,
        best.lack_w,
        best.scale,
        best.effective_dof,
        best.chi_squared,
        best.noise_w,
        float(weight @ times),
    )


def _one_time(
    design: Floats,
    y: Floats,
    own2: Floats,
    u2_inputs: Floats | None,
    quantised: Floats | None,
    shared: Dependence,
    correlation_time_s: float,
    first: LeastSquares,
) -> tuple[_Solved, float, Floats]:
    """Fit with one correlation time; return it, its restricted log likelihood, and V.

    One factorisation serves every s: with V = A + t B, A = L Lᵀ and L⁻¹ B L⁻ᵀ = P Λ Pᵀ, the rows of
    Pᵀ L⁻¹ y are independent with variances 1 + t Λ.
    """
    n, p = design.shape
    dof = first.dof
    own = np.sqrt(own2)
    in_time = shared.in_time(correlation_time_s) if correlation_time_s > 0 else np.eye(n)
    noise = in_time * own[:, None] * own[None, :]
    if u2_inputs is not None:
        noise = noise + np.diag(u2_inputs)
        own2 = own2 + u2_inputs
    stated = noise if quantised is None else noise + quantised
    factor = _cholesky(stated)
    both = np.asarray(np.linalg.solve(factor, np.column_stack([design, y])))
    if dof <= 0:
        system = _Weighted(both[:, :p], both[:, p], np.ones(n), np.zeros(n))
        coefficients, covariance, _ = system.solve(0.0)
        noise_w = math.sqrt(float(np.mean(own2)))
        solved = _Solved(coefficients, covariance, dof, 0.0, 1.0, float(dof), 0.0, noise_w)
        return solved, 0.0, stated
    plain = _Weighted(both[:, :p], both[:, p], np.ones(n), np.zeros(n))
    coefficients, covariance, chi2 = plain.solve(0.0)
    log_v = 2 * float(np.sum(np.log(np.diag(factor))))
    lack2, scale2, effective = 0.0, 1.0, float(dof)
    if chi2 <= dof and quantised is None:
        scale2 = _scale(chi2, dof)
        covariance = covariance * scale2
        log_v += n * math.log(scale2)
    elif chi2 <= dof and quantised is not None:
        # V = φ (N + Q/φ): the same family with the noise as its base and t = 1/φ.
        noise_factor = _cholesky(noise)
        base, rotated = _independent(noise_factor, quantised, design, y)
        system = _Weighted(rotated[:, :p], rotated[:, p], base, np.ones(n))
        if _scale(chi2, dof) < 1.0:
            scale2 = min(max(system.match(dof, 1.0), 1e-9), 1.0)
        coefficients, covariance, _ = system.solve(scale2)
        effective = _effective_dof(system, scale2, scale2 * system.slope, covariance, dof)
        log_v = 2 * float(np.sum(np.log(np.diag(noise_factor))))
        log_v += float(np.sum(np.log(base + scale2)))
    else:
        values, rotated = _independent(factor, in_time, design, y)
        system = _Weighted(rotated[:, :p], rotated[:, p], np.ones(n), values)
        lack2 = system.match(dof, float(first.residuals @ first.residuals) / dof)
        coefficients, covariance, _ = system.solve(lack2)
        log_v += float(np.sum(np.log1p(lack2 * values)))
    sign, log_det = np.linalg.slogdet(covariance)
    restricted = -0.5 * log_v + 0.5 * (float(log_det) if sign > 0 else -math.inf)
    noise_w = math.sqrt(scale2 * float(np.mean(own2)))
    lack_w, scale = math.sqrt(lack2), math.sqrt(scale2)
    solved = _Solved(coefficients, covariance, dof, lack_w, scale, effective, chi2, noise_w)
    variance = scale2 * noise + lack2 * in_time
    return solved, restricted, variance if quantised is None else variance + quantised


def _cholesky(covariance: Floats) -> Floats:
    """Return L with L Lᵀ = covariance, its diagonal raised just enough that rounding cannot fail.

    Points that share all their error make the matrix singular.
    """
    for raised in (1e-10, 1e-8, 1e-6):
        try:
            found = np.linalg.cholesky(covariance + np.diag(raised * np.diag(covariance)))
        except np.linalg.LinAlgError:
            continue
        return np.asarray(found, dtype=np.float64)
    raise FitError(
        "Expected uncertainties that make a covariance; the points' u, start times or durations "
        "contradict each other."
    )


def _independent(factor: Floats, other: Floats, design: Floats, y: Floats) -> tuple[Floats, Floats]:
    """Return Λ and the rotated [design, y] in which L Lᵀ is the unit matrix and `other` is Λ."""
    half = np.asarray(np.linalg.solve(factor, other))
    inner = np.linalg.solve(factor, half.T)
    values, vectors = np.linalg.eigh(0.5 * (inner + inner.T))
    both = vectors.T @ np.linalg.solve(factor, np.column_stack([design, y]))
    return np.maximum(values, 0.0), both


def _effective_dof(
    system: _Weighted, t: float, found: Floats, covariance: Floats, dof: int
) -> float:
    """Return the dof of a variance of which only the part `found` rests on the residuals.

    Welch-Satterthwaite (GUM G.4): the coefficients' variance is the sum of that of the noise, known
    with `dof`, and that of the resolution, known exactly; the shares are those of the prediction,
    averaged over the points.
    """
    weight = 1.0 / (system.base + t * system.slope)
    reach = covariance @ (system.design * weight[:, None]).T
    part = (reach * found) @ reach.T
    share = float(np.trace(np.linalg.solve(covariance, part))) / covariance.shape[0]
    return float(dof / max(share, 0.05) ** 2)


def _centred_condition(columns: Floats) -> float:
    """Return the condition number of the centred, scaled inputs; 1 for a single input."""
    if columns.shape[1] < 2:
        return 1.0
    centred = columns - columns.mean(axis=0)
    norm = np.sqrt(np.sum(centred**2, axis=0))
    if not np.all(norm > 0):
        raise FitError("Expected inputs that vary; got one that is constant over all points.")
    return float(np.linalg.cond(centred / norm))
