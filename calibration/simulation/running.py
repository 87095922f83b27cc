"""A simulated machine at work: a folder that plays /sys, a truth, and the process behind both."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from ..errors import InputError, NotAvailable
from .history import History, HistoryFile
from .load import read_cpu_times, usable
from .machine import Machine
from .powercap_tree import build_tree
from .updater import GPU_STATE

__all__ = ["AttachedMachine", "SimulatedMachine"]

_SETUP, _HISTORY = "setup.json", "history.bin"
_START_LIMIT_S = 15.0
_STILL_NS = 2_000_000_000
"""A machine that lives has a new knot ten times a second; without one for so long it does not."""
_EDGES = 20
_METER_STEP_NS = 20_000_000
"""How long the emulated meters hold one look at the power for (drivers.emulators.window)."""


class SimulatedMachine:
    """Run a machine with known truth in `folder`, which must not exist yet.

    `sysfs` is the root to hand to a RAPL reader, `gpu_state` what the stand-in of NVIDIA's library
    reads (`nvml.build_library`), None where the machine has no GPU. `wall_w` is what an emulated
    wall meter asks. The workload that the machine is told to run decides about its memory power;
    its CPU load is that of this computer, its GPUs' load what it is told.
    """

    def __init__(
        self,
        folder: Path,
        machine: Machine,
        *,
        workloads: Sequence[str] = ("idle",),
        packages: int = 1,
        dram: bool = False,
        hours: float = 1.0,
    ) -> None:
        self.machine = machine
        self.sysfs = folder / "sys"
        self.gpu_state = folder / GPU_STATE if machine.gpus else None
        self._workloads = tuple(workloads)
        read_cpu_times(usable())  # Says in a sentence what is missing, before a process is started.
        folder.mkdir(parents=True)
        zones = build_tree(self.sysfs, packages=packages, dram=dram)
        setup = {
            "machine": asdict(machine),
            "zones": [asdict(z) for z in zones],
            "workloads": self._workloads,
        }
        (folder / _SETUP).write_text(json.dumps(setup), encoding="utf-8")
        # Ten knots a second, and the edges of square waves on the GPUs: room that costs no disk.
        knots = int(hours * 36_000) * (_EDGES if machine.gpus else 1)
        self._file = HistoryFile.create(folder / _HISTORY, knots=knots)
        with (folder / "updater.log").open("wb") as log:
            self._process = self._start(folder, log)

    def _start(self, folder: Path, log: IO[bytes]) -> subprocess.Popen[bytes]:
        package_root = str(Path(__file__).resolve().parents[2])
        path = os.pathsep.join(filter(None, [package_root, os.environ.get("PYTHONPATH")]))
        process = subprocess.Popen(
            # -P: a folder `calibration` in the current directory must not shadow ours.
            [sys.executable, "-P", "-m", f"{__package__}.updater", str(folder), str(os.getpid())],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env={**os.environ, "PYTHONPATH": path},
            # Ctrl-C belongs to the recorder, which still needs the machine while it seals.
            start_new_session=True,
        )
        deadline = time.monotonic() + _START_LIMIT_S
        while not self._file.count:
            if process.poll() is not None or time.monotonic() > deadline:
                process.kill()
                process.wait()
                raise NotAvailable(
                    f"Expected the simulated machine to start within {_START_LIMIT_S:g} s; it did "
                    f"not. What its process said stands in {folder / 'updater.log'}."
                )
            time.sleep(0.01)
        return process

    @property
    def alive(self) -> bool:
        """Return whether the process behind the machine still runs."""
        return self._process.poll() is None

    def tell(self, workload: str, gpu_level: float = 0.0, gpu_period_s: float = 0.0) -> None:
        """Say which workload runs; one that the machine was not told of counts as the first.

        `gpu_level`, 0 to 1, is the load of its GPUs; with `gpu_period_s`, s, it is the share of
        each period in which they are at full load.
        """
        _tell(self._file, self._workloads, workload, gpu_level, gpu_period_s)

    def wall_w(self, t_s: float) -> float:
        """Return the wall power about an instant of CLOCK_MONOTONIC in seconds, in W.

        It is the mean of the 20 ms that an emulated meter takes it for, so that the meter has the
        energy of pulses that are faster than it looks.
        """
        return self._file.mean_w(round(t_s * 1e9), _METER_STEP_NS)

    def truth(self) -> History:
        """Return what the machine did so far."""
        return self._file.history()

    def updater_cpu_share(self) -> float:
        """Return the share of one processor that the updating process uses, 0 to 1."""
        knots = self.truth().t_ns
        return self._file.cpu_ns / max(int(knots[-1] - knots[0]), 1)

    def rewrite_rate_hz(self) -> float:
        """Return how often a second the counters were rewritten, on average."""
        knots = self.truth().t_ns
        return self._file.rewrites * 1e9 / max(int(knots[-1] - knots[0]), 1)

    def stop(self) -> None:
        """End the process; the truth stays readable."""
        self._file.stop()
        try:
            self._process.wait(timeout=2.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def close(self) -> None:
        """End the process and give the history back."""
        self.stop()
        with contextlib.suppress(BufferError):
            self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class AttachedMachine:
    """A machine that a `SimulatedMachine` in another process runs in `folder`.

    Raises:
        InputError: there is none in that folder.
        NotAvailable: it does not live any more.

    """

    def __init__(self, folder: Path) -> None:
        try:
            setup = json.loads((folder / _SETUP).read_text(encoding="utf-8"))
            self._file = HistoryFile(folder / _HISTORY)
            self.machine = Machine.from_json(setup["machine"])
            self._workloads = tuple(setup["workloads"])
        except (OSError, ValueError, KeyError, TypeError):
            raise InputError(
                f"Expected a folder in which a simulated machine runs (wattcal emulate MODEL "
                f"--machine NAME --folder {folder}); {folder} is none."
            ) from None
        self.sysfs = folder / "sys"
        self.gpu_state = folder / GPU_STATE if self.machine.gpus else None
        if not self.alive:
            raise NotAvailable(
                f"The simulated machine in {folder} has ended, and its counters stand still. "
                "Start one in a new folder."
            )

    @property
    def alive(self) -> bool:
        """Return whether the machine still lives."""
        last = self._file.last()
        return last is not None and time.monotonic_ns() - last.t_ns < _STILL_NS

    def tell(self, workload: str, gpu_level: float = 0.0, gpu_period_s: float = 0.0) -> None:
        """Say what it has to do, as `SimulatedMachine.tell`."""
        _tell(self._file, self._workloads, workload, gpu_level, gpu_period_s)


def _tell(
    file: HistoryFile,
    known: Sequence[str],
    workload: str,
    gpu_level: float,
    gpu_period_s: float,
) -> None:
    """Write down what a machine has to do; it knows families by their stem (`gpu-square@0.1`)."""
    name = workload if workload in known else workload.partition("@")[0]
    file.workload = known.index(name) if name in known else 0
    file.tell_gpus(gpu_level, gpu_period_s)
