"""What is wrong with a recording, found in its series without being told where to look.

`Pieces.findings` says what a series itself shows (registers, clocks, units, zeros). This file adds
what only shows beside another series: a load that repeats faster than a part-time sensor looks, a
register too coarse for the stretches it is asked about, windows that differ from the meter's.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from .alignment import estimate_lag
from .counters import clock_findings
from .energy import EnergyCurve, Pieces, pieces
from .points import Finding

if TYPE_CHECKING:
    from ..recording.reader import Run, Series

__all__ = ["load_period", "run_findings", "update_period"]

Floats = npt.NDArray[np.float64]
Instants = npt.NDArray[np.int64]
_NS = 1e9
_COARSE = 0.05
_WINDOWS_DIFFER = 0.02
_SENSOR_PERIODS = 10
# Clocks are set by minutes and less, or by hours that no search over the load would find.
_MOST_JUMP_S = 120.0


def run_findings(run: Run, meter: Series, cut: Pieces) -> tuple[Finding, ...]:
    """Return everything that is found in a run; `cut` are the pieces of the reference `meter`.

    What was found in a series and left out of its energy is a flag; what reaches the values that
    are fitted has the consequence of its rule.
    """
    found = [Finding(f.code, f.message, consequence="flag") for f in clock_findings(run.clocks)]
    inputs = {place: key for key, place in run.inputs().items()}
    seen: dict[str, Pieces] = {}
    for name, descriptor in run.descriptors.items():
        channels = [*descriptor.channels, *(d.channel for d in descriptor.derived)]
        for channel in channels:
            if channel.unit not in ("W", "J", "1", "Wh", "kWh", "mW", "mJ", "uJ"):
                continue
            own_meter = (name, channel.name) == (meter.stream, meter.channel.name)
            series = meter if own_meter else run.series(name, channel.name)
            own = cut if own_meter else pieces(series)
            key = inputs.get((name, channel.name))
            if key is None and not (own_meter or descriptor.role == "meter"):
                continue
            about = () if key is None else (key,)
            found += [
                Finding(f.code, f"{name} {channel.name}: {f.message}", about, "flag")
                for f in own.findings
            ]
            if descriptor.role == "meter":
                found += _coarse(series, f"{name} {channel.name}", own_meter)
            if key is not None:
                for power in _powers(run, series):
                    found += _aliased(run, key, power, cut)
                found += _windows(key, series, meter)
                seen[key] = own
    for fault in run.faults:
        if fault.code == "backwards":
            text = f"{fault.stream}: {fault.count} rows left out ({fault.message})"
            found.append(Finding("time_jump", text, consequence="flag"))
            for key, own in seen.items():
                if fault.stream in (meter.stream, run.inputs()[key][0]):
                    found += _parted(key, own, cut, fault.t_opened_ns)
    return tuple(dict.fromkeys(found))


def _parted(key: str, own: Pieces, cut: Pieces, jump_ns: int) -> list[Finding]:
    """Say whether an input's lag is the same on both sides of a jump of a clock, if it shows.

    Nothing to say where one side has nothing left: its rows repeated a time and are out already.
    """
    sides = [(cut.end_ns <= jump_ns) & _covered(cut, own), (cut.start_ns >= jump_ns)
             & _covered(cut, own)]  # fmt: skip
    if not all(side.any() for side in sides):
        return []
    before, after = (estimate_lag(_part(cut, side), own, most_s=_MOST_JUMP_S) for side in sides)
    if before.resolved and after.resolved:
        apart = abs(before.offset_s - after.offset_s)
        window_s = float(np.median(cut.duration_s))
        if apart <= max(5 * math.hypot(before.u_s, after.u_s), 0.05 * window_s):
            return []
        what = f"its lag behind the meter is {before.offset_s:+.3g} then {after.offset_s:+.3g} s"
    else:
        reason = before.reason if not before.resolved else after.reason
        what = f"its lag behind the meter is not known on both sides ({reason})"
    text = f"{key}: {what}: rows behind the jump belong to another time. Split the recording there"
    return [Finding("time_jump", text, (key,), "refuse")]


def _covered(cut: Pieces, own: Pieces) -> npt.NDArray[np.bool_]:
    if not own.start_ns.size:
        return np.zeros(cut.start_ns.size, dtype=bool)
    covered: npt.NDArray[np.bool_] = (cut.end_ns > own.start_ns[0]) & (
        cut.start_ns < own.end_ns[-1]
    )
    return covered


def _part(cut: Pieces, keep: npt.NDArray[np.bool_]) -> Pieces:
    return Pieces(cut.start_ns[keep], cut.end_ns[keep], cut.start_w[keep], cut.end_w[keep])


def _coarse(series: Series, name: str, reference: bool) -> list[Finding]:
    """Compare a register's step with what it counts from one reading to the next."""
    channel = series.channel
    if channel.kind != "counter" or not channel.resolution:
        return []
    step = np.diff(series.value)
    usual = float(np.mean(step[np.isfinite(step) & (step >= 0)])) if step.size else 0.0
    u = channel.resolution / math.sqrt(6)
    if usual <= 0 or u <= _COARSE * usual:
        return []
    text = (
        f"{name}: the register's step of {channel.resolution:g} J makes {100 * u / usual:.0f} % of "
        f"the {usual:.3g} J between two readings (q/√6); take longer stretches"
    )
    return [Finding("meter_too_coarse", text, consequence=None if reference else "flag")]


