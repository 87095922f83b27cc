"""CPU load and the real CodeCarbon: right energy, known mode, and a death that costs one stream."""

from __future__ import annotations

import csv
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from calibration.errors import CalibrationError, EstimatorError, InputError, NotAvailable, WrongMode
from calibration.estimators import (
    ESTIMATORS,
    CodeCarbon,
    CpuLoad,
    RaplReader,
    open_estimator,
)
from calibration.estimators.cpu_load import ProcStat
from calibration.instruments import Reading
from calibration.simulation import nvml
from calibration.simulation.gpu import A100, Gpu
from calibration.simulation.profile import constant
from calibration.simulation.stage import Scene, Stage

START_UJ = 100_000_000_000
PACKAGE_W, DRAM_W = 40.0, 6.0


@contextmanager
def constant_power(root: Path, *, package: str = "package-0") -> Iterator[None]:
    """A tree whose package delivers 40 W and whose nested dram 6 W, rewritten in place."""
    control = root / "devices" / "virtual" / "powercap" / "intel-rapl"
    links = root / "class" / "powercap"
    links.mkdir(parents=True)
    control.mkdir(parents=True)
    (control / "subsystem").symlink_to(links)
    (links / "intel-rapl").symlink_to(control)
    files = []
    for id, name, start_uj, power_w in (
        ("intel-rapl:0", package, START_UJ, PACKAGE_W),
        ("intel-rapl:0/intel-rapl:0:0", "dram", 2 * START_UJ, DRAM_W),
    ):
        folder = control / id
        folder.mkdir()
        (folder / "name").write_text(name)
        (folder / "max_energy_range_uj").write_text("262143328850")
        (folder / "energy_uj").write_text(f"{start_uj:012d}\n")
        (links / folder.name).symlink_to(folder)
        files.append((os.open(folder / "energy_uj", os.O_WRONLY), start_uj, power_w))
    ended, begin = threading.Event(), time.monotonic()

    def update() -> None:
        while not ended.wait(0.001):
            elapsed_s = time.monotonic() - begin
            for file, start_uj, power_w in files:
                os.pwrite(file, b"%012d\n" % int(start_uj + power_w * elapsed_s * 1e6), 0)

    thread = threading.Thread(target=update)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        for file, _, _ in files:
            os.close(file)


def mean_w(rows: list[Reading], channel: str) -> float:
    first, last = rows[0], rows[-1]
    seconds = (last.t_reply_ns - first.t_reply_ns) / 1e9
    return (last.values[channel] - first.values[channel]) / seconds


def wait_for(condition: object, within_s: float = 30.0) -> None:
    deadline = time.monotonic() + within_s
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_the_real_codecarbon_on_an_injected_tree(tmp_path: Path) -> None:
    rows: list[Reading] = []
    with constant_power(tmp_path / "sys"), RaplReader(tmp_path / "sys") as rapl:
        own = [rapl.read()]
        with CodeCarbon(
            rapl_root=tmp_path / "sys",
            measure_power_secs=0.25,
            output_dir=tmp_path,
            save_to_file=True,
        ) as tool:
            assert tool.cpu_mode == "intel_rapl"
            assert tool.file_window_ns is None
            wait_for(lambda: rows.extend(tool.drain()) or len(rows) >= 8)
            rows.extend(tool.finish())
            descriptor = tool.descriptor()
            window = tool.file_window_ns
        own.append(rapl.read())
    # Truth is known: the counters and the reader's own look at them agree with it.
    assert mean_w(own, "rapl_package_j") == pytest.approx(PACKAGE_W, rel=0.01)
    assert mean_w(rows, "codecarbon_cpu_j") == pytest.approx(PACKAGE_W, rel=0.02)
    assert [r.t_reply_ns for r in rows] == sorted({r.t_reply_ns for r in rows})
    assert all(r.t_request_ns < r.t_reply_ns for r in rows)

    assert descriptor.mode == "intel_rapl"
    assert descriptor.source == "codecarbon 3.3.2" or descriptor.source.startswith("codecarbon 3.")
    cpu = next(h for h in descriptor.configuration["hardware"] if h["class"] == "CPU")
    assert cpu["summed"] == ["intel-rapl:0"]
    assert descriptor.configuration["pue"] == 1.0
    inputs = {c.name: c.input for c in descriptor.channels}
    assert inputs["codecarbon_cpu_j"] == "codecarbon_cpu"
    assert inputs["codecarbon_total_j"] == "codecarbon_total"
    assert inputs["codecarbon_ram_j"] is None, "a constant times the duration is no input"
    assert descriptor.configuration["constant_times_duration"] == ["ram"]
    assert "codecarbon_gpu_j" not in inputs or any(
        h["class"] == "GPU" for h in descriptor.configuration["hardware"]
    )

    # Its own file holds the energy of the window that we say it covers.
    assert window is not None
    with open(tmp_path / "emissions.csv", newline="") as file:
        (line,) = csv.DictReader(file)
    seconds = (window[1] - window[0]) / 1e9
    assert float(line["cpu_energy"]) * 3.6e6 == pytest.approx(PACKAGE_W * seconds, rel=0.02)
    assert float(line["cpu_energy"]) * 3.6e6 == pytest.approx(
        rows[-1].values["codecarbon_cpu_j"], rel=1e-6
    )


