"""What to do after an audit, cheapest first, and the sentence to print beside the number."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from .results import ORIGINS, AuditRow, Origin, Step

__all__ = ["sentence", "steps"]

_NAMES: Final = {"codecarbon": "CodeCarbon", "carbontracker": "CarbonTracker", "zeus": "Zeus"}
_WORDS: Final[Mapping[Origin, str]] = {
    "counted": "counted by hardware counters",
    "sampled": "read from power sensors",
    "modelled": "modelled from the load",
    "assumed": "assumed (a constant times the duration)",
    "unknown": "of unknown origin",
}


def steps(tool: str, path: str, rows: Sequence[AuditRow]) -> tuple[Step, ...]:
    """Return what to do next, cheapest first."""
    return tuple(_steps(tool, path, rows))


def _steps(tool: str, path: str, rows: Sequence[AuditRow]) -> Iterator[Step]:
    cpu_not_counted = any(
        p.component in ("cpu", "total") and p.origin != "counted" for r in rows for p in r.parts
    )
    if tool == "zeus" or cpu_not_counted:
        # Linux 5.10 took the right to read from all but root: the counters can tell other users
        # what a processor is working on (CVE-2020-8694).
        yield Step(
            "fix_permission",
            "On Linux with an Intel or AMD CPU, let the tool read the energy counters, then run "
            "again. Not on a computer that you share with people you do not trust: the counters "
            "reveal something of what others compute (CVE-2020-8694).",
            "sudo chmod a+r /sys/class/powercap/*/energy_uj",
        )
    yield Step(
        "measure",
        "Put any plug meter with a display between the socket and the computer for 30 minutes; the "
        "result is a correction with its uncertainty for this computer.",
        "wattcal calibrate --meter manual --estimator " + (tool if tool in _NAMES else "rapl"),
    )
    if tool == "codecarbon":
        yield Step(
            "find_profile",
            "If somebody has measured this model of computer, apply their profile; it refuses "
            "where it does not fit.",
            f"wattcal correct {shlex.quote(path)} --profile PROFILE.json",
        )
    yield Step("report", "Otherwise report the number with this sentence:")


def sentence(tool: str, version: str | None, rows: Sequence[AuditRow]) -> str:
    """Return what may be printed beside the number: how much of it was measured."""
    name = _NAMES.get(tool, tool) + (f" {version}" if version else "")
    total_j = sum(r.energy_j for r in rows)
    runs = "1 run" if len(rows) == 1 else f"{len(rows)} runs"
    shares = {o: sum(r.by_origin()[o] for r in rows) for o in ORIGINS}
    if total_j <= 0:
        return f"{name} reports no energy for {runs}; nothing was measured."
    said = ", ".join(f"{percent(e / total_j)} {_WORDS[o]}" for o, e in shares.items() if e > 0)
    return (
        f"{name} reports {total_j / 3.6e6:.4g} kWh for {runs}: {said}. "
        "The figure has not been compared with a power meter."
    )


def percent(share: float) -> str:
    """Return a share as whole percent; what is not nothing is not printed as 0 %."""
    return "under 1 %" if 0 < share < 0.005 else f"{100 * share:.0f} %"
