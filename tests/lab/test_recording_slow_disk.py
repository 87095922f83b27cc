"""A disk that stalls: whoever appends does not wait for it, and nothing is lost or out of order."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest

from calibration.recording import streams
from calibration.recording.documents import ChannelInfo, Descriptor
from calibration.recording.files import AppendFile
from calibration.recording.reader import read_run
from calibration.recording.writer import RunWriter, new_start

WALL = Descriptor(
    stream="wall",
    role="meter",
    source="test",
    channels=(ChannelInfo(name="power_w", quantity="power", unit="W", kind="mean", window_s=1.0),),
    arrival="polled",
    cadence_s=1.0,
)


@pytest.mark.parametrize("stalled", ["append", "sync"])
def test_appending_never_waits_for_the_disk(
    stalled: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = RunWriter.create(tmp_path / "run", start=new_start("measured", "s"), live=False)
    stream = run.open_stream(WALL)
    entered, go_on = threading.Event(), threading.Event()
    real = getattr(AppendFile, stalled)

    def slow(self: AppendFile, *piece: bytes) -> None:
        entered.set()
        assert go_on.wait(30)
        real(self, *piece)

    stream.append(0, 0, {"power_w": 0.0})
    if stalled == "sync":
        stream.flush()
    monkeypatch.setattr(AppendFile, stalled, slow)
    writer = threading.Thread(target=stream.flush if stalled == "append" else stream.sync)
    writer.start()
    assert entered.wait(30)
    # More than are written early: this thread finds the disk taken, and leaves them in memory.
    rows = np.arange(1, streams._ROWS_PER_BATCH + 10)
    stream.append_rows(rows, rows, {"power_w": rows.astype(float)})
    stream.append(rows.size + 1, rows.size + 1, {"power_w": rows.size + 1.0})
    assert writer.is_alive()
    go_on.set()
    writer.join()
    monkeypatch.undo()
    run.seal("success", "done")
    series = read_run(tmp_path / "run").series("wall", "power_w")
    np.testing.assert_array_equal(series.value, np.arange(rows.size + 2.0))
