"""Bad input gives one sentence that names file, line or field, exit 3, and leaves nothing."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from calibration.cli import main
from calibration.errors import InputError
from calibration.recording.importer import import_mapping
from calibration.recording.mapping_file import read_mapping
from calibration.recording.reader import read_run

MAPPING = """
name = "mine"
licence = "x"
citation = "x"
data_kind = "measured"
session = "s"

[[stream]]
id = "wall"
role = "meter"
boundary = "psu_ac_input"
source = "a meter"
file = "wall.csv"
format = "csv"
time = { column = "t", unit = "ms" }
channel = [
  { name = "power_w", column = "p", unit = "W", kind = "mean", window_s = 1, plausible = [1, 500] },
]

[[stream]]
id = "rapl"
role = "estimator"
source = "powercap"
file = "rapl.csv"
format = "csv"
time = { column = "t", unit = "ms" }
channel = [
  { name = "energy_j", column = "e", unit = "mJ", kind = "increment", input = "rapl_package" },
]
"""


def good(folder: Path) -> Path:
    rows = 300
    t = 1_700_000_000_000 + np.arange(rows) * 1000
    wall = "".join(f"{x},{50 + i % 7}\n" for i, x in enumerate(t))
    rapl = "".join(f"{x},{20_000 + i}\n" for i, x in enumerate(t))
    (folder / "wall.csv").write_text("t,p\n" + wall)
    (folder / "rapl.csv").write_text("t,e\n" + rapl)
    (folder / "mapping.toml").write_text(MAPPING)
    return folder / "mapping.toml"


def change(file: str, line: int, text: str | None) -> Callable[[Path], None]:
    """Return what replaces (or, with `None`, removes) one line of a file, counted from 1."""

    def edit(folder: Path) -> None:
        lines = (folder / file).read_text().splitlines(keepends=True)
        lines[line - 1 : line] = [] if text is None else [text + "\n"]
        (folder / file).write_text("".join(lines))

    return edit


def replace(old: str, new: str, file: str = "mapping.toml") -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        text = (folder / file).read_text()
        assert old in text
        (folder / file).write_text(text.replace(old, new, 1))

    return edit


def content(file: str, data: bytes) -> Callable[[Path], None]:
    return lambda folder: (folder / file).write_bytes(data) and None  # type: ignore[return-value]


def cut(file: str, at: int) -> Callable[[Path], None]:
    return lambda folder: content(file, (folder / file).read_bytes()[:at])(folder)


T0 = "1700000000000"
BAD = {
    # data files
    "truncated": (cut("wall.csv", 2000), r"wall\.csv: the last line has no line end"),
    "empty": (content("wall.csv", b""), r"wall\.csv: expected a table; the file is empty"),
    "head only": (content("wall.csv", b"t,p\n"), r"wall\.csv: expected rows of numbers"),
    "blank": (content("wall.csv", b"t,p\n\n\n"), r"wall\.csv: expected rows of numbers"),
    "reordered": (change("wall.csv", 100, f"{T0},50"), r"wall\.csv, line 100: the time goes back"),
    "non-numeric": (
        change("wall.csv", 7, "1700000005000,on"),
        r"wall\.csv, line 7: expected a number in column 'p'; got 'on'",
    ),
    "infinite": (change("wall.csv", 7, "1700000005000,1e999"), r"line 7: expected a number"),
    "decimal comma": (
        change("wall.csv", 7, "1700000005000,50,3"),
        r"wall\.csv: line 7: expected 2 cells; got 3",
    ),
    "first row too long": (change("wall.csv", 2, f"{T0},50,3"), r"wall\.csv: .*expected 2 cells"),
    "no time": (change("wall.csv", 9, ",50"), r"wall\.csv, line 9: expected a time"),
    "time is text": (change("wall.csv", 9, "noon,50"), r"line 9: expected a number in column 't'"),
    "wrong unit": (
        replace('column = "p", unit = "W"', 'column = "p", unit = "W", scale = 1000'),
        r"stream wall: 300 of 300 values of power_w in wall\.csv lie outside 1 to 500 W",
    ),
    "no value at all": (
        lambda f: (f / "wall.csv").write_text("t,p\n1700000000000,\n1700000001000,nan\n") and None,
        r"stream wall: wall\.csv has no value at all for power_w",
    ),
    "binary": (content("wall.csv", b"t,p\n\xff\xfe\x00,3\n"), r"wall\.csv"),
    "missing increment": (
        change("rapl.csv", 12, "1700000010000,"),
        r"rapl\.csv, line 12: the increment of energy_j is missing",
    ),
    "missing file": (lambda f: (f / "rapl.csv").unlink(), r"expected the file rapl\.csv in"),
    "missing column": (
        replace('column = "p"', 'column = "watts"'),
        r"stream wall, channel power_w: column 'watts' is not to be found; wall\.csv has t, p",
    ),
    "column twice": (change("wall.csv", 1, "t,p,p"), r"has 2 columns of that name"),
    "column number": (replace('column = "p"', "column = 7"), r"has no column 7"),
    # the mapping
    "no TOML": (content("mapping.toml", b"name = [\n"), r"mapping\.toml: expected a TOML file"),
    "no such mapping": (lambda f: (f / "mapping.toml").unlink(), r"cannot read the mapping"),
    "unknown key": (
        replace('unit = "ms" }', 'unit = "ms", zone = 1 }'),
        r"time: unknown key 'zone'",
    ),
    "misspelt key": (
        replace("window_s = 1", "windows_s = 1"),
        r"unknown key 'windows_s'; is window_s meant|window_s is missing",
    ),
    "missing key": (replace('role = "meter"\n', ""), r"stream wall: role is missing"),
    "missing time unit": (replace(', unit = "ms" }', " }"), r"time: unit is missing; expected one"),
    "wrong type": (replace('file = "wall.csv"', "file = 3"), r"file: expected a text; got 3"),
    "unknown unit": (
        replace('unit = "W"', 'unit = "Watt"'),
        r"channel power_w: unit: expected one",
    ),
    "power as increment": (
        replace('unit = "mJ", kind', 'unit = "W", kind'),
        r"expected a unit of energy for kind increment",
    ),
    "mean without window": (replace("window_s = 1, ", ""), r"window_s is missing"),
    "meter without boundary": (replace('boundary = "psu_ac_input"\n', ""), r"boundary is missing"),
    "bad scale": (
        replace('unit = "W", kind', 'unit = "W", scale = "1/0", kind'),
        r"scale: expected a positive number",
    ),
    "outside the folder": (replace('"wall.csv"', '"../wall.csv"'), r"a path inside the data set"),
    "other hash": (
        replace('file = "wall.csv"', f'file = "wall.csv"\nsha256 = "{"0" * 64}"'),
        r"wall\.csv: expected SHA-256 0{12}",
    ),
    "two streams": (replace('id = "rapl"', 'id = "wall"'), r"two streams have the id 'wall'"),
    "mixed clocks": (replace('unit = "ms" }', 'unit = "ms", epoch = "none" }'), r"one epoch"),
    "segment elsewhere": (
        lambda f: (
            (f / "mapping.toml").write_text(
                MAPPING + '[[segment]]\nworkload = "x"\nstart_unix_s = 1.6e9\nend_unix_s = 1.61e9\n'
            )
            and None
        ),
        r"the segments lie .* away from the recording",
    ),
    "segment backwards": (
        lambda f: (
            (f / "mapping.toml").write_text(
                MAPPING + '[[segment]]\nworkload = "x"\nstart_unix_s = 9\nend_unix_s = 8\n'
            )
            and None
        ),
        r"expected an end after start_unix_s",
    ),
    "power of no computer": (
        replace(
            '"W", kind = "mean", window_s = 1, plausible = [1, 500]',
            '"mW", kind = "mean", window_s = 1',
        ),
        r"stream wall: power_w in wall\.csv reaches 0\.056 W; a computer at psu_ac_input takes",
    ),
    "milliseconds read as microseconds": (
        replace('unit = "ms"', 'unit = "us"'),
        r"wall\.csv: read in us the first row is of the year 1970; is that the right unit",
    ),
    "milliseconds read as seconds": (
        replace('unit = "ms"', 'unit = "s"'),
        r"wall\.csv, line 2: expected a time in column 't'; 1700000000000 is beyond any date",
    ),
    "a day apart": (
        replace(
            '"rapl.csv"\nformat = "csv"\ntime = { column = "t",',
            '"rapl.csv"\nformat = "csv"\ntime = { column = "t", offset_s = 86400,',
        ),
        r"run mine: rapl begins 86101 s after wall has ended",
    ),
    "offset without end": (
        replace('unit = "ms"', 'unit = "ms", offset_s = inf'),
        r"time: offset_s: expected a finite number; got inf",
    ),
    "range without a number": (
        replace("plausible = [1, 500]", "plausible = [nan, 500]"),
        r"plausible: expected a list of two numbers, the smaller one first",
    ),
    "range without end": (replace("[1, 500]", "[1, inf]"), r"plausible: expected a list of two"),
    "window of nothing": (replace("window_s = 1", "window_s = 0"), r"a number above zero; got 0"),
    "date in the configuration": (
        replace('format = "csv"', 'format = "csv"\nconfiguration = { since = 2024-01-02 }'),
        r"configuration: expected texts, finite numbers, true and false \(a date as a text\)",
    ),
    "name with a slash": (replace('name = "mine"', 'name = "a/b"'), r"name: expected letters"),
}


def test_the_good_one_is_good(tmp_path: Path) -> None:
    (path,) = import_mapping(good(tmp_path), into=tmp_path / "runs")
    run = read_run(path)
    assert run.series("wall", "power_w").value[:3].tolist() == [50.0, 51.0, 52.0]
    assert run.series("rapl", "energy_j").value[1] == pytest.approx(40.001)


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], case: str
) -> None:
    edit, message = BAD[case]
    mapping = good(tmp_path)
    edit(tmp_path)
    out = tmp_path / "runs"
    out.mkdir()
    assert main(["import", str(mapping), "--data", str(tmp_path), "-o", str(out)]) == 3
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1, said.err
    assert re.search(message, said.err), said.err
    assert list(out.iterdir()) == []


def test_what_the_mapping_allows_is_counted_not_hidden(tmp_path: Path) -> None:
    mapping = good(tmp_path)
    change("wall.csv", 100, f"{T0},50")(tmp_path)
    change("wall.csv", 50, "1700000048000,")(tmp_path)
    change("wall.csv", 51, "1700000049000,[N/A]")(tmp_path)
    change("wall.csv", 60, "1700000058000,9999")(tmp_path)
    cut("wall.csv", (tmp_path / "wall.csv").stat().st_size - 2)(tmp_path)
    replace('unit = "ms" }', 'unit = "ms", backwards = "drop" }\nlast_line = "drop"')(tmp_path)
    (path,) = import_mapping(mapping, into=tmp_path / "runs")
    run = read_run(path)
    series = run.series("wall", "power_w")
    assert series.value.size == 298
    assert series.faults == {48: "missing", 49: "missing"}
    assert np.isnan(series.value[48:50]).all()
    assert np.all(np.diff(series.t_ns) > 0)
    assert {(f.code, f.count) for f in run.faults} == {
        ("backwards", 1),
        ("truncated", 1),
        ("implausible", 1),
    }


def test_a_window_bridges_a_failed_row_to_nothing(tmp_path: Path) -> None:
    """With windows since the row before, a missing row's own window stays unobserved."""
    mapping = good(tmp_path)
    change("wall.csv", 5, "1700000003000,")(tmp_path)
    replace('"ms" }', '"ms", window = "since_previous" }')(tmp_path)
    (path,) = import_mapping(mapping, into=tmp_path / "runs")
    series = read_run(path).series("wall", "power_w")
    assert series.window_ns is not None
    assert series.window_ns[:6].tolist() == [0, *[10**9] * 5]
    assert np.isnan(series.value[3])


