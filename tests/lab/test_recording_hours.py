"""Hours of recording take no more memory than minutes: 18 min here, two days in `make soak`."""

from __future__ import annotations

from pathlib import Path

from calibration.recording.check import check_run
from tests.lab.long_hours import record_hours


def test_memory_does_not_grow_with_the_recording(tmp_path: Path) -> None:
    memory = record_hours(0.3, tmp_path)
    assert memory.rows == 3600 * 3 * (10 + 10 + 1000) // 10
    # Kept in memory, the million rows would be 28 bytes each, and more.
    assert memory.growth < 12 << 20
    assert memory.sealed - memory.tenths[-1] < 100 << 20
    assert check_run(tmp_path / "run") == ()
