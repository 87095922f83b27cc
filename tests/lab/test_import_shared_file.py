"""One file that holds several runs: each run takes its own rows, and what lies between is named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from calibration.cli import main
from calibration.recording.check import check_run
from calibration.recording.importer import import_mapping
from calibration.recording.reader import read_run

ROOT = Path(__file__).resolve().parents[2]
MAPPING = """
name = "mine"
licence = "x"
citation = "x"
data_kind = "measured"

[[stream]]
id = "wall"
role = "meter"
boundary = "psu_ac_input"
source = "a meter"
file = "wall.csv"
format = "csv"
time = { column = "t", unit = "s", epoch = "none" }
channel = [{ name = "power_w", column = "p", unit = "W", kind = "mean", window_s = 1 }]

[segments]
file = "marks.csv"
format = "csv"
time = { begin_column = "begin", column = "end", unit = "s", epoch = "none" }
workload = "{what}"
between = "idle"
settle_s = 5

[[run]]
id = "a"
session = "a"
where = { who = "a" }

[[run]]
id = "b"
session = "b"
where = { who = "b" }
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rows = [("a", 1000 + i, 10 + i % 3) for i in range(100)]
    rows += [("b", 500 + i, 20 + i % 3) for i in range(50)]  # earlier than the rows before
    (tmp_path / "wall.csv").write_text("who,t,p\n" + "".join(f"{w},{t},{p}\n" for w, t, p in rows))
    (tmp_path / "marks.csv").write_text(
        "who,what,begin,end\na,x,1020,1050\na,y,1053,1080\nb,x,510,549\n"
    )
    (tmp_path / "mapping.toml").write_text(MAPPING)
    return tmp_path


def test_each_run_takes_its_own_rows_of_a_shared_file(folder: Path) -> None:
    a, b = import_mapping(folder / "mapping.toml", into=folder / "runs")
    for path, rows, first in ((a, 100, 1000), (b, 50, 500)):
        assert check_run(path) == ()
        series = read_run(path).series("wall", "power_w")
        assert series.value.size == rows
        assert series.t_ns[0] == first * 10**9
    assert float(read_run(b).series("wall", "power_w").value.min()) == 20.0


def test_what_lies_between_the_segments_is_named_where_it_outlasts_settling(folder: Path) -> None:
    a, b = import_mapping(folder / "mapping.toml", into=folder / "runs")
    found = [(s.workload, s.t_start_ns // 10**9, s.t_end_ns // 10**9) for s in read_run(a).steps]
    assert found == [  # the three seconds between x and y are too short
        ("idle", 1000, 1020),
        ("x", 1020, 1050),
        ("y", 1053, 1080),
        ("idle", 1080, 1099),
    ]
    assert [s.workload for s in read_run(b).steps] == ["idle", "x"]


def test_a_condition_that_no_row_meets_is_one_sentence(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mapping = folder / "mapping.toml"
    mapping.write_text(MAPPING.replace('where = { who = "b" }', 'where = { who = "c" }'))
    assert main(["import", str(mapping), "--data", str(folder), "-o", str(folder / "runs")]) == 3
    assert "no value at all for power_w in rows with who = c" in capsys.readouterr().err
    assert not (folder / "runs").exists() or not list((folder / "runs").iterdir())


def test_grid5000_is_forty_sessions_with_idle_between_the_benchmarks(
    wattcal_data: Path, tmp_path: Path
) -> None:
    mapping = ROOT / "datasets" / "grid5000-gemini-cpu" / "dataset.toml"
    runs = [read_run(p) for p in import_mapping(mapping, data=wattcal_data, into=tmp_path)]
    assert len(runs) == len({r.start.session for r in runs}) == 40
    assert sum(r.series("wall", "power_w").value.size for r in runs) == 14_469
    steps = [s.workload for r in runs for s in r.steps]
    assert len([s for s in steps if s != "idle"]) == 60
    total = runs[0].series("rapl", "power_w")
    parts = [runs[0].series("rapl", n).value for n in ("package_w", "dram_w")]
    assert np.allclose(total.value, np.sum(parts, axis=0))
