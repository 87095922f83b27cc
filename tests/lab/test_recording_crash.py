"""A recorder may die at any byte and at any step of sealing; what was written stays readable."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from calibration.errors import RunError
from calibration.recording import check, seal, writer
from calibration.recording.check import check_run, repair_run
from calibration.recording.documents import ChannelInfo, Descriptor
from calibration.recording.files import AppendFile
from calibration.recording.reader import read_run
from calibration.recording.writer import RunWriter, new_start

WALL = Descriptor(
    stream="wall",
    role="meter",
    source="test",
    channels=(ChannelInfo(name="power_w", quantity="active_power", unit="W", kind="instant"),),
)


def unsealed(path: Path, batches: int = 4, rows: int = 3) -> RunWriter:
    run = RunWriter.create(path, start=new_start("measured", "s"), live=False)
    stream = run.open_stream(WALL)
    for b in range(batches):
        for r in range(rows):
            i = b * rows + r
            stream.append(i, i, {"power_w": float(i)} if i != 4 else {}, None if i != 4 else "crc")
        stream.flush()
    return run


def test_a_stream_cut_at_any_byte_is_readable_to_its_last_batch(tmp_path: Path) -> None:
    unsealed(tmp_path / "run").abandon()
    whole = (tmp_path / "run" / "wall.arrows").read_bytes()
    cut = tmp_path / "cut"
    shutil.copytree(tmp_path / "run", cut)
    seen = []
    for end in range(len(whole) + 1):
        (cut / "wall.arrows").write_bytes(whole[:end])
        series = read_run(cut).series("wall", "power_w")
        n = series.value.size
        assert n % 3 == 0
        expected = np.arange(n, dtype=float)
        expected[4:5] = np.nan
        np.testing.assert_array_equal(series.value, expected)
        seen.append(n)
    assert seen == sorted(seen)
    assert seen[-1] == 12
    assert set(seen) == {0, 3, 6, 9, 12}


def test_a_log_cut_at_any_byte_gives_its_complete_lines(tmp_path: Path) -> None:
    unsealed(tmp_path / "run").seal("success")
    log = tmp_path / "run" / "run.jsonl"
    whole = log.read_bytes()
    first = whole.index(b"\n") + 1
    described = whole.index(b"\n", first) + 1
    for end in range(len(whole) + 1):
        log.write_bytes(whole[:end])
        if end < first:
            with pytest.raises(RunError, match="expected a start document"):
                read_run(tmp_path / "run")
            continue
        run = read_run(tmp_path / "run")
        assert len(run.notes) == (0 if whole[:end].endswith(b"\n") else 1)
        assert (run.stop is not None) == (end == len(whole))
        if end >= described:
            assert run.series("wall", "power_w").value.size == 12


def test_a_repair_ends_a_torn_line_and_never_rewrites(tmp_path: Path) -> None:
    unsealed(tmp_path / "run").abandon()
    log = tmp_path / "run" / "run.jsonl"
    with log.open("ab") as file:
        file.write(b'{"type": "step", "ind')
    arrows = tmp_path / "run" / "wall.arrows"
    arrows.write_bytes(arrows.read_bytes()[:-100])
    before = log.read_bytes()
    stop = repair_run(tmp_path / "run")
    assert stop.exit_status == "fail"
    assert stop.rows == {"wall": 9}
    assert stop.faults == {"crc": 1}
    assert log.read_bytes().startswith(before)
    run = read_run(tmp_path / "run")
    assert run.series("wall", "power_w").value.size == 9
    assert check_run(tmp_path / "run") == ("run.jsonl: line 3 is not JSON and was skipped",)
    assert not arrows.exists()


class Killed(BaseException):
    """Stands for SIGKILL: no handler of the program may catch it."""


@pytest.mark.parametrize("after", range(9))
def test_killed_at_any_step_of_sealing_nothing_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    run = unsealed(tmp_path / "run")
    calls = 0

    def dying(name: str, real):  # type: ignore[no-untyped-def]
        def step(*args, **kwargs):  # type: ignore[no-untyped-def]
            nonlocal calls
            if calls == after:
                raise Killed(name)
            calls += 1
            return real(*args, **kwargs)

        return step

    with monkeypatch.context() as patch:
        patch.setattr(seal, "_write", dying("write", seal._write))
        patch.setattr(seal, "_compare", dying("compare", seal._compare))
        patch.setattr(seal.os, "replace", dying("rename", os.replace))
        patch.setattr(seal, "sync_directory", dying("sync", seal.sync_directory))
        patch.setattr(seal, "sha256_of", dying("hash", seal.sha256_of))
        patch.setattr(writer, "sync_directory", dying("sync again", writer.sync_directory))
        patch.setattr(Path, "unlink", dying("remove", Path.unlink))
        with pytest.raises(Killed):
            run.seal("success")
        os.close(run._lock._fd)  # what the kernel does for a killed process
    values = read_run(tmp_path / "run").series("wall", "power_w").value
    assert np.count_nonzero(~np.isnan(values)) == 11
    repair_run(tmp_path / "run")
    assert check_run(tmp_path / "run") == ()
    after_repair = read_run(tmp_path / "run").series("wall", "power_w").value
    np.testing.assert_array_equal(after_repair, values)
    assert sorted(p.name for p in (tmp_path / "run").iterdir()) == ["run.jsonl", "wall.parquet"]


def test_a_parquet_file_that_reads_back_wrong_keeps_the_stream(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = unsealed(tmp_path / "run")
    real = seal._write

    def short(source: Path, part: Path, schema: object) -> int:
        rows = real(source, part, schema)
        shutil.copy(damaged, part)
        return rows

    damaged = tmp_path / "damaged"
    other = unsealed(tmp_path / "other", batches=3)
    other.seal("success")
    shutil.copy(tmp_path / "other" / "wall.parquet", damaged)
    monkeypatch.setattr(seal, "_write", short)
    with pytest.raises(RunError, match="read back"):
        run.seal("success")
    monkeypatch.undo()
    assert read_run(tmp_path / "run").rows("wall") == 12
    run.seal("success")
    assert check_run(tmp_path / "run") == ()


def test_a_partial_write_is_cut_off_and_the_rows_go_on_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = RunWriter.create(tmp_path / "run", start=new_start("measured", "s"), live=False)
    stream = run.open_stream(WALL)
    stream.append(0, 0, {"power_w": 0.0})
    stream.flush()
    size = (tmp_path / "run" / "wall.arrows").stat().st_size
    stream.append(1, 1, {"power_w": 1.0})
    real = os.write
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", lambda fd, data: real(fd, data[: len(data) // 2]))
        with pytest.raises(RunError, match="Make room"):
            stream.flush()
    assert (tmp_path / "run" / "wall.arrows").stat().st_size == size
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", lambda fd, data: (_ for _ in ()).throw(OSError(28, "full")))
        with pytest.raises(RunError, match="full"):
            stream.flush()
    assert read_run(tmp_path / "run").rows("wall") == 1
    stream.append(2, 2, {"power_w": 2.0})
    run.seal("success")
    assert read_run(tmp_path / "run").series("wall", "power_w").value.tolist() == [0.0, 1.0, 2.0]


def test_a_line_of_the_log_is_one_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pieces: list[bytes] = []
    real = AppendFile.append

    def spy(self: AppendFile, piece: bytes) -> None:
        if self.path.name == "run.jsonl":
            pieces.append(piece)
        real(self, piece)

    monkeypatch.setattr(AppendFile, "append", spy)
    unsealed(tmp_path / "run").seal("success")
    assert b"".join(pieces) == (tmp_path / "run" / "run.jsonl").read_bytes()
    for piece in pieces:
        assert piece.endswith(b"\n")
        assert isinstance(json.loads(piece), dict)


def test_one_writer_a_directory(tmp_path: Path) -> None:
    first = unsealed(tmp_path / "run")
    with pytest.raises(RunError, match="another process is recording into this directory"):
        RunWriter.create(tmp_path / "run", start=new_start("measured", "s"))
    with pytest.raises(RunError, match="another process is writing"):
        repair_run(tmp_path / "run")
    assert check_run(tmp_path / "run") == ("the run is being recorded right now",)
    first.seal("success")
    with pytest.raises(RunError, match="expected a new or empty directory"):
        RunWriter.create(tmp_path / "run", start=new_start("measured", "s"))
    with pytest.raises(RunError, match="is sealed"):
        first.seal("success")
    with pytest.raises(RunError, match="is sealed"):
        first.clock()


def test_a_killed_recorder_leaves_a_readable_run(tmp_path: Path) -> None:
    """SIGKILL, for real: the lock goes with the process, the rows of the last second stay."""
    program = f"""
