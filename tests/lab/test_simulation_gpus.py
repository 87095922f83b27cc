"""A simulated machine with GPUs: one truth behind meter, counters and cards, from plan to fit."""

from __future__ import annotations

import dataclasses
import itertools
import math
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from calibration.analysis.compare import compare_points
from calibration.analysis.fit import fit_points
from calibration.analysis.points_table import read_points, write_points
from calibration.analysis.segments import run_points
from calibration.bench import record
from calibration.cli import main
from calibration.estimators.nvml import NvmlReader
from calibration.estimators.rapl import RaplReader
from calibration.instruments import Pzem004tEmulator, open_meter
from calibration.plans import Plan, PlanStep, to_mapping
from calibration.plans.order import shuffled_plan
from calibration.plans.sync import sync_preamble
from calibration.recording.reader import read_run
from calibration.recording.writer import RunWriter, new_start
from calibration.simulation import nvml
from calibration.simulation.course import Cards, GpuOrder
from calibration.simulation.gpu import Gpu, GpuReadings, Sensor
from calibration.simulation.machine import GpuPart, Machine, Supply, wall_power_w
from calibration.simulation.profile import GrowingProfile, PowerProfile
from calibration.simulation.running import SimulatedMachine
from tests.lab.gpu_loop import recorded_with_gpus
from tests.lab.stub_library import load_library

Require = Callable[[str, bool, str], None]
A100 = GpuPart(
    50.0,
    300.0,
    Sensor(period_s=0.1, window_s=0.025, average_s=0.025, gain=0.96, offset_w=3.0),
    "NVIDIA A100-SXM4-40GB",
)
RTX = GpuPart(
    25.0,
    325.0,
    Sensor(period_s=0.1, window_s=0.1, average_s=1.0, gain=1.05, offset_w=-2.0),
    "NVIDIA GeForce RTX 3090",
)
# A supply without a bend, so that every gain is one number: that of the truth, in closed form.
NODE = Machine(
    id="gpu-node",
    package_idle_w=40.0,
    package_dynamic_w=150.0,
    hidden_w=60.0,
    supply=Supply(fixed_w=12.0, proportional=1.08, quadratic_per_w=0.0),
    gpus=(A100, RTX),
    gpu_share={"gpu-matmul": 1.0, "gpu-copy": 0.6, "gpu-square": 1.0},
)
LEVELS = {
    "cpu-int": (0.25, 0.625, 1.0),
    "cpu-float": (0.5, 0.875),
    "gpu-matmul": (0.25, 0.5, 1.0),
    "gpu-copy": (0.375, 0.75, 1.0),
}
LADDER = shuffled_plan(
    "gpu-ladder",
    [(name, level) for name, levels in LEVELS.items() for level in levels],
    seed=2,
    step_s=20.0,
    idle_s=20.0,
    repeats=2,
    warm_up_s=2.0,
    settle_s=5.0,
    opening=sync_preamble(37.0, seed=2),
)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return nvml.build_library(tmp_path_factory.mktemp("nvml") / "lib")


@pytest.fixture
def library(require: Require, request: pytest.FixtureRequest) -> Path:
    require("gcc", shutil.which("gcc") is not None, "the simulated GPU library needs gcc")
    path: Path = request.getfixturevalue("built")
    return path


def test_a_square_wave_has_its_edges_and_its_share() -> None:
    order = GpuOrder(level=0.25, period_s=0.2, since_ns=1_000)
    t_ns, edges = 1_000, []
    for _ in range(5):
        edges.append((t_ns - 1_000, order.load(t_ns)))
        t_ns = order.next_edge_ns(t_ns) or 0
    ms = 1_000_000
    assert edges == [(0, 1.0), (50 * ms, 0.0), (200 * ms, 1.0), (250 * ms, 0.0), (400 * ms, 1.0)]
    assert GpuOrder(0.7).load(5) == 0.7
    assert GpuOrder(0.7).next_edge_ns(5) is None
    assert {GpuOrder(0.0, 0.2).load(t * ms) for t in range(0, 400, 7)} == {0.0}
    assert {GpuOrder(1.0, 0.2).load(t * ms) for t in range(0, 400, 7)} == {1.0}


