"""`wattcal correct`: the mode guard, overlapping rows, refusals, the bare install."""

from __future__ import annotations

import csv
import json
import math
import os
import subprocess
import sys
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from calibration import MatchError, Profile, WrongMode, load_profile
from calibration.cli import main

ROOT = Path(__file__).resolve().parents[2]
SCHEMA = json.loads(resources.files("calibration").joinpath("schema/correct-1.0.json").read_text())
ROW: dict[str, str] = {
    "timestamp": "2026-11-01T12:00:00", "project_name": "p", "run_id": "run-1",
    "duration": "3600", "emissions": "0.1", "cpu_power": "77.7", "cpu_energy": "0.08",
    "gpu_energy": "0", "ram_energy": "0.02", "energy_consumed": "0.1",
    "os": "Linux-6.1", "codecarbon_version": "3.3.2", "cpu_model": "Intel(R) Xeon(R)",
    "gpu_model": "", "tracking_mode": "machine", "on_cloud": "N", "pue": "1.0", "wue": "0",
}  # fmt: skip
RAPL = Path("/sys/class/powercap/intel-rapl:0/energy_uj")
ASSERTED = ["--assert", "cpu_mode=intel_rapl"]
Make = Callable[..., dict[str, Any]]


@pytest.fixture
def emissions(tmp_path: Path) -> Callable[..., Path]:
    def write(*rows: dict[str, str]) -> Path:
        path = tmp_path / "emissions.csv"
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(ROW))
            writer.writeheader()
            writer.writerows({**ROW, **r} for r in rows or ({},))
        return path

    return write


@pytest.fixture
def profile_file(tmp_path: Path, line_document: Make) -> Path:
    path = tmp_path / "profile.json"
    path.write_text(json.dumps(line_document()))
    return path


@pytest.fixture
def run(
    profile_file: Path, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, Any, str]]:
    """Return a function that runs the command with --json and gives exit code, JSON, stderr."""

    def go(file: Path, *arguments: str) -> tuple[int, Any, str]:
        code = main(["correct", str(file), "--profile", str(profile_file), "--json", *arguments])
        printed = capsys.readouterr()
        value = json.loads(printed.out) if printed.out else None
        if value is not None:
            jsonschema.validate(value, SCHEMA)
        return code, value, printed.err

    return go


def test_an_hour_of_codecarbon(
    emissions: Callable[..., Path], run: Callable[..., tuple[int, Any, str]]
) -> None:
    code, value, _ = run(emissions(), *ASSERTED, "--machine", "any")
    assert code == 0
    (row,) = value["rows"]
    cpu_j = 0.08 * 3.6e6
    assert row["raw_j"] == pytest.approx(cpu_j)
    assert row["corrected_j"] == pytest.approx(50 * 3600 + 1.2 * cpu_j)
    energy = row["corrected_j"]
    square = (
        0.25 * 3600**2
        - 2 * 0.002 * 3600 * cpu_j
        + 0.0001 * cpu_j**2
        + (0.001 * energy) ** 2
        + 3600**2 * (0.12**2 + 3.0**2 + 4.6**2)
        + 2.1**2 * 3600
        + (50 * 0.5) ** 2  # u(T) = 0.5 s at the constant power
    )
    assert row["u_j"] == pytest.approx(math.sqrt(square), rel=1e-9)
    assert row["high_j"] - energy == pytest.approx(row["k"] * row["u_j"])
    assert (row["mode"], row["match"], row["inside"]) == ("asserted", "unchecked", True)
    assert row["id"] == "run-1"
    assert row["duration_s"] == 3600
    total = value["total"]
    assert {k: total[k] for k in ("corrected_j", "u_j")} == pytest.approx(
        {k: row[k] for k in ("corrected_j", "u_j")}
    )


def test_what_cannot_be_proved_is_refused(
    emissions: Callable[..., Path], run: Callable[..., tuple[int, Any, str]]
) -> None:
    code, value, error = run(emissions({}, {"timestamp": "2026-11-01T14:00:00"}))
    assert code == 5
    assert "--assert cpu_mode=intel_rapl" in error
    assert "1 more row" in error
    assert value["total"] is None
    for row in value["rows"]:
        assert row["corrected_j"] is None
        assert "refused" in row["flags"]


