"""The faults of the real recordings, each found under its own code without being named in advance.

Every data set is imported and fitted in the same way, whatever it is called: every run, every meter
in it, every input. What was found is compared with one table at the end; a code that fires where it
should not fails as much as one that does not fire.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from calibration.analysis import Points, fit_points, run_points
from calibration.analysis.points import concatenate
from calibration.analysis.verdict import RULES
from calibration.cli import main
from calibration.errors import CalibrationError
from calibration.recording.reader import Run, read_run

DATASETS = Path(__file__).resolve().parents[2] / "datasets"
FAULTS = {
    "time_jump", "unit_scale", "window_mismatch", "missing_as_zero", "register_reset",
    "lagging_reference", "meter_too_coarse", "aliased_load", "moved_baseline", "unseen_component",
}  # fmt: skip


_PLUG = {"meter_too_coarse", "window_mismatch"}
EXPECTED: dict[str, set[str]] = {
    # Whole watt-hours of two, and a plug that is read later than the tools; without a plug, zeros.
    "AMD_Threadripper-all_cores": _PLUG,
    "AMD_Threadripper-some_cores": _PLUG,
    "AMD_EPYC_8024P_8C-all_cores": {"missing_as_zero"},
    "AMD_EPYC_8024P_8C-some_cores": {"missing_as_zero"},
    "E3-1240-all_cores": {"missing_as_zero"},
    "E3-1240-some_cores": {"missing_as_zero"},
    "E5-1240-all_cores": {"missing_as_zero"},
    "E5-1240-some_cores": {"missing_as_zero"},
    "E5-2620-all_cores": {"missing_as_zero"},
    "E5-2620-some_cores": {"missing_as_zero"},
    "pulses-a100": {"aliased_load"},
    # Eight idle GPUs in the box, and an idle power that is another one on another day.
    "grid5000-gemini-cpu wall": {"moved_baseline", "unseen_component"},
    "power9-occ-psu-pdu pdu": {"lagging_reference"},
    "Aug_no_multiple-DMParticle_1": {"register_reset"},
    # The plug's power is 0.6 s late beside the only input: one of the two is.
    "riscv-pioneer-shelly wall": {"lagging_reference"},
}


def codes_of(data_set: str, runs: list[Run]) -> Iterator[tuple[str, str]]:
    """Yield (what, code) of everything found: in each run alone, and in all fits of a data set."""
    tables: dict[tuple[str, str], list[Points]] = {}
    for run in runs:
        for meter in run.meters():
            try:
                table = run_points([run], reference=meter)
            except CalibrationError as error:
                yield from ((run.path.name, c) for c in RULES if re.search(rf"\b{c}\b", str(error)))
                continue
            yield from ((run.path.name, f.code) for f in table.findings)
            tools = ", ".join(sorted({c.source for c in table.inputs.values()}))
            tables.setdefault((meter, tools), []).append(table)
    for (meter, _), own in tables.items():
        points, place = concatenate(own), f"{data_set} {meter}"
        for key, column in points.inputs.items():
            if not column.constant:
                reasons = fit_points(points, (key,)).reasons
                in_runs = {f.code for f in points.findings}
                yield from ((place, r.code) for r in reasons if r.code not in in_runs)


def test_every_fault_is_found_and_no_other(wattcal_data: Path, tmp_path: Path) -> None:
    found: dict[str, set[str]] = {}
    for mapping in sorted(DATASETS.glob("*/dataset.toml")):
        into = tmp_path / mapping.parent.name
        assert main(["import", str(mapping), "--data", str(wattcal_data), "-o", str(into)]) == 0
        for where, code in codes_of(into.name, [read_run(p) for p in sorted(into.iterdir())]):
            if code in FAULTS:
                found.setdefault(where.removeprefix(f"{into.name}-"), set()).add(code)
    assert found == EXPECTED


def altered(data: Path, into: Path, rows: Callable[[list[list[str]]], None]) -> tuple[int, Path]:
    """Import a copy of a recording whose meter log was changed; return exit code and run."""
    name = "gmt-mcp39f511-rapl"
    shutil.copytree(data / name, into / "data" / name, copy_function=shutil.copyfile)
    log = into / "data" / name / "2024-12-24_10Hz_458s" / "psu_energy_ac_mcp_machine.log"
    table = [line.split() for line in log.read_text(encoding="utf-8").splitlines()]
    rows(table)
    log.write_text("".join(" ".join(r) + "\n" for r in table), encoding="utf-8")
    mapping = (DATASETS / name / "dataset.toml").read_text(encoding="utf-8").split("[[file]]")[0]
    path = into / name / "dataset.toml"
    path.parent.mkdir()
    path.write_text(mapping.replace("plausible = [1, 2000]\n", ""), encoding="utf-8")
    code = main(["import", str(path), "--data", str(into / "data"), "-o", str(into / "runs")])
    return code, into / "runs" / name


def codes(run: Path) -> dict[str, str]:
    points = run_points([read_run(run)], segments="windows:1")
    found: dict[str, str] = {}
    for reason in fit_points(points, ("rapl_package",)).reasons:
        if found.get(reason.code) != "refuse":
            found[reason.code] = reason.consequence
    return found


@pytest.mark.parametrize(("at", "back_s"), [(2000, 5), (2000, 30), (3500, 100)])
def test_a_clock_that_was_set_back_is_found(
    at: int, back_s: int, wattcal_data: Path, tmp_path: Path
) -> None:
    """Also where two seconds of the other side are left, which would bend the gain by 3 %."""

    def set_back(rows: list[list[str]]) -> None:
        for row in rows[at:]:
            row[0] = str(int(row[0]) - back_s * 1_000_000)

    code, run = altered(wattcal_data, tmp_path, set_back)
    assert code == 0
    found = codes(run)
    assert found["time_jump"] == "refuse"
    assert "unit_scale" not in found


def test_rows_that_only_repeat_a_time_are_left_out_and_said(
    wattcal_data: Path, tmp_path: Path
) -> None:
    def set_back(rows: list[list[str]]) -> None:
        for row in rows[4000:]:
            row[0] = str(int(row[0]) - 300_000_000)

    code, run = altered(wattcal_data, tmp_path, set_back)
    assert code == 0
    assert codes(run)["time_jump"] == "flag"


@pytest.mark.parametrize(
    ("factor", "at"), [(10_000, 0), (100, 0), (10, 2000), (1000, 200), (0.01, 3000)]
)
def test_a_log_in_another_unit_is_found(
    factor: float, at: int, wattcal_data: Path, tmp_path: Path
) -> None:
    def scale(rows: list[list[str]]) -> None:
        for row in rows[at:]:
            row[1] = str(round(int(row[1]) * factor))

    code, run = altered(wattcal_data, tmp_path, scale)
    assert code == 0
    found = codes(run)
    assert found["unit_scale"] == "refuse"
    assert "time_jump" not in found


def test_the_import_refuses_another_unit_where_the_mapping_says_what_is_plausible(
    wattcal_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def scale(rows: list[list[str]]) -> None:
        for row in rows:
            row[1] += "0" * 7  # 2 MW

    code, _ = altered(wattcal_data, tmp_path, scale)
    assert code == 3
    assert "unit_scale" in capsys.readouterr().err
