"""The uncertainty budget as data: one row a source, for a power, a run's energy, several jobs.

For the energy of a run of duration T and tool energies E_j, Ê = Σ c_i b_i with c = (T, E_j, ...):

    u²(Ê) = c C cᵀ + Σ u_full² T² + u_session² T² + u_workload² T² + u_indep² T² / max(1, T/τ)

(JCGM 100:2008, 5.2.2; relative components times Ê). k comes from Student's t at the degrees of
freedom of Welch and Satterthwaite (JCGM 100:2008, G.4.1). Over several jobs the gradients add; a
component adds linearly where the error is the same one (`full`; the same session, the same
workload) and in quadrature elsewhere. A mean power is the energy of its window over its length.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..errors import InputError
from .results import Component, FitResult, Model
from .uncertainty import student_t

__all__ = ["Budget", "BudgetRow", "Job", "budget_rows", "energy_budget", "jobs_budget",
           "power_budget"]  # fmt: skip


@dataclass(frozen=True, slots=True)
class BudgetRow:
    """One source: its value with u in `unit`, sensitivity c, and what it adds to the result.

    `variance` is what it adds to u² of the result, c² u² for a source of its own; the row that
    carries the covariances of the coefficients may be negative. `contribution` is its signed root.
    """

    symbol: str
    value: float
    unit: str
    u: float
    type: str
    distribution: str
    sensitivity: float
    dof: float | None
    source: str
    correlation: str
    variance: float

    @property
    def contribution(self) -> float:
        """Return |c| u, in the unit of the result; negative where covariances take away."""
        return math.copysign(math.sqrt(abs(self.variance)), self.variance)


@dataclass(frozen=True, slots=True)
class Budget:
    """A result with its rows: value, u, effective dof, k and U = k·u, in W or J (`unit`)."""

    value: float
    unit: str
    rows: tuple[BudgetRow, ...]
    u: float
    dof: float
    k: float

    @property
    def expanded(self) -> float:
        """Return U = k·u for 95 %."""
        return self.k * self.u


@dataclass(frozen=True, slots=True)
class Job:
    """One run: duration (s), energy by input (J; a load: its mean times s), session, workload."""

    duration_s: float
    inputs_j: Mapping[str, float]
    session: str | None = None
    workload: str | None = None


def power_budget(
    result: FitResult,
    inputs: Mapping[str, float],
    duration_s: float | None = None,
    *,
    without: Sequence[str] = (),
) -> Budget:
    """Return the budget of the mean power over a window, W, at inputs in W (a load: 0 to 1).

    Without `duration_s` nothing averages out. `without` leaves out correlation classes.

    Raises:
        InputError: the fit has no model, or an input is missing.

    """
    job = Job(1.0, dict(inputs))
    return _budget(result, (job,), (duration_s or 0.0,), "W", tuple(without))


def energy_budget(
    result: FitResult,
    inputs_j: Mapping[str, float],
    duration_s: float,
    *,
    without: Sequence[str] = (),
) -> Budget:
    """Return the budget of the energy of one run, J, from the tools' energies in J.

    Raises:
        InputError: the fit has no additive model, or an input is missing.

    """
    return jobs_budget(result, (Job(duration_s, dict(inputs_j)),), without=without)


def jobs_budget(result: FitResult, jobs: Sequence[Job], *, without: Sequence[str] = ()) -> Budget:
    """Return the budget of the sum of several jobs' energies, J, correlations kept.

    Jobs that name no session or workload are taken to share it.

    Raises:
        InputError: there is no job, the fit has no additive model, or an input is missing.

    """
    if not jobs:
        raise InputError("Expected at least one job; got none.")
    if result.model is not None and not result.model.additive:
        raise InputError(
            f"Expected a model that is linear in its inputs; {result.form} does not correct "
            "energies, only powers of short windows."
        )
    return _budget(result, tuple(jobs), tuple(j.duration_s for j in jobs), "J", tuple(without))


def budget_rows(
    result: FitResult, inputs: Mapping[str, float], duration_s: float | None = None
) -> tuple[BudgetRow, ...]:
    """Return the rows of `power_budget`."""
    return power_budget(result, inputs, duration_s).rows


def _budget(
    result: FitResult,
    jobs: tuple[Job, ...],
    averaged_s: tuple[float, ...],
    unit: str,
    without: tuple[str, ...],
) -> Budget:
    model = result.model
    if model is None:
        raise InputError("Expected a fit with a model; this one has none.")
    gradients = [_gradient(model, result.inputs, job) for job in jobs]
    values = [sum(t.value * g for t, g in zip(model.terms, gs, strict=True)) for gs in gradients]
    total = sum(values)
    rows = _coefficient_rows(model, [sum(column) for column in zip(*gradients, strict=True)])
    shared = sum(r.variance for r in rows)
    fourth = shared**2 / model.dof if model.dof > 0 else 0.0
    for part in result.uncertainty:
        if part.correlation in without:
            continue
        row = _component_row(part, jobs, averaged_s, values, unit)
        rows.append(row)
        if part.dof:
            fourth += row.variance**2 / part.dof
    variance = max(sum(r.variance for r in rows), 0.0)
    dof = min(variance**2 / fourth, 1e6) if fourth > 0 else 1e6
    return Budget(total, unit, tuple(rows), math.sqrt(variance), dof, float(student_t(dof)))


def _gradient(model: Model, inputs: Sequence[str], job: Job) -> list[float]:
    """Return the derivatives of the job's energy by the coefficients."""
    missing = [k for k in inputs if k not in job.inputs_j]
    if missing:
        raise InputError(f"Expected a value of each input; {', '.join(missing)} is missing.")
    t = job.duration_s
    found = []
    for term in model.terms:
        x = job.inputs_j[term.input] / t if term.input is not None else 1.0
        value = max(x - (term.knot or 0.0), 0.0) if term.basis == "hinge" else x**term.power
        found.append(float(value) * t)
    return found


