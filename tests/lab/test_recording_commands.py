"""`wattcal runs` on what recorders leave: sealed, cut off, damaged, of another kind."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from calibration.cli import main
from calibration.recording.documents import ChannelInfo, Descriptor, Step
from calibration.recording.writer import RunWriter, new_start

SCHEMAS = Path(__file__).resolve().parents[2] / "calibration" / "schema"
WALL = Descriptor(
    stream="wall",
    role="meter",
    source="test",
    boundary="psu_ac_input",
    channels=(
        ChannelInfo(name="power_w", quantity="active_power", unit="W", kind="mean", window_s=1.0),
        ChannelInfo(name="energy", quantity="energy", unit="Wh", kind="counter"),
    ),
)


def record(path: Path) -> RunWriter:
    run = RunWriter.create(path, start=new_start("simulated", "monday"), live=False)
    stream = run.open_stream(WALL)
    for i in range(10):
        values = {"power_w": 36.0, "energy": 0.01 * i}
        stream.append(i * 10**9, i * 10**9, values if i != 5 else {}, None if i != 5 else "crc")
    run.step(Step(index=0, workload="idle", level=None, t_start_ns=0, t_end_ns=9 * 10**9))
    return run


def test_show_gives_energy_over_the_windows_and_counts_faults(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record(tmp_path / "run").seal("success")
    assert main(["runs", "show", str(tmp_path / "run"), "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["data_kind"] == "simulated"
    (stream,) = shown["streams"]
    assert stream["row_faults"] == {"crc": 1}
    power, energy = stream["channels"]
    assert power["energy_j"] == pytest.approx(9 * 36.0)  # the failed window is unobserved
    assert power["observed_s"] == pytest.approx(9.0)
    assert energy["energy_j"] == pytest.approx(9 * 36.0)  # the register knows what the row missed
    assert energy["last_register_j"] == pytest.approx(324.0)
    assert main(["runs", "show", str(tmp_path / "run")]) == 0
    text = capsys.readouterr().out
    assert "** simulated **" in text
    assert "faulty: 1 crc" in text


def test_an_unsealed_run_is_listed_shown_found_and_repaired(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record(tmp_path / "run").abandon()
    run = str(tmp_path / "run")
    assert main(["runs", "list", str(tmp_path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["status"] == "not sealed"
    assert main(["runs", "show", run]) == 0
    assert main(["runs", "check", run]) == 3
    assert "wattcal runs repair" in capsys.readouterr().out
    assert main(["runs", "repair", run, "--json"]) == 0
    sealed = json.loads(capsys.readouterr().out)
    schema = json.loads((SCHEMAS / "runs-repair-1.0.json").read_text(encoding="utf-8"))
    Draft202012Validator(schema).validate(sealed)
    assert sealed["status"] == "fail"
    assert sealed["rows"] == {"wall": 10}
    assert main(["runs", "check", run]) == 0


def test_what_is_no_run_is_said_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for command in (
        ["runs", "show", str(tmp_path)],
        ["runs", "check", str(tmp_path / "none")],
        ["runs", "list", str(tmp_path / "none")],
        ["runs", "repair", str(tmp_path)],
    ):
        assert main(command) == 3
        said = capsys.readouterr()
        assert said.out == ""
        assert said.err.count("\n") == 1
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "run.jsonl").write_text("{}\n")
    assert main(["runs", "list", str(tmp_path)]) == 0
    assert "broken" in capsys.readouterr().err


def test_without_the_laboratory_a_command_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "calibration.recording.reader", None)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    for name in [n for n in sys.modules if n.startswith("calibration.recording")]:
        monkeypatch.delitem(sys.modules, name)
    assert main(["runs", "show", str(tmp_path)]) == 4
    assert "pip install 'wattcal[lab]'" in capsys.readouterr().err