def test_a_dying_codecarbon_is_an_error_of_its_own_after_its_last_row() -> None:
    rows: list[Reading] = []
    with CodeCarbon(measure_power_secs=0.2, id="second", inputs="codecarbon_self") as tool:
        assert tool.descriptor().stream == "second"
        assert "codecarbon_self_total" in {c.input for c in tool.descriptor().channels}
        assert tool.cpu_mode in ("cpu_load", "constant", "intel_rapl")
        wait_for(lambda: rows.extend(tool.drain()) or rows)
        os.kill(tool.pid, signal.SIGKILL)
        with pytest.raises(EstimatorError, match="ended by itself"):
            wait_for(lambda: rows.extend(tool.drain()))
    assert rows[0].fault is None


def test_a_tree_that_it_would_read_as_nothing_is_the_wrong_mode(tmp_path: Path) -> None:
    with constant_power(tmp_path / "sys", package="core"), pytest.raises(WrongMode, match="0 W"):
        CodeCarbon(rapl_root=tmp_path / "sys")


def test_a_silent_fallback_is_refused_unless_it_is_asked_for(tmp_path: Path) -> None:
    """CodeCarbon under test runs on this machine; `host` says what it ought to have found."""
    plain, counted, carded = (tmp_path / n for n in ("plain", "counted", "carded"))
    (counted / "sys/class/powercap/intel-rapl:0").mkdir(parents=True)
    (carded / "proc/driver/nvidia/gpus/0000:01:00.0").mkdir(parents=True)
    with CodeCarbon(host=plain) as tool:
        modes = {h["class"]: h for h in tool.descriptor().configuration["hardware"]}
    if modes["CPU"]["mode"] != "intel_rapl":
        with pytest.raises(WrongMode, match=r"RAPL counters, and it runs in .*chmod a\+r"):
            CodeCarbon(host=counted)
        with CodeCarbon(host=counted, fallback=True) as tool:
            assert tool.descriptor().mode == modes["CPU"]["mode"]
        with CodeCarbon(host=counted, options={"force_mode_cpu_load": True}) as tool:
            assert tool.cpu_mode == "cpu_load"
    if "GPU" not in modes:
        with pytest.raises(WrongMode, match="1 NVIDIA GPUs, and it reads none"):
            CodeCarbon(host=carded)


def test_its_modes_are_told_apart(tmp_path: Path) -> None:
    with CodeCarbon(host=tmp_path, options={"force_cpu_power": 65}) as tool:
        descriptor = tool.descriptor()
    # A power that is forced is a TDP to it, and its model of the load goes on top.
    (cpu,) = (h for h in descriptor.configuration["hardware"] if h["class"] == "CPU")
    assert (descriptor.mode, cpu["mode"], cpu["tdp_w"]) == ("cpu_load", "cpu_load", 65)
    assert descriptor.configuration["force_cpu_power"] == 65
    tool.mode = {**tool.mode, "hardware": [{**cpu, "mode": "constant"}]}
    inputs = {c.name: c.input for c in tool.descriptor().channels}
    assert inputs["codecarbon_cpu_j"] is None, "a constant times the duration is no input"


