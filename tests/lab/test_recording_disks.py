"""Disks that are full or read-only, for real: a tmpfs of its own in a mount namespace.

Permissions do not stop root, so nothing less shows what a recorder does there.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from calibration.recording.documents import ChannelInfo, Descriptor
from calibration.recording.writer import RunWriter, new_start
from calibration.simulation.namespace import why_not
from tests.conftest import Require

ROOT = Path(__file__).resolve().parents[2]
_MOUNTED = 'mount -t tmpfs -o "$1" none "$2" && shift 2 && exec "$@"'


@pytest.fixture(autouse=True)
def _namespaces(require: Require) -> None:
    require("namespaces", why_not() is None, why_not() or "")


def on_disk(options: str, folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """Run a command of this Python where `folder` is a tmpfs with these options."""
    folder.mkdir(exist_ok=True)
    inner = [sys.executable, *command]
    return subprocess.run(
        ["unshare", "-Urm", "sh", "-c", _MOUNTED, "sh", options, str(folder), *inner],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def small_disk(folder: Path, how: str) -> tuple[dict[str, Any], str]:
    done = on_disk("size=1m", folder, "-m", "tests.lab.small_disk", str(folder), how)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout), done.stderr


def test_a_disk_that_was_full_for_a_while_costs_no_row(tmp_path: Path) -> None:
    found, said = small_disk(tmp_path / "disk", "recovers")
    assert found["error"] is None
    assert found["status"] == "success"
    assert found["faults"].keys() >= {"disk", "disk_recovered"}
    assert "lost" not in found["faults"]
    assert found["end"] == found["sent"] > 50, "every reading that was sent is there"
    assert found["findings"] == []
    assert said.count("The disk refuses") == 1
    assert re.search("No space left on device|the disk took", said)


def test_a_disk_that_stays_full_keeps_what_it_took_and_says_what_was_lost(tmp_path: Path) -> None:
    found, _ = small_disk(tmp_path / "disk", "stays")
    assert re.search("No space left on device|the disk took", found["error"])
    assert "runs repair" in found["error"]
    assert "\n" not in found["error"]
    assert found["repaired"] == 0
    assert found["kept"], "nothing earlier is rewritten"
    assert found["findings"] == []
    assert found["status"] == "fail"
    assert found["faults"]["disk"] == 1
    assert found["end"] >= 10, "what was sent before it was full is there"
    # Rows that hold a fault are lost and counted too, where this machine is busy.
    assert found["faults"]["lost"] == found["appended"] - found["rows"], "the rest is counted"
    assert found["faults"]["lost"] >= found["sent"] - found["end"]


def test_a_read_only_disk_is_refused_before_anything_is_recorded(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    for command in (
        ["record", "--estimator", "cpu-load", "--workload", "idle:0:1", "-o", str(disk / "run")],
        ["record", "--estimator", "cpu-load", "--workload", "idle:0:1", "-o", str(disk)],
    ):
        done = on_disk("ro", disk, "-m", "calibration", *command)
        assert done.returncode == 3, done.stderr
        assert done.stdout == ""
        assert done.stderr.count("\n") == 1
        assert "Read-only file system" in done.stderr


def test_a_run_on_a_read_only_disk_can_be_read_and_is_not_repaired(tmp_path: Path) -> None:
    channel = ChannelInfo(name="power_w", quantity="power", unit="W", kind="instant")
    run = RunWriter.create(tmp_path / "run", start=new_start("measured", "s"), live=False)
    wall = run.open_stream(Descriptor(stream="wall", role="meter", source="t", channels=(channel,)))
    wall.append(1, 1, {"power_w": 1.0})
    run.abandon()
    script = (
        f"mount --bind {tmp_path} {tmp_path} && mount -o remount,bind,ro {tmp_path} && exec "
        f"{sys.executable} -m calibration runs"
    )
    codes = []
    for action in ("show", "repair"):
        done = subprocess.run(
            ["unshare", "-Urm", "sh", "-c", f"{script} {action} {tmp_path / 'run'}"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        codes.append(done.returncode)
        if action == "show":
            assert "1 rows" in done.stdout
        else:
            assert "Read-only file system" in done.stderr
            assert done.stderr.count("\n") == 1
    assert codes == [0, 3]