def test_a_power_that_grows_is_the_one_that_is_known_whole() -> None:
    rng = random.Random(5)
    times = list(itertools.accumulate(rng.uniform(0.01, 0.4) for _ in range(200)))
    powers = [rng.uniform(20, 400) for _ in times]
    whole = PowerProfile.of(
        knot
        for t, end, p in zip(times, [*times[1:], times[-1] + 9], powers, strict=True)
        for knot in ((t, p), (end, p))
    )
    growing = GrowingProfile(keep_s=1.5)
    for t_s, power_w in zip(times, powers, strict=True):
        growing.hold(t_s, power_w)
        begin_s = max(t_s - rng.uniform(0, 1.5), times[0])
        assert growing.energy_j(begin_s, t_s) == pytest.approx(whole.energy_j(begin_s, t_s))
        assert growing.power_w(begin_s) == whole.power_w(begin_s)
    assert growing.energy_j(times[-1], times[-1] + 2) == pytest.approx(2 * powers[-1])


@pytest.mark.parametrize("late_s", [0.001, 0.37])
def test_a_card_of_the_machine_shows_what_a_card_on_the_stage_shows(
    late_s: float, tmp_path: Path
) -> None:
    """Whether the process looks every millisecond or was held up for a third of a second."""
    order = GpuOrder(level=0.5, period_s=0.25)
    cards = Cards(NODE, tmp_path / "gpus.bin", 0)
    knots, t_ns = [], 0
    while t_ns < 4e9:
        load = order.load(t_ns)
        knots += [(t_ns / 1e9, 50.0 + 300.0 * load)]
        cards.hold(t_ns, "gpu-square@0.25", load)
        end_ns = order.next_edge_ns(t_ns) or 0
        knots += [(end_ns / 1e9, 50.0 + 300.0 * load)]
        for moment_ns in range(t_ns, end_ns, round(late_s * 1e9)):
            cards.write(moment_ns)
        t_ns = end_ns
    cards.write(t_ns - 1)
    cards.close()
    staged = GpuReadings(Gpu("", "", PowerProfile.of(knots), A100.sensor)).at((t_ns - 1) / 1e9, 0.0)
    words = np.frombuffer((tmp_path / "gpus.bin").read_bytes()[128 + 192 :][:32], dtype="<u8")
    names = ("power_mw", "average_mw", "instant_mw", "energy_mj")
    assert words == pytest.approx([staged[n] for n in names], abs=1)


