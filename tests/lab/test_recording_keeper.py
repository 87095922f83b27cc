"""The writer's turns, one by one with a fake clock: loss of power, a disk that refuses, clocks."""

from __future__ import annotations

import json
import os
import random
import shutil
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from calibration.errors import RunError
from calibration.recording import writer
from calibration.recording.check import check_run, repair_run
from calibration.recording.clocks import jumps, read_clocks
from calibration.recording.documents import ChannelInfo, Clock, Descriptor
from calibration.recording.files import AppendFile
from calibration.recording.keeper import TURN_S, Keeper
from calibration.recording.reader import read_run
from calibration.recording.writer import RunWriter, new_start

S = 10**9
NOON = Clock(monotonic_ns=10**15, boottime_ns=2 * 10**15, wall_ns=1_700 * 10**15, boot_id="b")


def channel(kind: str = "instant", **more: Any) -> ChannelInfo:
    return ChannelInfo(name="power_w", quantity="power", unit="W", kind=kind, **more)  # type: ignore[arg-type]


WALL = Descriptor(stream="wall", role="meter", source="test", channels=(channel(),))
RAILS = replace(
    WALL, stream="rails", channels=(channel(scale=(1, 10)),), arrival="streamed", tick_rate_hz=1e3
)


class Clocks:
    """All clocks of a machine that may sleep, and whose wall clock may be set."""

    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> Clock:
        return self.now

    def passes(self, awake_s: float, *, asleep_s: float = 0.0, set_s: float = 0.0) -> None:
        n = self.now
        self.now = replace(
            n,
            monotonic_ns=n.monotonic_ns + round(awake_s * S),
            boottime_ns=n.boottime_ns + round((awake_s + asleep_s) * S),
            wall_ns=n.wall_ns + round((awake_s + asleep_s + set_s) * S),
        )


def run_by_hand(path: Path, clocks: Clocks) -> RunWriter:
    return RunWriter.create(path, start=new_start("measured", "s"), live=False, clocks=clocks)


@pytest.mark.parametrize("seed", range(25))
def test_a_loss_of_power_costs_less_than_the_last_second(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """Of each file what was synchronised stays; of the rest any part may be there, or none."""
    synced: dict[Path, int] = {}
    real = AppendFile.sync

    def sync(self: AppendFile) -> None:
        real(self)
        synced[self.path] = self.path.stat().st_size

    monkeypatch.setattr(AppendFile, "sync", sync)
    chance, clocks = random.Random(seed), Clocks()
    run = run_by_hand(tmp_path / "run", clocks)
    wall, rails = run.open_stream(WALL), run.open_stream(RAILS)
    run.keeper.turn()
    until_s, turned_s, t_s = chance.uniform(0.0, 4.0), 0.0, 0.0
    while t_s < until_s:
        stamp = clocks.now.monotonic_ns
        wall.append(stamp, stamp, {"power_w": t_s})
        ticks = np.arange(100) + round(t_s * 1000)
        rails.append_block(stamp, stamp, ticks, {"power_w": ticks.astype(np.int16)})
        clocks.passes(0.1)
        t_s += 0.1
        if t_s - turned_s >= TURN_S - 1e-9:
            turned_s = t_s
            run.keeper.turn()
    lost_from_ns = clocks.now.monotonic_ns
    left = tmp_path / "left"
    shutil.copytree(tmp_path / "run", left)
    for file in left.iterdir():
        least = synced.get(tmp_path / "run" / file.name, 0)
        os.truncate(file, chance.randint(least, file.stat().st_size))
    before = (left / "run.jsonl").read_bytes()
    for name in ("wall", "rails"):
        series = read_run(left).series(name, "power_w")
        rows = 100 if name == "rails" else 1
        kept = series.value.size // rows
        assert series.value.size % rows == 0, "a block is there as a whole or not at all"
        first_lost_ns = NOON.monotonic_ns + round(kept * 0.1 * S)
        assert lost_from_ns - first_lost_ns <= S
        expected = np.arange(series.value.size) / 10.0
        np.testing.assert_allclose(series.value, expected, atol=1e-9)
    stop = repair_run(left)
    assert stop.exit_status == "fail"
    assert (left / "run.jsonl").read_bytes().startswith(before), "nothing earlier is rewritten"
    assert all("cut off" in f or "not JSON" in f for f in check_run(left))
    run.seal("success")


def test_the_directory_and_its_names_reach_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Path] = []
    monkeypatch.setattr(writer, "sync_directory", seen.append)
    with RunWriter.create(tmp_path / "run", start=new_start("measured", "s")) as run:
        assert seen == [tmp_path / "run", tmp_path]
        run.open_stream(WALL)
        assert seen[2:] == [tmp_path / "run"]


@pytest.mark.parametrize("number", [5, 28, 30])
def test_a_disk_that_refuses_for_a_while_loses_nothing_and_stands_in_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """EIO, ENOSPC, EROFS; the log has room set aside, or waits as well."""
    clocks = Clocks()
    run = run_by_hand(tmp_path / "run", clocks)
    wall = run.open_stream(WALL)
    monkeypatch.setattr(Keeper, "alive", True)
    real = os.write

    def refusing(fd: int, piece: bytes) -> int:
        raise OSError(number, os.strerror(number))

    for i in range(50):
        if i == 10:
            monkeypatch.setattr(os, "write", refusing)
        if i == 30:
            assert run.keeper.trouble is not None
            assert os.strerror(number) in run.keeper.trouble
            monkeypatch.setattr(os, "write", real)
        wall.append(i, i, {"power_w": float(i)})
        clocks.passes(TURN_S)
        run.keeper.turn()
    assert run.keeper.trouble is None
    monkeypatch.setattr(Keeper, "alive", False)
    run.seal("success")
    read = read_run(tmp_path / "run")
    assert read.series("wall", "power_w").value.tolist() == list(range(50))
    refused, again = read.faults
    assert (refused.code, again.code) == ("disk", "disk_recovered")
    assert refused.t_ended_ns is None
    assert again.t_opened_ns == refused.t_opened_ns == NOON.monotonic_ns + round(11 * TURN_S * S)
    assert again.t_ended_ns == NOON.monotonic_ns + round(31 * TURN_S * S)
    assert check_run(tmp_path / "run") == ()


