"""Every document that `--json` prints fits its schema, and every schema is used."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from referencing import Registry, Resource

from calibration.cli import main

SCHEMAS = Path(__file__).resolve().parents[2] / "calibration" / "schema"
# These are validated where the commands that print them are tested.
ELSEWHERE = {
    "audit",
    "calibrate",
    "conformance",
    "correct",
    "demo",
    "doctor",
    "fit",
    "meter",
    "meters",
    "meters-asked",
    "power-profile",
    "ranging",
    "record",
    "run",
    "runs-join",
    "runs-repair",
    "tape-record",
    "verify",
}


def load(name: str) -> dict[str, Any]:
    value: dict[str, Any] = json.loads((SCHEMAS / f"{name}-1.0.json").read_text(encoding="utf-8"))
    return value


def test_every_schema_is_a_schema_and_is_used() -> None:
    names = {p.name.removesuffix("-1.0.json") for p in SCHEMAS.glob("*.json")}
    for name in names:
        Draft202012Validator.check_schema(load(name))
    sources = "\n".join(
        p.read_text(encoding="utf-8") for p in Path(__file__).parents[1].rglob("test_*.py")
    )
    assert not [n for n in names if f'"{n}"' not in sources and f"{n}-1.0.json" not in sources]


@pytest.fixture
def check(capsys: pytest.CaptureFixture[str]) -> Any:
    registry = Registry().with_resources(
        (load(p.name.removesuffix("-1.0.json"))["$id"], Resource.from_contents(json.loads(text)))
        for p in SCHEMAS.glob("*.json")
        for text in [p.read_text(encoding="utf-8")]
    )

    def run(name: str, *arguments: object, code: int = 0) -> Any:
        capsys.readouterr()
        assert main([*map(str, arguments), "--json"]) == code
        value = json.loads(capsys.readouterr().out)
        errors = list(Draft202012Validator(load(name), registry=registry).iter_errors(value))
        assert not errors, errors[0]
        return value

    return run


def test_documents_of_recordings_fit_their_schemas(
    check: Any, wattcal_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WATTCAL_DATA", str(wattcal_data))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "datasets").symlink_to(SCHEMAS.parents[1] / "datasets")
    assert {d["name"] for d in check("datasets-list", "datasets", "list")} >= {"gmt-mcp39f511-rapl"}
    got = check("datasets-get", "datasets", "get", "gmt-mcp39f511-rapl")
    run = Path(got["runs"][0])
    check("datasets-table", "datasets", "table", "gmt-mcp39f511-rapl")
    mapping = tmp_path / "datasets" / "gmt-mcp39f511-rapl" / "dataset.toml"
    check("import", "import", mapping, "--data", wattcal_data, "-o", tmp_path / "again")
    check("runs-show", "runs", "show", run)
    assert len(check("runs-list", "runs", "list", "runs")) == 1
    check("compare", "compare", run, "--segments", "windows:10")
    each = check("fit-each", "fit", run, "--segments", "windows:10")
    assert [f["inputs"] for f in each["fits"]] == [["rapl_package"], ["rapl_dram"], ["cpu_load"]]
    assert check("runs-check", "runs", "check", run)[0]["whole"]
    broken = shutil.copytree(run, tmp_path / "broken")
    (broken / "wall.parquet").write_bytes(b"not it")
    assert not check("runs-check", "runs", "check", broken, code=3)[0]["whole"]
