"""A whole calibration from one run: points, comparison, a fit per input, profiles, the page."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from ..analysis.as_used import used_files
from ..analysis.compare import Comparison, compare_points
from ..analysis.fit import fit_points
from ..analysis.points import Points
from ..analysis.points_table import write_points
from ..analysis.results import FitResult
from ..analysis.segments import run_points
from ..errors import CalibrationError, InputError
from ..recording.documents import Descriptor
from ..recording.reader import Run
from .build import profile_document, write_profile
from .page import Page, write_page
from .view import fit_view

__all__ = ["PAGE", "POINTS", "Calibrated", "calibrate_run"]

PAGE: Final = "calibration.html"
POINTS: Final = "points.csv"

Verdict = Literal["correction", "error_statement", "refused"]
_ORDER: Final[tuple[Verdict, ...]] = ("correction", "error_statement", "refused")


@dataclass(frozen=True, slots=True, eq=False)
class Calibrated:
    """What a calibration found: `profiles` by input, `failed` says why an input has no fit.

    `verdict` is the best of its fits; without any it is `refused`.
    """

    run: Run
    points: Points
    comparison: Comparison
    fits: tuple[FitResult, ...]
    failed: dict[str, str]
    profiles: dict[str, Path]
    page: Path

    @property
    def verdict(self) -> Verdict:
        """Return the best verdict that an input got."""
        return min((f.verdict for f in self.fits), key=_ORDER.index, default="refused")

    def to_json(self) -> dict[str, Any]:
        """Return the document that `wattcal calibrate --json` prints."""
        return {
            "run": str(self.run.path),
            "data_kind": self.run.start.data_kind,
            "verdict": self.verdict,
            "comparison": self.comparison.to_json(),
            "fits": [f.to_json() for f in self.fits],
            "failed": self.failed,
            "profiles": {key: str(path) for key, path in self.profiles.items()},
            "page": str(self.page),
        }


def calibrate_run(
    run: Run,
    folder: Path,
    *,
    inputs: Sequence[str] = (),
    lab: str = "local",
    key: bytes | None = None,
) -> Calibrated:
    """Compare every tool of a run with its reference, fit each, and write what came of it.

    Each input is fitted alone; those that are constant cannot be told from the intercept and are
    left out. `folder` gets the points, the page, and a profile for each fit that is not refused.
    `lab` is the first half of the profiles' ids, `key` that of the laboratory.

    Raises:
        InputError: an input was asked for that the run has not.
        RunError: the run has no reference, no estimator, or no steps.

    """
    points = run_points([run])
    absent = [i for i in inputs if i not in points.inputs]
    if absent:
        raise InputError(
            f"--input: expected one of {', '.join(points.inputs)}; got {absent[0]!r} ({run.path})."
        )
    comparison = compare_points(points)
    fits: list[FitResult] = []
    failed: dict[str, str] = {}
    for name in inputs or tuple(points.inputs):
        if points.inputs[name].constant:
            failed[name] = "its power is a constant, which cannot be told from the intercept"
            continue
        try:
            fits.append(fit_points(points, (name,)))
        except CalibrationError as error:
            failed[name] = str(error)
    folder.mkdir(parents=True, exist_ok=True)
    write_points(points, folder / POINTS)
    profiles = {}
    used: list[str] = []
    for fit in fits:
        if fit.verdict == "refused":
            continue
        (name,) = fit.inputs
        path = folder / f"{re.sub(r'[^a-z0-9_]', '-', name)}.profile.json"
        document = profile_document(
            fit,
            run_starts=[run.start],
            descriptors=_behind(run, name),
            profile_id=f"{lab}/{name.replace('_', '-')}",
            derived_from=[f"sha256:{h}" for h in run.stop.sha256.values()] if run.stop else [],
            idle_inputs=points.idle_inputs(fit.inputs),
            key=key,
            tool_files=used_files(run, above_idle=fit.above_idle_only),
        )
        write_profile(document, path)
        profiles[name] = path
        used += as_used_sentences(name, document["calibration"]["validation"].get("as_used", ()))
    found = Calibrated(run, points, comparison, tuple(fits), failed, profiles, folder / PAGE)
    write_page(_page(found, used), found.page)
    return found


def _behind(run: Run, name: str) -> list[Descriptor]:
    """Return the meters, and the stream that an input comes from."""
    stream = run.inputs().get(name, ("", ""))[0]
    return [d for d in run.descriptors.values() if d.role == "meter" or d.stream == stream]


def as_used_sentences(name: str, entries: Sequence[Mapping[str, Any]]) -> list[str]:
    """Say what a profile makes of the files that tools wrote by themselves."""
    said = []
    for entry in entries:
        begin = f"{name}: the file of {entry['tool']}, as its users run it"
        if entry["reason"]:
            said.append(f"{begin}, is not offered this profile: {entry['reason']}")
            continue
        spans = [
            f"{d['duration_s']} s: off by {d['max_abs_pct']:.2g} % at most, "
            f"{d['coverage_95_pct']:g} % of {d['n']} inside the interval"
            for d in entry["durations"]
        ]
        if spans:
            said.append(f"{begin}, corrected: {'; '.join(spans)}")
    return said


def _page(found: Calibrated, used: Sequence[str]) -> Page:
    run, setup = found.run, found.run.start.setup
    good = [f.inputs[0] for f in found.fits if f.verdict == "correction"]
    others = [f.inputs[0] for f in found.fits if f.verdict != "correction"]
    summary = (
        f"{found.points.n} points beside {found.points.reference.meter}. "
        if found.points.reference is not None
        else f"{found.points.n} points. "
    ) + f"Corrections: {', '.join(good) or 'none'}."
    if others:
        summary += f" Not corrected: {', '.join(others)}."
    facts = {
        "reference": setup.get("reference"),
        "under test": ", ".join(setup.get("compare", ())) or None,
        "machine": setup.get("machine"),
        "operator": setup.get("operator"),
        "room": None if setup.get("ambient_c") is None else f"{setup['ambient_c']:g} °C",
        "plan": None if run.start.plan is None else str(run.start.plan.get("name")),
        "session": run.start.session,
        "run": run.start.uid,
        **{d.stream: f"{d.source}{f', mode {d.mode}' if d.mode else ''}"
           for d in run.descriptors.values()},
        "versions": ", ".join(f"{k} {v}" for k, v in run.start.versions.items()),
    }  # fmt: skip
    notes = [*found.points.notes, *used, *(f"{k}: {why}" for k, why in found.failed.items())]
    return Page(
        title=f"Calibration of {setup.get('machine') or 'a machine'}",
        data_kind=run.start.data_kind,
        summary=summary,
        notes=tuple(notes),
        comparison=found.comparison,
        views=tuple(fit_view(found.points, f, name=f.inputs[0]) for f in found.fits),
        facts={k: str(v) for k, v in facts.items() if v},
        sources={
            POINTS: "the points of the fits",
            **{p.name: f"the profile for {key}" for key, p in found.profiles.items()},
        },
    )
