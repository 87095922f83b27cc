"""`wattcal audit` on files that the real tools wrote, in every mode, and on what none wrote."""

from __future__ import annotations

import csv
import json
import random
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from calibration._audit.memory import assumed_power_w, guessed_modules
from calibration.audit import ORIGINS, Audit, audit_file
from calibration.cli import main
from calibration.errors import InputError
from calibration.grain import grain_of

FILES = Path(__file__).parent / "audit_files"
MANIFEST = tomllib.loads((FILES / "manifest.toml").read_text(encoding="utf-8"))
SCHEMA = json.loads(resources.files("calibration").joinpath("schema/audit-1.0.json").read_text())
KWH_PER_J = 2.77778e-7


def audited(name: str) -> Audit:
    return audit_file(FILES / name)


def origins(audit: Audit) -> dict[str, str]:
    return {p.component: p.origin for r in audit.rows for p in r.parts}


def codes(audit: Audit) -> set[str]:
    return {m.code for m in audit.remarks}


def edited(name: str, folder: Path) -> Path:
    """Write a file of the manifest's `edited`: a made file with some cells changed."""
    entry = MANIFEST["edited"][name]
    with (FILES / entry["from"]).open(newline="") as file:
        (row,) = csv.DictReader(file)
    row.update(entry["cells"])
    path = folder / name
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(row))
        writer.writeheader()
        writer.writerow(row)
    return path


def test_every_file_stands_in_the_manifest() -> None:
    here = {p.name for p in FILES.iterdir()} - {"make.py", "manifest.toml", "__pycache__"}
    made: set[str] = set()
    for name, entry in MANIFEST["made"].items():
        stem = name.removesuffix(".log")
        logs = {f"{stem}_carbontracker.log", f"{stem}_carbontracker_output.log"}
        made |= logs if entry["tool"] == "carbontracker" else {name}
    assert here == made


# What the tools did is known from the scenario: a counter tree lay before them, or none.
@pytest.mark.parametrize("name", [n for n in MANIFEST["made"] if n.startswith("codecarbon-")])
def test_the_cpu_is_counted_where_there_was_a_counter(name: str) -> None:
    audit, entry = audited(name), MANIFEST["made"][name]
    for row in audit.rows:
        cpu = {p.component: p for p in row.parts}.get("cpu") or row.parts[0]
        if entry.get("rapl"):
            assert cpu.origin == "counted", cpu.evidence
            # 40 W + 25 W and a ripple of at most 2 x 10 J; CodeCarbon's duration counts more.
            pue = entry.get("options", {}).get("pue", 1.0)
            true_j = 65.0 * (row.duration_s or 0.0)
            assert abs(cpu.energy_j - true_j) < 20.0 + 65.0 * 0.6
            assert row.energy_j == pytest.approx(
                pue * sum(p.energy_j for p in row.parts if p.component != "overhead")
            )
        else:
            assert cpu.origin in ("modelled", "assumed")
    assert audit.energy_j == pytest.approx(sum(audit.by_origin().values()))
    assert set(audit.by_origin()) == set(ORIGINS)


