"""kill -9 at random instants of real recordings: at most a second lost each, none corrupt.

Ten here, two hundred in `make soak`, by the same function.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from calibration.instruments import open_meter
from tests.lab.kills import ROOT, kills
from tests.lab.ramp import ramp_meter


def test_killed_recordings_lose_less_than_a_second_and_are_never_corrupt(tmp_path: Path) -> None:
    found = list(kills(10, 20, tmp_path))
    assert max(k.lost_s for k in found) <= 1.0, found
    assert [k.caught for k in found].count("sealing") == 2
    assert sum(k.rows for k in found) > 60, "they were killed while they recorded"
    assert any(k.lost_s > 0 for k in found), "a kill that costs nothing came too late"


def test_two_recorders_on_one_port_or_in_one_directory_are_refused(tmp_path: Path) -> None:
    """Both by processes of their own: exit code 4 for the port, 3 for the directory."""
    command = [sys.executable, "-m", "calibration", "record", "--headless", "--estimator"]
    with ramp_meter() as emulator, ramp_meter() as other:
        open_meter(f"pzem-004t@{emulator.path}").close()
        first = subprocess.Popen(
            [*command, "none", "--meter", f"pzem-004t@{emulator.path}", "-o", tmp_path / "run"],
            cwd=ROOT,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            deadline_s = time.monotonic() + 30
            while not (tmp_path / "run" / "pzem-004t.arrows").exists():
                assert time.monotonic() < deadline_s
                time.sleep(0.02)
            answers = [
                subprocess.run(
                    [*command, "none", "--meter", f"pzem-004t@{path}", "-o", tmp_path / run],
                    cwd=ROOT,
                    capture_output=True,
                    text=True,
                    check=False,
                )
                for path, run in ((emulator.path, "second"), (other.path, "run"))
            ]
        finally:
            first.terminate()
            assert first.wait(30) == 130
    port, directory = answers
    assert (port.returncode, directory.returncode) == (4, 3)
    assert "held by another process" in port.stderr
    assert "another process is recording into this directory" in directory.stderr
    for answer in answers:
        assert answer.stderr.count("\n") == 1
    assert [p.name for p in tmp_path.iterdir()] == ["run"]
