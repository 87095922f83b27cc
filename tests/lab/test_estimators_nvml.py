"""NVML: every card by its UUID, counter and power apart, and no energy that nobody counted."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from calibration.analysis.averaging import averaging_window_s
from calibration.errors import NotAvailable
from calibration.estimators.nvml import NvmlReader
from calibration.estimators.renewal import looks, update_period_s
from calibration.simulation import namespace, nvml
from calibration.simulation.gpu import A100, RTX_3090, Gpu, GpuReadings, Sensor
from calibration.simulation.profile import PowerProfile, constant, staircase
from calibration.simulation.stage import Scene, Stage
from tests.lab.stub_library import load_library

Require = Callable[[str, bool, str], None]

OLD = Sensor(period_s=0.02, window_s=0.02, average_s=0.02, counts=False, fields=False)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return nvml.build_library(tmp_path_factory.mktemp("nvml") / "lib")


class Lab:
    """GPUs in this very process, in a time of their own: asleep means that the cards go on."""

    def __init__(self, folder: Path, cards: list[Gpu]) -> None:
        self.ns, self.cards = 10**12, cards
        self.state = nvml.NvmlState(folder / "gpus.bin", [c.describe() for c in cards])
        self._readings = [GpuReadings(c) for c in cards]
        self.started_ns = self.ns
        self.write()

    def write(self) -> None:
        for index, readings in enumerate(self._readings):
            self.state.write(index, readings.at((self.ns - self.started_ns) / 1e9, 0.0))

    def now_ns(self) -> int:
        return self.ns

    def sleep(self, seconds: float) -> None:
        self.ns += round(seconds * 1e9)
        self.write()

    def reader(self, **options: Any) -> NvmlReader:
        return NvmlReader(now_ns=self.now_ns, sleep=self.sleep, **options)


@pytest.fixture
def lab(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, require: Require,
    request: pytest.FixtureRequest,
) -> Callable[[list[Gpu]], Lab]:  # fmt: skip
    require("gcc", shutil.which("gcc") is not None, "the simulated GPU library needs gcc")
    built: Path = request.getfixturevalue("built")
    load_library(built, tmp_path, tmp_path / "gpus.bin", monkeypatch)
    return lambda cards: Lab(tmp_path, cards)


def gpu(sensor: Sensor, truth: PowerProfile, uuid: str = "GPU-1", name: str = "RTX 3090") -> Gpu:
    return Gpu(f"NVIDIA {name}", uuid, truth, sensor)


def test_energy_of_all_cards_is_the_counters_difference(lab: Callable[[list[Gpu]], Lab]) -> None:
    machine = lab([gpu(RTX_3090, constant(300.0), "GPU-a"), gpu(RTX_3090, constant(50.0), "GPU-b")])
    with machine.reader() as reader:
        before = reader.read()
        machine.sleep(60.0)
        after = reader.read()
        descriptor = reader.descriptor()
    # The counter is renewed every 0.1 s: 35 J at most on either side.
    assert after.values["nvml_j"] - before.values["nvml_j"] == pytest.approx(60 * 350.0, abs=35.1)
    assert after.values["GPU-b_j"] - before.values["GPU-b_j"] == pytest.approx(3000.0, abs=5.1)
    assert after.values["GPU-a_instant_w"] == 300.0
    assert after.values.keys() == {c.name for c in descriptor.channels}
    assert {c.name: c.input for c in descriptor.channels if c.input} == {"nvml_j": "nvml"}
    assert (descriptor.mode, descriptor.scope[0]) == ("energy_counter", "NVIDIA RTX 3090 GPU-a")


def test_what_a_card_is_and_how_it_reads_stand_in_the_descriptor(
    lab: Callable[[list[Gpu]], Lab],
) -> None:
    machine = lab([gpu(A100, constant(200.0), name="A100-SXM4-40GB")])
    machine.state.write(0, {"mig": 1})
    with machine.reader() as reader:
        descriptor = reader.descriptor()
    assert descriptor.configuration["driver"] == "550.54.15"
    assert descriptor.configuration["gpus"]["GPU-1"] == {
        "name": "NVIDIA A100-SXM4-40GB",
        "vbios": "92.00.45.00.03",
        "architecture": 7,
        "power_limit_w": 400.0,
        "mig": True,
        "energy_counter": True,
        "powers": ["instant_w", "average_w"],
        "summed": "counter",
        "update_period_s": pytest.approx(0.1, rel=0.01),
    }
    energy = descriptor.channels[0]
    assert (energy.observed_share, energy.assumed) == (0.25, ("observed_share",))


@pytest.mark.parametrize(
    ("name", "share"),
    [("A100-SXM4-40GB", 0.25), ("H100 80GB HBM3", 0.25), ("RTX A1000", 1.0), ("A10G", 1.0)],
)
def test_only_the_published_sensors_look_part_of_the_time(
    lab: Callable[[list[Gpu]], Lab], name: str, share: float
) -> None:
    with lab([gpu(A100, constant(60.0), name=name)]).reader(look_s=0.0) as reader:
        assert reader.descriptor().channels[0].observed_share == share


def test_a_card_without_counter_or_fields_is_read_by_its_power(
    lab: Callable[[list[Gpu]], Lab],
) -> None:
    machine = lab(
        [gpu(OLD, staircase([90.0, 40.0], 30.0), "GPU-old"), gpu(A100, constant(60.0), "GPU-new")]
    )
    with machine.reader() as reader:
        descriptor = reader.descriptor()
        values = reader.read().values
    assert descriptor.mode == "power"
    assert descriptor.channels[0].kind == "instant"
    gpus = descriptor.configuration["gpus"]
    assert gpus["GPU-old"]["powers"] == ["power_w"]
    assert gpus["GPU-old"]["update_period_s"] is None, "its power did not change while we looked"
    assert gpus["GPU-new"]["summed"] == "instant_w"
    assert values["nvml_w"] == 150.0
    assert values["GPU-old_power_w"] == 90.0


def test_instant_and_average_are_told_apart_after_a_step(
    lab: Callable[[list[Gpu]], Lab],
) -> None:
    machine = lab([gpu(RTX_3090, staircase([100.0, 300.0], 5.0))])
    t_ns, instant, average = [], [], []
    with machine.reader(look_s=0.0) as reader:
        for _ in range(1000):
            machine.sleep(0.01)
            reading = reader.read()
            t_ns.append(reading.t_reply_ns)
            instant.append(reading.values["GPU-1_instant_w"])
            average.append(reading.values["GPU-1_average_w"])
    at_ns = np.array(t_ns)
    assert averaging_window_s(at_ns, np.array(average)) == pytest.approx(1.0, rel=0.03)
    assert averaging_window_s(at_ns, np.array(instant)) is None, "no longer than its update"


def test_a_lost_card_is_a_fault_and_comes_back_with_its_energy(
    lab: Callable[[list[Gpu]], Lab],
) -> None:
    machine = lab([gpu(RTX_3090, constant(100.0))])
    with machine.reader() as reader:
        before = reader.read()
        machine.state.write(0, {"lost": 1})
        machine.sleep(0.1)
        assert [reader.read().fault, reader.read().fault] == ["gpu_lost", "gone"]
        machine.sleep(2.0)
        assert reader.read().fault == "gpu_lost", "looked up again a second later"
        machine.state.write(0, {"lost": 0})
        machine.sleep(2.0)
        after = reader.read()
    assert after.fault is None
    energy_j = after.values["nvml_j"] - before.values["nvml_j"]
    assert energy_j == pytest.approx(410.0, abs=10.1), "the counter went on meanwhile"


@pytest.mark.parametrize(
    ("counter_mj", "fault"),
    [(40_000, "reset GPU-1"), (1_000_000_000, "went_back GPU-1"), (2**41, "implausible GPU-1")],
)
def test_a_counter_that_no_energy_explains_is_a_named_fault(
    lab: Callable[[list[Gpu]], Lab], counter_mj: int, fault: str
) -> None:
    machine = lab([gpu(RTX_3090, constant(100.0))])
    with machine.reader() as reader:
        machine.sleep(10.0)
        assert reader.read().values["nvml_j"] > 900.0
        machine.sleep(1.0)
        machine.state.write(0, {"energy_mj": counter_mj})
        reading = reader.read()
        assert (reading.fault, reading.values) == (fault, {})
        machine.state.write(0, {"energy_mj": counter_mj + 50_000})
        assert reader.read().values["nvml_j"] == 50.0, "it begins again"


def test_a_machine_without_cards_or_library_says_what_to_do(
    lab: Callable[[list[Gpu]], Lab], monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = lab([])
    with pytest.raises(NotAvailable, match="found no GPU"):
        machine.reader()
    import pynvml

    def missing(name: str) -> None:
        raise OSError(f"{name}: cannot open shared object file")

    monkeypatch.setattr(pynvml, "nvmlLib", None)
    monkeypatch.setattr(pynvml, "CDLL", missing)
    with pytest.raises(NotAvailable, match="nvidia-smi"):
        machine.reader()


READ = """
import json, sys, time
from calibration.estimators.nvml import NvmlReader
with NvmlReader() as reader:
    first = reader.read(); time.sleep(1.5); last = reader.read()
    print(json.dumps({
        "seconds": (last.t_reply_ns - first.t_reply_ns) / 1e9,
        "joules": last.values["nvml_j"] - first.values["nvml_j"],
        "period_s": reader.descriptor().configuration["gpus"]["GPU-1"]["update_period_s"],
    }))
