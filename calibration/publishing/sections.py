"""Write the sections of a profile that are taken over as they are: from the fit, from the runs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, date, datetime
from typing import Any, Final

from ..analysis.results import Component, ErrorSummary, FitResult, Term, Validation
from ..errors import FitError
from ..keyed import keyed_hash
from ..machine import REQUIRED_KEYS, configuration_digest
from ..recording.documents import ChannelInfo, Descriptor, Start, meter_input

__all__ = [
    "calibration", "component", "days", "serial_of", "settings", "subject", "term", "tool_version",
    "traceability", "unit",
]  # fmt: skip

_RECORDED_KEYS: Final = ("kernel", "cpu.governor", "cpu.turbo", "memory.gib", "nvidia.driver",
                         "gpu.vbios", "container")  # fmt: skip
_LEVELS: Final = ("none", "spec_only", "transfer", "manufacturer", "accredited")
_DEVICES_COUNT: Final = ("carbontracker", "zeus", "nvml")
_SENSITIVE: Final = (("cpu.smt", "inflate", 0.01), ("dimm.count", "inflate", 0.01),
                     ("cpu.microcode", "warn", 0.0), ("bios.version", "warn", 0.0))  # fmt: skip


def term(term: Term) -> dict[str, Any]:
    """Return one term of the model."""
    entry: dict[str, Any] = {"id": term.id, "basis": term.basis}
    if term.input is not None:
        entry["input"] = term.input
    if term.basis == "input" and term.power != 1:
        entry["power"] = term.power
    if term.basis == "hinge":
        entry["knot"] = term.knot
    return {**entry, "value": term.value, "unit": term.unit}


def component(component: Component) -> dict[str, Any]:
    """Return one component of the uncertainty."""
    entry: dict[str, Any] = {
        "id": component.id,
        "kind": component.kind,
        "u": component.u,
        "correlation": component.correlation,
        "type": component.type,
        "distribution": component.distribution,
        "status": component.status,
        "source": component.source,
    }
    if component.kind == "absolute":
        entry["unit"] = "W"
    if component.dof is not None:
        entry["dof"] = component.dof
    if component.correlation == "independent":
        entry["correlation_time_s"] = component.correlation_time_s or 1.0
    if component.sessions is not None:
        entry["sessions"] = {"n": component.sessions, "span_days": component.span_days or 0.0}
    return entry


def days(starts: Sequence[Start], now: datetime) -> tuple[str, str]:
    """Return the first and the last day of the runs (today's for a table without runs)."""
    days = [datetime.fromtimestamp(s.t_wall_ns / 1e9, UTC).date() for s in starts]
    return min(days, default=now.date()).isoformat(), max(days, default=now.date()).isoformat()


def _channels(name: str, descriptors: Sequence[Descriptor]) -> list[tuple[Descriptor, ChannelInfo]]:
    return [
        (d, c)
        for d in descriptors
        for c in (*d.channels, *(x.channel for x in d.derived))
        if c.input == name
    ]


def unit(name: str, descriptors: Sequence[Descriptor]) -> str:
    """Return `1` for a load, `W` for anything that is a power or an energy."""
    found = {c.unit for _, c in _channels(name, descriptors)}
    return "1" if found == {"1"} or (not found and name == "cpu_load") else "W"


def settings(name: str, descriptors: Sequence[Descriptor]) -> dict[str, Any]:
    """Return the tool's settings, and the devices (`scope`) of one whose file names them.

    Runs with different ones cannot make one input.
    """
    found = [
        {**d.configuration, "scope": sorted(d.scope) if name in _DEVICES_COUNT else None}
        for d, _ in _channels(name, descriptors)
    ]
    keys = ("pue", "tracking_mode", "rapl_prefer_psys", "rapl_include_dram", "scope")
    for key in keys:
        values = {json.dumps(f[key]) for f in found if key in f}
        if len(values) > 1:
            raise FitError(
                f"Expected {name} to be recorded with one setting of {key}; got "
                f"{', '.join(sorted(values))}. Fit the runs apart."
            )
    return {k: f[k] for f in found for k in keys if f.get(k) is not None}


def tool_version(
    name: str, starts: Sequence[Start], descriptors: Sequence[Descriptor]
) -> str | None:
    """Return the one version of the tool behind an input, None where it is not recorded."""
    tool = name.partition("_")[0]
    found = {s.versions[tool] for s in starts if tool in s.versions}
    for d, _ in _channels(name, descriptors):
        version = d.configuration.get("version") or d.identity.get("version")
        if version:
            found.add(str(version))
    if len(found) > 1:
        raise FitError(
            f"Expected {name} from one version of {tool}; got {', '.join(sorted(found))}. "
            "Fit the runs apart: a profile is bound to a version."
        )
    return found.pop() if found else None


def subject(starts: Sequence[Start], simulated: bool) -> dict[str, Any]:
    """Return what a machine must have to be the one calibrated, from the runs' fingerprints."""
    machines = [s.machine for s in starts]
    if simulated:
        ids = {str(m.get("simulation.id", "one without an id")) for m in machines} or {"unnamed"}
        if len(ids) > 1:
            raise FitError(f"Expected runs of one machine; got {', '.join(sorted(ids))}.")
        match: dict[str, Any] = {"required": {"simulation.id": ids.pop()}}
        return {"match": match, "config_digest": configuration_digest(match)}
    required: dict[str, Any] = {}
    for key in REQUIRED_KEYS:
        values = [m[key] for m in machines if key in m]
        if any(v != values[0] for v in values):
            raise FitError(
                f"Expected runs of one machine; {key} is {values[0]!r} in one and differs in "
                "another. A profile belongs to one configuration."
            )
        if values and len(values) == len(machines):
            required[key] = values[0]
    if not {"cpu.id", "dmi.board_name"} & set(required):
        required = {}  # "not virtual" alone names no machine
    match = {"required": required}
    if required:
        first = machines[0]
        match["sensitive"] = [
            {
                "key": key,
                "value": first[key],
                "on_mismatch": action,
                **({"u_rel": u} if action == "inflate" else {}),
            }
            for key, action, u in _SENSITIVE
            if key in first
        ]
        match["recorded"] = {k: first[k] for k in _RECORDED_KEYS if k in first}
    subject: dict[str, Any] = {"match": match}
    if required:
        subject["config_digest"] = configuration_digest(match)
        units = {m.get("unit_id") for m in machines}
        if len(units) == 1 and None not in units:
            subject["unit_id"] = units.pop()
    return subject


def calibration(fit: FitResult, begun: str, ended: str) -> dict[str, Any]:
    """Return when, on what, and how well: errors on held-out groups, the tool's own beside them."""
    return {
        "begun": begun,
        "ended": ended,
        "n_points": fit.n_points,
        "n_workloads": len(fit.workloads),
        "n_sessions": len(fit.sessions),
        "validation": _validation(fit.validation),
        "reasons": [
            {"code": r.code, "message": r.message, "consequence": r.consequence}
            for r in fit.reasons
        ],
        "notes": [n for n in fit.notes if n],
    }


def _validation(validation: Validation) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "scheme": f"leave-one-{validation.scheme}-out" if validation.scheme != "none" else "none",
        "groups": validation.groups,
        "n": validation.n,
        "rezeroed": validation.rezeroed,
        **_errors(validation.after),
        "coverage_95_pct": validation.coverage_95_pct,
        "coverage_95_low_pct": validation.coverage_95_low,
        "coverage_95_high_pct": validation.coverage_95_high,
        "before": _errors(validation.before) if validation.before else None,
        "nulls": {k: _errors(v) if v else None for k, v in validation.nulls.items()},
        "per_group": [
            {
                "group": g.group, "n": g.n, "bias_pct": g.bias_pct, "mape_pct": g.mape_pct,
                "max_abs_pct": g.max_abs_pct, "covered_pct": g.covered_pct,
            }
            for g in validation.per_group
        ],
    }  # fmt: skip
    return entry


