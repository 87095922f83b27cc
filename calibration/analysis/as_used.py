"""Apply a profile to the files that tools wrote by themselves, and compare with a reference.

Pure functions of (tool's file, reference energies): the file goes through `correct_file` as a
user's would, without a word about the machine, and each row's interval meets the energy that the
reference saw between the run's start and end. What the tool's own clock and start-up do to its
figures is thus in the error. The verdict is that of `_profile.as_used.holds`.

A profile that answers above idle only is held against what the reference saw beyond the run's own
idle: E - P_idle T, where P_idle is the mean over the run's idle steps with the uncertainty that
their noise and their drift leave (`analysis.rezero`). The meter's offset cancels, its gain counts
on what is left. A run that rose by less than 5 % of the profile's range is not judged: there is
nothing to be right about.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .._profile.as_used import DURATIONS_S, duration_class, holds
from .._profile.files import correct_file
from ..errors import CalibrationError, FitError, InputError, RunError
from ..profile import Profile
from ..recording.reader import Run
from ..recording.tool_runs import read_tool_runs
from ..toolfiles import ToolFile, read_tool_file
from .energy import window_energy
from .results import Term
from .rezero import Rezero, idle_windows, rezero
from .supplies import measured_reference
from .validation import ABOVE_IDLE_SHARE

__all__ = ["UsedFile", "WindowEnergy", "judge_as_used", "used_files"]


@dataclass(frozen=True, slots=True)
class WindowEnergy:
    """What the reference saw of one run of a tool: energy and its standard uncertainty, J; s.

    `rise_j` is the part beyond idle, None where idle is not known.
    """

    energy_j: float
    u_j: float
    duration_s: float
    rise_j: float | None = None
    rise_u_j: float | None = None


@dataclass(frozen=True, slots=True)
class UsedFile:
    """A file that a tool wrote, the reference's energy for each row, and what is known of it."""

    file: ToolFile
    version: str | None
    settings: str
    windows: tuple[WindowEnergy, ...]
    asserted: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Row:
    """One row: its duration's class, and errors relative to the true energy."""

    duration_s: int
    before: float | None
    after: float
    covered: bool


def used_files(run: Run, *, above_idle: bool = False) -> tuple[UsedFile, ...]:
    """Return the tool files that a run carries, each row with the reference's energy.

    With `above_idle` also with the part beyond the run's idle, as far as it has enough of that.

    Raises:
        RunError: a file's rows do not fit the windows, or the reference did not see one whole.
        InputError: a file cannot be read.

    """
    carried = read_tool_runs(run.path)
    if not carried:
        return ()
    measured = measured_reference(run)
    worth, found = measured.reference, []
    idle = _idle(run) if above_idle else None
    for one in carried:
        file = read_tool_file(run.path / one.file)
        if len(file.rows) != len(one.windows):
            raise RunError(
                f"{run.path / one.file}: expected {len(one.windows)} rows, one for each time that "
                f"the tool ran; got {len(file.rows)}."
            )
        windows = []
        for window in one.windows:
            start, end = np.array([window.t_start_ns]), np.array([window.t_end_ns])
            energy, seen = window_energy(measured.series, start, end)
            length_s = (window.t_end_ns - window.t_start_ns) / 1e9
            if not length_s > 0 or float(seen[0]) < 0.99 * length_s:
                raise RunError(
                    f"{run.path}: expected the reference to see the {length_s:.1f} s in which "
                    f"{one.tool} ran; it saw {float(seen[0]):.1f} s."
                )
            # What little it did not see is taken to be like the rest.
            energy_j = float(energy[0]) * length_s / float(seen[0])
            u_j = math.hypot(worth.u_gain * energy_j, worth.u_offset_w * length_s)
            rise_j = rise_u_j = None
            if idle is not None:
                rise_j = energy_j - idle.idle_w * length_s
                rise_u_j = math.hypot(worth.u_gain * rise_j, idle.u_w * length_s)
            windows.append(WindowEnergy(energy_j, u_j, length_s, rise_j, rise_u_j))
        found.append(UsedFile(file, one.version, one.settings, tuple(windows), one.asserted))
    return tuple(found)