@pytest.mark.parametrize(
    ("name", "component", "origin", "words"),
    [
        ("codecarbon-1.2.0-constant.csv", "total", "assumed", "mean power is 42.5 W"),
        ("codecarbon-2.1.4-constant.csv", "cpu", "assumed", "half of the 85 W"),
        ("codecarbon-2.3.5-constant.csv", "cpu", "assumed", "half of the 85 W"),
        ("codecarbon-3.3.2-load.csv", "cpu", "modelled", "no whole number of microjoules"),
        ("codecarbon-2.2.7-rapl.csv", "ram", "assumed", "0.375 W for each of 23.59 GB"),
        ("codecarbon-2.8.4-rapl-pue.csv", "ram", "assumed", "0.375 W for each of 23.59 GB"),
        ("codecarbon-3.3.2-rapl.csv", "ram", "assumed", "5 W for each memory module"),
        ("codecarbon-3.3.2-rapl-pue.csv", "ram", "assumed", "5 W for each memory module"),
        ("codecarbon-3.3.2-ram-given.csv", "ram", "assumed", "12 W, none of CodeCarbon's own"),
        ("codecarbon-3.3.2-process.csv", "ram", "modelled", "tracking_mode is process"),
        ("codecarbon-3.3.2-rapl-pue.csv", "overhead", "assumed", "pue 1.5"),
        ("codecarbon-3.3.2-gpu.csv", "gpu", "counted", "whole number of millijoules"),
        ("codecarbon-3.3.2-gpu-no-counter.csv", "gpu", "unknown", "power readings times time"),
        ("carbontracker-2.4.7-gpu_carbontracker.log", "gpu", "sampled", "the GPU's own sensor"),
        ("carbontracker-2.4.7-gpu_carbontracker.log", "cpu", "counted", "RAPL zones"),
        ("zeus-0.16.0-counted.csv", "gpu0", "counted", "whole number of millijoules"),
        ("zeus-0.16.0-sampled.csv", "gpu0", "sampled", "power readings times time"),
        ("carbontracker-2.4.7-rapl_carbontracker.log", "cpu", "counted", "RAPL zones"),
        ("carbontracker-2.4.7-tdp_carbontracker.log", "cpu", "assumed", "half of a TDP"),
        ("carbontracker-2.4.7-tdp_carbontracker.log", "overhead", "assumed", "PUE of 1.58"),
    ],
)
def test_each_rule_names_its_evidence(name: str, component: str, origin: str, words: str) -> None:
    (part,) = (p for p in audited(name).rows[0].parts if p.component == component)
    assert part.origin == origin
    assert words in part.evidence


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("codecarbon-3.3.2-process.csv", "process_tracking"),
        ("codecarbon-3.3.2-cloud.csv", "on_cloud"),
        ("codecarbon-3.3.2-rapl-pue.csv", "pue"),
        ("codecarbon-3.3.2-rapl.csv", "power_column"),
        ("codecarbon-3.3.2-rapl.csv", "short"),
        ("codecarbon-3.3.2-overlap.csv", "overlap"),
        ("codecarbon-3.3.2-gpu-zero.csv", "zero_component"),
        ("carbontracker-2.4.7-rapl_carbontracker.log", "many_devices_one_number"),
        ("zeus-0.16.0-counted.csv", "gpu_only"),
        ("zeus-0.16.0-counted.csv", "overlap"),
        ("zeus-0.16.0-counted.csv", "zero_component"),
        ("zeus-0.16.0-sampled.csv", "overlap"),
    ],
)
def test_each_remark_stands_where_it_belongs(name: str, code: str) -> None:
    assert code in codes(audited(name))


def test_of_a_mean_over_devices_it_is_said_where_that_is_known(tmp_path: Path) -> None:
    text = (FILES / "carbontracker-2.4.7-rapl_carbontracker.log").read_text(encoding="utf-8")
    path = tmp_path / "a_carbontracker.log"
    known = {
        "2.4.7": "prints their mean, so that together they drew 2 times",
        "2.3.1": "does not show whether it is their sum or their mean",
    }
    for version, words in known.items():
        path.write_text(text.replace("2.4.7", version), encoding="utf-8")
        (remark,) = (m for m in audit_file(path).remarks if m.code == "many_devices_one_number")
        assert words in remark.message


def test_a_good_long_file_has_no_remarks() -> None:
    assert codes(audited("codecarbon-3.3.2-long-rapl.csv")) == set()


def test_what_only_a_fault_writes(tmp_path: Path) -> None:
    back = audit_file(edited("codecarbon-3.3.2-clock-set-back.csv", tmp_path))
    assert "negative_duration" in codes(back)
    assert origins(back)["cpu"] == "counted"
    rounded = audit_file(edited("codecarbon-3.3.2-rounded.csv", tmp_path))
    assert origins(rounded)["cpu"] == "unknown"
    assert "too few" in rounded.rows[0].parts[0].evidence


