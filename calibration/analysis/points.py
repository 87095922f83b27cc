"""Points: the unit of every fit, one row per steady segment, never a single sample.

`analysis.points_table` reads and writes them as CSV.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from ..errors import InputError
from .alignment import Lag
from .averaging import AveragingWindow

__all__ = [
    "Finding",
    "InputColumn",
    "Points",
    "Reference",
    "concatenate",
]

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Reference:
    """What the reference is worth: its common gain (relative) and offset (W), as standard u.

    `resolution_w` is its smallest step; `assumed` is True where the gain stands in no data sheet.
    """

    meter: str
    u_gain: float
    u_offset_w: float
    resolution_w: float | None
    source: str
    assumed: bool = False
    window_s: float | None = None


@dataclass(frozen=True, slots=True, eq=False)
class InputColumn:
    """One input over all points: mean power, W (`cpu_load`: 0 to 1), with its mode and lag.

    `period_s` is the time between two looks of its sensor, `observed_share` how much of it the
    sensor sees (a part-time sensor sees less than 1; None: nobody says). `u` holds the standard
    uncertainty of each mean due to the input's own noise and to its lag, where known.
    """

    value: Floats
    unit: str = "W"
    mode: str | None = None
    modes: tuple[str | None, ...] = ()
    scope: tuple[str, ...] = ()
    source: str = ""
    lag: Lag | None = None
    constant: bool = False
    period_s: float | None = None
    observed_share: float | None = None
    u: Floats | None = None

    def select(self, index: npt.NDArray[np.intp]) -> InputColumn:
        """Return the column at these points."""
        u = None if self.u is None else self.u[index]
        return replace(self, value=self.value[index], u=u)


@dataclass(frozen=True, slots=True)
class Finding:
    """Something found in a recording: its code (a row of `verdict.RULES`) and what was seen.

    `inputs` names the inputs that it concerns; none means all of them. `consequence` replaces that
    of the rule where the fault does not reach what is fitted.
    """

    code: str
    message: str
    inputs: tuple[str, ...] = ()
    consequence: Literal["refuse", "downgrade", "flag"] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Points:
    """A table of points; every array has shape (n,).

    `load_period_s` is the period of a pulsed load, s, NaN where the load is steady.
    `correlation_time_s` is the integral correlation time of the meter's readings about a steady
    level, and `quantisation_w` what its resolution leaves in the mean as a standard uncertainty
    that points of one level share (part of `reference_u_w`); None or NaN where not known.
    `averaging` says over how long the power sensors of the estimators average, where a run told.
    """

    session: tuple[str, ...]
    workload: tuple[str, ...]
    segment: tuple[str, ...]
    duration_s: Floats
    reference_w: Floats
    reference_u_w: Floats
    level: Floats
    start_unix_s: Floats
    inputs: Mapping[str, InputColumn]
    boundary: str = "psu_ac_input"
    data_kind: str = "measured"
    reference: Reference | None = None
    blocks: bool = False
    notes: tuple[str, ...] = field(default=())
    load_period_s: Floats | None = None
    correlation_time_s: Floats | None = None
    quantisation_w: Floats | None = None
    findings: tuple[Finding, ...] = ()
    averaging: tuple[AveragingWindow, ...] = ()

    @property
    def n(self) -> int:
        """Return the number of points."""
        return len(self.segment)

    @property
    def idle(self) -> npt.NDArray[np.bool_]:
        """Return which points are idle."""
        return np.array([w == "idle" for w in self.workload], dtype=bool)

    def idle_inputs(self, inputs: Sequence[str]) -> dict[str, float] | None:
        """Return the mean of each input over the idle points, or None without idle points."""
        idle = self.idle
        if not idle.any():
            return None
        return {k: float(np.nanmean(self.inputs[k].value[idle])) for k in inputs}

    def select(self, keep: npt.NDArray[np.bool_]) -> Points:
        """Return the points for which `keep` is true."""
        index = np.flatnonzero(keep)

        def pick(names: tuple[str, ...]) -> tuple[str, ...]:
            return tuple(names[i] for i in index)

        return Points(
            session=pick(self.session),
            workload=pick(self.workload),
            segment=pick(self.segment),
            duration_s=self.duration_s[index],
            reference_w=self.reference_w[index],
            reference_u_w=self.reference_u_w[index],
            level=self.level[index],
            start_unix_s=self.start_unix_s[index],
            inputs={k: c.select(index) for k, c in self.inputs.items()},
            boundary=self.boundary,
            data_kind=self.data_kind,
            reference=self.reference,
            blocks=self.blocks,
            notes=self.notes,
            load_period_s=_at(self.load_period_s, index),
            correlation_time_s=_at(self.correlation_time_s, index),
            quantisation_w=_at(self.quantisation_w, index),
            findings=self.findings,
            averaging=self.averaging,
        )


def concatenate(tables: Sequence[Points]) -> Points:
    """Join tables of points; they must share their boundary, and only common inputs remain.

    Raises:
        InputError: there is nothing to join, or the boundaries differ.

    """
    if not tables:
        raise InputError("Expected at least one run or table of points; got none.")
    first = tables[0]
    boundaries = sorted({t.boundary for t in tables})
    if len(boundaries) > 1:
        raise InputError(
            f"Expected one boundary; got {', '.join(boundaries)}. Power at different boundaries is "
            "not comparable: fit them apart."
        )
    common = [k for k in first.inputs if all(k in t.inputs for t in tables)]
    worst = max((t.reference for t in tables if t.reference), key=lambda r: r.u_gain, default=None)
    inputs = {}
    for key in common:
        columns = [t.inputs[key] for t in tables]
        modes = tuple(dict.fromkeys(m for c in columns for m in (c.modes or (c.mode,))))
        inputs[key] = InputColumn(
            value=np.concatenate([c.value for c in columns]),
            unit=columns[0].unit,
            mode=modes[0] if len(modes) == 1 else None,
            modes=modes,
            scope=columns[0].scope,
            source=columns[0].source,
            lag=_usual([c.lag for c in columns]),
            constant=all(c.constant for c in columns),
            u=_joined([c.u for c in columns]),
            period_s=max((c.period_s for c in columns if c.period_s is not None), default=None),
            observed_share=_least_share([c.observed_share for c in columns]),
        )
    return Points(
        session=tuple(s for t in tables for s in t.session),
        workload=tuple(w for t in tables for w in t.workload),
        segment=tuple(s for t in tables for s in t.segment),
        duration_s=np.concatenate([t.duration_s for t in tables]),
        reference_w=np.concatenate([t.reference_w for t in tables]),
        reference_u_w=np.concatenate([t.reference_u_w for t in tables]),
        level=np.concatenate([t.level for t in tables]),
        start_unix_s=np.concatenate([t.start_unix_s for t in tables]),
        inputs=inputs,
        boundary=first.boundary,
        data_kind="simulated" if any(t.data_kind == "simulated" for t in tables) else "measured",
        reference=worst,
        blocks=any(t.blocks for t in tables),
        notes=tuple(dict.fromkeys(n for t in tables for n in t.notes)),
        load_period_s=_filled([(t.n, t.load_period_s) for t in tables]),
        correlation_time_s=_filled([(t.n, t.correlation_time_s) for t in tables]),
        quantisation_w=_filled([(t.n, t.quantisation_w) for t in tables]),
        findings=tuple(dict.fromkeys(f for t in tables for f in t.findings)),
        averaging=tuple(a for t in tables for a in t.averaging),
    )


def _least_share(shares: Sequence[float | None]) -> float | None:
    """Return the least share that a sensor sees of its time; None where it may be less."""
    least = min((s for s in shares if s is not None), default=1.0)
    return least if least < 1 or None not in shares else None


def _usual(lags: Sequence[Lag | None]) -> Lag | None:
    """Return the median lag of several recordings; an unresolved one where half of them are."""
    known = [lag for lag in lags if lag is not None]
    told = sorted((lag for lag in known if lag.resolved), key=lambda lag: lag.offset_s)
    if not known or 2 * len(told) <= len(known):
        return next((lag for lag in known if not lag.resolved), None)
    return told[len(told) // 2]


def _joined(parts: Sequence[Floats | None]) -> Floats | None:
    """Join what every table knows; None where one does not."""
    known = [p for p in parts if p is not None]
    return np.concatenate(known) if len(known) == len(parts) else None


def _filled(parts: Sequence[tuple[int, Floats | None]]) -> Floats | None:
    """Join columns, NaN for the n points of a table that lacks it; None where every table does."""
    if all(p is None for _, p in parts):
        return None
    return np.concatenate([np.full(n, math.nan) if p is None else p for n, p in parts])


def _at(column: Floats | None, index: npt.NDArray[np.intp]) -> Floats | None:
    return None if column is None else column[index]
