"""The simulated machine at work: its counters, its process, and that both tell one truth."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from calibration.errors import NotAvailable
from calibration.simulation import running
from calibration.simulation.machine import DEMO_MACHINE
from calibration.simulation.powercap_tree import (
    MAX_ENERGY_RANGE_UJ,
    Zone,
    ZoneCounter,
    build_tree,
    counter_text,
)
from calibration.simulation.running import SimulatedMachine

ROOT = Path(__file__).resolve().parents[2]


def test_tree_has_the_kernel_s_layout(tmp_path: Path) -> None:
    zones = build_tree(tmp_path, packages=11, dram=True)
    links = tmp_path / "class/powercap"
    assert (links / "intel-rapl:a/name").read_text() == "package-10\n"
    assert (links / "intel-rapl:a:0/name").read_text() == "dram\n"
    assert (links / "intel-rapl:0").is_symlink()
    assert (links / "intel-rapl/subsystem").resolve() == links.resolve()
    assert (links / "intel-rapl:0/intel-rapl:0:0").is_dir()
    starts = {z.start_uj for z in zones}
    assert len(starts) == len(zones) == 22
    for zone in zones:
        folder = links / f"intel-rapl:{zone.place}"
        assert int((folder / "energy_uj").read_text()) == zone.start_uj
        assert int((folder / "max_energy_range_uj").read_text()) == MAX_ENERGY_RANGE_UJ


def test_counter_is_one_width_whole_units_and_wraps() -> None:
    assert counter_text(0.0, 7) == b"000000000007\n"
    # one unit is 2^-14 J, 61.035 uJ
    assert int(counter_text(0.9999 / 16384, 0)) == 0
    assert int(counter_text(1.0, 0)) == 1_000_000
    almost = MAX_ENERGY_RANGE_UJ - 500_000
    assert int(counter_text(1.0, almost)) == 500_000
    assert {len(counter_text(j, s)) for j in (0, 1e3, 1e6) for s in (0, almost)} == {13}


def test_counter_is_rewritten_in_place(tmp_path: Path) -> None:
    (zone,) = build_tree(tmp_path)
    path = tmp_path / "class/powercap/intel-rapl:0/energy_uj"
    with path.open("rb") as held:
        counter = ZoneCounter(tmp_path, zone)
        counter.write(2.0)
        assert int(held.read()) == zone.start_uj + 2_000_000
        counter.close()


def test_counters_and_truth_tell_the_same(tmp_path: Path) -> None:
    with SimulatedMachine(
        tmp_path / "m", DEMO_MACHINE, workloads=("idle", "memory-copy"), packages=2
    ) as machine:
        paths = [machine.sysfs / f"class/powercap/intel-rapl:{n}/energy_uj" for n in (0, 1)]
        seen: list[tuple[int, int]] = []
        end = time.monotonic() + 1.5
        while time.monotonic() < end:
            if machine.truth().t_ns.size > 6:
                machine.tell("memory-copy")
            before = time.monotonic_ns()
            texts = [p.read_bytes() for p in paths]
            assert {len(t) for t in texts} == {13}
            seen.append(((before + time.monotonic_ns()) // 2, sum(map(int, texts))))
            time.sleep(0.002)
        before_ns = time.monotonic_ns() - 50_000_000
        wall_w = machine.wall_w(before_ns / 1e9)
    truth = machine_truth(tmp_path)
    assert all(b[1] >= a[1] for a, b in itertools.pairwise(seen))
    (t0, e0), (t1, e1) = seen[0], seen[-1]
    true_j = truth.energy_j(t0, t1, "package")
    # 50 ms of full power: what a rewrite may come late on a busy machine
    assert (e1 - e0) / 1e6 == pytest.approx(true_j, abs=0.05 * 84)
    assert float(truth.knots["memory_w"][0]) == 0.0
    about = truth.energy_j(before_ns - 10_000_000, before_ns + 10_000_000) / 0.02
    assert wall_w == pytest.approx(about, rel=1e-6)


def machine_truth(folder: Path) -> running.History:
    from calibration.simulation.history import HistoryFile

    return HistoryFile(folder / "m" / "history.bin").history()


def test_knots_and_rewrites_come_at_their_rates(tmp_path: Path) -> None:
    with SimulatedMachine(tmp_path / "m", DEMO_MACHINE) as machine:
        time.sleep(1.2)
        machine.stop()
        gaps = machine.truth().t_ns[1:] - machine.truth().t_ns[:-1]
        assert gaps.min() >= 100_000_000
        # No claim about speed: only that it neither spins nor sleeps through.
        assert 20 < machine.rewrite_rate_hz() < 1_100
        assert not machine.alive
        assert machine.updater_cpu_share() < 0.5


def test_unknown_workload_counts_as_the_first(tmp_path: Path) -> None:
    with SimulatedMachine(tmp_path / "m", DEMO_MACHINE, workloads=("idle", "x")) as machine:
        machine.tell("x")
        machine.tell("never heard of")
        assert machine._file.workload == 0


def test_process_ends_with_its_parent(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path\n"
        "from calibration.simulation.running import SimulatedMachine\n"
        "from calibration.simulation.machine import DEMO_MACHINE\n"
        f"m = SimulatedMachine(Path({str(tmp_path / 'm')!r}), DEMO_MACHINE)\n"
        "print(m._process.pid, flush=True); time.sleep(60)\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    os.kill(child, 0)
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    parent.stdout.close()
    deadline = time.monotonic() + 10
    while _runs(child):
        assert time.monotonic() < deadline, "the updater outlives its parent"
        time.sleep(0.05)


def _runs(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return False
    return state not in "ZX"


def test_machine_that_cannot_start_says_where_its_words_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nowhere = (Zone("f", "package-15", 0),)
    monkeypatch.setattr(running, "build_tree", lambda root, **_: nowhere)
    with pytest.raises(NotAvailable, match=r"updater\.log"):
        SimulatedMachine(tmp_path / "m", DEMO_MACHINE)