"""


def test_in_a_process_of_its_own_it_reads_the_stage(
    tmp_path: Path, require: Require, request: pytest.FixtureRequest
) -> None:
    require("gcc", shutil.which("gcc") is not None, "the simulated GPU library needs gcc")
    with Stage(tmp_path / "stage", Scene((), (gpu(RTX_3090, constant(200.0)),))) as stage:
        environment = namespace.environment(
            tmp_path,
            sysfs=None,
            library=request.getfixturevalue("built"),
            state=stage.gpu_state,
        )
        done = subprocess.run(
            [sys.executable, "-c", READ], env=environment, capture_output=True, text=True
        )
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    # Two updates of 20 J, as a busy machine may delay them.
    assert said["joules"] == pytest.approx(200.0 * said["seconds"], abs=45.0)
    # Where a busy machine does not let it look at each renewal, it says that it does not know.
    assert said["period_s"] is None or said["period_s"] == pytest.approx(0.1, rel=0.2)


def sampled(every_s: float, last_s: float, value: Callable[[float], float]) -> Any:
    times = [i * every_s for i in range(round(last_s / every_s))]
    return [round(t * 1e9) for t in times], [value(t) for t in times]


def test_the_update_period_counts_what_repeats_and_does_not_guess() -> None:
    def held(period_s: float) -> Callable[[float], float]:
        return lambda t: (7 * int(t / period_s)) % 5 + 100.0

    assert update_period_s(*sampled(0.003, 3.0, held(0.1))) == pytest.approx(0.1, rel=0.01)
    # Some renewals bring the number that stood there already.
    quiet = sampled(0.003, 6.0, lambda t: float(int(t / 0.1) % 3 == 0))
    assert update_period_s(*quiet) == pytest.approx(0.1, rel=0.01)
    assert update_period_s(*sampled(0.08, 5.0, held(0.1))) is None, "looked at too seldom"
    assert update_period_s(*sampled(0.01, 0.3, held(0.1))) is None, "two changes are no measure"
    assert update_period_s([], []) is None


def test_looking_ends_early_once_enough_was_seen() -> None:
    clock = [0]
    numbers = iter(range(1000))

    def sleep(seconds: float) -> None:
        clock[0] += round(seconds * 1e9)

    t_ns, _ = looks(
        lambda: float(next(numbers)), last_s=60.0, every_s=0.1, now_ns=lambda: clock[0], sleep=sleep
    )
    assert len(t_ns) == 13
