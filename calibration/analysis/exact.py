"""Least squares in integers: a double is an integer times a power of two, so nothing is rounded.

Normal equations are ruinous in floating point and exact here. They are solved by fraction-free
elimination (Bareiss, Math. Comp. 22 (1968) 565), and each result is rounded once, at the end. The
cost grows with n·p² and with the digits of the entries: for small problems only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import numpy.typing as npt

__all__ = ["Column", "ExactFit", "column", "powers", "solve", "to_float"]

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Column:
    """Integers (n,) and an exponent: value i is integers[i]·2^exponent, exactly."""

    integers: tuple[int, ...]
    exponent: int


@dataclass(frozen=True, slots=True)
class ExactFit:
    """The rational solution of a least-squares problem.

    Coefficients b (p,), the inverse of the normal matrix AᵀWA (p, p) and the weighted sum of
    squared residuals; `residuals` (n,) are unweighted and already rounded to double.
    """

    coefficients: tuple[Fraction, ...]
    inverse: tuple[tuple[Fraction, ...], ...]
    chi_squared: Fraction
    residuals: Floats


def column(values: Floats) -> Column:
    """Return doubles of shape (n,) as integers with one common power of two, without rounding."""
    mantissa, exponent = np.frexp(values)
    integers = np.ldexp(mantissa, 53).astype(np.int64)
    present = integers != 0
    if not present.any():
        return Column((0,) * values.size, 0)
    shared = int(exponent[present].min())
    shift = np.where(present, exponent - shared, 0)
    pairs = zip(integers.tolist(), shift.tolist(), strict=True)
    return Column(tuple(m << s for m, s in pairs), shared - 53)


def powers(x: Column, degree: int) -> tuple[Column, ...]:
    """Return 1, x, x², ..., x^degree exactly: powers rounded to double have lost the digits."""
    found = [Column((1,) * len(x.integers), 0)]
    for k in range(1, degree + 1):
        last = found[-1].integers
        found.append(
            Column(tuple(a * b for a, b in zip(last, x.integers, strict=True)), k * x.exponent)
        )
    return tuple(found)


def to_float(value: Fraction) -> float:
    """Round a rational to the nearest double."""
    return value.numerator / value.denominator


def solve(design: Sequence[Column], y: Column, weight: Column | None = None) -> ExactFit | None:
    """Solve min Σ w_i (y_i - Σ_j a_ij b_j)² exactly; None when the columns are dependent.

    `design` holds p columns of n values, `y` and `weight` n values each; without weights w = 1.
    """
    p = len(design)
    columns = [c.integers for c in design]
    weighted = columns
    if weight is not None:
        weighted = [tuple(map(int.__mul__, c, weight.integers)) for c in columns]
    normal = [[0] * p for _ in range(p)]
    for i in range(p):
        for j in range(i, p):
            normal[i][j] = normal[j][i] = _dot(weighted[i], columns[j])
    right = [_dot(c, y.integers) for c in weighted]
    solved = _bareiss(
        [[*normal[i], right[i], *(int(i == j) for j in range(p))] for i in range(p)], p
    )
    if solved is None:
        return None
    rows, determinant = solved
    numerator = [row[0] for row in rows]
    w_exponent = 0 if weight is None else weight.exponent
    coefficients = tuple(
        _scaled(numerator[j], determinant, y.exponent - design[j].exponent) for j in range(p)
    )
    inverse = tuple(
        tuple(
            _scaled(
                rows[i][1 + j],
                determinant,
                -(design[i].exponent + design[j].exponent + w_exponent),
            )
            for j in range(p)
        )
        for i in range(p)
    )
    left = [
        y_i * determinant - sum(a * b for a, b in zip(row, numerator, strict=True))
        for y_i, row in zip(y.integers, zip(*columns, strict=True), strict=True)
    ]
    y_weighted = y.integers
    if weight is not None:
        y_weighted = tuple(map(int.__mul__, y.integers, weight.integers))
    squares = _dot(y_weighted, y.integers) * determinant - sum(
        c * b for c, b in zip(right, numerator, strict=True)
    )
    return ExactFit(
        coefficients=coefficients,
        inverse=inverse,
        chi_squared=_scaled(squares, determinant, 2 * y.exponent + w_exponent),
        residuals=np.array([to_float(_scaled(r, determinant, y.exponent)) for r in left]),
    )


def _dot(a: Sequence[int], b: Sequence[int]) -> int:
    return sum(map(int.__mul__, a, b))


def _scaled(numerator: int, denominator: int, exponent: int) -> Fraction:
    if exponent >= 0:
        return Fraction(numerator << exponent, denominator)
    return Fraction(numerator, denominator << -exponent)


def _bareiss(rows: list[list[int]], p: int) -> tuple[list[list[int]], int] | None:
    """Eliminate [N | B] to [d·I | d·N⁻¹B] in integers; return the right part and d = det N."""
    previous = 1
    for k in range(p):
        pivot_row = next((i for i in range(k, p) if rows[i][k] != 0), None)
        if pivot_row is None:
            return None
        if pivot_row != k:  # a swap and a change of sign keep the determinant
            rows[k], rows[pivot_row] = rows[pivot_row], [-v for v in rows[k]]
        pivot = rows[k][k]
        for i in range(p):
            if i == k:
                continue
            factor = rows[i][k]
            rows[i] = [
                (pivot * a - factor * b) // previous for a, b in zip(rows[i], rows[k], strict=True)
            ]
        previous = pivot
    return [row[p:] for row in rows], previous
