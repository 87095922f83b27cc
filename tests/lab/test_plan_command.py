"""`wattcal plan`: it prints a plan, a prediction, and what cannot be told, each by its schema."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from calibration.cli import main
from calibration.plans import READY, find_plan

SCHEMAS = Path(__file__).resolve().parents[2] / "calibration" / "schema"


@pytest.fixture
def plan(capsys: pytest.CaptureFixture[str]) -> Any:
    def run(*arguments: str, schema: str, code: int = 0) -> Any:
        capsys.readouterr()
        assert main(["plan", *arguments, "--json"]) == code
        value = json.loads(capsys.readouterr().out)
        text = (SCHEMAS / f"{schema}-1.0.json").read_text(encoding="utf-8")
        errors = list(Draft202012Validator(json.loads(text)).iter_errors(value))
        assert not errors, errors[0]
        return value

    return run


def test_show_lists_plans_and_prints_one_that_can_be_read_again(
    plan: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert [p["name"] for p in plan("show", schema="plan-list")] == list(READY)
    assert plan("show", "standard", schema="plan")["sha256"] == READY["standard"]().sha256
    assert main(["plan", "show", "quick", "--toml"]) == 0
    file = tmp_path / "mine.toml"
    file.write_text(capsys.readouterr().out, encoding="utf-8")
    assert find_plan(str(file)) == READY["quick"]()
    for name in READY:
        assert main(["plan", "show", name]) == 0
        text = capsys.readouterr().out
        assert max(len(line) for line in text.splitlines()) <= 80
        assert READY[name]().sha256[:16] in text


@pytest.mark.parametrize("name", list(READY))
def test_check_predicts_every_plan_in_80_columns(
    name: str, plan: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    value = plan("check", name, schema="plan-check")
    assert value["interval"] == {"thorough": "conformal", "quick": "student"}.get(
        name, value["interval"]
    )
    assert main(["plan", "check", name, "--resolution", "1Wh"]) == 0
    text = capsys.readouterr().out
    assert max(len(line) for line in text.splitlines()) <= 80, text
    assert "41 Wh for 1 %" in text


def codes(value: Any) -> set[str]:
    return {p["code"] for p in value["problems"]}


def test_check_says_what_cannot_be_told(plan: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert codes(plan("check", "smoke", schema="plan-check")) == {"too_few_groups"}
    assert codes(plan("check", "rezero", schema="plan-check")) == {"idle_only"}
    assert codes(plan("check", "observe", schema="plan-check")) == {"no_steps"}
    assert codes(plan("check", "quick", schema="plan-check")) == set()
    two = ("--input", "rapl_package", "--input")
    assert codes(plan("check", "quick", *two, "cpu_load", schema="plan-check")) == {"collinear"}
    assert codes(plan("check", "standard", *two, "rapl_dram", schema="plan-check")) == set()
    gpu = plan("check", "quick", "--input", "nvml", schema="plan-check")
    assert codes(gpu) == {"unmoved_input"}
    coarse = plan("check", "quick", "--resolution", "1Wh", schema="plan-check")
    assert codes(coarse) == {"meter_too_coarse"}
    assert not coarse["resolution"]["sufficient"]
    # 1 Wh / (sqrt(6) * 1 %) = 147.0 kJ; at 95 W that takes 1547 s.
    assert coarse["resolution"]["energy_for_1_pct_j"] == pytest.approx(146969.4, rel=1e-6)
    assert coarse["resolution"]["step_for_1_pct_at_half_s"] == pytest.approx(1547.05, rel=1e-5)
    assert plan("check", "quick", "--resolution", "0.1W", schema="plan-check")["resolution"][
        "sufficient"
    ]
    capsys.readouterr()
    over = plan("check", "quick", "--meter", "pzem-004t", "--full-w", "99999",
                schema="plan-check", code=5)  # fmt: skip
    assert "over_rating" in codes(over)


LAB = """
reference = "wall"
[[meter]]
name = "spare"
address = "pzem-004t@/dev/ttyUSB1"
[[meter]]
name = "wall"
address = "pzem-004t@/dev/ttyUSB0"
range_w = 400
correction = {gain = 1.002, u_gain = 0.001, u_offset_w = 0.05}
[[machine]]
name = "node7"
full_w = 420
"""
DISPLAY = """
[[meter]]
name = "plug"
address = "manual"
display = "1Wh"
accuracy = {of_reading = 0.03, absolute = 0.6, source = "leaflet"}
"""


def test_check_takes_from_the_labs_file_what_is_not_said(
    plan: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "lab.toml").write_text(LAB, encoding="utf-8")
    value = plan("check", "quick", schema="plan-check", code=5)
    assert codes(value) == {"over_rating"}, "420 W on a meter rated for 400"
    assert value["assumptions"]["full_w"] == 420
    assert value["assumptions"]["u_meter_gain"] == 0.001
    assert value["assumptions"]["u_meter_offset_w"] == 0.05
    assert any("node7" in n for n in value["lab"])
    assert any("wall (pzem-004t" in n for n in value["lab"])
    said = plan("check", "quick", "--meter", "pzem-004t", "--full-w", "150", schema="plan-check")
    assert said["lab"] == []
    assert said["assumptions"]["u_meter_gain"] > 0.001
    other = tmp_path / "other.toml"
    other.write_text(DISPLAY, encoding="utf-8")
    shown = plan("check", "quick", "--lab", str(other), schema="plan-check")
    assert shown["assumptions"]["register_j"] == 3600
    assert shown["assumptions"]["u_meter_gain"] == pytest.approx(0.03 / 3**0.5)
    assert codes(shown) == {"meter_too_coarse"}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--resolution", "1"], "1Wh"),
        (["--resolution", "xW"], "0.1W"),
        (["--idle-w", "200"], "idle power < full power"),
        (["--noise-w", "-1"], "noise_w"),
        (["--input", "zeus"], "rapl_package"),
        (["--machine", "node7"], "lab.toml"),
        (["--lab", "nowhere.toml"], "nowhere.toml"),
    ],
)
def test_bad_input_is_refused_in_one_sentence(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plan", "check", "quick", *arguments]) == 3
    said = capsys.readouterr().err
    assert words in said
    assert said.count("\n") == 1
