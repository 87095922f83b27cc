"""Evaluate a profile's function and its uncertainty, in plain arithmetic.

Everything here takes a number or an array: only operators are used, so a numpy array goes in and
comes out although this module knows nothing of numpy.

For a mean power over a window of length T, with g the values of the basis functions, C the
coefficients' covariance and tau a component's correlation time,

    u^2(P) = g C g' + sum u^2(full) + u^2(within_session) + u^2(within_workload)
             + u^2(independent) / max(1, T / tau)

which is the law of propagation of uncertainty (JCGM 100:2008, 5.1 and 5.2) with the correlations
in time stated by class. An energy is the same sum for a basis that holds T and the inputs'
energies; its terms add linearly wherever the error is the same one (JCGM 100:2008, 5.2.2).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from .student import coverage_factor_of_inverse

__all__ = [
    "Component",
    "Contribution",
    "Correlation",
    "Quantity",
    "Term",
    "basis",
    "combined",
    "dot",
    "everywhere",
    "expand",
    "quadratic_form",
    "within",
]

Quantity: TypeAlias = Any
"""A number, or an array of them (anything with the arithmetic operators)."""

Correlation: TypeAlias = Literal["full", "within_session", "within_workload", "independent"]


@dataclass(frozen=True, slots=True)
class Term:
    """One term: value x basis; the basis is 1, x**power, max(0, x - knot) or x1 x2."""

    id: str
    basis: str
    value: float
    inputs: tuple[str, ...] = ()
    power: int = 1
    knot: float = 0.0


@dataclass(frozen=True, slots=True)
class Component:
    """One standard uncertainty of the output: W, or a fraction of it when `relative`."""

    id: str
    relative: bool
    u: float
    correlation: Correlation
    dof: float | None = None
    correlation_time_s: float | None = None
    assumed: bool = False


@dataclass(frozen=True, slots=True)
class Contribution:
    """What one source adds to the standard uncertainty, in the unit of the result (W or J)."""

    id: str
    correlation: Correlation
    u: Quantity
    dof: float | None = None


def basis(term: Term, inputs: Mapping[str, Quantity]) -> Quantity:
    """Return the term's basis function at an operating point (inputs in W; a load in 1)."""
    if term.basis == "const":
        return 1.0
    x = inputs[term.inputs[0]]
    if term.basis == "hinge":
        d = x - term.knot
        return (d + abs(d)) / 2
    if term.basis == "product":
        return x * inputs[term.inputs[1]]
    return x if term.power == 1 else x**term.power


def dot(terms: Sequence[Term], gradient: Sequence[Quantity]) -> Quantity:
    """Return the sum of the terms' values times the gradient."""
    total: Quantity = 0.0
    for term, g in zip(terms, gradient, strict=True):
        total = total + term.value * g
    return total


def quadratic_form(gradient: Sequence[Quantity], covariance: Sequence[Sequence[float]]) -> Quantity:
    """Return g C g', never below zero: rounded covariances may dip below it by a digit."""
    total: Quantity = 0.0
    for i, row in enumerate(covariance):
        total = total + gradient[i] * gradient[i] * row[i]
        for j in range(i):
            total = total + 2 * gradient[i] * gradient[j] * row[j]
    return (total + abs(total)) / 2


def combined(contributions: Iterable[Contribution]) -> tuple[Quantity, Quantity]:
    """Return the combined standard uncertainty and 1/dof (Welch-Satterthwaite, JCGM 100, G.4.1)."""
    square: Quantity = 0.0
    fourth: Quantity = 0.0
    for c in contributions:
        u2 = c.u * c.u
        square = square + u2
        if c.dof is not None:
            fourth = fourth + u2 * u2 / c.dof
    nothing = square == 0  # dividing zero by zero is the one thing that plain arithmetic cannot
    return square**0.5, fourth / (square * square + nothing)


def expand(contributions: Sequence[Contribution], probability: float) -> tuple[Quantity, Quantity]:
    """Return the combined standard uncertainty and the k that covers `probability`."""
    u, inverse_dof = combined(contributions)
    largest = max((1 / c.dof for c in contributions if c.dof is not None), default=0.0)
    return u, coverage_factor_of_inverse(inverse_dof, largest, probability)


def within(value: Quantity, low: float, high: float) -> Quantity:
    """Return whether low <= value <= high, forgiving the last digits of a double."""
    slack = 1e-9 * max(abs(low), abs(high))
    return (value >= low - slack) & (value <= high + slack)


def everywhere(condition: Quantity) -> bool:
    """Return whether a condition holds at every element."""
    return bool(condition.all() if hasattr(condition, "all") else condition)
