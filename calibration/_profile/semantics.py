"""Check what a schema cannot say: that a profile agrees with itself.

The vectors a profile states (`U_at`, `table`) are computed again from its own model, so that a
slip in any coefficient shows at loading, and another implementation can test itself on them.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import date
from typing import TYPE_CHECKING, Any

from ..errors import ProfileError, SchemaError
from .as_used import check_as_used
from .evaluate import basis, dot, within
from .structure import RESERVED

if TYPE_CHECKING:
    from ..profile import Profile

__all__ = ["check_semantics"]


def check_semantics(profile: Profile) -> None:
    """Raise `SchemaError` with one sentence unless the profile agrees with itself."""
    document = profile.document
    _unique("inputs", (i["id"] for i in document["inputs"]))
    for name in profile.input_ids:
        if name in RESERVED:
            raise SchemaError(
                f"Expected another id than {name!r} for an input; the name is taken by an argument."
            )
    for i, one in enumerate(document["inputs"]):
        if (one["unit"] == "1") != (one["quantity"] == "load"):
            raise SchemaError(
                f"Expected `inputs[{i}].unit` to be W for active_power and 1 for load; got "
                f"{one['unit']} for {one['quantity']}."
            )
    _dates(document)
    check_as_used(document)
    if profile.kind == "error_statement":
        validation = document["calibration"]["validation"]
        if not validation.get("before") and validation.get("mape_pct") is None:
            raise SchemaError(
                "Expected an error_statement to state errors in `calibration.validation.before` "
                "(or `.mape_pct`); both are missing."
            )
        return
    _model(profile)
    _covariance(profile)
    _components(document["uncertainty"]["components"], profile)
    _domain(profile)
    _monotone(profile)
    at = replace(profile, today=profile.valid_from)
    _stated(at)
    _table(at)
    _quick(at)


def _unique(where: str, names: Iterable[str]) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise SchemaError(f"Expected each id in `{where}` once; got {name!r} twice.")
        seen.add(name)


def _dates(document: Mapping[str, Any]) -> None:
    calibration, validity = document["calibration"], document["validity"]
    ordered = (
        ("calibration.begun", calibration["begun"], "calibration.ended", calibration["ended"]),
        (
            "validity.valid_from", validity["valid_from"],
            "validity.review_after", validity["review_after"],
        ),
    )  # fmt: skip
    for early, a, late, b in ordered:
        if date.fromisoformat(a) > date.fromisoformat(b):
            raise SchemaError(f"Expected `{early}` not after `{late}`; got {a} and {b}.")
    due = [c["certificate"]["due"] for c in document["traceability"]["chain"] if "certificate" in c]
    if due and date.fromisoformat(validity["review_after"]) > min(map(date.fromisoformat, due)):
        raise SchemaError(
            "Expected `validity.review_after` not after the earliest certificate's due date; got "
            f"{validity['review_after']} and {min(due)}."
        )


def _model(profile: Profile) -> None:
    model = profile.document["model"]
    _unique("model.terms", (t.id for t in profile.terms))
    used: set[str] = set()
    for i, term in enumerate(profile.terms):
        for name in term.inputs:
            if name not in profile.input_ids:
                raise SchemaError(
                    f"Expected `model.terms[{i}]` to use one of the inputs "
                    f"{', '.join(profile.input_ids)}; got {name!r}."
                )
            used.add(name)
    unused = [n for n in profile.input_ids if n not in used]
    if unused:
        raise SchemaError(f"Expected every input in a term of the model; {unused[0]!r} is in none.")
    linear = all(t.basis == "const" or (t.basis == "input" and t.power == 1) for t in profile.terms)
    if model["additive"] != linear:
        raise SchemaError(
            f"Expected `model.additive` to be {str(linear).lower()}, as the terms say; got "
            f"{str(model['additive']).lower()}."
        )


def _covariance(profile: Profile) -> None:
    """Check shape, symmetry and that no combination of coefficients has a negative variance."""
    c, n = profile.covariance, len(profile.terms)
    if len(c) != n or any(len(row) != n for row in c):
        raise SchemaError(
            f"Expected `model.covariance` to be {n} x {n}, like the terms; got "
            f"{len(c)} rows of {', '.join(str(len(r)) for r in c)}."
        )
    for i in range(n):
        if c[i][i] < 0:
            raise SchemaError(
                f"Expected `model.covariance[{i}][{i}]`, a variance, at least 0; got {c[i][i]:g}."
            )
        for j in range(i):
            scale = math.sqrt(c[i][i] * c[j][j])
            if abs(c[i][j] - c[j][i]) > 1e-9 * scale:
                raise SchemaError(
                    f"Expected `model.covariance` to be symmetric; got {c[i][j]:g} in [{i}][{j}] "
                    f"and {c[j][i]:g} in [{j}][{i}]."
                )
            if abs(c[i][j]) > scale * (1 + 1e-6):
                raise SchemaError(
                    f"Expected `model.covariance[{i}][{j}]` to be at most {scale:g}, the product "
                    f"of the standard uncertainties; got {c[i][j]:g}."
                )
    if not _positive_semidefinite(c):
        raise SchemaError(
            "Expected `model.covariance` to be positive semi-definite; it gives some combination "
            "of the coefficients a negative variance."
        )


def _positive_semidefinite(matrix: Sequence[Sequence[float]]) -> bool:
    """Eliminate in the correlation matrix with pivoting; printed digits are forgiven.

    Coefficients are published with a few digits, so a pivot may dip below zero by about as much.
    """
    s = [math.sqrt(row[i]) or 1.0 for i, row in enumerate(matrix)]
    left = [[v / (s[i] * s[j]) for j, v in enumerate(row)] for i, row in enumerate(matrix)]
    remaining = list(range(len(left)))
    while remaining:
        p = max(remaining, key=lambda i: left[i][i])
        if left[p][p] < 1e-9:
            return all(
                left[i][i] > -1e-6 and all(abs(left[i][j]) < 1e-3 for j in remaining if j != i)
                for i in remaining
            )
        remaining.remove(p)
        for i in remaining:
            for j in remaining:
                left[i][j] -= left[i][p] * left[p][j] / left[p][p]
    return True


def _components(components: Sequence[Mapping[str, Any]], profile: Profile) -> None:
    _unique("uncertainty.components", (c["id"] for c in components))
    for i, c in enumerate(components):
        path = f"uncertainty.components[{i}]"
        if (c["correlation"] == "independent") != ("correlation_time_s" in c):
            raise SchemaError(
                f"Expected `{path}.correlation_time_s` exactly where the correlation is "
                f"independent; got {c['correlation']} "
                f"{'with' if 'correlation_time_s' in c else 'without'} it."
            )
        sessions = c.get("sessions") or {"n": 3, "span_days": 7}
        few = sessions["n"] < 3 or sessions["span_days"] < 7
        if c["correlation"] == "within_session" and few and c.get("status") != "assumed":
            raise SchemaError(
                f"Expected `{path}.status` to be assumed: {sessions['n']} sessions over "
                f"{sessions['span_days']:g} days do not measure how far the offset moves "
                "(3 sessions over 7 days do)."
            )
    offset = [c for c in components if c["correlation"] == "within_session" and c["u"] > 0]
    if not offset and not profile.above_idle_only:
        raise SchemaError(
            "Expected `uncertainty.components` to hold a component within_session above 0: the "
            "offset moves between sessions, and where this was not measured it is assumed."
        )
    between = profile.document["uncertainty"]["between_unit"]
    if between["status"] == "measured" and between["n_units"] < 3:
        raise SchemaError(
            "Expected `uncertainty.between_unit.status` to be assumed below 3 units; got measured "
            f"with {between['n_units']}."
        )
    for name in profile.between_unit_by_input:
        if name not in profile.input_ids:
            raise SchemaError(
                f"Expected `uncertainty.between_unit.u_rel_by_input` to name inputs; got {name!r}."
            )


def _domain(profile: Profile) -> None:
    wanted = {*profile.input_ids, "output"}
    if set(profile.domain) != wanted:
        raise SchemaError(
            f"Expected `applicability.domain` to hold {', '.join(sorted(wanted))}; got "
            f"{', '.join(sorted(profile.domain))}."
        )
    longest = profile.max_averaging_s
    if longest is not None and longest < profile.min_averaging_s:
        raise SchemaError(
            "Expected `applicability.max_averaging_s` not below min_averaging_s; got "
            f"{longest:g} and {profile.min_averaging_s:g}."
        )
    for i, (coefficients, _) in enumerate(profile.halfspaces):
        for name in coefficients:
            if name not in profile.input_ids:
                raise SchemaError(
                    f"Expected `applicability.halfspaces[{i}].coef` to name inputs; got {name!r}."
                )
    if profile.above_idle_only or profile.idle_inputs:
        _point("applicability.idle_inputs", profile.idle_inputs, profile, inside=False)


def _monotone(profile: Profile) -> None:
    """Check that no input lowers the output anywhere in its range.

    The slope along one input is piecewise quadratic at most, so a fine grid and the knots decide;
    products make it depend on the other inputs, linearly, so their corners decide.
    """
    for name in profile.input_ids:
        low, high = profile.domain[name]
        knots = [t.knot for t in profile.terms if t.basis == "hinge" and t.inputs == (name,)]
        grid = sorted(
            {low + (high - low) * i / 64 for i in range(65)} | {k for k in knots if low < k < high}
        )
        coupled = any(t.basis == "product" and name in t.inputs for t in profile.terms)
        others = [n for n in profile.input_ids if n != name]
        corners = (
            itertools.product(*(profile.domain[n] for n in others))
            if coupled
            else [tuple(profile.domain[n][0] for n in others)]
        )
        for corner in corners:
            given = dict(zip(others, corner, strict=True))
            values = [
                dot(profile.terms, [basis(t, {**given, name: x}) for t in profile.terms])
                for x in grid
            ]
            scale = 1e-9 * max(map(abs, values))
            for x, a, b in zip(grid, values, values[1:], strict=False):
                if b < a - scale:
                    raise SchemaError(
                        f"Expected the output to rise with {name} over its domain; it falls from "
                        f"{name} = {x:g} on ({a:g} W to {b:g} W)."
                    )


def _point(
    path: str, values: Mapping[str, float], profile: Profile, *, inside: bool = True
) -> None:
    if set(values) != set(profile.input_ids):
        raise SchemaError(
            f"Expected `{path}` to give {', '.join(profile.input_ids)}; got "
            f"{', '.join(sorted(values)) or 'nothing'}."
        )
    for name, value in values.items():
        low, high = profile.domain[name]
        if inside and not within(value, low, high):
            raise SchemaError(
                f"Expected `{path}` inside the domain; got {name} = {value:g} outside "
                f"{low:g} to {high:g}."
            )


def _stated(profile: Profile) -> None:
    factor = float(profile.document["uncertainty"]["stated"]["coverage_factor"])
    for i, node in enumerate(profile.document["uncertainty"]["stated"]["U_at"]):
        path = f"uncertainty.stated.U_at[{i}]"
        _point(f"{path}.inputs", node["inputs"], profile)
        power_w, u_w = _answer(profile, node["inputs"], path)
        _agrees(f"{path}.P", node["P"], power_w)
        _agrees(f"{path}.U", node["U"], factor * u_w)


def _table(profile: Profile) -> None:
    table = profile.document.get("table")
    if table is None:
        return
    if len(table["y"]) != len(table["x"]) or len(table["U"]) != len(table["x"]):
        raise SchemaError(
            "Expected `table.x`, `table.y` and `table.U` of one length; got "
            f"{len(table['x'])}, {len(table['y'])} and {len(table['U'])}."
        )
    if any(b <= a for a, b in itertools.pairwise(table["x"])):
        raise SchemaError("Expected `table.x` in rising order; it is not.")
    factor = float(profile.document["uncertainty"]["stated"]["coverage_factor"])
    for i, x in enumerate(table["x"]):
        point = {**table.get("given", {}), table["input"]: x}
        _point(f"table, node {i}", point, profile)
        power_w, u_w = _answer(profile, point, f"table, node {i}")
        _agrees(f"table.y[{i}]", table["y"][i], power_w)
        _agrees(f"table.U[{i}]", table["U"][i], factor * u_w)


def _quick(profile: Profile) -> None:
    """Check that the quick form, with its own U, holds what the model says over its range."""
    quick = profile.document.get("quick")
    if quick is None:
        return
    factor = float(profile.document["uncertainty"]["stated"]["coverage_factor"])
    low, high = profile.domain.get(quick["input"], (0.0, 0.0))
    table = profile.document.get("table")
    nodes = table["x"] if table and table["input"] == quick["input"] else (low, high)
    for x in nodes:
        point = {**quick.get("given", {}), quick["input"]: x}
        _point("quick, with its input", point, profile)
        power_w, u_w = _answer(profile, point, "quick")
        worst = abs(quick["slope"] * x + quick["intercept_W"] - power_w) + factor * u_w
        if worst > quick["U_W"] * 1.01:
            raise SchemaError(
                f"Expected `quick.U_W` to include the deviation from the model; at "
                f"{quick['input']} = {x:g} the two differ by {worst:g} W with U, above "
                f"{quick['U_W']:g} W."
            )


def _answer(profile: Profile, point: Mapping[str, float], path: str) -> tuple[float, float]:
    try:
        answer = profile.correct(machine=None, **dict[str, Any](point))
    except ProfileError as error:
        raise SchemaError(f"Expected `{path}` inside the domain. {error}") from None
    return float(answer.power_w), float(answer.u_w)


def _agrees(path: str, stated: float, computed: float) -> None:
    """Compare within half a unit of the last printed digit (and the rounding of doubles)."""
    _, _, decimals = repr(float(stated)).partition(".")
    digits = len(decimals) if decimals.isdigit() else 15
    slack = max(0.5000001 * 10.0**-digits, 1e-9 * abs(stated))
    if isinstance(stated, int) or decimals == "0":
        slack = max(slack, 0.5)
    if not abs(stated - computed) <= slack:
        raise SchemaError(
            f"Expected `{path}` to be {computed:.6g}, as the model and its components give; got "
            f"{stated:g}."
        )
