"""One recording: plan x meters x estimators -> a sealed run.

The main thread follows the plan and tells the machine what to do; every source has a thread of its
own. The run is sealed in every case: at the end of the plan, when it is stopped, on Ctrl-C (also a
second one), and with the reason when something unexpected ends it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence

from ..plans import Plan
from ..recording.writer import ExitStatus, RunWriter
from ..workloads import PlayedGpus, WorkloadRunner
from .describe import MeterNotes
from .interrupts import Interrupts
from .made import AnyEstimator, AnyMeter
from .manual import ManualMeter
from .session import Session
from .snapshot import Snapshot

__all__ = ["record"]


def record(
    plan: Plan,
    meters: Mapping[str, AnyMeter],
    estimators: Sequence[AnyEstimator],
    writer: RunWriter,
    *,
    on_progress: Callable[[Snapshot], None] | None = None,
    stop: threading.Event | None = None,
    boundary: str = "psu_ac_input",
    reopen: Mapping[str, Callable[[], AnyMeter]] | None = None,
    cadence_s: Mapping[str, float] | None = None,
    cores: int | None = None,
    known: Mapping[str, MeterNotes] | None = None,
    manual: ManualMeter | None = None,
    active: Sequence[frozenset[str]] | None = None,
    play_gpus: Callable[[str, float, float], None] | None = None,
) -> None:
    """Carry out a plan, record every source meanwhile, and seal the run.

    `meters` are open, by the name of their stream; `reopen` says how one is opened again when its
    port has vanished (without, it stays away). `cadence_s` overrides how often a meter is asked;
    `known` holds what the laboratory has written down of a meter, by its stream. `manual` is a
    meter whose display somebody reads.
    `active` says which estimators work in each step, by their streams; of those that it names
    anywhere the others rest meanwhile.
    `play_gpus` is told what the GPUs of a simulated machine have to do (`workloads.PlayedGpus`).
    `on_progress` is called in this thread when a step begins and four times a second. `stop` ends
    the recording early from another thread. Whoever opened meters and estimators
    closes them.

    Raises:
        KeyboardInterrupt: somebody pressed Ctrl-C; the run is sealed as `abort`.
        CalibrationError, DriverError: a workload or meter could not be started, the disk is full;
            the run is sealed as `fail`.

    """
    with Interrupts() as interrupts:
        session = Session(plan, writer, on_progress, stop or threading.Event(), interrupts)
        session.manual = manual
        session.active = active
        try:
            with (
                WorkloadRunner(plan.workloads, cores=cores)
                if play_gpus is None
                else PlayedGpus(plan.workloads, play_gpus, cores=cores)
            ) as workloads:
                try:
                    session.open(
                        meters, estimators, boundary, reopen or {}, cadence_s or {}, known or {}
                    )
                    session.follow(workloads)
                finally:
                    session.end_step(workloads)
                    session.close()
            session.raise_failure()
        except BaseException as error:
            _seal(writer, "fail", f"{type(error).__name__}: {error}", error)
            raise
        if interrupts.seen:
            _seal(writer, "abort", "interrupted", None)
            raise KeyboardInterrupt
        if session.stopped:
            _seal(writer, "abort", "stopped before the plan was over", None)
        else:
            _seal(writer, "success", None, None)


def _seal(
    writer: RunWriter, status: ExitStatus, reason: str | None, error: BaseException | None
) -> None:
    """Seal; where a first error is on its way, a second one is a note on it."""
    try:
        writer.seal(status, reason)
    except Exception as second:
        if error is None:
            raise
        error.add_note(f"The run could not be sealed either: {second}")