@pytest.mark.parametrize(
    ("change", "arguments", "named"),
    [
        ({}, ["--assert", "cpu_mode=cpu_load"], "cpu_mode = cpu_load"),
        ({}, [*ASSERTED, "--assert", "rapl_prefer_psys=true"], "rapl_prefer_psys = true"),
        ({}, [*ASSERTED, "--assert", "pue=1.2"], "pue = 1.2"),
        ({"pue": "1.58"}, ASSERTED, "pue = 1.58"),
        ({"pue": "1.58"}, [*ASSERTED, "--assert", "pue=1"], "file says pue = 1.58"),
        ({"tracking_mode": "process"}, ASSERTED, "tracking_mode = process"),
        ({"os": "Windows-10"}, ASSERTED, "Linux only"),
        ({"os": "macOS-14"}, ASSERTED, "Linux only"),
        ({"cpu_energy": "0.0"}, ASSERTED, "0 J in 3600 s"),
        ({"codecarbon_version": "2.8.4"}, ASSERTED, "got 2.8.4"),
        ({"codecarbon_version": "4.0.0"}, ASSERTED, ">=3.3,<4"),
        ({"codecarbon_version": ""}, ASSERTED, "no version"),
    ],
)
def test_what_the_file_contradicts_is_refused(
    emissions: Callable[..., Path],
    run: Callable[..., tuple[int, Any, str]],
    change: dict[str, str],
    arguments: list[str],
    named: str,
) -> None:
    code, value, error = run(emissions(change), *arguments)
    assert code == 5
    assert named in error
    assert "Traceback" not in error
    assert value["rows"][0]["corrected_j"] is None


def test_one_refused_row_leaves_the_others_their_answers(
    emissions: Callable[..., Path], run: Callable[..., tuple[int, Any, str]]
) -> None:
    file = emissions({}, {"timestamp": "2026-11-01T14:00:00", "pue": "2"})
    code, value, _ = run(file, *ASSERTED)
    assert code == 5
    assert [r["corrected_j"] is None for r in value["rows"]] == [False, True]
    assert value["total"] is None


def test_a_missing_field_is_unusable_input(
    emissions: Callable[..., Path], run: Callable[..., tuple[int, Any, str]]
) -> None:
    code, value, error = run(emissions({"cpu_energy": ""}), *ASSERTED)
    assert (code, value) == (3, None)
    assert "emissions.csv:2: Expected a number in cpu_energy" in error


TWO = ({"run_id": "a"}, {"run_id": "b", "timestamp": "2026-11-01T12:30:00", "cpu_energy": "0.06"})


def test_overlapping_rows_are_one_machine(
    emissions: Callable[..., Path], run: Callable[..., tuple[int, Any, str]]
) -> None:
    code, value, error = run(emissions(*TWO), *ASSERTED, "--overlap", "sum")
    assert code == 0
    energy = 50 * 5400 + 1.2 * 0.14 * 3.6e6  # the constant once over the 90 minutes they cover
    assert value["total"]["corrected_j"] == pytest.approx(energy)
    assert value["total"]["duration_s"] == 5400
    assert [r["corrected_j"] for r in value["rows"]] == [None, None]
    assert all("overlap" in r["flags"] for r in value["rows"])
    assert "--share time" in error


