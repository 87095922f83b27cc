"""Real recordings that are killed at random instants, and what each of them lost.

`kills` starts one process that has loaded everything and forks a recorder for every trial, so that
two hundred of them take minutes. The meter is emulated in the calling process, which also kills:
what a recorder lost is measured against the emulator's own log of what it sent. Of five trials
one is killed at the start, one while the run is sealed, the others anywhere between.

    python -m tests.lab.kills    (the process that forks)
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from calibration.bench import record
from calibration.errors import RunError
from calibration.estimators import CpuLoad
from calibration.instruments import open_meter
from calibration.plans import Plan, PlanStep
from calibration.recording.check import check_run, repair_run
from calibration.recording.reader import read_run
from calibration.recording.writer import RunWriter, new_start
from tests.lab.ramp import end_of, holes_in, ramp_meter, readings_of

__all__ = ["Kill", "kills"]

ROOT = Path(__file__).resolve().parents[2]
LASTS_S = 1.6
PLAN = Plan("kill", 0, (PlanStep("idle", 0, 0.4), PlanStep("idle", 0, LASTS_S - 0.4)))
_CADENCE_S = 0.05
_CAUGHT = ("starting", "recording", "recording", "recording", "sealing")


@dataclass(frozen=True, slots=True)
class Kill:
    """One trial: how long after the fork the recorder was killed, s, and in what it was caught.

    `lost_s` is the time between the first reading that was sent and is lost, and the kill; 0 where
    none is lost. `rows` are in the file, `sent` were sent until then.
    """

    after_s: float
    caught: str
    rows: int
    sent: int
    lost_s: float


def kills(count: int, seed: int, folder: Path) -> Iterator[Kill]:
    """Kill `count` recordings and yield what came of each.

    Raises:
        AssertionError: a run is corrupt, or does not hold what was sent.

    """
    chance = random.Random(seed)
    with ramp_meter(_CADENCE_S) as emulator, _forker() as forker:
        for number in range(count):
            run, before = folder / f"run-{number}", len(emulator.log)
            forker.say({"run": str(run), "address": f"pzem-004t@{emulator.path}"})
            pid = int(forker.hear())
            begun_s = time.monotonic()
            caught = _CAUGHT[number % len(_CAUGHT)]
            if caught == "sealing":
                _wait_for(lambda run=run: any(run.glob("*.parquet")) or any(run.glob(".*.part")))
                time.sleep(chance.uniform(0.0, 0.03))
            elif caught == "recording":
                _wait_for(lambda run=run: (run / "wall.arrows").exists())
                time.sleep(chance.uniform(0.0, LASTS_S))
            else:
                time.sleep(chance.uniform(0.0, 0.6))
            killed_ns = time.monotonic_ns()
            with contextlib.suppress(ProcessLookupError):  # it was done a moment before
                os.kill(pid, signal.SIGKILL)
            forker.hear()  # it is dead
            log = [s for s in emulator.log[before:] if s.t_ns <= killed_ns]
            sent_ns, sent_w = readings_of(log)
            yield _judged(run, sent_ns, sent_w, killed_ns, killed_ns / 1e9 - begun_s, caught)


def _judged(
    run: Path,
    sent_ns: np.ndarray,
    sent_w: np.ndarray,
    killed_ns: int,
    after_s: float,
    caught: str,
) -> Kill:
    """Compare what is on the disk with what was sent, before and after a repair."""
    log = run / "run.jsonl"
    written = log.read_bytes() if log.exists() else b""
    try:
        was_sealed = read_run(run).stop is not None
    except RunError:  # killed before its first line
        assert b"\n" not in written
        return Kill(after_s, caught, 0, sent_w.size, _since(sent_ns, 0, killed_ns))
    repair_run(run)
    assert log.read_bytes().startswith(written), "nothing earlier is rewritten"
    assert all("cut off" in f or "not JSON" in f for f in check_run(run)), check_run(run)
    read = read_run(run)
    assert read.stop is not None
    assert was_sealed == (read.stop.exit_status == "success")
    if "wall" not in read.descriptors:
        return Kill(after_s, caught, 0, sent_w.size, _since(sent_ns, 0, killed_ns))
    if "cpu-load" in read.descriptors:
        assert read.rows("cpu-load") >= 0
    values = read.series("wall", "power_w").value
    good = values[np.isfinite(values)]
    holes, end = holes_in(good, sent_w), end_of(good, sent_w)
    assert end >= 0, "what is in the file was never sent in that order"
    # An answer that came too late on a busy machine is a row with a fault.
    assert holes <= values.size - good.size, "a reading is missing inside the file"
    return Kill(after_s, caught, int(good.size), sent_w.size, _since(sent_ns, end, killed_ns))


def _since(sent_ns: np.ndarray, end: int, killed_ns: int) -> float:
    """Return how long before the kill the first lost reading was sent, s."""
    return float(killed_ns - sent_ns[end]) / 1e9 if end < sent_ns.size else 0.0


def _wait_for(happened: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + 30
    while not happened():
        assert time.monotonic() < deadline_s, "the recording did not come so far"
        time.sleep(0.001)


class _Forker:
    """The process that forks a recorder for every line that it hears."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
        )

    def say(self, what: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(what) + "\n")
        self._process.stdin.flush()

    def hear(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline()

    def end(self) -> None:
        self._process.communicate(timeout=30)


@contextlib.contextmanager
def _forker() -> Iterator[_Forker]:
    forker = _Forker()
    try:
        yield forker
    finally:
        forker.end()


def _record(run: str, address: str) -> None:
    meter = open_meter(address)
    writer = RunWriter.create(run, start=new_start("simulated", "killed"))
    load = CpuLoad(cadence_s=_CADENCE_S)
    record(PLAN, {"wall": meter}, [load], writer, cadence_s={"wall": _CADENCE_S})


def main() -> None:
    """Fork a recorder for every line on stdin; say its process id, and when it is dead."""
    importlib.import_module(
        "drivers.meters.pzem004t"
    )  # loaded once, not by every fork; and so is pandas, by pyarrow
    pa.array(np.empty(0))
    for line in sys.stdin:
        pid = os.fork()
        if not pid:
            with contextlib.redirect_stdout(sys.stderr):
                _record(**json.loads(line))
            os._exit(0)
        print(pid, flush=True)
        os.waitpid(pid, 0)
        print("dead", flush=True)


if __name__ == "__main__":
    main()
