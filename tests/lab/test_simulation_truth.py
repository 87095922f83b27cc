"""The simulated machine's truth: closed forms of its model, exact energies of its history."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from calibration.errors import NotAvailable
from calibration.simulation.course import next_knot
from calibration.simulation.history import HistoryFile
from calibration.simulation.load import CpuTimes, load_between, parse_cpu_times
from calibration.simulation.machine import (
    DEMO_MACHINE,
    Machine,
    Supply,
    memory_power_w,
    package_power_w,
    wall_power_w,
)

PLAIN = Machine("plain", 10.0, 50.0, 20.0, Supply(5.0, 1.1, 2e-4), {"copy": 0.15})


def test_wall_power_by_hand() -> None:
    # package 35, dc 55: 5 + 1.1 * 55 + 2e-4 * 3025
    assert package_power_w(PLAIN, 0.5) == 35.0
    assert wall_power_w(PLAIN, 0.5) == pytest.approx(66.105, abs=1e-12)
    # the copy draws 0.15 * 25 W more behind the supply: dc 58.75
    assert wall_power_w(PLAIN, 0.5, "copy") == pytest.approx(5 + 1.1 * 58.75 + 2e-4 * 58.75**2)
    assert wall_power_w(PLAIN, 0.0, "copy") == wall_power_w(PLAIN, 0.0)


def test_memory_copy_of_the_demo_has_a_gain_of_its_own() -> None:
    def gain(workload: str) -> float:
        rise = wall_power_w(DEMO_MACHINE, 1.0, workload) - wall_power_w(DEMO_MACHINE, 0.0, workload)
        return rise / DEMO_MACHINE.package_dynamic_w

    assert gain("memory-copy") / gain("integer") == pytest.approx(1.10, abs=0.01)
    assert memory_power_w(DEMO_MACHINE, 1.0, "integer") == 0.0


def test_machine_survives_json() -> None:
    from dataclasses import asdict

    assert Machine.from_json(asdict(DEMO_MACHINE)) == DEMO_MACHINE
    assert DEMO_MACHINE.describe()["simulation.id"] == "wattcal-demo-1"


@given(
    st.lists(
        st.tuples(st.integers(1, 400_000_000), st.floats(0, 1), st.sampled_from(["", "copy"])),
        min_size=1,
        max_size=20,
    ),
    st.integers(0, 10**9),
    st.integers(0, 10**9),
)
def test_energy_of_any_window_is_the_sum_of_its_rectangles(
    steps: list[tuple[int, float, str]], a_ns: int, b_ns: int
) -> None:
    knots = []
    t_ns, knot = 1_000, None
    for gap_ns, load, workload in steps:
        knot = next_knot(PLAIN, knot, t_ns, load, workload)
        knots.append(knot)
        t_ns += gap_ns
    first, last = sorted((1_000 + a_ns, 1_000 + b_ns))
    edges = [k.t_ns for k in knots] + [max(last, knots[-1].t_ns) + 1]
    expected = sum(
        k.wall_w * max(min(end, last) - max(k.t_ns, first), 0) / 1e9
        for k, end in zip(knots, edges[1:], strict=True)
    )
    history = _history(knots)
    assert history.energy_j(first, last) == pytest.approx(expected, abs=1e-9, rel=1e-12)


def _history(knots: list) -> object:
    from calibration.simulation.history import _DTYPE, History

    return History(np.array([tuple(k) for k in knots], dtype=_DTYPE))


def test_file_gives_back_what_was_written_and_refuses_more_than_it_holds(tmp_path: Path) -> None:
    file = HistoryFile.create(tmp_path / "h.bin", knots=2)
    reader = HistoryFile(tmp_path / "h.bin")
    assert reader.last() is None
    knot = next_knot(PLAIN, None, 5, 0.25, "")
    assert file.append(knot)
    assert reader.last() == knot
    second = next_knot(PLAIN, knot, 1_000_000_005, 1.0, "")
    assert file.append(second)
    assert not file.append(second)
    assert reader.at(1_000_000_004) == reader.at(4) == knot
    assert reader.at(1_000_000_005) == reader.at(9_000_000_000) == reader.last() == second
    history = reader.history()
    assert history.energy_j(5, 1_000_000_005) == pytest.approx(wall_power_w(PLAIN, 0.25))
    assert history.power_w(4) == history.power_w(5) == wall_power_w(PLAIN, 0.25)
    assert history.power_w(2_000_000_000) == wall_power_w(PLAIN, 1.0)
    file.workload = 3
    assert reader.workload == 3
    history.to_csv(tmp_path / "truth.csv")
    text = (tmp_path / "truth.csv").read_text()
    assert text.startswith("# SIMULATED")
    assert len(text.splitlines()) == 4


STAT = """\
cpu  300 0 100 800 10 0 5 7 0 0
cpu0 100 1 50 400 10 2 3 4 9 9
cpu1 200 0 50 400 0 0 2 3 0 0
intr 12345
"""


def test_load_counts_work_only_and_only_our_processors() -> None:
    assert parse_cpu_times(STAT, {0}) == CpuTimes(busy=156, total=570)
    assert parse_cpu_times(STAT, {0, 1}) == CpuTimes(busy=156 + 252, total=570 + 655)


def test_load_of_an_interval() -> None:
    assert load_between(CpuTimes(10, 100), CpuTimes(15, 120)) == 0.25
    assert load_between(CpuTimes(10, 100), CpuTimes(10, 100)) is None
    assert load_between(CpuTimes(10, 100), CpuTimes(9, 110)) == 0.0
    assert load_between(CpuTimes(10, 100), CpuTimes(30, 110)) == 1.0


@pytest.mark.parametrize(
    "text", ["", "cpu 1 2 3\n", "cpu7 1 2 3 4 5 6 7 8\n", "cpu0 a b c d e f g h\n"]
)
def test_load_says_what_is_missing(text: str) -> None:
    with pytest.raises(NotAvailable, match="/proc/stat"):
        parse_cpu_times(text, {0})
