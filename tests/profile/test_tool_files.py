"""Files of tools: every schema of CodeCarbon, plain CSV, and everything that is broken."""

from __future__ import annotations

from pathlib import Path

import pytest

from calibration import InputError
from calibration._profile.versions import in_range
from calibration.toolfiles import ToolRow, codecarbon_row, overlapping, read_tool_file

# The columns as CodeCarbon 2.0.0 and 3.3.2 write them, and those of 1.0 (2021).
V3 = (
    "timestamp,project_name,run_id,experiment_id,duration,emissions,emissions_rate,cpu_power,"
    "gpu_power,ram_power,cpu_energy,gpu_energy,ram_energy,energy_consumed,water_consumed,"
    "country_name,country_iso_code,region,cloud_provider,cloud_region,os,python_version,"
    "codecarbon_version,cpu_count,cpu_model,gpu_count,gpu_model,longitude,latitude,"
    "ram_total_size,tracking_mode,cpu_utilization_percent,gpu_utilization_percent,"
    "ram_utilization_percent,ram_used_gb,on_cloud,pue,wue"
)
ROW3 = (
    "2026-11-22T21:57:57,a,19535289-96c3,5b0fa12a,3613.5,9.7e-07,3.2e-07,0.8,0.0,20.0,"
    "0.0843,0.0,0.02,0.1043,0.0,France,FRA,,,,Linux-6.1.0-x86_64-with-glibc2.36,3.11.7,3.3.2,2,"
    '"Intel(R) Xeon(R), 2.00GHz",0,,,,23.5,machine,0.25,0,1.8,0.43,N,1.0,0.0'
)
V2 = (
    "timestamp,project_name,run_id,duration,emissions,emissions_rate,cpu_power,gpu_power,"
    "ram_power,cpu_energy,gpu_energy,ram_energy,energy_consumed,country_name,country_iso_code,"
    "region,cloud_provider,cloud_region,os,python_version,cpu_count,cpu_model,gpu_count,"
    "gpu_model,longitude,latitude,ram_total_size,tracking_mode,on_cloud"
)
ROW2 = (
    "2022-02-01T10:00:00,a,run2,600,1e-6,1e-9,40,0,5,0.007,0,0.001,0.008,France,FRA,,,,"
    "Linux-5.10,3.9.2,8,Intel,,,2.1,48.1,31.2,machine,N"
)
V1 = (
    "timestamp,experiment_id,project_name,duration,emissions,energy_consumed,country_name,"
    "country_iso_code,region,on_cloud,cloud_provider,cloud_region"
)
ROW1 = "2021-03-01T10:00:00,e1,a,600,1e-6,0.008,France,FRA,,N,,"


def write(tmp_path: Path, *lines: str, end: str = "\n") -> Path:
    path = tmp_path / "file.csv"
    path.write_text("\n".join(lines) + end, encoding="utf-8")
    return path


def test_codecarbon_of_today(tmp_path: Path) -> None:
    file = read_tool_file(write(tmp_path, V3, ROW3))
    (row,) = file.rows
    assert file.tool == "codecarbon"
    assert file.sha256.startswith("sha256:")
    assert row.id == "19535289-96c3"
    assert row.duration_s == 3613.5
    assert row.duration_u_s == 0.5
    assert row.energies_j["cpu_energy"] == pytest.approx(0.0843 * 3.6e6)
    assert row.energies_j["energy_consumed"] == pytest.approx(0.1043 * 3.6e6)
    assert row.facts["codecarbon_version"] == "3.3.2"
    assert row.facts["cpu_model"] == "Intel(R) Xeon(R), 2.00GHz"
    assert row.end_s is not None
    assert row.start_s == row.end_s - 3613.5
    assert row.flags == ()


@pytest.mark.parametrize(("header", "row"), [(V2, ROW2), (V1, ROW1)])
def test_codecarbon_of_old(tmp_path: Path, header: str, row: str) -> None:
    (read,) = read_tool_file(write(tmp_path, header, row)).rows
    assert read.energies_j["energy_consumed"] == pytest.approx(0.008 * 3.6e6)
    assert "codecarbon_version" not in read.facts
    assert "pue" not in read.facts
    assert ("cpu_energy" in read.energies_j) == (header is V2)


