"""Apply a profile's statement to one point: its budget of uncertainty, its domain, its windows."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

from ..errors import InputError, OutOfRange
from ..machine import Match
from .evaluate import Contribution, Quantity, everywhere, quadratic_form, within

if TYPE_CHECKING:
    from ..profile import Profile

__all__ = ["brief", "budget", "measured", "where", "window"]

_EXPIRED_FACTOR: Final = 2.0
"""How much the offset's standard uncertainty grows after `review_after`: a convention of ours.
An overdue profile is warned of and widened, never hidden; what drifts is the offset."""


def budget(
    profile: Profile,
    gradient: Sequence[Quantity],
    value: Quantity,
    duration_s: Quantity,
    averaging_s: Quantity | None,
    found: Match,
    above_idle: bool,
) -> tuple[Contribution, ...]:
    """List what adds to the uncertainty of `value`: W with duration 1, J over a duration."""
    items = [
        Contribution(
            "coefficients", "full", quadratic_form(gradient, profile.covariance) ** 0.5, profile.dof
        )
    ]
    expired = profile.day > profile.review_after
    size = abs(value)
    for c in profile.components:
        fixed = not c.relative and c.correlation in ("full", "within_session")
        if above_idle and fixed:
            continue  # a constant error of the offset is in both terms of the difference
        u = c.u * (size if c.relative else duration_s)
        if expired and c.correlation == "within_session":
            u = u * _EXPIRED_FACTOR
        if c.correlation == "independent" and averaging_s is not None:
            n = averaging_s / (c.correlation_time_s or math.inf)
            u = u / ((n + 1 + abs(n - 1)) / 2) ** 0.5  # max(1, n), for arrays too
        items.append(Contribution(c.id, c.correlation, u, c.dof))
    if found.between_unit:
        items += between_units(profile, gradient, value)
    items += [Contribution(f"mismatch:{key}", "full", u * size) for key, u in found.u_rel]
    return tuple(items)


def between_units(
    profile: Profile, gradient: Sequence[Quantity], value: Quantity
) -> list[Contribution]:
    """Spread between specimens: some inputs' own part by their own share, the rest in common."""
    items, rest = [], value
    for name, u_rel in profile.between_unit_by_input.items():
        part: Quantity = 0.0
        for t, g in zip(profile.terms, gradient, strict=True):
            if t.inputs == (name,):
                part = part + t.value * g
        rest = rest - part
        items.append(Contribution(f"between_unit:{name}", "full", u_rel * abs(part)))
    return [Contribution("between_unit", "full", profile.between_unit * abs(rest)), *items]


def measured(
    profile: Profile,
    power: Mapping[str, Quantity],
    energy: Quantity,
    duration_s: Quantity,
    duration_u_s: float,
    inputs_u_j: Mapping[str, float],
    above_idle: bool,
) -> tuple[Contribution, ...]:
    """Propagate the uncertainty of what was measured: the duration and the inputs' energies."""
    items = []
    if duration_u_s:
        # At fixed energies of the inputs: dE/dT = P - sum of dP/dx x, which for an additive
        # model is its constant. A tool's start-up lengthens every run alike, hence `full`.
        slope = energy / duration_s
        for name in profile.input_ids:
            if profile.units[name] == "W":
                slope = slope - derivative(profile, name, power) * power[name]
        if not (above_idle and profile.additive):
            items.append(Contribution("duration", "full", abs(slope) * duration_u_s))
    unknown = set(inputs_u_j) - set(profile.input_ids)
    if unknown:
        raise InputError(
            f"Profile {profile.id} takes {', '.join(profile.input_ids)}; inputs_u_j names "
            f"{', '.join(sorted(unknown))}."
        )
    for name, u in inputs_u_j.items():
        sensitivity = abs(derivative(profile, name, power))
        items.append(Contribution(f"input:{name}", "independent", sensitivity * u))
    return tuple(items)


def derivative(profile: Profile, name: str, x: Mapping[str, Quantity]) -> Quantity:
    """Return dP/dx for one input, analytically (a hinge counts from its knot upwards)."""
    total: Quantity = 0.0
    for t in profile.terms:
        if name not in t.inputs:
            continue
        if t.basis == "hinge":
            total = total + t.value * (x[name] >= t.knot)
        elif t.basis == "product":
            a, b = t.inputs
            both = 2 * x[a] if a == b else x[b if name == a else a]
            total = total + t.value * both
        else:
            total = total + t.value * t.power * x[name] ** (t.power - 1)
    return total


def where(
    profile: Profile, x: Mapping[str, Quantity], output: Quantity | None
) -> tuple[Quantity, tuple[str, ...]]:
    """Return whether the point is inside (elementwise) and the flags where it is not."""
    tests = {name: within(value, *profile.domain[name]) for name, value in x.items()}
    if output is not None:
        tests["output"] = within(output, *profile.domain["output"])
    for i, (coefficients, limit) in enumerate(profile.halfspaces):
        total: Quantity = 0.0
        for name, c in coefficients.items():
            total = total + c * x[name]
        tests[f"halfspace{i or ''}"] = total <= limit + 1e-9 * abs(limit)
    inside: Quantity = True
    for held in tests.values():
        inside = held & inside
    outside = tuple(n for n, held in tests.items() if not everywhere(held))
    if outside and profile.extrapolation == "refuse":
        names = ", ".join(
            f"{n} in {profile.domain[n][0]:g} to {profile.domain[n][1]:g}"
            if n in profile.domain
            else f"a point within its {n}"
            for n in outside
        )
        raise OutOfRange(
            f"Profile {profile.id} holds for {names}, and refuses to extrapolate; got "
            f"{', '.join(f'{n} = {brief(v)}' for n, v in x.items())}. "
            "Calibrate up to there, or use a profile that covers it."
        )
    return inside, tuple(f"outside:{n}" for n in outside)


def window(profile: Profile, window_s: Quantity | None) -> tuple[str, ...]:
    if window_s is None:
        return ()
    flags: tuple[str, ...] = ()
    if not everywhere(window_s >= profile.min_averaging_s):
        flags += ("averaging:below_min",)
    longest = profile.max_averaging_s
    if longest is not None and not profile.additive and not everywhere(window_s <= longest):
        flags += ("averaging:above_max",)
    return flags


def brief(value: Quantity) -> str:
    """Return a short text for a number or an array."""
    return f"{value:g}" if isinstance(value, (int, float)) else "an array"
