"""What is wrong with real recordings, found without being named; and not found elsewhere."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from calibration.analysis import fit_points, run_points
from calibration.analysis.findings import load_period, update_period
from calibration.analysis.points import concatenate
from calibration.recording.documents import ChannelInfo, Descriptor, Step
from calibration.recording.importer import import_mapping
from calibration.recording.reader import Run, read_run
from calibration.recording.writer import RunWriter, new_start
from calibration.simulation.gpu import A100, RTX_3090, Gpu, GpuReadings, Sensor
from calibration.simulation.profile import square as square_power

DATASETS = Path(__file__).resolve().parents[2] / "datasets"


def recordings(name: str, data: Path, into: Path, only: str = "") -> dict[str, Run]:
    """Import a data set, or those of its runs whose id matches `only`."""
    text = (DATASETS / name / "dataset.toml").read_text(encoding="utf-8")
    head, *runs = text.split("[[run]]\n")
    last, *files = runs[-1].split("# --- files\n")
    runs = [r for r in [*runs[:-1], last] if re.search(f'id = "(?:{only})', r)]
    mapping = into / name / "dataset.toml"
    mapping.parent.mkdir()
    mapping.write_text("[[run]]\n".join([head, *runs]) + "".join(files), encoding="utf-8")
    paths = import_mapping(mapping, data=data, into=into / "runs")
    return {p.name.removeprefix(f"{name}-"): read_run(p) for p in paths}


def codes(run: Run) -> set[str]:
    return {f.code for f in run_points([run]).findings}


def square(period_s: float, n: int = 4000, step_s: float = 0.001) -> tuple[np.ndarray, ...]:
    start = (np.arange(n) * step_s * 1e9).astype(np.int64)
    end = start + round(step_s * 1e9)
    rng = np.random.default_rng(3)
    power = 100.0 + 200.0 * ((start / 1e9) % period_s < period_s / 2) + rng.normal(0, 5, n)
    return start, end, power


@pytest.mark.parametrize("period_s", [0.05, 0.1, 0.37])
def test_the_period_of_a_square_load_is_found(period_s: float) -> None:
    assert load_period(*square(period_s)) == pytest.approx(period_s, abs=0.0015)


def test_noise_and_a_single_step_have_no_period() -> None:
    start, end, _ = square(0.1)
    rng = np.random.default_rng(4)
    assert load_period(start, end, rng.normal(100, 5, start.size)) is None
    assert load_period(start, end, np.where(start < start[-1] // 3, 100.0, 300.0)) is None


def test_the_update_period_counts_changes_not_readings() -> None:
    t = np.arange(0, 10_000, 10, dtype=np.int64) * 1_000_000
    assert update_period(t, np.floor(np.arange(t.size) / 10)) == pytest.approx(0.1)
    assert update_period(t, np.zeros(t.size)) is None


def test_the_part_time_sensor_of_an_a100_is_found_and_an_averaging_one_is_not(
    wattcal_data: Path, tmp_path: Path
) -> None:
    runs = recordings("gpu-pmdusb-nvidiasmi", wattcal_data, tmp_path, "pulses|transient")
    assert codes(runs["pulses-a100"]) == {"aliased_load"}
    assert codes(runs["pulses-3090"]) == codes(runs["transient-a100"]) == set()
    result = fit_points(run_points([runs["pulses-a100"], runs["transient-a100"]]), ("nvml",))
    assert result.verdict == "refused"
    assert "aliased_load" in {r.code for r in result.reasons if r.consequence == "refuse"}


def test_the_cpu_node_shows_its_lag_its_unseen_part_and_its_baselines(
    wattcal_data: Path, tmp_path: Path
) -> None:
    runs = recordings("grid5000-gemini-cpu", wattcal_data, tmp_path, ".*T.[0369]")
    tables = [run_points([run]) for run in runs.values()]
    lags = [t.inputs["rapl"].lag for t in tables]
    assert all(lag is not None and lag.resolved for lag in lags)
    assert np.median([lag.offset_s for lag in lags if lag]) == pytest.approx(0.95, abs=0.06)
    points = concatenate(tables)
    result = fit_points(points, ("rapl",), scheme="session")
    assert result.verdict == "correction"
    assert {"moved_baseline", "unseen_component"} <= {r.code for r in result.reasons}


def pulsed(path: Path, sensor: Sensor | None, period_s: float) -> Run:
    """Write 20 s of a square load behind a meter at 100 Hz, and a counter beside it.

    The counter is that of a GPU with this sensor, with its power beside it, or (None) of RAPL,
    which counts everything; the run says of no step that its load is pulsed.
    """
    truth = square_power(100.0, 400.0, period_s, 20.0)
    card = GpuReadings(Gpu("NVIDIA", "GPU-1", truth, sensor or RTX_3090))
    key = "rapl_package" if sensor is None else "nvml"
    counter = ChannelInfo(name=f"{key}_j", quantity="energy", unit="J", kind="counter",
                          resolution=0.001, input=key)  # fmt: skip
    power = ChannelInfo(name="GPU-1_instant_w", quantity="power", unit="W", kind="instant")
    with RunWriter.create(path, start=new_start("simulated", "s"), live=False) as writer:
        meter = writer.open_stream(
            Descriptor(
                stream="wall", role="meter", source="made", boundary="psu_ac_input",
                cadence_s=0.01,
                channels=(ChannelInfo(name="power_w", quantity="active_power", unit="W",
                                      kind="mean", window_s=0.01, resolution=0.01),),
            )
        )  # fmt: skip
        tool = writer.open_stream(
            Descriptor(
                stream=key, role="estimator", source=key, cadence_s=0.1,
                channels=(counter,) if sensor is None else (counter, power),
            )
        )  # fmt: skip
        for k in range(1, 2000):
            t_ns = k * 10_000_000
            wall_w = 40.0 + truth.energy_j(k / 100 - 0.01, k / 100) / 0.01
            meter.append(t_ns, t_ns, {"power_w": wall_w})
            if k % 10 == 0:
                words = card.at(k / 100, 0.0)
                values = {"rapl_package_j": truth.energy_j(0.0, k / 100)}
                if sensor is not None:
                    values = {"nvml_j": words["energy_mj"] / 1000}
                    values["GPU-1_instant_w"] = words["instant_mw"] / 1000
                tool.append(t_ns, t_ns, values)
        writer.step(
            Step(index=0, workload="pulses", level=0.5, t_start_ns=10_000_000,
                 t_end_ns=19_990_000_000, settle_s=1.0)
        )  # fmt: skip
    return read_run(path)


@pytest.mark.parametrize("period_s", [0.11, 0.23])
def test_pulses_that_nobody_told_of_are_found_beside_an_energy_counter(
    period_s: float, tmp_path: Path
) -> None:
    """By the power that the card shows beside it; what counts everything is not accused."""
    found = {
        name: run_points([pulsed(tmp_path / name, sensor, period_s)]).findings
        for name, sensor in (("a100", A100), ("rtx", RTX_3090), ("rapl", None))
    }
    assert {n: {f.code for f in fs} for n, fs in found.items()} == {
        "a100": {"aliased_load"},
        "rtx": set(),
        "rapl": set(),
    }
    assert found["a100"][0].inputs == ("nvml",)
