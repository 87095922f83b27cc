"""The offset between the clocks of two machines, from what both of them saw of one load.

The wall clocks of the two give it to a second or so (to milliseconds where both follow a time
server, which nobody can tell afterwards); the load itself gives it exactly. What the machine saw of
its load is, in this order: its RAPL counters, which lag by less than a millisecond, or what its
workloads were told and when. An estimator with a lag of its own would pass that on, so none serves.
The meter's lag behind the power at its input stays in the offset, as it does on one machine.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from ..errors import FitError, RunError
from .alignment import estimate_lag
from .counters import clock_findings
from .energy import Pieces, pieces
from .supplies import measured_reference

if TYPE_CHECKING:
    from ..recording.reader import Run

__all__ = ["SEARCH_S", "ClockOffset", "clock_offset"]

Instants = npt.NDArray[np.int64]

_NS = 1e9
SEARCH_S: Final = 10.0
"""So far on either side of the wall clocks' offset it is looked for."""
_PROMPT: Final = ("rapl_package", "rapl_psys", "rapl_core")


@dataclass(frozen=True, slots=True)
class ClockOffset:
    """What turns the meter host's monotonic time into the machine's: t + offset + skew (t - t_ref).

    `offset_s` holds at `t_ref_ns` of the meter host's clock, with its standard uncertainty `u_s`;
    `skew` (s/s) is 0 where the recording has too few edges to tell. `wall_s` is what the wall
    clocks alone would say, `seen_by` what showed the load, `windows` the meter windows used.
    """

    offset_s: float
    u_s: float
    skew: float
    u_skew: float | None
    t_ref_ns: int
    wall_s: float
    seen_by: str
    windows: int

    def to_machine(self, t_ns: Instants) -> Instants:
        """Return instants of the meter's host on the machine's clock, ns."""
        since = t_ns - self.t_ref_ns
        moved = round(self.offset_s * _NS) + np.rint(self.skew * since).astype(np.int64)
        return np.asarray(t_ns + moved, dtype=np.int64)

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        return asdict(self)


def clock_offset(machine: Run, meters: Run, *, search_s: float = SEARCH_S) -> ClockOffset:
    """Estimate the offset between the clocks of the machine and of the meters' host.

    Raises:
        RunError: a run holds no clocks, no reference, or nothing that saw the load.
        FitError: the load does not determine the offset, or a wall clock was set meanwhile.

    """
    wall_ns = _wall_offset_ns(machine, meters)
    series = measured_reference(meters).series
    meter = pieces(replace(series, t_ns=series.t_ns + wall_ns))
    reasons = []
    for name, seen in _witnesses(machine):
        lag = estimate_lag(meter, seen, most_s=search_s)
        if not lag.resolved:
            reasons.append(f"by {name}: {lag.reason}")
            continue
        skewed = math.isfinite(lag.skew) and math.isfinite(lag.t_ref_ns)
        reference_ns = int(lag.t_ref_ns) if skewed else int(meter.start_ns[0])
        return ClockOffset(
            offset_s=wall_ns / _NS + lag.offset_s,
            u_s=lag.u_s,
            skew=lag.skew if skewed else 0.0,
            u_skew=lag.u_skew if skewed else None,
            t_ref_ns=reference_ns - wall_ns,
            wall_s=wall_ns / _NS,
            seen_by=name,
            windows=lag.n,
        )
    why = "; ".join(reasons) or "it has neither steps nor RAPL counters"
    raise FitError(
        f"{meters.path} and {machine.path} cannot be joined: the load does not say how their "
        f"clocks differ ({why}). Record a plan that has a sync preamble on both at once, or search "
        "further than the wall clocks' offset (--search)."
    )


def _wall_offset_ns(machine: Run, meters: Run) -> int:
    """Return what is added to the meter host's monotonic time by the wall clocks, ns."""
    offsets = []
    for run in (machine, meters):
        if not run.clocks:
            raise RunError(f"{run.path}: expected clock documents; the run has none.")
        jump = next((f for f in clock_findings(run.clocks) if f.code == "time_jump"), None)
        if jump is not None:
            raise FitError(f"{run.path} cannot be joined: {jump.message}.")
        offsets.append(int(np.median([c.wall_ns - c.monotonic_ns for c in run.clocks])))
    return offsets[1] - offsets[0]


def _witnesses(machine: Run) -> Iterator[tuple[str, Pieces]]:
    """Yield what saw the machine's load without a lag of its own, the best first."""
    inputs = machine.inputs()
    for name in _PROMPT:
        if name in inputs:
            yield name, pieces(machine.series(*inputs[name]))
    if machine.steps:
        yield "the steps of the plan", _told(machine)


def _told(machine: Run) -> Pieces:
    """Return the level that the workloads were told, as a power; nothing between two steps."""
    start, end, level = [], [], []
    at = machine.steps[0].t_start_ns
    for step in sorted(machine.steps, key=lambda s: s.t_start_ns):
        if step.t_start_ns > at:
            start.append(at)
            end.append(step.t_start_ns)
            level.append(0.0)
        start.append(step.t_start_ns)
        end.append(step.t_end_ns)
        level.append(0.0 if step.workload == "idle" else step.level or 0.0)
        at = step.t_end_ns
    power = np.array(level)
    return Pieces(np.array(start, np.int64), np.array(end, np.int64), power, power)
