"""The RAPL reader on the stage, as a program that nobody injected anything into."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from calibration.simulation import namespace
from calibration.simulation.powercap_tree import Zone
from calibration.simulation.profile import constant
from calibration.simulation.stage import Scene, SceneZone, Stage

Require = Callable[[str, bool, str], None]

READ = """
import json, sys, time
from calibration.errors import CalibrationError
from calibration.estimators import open_estimator
try:
    with open_estimator("rapl") as reader:
        first = reader.read(); time.sleep(0.6); last = reader.read()
        seconds = (last.t_reply_ns - first.t_reply_ns) / 1e9
        print(json.dumps({
            "watts": {k: (last.values[k] - first.values[k]) / seconds for k in first.values},
            "configuration": dict(reader.descriptor().configuration),
        }))
except CalibrationError as error:
    print(json.dumps({"error": str(error)}))
"""


@pytest.fixture
def apart(require: Require) -> None:
    reason = namespace.why_not()
    require("namespaces", reason is None, f"private namespaces: {reason}")


def zone(place: str, name: str, start_uj: int, power_w: float, **more: Any) -> SceneZone:
    return SceneZone(Zone(place, name, start_uj, **more), constant(power_w))


def seen(folder: Path, *zones: SceneZone, closed: str | None = None) -> dict[str, Any]:
    """Return what the estimator `rapl` says in a process that permissions bind."""
    with Stage(folder / "stage", Scene(zones)) as stage:
        if closed is not None:
            (stage.sysfs / "class/powercap" / closed / "energy_uj").chmod(0)
        done = subprocess.run(
            namespace.inside([sys.executable, "-c", READ], bound_by_permissions=True),
            env=namespace.environment(folder, sysfs=stage.sysfs, library=None, state=None),
            capture_output=True,
            text=True,
        )
    assert done.returncode == 0, done.stderr
    said: dict[str, Any] = json.loads(done.stdout)
    return said


@pytest.mark.usefixtures("apart")
def test_nested_and_mirrored_domains_are_counted_once(tmp_path: Path) -> None:
    said = seen(
        tmp_path,
        zone("0", "package-0-die-0", 100_000_000_000, 40.0),
        zone("0:0", "core", 110_000_000_000, 30.0),
        zone("0:1", "dram", 120_000_000_000, 6.0),
        zone("1", "package-0-die-1", 100_000_000_000, 40.0),  # the same counter again
        zone("a", "package-10", 130_000_000_000, 25.0),
        zone("b", "psys", 140_000_000_000, 90.0),
    )
    watts = said["watts"]
    # The updater writes a thousand times a second; a busy machine may hold it up for a turn.
    assert watts["rapl_package_j"] == pytest.approx(65.0, rel=0.1), "40 W once, and package-10"
    assert watts["rapl_dram_j"] == pytest.approx(6.0, rel=0.1)
    assert watts["rapl_core_j"] == pytest.approx(30.0, rel=0.1)
    assert watts["rapl_psys_j"] == pytest.approx(90.0, rel=0.1)
    assert said["configuration"]["mirrors"] == {"intel-rapl:1": "intel-rapl:0"}
    assert said["configuration"]["summed"]["rapl_package"] == ["intel-rapl:0", "intel-rapl:a"]


@pytest.mark.usefixtures("apart")
def test_an_unreadable_counter_is_not_available_with_its_remedy(tmp_path: Path) -> None:
    said = seen(tmp_path, zone("0", "package-0", 100_000_000_000, 40.0), closed="intel-rapl:0")
    assert "may be read by root only" in said["error"]
    assert "sudo chmod a+r /sys/class/powercap/intel-rapl*/energy_uj" in said["error"]


@pytest.mark.usefixtures("apart")
def test_an_unreadable_range_is_not_available(tmp_path: Path) -> None:
    said = seen(tmp_path, zone("0", "package-0", 100_000_000_000, 40.0, range_readable=False))
    assert "a wrap cannot be told from a reset" in said["error"]
