"""Re-zero: keep the gain of a calibration, and establish its offset afresh at idle.

The offset of a machine jumps and drifts (fans, disks, a card, firmware) while the gain, set by the
supply and the scaling of the sensor, stays. With a meter at hand fifty seconds of idle give

    a = ȳ - Σ b_j φ_j(x̄)             φ_j: the terms of the profile without its constant
    u²(a) = s² 2τ/n + q²/12 + u²_drift (+ u²_meter)

over n meter windows at idle: s is the scatter of y - Σ b_j φ_j(x) inside the idle stretches and τ
its integrated autocorrelation time in windows (JCGM 100:2008, C.3.4 warns that
dependent readings need it), q the meter's resolution, which does not average out (JCGM 100:2008,
F.2.2.1), u_drift what the means of the stretches differ by beyond their noise, u_meter the gain and
offset of the meter where it is not the one of the calibration. The corrected power is then
ȳ + Σ b_j (φ_j(x) - φ_j(x̄)): at idle the covariance of the gain adds nothing.

It holds for the session of the run only: the next power-up has another offset.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ..errors import FitError, InputError
from .energy import pieces
from .model import term_values
from .points import Points
from .results import Term
from .segments import run_points
from .supplies import measured_reference

if TYPE_CHECKING:
    from ..recording.reader import Run

__all__ = ["LEAST_IDLE_S", "Rezero", "autocorrelation_time", "idle_windows", "rezero"]

Floats = npt.NDArray[np.float64]
LEAST_IDLE_S = 50.0
_NS = 1e9
_LOOK_S = 1.0
# Until stretches ten minutes apart have shown it: how far idle power wanders within a session.
_DRIFT_SPAN_S = 600.0
_ASSUMED_DRIFT = 0.001


@dataclass(frozen=True, slots=True)
class Rezero:
    """A fresh offset: `intercept_w` replaces the constant, `shift_w` is by how much it moved.

    `idle_w` and `inputs` are the means at idle; `jacobian` turns the covariance C of the terms into
    that of the re-zeroed function, J C Jᵀ. `u_w` is the standard uncertainty of the offset within
    its session, the root of the squares of `u_noise_w`, `u_resolution_w`, `u_drift_w` and
    `u_meter_w`, known with `dof`; `drift_assumed` says that the stretches lie too close together to
    show a drift. `correlation_time_s` is that of the windows about their mean.
    """

    session: str
    idle_s: float
    stretches: int
    idle_w: float
    inputs: Mapping[str, float]
    intercept_w: float
    shift_w: float
    jacobian: tuple[tuple[float, ...], ...]
    u_w: float
    u_noise_w: float
    u_resolution_w: float
    u_drift_w: float
    u_meter_w: float
    drift_assumed: bool
    dof: float
    correlation_time_s: float

    def to_json(self) -> dict[str, Any]:
        """Return the figures as JSON."""
        value = asdict(self)
        del value["jacobian"]
        return value


def idle_windows(run: Run, *, reference: str | None = None) -> Points:
    """Return the meter windows at idle as points; `segment` names the idle step of each.

    Windows shorter than 1 s are joined to 1 s: an input that is read ten times a second says
    nothing about a millisecond.

    Raises:
        InputError: the run has no idle step; RunError: it has no meter or no estimator.

    """
    idle = [s for s in run.steps if s.workload == "idle"]
    if not idle:
        raise InputError(
            f"{run.path}: expected an idle step; the run has none. Record one: wattcal record "
            "--workload idle:0:60"
        )
    cut = pieces(measured_reference(run, reference).series)
    looks = []
    for step in idle:
        begin = step.t_start_ns + round(step.settle_s * _NS)
        index = np.flatnonzero((cut.start_ns >= begin) & (cut.end_ns <= step.t_end_ns))
        if not index.size:
            continue
        start, end = cut.start_ns[index], cut.end_ns[index]
        look = np.floor((start - start[0]) / _NS / _LOOK_S + 1e-6).astype(np.int64)
        first = np.flatnonzero(np.concatenate([[True], np.diff(look) > 0]))
        last = np.append(first[1:], index.size) - 1
        looks += [
            replace(step, t_start_ns=int(a), t_end_ns=int(b), settle_s=0.0)
            for a, b in zip(start[first], end[last], strict=True)
        ]
    return run_points([replace(run, steps=tuple(looks))], segments="steps", reference=reference)


def rezero(windows: Points, terms: Sequence[Term], *, other_meter: bool = False) -> Rezero:
    """Establish the offset of a calibration function from meter windows at idle.

    `windows` are those of `idle_windows`, `terms` the function with its constant. `other_meter`
    says that the meter is not the one of the calibration, so that its own errors count.

    Raises:
        InputError: the points are of several sessions, or an input is not among them.
        FitError: the function has no constant, or there are less than 50 s of idle.

    """
    names = tuple(dict.fromkeys(t.input for t in terms if t.input is not None))
    missing = [n for n in names if n not in windows.inputs]
    if missing:
        raise InputError(
            f"Expected {', '.join(missing)} beside the meter; the run has "
            f"{', '.join(windows.inputs)}. Record it with the estimator of the profile."
        )
    sessions = set(windows.session)
    if len(sessions) != 1:
        raise InputError(f"Expected idle of one session; got {', '.join(sorted(sessions))}.")
    constant = [i for i, t in enumerate(terms) if t.basis == "const"]
    if not constant:
        raise FitError("This profile has no offset to re-zero: it is a gain only.")
    seen = np.isfinite(windows.reference_w)
    for name in names:
        seen &= np.isfinite(windows.inputs[name].value)
    kept = windows.select(seen)
    idle_s = float(kept.duration_s.sum())
    if idle_s < LEAST_IDLE_S:
        raise FitError(
            f"Expected at least {LEAST_IDLE_S:g} s of idle that meter and estimator both saw; got "
            f"{idle_s:.1f} s after settling. Record more: wattcal record --workload idle:0:60"
        )
    inputs = {name: kept.inputs[name].value for name in names}
    phi = term_values(terms, inputs) if names else np.ones((kept.n, len(terms)))
    value = np.array([t.value for t in terms])
    value[constant] = 0.0
    offset = kept.reference_w - phi @ value
    mean = float(np.average(offset, weights=kept.duration_s))
    u_noise, u_drift, assumed, dof, tau = _scatter(kept, offset)
    meter = kept.reference
    resolution = (meter.resolution_w or 0.0) / math.sqrt(12) if meter else 0.0
    idle_w = float(np.average(kept.reference_w, weights=kept.duration_s))
    u_meter = math.hypot(meter.u_gain * idle_w, meter.u_offset_w) if meter and other_meter else 0.0
    jacobian = np.eye(len(terms))
    jacobian[constant[0]] = -np.average(phi, axis=0, weights=kept.duration_s)
    jacobian[:, constant] = 0.0
    return Rezero(
        session=kept.session[0],
        idle_s=idle_s,
        stretches=len(set(kept.segment)),
        idle_w=idle_w,
        inputs={k: float(np.average(v, weights=kept.duration_s)) for k, v in inputs.items()},
        intercept_w=mean,
        shift_w=mean - sum(terms[i].value for i in constant),
        jacobian=tuple(tuple(float(v) for v in row) for row in jacobian),
        u_w=math.sqrt(u_noise**2 + resolution**2 + u_drift**2 + u_meter**2),
        u_noise_w=u_noise,
        u_resolution_w=resolution,
        u_drift_w=u_drift,
        u_meter_w=u_meter,
        drift_assumed=assumed,
        dof=dof,
        correlation_time_s=tau * float(np.median(kept.duration_s)),
    )


def _scatter(windows: Points, offset_w: Floats) -> tuple[float, float, bool, float, float]:
    """Return u of the mean by noise and by drift (W), whether assumed, the dof, and τ in windows.

    m >= 3 stretches whose means scatter by s_m predict the offset of any other moment of the
    session with s_m² (1 + 1/m) and m - 1 dof. Two stretches, or the halves of one, give no such
    scatter: 0.1 % of idle power is assumed, and their difference as a limit of error where it
    exceeds three of its standard uncertainties.
    """
    labels = np.array(windows.segment)
    names = list(dict.fromkeys(windows.segment))
    groups = [np.flatnonzero(labels == name) for name in names]
    if len(groups) == 1:
        groups = [np.array(half) for half in np.array_split(groups[0], 2)]
    groups = [g for g in groups if g.size > 1]
    residual = [offset_w[g] - offset_w[g].mean() for g in groups]
    count = sum(g.size for g in groups)
    tau = autocorrelation_time(residual)
    # A mean that is taken off a stretch takes 2τ dependent readings with it, not one.
    freedom = max(count - 2 * tau * len(groups), 1.0)
    variance = sum(float(r @ r) for r in residual) / freedom
    noise = variance * 2 * tau / count
    dof = max(freedom / (2 * tau), 1.0)
    means = np.array([offset_w[g].mean() for g in groups])
    between = float(means.var(ddof=1)) if means.size > 1 else 0.0
    span_s = float(windows.start_unix_s[groups[-1][0]] - windows.start_unix_s[groups[0][0]])
    assumed = len(names) < 3 or span_s < _DRIFT_SPAN_S
    drift = max(between * (1 + 1 / means.size) - noise, 0.0) if len(names) >= 3 else 0.0
    if drift > 0:
        dof = float(means.size - 1)
    if assumed:
        least = _ASSUMED_DRIFT * float(np.mean(windows.reference_w))
        own = variance * 2 * tau * sum(1 / g.size for g in groups)
        apart = abs(float(means[-1] - means[0]))
        if len(names) < 3 and apart > 3 * math.sqrt(own):
            least = max(least, apart / math.sqrt(3))
        drift = max(drift, least**2)
    return math.sqrt(noise), math.sqrt(drift), assumed, min(dof, 1e6), tau


def autocorrelation_time(residuals: Sequence[Floats]) -> float:
    """Return the integrated autocorrelation time τ = 1/2 + Σ ρ_k, in samples, at least 1/2.

    The mean of n samples of variance s² then has the variance s² 2τ/n. The sum ends at the first
    k >= 5 τ_k (A. Sokal, Monte Carlo methods in statistical mechanics, 1996, section 3), or where
    the longest stretch ends. `residuals` are the deviations from the mean of each stretch; the
    products of all are pooled.
    """
    total = sum(float(r @ r) for r in residuals)
    sizes = [r.size for r in residuals]
    tau, last = 0.5, 0
    if total <= 0:
        return tau
    for last in range(1, max(sizes)):
        products = sum(float(r[last:] @ r[:-last]) for r in residuals if r.size > last)
        tau += products / total
        if last >= 5 * tau:
            break
    # What each stretch's own mean has taken away (U. Wolff, Comput. Phys. Commun. 156 (2004) 143,
    # equation 49).
    return max(tau * (1 + (2 * last + 1) * len(sizes) / sum(sizes)), 0.5)
