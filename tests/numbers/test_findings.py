"""What is wrong with real recordings, found without being named; and not found elsewhere."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from calibration.analysis import fit_points, run_points
from calibration.analysis.findings import load_period, update_period
from calibration.analysis.points import concatenate
from calibration.recording.importer import import_mapping
from calibration.recording.reader import Run, read_run

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