def _coefficient_rows(model: Model, gradient: Sequence[float]) -> list[BudgetRow]:
    rows = []
    cross = 0.0
    for i, (term, g) in enumerate(zip(model.terms, gradient, strict=True)):
        covariance = model.covariance[i]
        u2 = covariance[i]
        if u2 == 0:
            continue
        cross += sum(2 * g * gradient[j] * covariance[j] for j in range(i))
        rows.append(
            BudgetRow(
                term.id, term.value, term.unit, math.sqrt(u2), "A", "t", g, model.dof, "fit",
                "full", g * g * u2,
            )
        )  # fmt: skip
    if len(rows) > 1:
        names = ",".join(r.symbol for r in rows)
        rows.append(
            BudgetRow(
                f"cov({names})", 0.0, "", math.sqrt(abs(cross)), "A", "t", 1.0, model.dof,
                "fit: the coefficients' covariances", "full", cross,
            )
        )  # fmt: skip
    return rows


def _component_row(
    part: Component,
    jobs: tuple[Job, ...],
    averaged_s: tuple[float, ...],
    values: Sequence[float],
    unit: str,
) -> BudgetRow:
    relative = part.kind == "relative"
    reach = [abs(v) if relative else j.duration_s for v, j in zip(values, jobs, strict=True)]
    if part.correlation == "independent":
        tau = part.correlation_time_s
        over = [max(1.0, t / tau) if tau else 1.0 for t in averaged_s]
        reach = [r / math.sqrt(n) for r, n in zip(reach, over, strict=True)]
    sums: dict[object, float] = {}
    for i, (job, r) in enumerate(zip(jobs, reach, strict=True)):
        key: object = {
            "full": None,
            "within_session": job.session,
            "within_workload": job.workload,
            "independent": i,
        }[part.correlation]
        sums[key] = sums.get(key, 0.0) + r
    sensitivity = math.sqrt(sum(v * v for v in sums.values()))
    return BudgetRow(
        part.id, 0.0, "1" if relative else "W", part.u, part.type, part.distribution,
        sensitivity, part.dof, part.source, part.correlation, (sensitivity * part.u) ** 2,
    )  # fmt: skip
