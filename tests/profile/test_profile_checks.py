"""A profile that is not one is refused: by our checks, by the JSON Schema, with a sentence."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from importlib import resources
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from calibration import InputError, NotAllowed, SchemaError, load_profile
from calibration._profile.structure import check_structure

Document = dict[str, Any]
SCHEMA = json.loads(
    resources.files("calibration").joinpath("schema/power-profile-1.0.json").read_text()
)
VALIDATOR = jsonschema.Draft202012Validator(
    SCHEMA, format_checker=jsonschema.Draft202012Validator.FORMAT_CHECKER
)


def put(path: str, value: Any) -> Callable[[Document], None]:
    """Return what sets `a.b.0.c` to a value; None deletes."""

    def change(document: Document) -> None:
        *stem, last = path.split(".")
        node: Any = document
        for part in stem:
            node = node[int(part)] if part.isdigit() else node[part]
        key = int(last) if last.isdigit() else last
        if value is DELETE:
            del node[key]
        else:
            node[key] = value

    return change


DELETE = object()
STRUCTURE = {
    "no id": ("id", DELETE, "`id`"),
    "id without lab": ("id", "r650", "`id`"),
    "revision zero": ("revision", 0, "`revision`"),
    "unknown key": ("colour", "red", "'colour'"),
    "unknown key deep": ("inputs.0.aliases.0.unti", "kWh", "'unti'"),
    "rezero without a session": ("rezero", {"shift_W": 30.0}, "`rezero`"),
    "rezero that is certain": (
        "rezero",
        {
            "session": "s", "shift_W": 3.0, "u_W": 0, "idle_s": 60, "idle_W": 50,
            "inputs": {"rapl_package": 8, "nvml": 55},
        },
        "`rezero.u_W`",
    ),
    "unknown kind": ("kind", "guess", "`kind`"),
    "boundary": ("measurand.boundary", "somewhere", "`measurand.boundary`"),
    "no inputs": ("inputs", [], "`inputs`"),
    "unit of alias": ("inputs.0.aliases.1.unit", "Ws", "`inputs[0].aliases[1].unit`"),
    "version range": ("inputs.0.aliases.0.versions", "3.x", "`inputs[0].aliases[0].versions`"),
    "model missing": ("model", DELETE, "`model`"),
    "basis": ("model.terms.0.basis", "exp", "`model.terms[0].basis`"),
    "power 4": ("model.terms.1.power", 4, "`model.terms[1].power`"),
    "hinge without knot": ("model.terms.3.knot", DELETE, "`knot`"),
    "value is text": ("model.terms.0.value", "118.42", "`model.terms[0].value`"),
    "value is true": ("model.terms.0.value", True, "`model.terms[0].value`"),
    "dof zero": ("model.dof", 0, "`model.dof`"),
    "negative u": ("uncertainty.components.0.u", -0.1, "`uncertainty.components[0].u`"),
    "correlation": (
        "uncertainty.components.0.correlation", "some", "`uncertainty.components[0].correlation`",
    ),
    "absolute without unit": ("uncertainty.components.1.unit", DELETE, "`unit`"),
    "k below 1": (
        "uncertainty.stated.coverage_factor", 0.5, "`uncertainty.stated.coverage_factor`",
    ),
    "no vectors": ("uncertainty.stated.U_at", [], "`uncertainty.stated.U_at`"),
    "extrapolation": ("applicability.extrapolation", "maybe", "`applicability.extrapolation`"),
    "range of three": (
        "applicability.domain.nvml", [1, 2, 3], "`applicability.domain.nvml`",
    ),
    "impossible day": ("validity.valid_from", "2026-13-40", "`validity.valid_from`"),
    "day as number": ("validity.valid_from", 20261014, "`validity.valid_from`"),
    "bare hash": ("supersedes", "78" * 32, "`supersedes`"),
    "serial in clear": ("subject.unit_id", "S/N 1234", "`subject.unit_id`"),
    "data kind": ("provenance.data_kind", "invented", "`provenance.data_kind`"),
    "instant with zone": (
        "provenance.generated_at", "2026-10-14T09:12:33+02:00", "`provenance.generated_at`",
    ),
    "instant at 25 h": (
        "provenance.generated_at", "2026-10-14T25:12:33Z", "`provenance.generated_at`",
    ),
    "next major": ("schema_version", "2.0", "schema version 1"),
    "statement with model": ("kind", "error_statement", "error_statement"),
    "scheme missing": ("calibration.validation.scheme", DELETE, "`scheme`"),
    "null model of text": (
        "calibration.validation.before", "bad", "`calibration.validation.before`",
    ),
}  # fmt: skip

MEANING = {
    "covariance too small": ("model.covariance", [[1.0]], "4 x 4"),
    "covariance ragged": ("model.covariance.2", [1.0, 2.0], "4 x 4"),
    "not symmetric": ("model.covariance.0.1", 0.5, "symmetric"),
    "variance beyond all": ("model.covariance.1.1", 1e300, "a finite number"),
    "negative variance": ("model.covariance.1.1", -1e-5, "at least 0"),
    "input unknown": ("model.terms.1.input", "rapl", "one of the inputs"),
    "input unused": ("model.terms.2.input", "rapl_package", "'nvml' is in none"),
    "term twice": ("model.terms.1.id", "b0", "'b0' twice"),
    "input twice": ("inputs.1.id", "rapl_package", "'rapl_package' twice"),
    "reserved name": ("inputs.1.id", "machine", "another id"),
    "additive": ("model.additive", True, "`model.additive`"),
    "P does not follow": ("uncertainty.stated.U_at.1.P", 578.8, "`uncertainty.stated.U_at[1].P`"),
    "U does not follow": ("uncertainty.stated.U_at.1.U", 11.75, "`uncertainty.stated.U_at[1].U`"),
    "U hides lack of fit": ("uncertainty.components.3.u", 0.0, "`uncertainty.stated.U_at[0].U`"),
    "coefficient slipped": ("model.terms.2.value", 1.0981, "`uncertainty.stated.U_at[0].P`"),
    "vector outside": (
        "uncertainty.stated.U_at.0.inputs", {"rapl_package": 40.0, "nvml": 55.0}, "inside",
    ),
    "vector incomplete": ("uncertainty.stated.U_at.0.inputs", {"nvml": 55.0}, "rapl_package"),
    "table y": ("table.y.3", 592.6, "`table.y[3]`"),
    "table U": ("table.U.0", 11.8, "`table.U[0]`"),
    "table outside": ("table.x.4", 480.0, "table"),
    "table unsorted": ("table.x.0", 170.0, "rising"),
    "table short": ("table.y", [246.88, 361.15], "one length"),
    "quick too sure": ("quick.U_W", 12.0, "`quick.U_W`"),
    "domain missing": ("applicability.domain.nvml", DELETE, "`applicability.domain`"),
    "domain reversed": ("applicability.domain.nvml", [300.0, 52.0], "lower one first"),
    "halfspace": ("applicability.halfspaces.0.coef", {"psu": 1.0}, "halfspaces"),
    "averaging reversed": ("applicability.max_averaging_s", 5.0, "max_averaging_s"),
    "falls": ("model.terms.3.value", -2.0, "rise with rapl_package"),
    "review after due": ("validity.review_after", "2027-04-01", "due date"),
    "review before valid": ("validity.valid_from", "2027-03-03", "not after"),
    "ended before begun": ("calibration.begun", "2026-10-15", "not after"),
    "offset not stated": ("uncertainty.components.2.u", 0.0, "within_session"),
    "two sessions": (
        "uncertainty.components.2.sessions", {"n": 2, "span_days": 21}, "to be assumed",
    ),
    "three days": (
        "uncertainty.components.2.sessions", {"n": 6, "span_days": 3}, "to be assumed",
    ),
    "averages out in no time": (
        "uncertainty.components.4.correlation_time_s", DELETE, "correlation_time_s",
    ),
    "between one unit": ("uncertainty.between_unit.status", "measured", "below 3 units"),
    "unit of load": ("inputs.0.unit", "1", "W for active_power"),
}  # fmt: skip


def test_the_worked_example_is_valid(example: Document) -> None:
    VALIDATOR.validate(example)
    profile = load_profile(example)
    assert profile.input_ids == ("rapl_package", "nvml")
    assert not profile.additive
    assert example["model"]["dof"] == profile.dof


def test_extensions_are_welcome_anywhere(example: Document) -> None:
    example["x-note"] = {"any": ["thing"]}
    example["inputs"][0]["x-sensor"] = None
    VALIDATOR.validate(example)
    load_profile(example)


@pytest.mark.parametrize("name", STRUCTURE)
def test_wrong_structure_is_refused_by_both(name: str, example: Document) -> None:
    path, value, named = STRUCTURE[name]
    put(path, value)(example)
    with pytest.raises(SchemaError) as caught:
        load_profile(example, allow_simulated=True)
    assert named in str(caught.value)
    assert not VALIDATOR.is_valid(example)


@pytest.mark.parametrize("name", MEANING)
def test_wrong_meaning_is_refused(name: str, example: Document) -> None:
    path, value, named = MEANING[name]
    put(path, value)(example)
    with pytest.raises(SchemaError) as caught:
        load_profile(example)
    assert named in str(caught.value)


def test_a_covariance_that_is_not_possible(example: Document) -> None:
    # Each pair of coefficients is possible on its own, the three together are not.
    c = example["model"]["covariance"]
    for i in range(3):
        for j in range(3):
            if i != j:
                c[i][j] = -0.9 * (c[i][i] * c[j][j]) ** 0.5
    with pytest.raises(SchemaError, match="positive semi-definite"):
        load_profile(example)


def places(node: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if path:
        yield path
    if isinstance(node, (dict, list)):
        for key, value in node.items() if isinstance(node, dict) else enumerate(node):
            yield from places(value, (*path, key))


SPOILERS: tuple[Any, ...] = (
    DELETE, None, True, "", "x", "a/b", "1", 0, 1, -1, 0.5, 1e9, [], {}, [1.0, 2.0], ["x"],
    {"x": 1}, {"x-": 1}, "2026-02-30",
)  # fmt: skip


@pytest.mark.parametrize("shift", range(4))
def test_schema_and_checks_agree_on_every_spoiled_field(shift: int, example: Document) -> None:
    """Spoil every place in the document; the kinds of damage rotate, to stay quick."""
    paths = list(places(example))
    assert len(paths) > 250
    for number, path in enumerate(paths):
        spoiler = SPOILERS[(number + 5 * shift) % len(SPOILERS)]
        node: Any = example
        for part in path[:-1]:
            node = node[part]
        before = node[path[-1]]
        if spoiler is DELETE and isinstance(node, list):
            continue
        if spoiler is DELETE:
            del node[path[-1]]
        else:
            node[path[-1]] = spoiler
        sentence = ""
        try:
            check_structure(example)
        except SchemaError as error:
            sentence = str(error)
        if "lower one first" not in sentence:  # which a schema cannot say
            assert (not sentence) == VALIDATOR.is_valid(example), (path, spoiler, sentence)
        node[path[-1]] = before


def test_simulated_is_refused_by_default(example: Document) -> None:
    example["provenance"]["data_kind"] = "simulated"
    with pytest.raises(NotAllowed, match="allow_simulated"):
        load_profile(example)
    assert load_profile(example, allow_simulated=True).simulated


@pytest.mark.parametrize(
    ("content", "named"),
    [
        (b"", "empty"),
        (b"  \n", "empty"),
        (b"{", "cut short"),
        (b"not json", "line 1, column 1"),
        (b"[1, 2]", "a JSON object"),
        (b"null", "a JSON object"),
        (b'{"id": NaN}', "NaN"),
        (b'{"id": 1, "id": 2}', "'id' twice"),
        (b"\xff\xfe{}", "UTF-8"),
        (b"[" * 100_000, "profile"),
    ],
)
def test_files_that_are_no_profile(tmp_path: Path, content: bytes, named: str) -> None:
    path = tmp_path / "p.json"
    path.write_bytes(content)
    with pytest.raises(SchemaError) as caught:
        load_profile(path)
    assert named in str(caught.value)
    assert str(path) in str(caught.value)


def test_every_truncation_is_refused(tmp_path: Path, example: Document) -> None:
    text = json.dumps(example)
    path = tmp_path / "p.json"
    for cut in range(0, len(text) - 1, 97):
        path.write_text(text[:cut])
        with pytest.raises(SchemaError):
            load_profile(path)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No such file"):
        load_profile(tmp_path / "none.json")
    with pytest.raises(InputError, match="directory"):
        load_profile(tmp_path)
