"""From runs to points: which meter windows belong together, and what the inputs were meanwhile.

A meter window belongs to a point as a whole or not at all: a window that straddles the edge of a
step holds power of both sides. The inputs are integrated over exactly the meter windows of the
point, shifted by their own lag.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ..errors import InputError, RunError
from ..recording.documents import Step, meter_input
from .averaging import averaging_windows
from .energy import EnergyCurve, Pieces, pieces
from .findings import run_findings
from .joint_lags import joint_lags
from .lagged import lag_matters, lag_u_w, shift_ns_of
from .points import InputColumn, Points, concatenate
from .reference import LEAST_OBSERVED_SHARE
from .reference_means import reference_means
from .steady import steady_stretches, unsettled
from .supplies import Measured, measured_reference

if TYPE_CHECKING:
    from ..recording.reader import Run

__all__ = ["BLOCK_S", "run_points"]

Floats = npt.NDArray[np.float64]
BLOCK_S = 30.0
_NS = 1e9
_LEAST_OBSERVED = 0.98


def run_points(
    runs: Sequence[Run],
    *,
    segments: str = "auto",
    reference: str | None = None,
    align: bool = True,
) -> Points:
    """Cut runs into points.

    `segments` is `steps` (what the run says was running when), `steady` (stretches found in the
    meter's power, `analysis.steady`), `windows:SECONDS` (the whole run in windows of that length,
    labelled by blocks of 30 s), or `auto` (steps where there are any, `steady` where a machine was
    observed at its own work, else windows of 10 s).
    `reference` is a meter stream or a sum of them (`psu-a+psu-b`), instead of the one that the run
    itself names. With `align` every input is
    shifted by its own lag, where the recording determines one.

    Raises:
        InputError: `segments` is none of these, or `reference` names no meter stream.
        RunError: a run holds no meter, no estimator, or no whole meter window in any segment.

    """
    return concatenate([_points(run, segments, reference, align) for run in runs])


def _points(run: Run, segments: str, reference: str | None, align: bool) -> Points:
    measured = measured_reference(run, reference)
    meter = measured.series
    cut = pieces(meter)
    groups = _groups(run, cut, segments, meter.channel.resolution)
    if not groups:
        why = "; ".join(f"{f.code}: {f.message}" for f in cut.findings)
        raise RunError(
            f"{run.path}: expected meter windows of {meter.stream} inside the segments; found "
            f"none. {why or 'The steps may be shorter than the window'}."
        )
    boundary = meter.boundary or "psu_ac_input"
    means = reference_means(
        cut, [g.index for g in groups], meter, steady=not any(g.block for g in groups)
    )
    inputs, notes = _inputs(run, measured, cut, groups, align)
    notes += measured.notes
    notes += unsettled(run, cut, [g.index for g in groups if not g.block])
    share = meter.channel.observed_share
    if share < LEAST_OBSERVED_SHARE:
        notes += (
            f"{meter.stream} looked at {100 * share:.0f} % of the time: what it did not see is in "
            "the uncertainty as far as its readings scatter; poll it once per refresh",
        )
    if not inputs:
        raise RunError(
            f"{run.path}: expected at least one estimator beside the meter; there is none."
        )
    return Points(
        session=(run.start.session,) * len(groups),
        workload=tuple(g.workload for g in groups),
        segment=tuple(g.segment for g in groups),
        duration_s=means.duration_s,
        reference_w=means.power_w,
        reference_u_w=means.u_w,
        level=np.array([g.level for g in groups]),
        start_unix_s=means.start_s,
        inputs=inputs,
        boundary=boundary,
        data_kind=run.start.data_kind,
        reference=replace(measured.reference, window_s=float(np.median(cut.duration_s))),
        blocks=all(g.block for g in groups),
        notes=notes,
        correlation_time_s=means.correlation_time_s,
        quantisation_w=means.quantisation_w,
        load_period_s=np.array([g.load_period_s for g in groups]),
        findings=(*run_findings(run, meter, cut), *measured.findings),
        averaging=averaging_windows(run, meter, _plateaus(cut, groups)),
    )


class _Group:
    """The meter windows of one point."""

    __slots__ = ("block", "index", "level", "load_period_s", "segment", "workload")

    def __init__(
        self,
        index: npt.NDArray[np.intp],
        workload: str,
        segment: str,
        level: float,
        block: bool = False,
        load_period_s: float = math.nan,
    ) -> None:
        self.index, self.workload, self.segment = index, workload, segment
        self.level, self.block, self.load_period_s = level, block, load_period_s


def _groups(run: Run, cut: Pieces, segments: str, resolution: float | None) -> list[_Group]:
    kind, _, length = segments.partition(":")
    if kind == "auto":
        kind, length = ("steps", "") if _marked(run) else ("steady", "")
        if not run.steps:
            kind, length = "windows", "10"
    if kind == "steps":
        if not _marked(run):
            raise RunError(
                f"{run.path}: expected steps; the run has none that measure. Say --segments "
                "windows:SECONDS."
            )
        return _by_steps(run, cut)
    if kind == "windows":
        try:
            seconds = float(length)
        except ValueError:
            seconds = 0.0
        if seconds > 0:
            return _by_windows(cut, seconds)
    if kind == "steady":
        return [
            _Group(index, "unmarked", f"stretch-{i:04d}", math.nan)
            for i, index in enumerate(steady_stretches(cut, resolution))
        ]
    raise InputError(f"--segments: expected steps, steady or windows:SECONDS; got {segments!r}.")


def _marked(run: Run) -> bool:
    """Whether a run has steps that measure: not only preambles, warm-ups and observation."""
    return any(s.t_end_ns - s.t_start_ns > s.settle_s * _NS for s in run.steps)


def _by_steps(run: Run, cut: Pieces) -> list[_Group]:
    groups = []
    for step in run.steps:
        begin = step.t_start_ns + round(step.settle_s * _NS)
        index = np.flatnonzero((cut.start_ns >= begin) & (cut.end_ns <= step.t_end_ns))
        if index.size:
            level = math.nan if step.level is None else step.level
            groups.append(
                _Group(
                    index,
                    step.workload,
                    f"step-{step.index:04d}",
                    level,
                    load_period_s=_load_period_s(step),
                )
            )
    return groups


def _load_period_s(step: Step) -> float:
    """Return the period of a square wave that a step drew, s; NaN where there was none.

    Nor where the processor drew it: no sensor that looks part of the time looks at that.
    """
    period_s = step.achieved.get("period_s")
    if not isinstance(period_s, (int, float)) or step.achieved.get("device") == "cpu":
        return math.nan
    return float(period_s)


def _by_windows(cut: Pieces, seconds: float) -> list[_Group]:
    """Give each meter window to the point that holds its middle, so that none is cut or lost."""
    if not cut.start_ns.size:
        return []
    since = (0.5 * (cut.start_ns - cut.start_ns[0]) + 0.5 * (cut.end_ns - cut.start_ns[0])) / _NS
    number = np.floor(since / seconds).astype(np.int64)
    first = np.flatnonzero(np.concatenate([[True], np.diff(number) > 0]))
    groups = []
    for begin, end in zip(first, np.append(first[1:], number.size), strict=True):
        index = np.arange(begin, end)
        if cut.duration_s[index].sum() < 0.9 * seconds:  # the last, cut short, or mostly a gap
            continue
        block = int(number[begin] * seconds // BLOCK_S)
        groups.append(_Group(index, "unmarked", f"block-{block:04d}", math.nan, block=True))
    return groups


def _plateaus(cut: Pieces, groups: Sequence[_Group]) -> list[tuple[int, int]]:
    """Return when each steady stretch begins and ends, ns; blocks of one whole are no such."""
    spans = [
        (int(cut.start_ns[g.index[0]]), int(cut.end_ns[g.index[-1]])) for g in groups if not g.block
    ]
    return sorted(spans)


def _inputs(
    run: Run, measured: Measured, cut: Pieces, groups: Sequence[_Group], align: bool
) -> tuple[dict[str, InputColumn], tuple[str, ...]]:
    found: dict[str, InputColumn] = {}
    notes: list[str] = []
    meter = measured.series
    columns = {**run.inputs(), **_other_meters(run, measured.streams)}
    # The board's own sensor may have been taken for the reference: it is no input then.
    columns = {k: place for k, place in columns.items() if place[0] not in measured.streams}
    all_series = {key: run.series(*place) for key, place in columns.items()}
    all_pieces = {key: pieces(series) for key, series in all_series.items()}
    lags = joint_lags(cut, all_pieces) if align else {}
    for key, (stream, _) in columns.items():
        series, own, lag = all_series[key], all_pieces[key], lags.get(key)
        shift_ns = np.zeros(cut.start_ns.size)
        if lag is not None and lag_matters(lag, cut):
            shift_ns = shift_ns_of(lag, cut)
            notes.append(
                f"{key} lags {meter.stream} by {lag.offset_s:+.3f} s "
                f"(u {lag.u_s:.3f} s); shifted accordingly"
            )
        value, lost = _means(EnergyCurve(own), cut, groups, shift_ns)
        if lost:
            notes.append(f"{key}: {lost} points not observed completely, left out")
        if own.undecided:
            notes.append(f"{key}: {own.undecided} counter steps went back and were left out")
        descriptor = run.descriptors[stream]
        found[key] = InputColumn(
            value=value,
            unit="1" if series.channel.unit == "1" else "W",
            mode=descriptor.mode,
            modes=(descriptor.mode,),
            scope=_scope(key, descriptor.scope),
            source=descriptor.source,
            lag=lag,
            constant=_constant(value[np.isfinite(value)]),
            u=lag_u_w(lag, own, cut, [g.index for g in groups], applied=bool(np.any(shift_ns))),
            observed_share=series.channel.observed_share,
        )
    return found, tuple(notes)


def _scope(key: str, scope: tuple[str, ...]) -> tuple[str, ...]:
    """Return what an input sees of its stream's scope: `rapl_dram` of a stream of both is DRAM."""
    return tuple(part for part in scope if key.endswith(f"_{part}")) or scope