def test_columns_times_and_segments_of_other_shapes(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_text(
        "from\tto\twhen\tx\ty\tkernel\n"
        "10.5\t11\t2024-02-03 04:05:06.5\t1\t2\tfft\n"
        "11\t11.5\t2024-02-03 04:05:07\t3\t4\tfft\n"
        "11.5\t12\t2024-02-03 04:05:07.25\t5\t6\tdgemm\n"
    )
    (tmp_path / "m.toml").write_text("""
name = "shapes"
licence = "x"
citation = "x"
data_kind = "simulated"
[template.t]
role = "meter"
boundary = "psu_ac_input"
source = "s"
file = "a.tsv"
format = "tsv"
[[run]]
id = "own"
session = "a"
[[run.stream]]
template = "t"
id = "wall"
time = { begin_column = "from", column = "to", unit = "s", epoch = "none", offset_s = 1 }
channel = [{ name = "power_w", columns = ["x", "y"], unit = "kW", scale = "1/10", kind = "mean" }]
[run.segments]
file = "a.tsv"
format = "tsv"
workload = "{kernel}!"
level = "position"
settle_s = 0.1
time = { begin_column = "from", column = "to", unit = "s", epoch = "none", offset_s = 1 }
[[run]]
id = "local"
session = "b"
[[run.stream]]
template = "t"
id = "wall"
[run.stream.time]
column = "when"
format = "%Y-%m-%d %H:%M:%S.%f"
timezone = "-02:30"
stamp_at = "middle"
[[run.stream.channel]]
name = "power_w"
column = 3
unit = "W"
kind = "instant"
""")
    with pytest.raises(InputError, match=r"a\.tsv, line 3: expected a time like"):
        import_mapping(tmp_path / "m.toml", into=tmp_path / "runs")
    assert list((tmp_path / "runs").iterdir()) == []  # nor the run that was good
    text = (tmp_path / "a.tsv").read_text().replace("05:07\t", "05:07.0\t")
    (tmp_path / "a.tsv").write_text(text)
    own, local = import_mapping(tmp_path / "m.toml", into=tmp_path / "runs")
    assert (own.name, local.name) == ("shapes-own", "shapes-local")
    run = read_run(own)
    series = run.series("wall", "power_w")
    np.testing.assert_allclose(series.value, [300.0, 700.0, 1100.0])
    assert series.t_ns.tolist() == [12_000_000_000, 12_500_000_000, 13_000_000_000]
    assert series.window_ns is not None
    assert series.window_ns.tolist() == [5 * 10**8] * 3
    assert [(s.workload, s.level, s.t_start_ns, s.settle_s) for s in run.steps] == [
        ("fft!", 1.0, 11_500_000_000, 0.1),
        ("fft!", 2.0, 12_000_000_000, 0.1),
        ("dgemm!", 1.0, 12_500_000_000, 0.1),
    ]
    series = read_run(local).series("wall", "power_w")
    # 04:05:06.5 at 2 h 30 min west of Greenwich is 06:35:06.5 UTC.
    assert series.t_ns[0] == 1_706_942_106_500_000_000
    assert series.channel.stamp_at == "middle"
    assert read_run(local).start.session == "b"


def test_an_import_never_overwrites(tmp_path: Path) -> None:
    mapping = good(tmp_path)
    (path,) = import_mapping(mapping, into=tmp_path / "runs")
    before = (path / "run.jsonl").read_bytes()
    with pytest.raises(InputError, match="it is there already"):
        import_mapping(mapping, into=tmp_path / "runs")
    assert import_mapping(mapping, into=tmp_path / "runs", keep=True) == (path,)
    change("wall.csv", 5, "1700000003000,77")(tmp_path)
    with pytest.raises(InputError, match="it is there already"):
        import_mapping(mapping, into=tmp_path / "runs", keep=True)
    assert (path / "run.jsonl").read_bytes() == before


def test_a_long_file_is_read_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Registers, windows, line numbers and the order of time go on across the pieces."""
    from calibration.recording import text_table

    mapping = good(tmp_path)
    replace('"ms" }', '"ms", window = "since_previous" }')(tmp_path)
    (whole,) = import_mapping(mapping, into=tmp_path / "whole")
    monkeypatch.setattr(text_table, "ROWS_AT_A_TIME", 7)
    (pieces,) = import_mapping(mapping, into=tmp_path / "pieces")
    for stream, channel in (("wall", "power_w"), ("rapl", "energy_j")):
        a, b = read_run(whole).series(stream, channel), read_run(pieces).series(stream, channel)
        np.testing.assert_array_equal(a.t_ns, b.t_ns)
        np.testing.assert_allclose(a.value, b.value, rtol=1e-15)
        if a.window_ns is not None:
            np.testing.assert_array_equal(a.window_ns, b.window_ns)
    change("wall.csv", 100, f"{T0},50")(tmp_path)
    with pytest.raises(InputError, match=r"line 100: the time goes back"):
        import_mapping(mapping, into=tmp_path / "third")


def test_a_raw_stream_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "raw.bin").write_bytes(bytes(range(256)) * 40)
    (tmp_path / "start.txt").write_text("1700000000000000")
    text = """
name = "raw"
licence = "x"
citation = "x"
data_kind = "measured"
session = "s"
[[stream]]
id = "pmd"
role = "meter"
boundary = "board_input"
source = "PMD-USB"
file = "raw.bin"
format = "pmd-usb"
time = { start_file = "start.txt", unit = "us", tick_rate_hz = 2934500 }
channel = [{ name = "pcie1_v", unit = "V", scale = "0.007568", kind = "instant" }]
"""
    (tmp_path / "m.toml").write_text(text)
    with pytest.raises(InputError, match=r"raw\.bin: expected the raw frames of a PMD-USB"):
        import_mapping(tmp_path / "m.toml", into=tmp_path / "runs")
    mapping = read_mapping(tmp_path / "m.toml")
    assert mapping.runs[0].files() == ("raw.bin", "start.txt")