def test_a_total_that_is_not_its_parts(tmp_path: Path) -> None:
    text = (FILES / "codecarbon-3.3.2-rapl.csv").read_text(encoding="utf-8")
    path = tmp_path / "emissions.csv"
    path.write_text(text.replace("0.00016716829436609065", "0.0002"), encoding="utf-8")
    audit = audit_file(path)
    assert "sum_mismatch" in codes(audit)
    assert origins(audit)["rest"] == "unknown"
    path.write_text(text.replace("0.00016716829436609065", "50"), encoding="utf-8")
    assert "implausible_power" in codes(audit_file(path))


def test_both_logs_of_carbontracker_are_one_run() -> None:
    log = audited("carbontracker-2.4.7-tdp_carbontracker.log")
    output = audited("carbontracker-2.4.7-tdp_carbontracker_output.log")
    assert log.rows[0].parts == output.rows[0].parts
    # The output log prints kWh with the PUE; that is what the parts add to.
    printed = (FILES / "carbontracker-2.4.7-tdp_carbontracker_output.log").read_text()
    kwh = float(printed.rpartition("Energy:")[2].split()[0])
    assert log.energy_j == pytest.approx(kwh * 3.6e6, rel=1e-9)


# The cards of make.py: 150 W with a ripple of 20 W, and 75 W with one of 10 W.
@pytest.mark.parametrize(
    ("name", "component", "power_w"),
    [
        ("codecarbon-3.3.2-gpu.csv", "gpu", 150.0),
        ("codecarbon-3.3.2-gpu-no-counter.csv", "gpu", 75.0),
        ("carbontracker-2.4.7-gpu_carbontracker.log", "gpu", 150.0),
        ("zeus-0.16.0-counted.csv", "gpu0", 150.0),
        ("zeus-0.16.0-sampled.csv", "gpu0", 75.0),
    ],
)
def test_the_gpu_s_joules_are_those_that_it_was_given(
    name: str, component: str, power_w: float
) -> None:
    for row in audited(name).rows:
        found = {p.component: p for p in row.parts}
        if component not in found:
            continue
        # A ripple of a sixth of the power with a period of 6.3 s, and the ends of a run.
        assert found[component].energy_j == pytest.approx(power_w * (row.duration_s or 0), rel=0.2)


def test_a_gpu_that_was_not_looked_at_leaves_no_trace() -> None:
    """Without nvidia-smi CodeCarbon lists no GPU, so its file cannot tell that there was one."""
    audit = audited("codecarbon-3.3.2-gpu-no-smi.csv")
    assert "gpu" not in origins(audit)
    assert "zero_component" not in codes(audit)
    listed = audited("codecarbon-3.3.2-gpu-zero.csv")
    assert "gpu" not in origins(listed)
    (remark,) = (m for m in listed.remarks if m.code == "zero_component")
    assert "NVIDIA A100" in remark.message


def test_windows_of_zeus_that_are_empty_or_lie_in_one_another() -> None:
    audit = audited("zeus-0.16.0-counted.csv")
    assert audit.tool == "zeus"
    assert {r.id: [any(m.code == c for m in r.remarks) for c in ("overlap", "zero_component")]
            for r in audit.rows} == {
        "run": [True, False], "inner": [True, False], "short": [False, True],
    }  # fmt: skip


def test_a_window_of_zeus_with_less_than_nothing(tmp_path: Path) -> None:
    """Written by hand: a card that was reset between two readings of its counter."""
    text = (FILES / "zeus-0.16.0-counted.csv").read_text(encoding="utf-8")
    path = tmp_path / "zeus.csv"
    path.write_text(text.replace(",130.9539999999106", ",-12.25"), encoding="utf-8")
    (part,) = audit_file(path).rows[0].parts
    assert part.origin == "unknown"
    assert "wrapped or was reset" in part.evidence


