"""What the analysis hands out: frozen, units in the names, and the JSON that `--json` prints."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

__all__ = [
    "Component",
    "Domain",
    "ErrorSummary",
    "FitResult",
    "GroupSummary",
    "Model",
    "Reason",
    "Term",
    "Validation",
    "VerdictKind",
]

VerdictKind = Literal["correction", "error_statement", "refused"]


@dataclass(frozen=True, slots=True)
class Term:
    """One term: value x basis, the basis being 1, input**power or max(0, input - knot)."""

    id: str
    basis: Literal["const", "input", "hinge", "product"]
    value: float
    unit: str
    input: str | None = None
    power: int = 1
    knot: float | None = None


@dataclass(frozen=True, slots=True)
class Model:
    """The fitted function, its covariance in the order of `terms`, and the fit's dof."""

    terms: tuple[Term, ...]
    covariance: tuple[tuple[float, ...], ...]
    dof: float

    @property
    def additive(self) -> bool:
        """Whether the model is linear in its inputs, so that it corrects energies of any window."""
        return all(t.basis == "const" or (t.basis == "input" and t.power == 1) for t in self.terms)


@dataclass(frozen=True, slots=True)
class Domain:
    """Where the statement holds: ranges of the inputs and the output, W (cpu_load: 0 to 1)."""

    inputs: Mapping[str, tuple[float, float]]
    output_w: tuple[float, float]
    min_averaging_s: float
    max_averaging_s: float | None


@dataclass(frozen=True, slots=True)
class ErrorSummary:
    """Errors of one predictor on held-out points; `above_idle_*` are null without idle points."""

    bias_w: float
    rmse_w: float
    mape_pct: float
    max_abs_pct: float
    above_idle_mape_pct: float | None
    above_idle_max_pct: float | None


@dataclass(frozen=True, slots=True)
class GroupSummary:
    """Errors of the correction on one held-out group."""

    group: str
    n: int
    bias_pct: float
    mape_pct: float
    max_abs_pct: float
    covered_pct: float


@dataclass(frozen=True, slots=True)
class Validation:
    """The correction on data it did not see; the uncorrected tool and null models beside it.

    `interval` says what the published 95 % interval of a new group rests on: `group_conformal` from
    19 groups on, below that `student_t` with the variance between the groups, or `worst_group`
    where one of them lies beyond it; null where nothing was held out. `interval_half_width_w` is
    its half-width for the mean error of a group, W.
    """

    scheme: str
    groups: int
    n: int
    rezeroed: bool
    nulls: Mapping[str, ErrorSummary | None]
    before: ErrorSummary | None
    after: ErrorSummary | None
    per_group: tuple[GroupSummary, ...]
    coverage_95_pct: float | None
    coverage_95_low: float | None
    coverage_95_high: float | None
    interval: Literal["group_conformal", "student_t", "worst_group"] | None = None
    interval_half_width_w: float | None = None


@dataclass(frozen=True, slots=True)
class Component:
    """One standard uncertainty of the output: W (`absolute`) or a fraction of it (`relative`).

    `correlation` says how it adds over time and jobs: `full`, `within_session`, `within_workload`,
    `independent` (with its `correlation_time_s`). `status` is `assumed` where it was not measured.
    """

    id: str
    kind: Literal["absolute", "relative"]
    u: float
    correlation: Literal["full", "within_session", "within_workload", "independent"]
    type: Literal["A", "B"]
    distribution: str
    source: str
    dof: float | None = None
    status: Literal["measured", "assumed"] = "measured"
    correlation_time_s: float | None = None
    sessions: int | None = None
    span_days: float | None = None


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a verdict is not a clean correction; `consequence` is `refuse`, `downgrade` or `flag`."""

    code: str
    message: str
    consequence: Literal["refuse", "downgrade", "flag"]


@dataclass(frozen=True, slots=True)
class FitResult:
    """Everything a fit has to say; what a profile is built from.

    `model` is null only where the numbers do not determine one. `modes` maps an input to the mode
    in which it was recorded; `choices` says what the fit decided by itself, and why. `reliability`
    maps an input to the λ by which its errors would have flattened its gain, where they were taken
    out (errors in variables), and is empty elsewhere.
    """

    inputs: tuple[str, ...]
    boundary: str
    data_kind: Literal["measured", "simulated"]
    model: Model | None
    form: str
    domain: Domain | None
    validation: Validation
    uncertainty: tuple[Component, ...]
    verdict: VerdictKind
    reasons: tuple[Reason, ...]
    n_points: int
    sessions: tuple[str, ...]
    workloads: tuple[str, ...]
    levels: int
    idle_w: float | None
    modes: Mapping[str, str | None]
    notes: tuple[str, ...] = ()
    choices: tuple[str, ...] = ()
    reliability: Mapping[str, float] = field(default_factory=dict)

    @property
    def above_idle_only(self) -> bool:
        """Return whether something that no input sees leaves only what lies above idle."""
        return any(r.code == "unseen_component" for r in self.reasons)

    def to_json(self) -> dict[str, Any]:
        """Return the JSON object that `wattcal fit --json` prints."""
        value = asdict(self)
        if self.model is not None:
            value["model"]["additive"] = self.model.additive
        return value