def judge_as_used(profile: Profile, files: Sequence[UsedFile]) -> list[dict[str, Any]]:
    """Return `validation.as_used`: an entry for each tool whose files the profile takes.

    A profile that corrects nothing has no answer to compare; one that answers above idle only has
    none where idle is not known.
    """
    if profile.kind != "correction":
        return []
    if profile.above_idle_only and any(w.rise_j is None for f in files for w in f.windows):
        return []
    known = {a["tool"] for i in profile.document["inputs"] for a in i["aliases"]}
    tools = dict.fromkeys(f.file.tool for f in files if f.file.tool in known)
    return [_entry(profile, [f for f in files if f.file.tool == tool]) for tool in tools]


def _entry(profile: Profile, files: Sequence[UsedFile]) -> dict[str, Any]:
    rows: list[_Row] = []
    refusals: list[str] = []
    total = 0
    for used in files:
        total += len(used.windows)
        try:
            answer = correct_file(profile, used.file, asserted=used.asserted, machine=None)
        except CalibrationError as error:
            refusals += [str(error)] * len(used.windows)
            continue
        for given, window in zip(answer.rows, used.windows, strict=True):
            if given.refusal is not None:
                refusals.append(given.refusal)
            nominal, truth = duration_class(window.duration_s), _truth(profile, window)
            if given.result is None or nominal is None or truth is None:
                continue
            result, (true_j, true_u_j), raw_j = given.result, truth, given.raw_j
            half_j = math.hypot(float(result.k * result.u_j), true_u_j)
            if raw_j is not None and profile.above_idle_only:
                raw_j -= math.fsum(profile.idle_inputs.values()) * given.row.duration_s
            rows.append(
                _Row(
                    nominal,
                    None if raw_j is None else raw_j / true_j - 1,
                    float(result.energy_j) / true_j - 1,
                    abs(float(result.energy_j) - true_j) <= half_j,
                )
            )
    durations = [
        _figures(d, own) for d in DURATIONS_S if (own := [r for r in rows if r.duration_s == d])
    ]
    reason = _reason(profile, rows, refusals)
    versions = {f.version for f in files}
    return {
        "tool": files[0].file.tool,
        "version": versions.pop() if len(versions) == 1 else None,
        "settings": files[0].settings,
        "rows": total,
        "refused": len(refusals),
        "durations": durations,
        "passed": False if reason else True if rows else None,
        "reason": reason,
    }


def _truth(profile: Profile, window: WindowEnergy) -> tuple[float, float] | None:
    """Return the energy that the profile's answer is to hold, and its u, J; None for too little."""
    if not profile.above_idle_only:
        return window.energy_j, window.u_j
    if window.rise_j is None or window.rise_u_j is None:
        return None
    low_w, high_w = profile.domain["output"]
    if window.rise_j < ABOVE_IDLE_SHARE * (high_w - low_w) * window.duration_s:
        return None
    return window.rise_j, window.rise_u_j


def _idle(run: Run) -> Rezero | None:
    """Return the mean power at idle of a run and its uncertainty, None where it has too little."""
    try:
        return rezero(idle_windows(run), (Term("offset", "const", 0.0, "W"),))
    except (InputError, FitError):
        return None


def _figures(duration_s: int, rows: Sequence[_Row]) -> dict[str, Any]:
    """Return error and coverage of the runs of one duration."""
    after = [100 * r.after for r in rows]
    before = [100 * r.before for r in rows if r.before is not None]
    return {
        "duration_s": duration_s,
        "n": len(rows),
        "bias_pct": round(math.fsum(after) / len(rows), 4),
        "mape_pct": round(math.fsum(map(abs, after)) / len(rows), 4),
        "max_abs_pct": round(max(map(abs, after)), 4),
        "before_mape_pct": round(math.fsum(map(abs, before)) / len(before), 4) if before else None,
        "coverage_95_pct": round(100 * sum(r.covered for r in rows) / len(rows), 4),
    }


def _reason(profile: Profile, rows: Sequence[_Row], refusals: Sequence[str]) -> str | None:
    if not rows:
        return f"the profile refuses each of its rows: {refusals[0]}" if refusals else None
    for duration_s in DURATIONS_S:
        own = [r for r in rows if r.duration_s == duration_s]
        inside = sum(r.covered for r in own)
        if own and not holds(len(own), inside):
            bias = 100 * math.fsum(r.after for r in own) / len(own)
            energy = "energy above idle" if profile.above_idle_only else "energy"
            return (
                f"of {len(own)} runs of about {duration_s} s with its default settings the stated "
                f"{100 * profile.probability:g} % interval held the true {energy} in {inside}; the "
                f"corrected energy was off by {bias:+.2g} % on average"
            )
    return None
