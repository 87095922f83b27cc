"""The demo's page: its words around the numbers that the demo has found."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from ..publishing.page import EnergyRow, Page, write_page
from .evaluate import Evaluation
from .result import BUSY, DemoResult, JobEnergy

__all__ = ["demo_page"]

_NOTES: Final = (
    "The machine does not exist. Its power follows this computer's real CPU load, ten times a "
    "second, through a known model; so the truth is known, and the correction can be held "
    "against it.",
    "Its hidden power (board, disks, fans) is constant and cannot change state; that is why "
    "absolute power may be answered. Idle GPUs in a real machine would forbid it.",
    "It has no thermal lag. Steps of a few seconds are enough here and only here: the minimum "
    "durations of plans do not bind this machine.",
    "Real are the CPU load, the bytes between driver and meter, both CodeCarbons, the recording "
    "and the analysis.",
)


def demo_page(found: Evaluation, result: DemoResult, path: Path, *, note: str) -> None:
    """Write the demo's page."""
    write_page(
        Page(
            title="Calibration of a simulated machine",
            data_kind="simulated",
            summary=_summary(result),
            notes=(*_NOTES, *_busy(result)),
            comparison=found.comparison,
            views=found.views,
            energies=() if result.job is None else _energies(result.job),
            energy_text="" if result.job is None else _energy_text(result.job),
            facts=_facts(found, result),
            sources=result.files,
        ),
        path,
    )


def _busy(result: DemoResult) -> tuple[str, ...]:
    load = result.simulation.idle_load
    if load <= BUSY:
        return ()
    return (
        f"This computer was {100 * load:.0f} % busy with other work while the plan wanted it idle. "
        "The machine follows that load too, which leaves little room for levels.",
    )


def _summary(result: DemoResult) -> str:
    names = {e.input: e.name for e in result.estimators}
    good = [e.name for e in result.estimators if e.verdict == "correction"]
    text = (
        f"{result.points} points from {result.recorded_s:.0f} s beside an emulated wall meter. "
        f"Corrections: {', '.join(good) or 'none'}."
    )
    if result.refused:
        text += f" Not corrected: {', '.join(names[k] for k in result.refused)}."
    return text


def _energies(job: JobEnergy) -> tuple[EnergyRow, ...]:
    expanded = job.corrected_j - job.low_j
    return (
        EnergyRow(
            "raw", job.raw_j, None,
            f"{job.file}; {_signed(job.raw_error_pct)} % from the truth",
        ),
        EnergyRow(
            "corrected", job.corrected_j, expanded,
            f"wattcal correct; {_signed(job.corrected_error_pct)} % from the truth, "
            f"k = {job.k:.2f}",
        ),
        EnergyRow(
            "true", job.true_j, None,
            "the simulation's own; " + ("inside the interval" if job.true_inside else "OUTSIDE it"),
        ),
    )  # fmt: skip


def _signed(value: float) -> str:
    return f"{value:+.1f}".replace("-", "−")


def _energy_text(job: JobEnergy) -> str:
    return (
        f"CodeCarbon in RAPL mode wrote {job.file} over {job.duration_s:.1f} s of mixed load. "
        f"The profile {job.profile} turns its CPU energy into energy at the wall. The numbers of "
        f"the file show by themselves how they were made (mode: {job.mode})."
    )


def _facts(found: Evaluation, result: DemoResult) -> dict[str, str]:
    simulation = result.simulation
    run = found.run
    facts = {
        "machine": f"{simulation.id} (simulated), true mean {simulation.true_mean_w:.1f} W",
        "model": _model(simulation.parameters),
        "upkeep": f"counters rewritten {simulation.rewrite_rate_hz:.0f} times a second with "
        f"{100 * simulation.updater_cpu_share:.0f} % of one processor, which is part of the load",
    }
    for descriptor in run.descriptors.values():
        mode = f", mode {descriptor.mode}" if descriptor.mode else ""
        facts[descriptor.stream] = f"{descriptor.source}{mode}"
    if run.start.plan is not None:
        steps = run.start.plan["step"]
        facts["plan"] = f"{len(steps)} steps of {steps[0]['duration_s']:.1f} s, " + ", ".join(
            f"{s['workload']} {s['level']:.1f}" if s["level"] else s["workload"] for s in steps
        )
    facts["held out"] = f"every workload in turn; {result.held_out} has another gain than the rest"
    facts["versions"] = ", ".join(f"{k} {v}" for k, v in result.versions.items())
    facts["run"] = run.start.uid
    return facts


def _model(parameters: object) -> str:
    if not isinstance(parameters, dict):
        return ""
    supply = parameters["supply"]
    shares = ", ".join(f"{w} +{100 * s:.0f} %" for w, s in parameters["memory_share"].items())
    return (
        f"package = {parameters['package_idle_w']:g} W + {parameters['package_dynamic_w']:g} W × "
        f"load; dc = package + {parameters['hidden_w']:g} W + memory ({shares} of the package "
        f"above idle); wall = {supply['fixed_w']:g} W + {supply['proportional']:g} dc + "
        f"{supply['quadratic_per_w']:g}/W dc²"
    )
