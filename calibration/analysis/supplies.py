"""The reference of a run as one series: a meter, or the sum of those that feed one machine.

Several supplies (`psu-a+psu-b`) are added on a common grid: the times between two stamps of the
slowest of their meters. An interval in which one of them was not seen has no sum: half a machine is
no smaller machine, it is a fault.

The sum's uncertainty by the law of propagation (GUM 5.2.2, eq. 16), s_i being the share of supply i
in the energy: u(gain)² = ΣΣ r_ij s_i u_i s_j u_j, and u(offset)² = ΣΣ r_ij u_i u_j. Two meters
of one model, or with certificates of one issuer, err alike (their design, their standard): r = 1.
Others err apart: r = 0. Their display steps are independent: q² = Σ q_i².
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from ..errors import InputError, RunError
from ..plans.reference import parse_reference
from ..recording.documents import ChannelInfo
from ..recording.reader import Series
from .energy import EnergyCurve, pieces
from .points import Finding, Reference
from .reference import power_factor_of, reference_of

if TYPE_CHECKING:
    from ..recording.reader import Run

__all__ = ["Measured", "measured_reference", "reference_streams"]

Floats = npt.NDArray[np.float64]

_NS = 1e9
_LEAST_SEEN: Final = 0.9
"""Of the share that a meter sees at all: so much of an interval it must have seen."""
_LONGEST: Final = 1.5
"""An interval longer than this many usual ones holds a gap of the grid's own meter."""
_BOARD: Final = "bmc"
"""The input of a board's own sensor, and the word that makes it the reference."""


@dataclass(frozen=True, slots=True, eq=False)
class Measured:
    """The reference: its series, what it is worth, the streams behind it, what was noticed."""

    series: Series
    reference: Reference
    streams: tuple[str, ...]
    notes: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()


def reference_streams(run: Run, expression: str | None) -> tuple[str, ...]:
    """Return the meters behind a reference; without one, that of the run, else the first meter.

    Raises:
        RunError: the run has no meter.
        InputError: the expression names none of its meters.

    """
    meters = run.meters()
    if not meters:
        hint = " Its board's own sensor serves with --reference bmc only."
        raise RunError(
            f"{run.path}: expected a meter stream; the run has none."
            f"{hint if _BOARD in run.inputs() else ''}"
        )
    stated = expression or run.start.setup.get("reference")
    if not stated:
        return (meters[0],)
    try:
        return parse_reference(str(stated), meters)
    except InputError as error:
        raise InputError(f"{run.path}: {error}") from None


def measured_reference(run: Run, expression: str | None = None) -> Measured:
    """Return the reference of a run, corrected by what is known of its meters.

    Raises:
        RunError: the run has no meter, or no interval in which all supplies were seen.
        InputError: the expression names no meters of this run, or they cannot be added.

    """
    board = _board(run, expression or run.start.setup.get("reference"))
    if board is not None:
        return board
    streams = reference_streams(run, expression)
    if len(streams) == 1:
        series = _power_or_energy(run, streams[0])
        return Measured(series, _worth(run, series), streams, _expired(run, streams))
    return _sum(run, streams)


def _board(run: Run, expression: str | None) -> Measured | None:
    """Return the board's own sensor as the reference, where it is meant and there is one."""
    place = run.inputs().get(_BOARD)
    if expression != _BOARD or place is None or _BOARD in run.meters():
        return None
    series = run.series(*place)
    message = f"{series.source} ({series.stream}) is an estimator like the others, not a meter"
    finding = Finding("board_reference", message)
    return Measured(
        series, reference_of(series.source, series.channel), (series.stream,), (), (finding,)
    )


def _power_or_energy(run: Run, stream: str) -> Series:
    descriptor = run.descriptors[stream]
    names = [c.name for c in descriptor.channels] + [d.channel.name for d in descriptor.derived]
    for name in ("power_w", "energy_j"):
        if name in names:
            return _corrected(run, run.series(stream, name))
    raise RunError(
        f"{run.path}: expected a channel power_w or energy_j in {stream}; got {', '.join(names)}."
    )


def _correction(run: Run, stream: str) -> Mapping[str, Any] | None:
    known = run.descriptors[stream].traceability
    return None if known is None else known.get("correction")


def _corrected(run: Run, series: Series) -> Series:
    """Apply the correction that was known of the meter when it was recorded."""
    correction = _correction(run, series.stream)
    if correction is None:
        return series
    gain, offset_w = float(correction["gain"]), float(correction["offset_w"])
    if series.channel.kind != "counter":
        return replace(series, value=gain * series.value + offset_w)
    if offset_w:
        raise InputError(
            f"{run.path}: the correction of {series.stream} has an offset, {offset_w:g} W, and its "
            "reading is an energy register; a register can be corrected by a gain only."
        )
    wrap = series.channel.wrap
    return replace(
        series,
        value=gain * series.value,
        channel=replace(series.channel, wrap=None if wrap is None else gain * wrap),
    )


def _worth(run: Run, series: Series) -> Reference:
    """Return what one meter is worth: its correction's uncertainty, else its data sheet's."""
    found = reference_of(
        series.source, series.channel, power_factor=power_factor_of(run, series.stream)
    )
    correction = _correction(run, series.stream)
    if correction is None:
        return found
    return replace(
        found,
        u_gain=float(correction["u_gain"]),
        u_offset_w=float(correction["u_offset_w"]),
        source=f"the known correction of {series.stream}{_certificate(run, series.stream)}",
        assumed=False,
    )


