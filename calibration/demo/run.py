"""The demo: a whole calibration, from raw meter bytes to an applied profile, in about a minute.

Simulated are the machine's power, its RAPL counters and the instrument; real are this computer's
CPU load, the bytes on the wire, both CodeCarbons, the recording, the analysis and the profile.
"""

from __future__ import annotations

import json
import os
import shutil
import threading
import time
from pathlib import Path
from typing import Any, Final

from ..bench import Snapshot, record
from ..errors import CalibrationError
from ..plans.plan import IDLE, Plan, to_mapping
from ..recording.reader import Run, read_run
from ..recording.writer import RunWriter, new_start
from ..simulation.history import History
from ..simulation.machine import Machine
from .evaluate import CODECARBON, Evaluation, evaluate
from .folder import DemoFolder
from .job import job_energy
from .live import View, open_view
from .page import demo_page
from .plan import HELD_OUT, SECONDS, demo_plan
from .result import DemoResult, SimulationFacts
from .setup import METER, SOURCES, Bench, open_bench

__all__ = ["NOTE", "run_demo"]

NOTE: Final = (
    "SIMULATED. Simulated: the machine's power (a known model that follows this computer's CPU "
    "load), its RAPL counters, and the wall meter (an emulator that speaks the instrument's "
    "bytes). Real: the CPU load, the serial driver, both CodeCarbons, recording and analysis. The "
    "machine has a constant hidden power that cannot change state, and no thermal lag, so the "
    "minimum durations of plans do not bind it."
)
RUN: Final = "simulated-run"
PAGE: Final = "simulated-calibration.html"
RESULT: Final = "simulated-results.json"
TRUTH: Final = "simulated-truth.csv"
EMISSIONS: Final = "simulated-emissions.csv"


def run_demo(
    output: Path, *, seconds: float = SECONDS, on_screen: bool | None = None
) -> DemoResult:
    """Run the demo into the folder `output` and return what it found.

    `seconds` is the length of the recording; `on_screen` says whether stderr is a terminal.

    Raises:
        InputError: the folder holds something that is no demo's.
        NotAvailable: this computer does not tell its CPU load, or CodeCarbon cannot run.
        WrongMode: CodeCarbon does not read the simulated counters.
        KeyboardInterrupt: interrupted; what was recorded is sealed and stays in the folder.

    """
    began_s = time.monotonic()
    plan = demo_plan(seconds)
    with DemoFolder(output) as folder, open_view(SOURCES, on_screen=on_screen) as view:
        view.say("starting the simulated machine, its meter and two CodeCarbons")
        try:
            truth, facts, window_ns = _record(output, plan, view)
        except KeyboardInterrupt:
            if (output / RUN / "run.jsonl").exists():
                kept = folder.keep()
                view.say(f"interrupted; what was recorded is sealed in {kept / RUN}")
            raise
        view.say("comparing, fitting, correcting")
        found = evaluate(output / RUN, output)
        job = None
        if CODECARBON in found.profiles:
            profile = found.profiles[CODECARBON]
            job = job_energy(output / EMISSIONS, profile, truth, window_ns)
        result = DemoResult(
            data_kind="simulated",
            folder=str(output),
            files=_files(found),
            recorded_s=plan.total_s,
            wall_s=time.monotonic() - began_s,
            points=found.points.n,
            versions=dict(found.run.start.versions),
            estimators=found.estimators,
            held_out=HELD_OUT,
            refused=tuple(e.input for e in found.estimators if e.verdict != "correction"),
            job=job,
            simulation=facts,
        )
        view.say("drawing the page")
        demo_page(found, result, output / PAGE, note=NOTE)
        _write_json(result.to_json(), output / RESULT)
        folder.finish()
    return result


def _record(
    output: Path, plan: Plan, view: View
) -> tuple[History, SimulationFacts, tuple[int, int] | None]:
    """Record the run; return the truth, facts on the simulation, and the span of the job's file."""
    with open_bench(output, plan) as bench:
        start = new_start(
            "simulated",
            "simulated-demo",
            plan={**to_mapping(plan), "sha256": plan.sha256},
            seed=plan.seed,
            machine={**bench.machine.machine.describe(), "host.cores": os.cpu_count()},
            versions={"codecarbon": bench.codecarbon.version},
            note=NOTE,
        )

        def progress(snapshot: Snapshot) -> None:
            bench.machine.tell(snapshot.workload or "idle")
            if not bench.machine.alive:
                raise CalibrationError(
                    "The process behind the simulated machine has ended early; its counters stand "
                    "still. Run the demo again."
                )
            view.update(snapshot)

        with RunWriter.create(output / RUN, start=start) as writer:
            record(
                plan,
                {METER: bench.meter},
                [bench.rapl, bench.codecarbon, bench.here, bench.cpu_load],
                writer,
                on_progress=progress,
                stop=threading.Event(),
            )
        window_ns = bench.codecarbon.file_window_ns
        bench.machine.stop()
        truth = bench.machine.truth()
        facts = _facts(bench, truth, read_run(output / RUN))
    truth.to_csv(output / TRUTH)
    os.replace(output / "emissions.csv", output / EMISSIONS)
    shutil.rmtree(output / "machine")
    return truth, facts, window_ns


def _facts(bench: Bench, truth: History, run: Run) -> SimulationFacts:
    first, last = int(truth.t_ns[0]), int(truth.t_ns[-1])
    parameters: dict[str, Any] = bench.machine.machine.describe()["simulation.model"]
    return SimulationFacts(
        id=bench.machine.machine.id,
        true_mean_w=truth.energy_j(first, last) * 1e9 / max(last - first, 1),
        idle_load=_idle_load(bench.machine.machine, truth, run),
        updater_cpu_share=bench.machine.updater_cpu_share(),
        rewrite_rate_hz=bench.machine.rewrite_rate_hz(),
        thermal_lag_s=0.0,
        parameters=parameters,
    )


def _idle_load(machine: Machine, truth: History, run: Run) -> float:
    """Return the mean CPU load over the settled parts of the idle steps, 0 to 1."""
    idle = [s for s in run.steps if s.workload == IDLE]
    spans = [(s.t_start_ns + round(s.settle_s * 1e9), s.t_end_ns) for s in idle]
    joules = sum(truth.energy_j(a, b, "package") for a, b in spans)
    mean_w = joules * 1e9 / max(sum(b - a for a, b in spans), 1)
    return max(0.0, (mean_w - machine.package_idle_w) / machine.package_dynamic_w)


def _files(found: Evaluation) -> dict[str, str]:
    """Return every file of the folder with what it is."""
    return {
        PAGE: "the page, self-contained",
        RESULT: "every number of it, as JSON",
        RUN: "the recording: documents and samples",
        "simulated-points.csv": "the points of the fits",
        TRUTH: "what the machine truly did, ten knots a second",
        EMISSIONS: "CodeCarbon's own output, from the simulated counters",
        **{p.name: f"the profile for {key}" for key, p in found.profiles.items()},
    }


def _write_json(value: dict[str, Any], path: Path) -> None:
    temporary = path.with_name(path.name + ".part")
    temporary.write_text(
        json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8"
    )
    os.replace(temporary, path)
