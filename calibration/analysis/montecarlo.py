"""Propagation of distributions by an adaptive Monte Carlo method (JCGM 101:2008).

The linear law of propagation needs a nearly linear model and a nearly normal result. This checks
it: draw the inputs from their distributions, evaluate the model, and compare the ends of the two
95 % intervals within the numerical tolerance of u (JCGM 101:2008, sections 7.9 and 8).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..errors import InputError
from .results import FitResult

__all__ = ["MonteCarlo", "check_energy", "monte_carlo", "numerical_tolerance", "shortest_interval"]

Floats = npt.NDArray[np.float64]
Draw = Callable[[np.random.Generator, int], Floats]


@dataclass(frozen=True, slots=True)
class MonteCarlo:
    """Estimate, u and the shortest interval from `trials` draws of one seed, in the model's unit.

    `tolerance` is the numerical tolerance δ of u; `stable` says whether the four numbers had
    settled to δ before the trials ran out. `d_low`, `d_high` are the distances of the ends of the
    law of propagation's interval, `agrees` whether both are at most δ (None without one).
    """

    value: float
    u: float
    low: float
    high: float
    trials: int
    seed: int
    tolerance: float
    stable: bool
    d_low: float | None = None
    d_high: float | None = None
    agrees: bool | None = None


def numerical_tolerance(u: float, digits: int = 2) -> float:
    """Return δ = 10^l / 2 for u = c·10^l with c of `digits` digits (JCGM 101:2008, 7.9.2)."""
    if not u > 0:
        return 0.0
    power = math.floor(math.log10(u)) - digits + 1
    if round(u / 10.0**power) >= 10**digits:
        power += 1
    return 0.5 * 10.0**power


def shortest_interval(values: Floats, probability: float = 0.95) -> tuple[float, float]:
    """Return the shortest interval that holds the share of the values (JCGM 101:2008, 7.7)."""
    ordered = np.sort(values)
    held = min(math.floor(probability * ordered.size + 0.5), ordered.size - 1)
    width = ordered[held:] - ordered[: ordered.size - held]
    first = int(np.argmin(width))
    return float(ordered[first]), float(ordered[first + held])


def monte_carlo(
    draw: Draw,
    *,
    seed: int,
    law: tuple[float, float, float] | None = None,
    probability: float = 0.95,
    digits: int = 2,
    block: int = 10_000,
    most: int = 10_000_000,
) -> MonteCarlo:
    """Draw blocks until value, u and both ends are stable (JCGM 101:2008, 7.9.4).

    `draw(generator, n)` returns n results of the model, shape (n,), from numpy's default generator
    seeded with `seed`. Each block gives its own four numbers; the method stops when twice the
    standard error of each, over the blocks, is below the numerical tolerance of u to `digits`
    digits (for the comparison a fifth of it, 8.2). `law` is value, u and U of the law of
    propagation.

    Raises:
        InputError: fewer than 2 blocks are allowed, or a draw is not finite.

    """
    if most < 2 * block:
        raise InputError(f"Expected at least {2 * block} trials; got {most}.")
    generator = np.random.default_rng(seed)
    parts: list[Floats] = []
    numbers: list[tuple[float, float, float, float]] = []
    stable, tolerance, u = False, 0.0, 0.0
    finer = 5.0 if law is not None else 1.0
    while not stable and (len(parts) + 1) * block <= most:
        part = np.asarray(draw(generator, block), dtype=np.float64)
        if part.shape != (block,) or not np.all(np.isfinite(part)):
            raise InputError("Expected finite results, one for each draw; got something else.")
        parts.append(part)
        numbers.append(
            (float(part.mean()), float(part.std(ddof=1)), *shortest_interval(part, probability))
        )
        h = len(parts)
        if h < 2:
            continue
        each = np.array(numbers)
        u = math.sqrt(float(np.mean(each[:, 1] ** 2)))
        tolerance = numerical_tolerance(u, digits)
        error = each.std(axis=0, ddof=1) / math.sqrt(h)
        stable = bool(np.all(2 * error <= tolerance / finer))
    values = np.concatenate(parts)
    low, high = shortest_interval(values, probability)
    d_low = d_high = None
    agrees = None
    if law is not None:
        value, _, expanded = law
        tolerance = numerical_tolerance(law[1], digits)
        d_low, d_high = abs(value - expanded - low), abs(value + expanded - high)
        agrees = d_low <= tolerance and d_high <= tolerance
    return MonteCarlo(
        float(values.mean()), float(values.std(ddof=1)), low, high, values.size, seed, tolerance,
        stable, d_low, d_high, agrees,
    )  # fmt: skip


def check_energy(
    result: FitResult,
    inputs_j: dict[str, float],
    duration_s: float,
    *,
    seed: int,
    most: int = 10_000_000,
) -> MonteCarlo:
    """Check the budget of a run's energy (J) by drawing its sources from their distributions.

    Coefficients: multivariate t with the fit's dof. Components of type A with dof: t scaled by u;
    rectangular ones of half-width u √3; others normal. A relative component multiplies the energy,
    which the law of propagation treats to first order.

    Raises:
        InputError: the fit has no additive model, or an input is missing.

    """
    from .budget import energy_budget

    law = energy_budget(result, inputs_j, duration_s)
    model = result.model
    if model is None:
        raise InputError("Expected a fit with a model; this one has none.")
    gradient = np.array([duration_s if t.input is None else inputs_j[t.input] for t in model.terms])
    mean = float(gradient @ np.array([t.value for t in model.terms]))
    spread = math.sqrt(max(float(gradient @ np.array(model.covariance) @ gradient), 0.0))

    def draw(generator: np.random.Generator, n: int) -> Floats:
        energy = mean + spread * _student(generator, model.dof, n)
        added = np.zeros(n)
        for part in result.uncertainty:
            u = part.u
            if part.correlation == "independent" and part.correlation_time_s:
                u /= math.sqrt(max(1.0, duration_s / part.correlation_time_s))
            if part.distribution == "rectangular":
                error = u * math.sqrt(3) * generator.uniform(-1, 1, n)
            else:
                error = u * _student(generator, part.dof, n)
            added += error * (energy if part.kind == "relative" else duration_s)
        return np.asarray(energy + added)

    return monte_carlo(draw, seed=seed, law=(law.value, law.u, law.expanded), most=most)


def _student(generator: np.random.Generator, dof: float | None, n: int) -> Floats:
    if dof is None or dof > 1e5:
        return generator.standard_normal(n)
    return generator.standard_t(max(dof, 1.0), n)
