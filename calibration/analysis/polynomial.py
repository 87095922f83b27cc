"""Polynomials: fitted without rounding a power, evaluated in a basis that keeps the digits.

ISO/TS 28038:2018 prescribes an orthogonal basis: on the range of x, mapped to t in [-1, 1], the
Chebyshev polynomials. The coefficients of the plain powers of x follow from it exactly.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import numpy.typing as npt
from numpy.polynomial import chebyshev

from ..errors import FitError, InputError
from .exact import ExactFit, column, powers, solve, to_float
from .linear import EXACT_COST, LeastSquares, exact_result, finite, least_squares, weights

__all__ = ["Polynomial", "polynomial"]

Floats = npt.NDArray[np.float64]
Rationals = list[list[Fraction]]


@dataclass(frozen=True, slots=True, eq=False)
class Polynomial:
    """y = Σ c_k x^k, its covariance, and the same in Chebyshev polynomials on `domain`.

    `coefficients` (p,) and `covariance` (p, p) are those of the plain powers, lowest first;
    `chebyshev` and `chebyshev_covariance` those of T_k(t), t = (2x - low - high)/(high - low), from
    which predictions are made. `condition` is that of the Chebyshev basis at the points.
    """

    coefficients: Floats
    covariance: Floats
    chebyshev: Floats
    chebyshev_covariance: Floats
    domain: tuple[float, float]
    residuals: Floats
    chi_squared: float
    dof: int
    condition: float
    digits: float

    @property
    def standard_errors(self) -> Floats:
        """Return the standard uncertainty of each coefficient of the plain powers."""
        return np.asarray(np.sqrt(np.diag(self.covariance)))

    def predict(self, x: npt.ArrayLike) -> tuple[Floats, Floats]:
        """Return y and u(y) from the coefficients at x, in the unit of y, in the shape of x.

        Raises:
            InputError: an x lies outside `domain`: a polynomial says nothing there.

        """
        x = finite("x", x)
        low, high = self.domain
        if np.any((x < low) | (x > high)):
            raise InputError(
                f"x: expected values from {low:g} to {high:g}, where the polynomial was fitted; "
                f"got {float(x.min()):g} to {float(x.max()):g}."
            )
        t = _unit(x, self.domain)
        basis = chebyshev.chebvander(t, self.chebyshev.size - 1)
        variance = np.einsum("...i,ij,...j->...", basis, self.chebyshev_covariance, basis)
        y = np.asarray(chebyshev.chebval(t, self.chebyshev), dtype=np.float64)
        return y, np.sqrt(np.maximum(variance, 0.0))

    def is_monotone(self) -> bool:
        """Return whether y only rises, or only falls, over the whole `domain`.

        The derivative must have one sign on every stretch between its real roots in (-1, 1).
        """
        derivative = chebyshev.chebder(self.chebyshev)
        roots = chebyshev.chebroots(chebyshev.chebtrim(derivative))
        inside = np.sort(roots[(np.abs(roots.imag) < 1e-9) & (np.abs(roots.real) < 1)].real)
        ends = np.concatenate([[-1.0], inside, [1.0]])
        slope = chebyshev.chebval(0.5 * (ends[:-1] + ends[1:]), derivative)[np.diff(ends) > 1e-9]
        return bool(np.all(slope > 0) or np.all(slope < 0))


def polynomial(
    x: npt.ArrayLike, y: npt.ArrayLike, degree: int, u_y: npt.ArrayLike | None = None
) -> Polynomial:
    """Fit y = Σ c_k x^k, k = 0 ... degree, by least squares.

    `x`, `y` have shape (n,); `u_y` (n,) or a scalar in the unit of y, absolute, never rescaled.
    Without them the covariance is scaled by RSS/(n - degree - 1). Small problems (n·p·(p + 1) up to
    12,000 with p = degree + 1) are solved in integers with exact powers of x, each coefficient
    rounded once; larger ones by QR in the Chebyshev basis. Choose the degree on held-out groups,
    and look at `is_monotone` before inverting. Source: ISO/TS 28038:2018.

    Raises:
        InputError: shapes that do not fit, values that are not finite, a negative degree.
        FitError: fewer points, or fewer different x, than coefficients.

    """
    x = finite("x", x)
    if x.ndim != 1:
        raise InputError(f"x: expected shape (n,); got {x.shape}.")
    y = finite("y", y, x.shape)
    if degree < 0:
        raise InputError(f"degree: expected zero or more; got {degree}.")
    n, p = x.size, degree + 1
    different = np.unique(x).size
    if different < p:
        raise FitError(
            f"Expected at least {p} different x for degree {degree}; got {different}. Take a lower "
            "degree, or measure at more levels."
        )
    u = None if u_y is None else weights(u_y, n)
    low, high = float(x.min()), float(x.max())
    domain = (low, high) if high > low else (low - 1.0, low + 1.0)
    basis = chebyshev.chebvander(_unit(x, domain), degree)
    if n * p * (p + 1) <= EXACT_COST:
        weight = None if u is None else column(1.0 / u**2)
        found = solve(powers(column(x), degree), column(y), weight)
        if found is None:
            raise FitError(f"Expected {p} different x for degree {degree}; they are not.")
        condition = float(np.linalg.cond(basis if u is None else basis / u[:, None]))
        return _from_powers(found, condition, domain, absolute=u is not None)
    return _from_chebyshev(least_squares(basis, y, u, method="fast"), domain)


def _unit(x: Floats, domain: tuple[float, float]) -> Floats:
    low, high = domain
    return np.asarray(np.clip((x - low) / (0.5 * (high - low)) - 1.0, -1.0, 1.0))


def _from_powers(
    found: ExactFit, condition: float, domain: tuple[float, float], *, absolute: bool
) -> Polynomial:
    fit = exact_result(found, condition, absolute=absolute)
    to_chebyshev = _powers_in_chebyshev(len(found.coefficients), domain)
    values = [sum(map(_times, row, found.coefficients), Fraction(0)) for row in to_chebyshev]
    spread = _congruent(to_chebyshev, [list(row) for row in found.inverse])
    scale = 1.0 if absolute else fit.chi_squared / fit.dof if fit.dof else math.nan
    return Polynomial(
        coefficients=fit.coefficients,
        covariance=fit.covariance,
        chebyshev=np.array([to_float(v) for v in values]),
        chebyshev_covariance=spread * scale,
        domain=domain,
        residuals=fit.residuals,
        chi_squared=fit.chi_squared,
        dof=fit.dof,
        condition=condition,
        digits=fit.digits,
    )


def _from_chebyshev(fit: LeastSquares, domain: tuple[float, float]) -> Polynomial:
    to_powers = _chebyshev_in_powers(fit.coefficients.size, domain)
    given = [Fraction(float(v)) for v in fit.coefficients]
    exact = [sum(map(_times, row, given), Fraction(0)) for row in to_powers]
    size = [sum((abs(a * b) for a, b in zip(row, given, strict=True)), Fraction(0))
            for row in to_powers]  # fmt: skip
    lost = max(
        (math.log10(s / abs(v)) if v else 15.0 for s, v in zip(size, exact, strict=True)),
        default=0.0,
    )
    finite_covariance = bool(np.all(np.isfinite(fit.covariance)))
    spread = np.full_like(fit.covariance, np.nan)
    if finite_covariance:
        spread = _congruent(to_powers, [[Fraction(float(v)) for v in r] for r in fit.covariance])
    return Polynomial(
        coefficients=np.array([to_float(v) for v in exact]),
        covariance=spread,
        chebyshev=fit.coefficients,
        chebyshev_covariance=fit.covariance,
        domain=domain,
        residuals=fit.residuals,
        chi_squared=fit.chi_squared,
        dof=fit.dof,
        condition=fit.condition,
        digits=max(0.0, fit.digits - lost),
    )


def _times(a: Fraction, b: Fraction) -> Fraction:
    return a * b


def _congruent(m: Rationals, c: Rationals) -> Floats:
    """Return M C Mᵀ, rounded once."""
    half = [[sum(map(_times, row, col), Fraction(0)) for col in zip(*c, strict=True)] for row in m]
    return np.array(
        [[to_float(sum(map(_times, row, other), Fraction(0))) for other in m] for row in half]
    )


def _chebyshev_in_powers(p: int, domain: tuple[float, float]) -> Rationals:
    """Return M with c_powers = M c_chebyshev, exactly: column k holds the powers of T_k(t(x))."""
    low, high = Fraction(domain[0]), Fraction(domain[1])
    scale, shift = 2 / (high - low), -(high + low) / (high - low)
    zero = [Fraction(0)] * p
    found = [[Fraction(1), *zero[1:]]]
    if p > 1:
        found.append([shift, scale, *zero[2:]])
    for _ in range(2, p):  # T_k = 2 t T_(k-1) - T_(k-2)
        last, before = found[-1], found[-2]
        raised = [Fraction(0), *last[:-1]]
        found.append(
            [2 * (shift * a + scale * b) - c for a, b, c in zip(last, raised, before, strict=True)]
        )
    return [list(row) for row in zip(*found, strict=True)]


def _powers_in_chebyshev(p: int, domain: tuple[float, float]) -> Rationals:
    """Return M with c_chebyshev = M c_powers, exactly: column k holds x^k = (m + h t)^k in T."""
    low, high = Fraction(domain[0]), Fraction(domain[1])
    middle, half = (low + high) / 2, (high - low) / 2
    found = [[Fraction(1), *[Fraction(0)] * (p - 1)]]
    for _ in range(1, p):
        last = found[-1]
        times_t = [Fraction(0)] * p  # t T_0 = T_1, t T_k = (T_(k-1) + T_(k+1))/2
        for k, value in enumerate(last[:-1]):
            times_t[k + 1] += value if k == 0 else value / 2
        for k, value in enumerate(last[1:], start=1):
            times_t[k - 1] += value / 2
        found.append([middle * a + half * b for a, b in zip(last, times_t, strict=True)])
    return [list(row) for row in zip(*found, strict=True)]
