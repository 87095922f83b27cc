"""A real recording at 20 kHz, 10 Hz and 1 Hz at once, compared with what the emulators sent.

The three instruments are emulated in a process of their own behind pseudo-terminals; it counts what
it sends, and that is what the recording is held against.

    python -m tests.lab.fast_streams    (the process of the emulators)
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from calibration.bench import record
from calibration.instruments import open_meter
from calibration.plans import Plan, PlanStep
from calibration.recording.check import check_run
from calibration.recording.documents import Cost
from calibration.recording.reader import Run, read_run
from calibration.recording.seal import parquet_path
from calibration.recording.writer import RunWriter, new_start
from drivers.emulators.powersensor3 import PowerSensor3Device, PowerSensor3Emulator
from tests.lab.ramp import holes_in, ramp_meter, readings_of

__all__ = ["FastRun", "record_fast"]

ROOT = Path(__file__).resolve().parents[2]
TICKS_PER_FRAME = 50
_FRAME_BYTES = 18
_POLLED = {"tenth": 0.1, "second": 1.0}


class Counted(PowerSensor3Device):
    """A PowerSensor3 that counts the bytes that the line took."""

    taken_bytes = 0

    def sent(self, count: int) -> None:
        """Count, and go on."""
        self.taken_bytes += count
        super().sent(count)


class CountedEmulator(PowerSensor3Emulator):
    """Its emulator."""

    device = Counted


@dataclass(frozen=True, slots=True)
class FastRun:
    """What was sent, what is in the file, and what lies between.

    `gaps` are breaks in the frames' own clock, `unexplained` those without a fault in their block;
    `frames_missing` is what was sent or lost by the line and is not in the file: what was on its
    way when the stream was stopped. `readings` maps each polled stream to (sent, recorded).
    """

    seconds: float
    frames_sent: int
    frames_lost_by_line: int
    frames_recorded: int
    gaps: int
    unexplained: int
    faults: int
    readings: dict[str, tuple[int, int]]
    out_of_order: tuple[str, ...]
    missed: dict[str, int]
    cost: Cost
    bytes_per_frame: float
    peak_rss_bytes: int
    findings: tuple[str, ...]


def record_fast(seconds: float, folder: Path) -> FastRun:
    """Record all three for so long and compare."""
    plan = Plan("fast", 0, (PlanStep("idle", 0, seconds),))
    with _emulators() as served, contextlib.ExitStack() as stack:
        addresses = {"rails": f"powersensor3@{served.paths['rails']}"}
        addresses |= {name: f"pzem-004t@{served.paths[name]}" for name in _POLLED}
        meters = {name: open_meter(address) for name, address in addresses.items()}
        for meter in meters.values():
            stack.callback(meter.close)
        begun_s = time.monotonic()
        record(
            plan,
            meters,
            [],
            RunWriter.create(folder / "run", start=new_start("simulated", "fast")),
            boundary="gpu_dc",
            cadence_s=_POLLED,
        )
        lasted_s = time.monotonic() - begun_s
        peak_rss_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        sent = served.end()
    return _compared(read_run(folder / "run"), sent, lasted_s, peak_rss_bytes)


def _compared(run: Run, sent: dict[str, Any], seconds: float, peak_rss_bytes: int) -> FastRun:
    import pyarrow.parquet as pq

    file = parquet_path(run.path, "rails")
    table = pq.read_table(file, columns=["t_reply_ns", "device_ticks", "fault"])
    ticks = np.asarray(table.column("device_ticks").to_numpy())
    arrival = table.column("t_reply_ns").to_numpy()
    faulty = np.asarray(table.column("fault").is_valid().to_numpy())
    good = np.flatnonzero(np.isfinite(ticks.astype(float)))
    behind = good[1:][np.diff(ticks[good]) != TICKS_PER_FRAME]
    # A loss is noticed with the last bytes of one block and shows before the first row of the next.
    first = np.concatenate(([True], np.diff(arrival) != 0))
    block = np.cumsum(first)
    faulty_blocks = set(block[faulty].tolist())
    unexplained = [
        i
        for i in behind.tolist()
        if not {int(block[i]), int(block[i]) - int(first[i])} & faulty_blocks
    ]
    readings, out_of_order, missed = {}, [], {}
    for name in _POLLED:
        values = run.series(name, "power_w")
        recorded = values.value[np.isfinite(values.value)]
        whole = np.array(sent[name])
        readings[name] = (whole.size, int(recorded.size))
        missed[name] = len(values.faults)
        # A reading that was sent and is not there came too late, and has a row with a fault.
        if not 0 <= holes_in(recorded, whole) <= missed[name]:
            out_of_order.append(name)
    if run.cost is None:
        raise ValueError("The run has no cost document.")
    return FastRun(
        seconds=seconds,
        frames_sent=sent["frames"],
        frames_lost_by_line=sent["lost_frames"],
        frames_recorded=good.size,
        gaps=len(behind),
        unexplained=len(unexplained),
        faults=int(faulty.sum()),
        readings=readings,
        out_of_order=tuple(out_of_order),
        missed=missed,
        cost=run.cost,
        bytes_per_frame=file.stat().st_size / max(good.size, 1),
        peak_rss_bytes=peak_rss_bytes,
        findings=check_run(run.path),
    )


class _Served:
    """The process of the emulators, as the recorder's side sees it."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
        )
        assert self._process.stdout is not None
        self.paths: dict[str, str] = json.loads(self._process.stdout.readline())

    def end(self) -> dict[str, Any]:
        """Stop it and return what it sent."""
        if self._process.poll() is not None:
            return {}
        said, _ = self._process.communicate(timeout=60)
        found: dict[str, Any] = json.loads(said)
        return found


@contextlib.contextmanager
def _emulators() -> Iterator[_Served]:
    served = _Served()
    try:
        yield served
    finally:
        served.end()


def main() -> None:
    """Serve until stdin ends; then say what was sent."""
    with contextlib.ExitStack() as stack:
        rails = stack.enter_context(CountedEmulator(60.0, rails_v=(12.0, 3.3, 5.0, 12.0)))
        polled = {n: stack.enter_context(ramp_meter(s)) for n, s in _POLLED.items()}
        paths = {"rails": rails.path, **{n: e.path for n, e in polled.items()}}
        print(json.dumps(paths), flush=True)
        sys.stdin.read()
        sent: dict[str, Any] = {n: readings_of(e.log)[1].tolist() for n, e in polled.items()}
        device = rails.instrument
        sent["frames"] = device.taken_bytes // _FRAME_BYTES
        sent["lost_frames"] = device.lost_frames
    print(json.dumps(sent), flush=True)


if __name__ == "__main__":
    main()
