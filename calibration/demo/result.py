"""What a demo found, as plain data: what `wattcal demo --json` prints and the page is made from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

from ..analysis.results import Reason, VerdictKind

__all__ = [
    "BUSY",
    "DemoResult",
    "EstimatorResult",
    "HeldOutWorkload",
    "JobEnergy",
    "SimulationFacts",
]

# Above this load in the idle steps the levels of the plan run into the ceiling.
BUSY: Final = 0.25


@dataclass(frozen=True, slots=True)
class HeldOutWorkload:
    """One workload under a fit that has not seen it; errors in % of the wall meter's power.

    `inside` is whether all of its points lie inside the stated 95 % interval.
    """

    workload: str
    n: int
    bias_pct: float
    before_mape_pct: float | None
    after_mape_pct: float
    inside_pct: float
    inside: bool


@dataclass(frozen=True, slots=True)
class EstimatorResult:
    """One estimator: the mode it ran in, its errors before and after, and the verdict."""

    input: str
    name: str
    source: str
    mode: str | None
    verdict: VerdictKind | None
    form: str | None
    before_mape_pct: float | None
    after_mape_pct: float | None
    reasons: tuple[Reason, ...]
    held_out: tuple[HeldOutWorkload, ...]
    profile: str | None
    note: str | None = None


@dataclass(frozen=True, slots=True)
class JobEnergy:
    """The energies of CodeCarbon's own `emissions.csv`, J: raw, corrected with U, and true.

    `expanded_j` is U = k u for 95 %; the truth is the simulation's, over exactly the time that the
    file covers.
    """

    file: str
    profile: str
    duration_s: float
    raw_j: float
    corrected_j: float
    u_j: float
    k: float
    low_j: float
    high_j: float
    true_j: float
    raw_error_pct: float
    corrected_error_pct: float
    true_inside: bool
    mode: str
    match: str
    flags: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SimulationFacts:
    """What the simulated machine was and what keeping it alive has cost.

    `idle_load` is this computer's CPU load (0 to 1) during the idle steps: what else it was doing.
    """

    id: str
    true_mean_w: float
    idle_load: float
    updater_cpu_share: float
    rewrite_rate_hz: float
    thermal_lag_s: float
    parameters: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class DemoResult:
    """Everything that the demo found; all of it is simulated."""

    data_kind: str
    folder: str
    files: Mapping[str, str]
    recorded_s: float
    wall_s: float
    points: int
    versions: Mapping[str, str]
    estimators: tuple[EstimatorResult, ...]
    held_out: str
    refused: tuple[str, ...]
    job: JobEnergy | None
    simulation: SimulationFacts

    def to_json(self) -> dict[str, Any]:
        """Return the JSON object that `wattcal demo --json` prints."""
        return asdict(self)
