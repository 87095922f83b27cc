"""What stands on the demo's bench: the simulated machine, an emulated meter, four estimators."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ..errors import WrongMode
from ..estimators.codecarbon import CodeCarbon
from ..estimators.cpu_load import CpuLoad
from ..estimators.rapl import RaplReader
from ..instruments import Meter, Pzem004tEmulator, open_meter
from ..plans.plan import Plan
from ..simulation.machine import DEMO_MACHINE
from ..simulation.running import SimulatedMachine

__all__ = ["METER", "SOURCES", "Bench", "open_bench"]

METER: Final = "wall"
# What a person calls each stream, in the order of the live view.
SOURCES: Final = {
    METER: "wall meter (emulated PZEM-004T)",
    "rapl": "RAPL package counter",
    "codecarbon": "CodeCarbon in RAPL mode",
    "codecarbon-here": "CodeCarbon as it runs here",
}


@dataclass(frozen=True, slots=True)
class Bench:
    """Everything that the recording needs, opened."""

    machine: SimulatedMachine
    meter: Meter
    rapl: RaplReader
    codecarbon: CodeCarbon
    here: CodeCarbon
    cpu_load: CpuLoad


@contextlib.contextmanager
def open_bench(folder: Path, plan: Plan) -> Iterator[Bench]:
    """Open the bench; its files lie in `folder`.

    Raises:
        WrongMode: CodeCarbon does not use the simulated counters.

    """
    with contextlib.ExitStack() as stack:
        machine = stack.enter_context(
            SimulatedMachine(folder / "machine", DEMO_MACHINE, workloads=plan.workloads)
        )
        emulator = stack.enter_context(Pzem004tEmulator(machine.wall_w))
        meter = open_meter(f"pzem-004t@{emulator.path}")
        stack.callback(meter.close)
        rapl = stack.enter_context(RaplReader(machine.sysfs))
        # The two CodeCarbons take seconds to start; they do so side by side.
        with ThreadPoolExecutor(2) as pool:
            injected = pool.submit(
                CodeCarbon,
                output_dir=folder,
                save_to_file=True,
                rapl_root=machine.sysfs,
                project_name="simulated-demo",
            )
            alone = pool.submit(CodeCarbon, id="codecarbon-here", inputs="codecarbon_here")
        here = stack.enter_context(alone.result())
        codecarbon = stack.enter_context(injected.result())
        if codecarbon.cpu_mode != "intel_rapl":
            raise WrongMode(
                "Expected CodeCarbon to read the simulated counters (mode intel_rapl); it says "
                f"{codecarbon.cpu_mode}. Without that the demo would show nothing true."
            )
        yield Bench(machine, meter, rapl, codecarbon, here, CpuLoad())  # type: ignore[arg-type]
