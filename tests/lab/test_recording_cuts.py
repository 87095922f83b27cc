"""A run cut at any byte of any of its files is a valid beginning of it, and a repair seals that."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from calibration.errors import RunError
from calibration.recording.check import check_run, repair_run
from calibration.recording.columns import complete_batches
from calibration.recording.documents import ChannelInfo, Descriptor
from calibration.recording.reader import read_run
from calibration.recording.writer import RunWriter, new_start

BATCHES, ROWS = 4, 3
WALL = Descriptor(
    stream="wall",
    role="meter",
    source="test",
    channels=(ChannelInfo(name="power_w", quantity="power", unit="W", kind="instant"),),
)
RAILS = replace(
    WALL,
    stream="rails",
    channels=(replace(WALL.channels[0], scale=(1, 1)),),
    arrival="streamed",
    tick_rate_hz=1000.0,
)


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    """A run with two streams whose recorder has died: its first row in each batch is faulty."""
    run = RunWriter.create(tmp_path / "whole", start=new_start("measured", "s"), live=False)
    wall, rails = run.open_stream(WALL), run.open_stream(RAILS)
    for batch in range(BATCHES):
        t = np.arange(batch * ROWS, (batch + 1) * ROWS)
        wall.append_rows(t, t, {"power_w": t.astype(float)}, faults={0: "crc"})
        rails.append_block(int(t[0]), int(t[-1]), t, {"power_w": t.astype(np.int16)}, "desync")
        wall.flush()
        rails.flush()
    run.abandon()
    return tmp_path / "whole"


@pytest.mark.parametrize("stream", ["wall", "rails"])
def test_a_stream_cut_anywhere_is_sealed_up_to_its_last_batch(
    tmp_path: Path, whole: Path, stream: str
) -> None:
    body = (whole / f"{stream}.arrows").read_bytes()
    other = "rails" if stream == "wall" else "wall"
    seen = set()
    # Every byte is read; every 53rd is repaired too, and so are the first behind each batch.
    for end in range(len(body) + 1):
        (whole / f"{stream}.arrows").write_bytes(body[:end])
        batches = complete_batches(whole / f"{stream}.arrows")
        value = np.array([v for b in batches for v in b.column("power_w").to_pylist()])
        np.testing.assert_array_equal(value, np.arange(value.size))
        assert value.size % ROWS == 0
        new, _ = value.size not in seen, seen.add(value.size)
        if end % 53 and not new:
            continue
        cut = tmp_path / "cut"
        shutil.copytree(whole, cut)
        before = (cut / "run.jsonl").read_bytes()
        stop = repair_run(cut)
        assert stop.rows == {stream: value.size, other: BATCHES * ROWS}
        assert sum(stop.faults.values()) == value.size // ROWS + BATCHES
        assert check_run(cut) == ()
        assert (cut / "run.jsonl").read_bytes().startswith(before)
        np.testing.assert_array_equal(read_run(cut).series(stream, "power_w").value, value)
        shutil.rmtree(cut)
    assert seen == {0, 3, 6, 9, 12}


def test_a_log_cut_anywhere_is_sealed_with_the_streams_that_it_describes(
    tmp_path: Path, whole: Path
) -> None:
    log = whole / "run.jsonl"
    body = log.read_bytes()
    ends = [i + 1 for i, b in enumerate(body) if b == ord("\n")]
    for end in sorted({*range(0, len(body) + 1, 31), *ends, *(e - 1 for e in ends)}):
        cut = tmp_path / "cut"
        shutil.copytree(whole, cut)
        (cut / "run.jsonl").write_bytes(body[:end])
        # A line that lacks nothing but its end is whole once a repair has ended it.
        lines = sum(e <= end + 1 for e in ends)
        if end < ends[0]:
            with pytest.raises(RunError, match="expected a start document"):
                repair_run(cut)
        else:
            assert set(repair_run(cut).rows) == set(["wall", "rails"][: lines - 1])
            assert (cut / "run.jsonl").read_bytes().startswith(body[:end])
            read = read_run(cut)
            torn = end not in ends and end + 1 not in ends
            assert len(read.notes) == torn, "a torn line is said to be skipped"
            assert len(check_run(cut)) == torn
            for stream in read.descriptors:
                assert read.rows(stream) == BATCHES * ROWS
        # What no line describes is kept as it was: nobody knows what it means.
        for stream in ("wall", "rails"):
            if stream not in (read_run(cut).descriptors if end >= ends[0] else ()):
                same = (cut / f"{stream}.arrows").read_bytes()
                assert same == (whole / f"{stream}.arrows").read_bytes()
        shutil.rmtree(cut)