def test_overlapping_rows_that_each_saw_the_whole_machine(
    emissions: Callable[..., Path], run: Callable[..., tuple[int, Any, str]]
) -> None:
    _, once, _ = run(emissions(*TWO), *ASSERTED, "--overlap", "once")
    # 30 minutes at 80 W, 30 at the mean of 80 and 60 W, 30 at 60 W
    energy = 50 * 5400 + 1.2 * 1800 * (80 + 70 + 60)
    assert once["total"]["corrected_j"] == pytest.approx(energy)
    _, added, _ = run(emissions(*TWO), *ASSERTED, "--overlap", "sum")
    _, unsaid, error = run(emissions(*TWO), *ASSERTED)
    assert unsaid["total"]["corrected_j"] == added["total"]["corrected_j"]
    assert "overlap:maybe_twice" in unsaid["total"]["flags"]
    assert "--overlap once" in error
    doubt = 1.2 * (0.14 * 3.6e6 - 1800 * 210) / math.sqrt(3)
    assert unsaid["total"]["u_j"] ** 2 - added["total"]["u_j"] ** 2 == pytest.approx(doubt**2)
    # so that the interval holds either reading
    assert unsaid["total"]["low_j"] < once["total"]["corrected_j"]


def test_shares_add_up_to_the_machine(
    emissions: Callable[..., Path], run: Callable[..., tuple[int, Any, str]]
) -> None:
    _, value, _ = run(emissions(*TWO), *ASSERTED, "--overlap", "sum", "--share", "time")
    parts = [r["corrected_j"] for r in value["rows"]]
    assert sum(parts) == pytest.approx(value["total"]["corrected_j"])
    assert parts[0] == pytest.approx(50 * 2700 + 1.2 * 0.08 * 3.6e6)
    assert all("share:time" in r["flags"] for r in value["rows"])


def test_intermediate_totals_of_a_run_are_not_added(
    emissions: Callable[..., Path], run: Callable[..., tuple[int, Any, str]]
) -> None:
    half = {"timestamp": "2026-11-01T11:30:00", "duration": "1800", "cpu_energy": "0.03",
            "ram_energy": "0.01", "energy_consumed": "0.04"}  # fmt: skip
    _, alone, _ = run(emissions({}), *ASSERTED)
    code, value, _ = run(emissions(half, {}), *ASSERTED)
    assert code == 0
    assert value["total"] == alone["total"]
    assert "partial_of:run-1" in value["rows"][0]["flags"]


def test_rows_one_after_the_other_share_their_errors(
    emissions: Callable[..., Path], run: Callable[..., tuple[int, Any, str]]
) -> None:
    after = {"run_id": "b", "timestamp": "2026-11-01T13:00:00"}
    _, value, _ = run(emissions({}, after), *ASSERTED)
    one, two = value["rows"]
    assert value["total"]["corrected_j"] == pytest.approx(one["corrected_j"] + two["corrected_j"])
    assert value["total"]["u_j"] == pytest.approx(one["u_j"] + two["u_j"], rel=1e-3)


def test_plain_csv(tmp_path: Path, run: Callable[..., tuple[int, Any, str]]) -> None:
    file = tmp_path / "mine.csv"
    file.write_text("id,duration_s,rapl_package_wh\nA,3600,80\nB,30,1\n")
    code, value, _ = run(file)
    assert code == 0
    row = value["rows"][0]
    assert row["corrected_j"] == pytest.approx(50 * 3600 + 1.2 * 288_000)
    assert row["mode"] == "unknown"
    assert [r["id"] for r in value["rows"]] == ["A", "B"]
    file.write_text("id,duration_s,nvml_wh\nA,3600,80\n")
    code, _, error = run(file)
    assert code == 3
    assert "rapl_package_j, _wh, _kwh or _w" in error


def tool_profile(make: Make, mode: str | None) -> dict[str, Any]:
    document = make()
    document["inputs"][0]["source"] = {"api": "codecarbon", "domain": "cpu", "mode": mode}
    if mode is None:
        document["inputs"][0]["aliases"][0]["requires"] = {"pue": 1.0}
    return document