def counter_sum(rng: random.Random, intervals: int) -> float:
    """Sum a counter's differences as CodeCarbon does: each reading in kWh, then the difference."""
    reading_uj, total_kwh = rng.randrange(262_143_328_850), 0.0
    last_kwh = reading_uj * 10 ** (-6) * KWH_PER_J
    for _ in range(intervals):
        reading_uj += rng.randrange(1_000_000, 400_000_000)
        now_kwh = reading_uj * 10 ** (-6) * KWH_PER_J
        total_kwh += now_kwh - last_kwh
        last_kwh = now_kwh
    return total_kwh


@pytest.mark.parametrize("intervals", [1, 30, 1000, 7200])
def test_sums_of_a_counter_are_whole_and_others_are_not(intervals: int) -> None:
    rng = random.Random(intervals)
    n = 2000 if intervals <= 30 else 40

    def verdict(kwh: float) -> str:
        units = kwh / (KWH_PER_J * 1e-6)
        return grain_of(units, rounding=2e-5, intervals=intervals, digits=17).whole

    counted = [verdict(counter_sum(rng, intervals)) for _ in range(n)]
    assert counted.count("yes") == n
    modelled = [verdict(rng.uniform(1e-6, 1e-1)) for _ in range(2000)]
    # By chance 2 x tolerance: 0.2 % at the least, 2 % for 7200 differences; the binomial 99.99 %.
    chance = 2 * max(1e-3, 6 * 2e-5 * intervals**0.5)
    assert modelled.count("yes") <= 2000 * chance + 4 * (2000 * chance) ** 0.5
    assert modelled.count("undecided") == 0


def test_where_rounding_hides_the_grain_nothing_is_said() -> None:
    assert grain_of(123_456_789.0, rounding=2e-5, intervals=1e6, digits=17).whole == "undecided"
    assert grain_of(123_456_789.0, rounding=2e-5, intervals=1, digits=9).whole == "undecided"
    assert grain_of(1e17, rounding=2e-5, intervals=1, digits=17).whole == "undecided"
    assert grain_of(float("nan"), rounding=2e-5, intervals=1, digits=17).whole != "yes"


def test_memory_is_guessed_as_codecarbon_guesses_it() -> None:
    from codecarbon.external.ram import RAM

    ram = RAM()
    for size_gb in (0.5, 2, 4, 7.7, 16, 17, 23.6, 64, 65, 128, 129, 200, 256, 1024, 2048, 6000):
        assert guessed_modules(size_gb) == ram._estimate_dimm_count(size_gb)
        ram.is_arm_cpu = False
        assert assumed_power_w(size_gb) == pytest.approx(ram._calculate_ram_power(size_gb))
        ram.is_arm_cpu = True
        assert assumed_power_w(size_gb, arm=True) == pytest.approx(
            ram._calculate_ram_power(size_gb)
        )


BAD = [
    (b"", "empty"),
    (b"timestamp,duration,energy_consumed\n", "got none"),
    (b"a,b\n1,2\n", "Expected the columns of CodeCarbon"),
    (b"timestamp,duration,energy_consumed\n2026-01-01T00:00:00,1\n", "Expected 3 fields"),
    (b"\xff\xfe\x00", "UTF-8"),
    (b"2026-11-28 03:09:06 - carbontracker version 2.4.7\n", "Expected epochs"),
]


@pytest.mark.parametrize(("data", "words"), BAD)
def test_what_is_no_such_file_is_one_sentence(tmp_path: Path, data: bytes, words: str) -> None:
    path = tmp_path / "file"
    path.write_bytes(data)
    with pytest.raises(InputError, match=words):
        audit_file(path)
    assert main(["audit", str(path)]) == 3
    assert main(["audit", str(tmp_path / "absent")]) == 3


