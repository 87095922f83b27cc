"""Turn a profile and a re-zero into the profile's next revision, which holds for one session.

Gain, domain and validation stay. The constant is the new one, the covariance that of the function
about its idle point, and the `within_session` components give way to the uncertainty of the re-zero
itself. `rezero` in the document names the session; whoever applies it sees `rezeroed:SESSION` among
the flags. A profile that answered above idle only answers in absolute power again: the re-zero has
seen the state that no input sees.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np

from .._version import VERSION
from ..analysis.results import Domain, Term
from ..analysis.rezero import Rezero
from ..errors import FitError
from ..profile import load_profile
from .build import state_uncertainty, validate

__all__ = ["rezeroed_document", "terms_of"]


def terms_of(document: Mapping[str, Any]) -> tuple[Term, ...]:
    """Return the terms of a profile's function.

    Raises:
        FitError: the profile corrects nothing, or multiplies inputs.

    """
    if document["kind"] != "correction":
        raise FitError("Expected a correction to re-zero; this profile is an error statement.")
    terms = document["model"]["terms"]
    if any("inputs" in t for t in terms):
        raise FitError("Expected a function of single inputs; this profile multiplies some.")
    return tuple(
        Term(
            t["id"], t["basis"], float(t["value"]), t.get("unit", "W"), t.get("input"),
            int(t.get("power", 1)), None if "knot" not in t else float(t["knot"]),
        )
        for t in terms
    )  # fmt: skip


def rezeroed_document(
    document: Mapping[str, Any],
    zero: Rezero,
    *,
    digest: str,
    run_uid: str,
    derived_from: Sequence[str] = (),
    simulated: bool = False,
    now: datetime | None = None,
) -> dict[str, Any]:
    """Return the profile with its offset taken from `zero`.

    Args:
        document: the profile, as JSON.
        zero: what `analysis.rezero.rezero` found with this profile's terms.
        digest: `sha256:...` of the profile's file, which the result supersedes.
        run_uid: uid of the run that holds the idle.
        derived_from: `sha256:...` of the run's streams.
        simulated: whether the run was; a re-zero on simulated data makes the profile simulated.
        now: the instant to stamp, instead of the clock's.

    Raises:
        FitError: the profile corrects nothing.
        SchemaError: the result is no valid profile.

    """
    terms_of(document)
    now = now or datetime.now(UTC)
    new = copy.deepcopy(dict(document))
    new["revision"] = int(document["revision"]) + 1
    new["supersedes"] = digest
    model = new["model"]
    for term in model["terms"]:
        if term["basis"] == "const":
            term["value"] = zero.intercept_w
    jacobian = np.array(zero.jacobian)
    covariance = jacobian @ np.array(model["covariance"], dtype=np.float64) @ jacobian.T
    model["covariance"] = (0.5 * (covariance + covariance.T)).tolist()
    kept = [c for c in new["uncertainty"]["components"] if c["correlation"] != "within_session"]
    new["uncertainty"]["components"] = [
        *kept,
        {
            "id": "session_offset",
            "kind": "absolute",
            "unit": "W",
            "u": zero.u_w,
            "correlation": "within_session",
            "type": "A",
            "distribution": "t",
            "dof": max(zero.dof, 1.0),
            "status": "measured",
            "source": f"re-zero on {zero.idle_s:.0f} s of idle in session {zero.session}",
        },
    ]
    new["measurand"]["above_idle_only"] = False
    where = new["applicability"]
    where.pop("idle_inputs", None)
    low, high = where["domain"]["output"]
    where["domain"]["output"] = [low + zero.shift_w, high + zero.shift_w]
    new["rezero"] = {
        "session": zero.session,
        "shift_W": zero.shift_w,
        "u_W": zero.u_w,
        "idle_s": zero.idle_s,
        "idle_W": zero.idle_w,
        "inputs": dict(zero.inputs),
        "run": run_uid,
        "drift": "assumed" if zero.drift_assumed else "measured",
    }
    made = new["provenance"]
    made["generated_at"] = now.strftime("%Y-%m-%dT%H:%M:%SZ")
    made["generated_by"] = {"software": "wattcal", "version": VERSION}
    made["derived_from"] = list(dict.fromkeys([*made.get("derived_from", ()), *derived_from]))
    if simulated and made["data_kind"] != "simulated":
        made["data_kind"] = "simulated"
        new["title"] = f"SIMULATED: {new['title']}"
    new.pop("table", None)
    new.pop("quick", None)
    inputs = {k: (float(v[0]), float(v[1])) for k, v in where["domain"].items() if k != "output"}
    domain = Domain(
        inputs=inputs,
        output_w=(low + zero.shift_w, high + zero.shift_w),
        min_averaging_s=float(where["min_averaging_s"]),
        max_averaging_s=where.get("max_averaging_s"),
    )
    state_uncertainty(new, domain)
    validate(new)
    load_profile(new, allow_simulated=True)
    return new