def _certificate(run: Run, stream: str) -> str:
    certificate = (run.descriptors[stream].traceability or {}).get("certificate")
    return "" if certificate is None else f", certificate {certificate['id']}"


def _expired(run: Run, streams: Sequence[str]) -> tuple[str, ...]:
    notes = []
    for stream in streams:
        known = run.descriptors[stream].traceability or {}
        if known.get("expired"):
            notes.append(
                f"the certificate {known['certificate']['id']} of {stream} was due on "
                f"{known['certificate']['due']}, before this run: have the meter calibrated"
            )
    return tuple(notes)


def _sum(run: Run, streams: tuple[str, ...]) -> Measured:
    parts = []
    for stream in streams:
        series = _power_or_energy(run, stream)
        if series.channel.name != "power_w":
            raise InputError(
                f"{run.path}: supplies are added by their power; {stream} has a register only."
            )
        parts.append(series)
    places = {p.boundary for p in parts}
    if len(places) > 1:
        raise InputError(
            f"{run.path}: expected supplies at one boundary; got {', '.join(map(str, places))}."
        )
    cuts = [pieces(p) for p in parts]
    for stream, cut in zip(streams, cuts, strict=True):
        if cut.start_ns.size < 2:
            raise RunError(f"{run.path}: supply {stream} of {'+'.join(streams)} has no readings.")
    usual = [float(np.median(np.diff(c.end_ns))) for c in cuts]
    slowest = int(np.argmax(usual))
    edges = cuts[slowest].end_ns
    start, end = edges[:-1], edges[1:]
    total, length = np.zeros(start.size), (end - start) / _NS
    energy_j = []
    missing: dict[int, str] = {
        int(i): f"gap:{streams[slowest]}"
        for i in np.flatnonzero((end - start) > _LONGEST * usual[slowest])
    }
    for stream, cut, part in zip(streams, cuts, parts, strict=True):
        energy, observed = EnergyCurve(cut).between(start, end)
        blind = observed < _LEAST_SEEN * part.channel.observed_share * length
        missing.update({int(i): f"missing:{stream}" for i in np.flatnonzero(blind)})
        power = np.divide(energy, observed, out=np.zeros_like(energy), where=observed > 0)
        total += power
        energy_j.append(power * length)
    seen = np.ones(start.size, dtype=bool)
    seen[list(missing)] = False
    if not seen.any():
        raise RunError(
            f"{run.path}: expected a time in which all of {', '.join(streams)} were read; there is "
            "none."
        )
    joules = np.array([e[seen].sum() for e in energy_j])
    worths = [_worth(run, p) for p in parts]
    name = "+".join(streams)
    reference = _combined(run, streams, worths, joules / joules.sum())
    steps = [p.channel.resolution or 0.0 for p in parts]
    channel = ChannelInfo(
        name="power_w", quantity="active_power", unit="W", kind="mean",
        window_s=usual[slowest] / _NS, resolution=math.hypot(*steps) or None,
        observed_share=min(p.channel.observed_share for p in parts),
    )  # fmt: skip
    series = Series(
        stream=name,
        channel=channel,
        t_ns=end,
        t_half_width_ns=np.zeros(end.size, dtype=np.int64),
        value=np.where(seen, total, np.nan),
        window_ns=end - start,
        cadence_s=usual[slowest] / _NS,
        max_gap_s=None,
        source=name,
        mode=None,
        boundary=parts[0].boundary,
        role="meter",
        faults=missing,
    )
    shares = ", ".join(
        f"{s} {100 * j / joules.sum():.0f} %" for s, j in zip(streams, joules, strict=True)
    )
    notes = [f"the reference is the sum {name} (of the energy: {shares})"]
    for stream in streams:
        lost = sum(text == f"missing:{stream}" for text in missing.values())
        if lost:
            notes.append(
                f"supply {stream} was not seen in {lost} of {start.size} intervals: they have no "
                "sum and are left out"
            )
    return Measured(series, reference, streams, (*notes, *_expired(run, streams)))


def _combined(
    run: Run, streams: Sequence[str], worths: Sequence[Reference], share: Floats
) -> Reference:
    """Propagate the meters' uncertainties to the sum; see the head of this file."""
    alike = np.array([[_err_alike(run, a, b) for b in streams] for a in streams], dtype=np.float64)
    gain = share * np.array([w.u_gain for w in worths])
    offset = np.array([w.u_offset_w for w in worths])
    pairs = [
        f"{a} and {b}"
        for i, a in enumerate(streams)
        for b in streams[i + 1 :]
        if _err_alike(run, a, b)
    ]
    how = f"errors of {'; '.join(pairs)} taken as equal" if pairs else "errors taken as independent"
    steps = [w.resolution_w or 0.0 for w in worths]
    return Reference(
        meter="+".join(w.meter for w in worths),
        u_gain=math.sqrt(float(gain @ alike @ gain)),
        u_offset_w=math.sqrt(float(offset @ alike @ offset)),
        resolution_w=math.hypot(*steps) or None,
        source=f"{how}; " + "; ".join(dict.fromkeys(w.source for w in worths)),
        assumed=any(w.assumed for w in worths),
    )


def _err_alike(run: Run, a: str, b: str) -> bool:
    """Whether two meters share their design or the standard that they were calibrated against."""
    first, second = run.descriptors[a], run.descriptors[b]
    if a == b or first.source == second.source:
        return True
    issuers = [
        ((d.traceability or {}).get("certificate") or {}).get("issuer") for d in (first, second)
    ]
    return issuers[0] is not None and issuers[0] == issuers[1]
