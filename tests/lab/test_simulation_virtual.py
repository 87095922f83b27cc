"""The simulated machine on a virtual clock: closed forms, counters, sensors, seeds."""

from __future__ import annotations

import dataclasses
import itertools
import json
import math

import numpy as np
import pytest

from calibration.analysis.counters import register_differences
from calibration.plans import PlanStep
from calibration.simulation.course import next_knot
from calibration.simulation.gpu import A100, Gpu, GpuReadings, Sensor
from calibration.simulation.machine import (
    DEMO_MACHINE,
    GpuPart,
    Lag,
    Machine,
    Supply,
    wall_power_w,
)
from calibration.simulation.profile import PowerProfile
from calibration.simulation.virtual import play

PLATINUM_115V = {0.2: 0.90, 0.5: 0.92, 1.0: 0.89}
GOLD_115V = {0.2: 0.87, 0.5: 0.90, 1.0: 0.87}
TITANIUM_230V = {0.2: 0.94, 0.5: 0.96, 1.0: 0.91}
NODE = Machine(
    id="node",
    package_idle_w=40.0,
    package_dynamic_w=160.0,
    hidden_w=60.0,
    supply=Supply.of_efficiencies(800.0, PLATINUM_115V),
    memory_share={"copy": 0.15},
    sockets=(0.55, 0.45),
    memory_idle_w=6.0,
    gpus=(GpuPart(50.0, 250.0, A100), GpuPart(25.0, 300.0, Sensor(0.1, 0.1, 1.0, gain=1.05))),
    cpu_share={"gpu-matmul": 0.1},
    gpu_share={"gpu-matmul": 1.0},
    fans=Lag(0.05, 120.0),
    leakage=Lag(0.04, 30.0),
    hidden_states_w=(0.0, 16.0),
    package_noise_w=0.5,
    wall_noise_w=0.4,
)
QUIET = dataclasses.replace(NODE, package_noise_w=0.0, wall_noise_w=0.0)
STEPS = (
    PlanStep("idle", 0.0, 20.0),
    PlanStep("integer", 1.0, 90.0),
    PlanStep("copy", 0.5, 30.0),
    PlanStep("gpu-matmul", 1.0, 40.0),
    PlanStep("idle", 0.0, 60.0),
)


@pytest.mark.parametrize(
    ("efficiencies", "missed_pct"), [(PLATINUM_115V, 3.1), (GOLD_115V, 3.4), (TITANIUM_230V, 4.7)]
)
def test_a_supply_has_its_efficiencies_and_a_line_through_its_ends_misses_the_middle(
    efficiencies: dict[float, float], missed_pct: float
) -> None:
    """The three figures are those that the demanded efficiencies alone give."""
    supply = Supply.of_efficiencies(500.0, efficiencies)

    def wall_w(share: float) -> float:
        dc = 500.0 * share
        return supply.fixed_w + supply.proportional * dc + supply.quadratic_per_w * dc**2

    for share, efficiency in efficiencies.items():
        assert 500.0 * share / wall_w(share) == pytest.approx(efficiency, rel=1e-12)
    line = wall_w(0.2) + (wall_w(1.0) - wall_w(0.2)) * (0.5 - 0.2) / (1.0 - 0.2)
    assert 100 * (line / wall_w(0.5) - 1) == pytest.approx(missed_pct, abs=0.06)
    with pytest.raises(ValueError, match="three loads"):
        Supply.of_efficiencies(500.0, {0.2: 0.9, 1.0: 0.9})


def test_the_demonstration_s_machine_is_a_special_case() -> None:
    seen = play(DEMO_MACHINE, STEPS[:3], seed=1)
    for number, one in enumerate(STEPS[:3]):
        wall = seen.wall_w[seen.step == number]
        assert wall == pytest.approx(wall_power_w(DEMO_MACHINE, one.level, one.workload))
    assert seen.package_w.shape == (1, 1400)


def test_lags_and_energies_are_closed_forms() -> None:
    seen = play(QUIET, STEPS, seed=1)
    dynamic_w, tau_s = 160.0, 120.0
    fans_j = float(seen.energy_j(seen.fans_w, 20.0, 110.0))
    until = 1 - math.exp(-90.0 / tau_s)
    assert fans_j == pytest.approx(0.05 * dynamic_w * (90.0 - tau_s * until), rel=1e-6)
    after = seen.fans_w[np.searchsorted(seen.edges_s, 110.0)]
    at_110_w = 0.05 * dynamic_w * until
    assert after == pytest.approx(at_110_w, rel=1e-3)
    # Leakage is what the counters see of the heat.
    leakage_w = 0.04 * dynamic_w * (1 - np.exp(-89.95 / 30.0))
    assert seen.package_w[:, 1099].sum() == pytest.approx(200.0 + leakage_w)
    assert seen.package_w[0] == pytest.approx(0.55 * seen.package_w.sum(axis=0))
    dc = seen.package_w.sum(0) + seen.dram_w + seen.gpu_w.sum(0) + seen.fans_w + 60.0
    assert seen.dc_w == pytest.approx(dc)
    assert seen.dram_w[1150] == pytest.approx(6.0 + 0.15 * 80.0)
    assert seen.gpu_w[:, 1500] == pytest.approx([300.0, 325.0])
    assert seen.package_w[:, 1799].sum() == pytest.approx(56.0 + seen.leakage_w[1799])


