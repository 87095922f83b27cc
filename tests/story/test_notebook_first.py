"""The notebook: ten cells without stored output that run top to bottom on the demo's recording."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from conftest import DemoRun

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOK = ROOT / "notebooks" / "first_calibration.ipynb"
pytestmark = [pytest.mark.timeout(400), pytest.mark.alone]

_EXECUTE = """
import json, sys
import nbformat
from nbclient import NotebookClient
notebook = nbformat.read(sys.argv[1], as_version=4)
NotebookClient(notebook, timeout=120, kernel_name="python3").execute()
sys.stdout.write(nbformat.writes(notebook))
"""


def cells() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    return found


def test_ten_cells_and_no_output() -> None:
    assert len(cells()) == 10
    for cell in cells():
        if cell["cell_type"] == "code":
            assert cell["outputs"] == []
            assert cell["execution_count"] is None
    assert "simulated" in "".join(cells()[0]["source"])


def test_notebook_runs_top_to_bottom(demo_run: DemoRun) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _EXECUTE, str(NOTEBOOK)],
        cwd=NOTEBOOK.parent,
        env={**os.environ, "WATTCAL_DEMO": str(demo_run.folder), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    ran = json.loads(done.stdout)["cells"]
    shown = json.dumps([c.get("outputs") for c in ran])
    assert shown.count('"image/png"') == 2
    assert "workload_dependence" in shown
    last = "".join("".join(o.get("text", "")) for o in ran[-1]["outputs"])
    assert "corrected" in last
    assert "true" in last
