"""Add corrected energies with the correlations of their errors."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from ..errors import InputError
from .evaluate import Contribution, Correlation, Quantity, expand, quadratic_form
from .results import CorrectedEnergy

__all__ = ["combine"]


def combine(parts: Iterable[CorrectedEnergy]) -> CorrectedEnergy:
    """Add corrected energies in J, with the correlations of their errors.

    The coefficients' and the meter's errors are the same in every part and add linearly; the
    offset's add linearly within a session and in quadrature between sessions, lack of fit within
    and between workloads likewise; what is independent adds in quadrature. Parts that do not
    name their session or workload are taken to share it.

    Raises:
        InputError: no parts, or parts of different profiles.

    """
    items = tuple(parts)
    if not items:
        raise InputError("Expected at least one corrected energy to add up; got none.")
    first = items[0]
    profile = first.profile
    if any(p.profile.document != profile.document for p in items[1:]):
        raise InputError("Expected energies corrected by one profile; got several profiles.")
    energy, raw, duration = (
        _sum(getattr(p, n) for p in items) for n in ("energy_j", "raw_j", "duration_s")
    )
    calibrated = all(p.calibrated for p in items)
    gradient: tuple[Quantity, ...] = ()
    budget: tuple[Contribution, ...] = ()
    u: Quantity = math.inf
    k: Quantity = 2.0
    if calibrated:
        gradient = tuple(_sum(g) for g in zip(*(p.gradient for p in items), strict=True))
        budget = _added(items, gradient)
        u, k = expand(budget, profile.probability)
    modes = {p.mode for p in items}
    inside: Quantity = True
    for p in items:
        inside = p.inside & inside
    return CorrectedEnergy(
        energy_j=energy, u_j=u, k=k, raw_j=raw, duration_s=duration, match=first.match,
        mode=next(m for m in ("unknown", "asserted", "verified") if m in modes),
        flags=tuple(dict.fromkeys(f for p in items for f in p.flags)),
        calibrated=calibrated, inside=inside,
        session=_common(p.session for p in items), workload=_common(p.workload for p in items),
        gradient=gradient, budget=budget, profile=profile,
    )  # fmt: skip


def _added(
    items: Sequence[CorrectedEnergy], gradient: Sequence[Quantity]
) -> tuple[Contribution, ...]:
    """Add the budgets of several energies, source by source."""
    sums: dict[tuple[str, Correlation, float | None], dict[object, Quantity]] = {}
    for i, part in enumerate(items):
        for c in part.budget:
            if c.id == "coefficients":
                continue
            shared: object = {
                "full": None,
                "within_session": part.session,
                "within_workload": part.workload,
                "independent": i,
            }[c.correlation]
            groups = sums.setdefault((c.id, c.correlation, c.dof), {})
            groups[shared] = groups.get(shared, 0.0) + c.u
    profile = items[0].profile
    coefficients = quadratic_form(gradient, profile.covariance) ** 0.5
    return (
        Contribution("coefficients", "full", coefficients, profile.dof),
        *(
            Contribution(name, correlation, _sum(v * v for v in groups.values()) ** 0.5, dof)
            for (name, correlation, dof), groups in sums.items()
        ),
    )


def _sum(values: Iterable[Quantity]) -> Quantity:
    total: Quantity = 0.0
    for value in values:
        total = total + value
    return total


def _common(names: Iterable[str | None]) -> str | None:
    """Return the name that all share, or None."""
    distinct = set(names)
    return distinct.pop() if len(distinct) == 1 else None
