"""Turn a fit into a profile: every field of the document, checked before it leaves.

A document that this module returns has passed the JSON Schema and the consumer's own checks
(`load_profile`), its stated vectors recomputed: what is published can be loaded.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from importlib import resources
from pathlib import Path
from typing import Any, Final

from .._profile.assemble import assemble
from .._version import VERSION
from ..analysis.as_used import UsedFile, judge_as_used
from ..analysis.results import Domain, FitResult, Term
from ..errors import FitError, SchemaError
from ..profile import load_profile
from ..recording.documents import Descriptor, Start
from .inputs import input_entry
from .sections import (
    calibration,
    component,
    days,
    settings,
    subject,
    term,
    tool_version,
    traceability,
    unit,
)

__all__ = ["profile_document", "state_uncertainty", "validate", "write_profile"]

_REVIEW_AFTER: Final = timedelta(days=365)
_TABLE_NODES: Final = 9
_GPU_SHARE: Final = 0.05
_OTHER_SHARE: Final = 0.03
"""Assumed spread between specimens, relative: two boards of one GPU model may differ by several
per cent, the rest of a machine by less. Assumed until three units have been measured."""


def profile_document(
    fit: FitResult,
    *,
    run_starts: Sequence[Start],
    descriptors: Sequence[Descriptor],
    profile_id: str,
    title: str | None = None,
    revision: int = 1,
    derived_from: Sequence[str] = (),
    idle_inputs: Mapping[str, float] | None = None,
    supersedes: str | None = None,
    license_id: str = "CC0-1.0",
    now: datetime | None = None,
    key: bytes | None = None,
    tool_files: Sequence[UsedFile] = (),
) -> dict[str, Any]:
    """Return the JSON object of a profile made from a fit.

    Args:
        fit: what the analysis found; `refused` gets no profile.
        run_starts: the heads of the runs behind it; none for a table of points.
        descriptors: the streams of those runs: the meter, the tools and their modes.
        profile_id: `lab/name`; other characters than letters, digits, `.`, `_`, `-` are replaced.
        title: one line for people; simulated data add a mark to it.
        revision: counts the published versions of this id from 1.
        derived_from: the SHA-256 of the raw data, as `sha256:...`.
        idle_inputs: the inputs' means at idle in W, for a profile that answers above idle only.
        supersedes: the digest of the revision that this one replaces.
        license_id: SPDX identifier.
        now: the instant to stamp, instead of the clock's.
        key: the laboratory's, for the keyed hash of the meters' serial numbers.
        tool_files: what tools wrote by themselves beside a reference, for `validation.as_used`.

    Raises:
        FitError: the verdict is `refused`, or the runs belong to different machines.
        SchemaError: the fit does not make a valid profile (the sentence names the field).

    """
    if fit.verdict == "refused":
        why = "; ".join(f"{r.code}: {r.message}" for r in fit.reasons if r.consequence == "refuse")
        raise FitError(f"A refused fit gets no profile. {why or 'See its reasons.'}")
    now = now or datetime.now(UTC)
    simulated = fit.data_kind == "simulated" or any(s.data_kind == "simulated" for s in run_starts)
    kind = "simulated" if simulated else "measured"
    units = {name: unit(name, descriptors) for name in fit.inputs}
    begun, ended = days(run_starts, now)
    correction = fit.verdict == "correction" and fit.model is not None and fit.domain is not None
    above_idle = correction and fit.above_idle_only
    # Where the board's own sensor was the reference, other meters of the run trace nothing.
    board = any(r.code == "board_reference" for r in fit.reasons)
    traced = traceability(
        () if board else descriptors,
        simulated,
        starts=run_starts,
        inputs=fit.inputs,
        key=key,
        today=now.date(),
    )
    due = [date.fromisoformat(c["certificate"]["due"]) for c in traced["chain"]
           if "certificate" in c]  # fmt: skip
    document: dict[str, Any] = {
        "$schema": "urn:wattcal:schema:power-profile:1.0",
        "schema_version": "1.0",
        "id": _slug(profile_id),
        "revision": revision,
        "title": _title(title, fit, simulated),
        "kind": "correction" if correction else "error_statement",
        "measurand": {
            "quantity": "active_power",
            "unit": "W",
            "boundary": fit.boundary,
            "above_idle_only": above_idle,
        },
        "inputs": [
            input_entry(
                name,
                unit=units[name],
                mode=fit.modes.get(name),
                version=tool_version(name, run_starts, descriptors),
                settings=settings(name, descriptors),
            )
            for name in fit.inputs
        ],
        "subject": subject(run_starts, simulated),
        "calibration": calibration(fit, begun, ended),
        "traceability": traced,
        "validity": {
            "valid_from": now.date().isoformat(),
            "review_after": min([now.date() + _REVIEW_AFTER, *due]).isoformat(),
            "triggers": ["psu_swap", "gpu_swap", "dimm_change", "bios_update", "microcode_update"],
        },
        "provenance": {
            "data_kind": kind,
            "generated_at": now.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "generated_by": {"software": "wattcal", "version": VERSION},
            "derived_from": list(derived_from),
        },
        "license": license_id,
    }
    if supersedes is not None:
        document["supersedes"] = supersedes
    if correction:
        _add_correction(document, fit, descriptors, idle_inputs)
        used = judge_as_used(load_profile(document, allow_simulated=True), tool_files)
        if used:
            document["calibration"]["validation"]["as_used"] = used
    validate(document)
    load_profile(document, allow_simulated=True)
    return document


def write_profile(document: Mapping[str, Any], path: Path) -> None:
    """Check a profile once more and write it whole or not at all."""
    validate(document)
    load_profile(document, allow_simulated=True)
    text = json.dumps(document, indent=1, allow_nan=False, ensure_ascii=False) + "\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    part = Path(name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        part.chmod(0o644)
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def validate(document: Mapping[str, Any]) -> None:
    """Check a document against the normative JSON Schema; raise `SchemaError` with one sentence."""
    import jsonschema

    text = resources.files("calibration").joinpath("schema/power-profile-1.0.json").read_text()
    validator = jsonschema.Draft202012Validator(
        json.loads(text), format_checker=jsonschema.Draft202012Validator.FORMAT_CHECKER
    )
    error = jsonschema.exceptions.best_match(validator.iter_errors(document))
    if error is not None:
        raise SchemaError(f"Expected a profile by its JSON Schema; {error.json_path}: "
                          f"{error.message[:300]}")  # fmt: skip


def _add_correction(
    document: dict[str, Any],
    fit: FitResult,
    descriptors: Sequence[Descriptor],
    idle_inputs: Mapping[str, float] | None,
) -> None:
    """Add model, uncertainty, domain and the views derived from them."""
    model, domain = fit.model, fit.domain
    if model is None or domain is None:
        raise FitError("A correction needs a model and a domain; the fit has none.")
    document["model"] = {
        "kind": "linear_basis",
        "output": f"P_{fit.boundary}",
        "additive": model.additive,
        "terms": [term(t) for t in model.terms],
        "covariance": [list(row) for row in model.covariance],
        "dof": float(model.dof),
    }
    applicability: dict[str, Any] = {
        "domain": {
            **{k: list(v) for k, v in domain.inputs.items()},
            "output": list(_output_range(model.terms, domain)),
        },
        "extrapolation": "flag",
        "min_averaging_s": domain.min_averaging_s,
        "max_averaging_s": domain.max_averaging_s,
        "workload_classes": list(fit.workloads),
    }
    if document["measurand"]["above_idle_only"]:
        applicability["idle_inputs"] = dict(idle_inputs or _inputs_at_idle(fit))
    document["applicability"] = applicability
    gpus = [n for n in fit.inputs if n in ("nvml", "codecarbon_gpu")]
    document["uncertainty"] = {
        "components": [component(c) for c in fit.uncertainty],
        "stated": {"coverage_factor": 2.0, "coverage_probability": 0.95, "U_at": []},
        "between_unit": {
            "u_rel": _OTHER_SHARE,
            **({"u_rel_by_input": dict.fromkeys(gpus, _GPU_SHARE)} if gpus else {}),
            "n_units": 1,
            "status": "assumed",
        },
    }
    state_uncertainty(document, domain)


def state_uncertainty(document: dict[str, Any], domain: Domain) -> None:
    """Fill in what the profile states of itself: U at three points, the table, the quick form."""
    stated = document["uncertainty"]["stated"]
    points = [
        {n: _digits(lo + share * (hi - lo), lo, hi) for n, (lo, hi) in domain.inputs.items()}
        for share in (0.0, 0.5, 1.0)
    ]
    today = date.fromisoformat(document["validity"]["valid_from"])
    bare = assemble(document, None, today)
    answers = [bare.correct(machine=None, **dict[str, Any](p)) for p in points]
    # One factor for all that is stated: the largest, so that no stated U is too small.
    factor = max(float(a.k) for a in answers)
    stated["coverage_factor"] = factor = round(factor + 5e-5, 4)
    stated["U_at"] = [
        {"inputs": p, "P": round(float(a.power_w), 4), "U": round(factor * float(a.u_w), 4)}
        for p, a in zip(points, answers, strict=True)
    ]
    first, (low, high) = next(iter(domain.inputs.items()))
    given = {n: lo for n, (lo, _) in domain.inputs.items() if n != first}
    if not low < high:
        return
    nodes = [
        _digits(low + (high - low) * i / (_TABLE_NODES - 1), low, high) for i in range(_TABLE_NODES)
    ]
    column = [bare.correct(machine=None, **dict[str, Any]({**given, first: x})) for x in nodes]
    y = [float(a.power_w) for a in column]
    expanded = [factor * float(a.u_w) for a in column]
    document["table"] = {
        "input": first, "given": given, "unit": "W", "x": nodes,
        "y": [round(v, 4) for v in y], "U": [round(v, 4) for v in expanded],
    }  # fmt: skip
    slope = (y[-1] - y[0]) / (nodes[-1] - nodes[0])
    intercept = y[0] - slope * nodes[0]
    worst = max(
        abs(slope * x + intercept - v) + u for x, v, u in zip(nodes, y, expanded, strict=True)
    )
    document["quick"] = {
        "input": first, "given": given, "slope": slope, "intercept_W": intercept,
        "U_W": round(worst + 5e-5, 4),
    }  # fmt: skip


def _output_range(terms: Sequence[Term], domain: Domain) -> tuple[float, float]:
    """Return the reference's range, widened to what the model gives at the corners of its inputs.

    The measured range alone would put the model's own value at the lowest input "outside".
    """
    low, high = domain.output_w
    for end in (0, 1):
        x = {k: v[end] for k, v in domain.inputs.items()}
        value = sum(
            t.value
            * (
                1.0
                if t.input is None
                else max(0.0, x[t.input] - (t.knot or 0.0))
                if t.basis == "hinge"
                else x[t.input] ** t.power
            )
            for t in terms
        )
        low, high = min(low, value), max(high, value)
    return low, high


def _inputs_at_idle(fit: FitResult) -> dict[str, float]:
    """Return the input at idle for a straight line in one input: where it gives the idle power."""
    model = fit.model
    if model is None or fit.idle_w is None or len(fit.inputs) != 1 or not model.additive:
        raise FitError(
            "This fit answers above idle only, and the inputs at idle do not follow from it. "
            "Pass idle_inputs, the inputs' means over the idle points."
        )
    constant = sum(t.value for t in model.terms if t.basis == "const")
    slope = sum(t.value for t in model.terms if t.basis == "input")
    return {fit.inputs[0]: (fit.idle_w - constant) / slope}


def _digits(value: float, low: float, high: float) -> float:
    """Round a node to four decimals without leaving the domain."""
    return min(max(round(value, 4), low), high)


def _slug(name: str) -> str:
    """Return an id that the schema accepts: lower case, one slash."""
    lab, _, rest = name.lower().partition("/")
    parts = [re.sub(r"[^a-z0-9._-]+", "-", p).strip("-._") for p in (lab, rest)]
    return f"{parts[0] or 'local'}/{parts[1] or 'profile'}"


def _title(title: str | None, fit: FitResult, simulated: bool) -> str:
    text = title or f"{fit.boundary} power from {' + '.join(fit.inputs)}"
    return f"SIMULATED: {text}" if simulated and "simulated" not in text.lower() else text
