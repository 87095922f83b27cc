"""Two recordings of two machines become one run; an offset that nobody can know is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from jsonschema import Draft202012Validator

from calibration.analysis.fit import fit_points
from calibration.analysis.segments import run_points
from calibration.cli import main
from calibration.plans import Plan, PlanStep, find_plan
from calibration.recording.check import check_run
from calibration.recording.documents import ChannelInfo, Clock, Descriptor, Step
from calibration.recording.reader import read_run
from calibration.recording.writer import RunWriter, new_start

SCHEMA = Path(__file__).resolve().parents[2] / "calibration" / "schema" / "runs-join-1.0.json"
S = 10**9
APART_S, SKEW = 1234.5678, 30e-6
"""What the meter host's clock is behind the machine's, and how much faster it runs."""


def machine_to_host(t_s: float) -> int:
    return round((t_s * (1 + SKEW) + 10_000.0 - APART_S) * S)


def two_runs(
    folder: Path, plan: Plan, *, wall_error_s: float = 0.8, rapl: bool = True
) -> tuple[Path, Path]:
    """Write a machine's run and the run of its meter's host, whose wall clock is off."""
    rng = np.random.default_rng(11)
    edges = [10_000.0 + plan.warm_up_s]
    for step in plan.steps:
        edges.append(edges[-1] + step.duration_s)
    load = [s.level if s.workload != "idle" else 0.0 for s in plan.steps]
    knots = np.array([10_000.0, *edges, edges[-1] + 5.0])
    power = np.array([0.0, *load, 0.0]) * 60.0 + 8.0
    joules = np.concatenate([[0.0], np.cumsum(power * np.diff(knots))])

    def energy(t_s: np.ndarray) -> np.ndarray:
        return np.interp(t_s, knots, joules)

    machine, host = folder / "machine", folder / "meters"
    start = new_start("simulated", "s", setup={"reference": None, "machine": "node7"})
    with RunWriter.create(machine, start=start, live=False) as writer:
        for t_s in (knots[0], knots[-1]):
            writer.clock(Clock(monotonic_ns=round(t_s * S), boottime_ns=round(t_s * S),
                               wall_ns=round((t_s + 5e8) * S), boot_id="a"))  # fmt: skip
        package = ChannelInfo(name="package_j", quantity="energy", unit="J", kind="counter",
                              input="rapl_package" if rapl else "codecarbon_cpu")  # fmt: skip
        sink = writer.open_stream(
            Descriptor(stream="rapl", role="estimator", source="rapl", channels=(package,))
        )
        t = np.arange(knots[0], knots[-1], 0.2)
        sink.append_rows(*(np.rint(t * S).astype(np.int64),) * 2, {"package_j": energy(t)})
        for index, step in enumerate(plan.steps):
            measured = step.purpose == "measure"
            writer.step(
                Step(index=index, workload=step.workload, level=step.level,
                     t_start_ns=round(edges[index] * S), t_end_ns=round(edges[index + 1] * S),
                     settle_s=plan.settle_s if measured else step.duration_s)
            )  # fmt: skip
    start = new_start("simulated", "other", setup={"reference": "wall"})
    with RunWriter.create(host, start=start, live=False) as writer:
        for t_s in (knots[0], knots[-1]):
            t_ns = machine_to_host(t_s)
            wall_ns = round((t_s + 5e8 + wall_error_s) * S)
            writer.clock(Clock(monotonic_ns=t_ns, boottime_ns=t_ns, wall_ns=wall_ns, boot_id="b"))
        watts = ChannelInfo(name="power_w", quantity="active_power", unit="W", kind="mean",
                            window_s=1.0, resolution=0.1)  # fmt: skip
        sink = writer.open_stream(
            Descriptor(stream="wall", role="meter", source="made", channels=(watts,),
                       cadence_s=1.0, boundary="psu_ac_input")
        )  # fmt: skip
        end = np.arange(knots[0] + 1.0, knots[-1], 1.0)
        mean = 40 + 1.25 * (energy(end) - energy(end - 1.0)) + rng.normal(0, 0.3, end.size)
        stamps = np.array([machine_to_host(t) for t in end])
        mean[50] = np.nan
        sink.append_rows(stamps, stamps, {"power_w": mean}, faults={50: "timeout"})
    return machine, host


@pytest.mark.parametrize("rapl", [True, False])
def test_the_offset_is_found_by_the_load_and_stands_in_the_new_run(
    rapl: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    machine, host = two_runs(tmp_path, find_plan("quick"), rapl=rapl)
    joined = tmp_path / "joined"
    (machine / "as_used").mkdir()
    (machine / "as_used" / "codecarbon.csv").write_text("duration\n")
    (machine / "as_used.json").write_text('{"version": 1, "files": []}')
    arguments = ["runs", "join", str(machine), str(host), "-o", str(joined), "--json"]
    assert main(arguments) == 0
    found = json.loads(capsys.readouterr().out)
    Draft202012Validator(json.loads(SCHEMA.read_text())).validate(found)
    assert found["seen_by"] == ("rapl_package" if rapl else "the steps of the plan")
    at_s = (found["t_ref_ns"] / S - 10_000.0 + APART_S) / (1 + SKEW)
    true_s = at_s - found["t_ref_ns"] / S
    assert abs(found["offset_s"] - true_s) < 4 * found["u_s"] + 0.002
    assert found["u_s"] < (0.01 if rapl else 0.05)
    assert abs(found["wall_s"] - true_s) > 0.7
    if rapl:
        assert abs(found["skew"] + SKEW) < 4 * found["u_skew"]
    assert check_run(joined) == ()
    assert (joined / "as_used" / "codecarbon.csv").exists()
    assert main(["runs", "show", str(joined)]) == 0
    shown = capsys.readouterr().out
    assert "machine node7, reference wall" in shown or "reference wall, machine node7" in shown
    assert f"joined of two hosts: offset {found['offset_s']:.4f} s" in shown
    run = read_run(joined)
    assert run.start.setup["joined"]["u_s"] == found["u_s"]
    assert run.start.setup["reference"] == "wall"
    assert (run.start.setup["machine"], run.start.session) == ("node7", "s")
    assert run.series("wall", "power_w").faults == {50: "timeout"}
    if rapl:
        result = fit_points(run_points([run]), ("rapl_package",))
        assert result.model is not None
        assert result.model.terms[1].value == pytest.approx(1.25, rel=0.005)


def test_a_load_that_repeats_or_never_changes_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    square = tuple(PlanStep(*(("idle", 0.0), ("cpu-int", 1.0))[i % 2], 3.0) for i in range(60))
    for name, plan in (
        ("square", Plan("square", 0, square)),
        ("flat", Plan("flat", 0, (PlanStep("idle", 0.0, 120.0),))),
    ):
        machine, host = two_runs(tmp_path / name, plan)
        code = main(["runs", "join", str(machine), str(host), "-o", str(tmp_path / "joined")])
        err = capsys.readouterr().err
        assert code == 5, err
        assert "the load does not say how their clocks differ" in err
        assert ("fit equally well" in err) == (name == "square")
        assert not (tmp_path / "joined").exists()


def test_only_finished_runs_with_streams_of_their_own_are_joined(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    machine, host = two_runs(tmp_path, find_plan("smoke"))
    output = str(tmp_path / "joined")
    assert main(["runs", "join", str(host), str(host), "-o", output]) == 5
    assert "cannot be joined" in capsys.readouterr().err
    lines = (host / "run.jsonl").read_text().splitlines(keepends=True)
    (host / "run.jsonl").write_text("".join(lines[:-1]))
    assert main(["runs", "join", str(machine), str(host), "-o", output]) == 3
    assert "expected a finished run to join" in capsys.readouterr().err
    assert main(["runs", "join", str(machine), str(machine), "-o", output]) == 3
    assert "expected a meter stream" in capsys.readouterr().err
    assert main(["runs", "join", str(machine), str(host), "-o", output, "--search", "0"]) == 3
    assert not Path(output).exists()


def test_a_wall_clock_that_was_set_tells_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    machine, host = two_runs(tmp_path, find_plan("smoke"))
    run = read_run(host)
    set_back = replace(run.clocks[-1], wall_ns=run.clocks[-1].wall_ns - 5 * S)
    text = (host / "run.jsonl").read_text()
    old = str(run.clocks[-1].wall_ns)
    (host / "run.jsonl").write_text(text.replace(old, str(set_back.wall_ns)))
    assert main(["runs", "join", str(machine), str(host), "-o", str(tmp_path / "joined")]) == 5
    assert "the wall clock was set by" in capsys.readouterr().err