def _errors(summary: ErrorSummary | None) -> dict[str, Any]:
    """Return the errors under the profile's names, whose units are written as in SI."""
    if summary is None:
        return {}
    return {
        "bias_W": summary.bias_w,
        "rmse_W": summary.rmse_w,
        "mape_pct": summary.mape_pct,
        "max_abs_pct": summary.max_abs_pct,
        "above_idle_mape_pct": summary.above_idle_mape_pct,
        "above_idle_max_pct": summary.above_idle_max_pct,
    }


def traceability(
    descriptors: Sequence[Descriptor],
    simulated: bool,
    *,
    starts: Sequence[Start] = (),
    inputs: Sequence[str] = (),
    key: bytes | None = None,
    today: date | None = None,
) -> dict[str, Any]:
    """Return the reference meters and the lowest level at which one of them stands.

    A meter that stands in no lab.toml has the level `none`; of older runs, which do not say, the
    data sheet counts. An expired certificate is none. Where an input is itself a meter, it has been
    calibrated against a better one: `transfer`, if that one is traced. `key` makes the keyed hash
    of serial numbers; without it they are left out.
    """
    today = today or datetime.now(UTC).date()
    references = {
        name for s in starts for name in str(s.setup.get("reference") or "").split("+") if name
    }
    meters = [
        d
        for d in descriptors
        if d.role == "meter"
        and meter_input(d.stream) not in inputs
        and (not references or d.stream in references)
    ]
    chain: list[dict[str, Any]] = []
    levels = []
    for d in meters:
        entry = _link(d, simulated=simulated, key=key, today=today)
        levels.append(_level(d, entry))
        if entry not in chain:
            chain.append(entry)
    level = min(levels, key=_LEVELS.index, default="none")
    under_test = {meter_input(d.stream) for d in descriptors if d.role == "meter"} & set(inputs)
    if under_test and _LEVELS.index(level) > _LEVELS.index("transfer"):
        level = "transfer"
    return {"level": "none" if simulated else level, "chain": chain}