def test_the_same_in_any_order_of_columns(tmp_path: Path) -> None:
    import csv
    import io

    values = next(csv.reader(io.StringIO(ROW3)))
    pairs = list(zip(V3.split(","), values, strict=True))[::-1]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([p[0] for p in pairs])
    writer.writerow([p[1] for p in pairs])
    path = tmp_path / "r.csv"
    path.write_text("\ufeff" + text.getvalue(), encoding="utf-8")
    (row,) = read_tool_file(path).rows
    assert row.energies_j["cpu_energy"] == pytest.approx(0.0843 * 3.6e6)
    assert codecarbon_row(dict(pairs)).energies_j == row.energies_j


def test_missing_is_missing_not_zero(tmp_path: Path) -> None:
    for nothing in ("", "nan", "NaN", "None"):
        line = ROW3.replace("0.0843", nothing)
        (row,) = read_tool_file(write(tmp_path, V3, line)).rows
        assert "cpu_energy" not in row.energies_j


def test_a_short_run_is_said(tmp_path: Path) -> None:
    (row,) = read_tool_file(write(tmp_path, V3, ROW3.replace("3613.5", "59.9"))).rows
    assert row.flags == ("short",)


def test_every_cut_is_seen(tmp_path: Path) -> None:
    """A file cut at any byte is refused, or flagged where only the last cell can have suffered."""
    whole = f"{V3}\n{ROW3}\n{ROW3}\n"
    path = tmp_path / "cut.csv"
    full = read_tool_file(write(tmp_path, V3, ROW3, ROW3)).rows
    for cut in range(len(V3) + len(ROW3) + 2, len(whole)):
        path.write_text(whole[:cut], encoding="utf-8")
        try:
            rows = read_tool_file(path).rows
        except InputError as error:
            assert str(path) in str(error)  # noqa: PT017
            continue
        if len(rows) == 2:
            assert "unterminated" in rows[1].flags
            assert rows[1].energies_j == full[1].energies_j
        else:
            assert len(rows) == 1
            assert rows[0].energies_j == full[0].energies_j


@pytest.mark.parametrize(
    ("lines", "named"),
    [
        ((), "empty"),
        ((V3,), "rows under a header"),
        ((V3, ROW3[:150]), ":2: Expected 38 fields"),
        ((V3, ROW3, ROW3 + ",7"), ":3: Expected 38 fields, as in the header; got 39"),
        ((V3, ROW3.replace("3613.5", "")), "duration; it is missing"),
        ((V3, ROW3.replace("3613.5", "nan")), "duration; it is missing"),
        ((V3, ROW3.replace("3613.5", "0")), "above 0"),
        ((V3, ROW3.replace("3613.5", "inf")), "finite"),
        ((V3, ROW3.replace("3613.5", "-3")), "at least 0"),
        ((V3, ROW3.replace("3613.5", "abc")), "got 'abc'"),
        ((V3, ROW3.replace("0.0843", "-1")), "cpu_energy"),
        ((V3, ROW3.replace("0.0843", '"0,0843"')), "decimal point"),
        ((V3, ROW3.replace("2026-11-22T21:57:57", "yesterday")), "instant"),
        ((V3, ROW3.replace('2.00GHz"', "2.00GHz")), "CSV"),
        ((V3.replace("gpu_power", "cpu_power"), ROW3), "'cpu_power' twice"),
        (("a,b,c", "1,2,3"), "duration_s"),
        ((V3.replace(",", ";"), ROW3), "separated by ';'"),
    ],
)
def test_what_cannot_be_read(tmp_path: Path, lines: tuple[str, ...], named: str) -> None:
    path = write(tmp_path, *lines, end="\n" if lines else "")
    with pytest.raises(InputError) as caught:
        read_tool_file(path)
    assert named in str(caught.value)
    assert str(path) in str(caught.value)