def _windows(key: str, series: Series, meter: Series) -> list[Finding]:
    """Compare the windows of rows that share their stamps."""
    if series.window_ns is None or meter.window_ns is None:
        return []
    if series.t_ns.size != meter.t_ns.size or not np.array_equal(series.t_ns, meter.t_ns):
        return []
    both = (series.window_ns > 0) & (meter.window_ns > 0)
    if np.count_nonzero(both) < 3:
        return []
    difference = (meter.window_ns[both] - series.window_ns[both]) / _NS
    usual = float(np.median(series.window_ns[both])) / _NS
    if float(np.sqrt(np.mean(difference**2))) <= _WINDOWS_DIFFER * usual:
        return []
    text = (
        f"{key}: the reference's windows differ from the tool's by {np.median(difference):+.2g} s "
        f"of {usual:.3g} s (median; at most {np.max(np.abs(difference)):.2g} s), an energy per "
        "run, not per second"
    )
    return [Finding("window_mismatch", text, (key,))]


def update_period(t_ns: Instants, value: Floats) -> float | None:
    """Return the usual time between two changes of a reading, s; None with fewer than ten."""
    good = np.isfinite(value)
    t, v = t_ns[good], value[good]
    changed = t[1:][np.diff(v) != 0]
    if changed.size < 10:
        return None
    return float(np.median(np.diff(changed))) / _NS


def load_period(start_ns: Instants, end_ns: Instants, power_w: Floats) -> float | None:
    """Return the period of a pulsed load, s, or None where the power does not repeat.

    The pieces are laid on an even grid of their median length; the autocorrelation (by FFT, of the
    power less its mean) must reach one half again after it has been below zero.
    """
    if power_w.size < 64:
        return None
    step_s = float(np.median(end_ns - start_ns)) / _NS
    if step_s <= 0:
        return None
    middle = 0.5 * ((start_ns - start_ns[0]) + (end_ns - start_ns[0])) / _NS
    grid = np.arange(0.0, float(middle[-1]), step_s)
    if grid.size < 64 or grid.size > 2_000_000:
        return None
    even = np.interp(grid, middle, power_w)
    even = even - even.mean()
    spectrum = np.fft.rfft(even, 2 * even.size)
    correlation = np.fft.irfft(np.abs(spectrum) ** 2)[: even.size // 2]
    if correlation[0] <= 0:
        return None
    # Fewer products make up the later lags; without this a long period would look weaker.
    correlation = correlation / correlation[0] * even.size / (even.size - np.arange(even.size // 2))
    below = np.flatnonzero(correlation < 0)
    if not below.size:
        return None
    again = correlation[below[0] :]
    if not again.size or float(again.max()) < 0.5:
        return None
    first = int(np.argmax(again >= 0.95 * again.max()))
    while first + 1 < again.size and again[first + 1] > again[first]:
        first += 1
    return float(below[0] + first) * step_s


def _powers(run: Run, series: Series) -> list[Series]:
    """Return the powers that show how an input looks: its own, or those beside its counter.

    The steps of a counter tell nothing of it, since they are taken when somebody asks.
    """
    if series.channel.kind != "counter":
        return [series]
    beside = run.descriptors[series.stream].channels
    return [
        run.series(series.stream, c.name) for c in beside if c.kind == "instant" and c.unit == "W"
    ]


def _aliased(run: Run, key: str, series: Series, cut: Pieces) -> list[Finding]:
    """Find a load that repeats within a few updates of a sensor that sees a part of it only.

    A sensor that averages over its whole update sees what the meter's means over the same spans
    see. One that looks at a part of the span catches another phase each time: its readings scatter
    by more than three times as much, and by more than a tenth of the load's own swing.
    """
    period = update_period(series.t_ns, series.value)
    if period is None or not cut.start_ns.size:
        return []
    if float(np.median(cut.duration_s)) > 0.1 * period:
        return []
    curve = EnergyCurve(cut)
    for step in run.steps:
        begin = step.t_start_ns + round(step.settle_s * _NS)
        inside = (cut.start_ns >= begin) & (cut.end_ns <= step.t_end_ns)
        power = 0.5 * (cut.start_w[inside] + cut.end_w[inside])
        repeats = load_period(cut.start_ns[inside], cut.end_ns[inside], power)
        if repeats is None or repeats >= _SENSOR_PERIODS * period:
            continue
        own = (series.t_ns >= begin) & (series.t_ns <= step.t_end_ns) & np.isfinite(series.value)
        value, end = series.value[own], series.t_ns[own]
        if value.size < 20:
            continue
        energy, observed = curve.between(end - round(period * _NS), end)
        seen = observed > 0.9 * period
        if np.count_nonzero(seen) < 20:
            continue
        scatter = float(np.std(value[seen]))
        allowed = float(np.std(energy[seen] / observed[seen]))
        swing = float(np.quantile(power, 0.9) - np.quantile(power, 0.1))
        if scatter > max(3 * allowed, 0.1 * swing):
            text = (
                f"{key}: in {step.workload} the load repeats every {repeats:.3g} s and the reading "
                f"{series.channel.name} renews every {period:.3g} s; it scatters by "
                f"{scatter:.3g} W where the meter's means over the same spans scatter by "
                f"{allowed:.3g} W: the sensor sees a part of its span only"
            )
            return [Finding("aliased_load", text, (key,))]
    return []
