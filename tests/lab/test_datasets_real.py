"""The three public recordings give their published numbers through the ordinary import."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from calibration.cli import main
from calibration.instruments import decode_pmd_usb
from calibration.recording.check import check_run
from calibration.recording.importer import import_mapping
from calibration.recording.mapping_file import read_mapping
from calibration.recording.reader import read_run

ROOT = Path(__file__).resolve().parents[2]
DATASETS = ROOT / "datasets"


@pytest.mark.parametrize(
    "path", sorted(DATASETS.glob("*/dataset.toml")), ids=lambda p: p.parent.name
)
def test_every_description_is_complete(path: Path) -> None:
    mapping = read_mapping(path)
    assert mapping.name == path.parent.name
    assert mapping.data_kind == "measured"
    assert mapping.commit is not None
    assert len(mapping.commit) == 40
    assert mapping.url is not None
    assert mapping.url.startswith("https://raw.githubusercontent.com/")
    for file in mapping.files:
        assert file.sha256 is not None, file.file


def test_gmt_gives_the_energies_of_its_recorders(wattcal_data: Path, tmp_path: Path) -> None:
    (path,) = import_mapping(
        DATASETS / "gmt-mcp39f511-rapl" / "dataset.toml", data=wattcal_data, into=tmp_path
    )
    assert check_run(path) == ()
    run = read_run(path)
    wall = run.series("wall", "power_w")
    assert wall.window_ns is not None
    assert wall.window_ns[0] == 0  # nobody knows what the first value averages
    energy_j = float(np.sum(wall.value * wall.window_ns / 1e9))
    assert energy_j == pytest.approx(13_175.8, abs=0.05)
    assert energy_j / 470 == pytest.approx(28.033, abs=0.001)  # as the recorders assert it
    assert float(wall.window_ns.sum() / 1e9) == pytest.approx(458.447, abs=0.001)
    package = run.series("rapl_package", "energy_j")
    assert package.channel.kind == "counter"
    assert package.value[-1] == pytest.approx(5_495.149, abs=1e-9)
    assert package.value[-1] / 470 == pytest.approx(11.692, abs=0.001)
    load = run.series("cpu_load", "load")
    assert load.value.min() == 0.0
    assert load.value.max() == 1.0
    assert set(run.inputs()) == {"rapl_package", "rapl_dram", "cpu_load"}
    assert run.clocks[0].wall_ns == run.clocks[0].monotonic_ns == run.start.t_wall_ns
    assert run.steps == ()


def test_power9_rows_are_phases_with_their_own_windows(wattcal_data: Path, tmp_path: Path) -> None:
    (path,) = import_mapping(
        DATASETS / "power9-occ-psu-pdu" / "dataset.toml", data=wattcal_data, into=tmp_path
    )
    run = read_run(path)
    psu, occ, pdu = (run.series(s, "power_w") for s in ("psu", "occ", "pdu"))
    published = np.loadtxt(
        wattcal_data / "power9-occ-psu-pdu" / "input_vs_occ_reported_sum.dat", skiprows=1
    )
    np.testing.assert_allclose(psu.value, published[:, 0], rtol=1e-12)
    np.testing.assert_allclose(occ.value, published[:, 1], rtol=1e-12)
    assert psu.window_ns is not None
    assert psu.value.size == len(run.steps) == 308
    for i, step in enumerate(run.steps):  # a step is exactly the window of its row
        assert step.t_end_ns == psu.t_ns[i]
        assert step.t_start_ns == psu.t_ns[i] - psu.window_ns[i]
    assert [s.workload for s in run.steps[::44]] == [
        f"kernel-{k}" for k in (4, 14, 5, 13, 10, 7, 8)
    ]
    assert [s.level for s in run.steps[43:46]] == [44.0, 1.0, 2.0]
    late = pdu.value - psu.value
    assert np.flatnonzero(late > 250).tolist() == [44, 88, 132, 176, 220, 264]
    assert run.meters() == ("psu", "pdu")
    assert run.clocks == ()


def test_gpu_raw_bytes_become_the_power_of_the_used_rails(
    wattcal_data: Path, tmp_path: Path
) -> None:
    runs = import_mapping(
        DATASETS / "gpu-pmdusb-nvidiasmi" / "dataset.toml", data=wattcal_data, into=tmp_path
    )
    assert len(runs) == 5
    by_name = {p.name.removeprefix("gpu-pmdusb-nvidiasmi-"): p for p in runs}
    folder = wattcal_data / "gpu-pmdusb-nvidiasmi" / "5050" / "3090"
    run = read_run(by_name["pulses-3090"])
    samples = decode_pmd_usb((folder / "PMD_data.bin").read_bytes())
    scale = {"pcie1": 0.007568, "pcie2": 0.007568, "eps1": 0.0075}
    expected = sum(
        samples.columns[f"{rail}_v"] * volt * (samples.columns[f"{rail}_i"] * 0.0488)
        for rail, volt in scale.items()
    )
    power = run.series("pmd", "power_w")
    assert power.value.size == 47_940
    np.testing.assert_allclose(power.value, expected, rtol=1e-12)
    start_ns = int((folder / "PMD_start_ts.txt").read_text()) * 1000 - 50_000_000
    ticks = samples.device_ticks - samples.device_ticks[0]
    np.testing.assert_allclose(power.t_ns - start_ns, ticks / 2934.5e-6, atol=2)
    smi = run.series("nvidia_smi", "power_w")
    # 19:28:27.236 in British summer time
    assert smi.t_ns[0] == 1_688_840_907_236_000_000
    assert smi.value[:2].tolist() == [126.96, 126.96]

    # The unused connectors read noise, the used ones do not (mean current in A).
    for name, used in (
        ("transient-3090", {"pcie1", "pcie2", "eps1"}),
        ("transient-a100", {"eps1", "eps2"}),
        ("transient-k40m", {"pcie1", "pcie2", "eps1"}),
    ):
        run = read_run(by_name[name])
        (derived,) = run.descriptors["pmd"].derived
        assert {term[0].removesuffix("_v") for term in derived.terms} == used
        for rail in ("pcie1", "pcie2", "eps1", "eps2"):
            counts = run.series("pmd", f"{rail}_i").value.mean() / 0.0488
            assert (counts > 10) == (rail in used), (name, rail, counts)
            assert rail in used or 1.4 < counts < 2.9

    # nvidia-smi over the PMD, load minus idle: what the authors published per GPU (driver of the
    # recording not stated), to 1 %.
    for name, published in (("3090", 0.944), ("a100", 0.954), ("k40m", 1.024)):
        run = read_run(by_name[f"transient-{name}"])
        means = []
        for stream in ("nvidia_smi", "pmd"):
            series = run.series(stream, "power_w")
            by_step = []
            for step in run.steps:
                begin = step.t_start_ns + round(step.settle_s * 1e9)
                inside = (series.t_ns >= begin) & (series.t_ns <= step.t_end_ns)
                by_step.append(series.value[inside].mean())
            means.append(by_step[1] - by_step[2])
        assert means[0] / means[1] == pytest.approx(published, rel=0.01)


def test_importing_twice_gives_the_same_run(wattcal_data: Path, tmp_path: Path) -> None:
    mapping = DATASETS / "power9-occ-psu-pdu" / "dataset.toml"
    (first,) = import_mapping(mapping, data=wattcal_data, into=tmp_path / "a")
    (second,) = import_mapping(mapping, data=wattcal_data, into=tmp_path / "b")
    for name in sorted(p.name for p in first.iterdir()):
        ours, theirs = (first / name).read_bytes(), (second / name).read_bytes()
        assert hashlib.sha256(ours).digest() == hashlib.sha256(theirs).digest(), name


def test_the_commands_show_and_check_what_they_imported(
    wattcal_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mapping = str(DATASETS / "gmt-mcp39f511-rapl" / "dataset.toml")
    out = str(tmp_path / "runs")
    assert main(["import", mapping, "--data", str(wattcal_data), "-o", out, "--json"]) == 0
    (run,) = json.loads(capsys.readouterr().out)["runs"]
    assert main(["runs", "show", run, "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    wall, package, _, load = shown["streams"]
    assert wall["channels"][0]["energy_j"] == pytest.approx(13_175.8, abs=0.05)
    assert wall["channels"][0]["mean_w"] == pytest.approx(28.74, abs=0.005)
    assert package["channels"][0]["last_register_j"] == pytest.approx(5_495.149)
    assert package["channels"][0]["mean_w"] == pytest.approx(12.04, abs=0.005)
    assert load["channels"][0]["energy_j"] is None
    assert main(["runs", "show", run]) == 0
    assert "13,175.8" in capsys.readouterr().out
    assert main(["runs", "list", out, "--json"]) == 0
    assert [r["run"] for r in json.loads(capsys.readouterr().out)] == [run]
    assert main(["runs", "check", run]) == 0
    (Path(run) / "wall.parquet").unlink()
    capsys.readouterr()
    assert main(["runs", "check", run, "--json"]) == 3
    (checked,) = json.loads(capsys.readouterr().out)
    assert checked == {"run": run, "whole": False, "findings": ["wall.parquet is missing"]}
