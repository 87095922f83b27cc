"""Ranges to fix: the published rule, what makes a run invalid, and `wattcal ranging`."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from calibration.cli import main
from drivers.emulators.pzem004t import Pzem004tEmulator
from drivers.emulators.yokogawa_wt import YokogawaWtEmulator
from drivers.errors import OverRange, Unsupported
from drivers.ranges import Ranges, choose, findings, ranging_run

SCHEMA = Path(__file__).parents[2] / "calibration/schema/ranging-1.0.json"
VOLTS, AMPS = (15.0, 150.0, 300.0, 600.0), (0.5, 1.0, 2.0, 5.0)


@pytest.mark.parametrize(
    ("volts", "amps", "expected"),
    [
        ([229.0, 231.5], [0.4, 0.45], (300.0, 0.5)),
        ([229.0], [0.4546], (300.0, 1.0)),  # 1.1 times that is more than 0.5 A
        ([150.0], [1.818], (150.0, 2.0)),
        ([150.01], [0.0], (300.0, 0.5)),
    ],
)
def test_the_next_range_above(
    volts: list[float], amps: list[float], expected: tuple[float, float]
) -> None:
    chosen = choose(volts, amps, voltage_ranges_v=VOLTS, current_ranges_a=AMPS)
    assert chosen == Ranges(*expected, voltage_auto=False, current_auto=False)


def test_nothing_seen_and_too_much_seen() -> None:
    for volts in ([], [math.nan], [-1.0]):
        with pytest.raises(ValueError, match="Expected voltages"):
            choose(volts, [1.0], voltage_ranges_v=VOLTS, current_ranges_a=AMPS)
    with pytest.raises(Unsupported, match=r"5\.5 A exceeds the largest range, 5 A"):
        choose([230.0], [5.0], voltage_ranges_v=VOLTS, current_ranges_a=AMPS)


def test_what_makes_a_run_invalid() -> None:
    assert findings([100.0, 101.0], [0.9, 1.0]) == ()
    (missing,) = findings([100.0, None, math.nan], [0.5, 0.5, 0.5])
    assert missing.startswith("2 of 3 samples hold no number")
    (coarse,) = findings([100.0, 20.0, 0.0], [0.5, 0.5, 0.5])
    assert "2 of 3 samples are less certain than 1.00%" in coarse
    assert "0 W" in coarse


class Blind:
    """An instrument without a number on any range."""

    voltage_ranges_v, current_ranges_a = VOLTS, AMPS

    def __init__(self) -> None:
        self.now = Ranges(300.0, 2.0)

    def ranges(self) -> Ranges:
        return self.now

    def set_ranges(self, ranges: Ranges) -> None:
        self.now = ranges

    def read_extremes(self) -> tuple[float, float]:
        raise OverRange("nothing but over-range")


def test_the_ranges_are_restored_even_where_nothing_was_seen() -> None:
    meter = Blind()
    with pytest.raises(OverRange):
        ranging_run(meter, 3)
    assert meter.now == Ranges(300.0, 2.0)


def test_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    with YokogawaWtEmulator(345.0) as emulator:
        address = f"wt310e@{emulator.path}?refresh_s=0.1&current_range_a=20"
        assert main(["ranging", address, "--seconds", "1", "--json"]) == 0
        facts = json.loads(capsys.readouterr().out)
        Draft202012Validator(json.loads(SCHEMA.read_text())).validate(facts)
        assert (facts["voltage_range_v"], facts["current_range_a"]) == (300.0, 2.0)
        assert facts["fixed_address"] == (
            f"wt310e@{emulator.path}?refresh_s=0.1&voltage_range_v=300&current_range_a=2"
        )
        assert facts["samples"] + facts["without_number"] == 10
        assert main(["ranging", facts["fixed_address"], "--seconds", "1"]) == 0
        assert "fix 300 V and 2 A" in capsys.readouterr().out


def test_a_meter_without_ranges_and_a_wrong_time_are_one_sentence(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with Pzem004tEmulator(100.0) as emulator:
        assert main(["ranging", f"pzem-004t@{emulator.path}"]) == 4
        assert "has no ranges" in capsys.readouterr().err
    assert main(["ranging", "wt310e@/dev/null", "--seconds", "0"]) == 3
    assert "--seconds expects" in capsys.readouterr().err