@pytest.mark.parametrize(
    ("header", "cell", "arguments", "mode"),
    [
        ("rapl_package_mode", "intel_rapl", [], "verified"),
        ("note", "x", ASSERTED, "asserted"),
        ("rapl_package_mode", "cpu_load", [], None),
        ("rapl_package_mode", "cpu_load", ASSERTED, None),
        ("note", "x", [], None),
    ],
)
def test_a_plain_csv_may_prove_its_mode(
    tmp_path: Path,
    profile_file: Path,
    line_document: Make,
    run: Callable[..., tuple[int, Any, str]],
    header: str,
    cell: str,
    arguments: list[str],
    mode: str | None,
) -> None:
    profile_file.write_text(json.dumps(tool_profile(line_document, "intel_rapl")))
    file = tmp_path / "mine.csv"
    file.write_text(f"duration_s,rapl_package_w,{header}\n3600,80,{cell}\n")
    code, value, _ = run(file, *arguments)
    assert code == (5 if mode is None else 0)
    assert value["rows"][0]["mode"] == mode


def test_a_profile_whose_own_mode_nobody_recorded(
    emissions: Callable[..., Path],
    profile_file: Path,
    line_document: Make,
    run: Callable[..., tuple[int, Any, str]],
) -> None:
    profile_file.write_text(json.dumps(tool_profile(line_document, None)))
    code, value, _ = run(emissions())
    assert code == 0
    assert value["rows"][0]["mode"] == "unknown"
    assert "mode:unrecorded" in value["rows"][0]["flags"]


def test_another_machine_is_refused(
    emissions: Callable[..., Path],
    profile_file: Path,
    line_document: Make,
    run: Callable[..., tuple[int, Any, str]],
) -> None:
    subject = {"match": {"required": {"cpu.id": "Nobody-1-2-3"}}}
    profile_file.write_text(json.dumps(line_document(subject=subject)))
    code, value, error = run(emissions(), *ASSERTED)
    assert code == 5
    assert "mismatch:cpu.id" in error
    assert value["rows"][0]["corrected_j"] is None
    assert run(emissions(), *ASSERTED, "--machine", "any")[0] == 0
    subject = {"match": {"required": {"cpu.model_name": "AMD EPYC"}}}
    profile_file.write_text(json.dumps(line_document(subject=subject)))
    code, _, error = run(emissions(), *ASSERTED)
    assert code == 5
    assert "the file names Intel(R) Xeon(R)" in error


def test_simulated_needs_a_word(
    emissions: Callable[..., Path],
    profile_file: Path,
    line_document: Make,
    run: Callable[..., tuple[int, Any, str]],
) -> None:
    document = line_document()
    document["provenance"]["data_kind"] = "simulated"
    profile_file.write_text(json.dumps(document))
    code, value, error = run(emissions(), *ASSERTED)
    assert (code, value) == (5, None)
    assert "--allow-simulated" in error
    code, value, _ = run(emissions(), *ASSERTED, "--allow-simulated")
    assert code == 0
    assert "simulated" in value["rows"][0]["flags"]
    assert value["profile"]["data_kind"] == "simulated"


def test_a_bent_model_refuses_a_run(
    emissions: Callable[..., Path],
    profile_file: Path,
    example: dict[str, Any],
    run: Callable[..., tuple[int, Any, str]],
) -> None:
    profile_file.write_text(json.dumps(example))
    code, value, error = run(emissions({"gpu_energy": "0.05"}), *ASSERTED, "--machine", "any")
    assert code == 5
    assert "not additive" in error
    assert value["total"] is None


@pytest.mark.parametrize("rows", [({},), TWO, ({"pue": "2"}, {"timestamp": "2026-11-01T14:00:00"})])
def test_the_table_fits_80_columns(
    emissions: Callable[..., Path],
    profile_file: Path,
    capsys: pytest.CaptureFixture[str],
    rows: tuple[dict[str, str], ...],
) -> None:
    arguments = ["correct", str(emissions(*rows)), "--profile", str(profile_file), *ASSERTED]
    main(arguments)
    out = capsys.readouterr().out
    assert "Asserted by you, not shown by the file: cpu_mode=intel_rapl." in out
    assert max(len(line) for line in out.splitlines()) <= 80


@pytest.mark.parametrize("text", ["cpu_mode", "=x", "a="])
def test_an_assertion_has_key_and_value(
    text: str, profile_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["correct", "f.csv", "--profile", str(profile_file), "--assert", text])
    assert stopped.value.code == 2
    assert "KEY=VALUE" in capsys.readouterr().err


