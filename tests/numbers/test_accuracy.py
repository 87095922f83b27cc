"""Limits of error and standard uncertainties from data sheets, against worked figures."""

from __future__ import annotations

import math

import pytest

from drivers import PLUG_METER, Accuracy, Conditions

WT310E = Accuracy(
    of_reading=0.001, of_range=0.0005, of_reactive=0.001, crest_6=2, line_filter=0.003
)
WT310 = Accuracy(of_reading=0.001, of_range=0.001, of_reactive=0.002, crest_6=2, line_filter=0.003)
SET_600_W = Conditions(range_max=300.0 * 2.0, power_factor=1.0)


@pytest.mark.parametrize(("accuracy", "limit_w"), [(WT310E, 0.645), (WT310, 0.945)])
def test_345_w_on_300_v_and_2_a(accuracy: Accuracy, limit_w: float) -> None:
    assert accuracy.limit(345.0, SET_600_W) == pytest.approx(limit_w, abs=1e-12)
    common, independent = accuracy.standard_uncertainty(345.0, SET_600_W)
    assert common == pytest.approx(limit_w / math.sqrt(3), abs=1e-12)
    assert independent == 0.0


def test_the_power_factor_adds_its_share_of_the_reactive_power() -> None:
    """At λ = 0 all of S; in between scaled by tan φ, by apparent power or by the factor itself."""
    for accuracy, share in ((WT310E, 0.001), (WT310, 0.002)):
        plain = accuracy.limit(0.0, Conditions(range_max=600.0, power_factor=1.0))
        at_zero = accuracy.limit(0.0, Conditions(range_max=600.0, apparent=400.0))
        assert at_zero - plain == pytest.approx(share * 400.0)
    tan_phi = math.tan(math.acos(0.6))
    plain = WT310.limit(240.0, SET_600_W)
    expected = plain + 0.002 * 240.0 * tan_phi
    for conditions in (
        Conditions(range_max=600.0, power_factor=0.6),
        Conditions(range_max=600.0, power_factor=-0.6),
        Conditions(range_max=600.0, apparent=400.0),
    ):
        assert WT310.limit(240.0, conditions) == pytest.approx(expected)


def test_crest_factor_and_line_filter() -> None:
    six = Conditions(range_max=600.0, power_factor=1.0, crest_factor=6)
    assert WT310E.limit(345.0, six) == pytest.approx(0.345 + 2 * 0.3)
    filtered = Conditions(range_max=600.0, power_factor=1.0, line_filter=True)
    assert WT310E.limit(345.0, filtered) == pytest.approx(0.004 * 345 + 0.3)
    both = Conditions(range_max=600.0, power_factor=1.0, line_filter=True, crest_factor=6)
    fixed = WT310E.at(both)  # the settings are in it: applying it twice changes nothing
    assert fixed.at(both) == fixed
    assert fixed.limit(345.0, SET_600_W) == pytest.approx(WT310E.limit(345.0, both))


def test_half_a_count_is_independent_and_the_rest_common() -> None:
    """WattsUp: 1.5 % + 3 counts of 0.1 W."""
    accuracy = Accuracy(of_reading=0.015, counts=3)
    conditions = Conditions(resolution=0.1)
    assert accuracy.limit(100.0, conditions) == pytest.approx(1.8)
    common, independent = accuracy.standard_uncertainty(100.0, conditions)
    assert common == pytest.approx((1.5 + 0.25) / math.sqrt(3))
    assert independent == pytest.approx(0.1 / math.sqrt(12))  # of one step, GUM F.2.2.1
    parts = accuracy.limits(100.0, conditions)
    assert parts.total == pytest.approx(1.8)


def test_the_step_is_independent_even_where_the_data_sheet_has_no_counts() -> None:
    common, independent = Accuracy(of_reading=0.005).standard_uncertainty(
        100.0, Conditions(resolution=0.1)
    )
    assert common == pytest.approx(0.5 / math.sqrt(3))
    assert independent == pytest.approx(0.1 / math.sqrt(12))
    assert Accuracy(of_reading=0.005).limit(100.0, Conditions(resolution=0.1)) == 0.5


def test_a_plug_meter_without_a_data_sheet_is_an_assumption() -> None:
    assert PLUG_METER.assumed
    assert PLUG_METER.limit(50.0, Conditions(resolution=0.1)) == pytest.approx(1.6)


def test_negative_power_has_the_limit_of_its_magnitude() -> None:
    assert WT310E.limit(-345.0, SET_600_W) == pytest.approx(0.645)


@pytest.mark.parametrize(
    ("conditions", "words"),
    [
        (Conditions(power_factor=1.0), "the range that is set"),
        (Conditions(range_max=600.0), "the apparent power or the power factor"),
        (Conditions(range_max=600.0, power_factor=0.0), "the apparent power is needed"),
    ],
)
def test_an_unknown_condition_is_asked_for_and_not_made_up(
    conditions: Conditions, words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        WT310E.limit(345.0, conditions)
