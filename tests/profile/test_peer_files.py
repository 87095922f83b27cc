"""Logs of CarbonTracker and CSV of Zeus as input of `wattcal correct`: what they hold, what not."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from calibration import InputError
from calibration.cli import main
from calibration.publishing.inputs import input_entry
from calibration.toolfiles import ToolRow, read_tool_file
from calibration.toolfiles.carbontracker import POWER

FILES = Path(__file__).parent / "audit_files"
LOG = (FILES / "carbontracker-2.4.7-rapl_carbontracker.log").read_text()
ZEUS = (FILES / "zeus-0.16.0-counted.csv").read_text()
Make = Callable[..., dict[str, Any]]
Run = Callable[..., tuple[int, Any, str]]


def log_rows(folder: Path, text: str = LOG, **beside: str) -> tuple[ToolRow, ...]:
    path = folder / "run_carbontracker.log"
    path.write_text(text)
    for ending, words in beside.items():
        path.with_name(f"run_carbontracker_{ending}.log").write_text(words)
    return read_tool_file(path).rows


def zeus_rows(folder: Path, text: str = ZEUS) -> tuple[ToolRow, ...]:
    path = folder / "zeus.csv"
    path.write_text(text)
    return read_tool_file(path).rows


# The scenario of make.py: two packages of 40 W and 25 W with a ripple of 5 W each, a card of 150 W
# with one of 20 W, in epochs of 5 s.
@pytest.mark.parametrize(
    ("name", "power_w", "ripple_w", "mode", "devices"),
    [
        ("rapl", 65.0, 10.0, "IntelCPU", "cpu:0, cpu:1"),
        ("gpu", 215.0, 30.0, "IntelCPU + NvidiaGPU", "NVIDIA A100-SXM4-40GB, cpu:0, cpu:1"),
        ("tdp", 35.61209406066786, 0.0, "GenericCPU", "Intel(R) Xeon(R) Processor"),
    ],
)
def test_the_devices_of_an_epoch_are_added(
    name: str, power_w: float, ripple_w: float, mode: str, devices: str
) -> None:
    file = read_tool_file(FILES / f"carbontracker-2.4.7-{name}_carbontracker.log")
    assert (file.tool, len(file.rows)) == ("carbontracker", 2)
    for row in file.rows:
        assert row.duration_s == pytest.approx(5.0, abs=0.02)
        assert abs(row.energies_j[POWER] / row.duration_s - power_w) <= ripple_w + 1e-9
        assert row.facts["carbontracker_version"] == "2.4.7"
        assert row.facts["carbontracker_mode"] == mode
        assert row.facts["devices"] == devices
        assert row.flags == ("short",)
    first, second = file.rows
    assert first.end_s is not None
    assert second.start_s is not None
    assert first.end_s <= second.start_s + 1e-9
    # Whichever of its two logs is named.
    assert read_tool_file(FILES / f"carbontracker-2.4.7-{name}_carbontracker_output.log") == file


def test_a_round_that_a_wrap_took_is_in_the_uncertainty(tmp_path: Path) -> None:
    """A wrap in the measured second is 0 W for all devices, and the log does not show it."""
    text = LOG.replace("0:00:05.00", "1:00:00.00")
    row = log_rows(tmp_path, text)[0]
    power_w = 2 * 31.85340875
    wraps = power_w * 3600 / 65.7e3  # of the smallest counter; one in two falls into a round
    worst_j = wraps / 2 * 2.0 * power_w  # each costs a round of 2 s
    assert worst_j < row.energies_u_j[POWER] < 1.5 * worst_j
    assert row.energies_u_j[POWER] / row.energies_j[POWER] < 2e-3


NO_DEVICES = LOG.replace("The following components were found", "Found")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (LOG.replace("2.4.7", "2.3.1"), "their mean as 2.4 prints it; got 1 from version 2.3.1"),
        (LOG.replace("carbontracker version 2.4.7", ""), "from version unknown"),
        (NO_DEVICES, "the log has none"),
        (LOG.replace("31.173828", "None"), "Expected a power of cpu; there is none"),
        (LOG.replace("31.173828", "0.0"), "above 0 W; got 0: nothing was read"),
        (LOG.replace("31.173828", "31.85340875"), "those of the epoch before"),
        (LOG.replace("Epoch 2:", "").replace("0:00:05.00", "0:00:02.99"), "at least 3 s"),
        (LOG.replace("31.173828", "[1. 2. 3.]"), "each of the 2 devices of cpu"),
    ],
)
def test_what_does_not_make_a_sum_has_a_reason_and_no_energy(
    tmp_path: Path, text: str, words: str
) -> None:
    row = log_rows(tmp_path, text)[-1]
    assert row.energies_j == {}
    assert words in row.lacks[POWER]


def test_a_log_that_lists_its_devices_apart_is_added(tmp_path: Path) -> None:
    """Versions before 2 print one power a device, in brackets."""
    text = LOG.replace("2.4.7", "1.1.6").replace("31.173828", "[40.1 24.9]")
    assert log_rows(tmp_path, text)[-1].energies_j == {POWER: 5.0 * 65.0}


def test_a_cpu_by_its_name_is_one_device(tmp_path: Path) -> None:
    text = (FILES / "carbontracker-2.4.7-tdp_carbontracker.log").read_text()
    rows = log_rows(tmp_path, text.replace("Xeon(R) Processor", "Xeon(R), 2.00GHz"))
    assert rows[0].energies_j[POWER] == pytest.approx(5.0 * 35.61209406066786)


def test_the_error_log_beside_it_is_heard(tmp_path: Path) -> None:
    said = (
        "... CRITICAL - Could not read CPU/DRAM energy consumption due to lack of read-permissions."
    )
    for row in log_rows(tmp_path, err=said):
        assert "could be read; run_carbontracker_err.log says otherwise" in row.lacks[POWER]
    for row in log_rows(tmp_path, err="... WARNING - No API keys provided."):
        assert row.lacks == {}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (LOG.replace("0:00:05.00", "-0:00:05.00"), "above 0 s; got -5. A clock was set"),
        (LOG + LOG, "of one tracker; got several"),
        ("2026-11-28 03:09:06 - carbontracker version 2.4.7\n", "Expected epochs"),
        (ZEUS.replace("6.006158113479614", "0"), "elapsed_time above 0 s"),
        (ZEUS.replace("130.9539999999106", "x"), "a number in gpu0_energy"),
    ],
)
def test_what_no_tool_writes_is_one_sentence(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        (log_rows if "carbontracker" in text else zeus_rows)(tmp_path, text)


def test_every_cut_of_a_log_is_seen(tmp_path: Path) -> None:
    whole = {r.id: r.energies_j for r in log_rows(tmp_path)}
    for cut in range(len(LOG)):
        try:
            rows = log_rows(tmp_path, LOG[:cut])
        except InputError:
            continue
        for row in rows:
            sound = row.energies_j in (whole[row.id], {})
            assert sound or "unterminated" in row.flags


def test_windows_of_zeus(tmp_path: Path) -> None:
    inner, run, short = read_tool_file(FILES / "zeus-0.16.0-counted.csv").rows
    assert (run.tool, run.id) == ("zeus", "run")
    assert run.energies_j == {"gpu_energy": pytest.approx(899.958)}
    assert run.start_s == pytest.approx(1795839473.5794377)
    assert run.facts == {
        "gpus": "1", "gpu_mode": "energy_counter", "zeus_mode": "no CPUs + energy_counter",
    }  # fmt: skip
    # The counter is renewed every 0.1 s, and a window's edges fall anywhere into that.
    assert run.energies_u_j["gpu_energy"] == pytest.approx(
        math.sqrt(2) * 0.1 / math.sqrt(12) * 899.958 / run.duration_s
    )
    assert "shorter than the counter's period" in short.lacks["gpu_energy"]
    assert short.energies_j == {}
    sampled = read_tool_file(FILES / "zeus-0.16.0-sampled.csv").rows
    assert sampled[0].facts["gpu_mode"] == "power_monitor"
    assert inner.facts["gpu_mode"] == "energy_counter"
    two = ZEUS.replace("gpu0_energy", "gpu0_energy,gpu3_energy").replace(
        ",899.9580000001006", ",899.9580000001006,100.042"
    )
    lines = two.splitlines()
    (both,) = zeus_rows(tmp_path, "\n".join((lines[0], lines[2])) + "\n")
    assert both.energies_j["gpu_energy"] == pytest.approx(1000.0)
    # 100.042 has too few digits to show a counter's grain: the mode is not proven.
    assert both.facts == {"gpus": "2"}
    (none,) = zeus_rows(tmp_path, "start_time,window_name,elapsed_time,\n1.5,run,2.5,\n")
    assert "found no GPU" in none.lacks["gpu_energy"]
    reset = zeus_rows(tmp_path, ZEUS.replace(",130.9539999999106", ",-12.25"))[0]
    assert "got -12.25" in reset.lacks["gpu_energy"]


@pytest.fixture
def correct(
    tmp_path: Path, line_document: Make, capsys: pytest.CaptureFixture[str]
) -> Callable[[dict[str, Any]], Run]:
    """Return what corrects with P = 50 W + 1.2 x the input that an entry describes."""

    def of(entry: dict[str, Any]) -> Run:
        text = json.dumps(line_document()).replace("rapl_package", entry["id"])
        document = {**json.loads(text), "inputs": [entry]}
        profile = tmp_path / f"{entry['id']}.json"
        profile.write_text(json.dumps(document))

        def run(file: Path, *arguments: str) -> tuple[int, Any, str]:
            code = main(
                ["correct", str(file), "--profile", str(profile), "--machine", "any", "--json",
                 *arguments]
            )  # fmt: skip
            printed = capsys.readouterr()
            return code, json.loads(printed.out) if printed.out else None, printed.err

        return run

    return of


def tracker_entry(*devices: str, mode: str = "IntelCPU", version: str = "2.4.7") -> dict[str, Any]:
    return input_entry(
        "carbontracker", mode=mode, version=version, settings={"scope": list(devices)}
    )


def test_a_log_proves_what_its_profile_asks_for(correct: Callable[..., Run]) -> None:
    run = correct(tracker_entry("cpu:1", "cpu:0"))
    code, value, _ = run(FILES / "carbontracker-2.4.7-rapl_carbontracker.log")
    assert code == 0
    for row, mean_w in zip(value["rows"], (31.85340875, 31.173828), strict=True):
        assert row["mode"] == "verified"
        assert row["raw_j"] == pytest.approx(2 * mean_w * 5.0)
        assert row["corrected_j"] == pytest.approx(50 * 5.0 + 1.2 * 2 * mean_w * 5.0)
    # Epochs follow one another: what lies between them belongs to none.
    assert value["total"]["duration_s"] == 10.0
    assert "overlap" not in value["total"]["flags"]


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        (tracker_entry("cpu:0", "cpu:1", "dram:0"), "the file says devices = cpu:0, cpu:1"),
        (tracker_entry("Xeon", mode="GenericCPU"), "carbontracker_mode = IntelCPU"),
        (tracker_entry("cpu:0", "cpu:1", version="2.3.0"), "got 2.4.7"),
        (input_entry("carbontracker", mode="IntelCPU"), "it knows from no tool"),
        (input_entry("rapl_package"), "this file is carbontracker's"),
    ],
)
def test_a_log_of_something_else_is_refused(
    correct: Callable[..., Run], entry: dict[str, Any], words: str
) -> None:
    code, value, said = correct(entry)(FILES / "carbontracker-2.4.7-rapl_carbontracker.log")
    assert code == 5
    assert value["total"] is None
    assert words in said


def test_an_epoch_without_a_sum_is_refused_alone(
    correct: Callable[..., Run], tmp_path: Path
) -> None:
    path = tmp_path / "a_carbontracker.log"
    path.write_text(LOG.replace("31.173828", "0.0"))
    code, value, said = correct(tracker_entry("cpu:0", "cpu:1"))(path)
    assert code == 5
    assert [r["corrected_j"] is None for r in value["rows"]] == [False, True]
    assert "a_carbontracker.log:9: Expected a power of cpu above 0 W" in said
    other = ("--assert", "update_interval=10")
    code, _, said = correct(tracker_entry("cpu:0", "cpu:1"))(path, *other)
    assert code == 5
    assert "asserted to have update_interval = 10" in said


CARDS = {"scope": ["NVIDIA A100-SXM4-40GB GPU-1111"]}
GPUS_ONLY = "no CPUs + energy_counter"


@pytest.mark.parametrize(
    "entry",
    [
        input_entry("nvml", mode="energy_counter", settings=CARDS),
        input_entry("zeus", mode=GPUS_ONLY, version="0.16.0", settings={"scope": ["GPU 0"]}),
    ],
    ids=lambda e: e["id"],
)
def test_windows_of_zeus_are_corrected_where_it_sees_gpus_only(
    correct: Callable[..., Run], tmp_path: Path, entry: dict[str, Any]
) -> None:
    path = tmp_path / "zeus.csv"
    path.write_text("".join(ZEUS.splitlines(keepends=True)[:3]))
    code, _, said = correct(entry)(path)
    assert code == 5
    assert "--assert zeus_version=VERSION" in said
    code, value, said = correct(entry)(path, "--assert", "zeus_version=0.16.0")
    assert code == 0
    inner, run = value["rows"]
    # A window within another one reads the same counter: it is not added.
    assert inner["corrected_j"] is None
    assert "partial_of:run" in inner["flags"]
    assert run["mode"] == "asserted"
    assert run["corrected_j"] == pytest.approx(50 * run["duration_s"] + 1.2 * 899.958)
    assert value["total"]["corrected_j"] == pytest.approx(run["corrected_j"])


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        (
            input_entry("zeus", mode="rapl + energy_counter", settings={"scope": ["package-0"]}),
            "Expected energies of CPUs; a CSV of Zeus holds those of GPUs only",
        ),
        (input_entry("rapl_package"), "a CSV of Zeus holds those of GPUs only"),
        (
            input_entry("nvml", mode="energy_counter", settings={"scope": ["one", "two"]}),
            "the file says gpus = 1",
        ),
        (input_entry("nvml", mode="power", settings=CARDS), "this file is zeus's"),
        (
            input_entry("zeus", mode="no CPUs + power_monitor", settings={"scope": ["GPU 0"]}),
            "says zeus_mode = no CPUs + energy_counter",
        ),
    ],
)
def test_a_csv_of_zeus_that_is_something_else_is_refused(
    correct: Callable[..., Run], entry: dict[str, Any], words: str
) -> None:
    code, value, said = correct(entry)(
        FILES / "zeus-0.16.0-counted.csv", "--assert", "zeus_version=0.16.0"
    )
    assert code == 5
    assert value["total"] is None
    assert words in said


def test_windows_that_overlap_in_part_leave_a_doubt(
    correct: Callable[..., Run], tmp_path: Path
) -> None:
    """Neither holds the other: what both saw is counted once or twice, and U says so."""
    entry = input_entry("zeus", mode=GPUS_ONLY, settings={"scope": ["GPU 0"]})
    run, path = correct(entry), tmp_path / "zeus.csv"
    head = "start_time,window_name,elapsed_time,gpu0_energy"
    rows = ("1000.0,a,60.0,6000.0119999999997", "1030.0,b,60.0,6000.0480000000007")
    alone = []
    for row in rows:
        path.write_text(f"{head}\n{row}\n")
        code, value, said = run(path)
        assert code == 0, said
        alone.append(value["total"])
    path.write_text("\n".join((head, *rows)) + "\n")
    code, value, _ = run(path)
    assert code == 0
    total = value["total"]
    assert total["duration_s"] == pytest.approx(90.0)
    assert "overlap:maybe_twice" in total["flags"]
    doubt_j = 1.2 * (12000.06 - 9000.045) / math.sqrt(3)
    assert total["u_j"] > doubt_j > alone[0]["u_j"] + alone[1]["u_j"]
    # What the edges of each window leave open stands in U beside that.
    path.write_text("id,duration_s,zeus_j,zeus_mode\na,60,6000.012,no CPUs + energy_counter\n")
    code, value, said = run(path)
    assert code == 0, said
    edges_j = 1.2 * math.sqrt(2) * 0.1 / math.sqrt(12) * 100.0
    assert alone[0]["u_j"] ** 2 - value["total"]["u_j"] ** 2 == pytest.approx(edges_j**2, rel=1e-3)