import os, signal
from calibration.recording.documents import ChannelInfo, Descriptor
from calibration.recording.writer import RunWriter, new_start
run = RunWriter.create({str(tmp_path / "run")!r}, start=new_start("measured", "s"))
channel = ChannelInfo(name="power_w", quantity="active_power", unit="W", kind="instant")
d = Descriptor(stream="wall", role="meter", source="test", channels=(channel,))
stream = run.open_stream(d)
for i in range(50):
    stream.append(i, i, {{"power_w": float(i)}})
stream.flush()
os.kill(os.getpid(), signal.SIGKILL)
"""
    root = Path(check.__file__).resolve().parents[2]
    env = {**os.environ, "PYTHONPATH": str(root)}
    done = subprocess.run([sys.executable, "-c", program], env=env, check=False)
    assert done.returncode == -9
    assert check_run(tmp_path / "run") == (
        "the run was never sealed; `wattcal runs repair` seals what was recorded",
    )
    assert repair_run(tmp_path / "run").rows == {"wall": 50}


def test_interrupt_seals_as_abort_and_an_error_as_fail(tmp_path: Path) -> None:
    def ended_by(error: BaseException, path: Path) -> None:
        with RunWriter.create(path, start=new_start("measured", "s")) as run:
            run.open_stream(WALL).append(0, 0, {"power_w": 1.0})
            raise error

    with pytest.raises(KeyboardInterrupt):
        ended_by(KeyboardInterrupt(), tmp_path / "a")
    with pytest.raises(ValueError, match="odd"):
        ended_by(ValueError("odd"), tmp_path / "b")
    aborted, failed = read_run(tmp_path / "a"), read_run(tmp_path / "b")
    assert aborted.stop is not None
    assert failed.stop is not None
    assert aborted.stop.exit_status == "abort"
    assert failed.stop.exit_status == "fail"
    assert failed.stop.reason == "ValueError: odd"
    assert aborted.rows("wall") == 1
    assert check_run(tmp_path / "a") == ()


def test_damage_after_sealing_is_found(tmp_path: Path) -> None:
    unsealed(tmp_path / "run").seal("success")
    file = tmp_path / "run" / "wall.parquet"
    body = bytearray(file.read_bytes())
    body[len(body) // 3] ^= 1
    file.write_bytes(body)
    findings = check_run(tmp_path / "run")
    assert len(findings) == 1
    assert "changed or damaged" in findings[0]
    file.unlink()
    assert check_run(tmp_path / "run") == ("wall.parquet is missing",)
    with pytest.raises(RunError, match="runs check"):
        read_run(tmp_path / "run").series("wall", "power_w")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b'{"type": "party"}\n', "line 2: Expected a document of type"),
        (b'{"type": "clock"}\n', "line 2: A clock document needs"),
        (
            b'{"type":"start","uid":"x","t_wall_ns":1,"data_kind":"measured","session":""}\n',
            "where the run has ended",
        ),
    ],
)
def test_documents_that_do_not_fit_are_named(tmp_path: Path, line: bytes, message: str) -> None:
    unsealed(tmp_path / "run").seal("success")
    log = tmp_path / "run" / "run.jsonl"
    lines = log.read_bytes().splitlines(keepends=True)
    log.write_bytes(b"".join([lines[0], line, *lines[1:]]))
    with pytest.raises(RunError, match=message):
        read_run(tmp_path / "run")