def test_no_text_and_no_file(tmp_path: Path) -> None:
    path = tmp_path / "b.csv"
    path.write_bytes(V3.encode() + b"\n\xff\xfe\n")
    with pytest.raises(InputError, match=":2: Expected UTF-8"):
        read_tool_file(path)
    with pytest.raises(InputError, match="No such file"):
        read_tool_file(tmp_path / "none.csv")
    with pytest.raises(InputError, match="no duration"):
        codecarbon_row({"timestamp": "x", "energy_consumed": "1"})


def test_two_files_one_after_the_other(tmp_path: Path) -> None:
    assert len(read_tool_file(write(tmp_path, V3, ROW3, V3, "", ROW3)).rows) == 2


def test_plain_csv_in_any_unit(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "id,start_unix_s,duration_s,rapl_package_wh,nvml_kwh,codecarbon_w,cpu_load,"
        "codecarbon_mode,session,workload,comment",
        "one,100,7200,100,0.5,40,0.25,intel_rapl,s1,int,hello",
    )
    file = read_tool_file(path)
    (row,) = file.rows
    assert file.tool == "csv"
    assert row.energies_j == {
        "rapl_package": 360_000.0,
        "nvml": 1_800_000.0,
        "codecarbon_total": 288_000.0,
    }
    assert row.ratios == {"cpu_load": 0.25}
    assert row.facts == {"codecarbon_mode": "intel_rapl"}
    assert (row.id, row.start_s, row.session, row.workload) == ("one", 100.0, "s1", "int")
    assert row.duration_u_s == 0


def test_plain_csv_with_one_input_twice(tmp_path: Path) -> None:
    path = write(tmp_path, "duration_s,nvml_j,nvml_wh", "10,3600,1")
    with pytest.raises(InputError, match="nvml in one column"):
        read_tool_file(path)


def rows(*spans: tuple[float, float], cpu: str = "x") -> tuple[ToolRow, ...]:
    return tuple(
        ToolRow(str(i), str(i), "csv", b - a, 0.0, {}, facts={"cpu_model": cpu}, end_s=b)
        for i, (a, b) in enumerate(spans)
    )


@pytest.mark.parametrize(
    ("spans", "groups"),
    [
        (((0, 100), (100, 200)), ((0,), (1,))),
        (((0, 100), (98.5, 200)), ((0,), (1,))),  # whole seconds and start-up
        (((0, 100), (97, 200)), ((0, 1),)),
        (((100, 200), (0, 101), (150, 260)), ((0, 2), (1,))),
        (((0, 100), (10, 20), (50, 60)), ((0, 1, 2),)),
        (((0, 1), (0, 1)), ((0, 1),)),
        (((0, 60), (30, 90), (80, 120), (200, 210)), ((0, 1, 2), (3,))),
    ],
)
def test_what_overlaps(
    spans: tuple[tuple[float, float], ...], groups: tuple[tuple[int, ...], ...]
) -> None:
    assert overlapping(rows(*spans)) == groups


def test_rows_of_two_machines_do_not_overlap() -> None:
    assert overlapping((*rows((0, 100)), *rows((0, 100), cpu="y"))) == ((0,), (1,))


@pytest.mark.parametrize(
    ("version", "wanted", "held"),
    [
        ("3.3.2", ">=3.3,<4", True),
        ("3.3", ">=3.3,<4", True),
        ("3.10.0", ">=3.3,<4", True),
        ("3.2.9", ">=3.3,<4", False),
        ("4.0.0", ">=3.3,<4", False),
        ("4.0.0rc1", ">=3.3,<4", True),
        ("3.3.0rc1", ">=3.3,<4", False),
        ("3.0.0_beta", ">=3", False),
        ("3.3.2", "==3.3.2", True),
        ("3.3.2", "!=3.3.2", False),
        ("v3.3.2+local", ">3.3,<=3.3.2", True),
        ("unknown", ">=0", False),
        ("", ">=0", False),
        ("3.3", "~=3", False),
    ],
)
def test_version_ranges(version: str, wanted: str, held: bool) -> None:
    assert in_range(version, wanted) is held