def test_two_inputs_are_fitted_and_their_gains_are_those_of_the_truth(
    library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Idle, two CPU and two GPU workloads; RAPL and both cards, each card with an error of its own.

    Per watt of true GPU power the wall takes 1.08 W, and the cards together show
    (0.96 x 300 + 1.05 x 325) / 625 W of it; the intercept is what they leave at idle.
    """
    run, truth = recorded_with_gpus(LADDER, NODE, library, tmp_path / "lab", monkeypatch)
    points = run_points([run])
    assert points.n == len(LADDER.measured)
    # Nothing is late here. RAPL alone would find +1.6 s in this plan, from steps of the GPUs.
    for column in points.inputs.values():
        assert column.lag is not None
        assert abs(column.lag.offset_s) < 0.02, column.lag
    result = fit_points(points, ("rapl_package", "nvml"))
    assert (result.verdict, result.data_kind) == ("correction", "simulated"), result.reasons
    shown_per_w = (0.96 * 300.0 + 1.05 * 325.0) / 625.0
    gpu_gain = 1.08 / shown_per_w
    idle_shown_w = 0.96 * 50.0 + 3.0 + 1.05 * 25.0 - 2.0
    expected = {
        None: 12.0 + 1.08 * (60.0 + 75.0) - gpu_gain * idle_shown_w,
        "rapl_package": 1.08,
        "nvml": gpu_gain,
    }
    assert result.model is not None
    for i, term in enumerate(result.model.terms):
        u = math.sqrt(result.model.covariance[i][i])
        assert abs(term.value - expected[term.input]) < 2.07 * u, term  # t, 95 %, 22 dof
        assert term.input is None or u < 0.002
    # The meter's means are those of the truth that the history holds.
    knots = truth.history()
    for step, watts in zip(
        [s for s in run.steps if s.achieved.get("purpose") is None],
        points.reference_w,
        strict=True,
    ):
        begin_ns = step.t_start_ns + round(step.settle_s * 1e9)
        true_w = knots.energy_j(begin_ns, step.t_end_ns) * 1e9 / (step.t_end_ns - begin_ns)
        assert watts == pytest.approx(true_w, abs=0.6)
    # One input alone does not tell what the other part draws.
    alone = fit_points(points, ("rapl_package",))
    assert alone.verdict != "correction"


def test_a_sensor_s_averaging_window_is_found_where_power_is_read(
    library: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run, _ = recorded_with_gpus(LADDER, NODE, library, tmp_path / "lab", monkeypatch)
    found = {a.channel: a for a in run_points([run]).averaging}
    assert set(found) == {"GPU-simulated-1_average_w"}, "no other power is a mean of more updates"
    window = found["GPU-simulated-1_average_w"]
    assert window.window_s == pytest.approx(1.0, abs=max(0.05, 2 * window.u_s))
    assert main(["compare", str(run.path)]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "SIMULATED DATA" in said
    assert "nvml, GPU-simulated-1_average_w: shows the mean of 1 s" in said


@pytest.mark.parametrize(
    ("card", "period_s", "shown_w"),
    [
        # In step with the card's looks: it meets the low half each time, however long one waits.
        (A100, 0.1, 0.96 * 50.0 + 3.0),
        (A100, 0.11, None),
        (A100, 2.0, 0.96 * 200.0 + 3.0),
        (RTX, 0.11, 1.05 * 187.5 - 2.0),
    ],
)
def test_a_square_wave_that_a_part_time_sensor_cannot_follow_ends_in_a_refusal(
    card: GpuPart,
    period_s: float,
    shown_w: float | None,
    library: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pulses = f"gpu-square@{period_s:g}"
    plan = shuffled_plan(
        "pulses",
        [
            *[("cpu-int", level) for level in (0.25, 0.5, 0.75, 1.0)],
            *[("gpu-matmul", level) for level in (0.25, 0.5, 0.75, 1.0)],
            (pulses, 0.5),
        ],
        seed=2,
        step_s=24.0,
        idle_s=24.0,
        settle_s=4.0,
    )
    machine = dataclasses.replace(NODE, gpus=(card,))
    run, _ = recorded_with_gpus(plan, machine, library, tmp_path / "lab", monkeypatch)
    points = run_points([run])
    at = points.workload.index(pulses)
    true_w = card.idle_w + 0.5 * card.dynamic_w
    # The meter saw all of it: idle of the rest, and half of the card's power.
    assert points.reference_w[at] == pytest.approx(12.0 + 1.08 * (100.0 + true_w), abs=5.0)
    if shown_w is not None:
        assert points.inputs["nvml"].value[at] == pytest.approx(shown_w, rel=0.02)
    write_points(points, tmp_path / "points.csv")
    table = read_points(tmp_path / "points.csv")
    part_time = card is A100 and period_s < 1.0
    result = fit_points(points, ("rapl_package", "nvml"))
    assert ("aliased_load" in {r.code for r in result.reasons}) is part_time, result.reasons
    assert result.verdict == ("refused" if part_time else "correction"), result.reasons
    notes = compare_points(points).notes
    assert any(n.startswith("aliased_load: nvml: ") for n in notes) is part_time, notes
    assert "aliased_load" not in {r.code for r in fit_points(points, ("rapl_package",)).reasons}
    # A table does not say which card it was, so every NVML column is taken for the worse one.
    again = fit_points(table, ("rapl_package", "nvml"))
    assert ("aliased_load" in {r.code for r in again.reasons}) is (period_s < 1.0)


def test_one_machine_feeds_a_meter_s_port_a_tree_and_the_library_at_once(
    library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A few seconds of real time, real ports and processes: all of it tells one truth."""
    plan = Plan(
        "short",
        0,
        (
            PlanStep("idle", 0.0, 1.5),
            PlanStep("gpu-square@0.15", 0.4, 2.0),
            PlanStep("gpu-matmul", 0.5, 1.5),
            PlanStep("cpu-int-1", 1.0, 1.0),
        ),
        settle_s=0.2,
    )
    with SimulatedMachine(tmp_path / "m", NODE, workloads=plan.workloads) as machine:
        assert machine.gpu_state is not None
        load_library(library, tmp_path, machine.gpu_state, monkeypatch)
        with (
            Pzem004tEmulator(machine.wall_w, window_s=0.1, refresh_s=0.1) as emulator,
            RaplReader(machine.sysfs, cadence_s=0.02) as rapl,
            NvmlReader(cadence_s=0.02, look_s=0.3) as reader,
        ):
            meter = open_meter(f"pzem-004t@{emulator.path}")
            start = new_start("simulated", "s", plan=to_mapping(plan), seed=0)
            with RunWriter.create(tmp_path / "run", start=start) as writer:
                record(
                    plan,
                    {"wall": meter},
                    [rapl, reader],
                    writer,
                    cadence_s={"wall": 0.1},
                    play_gpus=machine.tell,
                )
            meter.close()
        machine.stop()
        truth = machine.truth()
    run = read_run(tmp_path / "run")
    square, steady = run.steps[1], run.steps[2]
    assert square.achieved["simulated"] is True
    assert (square.achieved["period_s"], square.achieved["device"]) == (0.15, "gpu")
    begin, end = square.t_start_ns, steady.t_end_ns
    for stream, channel, what, slack_j in (
        # A tenth of a second, the cards' update, of what the whole machine can change by.
        ("rapl", "rapl_package_j", "package", 0.1 * 150.0),
        ("nvml", "GPU-simulated-1_j", None, 0.1 * 350.0),
    ):
        series = run.series(stream, channel)
        good = np.isfinite(series.value)
        at = [int(np.searchsorted(series.t_ns[good], t)) for t in (begin, end)]
        counted_j = float(np.diff(series.value[good][at])[0])
        first, last = (int(series.t_ns[good][i]) for i in at)
        if what is None:
            share = RTX.dynamic_w / (A100.dynamic_w + RTX.dynamic_w)
            above_j = truth.energy_j(first, last, "gpu") - 75.0 * (last - first) / 1e9
            true_j = 1.05 * (25.0 * (last - first) / 1e9 + share * above_j)
            true_j -= 2.0 * (last - first) / 1e9
        else:
            true_j = truth.energy_j(first, last, what)
        assert counted_j == pytest.approx(true_j, abs=slack_j), stream
    # While the level stands the meter shows it: 0.5 of both cards, whatever the processor does.
    wall = run.series("wall", "power_w")
    inside = (wall.t_ns > steady.t_start_ns + 400_000_000) & (wall.t_ns < steady.t_end_ns)
    mean_w = float(np.nanmean(wall.value[inside]))
    lasted_ns = steady.t_end_ns - steady.t_start_ns - 300_000_000
    true_w = truth.energy_j(steady.t_start_ns + 300_000_000, steady.t_end_ns) * 1e9 / lasted_ns
    assert mean_w == pytest.approx(true_w, rel=0.05)
    assert true_w > wall_power_w(NODE, 0.0, "gpu-matmul", gpu_load=0.5) - 1
    high = truth.knots["gpu_w"] > 400.0
    pulse = (truth.t_ns > square.t_start_ns) & (truth.t_ns < square.t_end_ns)
    edges = int(np.count_nonzero(np.diff(high[pulse].astype(int))))
    assert 12 < edges < 28, "2 s of 0.15 s: thirteen pulses, less what a busy machine misses"
