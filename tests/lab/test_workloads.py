"""Workloads: they do what they are told, say what they did, stop at once, and never outlive us."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from calibration.errors import InputError, NotAvailable
from calibration.workloads import WORKLOADS, WorkloadRunner, workload
from calibration.workloads.duty import DutyCycle
from calibration.workloads.inference import arrivals_s
from calibration.workloads.kernels import KERNELS, build


def _alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rsplit(")", 1)[1].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):  # it may end while it is looked at
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


@pytest.mark.parametrize("name", [k for k in KERNELS if not k.startswith("gpu-")])
def test_a_kernel_counts_its_operations(name: str) -> None:
    kernel = build(name)
    assert kernel() == kernel() > 0


def test_every_workload_names_a_kernel_that_exists() -> None:
    assert next(w.name for w in WORKLOADS) == "idle"
    assert len(WORKLOADS) >= 5
    for entry in WORKLOADS:
        assert entry.kernel in (None, "inference") or entry.kernel in KERNELS
    assert workload("cpu-int-half").workers(8) == 4
    assert workload("cpu-int-half").workers(1) == 1
    assert workload("cpu-int-1").workers(8) == 1
    assert workload("cpu-int").workers(8) == 8
    assert workload("idle").workers(8) == 0
    with pytest.raises(InputError, match="memory-copy"):
        workload("cpu-nit")


def test_what_was_achieved_is_what_was_told() -> None:
    names = ["idle", "cpu-int", "cpu-matmul", "memory-copy"]
    with WorkloadRunner(names, cores=1) as runner:
        pids = runner.pids
        for name, level in (("cpu-int", 0.3), ("cpu-matmul", 0.6), ("memory-copy", 0.5)):
            before_s = _denied_s(pids)
            runner.start(name, level)
            time.sleep(0.8)
            done = runner.stop()
            # What the machine gave to others instead cannot be asked of the worker.
            denied = (_denied_s(pids) - before_s) / 0.8
            assert level - denied - 0.15 <= done["duty"] <= level + 0.1, (name, denied, done)
            assert done["operations"] > 0
            assert done["workers"] == 1
        runner.start("idle", 0.0)
        assert runner.stop()["operations"] == 0
        assert runner.pids == pids, "workers stay alive between steps"
    assert _gone(pids)


def _denied_s(pids: tuple[int, ...]) -> float:
    """Return how long processes have been ready to run and were not let, in s.

    The kernel counts how long each waits for a core, and how long the host of a virtual machine
    kept the cores for itself.
    """
    waited_ns = sum(int(Path(f"/proc/{pid}/schedstat").read_text().split()[1]) for pid in pids)
    stolen = int(Path("/proc/stat").read_text().split(maxsplit=9)[8])
    return waited_ns * 1e-9 + stolen / os.sysconf("SC_CLK_TCK")


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


def test_a_gpu_workload_is_refused_with_the_reason_where_there_is_none() -> None:
    """Torch and cupy are hidden, so that the refusal is the same on any machine."""
    code = (
        "import sys; sys.modules['torch'] = None; sys.modules['cupy'] = None\n"
        "from calibration.workloads.kernels import build\n"
        "try: build('gpu-matmul')\n"
        "except ImportError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "torch is not installed; cupy is not installed"


@pytest.mark.parametrize(
    "name", ["cpu-int@2", "inference@", "inference@-1", "gpu-square@no", "cmd:"]
)
def test_a_name_that_says_nonsense_is_refused(name: str) -> None:
    with pytest.raises(InputError, match=r"Expected a"):
        workload(name)


def test_a_disk_is_kept_busy_by_the_clock_on_the_wall() -> None:
    with WorkloadRunner(["disk-light", "network-light"], cores=2) as runner:
        for name in ("disk-light", "network-light"):
            runner.start(name, 0.3)
            time.sleep(0.5)
            done = runner.stop()
            assert done["workers"] == 1
            assert 0.02 < done["duty"] < 0.6, (name, done)
            assert done["operations"] >= 2**16


def test_requests_arrive_at_random_at_the_rate_that_was_asked() -> None:
    times = list(islice(arrivals_s(558, seed=3), 4000))
    gaps = [b - a for a, b in zip([0.0, *times], times, strict=False)]
    mean = sum(gaps) / len(gaps)
    # The mean of n exponential times has a relative standard deviation of 1/sqrt(n).
    assert mean == pytest.approx(3600 / 558, rel=4 / 4000**0.5)
    spread = (sum((g - mean) ** 2 for g in gaps) / len(gaps)) ** 0.5
    assert spread == pytest.approx(mean, rel=0.1)
    assert list(islice(arrivals_s(0, seed=3), 5)) == []


def test_inference_logs_every_request_and_holding_a_model_answers_none() -> None:
    with WorkloadRunner(["inference@20000"], cores=1) as runner:
        before_ns = time.monotonic_ns()
        runner.start("inference@20000", 1.0)
        time.sleep(1.2)
        done = runner.stop()
        after_ns = time.monotonic_ns()
        assert done["operations"] == len(done["requests_ns"]) > 0
        for arrival, begin, end in done["requests_ns"]:
            assert before_ns < arrival <= begin < end < after_ns
        assert done["unanswered"] >= 0
        assert done["duty"] > 0.01
        runner.start("inference@20000", 0.0)
        time.sleep(0.2)
        held = runner.stop()
        assert (held["operations"], held["requests_ns"], held["unanswered"]) == (0, [], 0)
        assert held["duty"] < 0.05


def test_a_command_is_run_accounted_for_and_ended_with_its_step(tmp_path: Path) -> None:
    marker = tmp_path / "child"
    busy = f"import os; open({str(marker)!r}, 'w').write(str(os.getpid()))\nwhile True: pass"
    name = f'cmd:{sys.executable} -c "{busy}"'
    with WorkloadRunner([name, "cpu-int-1"], cores=1) as runner:
        runner.start(name, 1.0)
        time.sleep(0.8)
        assert not runner.ended
        done = runner.stop()
        assert _gone((int(marker.read_text()),))
        # It never rests; what a core shared with other processes grants it is another matter.
        assert done["duty"] > 0.02
        assert "exit_code" not in done


def test_a_command_that_ends_by_itself_says_so_and_how() -> None:
    name = f"cmd:{sys.executable} -c \"print('no such data'); raise SystemExit(3)\""
    with WorkloadRunner([name], cores=1) as runner:
        runner.start(name, 1.0)
        deadline = time.monotonic() + 10
        while not runner.ended and time.monotonic() < deadline:
            time.sleep(0.02)
        assert runner.ended
        done = runner.stop()
        assert done["exit_code"] == 3
        assert "no such data" in done["output_tail"]
        assert not runner.ended
    with pytest.raises(NotAvailable, match="no-such-program"):
        WorkloadRunner(["cmd:no-such-program --fast"])


def test_a_command_does_not_outlive_whoever_started_it(tmp_path: Path) -> None:
    marker = tmp_path / "child"
    code = (
        "import time\n"
        "from calibration.workloads import WorkloadRunner\n"
        f"name = 'cmd:sh -c \"echo $$ > {marker}; exec sleep 60\"'\n"
        "r = WorkloadRunner([name], cores=1)\n"
        "r.start(name, 1.0)\n"
        "time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code]) as parent:
        deadline = time.monotonic() + 10
        while not (marker.exists() and marker.read_text().strip()):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        parent.kill()
        parent.wait()
    assert _gone((int(marker.read_text()),))


def test_stress_ng_does_its_method_and_counts(
    require: Callable[[str, bool, str], None],
) -> None:
    require("stress-ng", shutil.which("stress-ng") is not None, "apt install stress-ng")
    with WorkloadRunner(["stress-ng:matrixprod"], cores=1) as runner:
        runner.start("stress-ng:matrixprod", 0.5)
        time.sleep(1.5)
        done = runner.stop()
        assert 0.05 < done["duty"] < 0.7, done
        assert done["operations"] > 0
        assert done["operation"] == "bogo-ops"
    with pytest.raises(NotAvailable, match="matrixprod"):
        WorkloadRunner(["stress-ng:no-such-method"])


def test_stress_ng_is_refused_where_it_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(NotAvailable, match="apt install stress-ng"):
        WorkloadRunner(["stress-ng:matrixprod"])


def test_a_square_wave_keeps_the_period_that_was_asked() -> None:
    cycle = DutyCycle(0.5, 0.25, wall_s=0.0, cpu_s=0.0, wander=0.0)
    wall = 0.0
    for i in range(1, 20):
        wall = cycle.next(wall_s=wall, cpu_s=wall / 2).end_s
        assert wall == pytest.approx(0.25 * i)
    with WorkloadRunner(["cpu-square@0.4"], cores=1) as runner:
        runner.start("cpu-square@0.4", 0.5)
        time.sleep(0.9)
        done = runner.stop()
    assert done["period_s"] == 0.4
    assert 0.0 < done["duty"] < 0.65
