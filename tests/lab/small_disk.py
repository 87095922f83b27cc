"""Record on a disk that fills up: run inside a mount namespace by `test_recording_disks.py`.

    python -m tests.lab.small_disk FOLDER recovers|stays

A meter at 20 Hz is recorded into FOLDER, a small file system. After 20 readings a ballast fills it
to the last page; `recovers`: it is taken away after 50. One JSON document is printed.
"""

from __future__ import annotations

import contextlib
import io
import json
import sys
import threading
import time
from pathlib import Path
from typing import Any

from calibration.bench import record
from calibration.cli import main as wattcal
from calibration.errors import CalibrationError
from calibration.instruments import open_meter
from calibration.plans import Plan, PlanStep
from calibration.recording.check import check_run
from calibration.recording.reader import read_run
from calibration.recording.streams import StreamWriter
from calibration.recording.writer import RunWriter, new_start
from tests.lab.ramp import is_stretch_of, ramp_meter, readings_of

PLAN = Plan("p", 0, (PlanStep("idle", 0, 1.5), PlanStep("idle", 0, 2.5)))


def fill(ballast: Path) -> None:
    """Write until nothing fits any more."""
    with ballast.open("wb", buffering=0) as file:
        for size in (1 << 16, 1):
            with contextlib.suppress(OSError):
                while True:
                    file.write(bytes(size))


def recorded(folder: Path, how: str) -> dict[str, Any]:
    """Return what happened to one recording."""
    run, ballast = folder / "run", folder / "ballast"
    error, end, appended = None, 0, 0
    append = StreamWriter.append

    def counted(self: StreamWriter, *args: Any, **options: Any) -> None:
        nonlocal appended
        appended += 1
        append(self, *args, **options)

    StreamWriter.append = counted  # type: ignore[method-assign]

    def weigh_down() -> None:
        wait_for(20)
        fill(ballast)
        if how == "recovers":
            wait_for(50)
            ballast.unlink()

    def wait_for(readings: int) -> None:
        while len(emulator.log) < readings:
            time.sleep(0.02)

    with ramp_meter() as emulator:
        meter = open_meter(f"pzem-004t@{emulator.path}")
        writer = RunWriter.create(run, start=new_start("simulated", "disk"))
        thread = threading.Thread(target=weigh_down)
        thread.start()
        try:
            with writer:
                record(PLAN, {"wall": meter}, [], writer, cadence_s={"wall": 0.05})
        except CalibrationError as refused:
            error = str(refused)
        thread.join()
        meter.close()
        _, sent_w = readings_of(emulator.log)
    before = (run / "run.jsonl").read_bytes()
    ballast.unlink(missing_ok=True)
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        repaired = wattcal(["runs", "repair", str(run)])  # harmless where it is sealed
    read = read_run(run)
    file_w = read.series("wall", "power_w").value
    end = is_stretch_of(file_w[file_w == file_w], sent_w)
    return {
        "error": error,
        "repaired": repaired,
        "kept": (run / "run.jsonl").read_bytes().startswith(before),
        "findings": check_run(run),
        "status": read.stop.exit_status if read.stop else None,
        "faults": {f.code: f.count for f in read.faults},
        "rows": int(file_w.size),
        "appended": appended,
        "sent": int(sent_w.size),
        "end": end,
    }


if __name__ == "__main__":
    print(json.dumps(recorded(Path(sys.argv[1]), sys.argv[2])))
