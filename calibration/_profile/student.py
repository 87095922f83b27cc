"""Compute coverage factors: the quantiles of Student's t, in the standard library alone.

A consumer of a profile has no scipy, and the profile's interval needs k for a number of degrees
of freedom that is rarely whole (Welch and Satterthwaite, JCGM 100:2008, G.4).
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

__all__ = ["coverage_factor", "coverage_factor_of_inverse"]

_SERIES_FROM = 400.0
"""Degrees of freedom above which the asymptotic series is exact to 1e-13 (tested)."""


@lru_cache(maxsize=4096)
def coverage_factor(dof: float, probability: float = 0.95) -> float:
    """Return k such that |t| <= k with `probability` at `dof` degrees of freedom (may be inf)."""
    if not (dof > 0 and 0 < probability < 1):
        raise ValueError(f"needs dof > 0 and 0 < probability < 1; got {dof}, {probability}")
    z = _normal(probability)
    if dof > _SERIES_FROM:
        return _series(z, dof)
    # The two-sided tail is convex and falling for t > 0, and t is never below z: Newton's steps
    # from z approach the root from the left and cannot overshoot.
    t, tail = z, 1 - probability
    log_norm = math.lgamma((dof + 1) / 2) - math.lgamma(dof / 2) - 0.5 * math.log(dof * math.pi)
    for _ in range(200):
        density = math.exp(log_norm - (dof + 1) / 2 * math.log1p(t * t / dof))
        step = (_tail(t, dof) - tail) / (2 * density)
        t += step
        if abs(step) <= 1e-13 * t:
            break
    return t


def coverage_factor_of_inverse(inverse_dof: Any, largest: float, probability: float) -> Any:
    """Return k for 1/dof: exact for a number, to 1e-9 elementwise for an array within [0, largest].

    The quantile is a smooth function of 1/dof, so a Chebyshev series over the interval that is
    possible (the effective dof is never below the smallest dof that enters it) serves arrays with
    plain arithmetic: this package has no numpy in its base install.
    """
    if isinstance(inverse_dof, (float, int)):
        return coverage_factor(math.inf if inverse_dof <= 0 else 1 / inverse_dof, probability)
    if largest <= 0:
        return inverse_dof * 0 + _normal(probability)
    series = _chebyshev(largest, probability)
    x = inverse_dof * (2 / largest) - 1
    older = newer = x * 0
    for c in series[:0:-1]:  # Clenshaw's recurrence
        older, newer = newer, 2 * x * newer - older + c
    return x * newer - older + series[0] / 2


@lru_cache(maxsize=64)
def _chebyshev(largest: float, probability: float) -> tuple[float, ...]:
    n = 40
    angles = [math.pi * (i + 0.5) / n for i in range(n)]
    values = [coverage_factor(2 / (largest * (1 + math.cos(a))), probability) for a in angles]
    return tuple(
        2 / n * math.fsum(v * math.cos(j * a) for v, a in zip(values, angles, strict=True))
        for j in range(n)
    )


@lru_cache(maxsize=64)
def _normal(probability: float) -> float:
    """Return the two-sided quantile of the normal distribution, by Newton's method from 0."""
    z, tail = 0.0, 1 - probability
    for _ in range(100):
        density = math.exp(-z * z / 2) / math.sqrt(2 * math.pi)
        step = (math.erfc(z / math.sqrt(2)) - tail) / (2 * density)
        z += step
        if abs(step) <= 1e-15 * z:
            break
    return z


def _series(z: float, dof: float) -> float:
    """Expand t about the normal quantile (Abramowitz and Stegun 1964, 26.7.5)."""
    z2, v = z * z, 1 / dof
    g1 = (z2 + 1) / 4
    g2 = ((5 * z2 + 16) * z2 + 3) / 96
    g3 = (((3 * z2 + 19) * z2 + 17) * z2 - 15) / 384
    g4 = ((((79 * z2 + 776) * z2 + 1482) * z2 - 1920) * z2 - 945) / 92160
    return z * (1 + v * (g1 + v * (g2 + v * (g3 + v * g4))))


def _tail(t: float, dof: float) -> float:
    """Return P(|T| > t) = I_x(dof/2, 1/2) with x = dof/(dof + t^2)."""
    x, y = dof / (dof + t * t), t * t / (dof + t * t)
    a, b = dof / 2, 0.5
    front = math.exp(
        math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log(y)
    )
    if x < (a + 1) / (a + b + 2):
        return front * _fraction(a, b, x) / a
    return 1 - front * _fraction(b, a, y) / b


def _fraction(a: float, b: float, x: float) -> float:
    """Evaluate the continued fraction of the incomplete beta (DLMF 8.17.22) by Lentz's method."""
    tiny = 1e-300
    c, d = 1.0, 1 - (a + b) * x / (a + 1)
    d = 1 / (d if abs(d) > tiny else tiny)
    h = d
    for m in range(1, 500):
        for even in (True, False):
            if even:
                k = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
            else:
                k = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
            d = 1 + k * d
            d = 1 / (d if abs(d) > tiny else tiny)
            c = 1 + k / c
            c = c if abs(c) > tiny else tiny
            h *= c * d
        if abs(c * d - 1) < 1e-15:
            break
    return h
