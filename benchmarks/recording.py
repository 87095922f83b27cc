"""What recording costs: rows per second to disk and back, bytes per sample, processor, jitter.

Printed, never asserted in a test. Everything is compared within one run, the three ways of writing
in turn, in rounds: the recorder's own (Arrow batches, sealed as Parquet, read back and compared),
pandas to CSV, and plain Parquet row groups. Batches hold what arrives in half a second, and each is
synchronised by all three. A plain Parquet file whose writer died has no footer: nothing of it can
be read.

Then a recording at 10 Hz of an emulated meter, RAPL and NVML as stand-ins, and CodeCarbon, headless
and with the live view: what the kernel counted for the recorder's threads, and the jitter.

    python benchmarks/recording.py [--seconds 60] [--rows 400000]
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import io
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pynvml

from calibration.bench import record
from calibration.cli.live import LiveView
from calibration.cli.run_costs import cost_document, cost_lines
from calibration.estimators import CodeCarbon, NvmlReader, RaplReader
from calibration.instruments import open_meter
from calibration.plans import Plan, PlanStep
from calibration.recording.documents import ChannelInfo, Descriptor
from calibration.recording.reader import read_run
from calibration.recording.writer import RunWriter, new_start
from calibration.simulation import nvml
from calibration.simulation.gpu import RTX_3090, Gpu
from calibration.simulation.powercap_tree import Zone
from calibration.simulation.profile import constant
from calibration.simulation.stage import Scene, SceneZone, Stage

ROOT = Path(__file__).resolve().parents[1]
NAMES = ("voltage_v", "current_a", "power_w", "energy_j")
ROUNDS = 3
BATCH_S = 0.5


def samples(rows: int, rate_hz: float) -> Iterator[tuple[np.ndarray, dict[str, np.ndarray]]]:
    """Yield batches of instants (ns) and channels: a meter's resolution, a load that wanders."""
    chance = np.random.default_rng(3)
    per_batch = max(round(rate_hz * BATCH_S), 1)
    energy_j = 0.0
    for begin in range(0, rows, per_batch):
        n = min(per_batch, rows - begin)
        index = np.arange(begin, begin + n)
        t_ns = (index * 1e9 / rate_hz).astype(np.int64) + chance.integers(0, 200_000, n)
        power_w = np.round(120 + 30 * np.sin(index / rate_hz / 7) + chance.normal(0, 0.5, n), 1)
        voltage_v = np.round(230 + chance.normal(0, 0.3, n), 1)
        energy = energy_j + np.cumsum(power_w) / rate_hz
        energy_j = float(energy[-1])
        yield (
            t_ns,
            {
                "voltage_v": voltage_v,
                "current_a": np.round(power_w / voltage_v, 3),
                "power_w": power_w,
                "energy_j": np.round(energy, 1),
            },
        )


Batches = list[tuple[np.ndarray, dict[str, np.ndarray]]]


def ours(batches: Batches, folder: Path) -> tuple[Path, Callable[[], object]]:
    """Write as the recorder does; return the file and how it is read back."""
    channels = tuple(
        ChannelInfo(name=n, quantity=n, unit=n[-1].upper(), kind="instant") for n in NAMES
    )
    descriptor = Descriptor(stream="wall", role="meter", source="bench", channels=channels)
    run = RunWriter.create(folder / "run", start=new_start("simulated", "s"), live=False)
    stream = run.open_stream(descriptor)
    for t_ns, columns in batches:
        stream.append_rows(t_ns, t_ns + 1000, columns)
        stream.flush()
        stream.sync()
    run.seal("success")
    path = folder / "run"
    return path / "wall.parquet", lambda: [read_run(path).series("wall", n) for n in NAMES]


def csv(batches: Batches, folder: Path) -> tuple[Path, Callable[[], object]]:
    """Append to a CSV file with pandas."""
    path = folder / "wall.csv"
    with path.open("w", newline="") as file:
        for number, (t_ns, columns) in enumerate(batches):
            frame = pd.DataFrame({"t_request_ns": t_ns, "t_reply_ns": t_ns + 1000, **columns})
            frame.to_csv(file, index=False, header=number == 0)
            file.flush()
            os.fdatasync(file.fileno())
    return path, lambda: pd.read_csv(path)


def parquet(batches: Batches, folder: Path) -> tuple[Path, Callable[[], object]]:
    """Write one row group a batch."""
    path, writer = folder / "plain.parquet", None
    with path.open("wb") as file:
        for t_ns, columns in batches:
            table = pa.table({"t_request_ns": t_ns, "t_reply_ns": t_ns + 1000, **columns})
            if writer is None:
                writer = pq.ParquetWriter(file, table.schema, compression="zstd")
            writer.write_table(table)
            file.flush()
            os.fdatasync(file.fileno())
        if writer is not None:
            writer.close()
    return path, lambda: pq.read_table(path)


