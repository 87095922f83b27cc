"""Generalised least squares for points that share their errors in time and in the meter's step."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from ..errors import FitError
from .correlated import Dependence
from .linear import LeastSquares, least_squares
from .weighting import Solved, Weighted, chi_squared_scale, with_lack_of_fit

__all__ = ["with_dependence"]

Floats = npt.NDArray[np.float64]
# Correlation times that are tried where none is known, in units of the spacing of the points, and
# what each counts before the points have spoken: a time without a scale (Jeffreys), log-uniform
# from a meter's window, about a fiftieth of a step, to two spacings, each taken by its nearest.
_TRIED = (0.0, 0.5, 1.0, 2.0)
_PRIOR = (0.62, 0.15, 0.15, 0.08)
_LEAST_DOF = 8


def with_dependence(
    design: Floats, y: Floats, u_y: Floats, shared: Dependence, u2_inputs: Floats | None = None
) -> Solved:
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
    # It says so if the points do not determine the coefficients.
    first = least_squares(design, y, method="fast")
    norm = np.sqrt(np.sum(design**2, axis=0))
    scaled = design / norm
    common2 = np.minimum(u_y**2, shared.quantisation_w**2)
    own2 = np.maximum(u_y**2 - common2, floor**2)
    quantised = None
    if np.any(common2 > 1e-6 * own2):
        common = np.sqrt(common2)
        quantised = shared.in_level(design, first, own2) * common[:, None] * common[None, :]
    known = shared.correlation_time_s
    if known is not None:
        tried: tuple[float, ...] = (known,)
    elif first.dof < _LEAST_DOF:
        tried = (0.0,)
    else:
        spacing_s = float(np.median(np.diff(np.sort(shared.start_s))))
        tried = tuple(k * spacing_s for k in _TRIED)
    found = [_one_time(scaled, y, own2, u2_inputs, quantised, shared, t, first) for t in tried]
    times = np.array([shared.averaging_time(t) for t in tried])
    best = found[0][0]
    coefficients, covariance, weight = best.coefficients, best.covariance, np.ones(1)
    if len(found) > 1:
        plain = with_lack_of_fit(scaled, y, np.sqrt(own2 + common2))
        likelihood = np.array([f[1] for f in found])
        weight = np.exp(likelihood - likelihood.max()) * np.array(_PRIOR)
        weight /= weight.sum()
        best = found[int(np.argmax(weight))][0]
        coefficients = plain.coefficients
        weighted = scaled / (own2 + common2 + plain.lack_w**2)[:, None]
        solver = np.linalg.solve(weighted.T @ scaled, weighted.T)
        variance = np.einsum("k,kij->ij", weight, np.array([f[2] for f in found]))
        covariance = solver @ variance @ solver.T
    return Solved(
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
) -> tuple[Solved, float, Floats]:
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
        system = Weighted(both[:, :p], both[:, p], np.ones(n), np.zeros(n))
        coefficients, covariance, _ = system.solve(0.0)
        noise_w = math.sqrt(float(np.mean(own2)))
        solved = Solved(coefficients, covariance, dof, 0.0, 1.0, float(dof), 0.0, noise_w)
        return solved, 0.0, stated
    plain = Weighted(both[:, :p], both[:, p], np.ones(n), np.zeros(n))
    coefficients, covariance, chi2 = plain.solve(0.0)
    log_v = 2 * float(np.sum(np.log(np.diag(factor))))
    lack2, scale2, effective = 0.0, 1.0, float(dof)
    if chi2 <= dof and quantised is None:
        scale2 = chi_squared_scale(chi2, dof)
        covariance = covariance * scale2
        log_v += n * math.log(scale2)
    elif chi2 <= dof and quantised is not None:
        # V = φ (N + Q/φ): the same family with the noise as its base and t = 1/φ.
        noise_factor = _cholesky(noise)
        base, rotated = _independent(noise_factor, quantised, design, y)
        system = Weighted(rotated[:, :p], rotated[:, p], base, np.ones(n))
        if chi_squared_scale(chi2, dof) < 1.0:
            scale2 = min(max(system.match(dof, 1.0), 1e-9), 1.0)
        coefficients, covariance, _ = system.solve(scale2)
        effective = _effective_dof(
            system, scale2, scale2 * system.slope, covariance, dof, shared.quantisation_dof(y)
        )
        log_v = 2 * float(np.sum(np.log(np.diag(noise_factor))))
        log_v += float(np.sum(np.log(base + scale2)))
    else:
        values, rotated = _independent(factor, in_time, design, y)
        system = Weighted(rotated[:, :p], rotated[:, p], np.ones(n), values)
        lack2 = system.match(dof, float(first.residuals @ first.residuals) / dof)
        coefficients, covariance, _ = system.solve(lack2)
        log_v += float(np.sum(np.log1p(lack2 * values)))
    sign, log_det = np.linalg.slogdet(covariance)
    restricted = -0.5 * log_v + 0.5 * (float(log_det) if sign > 0 else -math.inf)
    noise_w = math.sqrt(scale2 * float(np.mean(own2)))
    lack_w, scale = math.sqrt(lack2), math.sqrt(scale2)
    solved = Solved(coefficients, covariance, dof, lack_w, scale, effective, chi2, noise_w)
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
    system: Weighted, t: float, found: Floats, covariance: Floats, dof: int, quantised_dof: float
) -> float:
    """Return the dof of a variance of which only the part `found` rests on the residuals.

    Welch-Satterthwaite (GUM G.4): the coefficients' variance is the sum of that of the noise, known
    with `dof`, and that of the resolution, known with `quantised_dof`; the shares are those of the
    prediction, averaged over the points.
    """
    weight = 1.0 / (system.base + t * system.slope)
    reach = covariance @ (system.design * weight[:, None]).T
    part = (reach * found) @ reach.T
    share = float(np.trace(np.linalg.solve(covariance, part))) / covariance.shape[0]
    share = min(max(share, 0.05), 1.0)
    return float(1 / (share**2 / dof + (1 - share) ** 2 / quantised_dof))