def _link(d: Descriptor, *, simulated: bool, key: bytes | None, today: date) -> dict[str, Any]:
    """Return one meter of the chain."""
    model = str(d.identity.get("model") or d.source)
    entry: dict[str, Any] = {"role": "reference_meter", "model": model}
    for name in ("manufacturer", "firmware"):
        if d.identity.get(name):
            entry[name] = str(d.identity[name])
    serial = serial_of(d)
    if serial and key is not None and not simulated:
        entry["serial_hash"] = keyed_hash(f"{model} {serial}", key)
    spec = next((s for s in map(_specification, d.channels) if s), None)
    if spec:
        entry["spec"] = spec
    if d.cadence_s:
        entry["sampling_hz"] = round(1 / d.cadence_s, 6)
    known = d.traceability or {}
    certificate = known.get("certificate")
    if certificate and not known["expired"] and date.fromisoformat(certificate["due"]) >= today:
        entry["certificate"] = dict(certificate)
    if simulated:
        entry["simulated"] = True
    return entry


def _level(d: Descriptor, entry: dict[str, Any]) -> str:
    specified = "spec_only" if "spec" in entry else "none"
    if d.traceability is None:
        return specified
    level = str(d.traceability["level"])
    return level if level == "none" or "certificate" in entry else specified


def serial_of(d: Descriptor) -> str | None:
    """Return a meter's serial number, as it says it or as the laboratory wrote it down."""
    return d.identity.get("serial") or d.identity.get("serial_number")


def _specification(channel: ChannelInfo) -> str | None:
    """Return the maker's limit for a power or energy channel, in words."""
    accuracy = channel.accuracy
    if accuracy is None or channel.unit not in ("W", "J") or accuracy.get("assumed"):
        return None
    parts = [
        f"{100 * float(accuracy.get('of_reading') or 0):g} % of reading",
        f"{100 * float(accuracy.get('of_range') or 0):g} % of range",
        f"{float(accuracy.get('counts') or 0):g} counts",
        f"{float(accuracy.get('absolute') or 0):g} {channel.unit}",
        f"{100 * float(accuracy.get('of_reactive') or 0):g} % of reactive power",
    ]
    text = " + ".join(p for p in parts if not p.startswith("0 ")) or "not stated"
    return f"{text} ({accuracy['source']})" if accuracy.get("source") else text
