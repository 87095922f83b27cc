"""Turn the JSON of a profile into the frozen `Profile`."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import TYPE_CHECKING, Any

from .evaluate import Component, Term

if TYPE_CHECKING:
    from ..profile import Profile

__all__ = ["assemble"]


def assemble(document: Mapping[str, Any], digest: str | None, today: date | None) -> Profile:
    """Turn a document of the right structure into a `Profile`; nothing else is checked here."""
    from ..profile import Profile

    common: dict[str, Any] = {
        "document": document,
        "id": document["id"],
        "revision": int(document["revision"]),
        "title": document["title"],
        "kind": document["kind"],
        "digest": digest,
        "boundary": document["measurand"]["boundary"],
        "above_idle_only": document["measurand"].get("above_idle_only", False),
        "simulated": document["provenance"]["data_kind"] == "simulated",
        "input_ids": tuple(i["id"] for i in document["inputs"]),
        "units": {i["id"]: i["unit"] for i in document["inputs"]},
        "valid_from": date.fromisoformat(document["validity"]["valid_from"]),
        "review_after": date.fromisoformat(document["validity"]["review_after"]),
        "today": today,
    }
    if document["kind"] == "error_statement":
        return Profile(**common)
    model, uncertainty = document["model"], document["uncertainty"]
    where, between = document["applicability"], document["uncertainty"]["between_unit"]
    return Profile(
        **common,
        terms=tuple(
            Term(
                t["id"], t["basis"], float(t["value"]),
                tuple(t["inputs"]) if "inputs" in t else ((t["input"],) if "input" in t else ()),
                int(t.get("power", 1)), float(t.get("knot", 0.0)),
            )
            for t in model["terms"]
        ),
        covariance=tuple(tuple(float(v) for v in row) for row in model["covariance"]),
        dof=float(model["dof"]),
        additive=model["additive"],
        components=tuple(
            Component(
                c["id"], c["kind"] == "relative", float(c["u"]), c["correlation"], c.get("dof"),
                c.get("correlation_time_s"), c.get("status") == "assumed",
            )
            for c in uncertainty["components"]
        ),
        between_unit=float(between["u_rel"]),
        between_unit_by_input=between.get("u_rel_by_input", {}),
        probability=float(uncertainty["stated"]["coverage_probability"]),
        domain={k: (float(v[0]), float(v[1])) for k, v in where["domain"].items()},
        halfspaces=tuple((h["coef"], float(h["le"])) for h in where.get("halfspaces", ())),
        extrapolation=where["extrapolation"],
        min_averaging_s=float(where["min_averaging_s"]),
        max_averaging_s=where.get("max_averaging_s"),
        idle_inputs=where.get("idle_inputs", {}),
        rezeroed=document.get("rezero", {}).get("session"),
    )  # fmt: skip