def _constant(value: Floats) -> bool:
    """Say whether an input never changes; one that was not observed has not shown that."""
    if not value.size:
        return False
    return bool(value.std() <= 1e-6 * max(abs(float(value.mean())), 1e-9))


def _other_meters(run: Run, reference: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Return the meters beside the reference: a second meter is an input like any estimator."""
    others = {}
    for stream in run.meters():
        names = [c.name for c in run.descriptors[stream].channels]
        names += [d.channel.name for d in run.descriptors[stream].derived]
        if stream not in reference and "power_w" in names:
            others[meter_input(stream)] = (stream, "power_w")
    return others


def _means(
    curve: EnergyCurve, cut: Pieces, groups: Sequence[_Group], shift_ns: Floats
) -> tuple[Floats, int]:
    """Integrate over exactly the meter windows of every point; NaN if too little was seen."""
    shift = np.rint(shift_ns).astype(np.int64)
    energy, observed = curve.between(cut.start_ns + shift, cut.end_ns + shift)
    value = np.full(len(groups), np.nan)
    for i, group in enumerate(groups):
        seen = float(observed[group.index].sum())
        wanted = float(cut.duration_s[group.index].sum())
        if seen >= _LEAST_OBSERVED * wanted:
            value[i] = float(energy[group.index].sum()) / seen
    return value, int(np.count_nonzero(np.isnan(value)))
