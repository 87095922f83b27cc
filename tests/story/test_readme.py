"""The README from top to bottom: every `sh` and `python` block, in one fresh folder."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from calibration.cli.conformance import results_text

ROOT = Path(__file__).resolve().parents[2]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def blocks() -> list[tuple[str, str]]:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    return [(kind, body) for kind, body in BLOCK.findall(text) if kind in ("sh", "python")]


@pytest.mark.alone
def test_the_readme_runs_from_top_to_bottom(wattcal_data: Path, tmp_path: Path) -> None:
    environment = {
        **os.environ,
        "WATTCAL_DATA": str(wattcal_data),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }
    # `wattcal datasets` looks for descriptions in the folder that it is started in.
    (tmp_path / "datasets").symlink_to(ROOT / "datasets")
    # The reader's own file, as the real CodeCarbon wrote it.
    made = ROOT / "tests" / "profile" / "audit_files" / "codecarbon-3.3.2-rapl.csv"
    shutil.copy(made, tmp_path / "emissions.csv")
    found = blocks()
    assert len(found) >= 5
    for kind, body in found:
        command = ["bash", "-euc", body] if kind == "sh" else [sys.executable, "-c", body]
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, f"{body}\n{done.stdout}\n{done.stderr}"


def test_no_machine_speaks_in_the_readme() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert str(Path.home()) not in text
    assert not re.search(r"/(work|home)/\w", text)


def test_the_table_of_tools_is_that_of_the_published_campaign() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    (folder,) = re.findall(r"\]\((datasets/conformance-[\d-]+)/report\.md\)", text)
    results = json.loads((ROOT / folder / "results.json").read_text(encoding="utf-8"))
    schema = ROOT / "calibration" / "schema" / "conformance-1.0.json"
    Draft202012Validator(json.loads(schema.read_text(encoding="utf-8"))).validate(results)
    printed = [line.rstrip() for line in results_text(results).splitlines()]
    (table,) = re.findall(r"```text\n(scenario .*?)```", text, re.DOTALL)
    shown = [line.rstrip() for line in table.splitlines()]
    assert len(shown) > 8
    assert [line for line in shown if line not in printed] == []
    assert f"All {len(results['scenarios'])} scenarios" in text
    for defect in results["defects"]:
        if defect["script"]:
            script = ROOT / folder / defect["script"]["name"]
            assert script.read_text(encoding="utf-8") == defect["script"]["text"]
