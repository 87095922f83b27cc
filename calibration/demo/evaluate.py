"""From the demo's recording to its verdicts: points, comparison, a fit per estimator, profiles."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ..analysis.compare import Comparison, compare_points
from ..analysis.fit import fit_points
from ..analysis.points import Points
from ..analysis.points_table import write_points
from ..analysis.segments import run_points
from ..publishing.build import profile_document, write_profile
from ..publishing.view import FitView, GroupError, fit_view
from ..recording.reader import Run, read_run
from .result import EstimatorResult, HeldOutWorkload

__all__ = ["CODECARBON", "HERE", "TITLES", "Evaluation", "evaluate"]

CODECARBON: Final = "codecarbon_cpu"
HERE: Final = "codecarbon_here_cpu"
TITLES: Final[Mapping[str, str]] = {
    "rapl_package": "RAPL package counter",
    CODECARBON: "CodeCarbon in RAPL mode",
    HERE: "CodeCarbon as it runs here",
    "cpu_load": "CPU load",
}
_NO_INPUT: Final = (
    "no input: in the mode {mode} its power is a constant, which no calibration can tell from the "
    "intercept"
)


@dataclass(frozen=True, slots=True, eq=False)
class Evaluation:
    """What the recording says: points, comparison, views of the fits, and one result each."""

    run: Run
    points: Points
    comparison: Comparison
    views: tuple[FitView, ...]
    estimators: tuple[EstimatorResult, ...]
    profiles: Mapping[str, Path]


def evaluate(run_path: Path, folder: Path) -> Evaluation:
    """Analyse the run and write points and profiles into `folder`.

    Every estimator gets a straight line. The one whose power goes with the cube of the load shows
    what happens where a straight line does not hold.
    """
    run = read_run(run_path)
    points = run_points([run])
    write_points(points, folder / "simulated-points.csv")
    views: list[FitView] = []
    results: list[EstimatorResult] = []
    profiles: dict[str, Path] = {}
    for key, title in TITLES.items():
        if key not in points.inputs or points.inputs[key].constant:
            missing = _missing(run, key, title)
            if missing is not None:
                results.append(missing)
            continue
        fit = fit_points(points, (key,), model="affine")
        view = fit_view(points, fit, name=title)
        views.append(view)
        if fit.verdict == "correction":
            path = folder / f"simulated-{key}.profile.json"
            document = profile_document(
                fit,
                run_starts=[run.start],
                descriptors=[d for d in run.descriptors.values() if _belongs(run, d.stream, key)],
                profile_id=f"simulated/{key.replace('_', '-')}",
                title=f"SIMULATED: AC input power from {title}, a machine that does not exist",
                derived_from=[] if run.stop is None else _hashes(run),
            )
            write_profile(document, path)
            profiles[key] = path
        results.append(_result(view, profiles.get(key)))
    return Evaluation(run, points, compare_points(points), tuple(views), tuple(results), profiles)


def _hashes(run: Run) -> list[str]:
    return [] if run.stop is None else sorted(f"sha256:{h}" for h in run.stop.sha256.values())


def _belongs(run: Run, stream: str, key: str) -> bool:
    """Whether a stream stands behind a profile of this input: its own, or the meter."""
    return stream in run.meters() or stream == run.inputs()[key][0]


def _missing(run: Run, key: str, title: str) -> EstimatorResult | None:
    """Say why an estimator that was recorded is no input."""
    stem = key.removesuffix("_cpu").replace("_", "-")
    descriptor = run.descriptors.get(stem)
    if descriptor is None:
        return None
    note = _NO_INPUT.format(mode=descriptor.mode)
    return EstimatorResult(
        key, title, descriptor.source, descriptor.mode, None, None, None, None, (), (), None, note
    )


def _result(view: FitView, profile: Path | None) -> EstimatorResult:
    fit = view.fit
    validation = fit.validation
    before = {g.workload: g for g in view.groups}
    return EstimatorResult(
        input=view.input,
        name=view.name,
        source=view.source,
        mode=view.mode,
        verdict=fit.verdict,
        form=fit.form,
        before_mape_pct=None if validation.before is None else validation.before.mape_pct,
        after_mape_pct=None if validation.after is None else validation.after.mape_pct,
        reasons=fit.reasons,
        held_out=tuple(
            HeldOutWorkload(
                workload=g.group,
                n=g.n,
                bias_pct=g.bias_pct,
                before_mape_pct=_before(before, g.group),
                after_mape_pct=g.mape_pct,
                inside_pct=g.covered_pct,
                inside=g.covered_pct == 100.0,
            )
            for g in validation.per_group
        ),
        profile=None if profile is None else profile.name,
    )


def _before(groups: Mapping[str, GroupError], workload: str) -> float | None:
    found = groups.get(workload)
    return None if found is None else found.before_pct