def to_disk_and_back(rows: int, rate_hz: float) -> None:
    """Time the three ways in turn; print medians over the rounds and their ratios to ours."""
    batches = list(samples(rows, rate_hz))
    ways = {"wattcal": ours, "pandas CSV": csv, "plain Parquet": parquet}
    write_s: dict[str, list[float]] = {n: [] for n in ways}
    cpu_s: dict[str, list[float]] = {n: [] for n in ways}
    read_s: dict[str, list[float]] = {n: [] for n in ways}
    size: dict[str, int] = {}
    for _ in range(ROUNDS):
        for name, way in ways.items():
            with tempfile.TemporaryDirectory() as folder:
                begin_s, used_s = time.perf_counter(), time.process_time()
                path, read = way(batches, Path(folder))
                write_s[name].append(time.perf_counter() - begin_s)
                cpu_s[name].append(time.process_time() - used_s)
                size[name] = path.stat().st_size
                begin_s = time.perf_counter()
                read()
                read_s[name].append(time.perf_counter() - begin_s)
    print(f"\n{rows:,} rows of {len(NAMES)} channels at {rate_hz:g} Hz, median of {ROUNDS} rounds")
    heads = ("rows/s written", "us CPU a row", "rows/s read", "bytes a row")
    print(f"{'':14} {heads[0]:>15} {heads[1]:>13} {heads[2]:>13} {heads[3]:>12}")
    for name in ways:
        written, used = statistics.median(write_s[name]), statistics.median(cpu_s[name])
        back = statistics.median(read_s[name])
        print(
            f"{name:14} {rows / written:15,.0f} {1e6 * used / rows:13.2f} {rows / back:13,.0f} "
            f"{size[name] / rows:12.2f}"
        )
    own = statistics.median(cpu_s["wattcal"])
    for name in ("pandas CSV", "plain Parquet"):
        print(
            f"  {name} / wattcal: CPU {statistics.median(cpu_s[name]) / own:.2f}, reading "
            f"{statistics.median(read_s[name]) / statistics.median(read_s['wattcal']):.2f}, "
            f"size {size[name] / size['wattcal']:.2f}"
        )


class Terminal(io.StringIO):
    """A terminal that forgets."""

    def isatty(self) -> bool:
        return True

    def write(self, text: str) -> int:
        return len(text)


def observed(seconds: float, folder: Path, library: Path, *, view: bool) -> None:
    """Record everything at 10 Hz and print what it cost."""
    scene = Scene(
        zones=(SceneZone(Zone("0", "package-0", 1_000_000), constant(20.0)),),
        gpus=(Gpu("NVIDIA RTX 3090", "GPU-1", constant(60.0), RTX_3090),),
    )
    with contextlib.ExitStack() as stack:
        stage = stack.enter_context(Stage(folder / "stage", scene))
        command = [sys.executable, "-m", "calibration", "emulate", "pzem-004t", "--link"]
        emulator = subprocess.Popen(
            [*command, folder / "pzem"],
            cwd=ROOT,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        stack.callback(emulator.wait)
        stack.callback(emulator.terminate)
        while not (folder / "pzem").exists():
            time.sleep(0.05)
        meter = open_meter(f"pzem-004t@{folder / 'pzem'}")
        stack.callback(meter.close)
        os.environ["WATTCAL_NVML"] = str(stage.gpu_state)
        pynvml.CDLL = lambda _name: ctypes.CDLL(str(library / nvml.LIBRARY))
        pynvml.nvmlLib = None
        estimators: list[Any] = [RaplReader(stage.sysfs, cadence_s=0.1)]
        stack.callback(estimators[0].close)
        estimators.append(stack.enter_context(NvmlReader(cadence_s=0.1)))
        estimators.append(stack.enter_context(CodeCarbon(measure_power_secs=0.1)))
        plan = Plan("observed", 0, (PlanStep("idle", 0, seconds),))
        screen = LiveView("recording observed", Terminal())
        record(
            plan,
            {"wall": meter},
            estimators,
            RunWriter.create(folder / "run", start=new_start("simulated", "s")),
            cadence_s={"wall": 0.1},
            on_progress=screen.update if view else None,
        )
    run = read_run(folder / "run")
    document = cost_document(run.cost)
    if document is None:
        raise SystemExit("The run has no cost document.")
    print(f"\n10 Hz, {'with the live view' if view else 'headless'}, {document['elapsed_s']:.0f} s")
    print(*cost_lines(document), sep="\n")
    print(f"rows {dict(run.stop.rows) if run.stop else {}}, faults {[f.code for f in run.faults]}")


def main() -> None:
    """Print all of it."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=60.0, help="how long each recording lasts")
    parser.add_argument("--rows", type=int, default=400_000)
    arguments = parser.parse_args()
    for rate_hz, share in ((10.0, 0.02), (1000.0, 1.0)):
        to_disk_and_back(round(arguments.rows * share), rate_hz)
    if not arguments.seconds:
        return
    for view in (False, True):
        with tempfile.TemporaryDirectory() as folder:
            library = nvml.build_library(Path(folder) / "lib")
            observed(arguments.seconds, Path(folder), library, view=view)


if __name__ == "__main__":
    main()