def test_two_assertions_that_differ(
    emissions: Callable[..., Path], run: Callable[..., tuple[int, Any, str]]
) -> None:
    code, _, error = run(emissions(), *ASSERTED, "--assert", "cpu_mode=cpu_load")
    assert code == 3
    assert "one value for cpu_mode" in error


def test_a_row_in_python(line: Profile) -> None:
    answer = line.correct_row(ROW, machine=None)
    assert answer.energy_j == pytest.approx(50 * 3600 + 1.2 * 288_000)
    assert answer.mode == "unknown"
    known = line.correct_row(ROW, machine=None, asserted={"cpu_mode": "intel_rapl"})
    assert known.mode == "asserted"
    with pytest.raises(WrongMode):
        line.correct_row({**ROW, "pue": "1.3"})
    with pytest.raises(MatchError):
        line.correct_row({**ROW, "codecarbon_version": "2.0.0"})


BLOCK = """\
import sys
class Block:
    def find_spec(self, name, path=None, target=None):
        root = name.partition(".")[0]
        if root not in sys.stdlib_module_names and root != "calibration":
            raise ImportError(f"{name} is not in the base install")
sys.meta_path.insert(0, Block())
sys.path.insert(0, sys.argv.pop(1))
from calibration.cli import main
sys.exit(main(sys.argv[1:]))
"""


def test_it_works_in_the_bare_install(emissions: Callable[..., Path], profile_file: Path) -> None:
    done = subprocess.run(
        [
            sys.executable, "-S", "-c", BLOCK, str(ROOT), "correct", str(emissions()),
            "--profile", str(profile_file), "--json", *ASSERTED,
        ],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    jsonschema.validate(json.loads(done.stdout), SCHEMA)


def test_what_the_real_codecarbon_writes(tmp_path: Path, profile_file: Path) -> None:
    """Read a file that the installed CodeCarbon has just written (its own process, no network)."""
    script = (
        "import sys, time; from codecarbon import OfflineEmissionsTracker as T\n"
        "t = T(country_iso_code='FRA', output_dir=sys.argv[1], log_level='critical',\n"
        "      measure_power_secs=0.2)\n"
        "t.start(); time.sleep(0.5); t.stop()\n"
    )
    subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=True, capture_output=True)
    with (tmp_path / "emissions.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    profile, counted = load_profile(profile_file), os.access(RAPL, os.R_OK)
    if not counted:  # it fell back to a model, and its numbers show that
        with pytest.raises(WrongMode, match="no whole number of microjoules"):
            profile.correct_row(row, machine=None, asserted={"cpu_mode": "intel_rapl"})
        row["cpu_energy"] = "0.0001282"  # rounded, it shows nothing, and the user is believed
    answer = profile.correct_row(row, machine=None, asserted={"cpu_mode": "intel_rapl"})
    duration_s, cpu_j = float(row["duration"]), 3.6e6 * float(row["cpu_energy"])
    assert answer.energy_j == pytest.approx(50 * duration_s + 1.2 * cpu_j)
    assert answer.mode == ("verified" if counted else "asserted")
    assert "short" in answer.flags


@pytest.mark.parametrize("version", ["2.8.4-rapl-pue", "3.3.2-rapl-pue"])
def test_another_pue_is_refused_whatever_the_mode(profile_file: Path, version: str) -> None:
    with pytest.raises((WrongMode, MatchError)):
        load_profile(profile_file).correct_row(audit_row(version), machine=None)


def test_a_counter_shows_itself_so_nothing_need_be_asserted(profile_file: Path) -> None:
    answer = load_profile(profile_file).correct_row(audit_row("3.3.2-rapl"), machine=None)
    assert answer.mode == "verified"


def audit_row(name: str) -> dict[str, str]:
    """Return the row of a file that the real tool made: see audit_files/manifest.toml."""
    path = Path(__file__).parent / "audit_files" / f"codecarbon-{name}.csv"
    with path.open(newline="") as file:
        (row,) = csv.DictReader(file)
    return row
