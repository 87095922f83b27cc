"""State the structure of a power profile, version 1, field by field.

The same closed world as `schema/power-profile-1.0.json`, which is normative for other languages;
a test holds the two together. What neither can express is in `semantics.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from ..errors import SchemaError
from .as_used import DURATIONS_S
from .shape import (
    Check,
    boolean,
    choice,
    day,
    each,
    fail,
    instant,
    integer,
    mapping,
    number,
    pair,
    record,
    scalar,
    text,
    union,
)

__all__ = ["BOUNDARIES", "RESERVED", "UNITS", "check_structure"]

BOUNDARIES: Final = ("psu_ac_input", "psu_dc_output", "board_input", "package")
UNITS: Final = ("J", "mJ", "uJ", "Wh", "kWh", "W", "mW", "uW", "1")
RESERVED: Final = frozenset(
    {
        "self", "machine", "averaging_s", "mode", "indicative", "idle", "duration_s",
        "duration_u_s", "inputs_u_j", "session", "workload", "flags", "output",
    }
)  # fmt: skip
"""Names that an input cannot have, because they are arguments of `Profile.correct` and others."""

_any = number()
_positive = number(above=0)
_natural = number(least=0)
_text = text()
_token = r"[a-z][a-z0-9_]*"
_id = text(_token, "a short name of lower-case letters, digits and _")
_sha256 = text(r"sha256:[0-9a-f]{64}", "`sha256:` and 64 hexadecimal digits")
_hex64 = text(r"[0-9a-f]{64}", "64 hexadecimal digits")
_hmac = text(r"hmac-sha256:[0-9a-f]{64}", "`hmac-sha256:` and 64 hexadecimal digits")
_unit = choice(*UNITS)


def _or_null(check: Check) -> Check:
    return lambda value, path: None if value is None else check(value, path)


_alias = record(
    {"tool": _text, "field": _text, "unit": _unit},
    {
        "versions": text(
            r"(>=|<=|==|!=|>|<)\d+(\.\d+)*(,(>=|<=|==|!=|>|<)\d+(\.\d+)*)*",
            "a version range such as >=3.3,<4",
        ),
        "aggregate": choice("sum", "single"),
        "requires": mapping(scalar),
    },
)

_input = record(
    {
        "id": _id,
        "quantity": choice("active_power", "load"),
        "unit": choice("W", "1"),
        "derive": choice("energy_delta_over_time", "sampled_power", "sampled_load"),
        "source": record(
            {"api": _text},
            {
                "domain": _text,
                "aggregate": choice("sum", "single"),
                "mode": _or_null(_text),
                "version": _or_null(_text),
            },
        ),
        "aliases": each(_alias),
    }
)

_term_common: Final[dict[str, Check]] = {"id": _id, "value": _any, "unit": _text}
_TERMS: Final[Mapping[str, Check]] = {
    "const": record({**_term_common, "basis": choice("const")}),
    "input": record(
        {**_term_common, "basis": choice("input"), "input": _id},
        {"power": integer(least=1, most=3)},
    ),
    "hinge": record({**_term_common, "basis": choice("hinge"), "input": _id, "knot": _any}),
    "product": record(
        {**_term_common, "basis": choice("product"), "inputs": each(_id, least=2, most=2)}
    ),
}


def _term(value: Any, path: str) -> None:
    if not isinstance(value, Mapping):
        fail(path, "an object", value)
    basis = value.get("basis")
    if not isinstance(basis, str) or basis not in _TERMS:
        fail(f"{path}.basis", f"one of {', '.join(_TERMS)}", basis)
    _TERMS[basis](value, path)


_model = record(
    {
        "kind": choice("linear_basis"),
        "output": _text,
        "additive": boolean,
        "terms": each(_term, least=1),
        "covariance": each(each(_any), least=1),
        "dof": number(least=1),
    }
)

_component_common: Final[dict[str, Check]] = {
    "id": _id,
    "u": _natural,
    "correlation": choice("full", "within_session", "within_workload", "independent"),
    "type": choice("A", "B"),
}
_component_optional: Final[dict[str, Check]] = {
    "distribution": choice("normal", "rectangular", "triangular", "t", "u_shaped"),
    "dof": number(least=1),
    "status": choice("measured", "assumed"),
    "source": _text,
    "correlation_time_s": _positive,
    "sessions": record({"n": integer(least=1), "span_days": _natural}),
}
_COMPONENTS: Final[Mapping[str, Check]] = {
    "absolute": record(
        {**_component_common, "kind": choice("absolute"), "unit": choice("W")}, _component_optional
    ),
    "relative": record({**_component_common, "kind": choice("relative")}, _component_optional),
}


def _component(value: Any, path: str) -> None:
    if not isinstance(value, Mapping):
        fail(path, "an object", value)
    kind = value.get("kind")
    if not isinstance(kind, str) or kind not in _COMPONENTS:
        fail(f"{path}.kind", "one of absolute, relative", kind)
    _COMPONENTS[kind](value, path)


_values = mapping(_any, key=_token)

_uncertainty = record(
    {
        "components": each(_component, least=1),
        "stated": record(
            {
                "coverage_factor": number(least=1),
                "coverage_probability": number(above=0.5, most=0.9999),
                "U_at": each(record({"inputs": _values, "P": _any, "U": _positive}), least=1),
            }
        ),
        "between_unit": record(
            {
                "u_rel": _natural,
                "n_units": integer(least=1),
                "status": choice("measured", "assumed"),
            },
            {"u_rel_by_input": mapping(_natural, key=_token)},
        ),
    }
)

_table = record(
    {
        "input": _id,
        "unit": choice("W"),
        "x": each(_any, least=2),
        "y": each(_any, least=2),
        "U": each(_positive, least=2),
    },
    {"given": _values},
)

_quick = record(
    {"input": _id, "slope": _any, "intercept_W": _any, "U_W": _positive}, {"given": _values}
)

_applicability = record(
    {
        "domain": mapping(pair, key=_token, least=2),
        "extrapolation": choice("flag", "refuse"),
        "min_averaging_s": _natural,
    },
    {
        "halfspaces": each(record({"coef": _values, "le": _any})),
        "max_averaging_s": _or_null(_positive),
        "idle_inputs": _values,
        "ambient_degC": pair,
        "supply_V": pair,
        "workload_classes": each(_text),
    },
)

_match_value = union(scalar, each(scalar))
_subject = record(
    {
        "match": record(
            {"required": mapping(_match_value)},
            {
                "sensitive": each(
                    record(
                        {
                            "key": _text,
                            "value": _match_value,
                            "on_mismatch": choice("inflate", "warn"),
                        },
                        {"u_rel": _natural},
                    )
                ),
                "recorded": mapping(_match_value),
            },
        )
    },
    {"unit_id": _hmac, "config_digest": _sha256},
)

_percent = number(least=0)
_errors: Final[dict[str, Check]] = {
    "bias_W": _or_null(_any),
    "rmse_W": _or_null(_natural),
    "mape_pct": _or_null(_natural),
    "max_abs_pct": _or_null(_natural),
    "max_abs_W": _or_null(_natural),
    "above_idle_mape_pct": _or_null(_natural),
    "above_idle_max_pct": _or_null(_natural),
}
_error_summary = record({}, _errors)


def _duration(value: Any, path: str) -> None:
    if isinstance(value, bool) or value not in DURATIONS_S:
        fail(path, f"one of {', '.join(map(str, DURATIONS_S))}", value)


_as_used = record(
    {
        "tool": _text,
        "version": _or_null(_text),
        "settings": _text,
        "rows": integer(least=0),
        "refused": integer(least=0),
        "durations": each(
            record(
                {
                    "duration_s": _duration,
                    "n": integer(least=1),
                    "bias_pct": _any,
                    "mape_pct": _natural,
                    "max_abs_pct": _natural,
                    "before_mape_pct": _or_null(_natural),
                    "coverage_95_pct": number(least=0, most=100),
                }
            )
        ),
        "passed": _or_null(boolean),
        "reason": _or_null(_text),
    }
)

_validation = record(
    {"scheme": _text},
    {
        **_errors,
        "groups": integer(least=0),
        "n": integer(least=0),
        "rezeroed": boolean,
        "loa_W": pair,
        "coverage_95_pct": _or_null(number(least=0, most=100)),
        "coverage_95_low_pct": _or_null(number(least=0, most=100)),
        "coverage_95_high_pct": _or_null(number(least=0, most=100)),
        "before": _or_null(_error_summary),
        "nulls": mapping(_or_null(_error_summary)),
        "per_group": each(
            record(
                {"group": _text},
                {
                    "n": integer(least=0),
                    "bias_pct": _any,
                    "mape_pct": _natural,
                    "max_abs_pct": _natural,
                    "covered_pct": number(least=0, most=100),
                },
            )
        ),
        "as_used": each(_as_used),
    },
)

_calibration = record(
    {"begun": day, "ended": day, "n_points": integer(least=1), "validation": _validation},
    {
        "n_workloads": integer(least=0),
        "n_sessions": integer(least=0),
        "method": record({"id": _text, "version": _text}, {"uri": _text}),
        "reasons": each(record({"code": _text, "message": _text, "consequence": _text})),
        "notes": each(_text),
    },
)

_traceability = record(
    {
        "level": choice("accredited", "manufacturer", "transfer", "spec_only", "none"),
        "chain": each(
            record(
                {"role": choice("reference_meter", "transfer_standard", "sensor"), "model": _text},
                {
                    "manufacturer": _text,
                    "firmware": _text,
                    "serial_hash": _hmac,
                    "range": _text,
                    "sampling_hz": _positive,
                    "spec": _text,
                    "simulated": boolean,
                    "certificate": record(
                        {"id": _text, "issuer": _text, "issued": day, "due": day},
                        {"accreditation": _text, "format": _text, "sha256": _hex64},
                    ),
                },
            )
        ),
    },
    {"time_sync": record({"method": _text}, {"u_s": _natural})},
)

_file = record({"sha256": _hex64}, {"uri": _text, "path": _text})

_provenance = record(
    {
        "data_kind": choice("measured", "simulated"),
        "generated_at": instant,
        "generated_by": record(
            {"software": _text, "version": _text},
            {
                "commit": text(r"[0-9a-f]{7,64}", "a commit in hexadecimal"),
                "environment_sha256": _hex64,
            },
        ),
        "derived_from": each(_sha256),
    },
    {"attributed_to": each(record({"name": _text}, {"orcid": _text}))},
)

_rezero = record(
    {
        "session": _text,
        "shift_W": _any,
        "u_W": _positive,
        "idle_s": _positive,
        "idle_W": _any,
        "inputs": _values,
    },
    {"run": _text, "drift": choice("measured", "assumed")},
)

_profile = record(
    {
        "schema_version": text(r"[0-9]+\.[0-9]+", "a version such as 1.0"),
        "id": text(
            r"[a-z0-9][a-z0-9._-]*/[a-z0-9][a-z0-9._-]*", "a name such as example-lab/r650-a100"
        ),
        "revision": integer(least=1),
        "title": _text,
        "kind": choice("correction", "error_statement"),
        "measurand": record(
            {
                "quantity": choice("active_power"),
                "unit": choice("W"),
                "boundary": choice(*BOUNDARIES),
            },
            {"includes": each(_text), "excludes": each(_text), "above_idle_only": boolean},
        ),
        "inputs": each(_input, least=1),
        "subject": _subject,
        "calibration": _calibration,
        "traceability": _traceability,
        "validity": record({"valid_from": day, "review_after": day}, {"triggers": each(_text)}),
        "provenance": _provenance,
        "license": _text,
    },
    {
        "$schema": _text,
        "model": _model,
        "uncertainty": _uncertainty,
        "table": _table,
        "quick": _quick,
        "applicability": _applicability,
        "evidence": record({}, {"study": _file, "dcc": _file}),
        "cite_as": _text,
        "supersedes": _sha256,
        "rezero": _rezero,
    },
)

_NEEDED_BY_A_CORRECTION = ("model", "uncertainty", "applicability")
_BARRED_FROM_A_STATEMENT = ("model", "uncertainty", "table", "quick", "rezero")


def check_structure(document: Any) -> None:
    """Raise `SchemaError` with one sentence unless the document has the shape of a profile."""
    if not isinstance(document, Mapping):
        fail("", "a JSON object", document)
    version = document.get("schema_version")
    if isinstance(version, str) and version.partition(".")[0] != "1":
        raise SchemaError(
            f"Expected a profile of schema version 1; got version {version}. "
            "Read it with a newer wattcal."
        )
    _profile(document, "")
    correction = document["kind"] == "correction"
    for name in _NEEDED_BY_A_CORRECTION if correction else ():
        if name not in document:
            raise SchemaError(f"A profile of kind correction needs `{name}`; it is missing.")
    for name in () if correction else _BARRED_FROM_A_STATEMENT:
        if name in document:
            raise SchemaError(
                f"A profile of kind error_statement gives no correction; got `{name}`. Remove it."
            )