def test_gpus_are_recorded_by_card_and_a_change_of_mode_is_a_fault(
    tmp_path: Path, require: Callable[[str, bool, str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    require("gcc", shutil.which("gcc") is not None, "the simulated GPU library needs gcc")
    card = Gpu("NVIDIA A100-SXM4-40GB", "GPU-1", constant(200.0), A100)
    with Stage(tmp_path / "stage", Scene((), (card,))) as stage:
        library = nvml.build_library(tmp_path / "lib")
        monkeypatch.setenv("LD_LIBRARY_PATH", str(library))
        monkeypatch.setenv("PATH", f"{library}:{os.environ['PATH']}")
        monkeypatch.setenv("WATTCAL_NVML", str(stage.gpu_state))
        rows: list[Reading] = []
        with CodeCarbon(measure_power_secs=0.3, host=tmp_path) as tool:
            item = next(h for h in tool.mode["hardware"] if h["class"] == "GPU")
            assert item["gpus"] == {"GPU-1": "energy_counter"}
            wait_for(lambda: rows.extend(tool.drain()) or len(rows) >= 4)
            assert rows[-1].values["codecarbon_gpu_j"] > rows[0].values["codecarbon_gpu_j"] > 0
            state = stage.gpu_state.open("r+b")
            with state:  # the word `has_counter` of the first card: simulation/nvml.py
                state.seek(128 + 3 * 64 + 8 * 8)
                state.write(bytes(8))
            wait_for(lambda: rows.extend(tool.drain()) or rows[-1].fault)
    assert (rows[-1].values, (rows[-1].fault or "").split()[0]) == ({}, "mode_changed")


def test_a_tree_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotAvailable, match="RAPL"):
        CodeCarbon(rapl_root=tmp_path / "absent")


def test_a_folder_of_the_same_name_is_not_run_by_mistake(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "calibration").mkdir()
    (tmp_path / "calibration" / "__init__.py").write_text("raise SystemExit('shadowed')")
    monkeypatch.chdir(tmp_path)
    with CodeCarbon(measure_power_secs=0.2) as tool:
        assert tool.version.startswith("3.")


def load_of(*looks: tuple[float, float], cores: int = 4) -> CpuLoad:
    """CPU load that sees these (seconds, busy seconds), one look after the other."""
    clock = iter([0, *(round(t * 1e9) for t, _ in looks for _ in "ab")])
    busy = iter([b for _, b in looks])
    return CpuLoad(busy_s=lambda: next(busy), now_ns=lambda: next(clock), cores=cores)


def test_cpu_load_is_the_mean_since_the_last_reading() -> None:
    load = load_of((10, 100), (11, 101), (13, 107))
    assert load.read().values == {"cpu_load": 0.25}
    assert load.read().values == {"cpu_load": 0.75}


def test_ticks_of_the_moment_before_are_no_load_above_one() -> None:
    load = load_of((10, 100), (10.1, 100.41), (10.2, 100.81), (10.3, 102.0))
    assert load.read().values == {"cpu_load": 1.0}
    assert load.read().values["cpu_load"] == pytest.approx(1.0)
    assert load.read().fault == "implausible"


def test_cpu_times_that_go_back_are_a_fault() -> None:
    load = load_of((10, 100), (11, 99), (12, 103))
    assert load.read().fault == "reset"
    assert load.read().values == {"cpu_load": 1.0}


def test_times_that_cannot_be_read_leave_a_gap_of_two_rows() -> None:
    looks = iter([100.0, OSError(5, "gone"), 103.0, 104.0])
    instants = iter(range(0, 10**12, 5 * 10**8))

    def busy_s() -> float:
        look = next(looks)
        if isinstance(look, OSError):
            raise look
        return look

    load = CpuLoad(busy_s=busy_s, now_ns=lambda: next(instants), cores=4)
    assert [load.read().fault for _ in range(3)] == ["unreadable", "unreadable", None]


def test_busy_time_is_that_of_psutil_and_a_line_of_another_kind_is_a_fault(tmp_path: Path) -> None:
    t = psutil.cpu_times()
    busy_s = t.user + t.nice + t.system + t.irq + t.softirq
    here = ProcStat()
    assert here.busy_s() == pytest.approx(busy_s, abs=0.5)
    here.close()
    here.close()
    stat = tmp_path / "stat"
    stat.write_text("cpu  100 20 30 4000 7 5 6 800 0 0\ncpu0 9 9 9 9 9 9 9 9 0 0\n")
    made = ProcStat(stat)
    assert made.busy_s() == pytest.approx(161 / os.sysconf("SC_CLK_TCK"))
    load = CpuLoad(busy_s=made.busy_s, cores=2)
    stat.write_text("intr 5\n")
    assert load.read().fault == "unreadable"
    made.close()
    with pytest.raises(NotAvailable, match="Linux"):
        ProcStat(tmp_path / "none")


def test_cpu_load_of_this_machine_lies_between_0_and_1() -> None:
    load = CpuLoad()
    deadline = time.monotonic() + 0.3
    while time.monotonic() < deadline:
        sum(range(1000))
    value = load.read().values["cpu_load"]
    assert 0.0 < value <= 1.0
    (channel,) = load.descriptor().channels
    assert (channel.unit, channel.kind, channel.input) == ("1", "mean", "cpu_load")


def test_an_unknown_estimator_is_named_with_the_known_ones() -> None:
    with pytest.raises(InputError, match="codecarbon"):
        open_estimator("kepler")


@pytest.mark.parametrize("name", [n for n in ESTIMATORS if not n.startswith("codecarbon")])
def test_every_estimator_runs_here_or_says_what_to_do(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("WATTCAL_PEERS", raising=False)
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    try:
        estimator = open_estimator(f"{name}:mine")
    except CalibrationError as error:
        said, code = str(error), error.exit_code
    else:
        assert estimator.descriptor().stream == "mine"
        estimator.close()
        return
    assert code in (3, 4)
    assert len(said.split()) > 8, "a sentence, not a word"
    remedies = ("sudo", "Record", "make ", "PATH", "nvidia-smi", "https://", "powercap")
    assert any(remedy in said for remedy in remedies)