def test_a_plan_in_two_pieces_is_one_plan() -> None:
    whole = play(QUIET, STEPS, seed=1)
    first = play(QUIET, STEPS[:2], seed=1)
    second = play(QUIET, STEPS[2:], seed=1, heat=first.heat, start_s=110.0)
    assert np.concatenate([first.wall_w, second.wall_w]) == pytest.approx(whole.wall_w, rel=1e-12)
    assert dataclasses.astuple(second.heat) == pytest.approx(dataclasses.astuple(whole.heat))
    cut = [20.0, 33.3, 71.07, 110.0]
    parts = [float(whole.energy_j(whole.wall_w, a, b)) for a, b in itertools.pairwise(cut)]
    assert sum(parts) == pytest.approx(float(whole.energy_j(whole.wall_w, 20.0, 110.0)))


def test_counters_count_the_energy_in_whole_units_and_wrap() -> None:
    seen = play(NODE, STEPS, seed=3)
    range_uj = 5_000_000_000  # 5 kJ: several turns in this plan
    counted = seen.package_uj(start_uj=4_000_000_000, range_uj=range_uj)
    assert counted.shape == (2, seen.edges_s.size)
    assert counted.max() < range_uj
    assert np.all(counted == np.floor(counted))
    found = register_differences(
        np.rint(seen.edges_s * 1e9).astype(np.int64), counted / 1e6,
        modulus_j=range_uj / 1e6, power_limit_w=400.0,
    )  # fmt: skip
    assert found.undecided == 0
    true_j = seen.package_w.sum(axis=1) * seen.cell_s
    assert found.energy_j.sum(axis=1) == pytest.approx(true_j, abs=1e-3)
    assert np.all(np.diff(counted, axis=1).min(axis=1) < 0)
    assert seen.dram_uj()[-1] == pytest.approx(seen.dram_w.sum() * 0.1 * 1e6, abs=100)


@pytest.mark.parametrize("sensor", [A100, Sensor(0.1, 0.1, 1.0, gain=0.95, offset_w=3.0)])
def test_a_card_s_counter_is_the_one_of_the_stage(sensor: Sensor) -> None:
    """Two ways to the same number: look by look on a profile, and at once on an array."""
    machine = dataclasses.replace(QUIET, gpus=(GpuPart(50.0, 250.0, sensor),))
    seen = play(machine, STEPS, seed=1)
    knots = [(0.0, 50.0), (140.0, 50.0), (140.0, 300.0), (180.0, 300.0), (180.0, 50.0)]
    card = GpuReadings(Gpu("a", "b", PowerProfile.of(knots), sensor, start_mj=0))
    counted = seen.gpu_j()[0]
    for cell in (1, 700, 1399, 1401, 1402, 1500, 1799, 1803, 2399):
        t_s = seen.edges_s[cell] + 0.01
        staged = card.at(float(t_s), 0.0)["energy_mj"]
        assert counted[cell] * 1000 == pytest.approx(staged, abs=1.5), cell


def test_the_seed_decides_the_noise_and_nothing_else() -> None:
    one, same, other = (play(NODE, STEPS, seed=s) for s in (7, 7, 8))
    quiet = play(QUIET, STEPS, seed=7)
    assert np.array_equal(one.wall_w, same.wall_w)
    assert not np.array_equal(one.wall_w, other.wall_w)
    rest = one.package_w.sum(axis=0) - quiet.package_w.sum(axis=0)
    assert float(np.std(rest)) == pytest.approx(0.5, rel=0.1)
    assert float(np.mean(rest)) == pytest.approx(0.0, abs=5 * 0.5 / math.sqrt(rest.size))


def test_no_counter_sees_the_hidden_state() -> None:
    low, high = (play(QUIET, STEPS, seed=1, state=s) for s in (0, 1))
    assert np.array_equal(low.package_uj(), high.package_uj())
    assert np.array_equal(low.dram_uj(), high.dram_uj())
    assert np.array_equal(low.gpu_j(), high.gpu_j())
    moved = (high.wall_w - low.wall_w)[low.step == 0]
    # About a tenth of idle, and alike at every load but for the supply's bend.
    assert moved.mean() / low.wall_w[low.step == 0].mean() == pytest.approx(0.08, abs=0.03)
    with pytest.raises(ValueError, match="state below 2"):
        play(QUIET, STEPS, seed=1, state=2)
    with pytest.raises(ValueError, match="0 steps"):
        play(QUIET, (), seed=1)


def test_the_machine_survives_json_and_says_what_it_is() -> None:
    text = json.dumps(dataclasses.asdict(NODE))
    assert Machine.from_json(json.loads(text)) == NODE
    said = NODE.describe()
    assert said["simulation.thermal_lag_s"] == 120.0
    assert "2 idle states" in said["simulation.hidden_power"]
    with pytest.raises(ValueError, match="add to 1"):
        dataclasses.replace(NODE, sockets=(0.5, 0.4))


def test_real_load_goes_through_the_same_physics() -> None:
    """The knots of the process that follows this computer's load, fed with a plan's load."""
    machine = dataclasses.replace(QUIET, gpus=())
    knot, t_ns = None, 0
    for one in (PlanStep("integer", 1.0, 90.0), PlanStep("integer", 0.2, 60.0)):
        for _ in range(round(one.duration_s * 10)):
            knot = next_knot(machine, knot, t_ns, one.level, one.workload)
            t_ns += 100_000_000
    assert knot is not None
    seen = play(machine, (PlanStep("integer", 1.0, 90.0), PlanStep("integer", 0.2, 60.0)), seed=1)
    assert knot.wall_w == pytest.approx(seen.wall_w[-1], rel=1e-3)
    assert knot.fans_w == pytest.approx(seen.fans_w[-1], rel=1e-3)
    assert knot.wall_j == pytest.approx(float(seen.energy_j(seen.wall_w, 0.0, 149.9)), rel=1e-3)