def test_cells_of_any_kind_never_break_it(tmp_path: Path) -> None:
    """An audit reads what others have broken: every cell in turn becomes nonsense."""
    with (FILES / "codecarbon-3.3.2-rapl.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    path = tmp_path / "emissions.csv"
    for column in row:
        for cell in ("", "nan", "-1", "inf", "1e400", "zero", "0"):
            with path.open("w", newline="") as file:
                writer = csv.DictWriter(file, list(row))
                writer.writeheader()
                writer.writerow({**row, column: cell})
            audit = audit_file(path)
            assert audit.rows[0].parts is not None
            assert audit.sentence


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    capsys.readouterr()
    assert main(["audit", *arguments]) == 0
    return capsys.readouterr().out


def every_file() -> Iterator[Path]:
    return (p for p in sorted(FILES.iterdir()) if p.suffix in (".csv", ".log"))


@pytest.mark.parametrize("path", list(every_file()), ids=lambda p: p.name)
def test_the_command_prints_it(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    document: Any = json.loads(printed(capsys, str(path), "--json"))
    jsonschema.Draft202012Validator(SCHEMA).validate(document)
    assert sum(document["by_origin_j"].values()) == pytest.approx(document["energy_j"])
    text = printed(capsys, str(path))
    commands = [s["command"] for s in document["steps"] if s["command"]]
    assert all(len(line) <= 80 for line in text.splitlines() if line.strip() not in commands)
    assert " ".join(document["sentence"].split()) in " ".join(text.split())
    assert "What to do next" in text


def test_the_permission_comes_first_where_the_cpu_was_not_counted() -> None:
    assert audited("codecarbon-3.3.2-load.csv").steps[0].code == "fix_permission"
    assert audited("codecarbon-3.3.2-rapl.csv").steps[0].code == "measure"


def test_it_needs_the_standard_library_only() -> None:
    """`python -S` has no site-packages at all."""
    root = Path(__file__).resolve().parents[2]
    script = (
        f"import sys; sys.path.insert(0, {str(root)!r}); from calibration.cli import main; "
        f"sys.exit(main(['audit', {str(FILES / 'codecarbon-3.3.2-rapl.csv')!r}]))"
    )
    done = subprocess.run([sys.executable, "-S", "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "counted" in done.stdout


SHOWN = {
    "codecarbon-1.2.0-constant.csv": "CodeCarbon 1.2, no counter",
    "codecarbon-2.3.5-constant.csv": "CodeCarbon 2.3, no counter",
    "codecarbon-2.8.4-rapl-pue.csv": "CodeCarbon 2.8, RAPL, PUE 1.5",
    "codecarbon-3.3.2-load.csv": "CodeCarbon 3.3, no counter",
    "codecarbon-3.3.2-rapl.csv": "CodeCarbon 3.3, RAPL",
    "codecarbon-3.3.2-process.csv": "CodeCarbon 3.3, one process",
    "carbontracker-2.4.7-tdp_carbontracker.log": "CarbonTracker 2.4, no counter",
    "carbontracker-2.4.7-rapl_carbontracker.log": "CarbonTracker 2.4, RAPL",
}


def test_the_readme_shows_what_the_files_hold() -> None:
    """The table stands in the README as it follows from the files."""
    columns = ("counted", "modelled", "assumed")
    lines = [f"{'file of':<30}  {'  '.join(f'{c:>8}' for c in columns)}"]
    lines.append(f"{'-' * 30}  {'  '.join('-' * 8 for _ in columns)}")
    for name, words in SHOWN.items():
        audit = audited(name)
        shares = [audit.by_origin()[c] / audit.energy_j for c in columns]  # type: ignore[index]
        assert sum(shares) == pytest.approx(1.0)
        cells = "  ".join(f"{100 * s:6.0f} %" for s in shares)
        lines.append(f"{words:<30}  {cells}")
    readme = (Path(__file__).resolve().parents[2] / "README.md").read_text(encoding="utf-8")
    assert "\n".join(lines) in readme, "\n".join(lines)