def test_a_disk_that_refuses_to_the_end_is_said_in_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def recorded() -> None:
        with run_by_hand(tmp_path / "run", Clocks()) as run:
            wall = run.open_stream(WALL)
            wall.append(0, 0, {"power_w": 0.0})
            run.keeper.turn()
            wall.append(1, 1, {"power_w": 1.0})
            monkeypatch.setattr(
                AppendFile,
                "append",
                lambda self, piece: real(self, piece) if "jsonl" in self.path.name else full(),
            )

    def full() -> None:
        raise RunError("No space left on device")

    real = AppendFile.append
    with pytest.raises(RunError, match=r"No space left .* make room, then `wattcal runs repair"):
        recorded()
    monkeypatch.undo()
    (lost,) = read_run(tmp_path / "run").faults
    assert (lost.stream, lost.code, lost.count) == ("wall", "lost", 1)
    assert repair_run(tmp_path / "run").rows == {"wall": 1}


def test_a_suspend_and_a_clock_that_was_set_stand_in_the_run(tmp_path: Path) -> None:
    clocks = Clocks()
    run = run_by_hand(tmp_path / "run", clocks)
    run.open_stream(WALL).append(1, 1, {"power_w": 1.0})
    run.keeper.start()  # its thread waits; every turn here is our own
    run.keeper.stop()
    for _ in range(200):
        clocks.passes(TURN_S)
        run.keeper.turn()
    slept_ns = clocks.now.monotonic_ns
    clocks.passes(TURN_S, asleep_s=3600.0)
    run.keeper.turn()
    clocks.passes(TURN_S)
    run.keeper.turn()
    clocks.passes(TURN_S, set_s=-7200.0)
    run.keeper.turn()
    for _ in range(200):
        clocks.passes(TURN_S, set_s=TURN_S * 4e-4)  # NTP slews it
        run.keeper.turn()
    run.seal("success")
    read = read_run(tmp_path / "run")
    suspended, was_set = read.faults
    assert (suspended.code, was_set.code) == ("suspended", "clock_set")
    assert "3.6e+03 s" in suspended.message
    assert "-7.2e+03 s" in was_set.message
    assert suspended.t_opened_ns == slept_ns
    assert suspended.t_ended_ns == slept_ns + round(TURN_S * S)
    # Each is bracketed by two looks, so that an analysis knows within a turn when it happened.
    looks = [c.monotonic_ns for c in read.clocks]
    for fault in read.faults:
        assert fault.t_opened_ns in looks
        assert fault.t_ended_ns in looks
    assert len(looks) == len(set(looks)) == 1 + 1 + 2 + 2 + 1


@pytest.mark.parametrize(
    ("change", "codes"),
    [
        ({}, []),
        ({"awake_s": 3600.0, "set_s": 1.7}, []),
        ({"asleep_s": 0.4}, ["clock_set"]),  # no machine sleeps so briefly
        ({"asleep_s": 2.0}, ["suspended"]),
        ({"set_s": 0.06}, ["clock_set"]),
        ({"asleep_s": 2.0, "set_s": 1.0}, ["suspended", "clock_set"]),
    ],
)
def test_jumps_of_clocks(change: dict[str, float], codes: list[str]) -> None:
    clocks = Clocks()
    clocks.passes(**{"awake_s": TURN_S, **change})
    assert [f.code for f in jumps(NOON, clocks.now)] == codes


def test_this_machine_did_not_jump_while_it_was_looked_at() -> None:
    looks = [read_clocks() for _ in range(200)]
    assert [f for a, b in pairwise(looks) for f in jumps(a, b)] == []


def test_room_set_aside_leaves_no_trace(tmp_path: Path) -> None:
    log = AppendFile(tmp_path / "log")
    log.reserve(1 << 16)
    log.append(b"{}\n")
    log.reserve(1 << 16)
    log.sync()
    log.close()
    assert (tmp_path / "log").read_bytes() == b"{}\n"
    assert (tmp_path / "log").stat().st_blocks * 512 < 1 << 16


@pytest.fixture
def refused(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    def refuse(descriptor: int) -> None:
        raise OSError(5, "Input/output error")

    return lambda: monkeypatch.setattr(os, "fdatasync", refuse)


def test_a_sync_that_failed_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: Callable[[], None]
) -> None:
    clocks = Clocks()
    run = run_by_hand(tmp_path / "run", clocks)
    run.open_stream(WALL).append(0, 0, {"power_w": 0.0})
    refused()
    run.keeper.turn()
    assert run.keeper.trouble is not None
    monkeypatch.undo()
    run.keeper.turn()
    assert run.keeper.trouble is None
    run.seal("success")
    lines = (tmp_path / "run" / "run.jsonl").read_text().splitlines()
    codes = [json.loads(line).get("code") for line in lines]
    assert [c for c in codes if c] == ["disk", "disk_recovered"]
