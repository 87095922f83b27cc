"""The end of the demo: CodeCarbon's own `emissions.csv`, corrected the way any user would."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path
from typing import Any

from ..errors import CalibrationError, RunError
from ..simulation.history import History
from .result import JobEnergy

__all__ = ["correct_file", "job_energy"]


def correct_file(emissions: Path, profile: Path) -> dict[str, Any]:
    """Return what the command `wattcal correct` prints as JSON for this file.

    Nothing is asserted: the energy in the file shows by its grain that a counter made it.
    """
    from ..cli import main

    words = [
        "correct", str(emissions), "--profile", str(profile),
        "--allow-simulated", "--machine", "any", "--json",
    ]  # fmt: skip
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(words)
    if code != 0:
        said = err.getvalue().strip().removeprefix("wattcal: ")
        raise CalibrationError(f"The demo's own emissions.csv was not corrected: {said}")
    answer: dict[str, Any] = json.loads(out.getvalue())
    return answer


def job_energy(
    emissions: Path, profile: Path, truth: History, window_ns: tuple[int, int] | None
) -> JobEnergy:
    """Correct the file and set the truth beside it, over exactly the time that the file covers."""
    if window_ns is None:
        raise RunError(
            "Expected CodeCarbon to say which time its file covers; it ended without that."
        )
    total = correct_file(emissions, profile)["total"]
    true_j = truth.energy_j(*window_ns)
    raw_j, corrected_j = float(total["raw_j"]), float(total["corrected_j"])
    low_j, high_j = float(total["low_j"]), float(total["high_j"])
    return JobEnergy(
        file=emissions.name,
        profile=profile.name,
        duration_s=float(total["duration_s"]),
        raw_j=raw_j,
        corrected_j=corrected_j,
        u_j=float(total["u_j"]),
        k=float(total["k"]),
        low_j=low_j,
        high_j=high_j,
        true_j=true_j,
        raw_error_pct=100 * (raw_j - true_j) / true_j,
        corrected_error_pct=100 * (corrected_j - true_j) / true_j,
        true_inside=low_j <= true_j <= high_j,
        mode=str(total["mode"]),
        match=str(total["match"]),
        flags=tuple(total["flags"]),
    )
