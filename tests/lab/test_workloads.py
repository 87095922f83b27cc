"""Workloads: they do what they are told, say what they did, stop at once, and never outlive us."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from calibration.errors import InputError
from calibration.workloads import WORKLOADS, WorkloadRunner, workload
from calibration.workloads.duty import DutyCycle
from calibration.workloads.kernels import KERNELS, build


def _alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rsplit(")", 1)[1].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


def _gone(pids: tuple[int, ...], within_s: float = 10.0) -> bool:
    deadline = time.monotonic() + within_s
    while any(_alive(p) for p in pids):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


@given(
    st.floats(0, 1),
    st.floats(0.02, 0.2),
    st.lists(st.floats(0, 0.05), min_size=50, max_size=80),
)
def test_a_duty_cycle_holds_its_level_on_a_core_that_is_late_now_and_then(
    level: float, period_s: float, waits_s: list[float]
) -> None:
    wall, cpu, start = 10.0, 3.0, 10.0
    cycle = DutyCycle(level, period_s, wall_s=wall, cpu_s=cpu)
    for wait in waits_s:
        phase = cycle.next(wall_s=wall, cpu_s=cpu)
        assert wall < phase.end_s <= wall + 1.25 * period_s + 1e-9
        busy = max(min(phase.busy_until_cpu_s - cpu, phase.end_s - wall), 0.0)
        cpu += busy
        wall = phase.end_s + wait * period_s
    # What it may owe at the end: at most two periods, and the wait after the last one.
    owed = level * (wall - start) - (cpu - 3.0)
    assert -1e-6 <= owed <= 2 * period_s + 1e-6 + (level == 1.0) * sum(waits_s)


def test_periods_wander_so_that_no_fixed_rate_can_beat_against_them() -> None:
    cycle, wall, lengths = DutyCycle(0.5, 0.08, wall_s=0.0, cpu_s=0.0), 0.0, []
    for _ in range(200):
        end = cycle.next(wall_s=wall, cpu_s=wall / 2).end_s
        lengths.append(end - wall)
        wall = end
    assert min(lengths) >= 0.06 - 1e-9
    assert max(lengths) <= 0.10 + 1e-9
    assert max(lengths) - min(lengths) > 0.03


@pytest.mark.parametrize("name", list(KERNELS))
def test_a_kernel_counts_its_operations(name: str) -> None:
    kernel = build(name)
    assert kernel() == kernel() > 0


def test_every_workload_names_a_kernel_that_exists() -> None:
    assert next(w.name for w in WORKLOADS) == "idle"
    assert len(WORKLOADS) >= 5
    for entry in WORKLOADS:
        assert entry.kernel is None or entry.kernel in KERNELS
    assert workload("cpu-int-1").workers(8) == 1
    assert workload("cpu-int").workers(8) == 8
    assert workload("idle").workers(8) == 0
    with pytest.raises(InputError, match="memory-copy"):
        workload("cpu-nit")


def test_what_was_achieved_is_what_was_told() -> None:
    names = [w.name for w in WORKLOADS]
    with WorkloadRunner(names, cores=1) as runner:
        pids = runner.pids
        for name, level in (("cpu-int", 0.3), ("cpu-matmul", 0.6), ("memory-copy", 0.5)):
            runner.start(name, level)
            time.sleep(0.8)
            done = runner.stop()
            # A core shared with other processes may be denied a part of what was asked.
            assert level - 0.15 <= done["duty"] <= level + 0.1, (name, done)
            assert done["operations"] > 0
            assert done["workers"] == 1
        runner.start("idle", 0.0)
        assert runner.stop()["operations"] == 0
        assert runner.pids == pids, "workers stay alive between steps"
    assert _gone(pids)


def test_a_running_load_stops_at_once() -> None:
    with WorkloadRunner(["cpu-int"], cores=2) as runner:
        runner.start("cpu-int", 1.0)
        time.sleep(0.1)
        runner.stop()
        before = [time.process_time(), *(_cpu_ticks(p) for p in runner.pids)]
        time.sleep(0.3)
        after = [time.process_time(), *(_cpu_ticks(p) for p in runner.pids)]
        assert after[1:] == pytest.approx(before[1:], abs=2)


def _cpu_ticks(pid: int) -> int:
    with open(f"/proc/{pid}/stat") as stat:
        fields = stat.read().rsplit(")", 1)[1].split()
    return int(fields[11]) + int(fields[12])


def test_a_worker_that_dies_is_reported_and_replaced() -> None:
    with WorkloadRunner(["cpu-int"], cores=2) as runner:
        runner.start("cpu-int", 0.2)
        os.kill(runner.pids[0], signal.SIGKILL)
        time.sleep(0.1)
        assert runner.stop()["lost_workers"] == 1
        runner.start("cpu-int", 0.2)
        time.sleep(0.1)
        done = runner.stop()
        assert "lost_workers" not in done
        assert done["workers"] == 2


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_workers_never_outlive_their_parent(how: signal.Signals) -> None:
    code = (
        "import time\n"
        "from calibration.workloads import WorkloadRunner\n"
        "r = WorkloadRunner(['cpu-int'], cores=2)\n"
        "r.start('cpu-int', 1.0)\n"
        "print(*r.pids, flush=True)\n"
        "time.sleep(60)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        pids = tuple(int(p) for p in parent.stdout.readline().split())
        assert len(pids) == 2
        parent.send_signal(how)
        parent.wait()
    assert _gone(pids)


def test_ctrl_c_at_a_terminal_does_not_kill_the_workers_before_they_reported() -> None:
    with WorkloadRunner(["cpu-int"], cores=1) as runner:
        runner.start("cpu-int", 0.5)
        os.kill(runner.pids[0], signal.SIGINT)
        time.sleep(0.1)
        assert runner.stop()["operations"] > 0
