"""What a meter is worth in a budget: data-sheet terms, and the time in which it did not look."""

from __future__ import annotations

import math
from dataclasses import asdict, replace
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from calibration.analysis.reference import aliasing_u_w, reference_of
from calibration.bench.describe import default_cadence_s, descriptor_from_meter, observed_share
from calibration.instruments import Accuracy, Channel
from calibration.recording.documents import ChannelInfo

WT310E = Accuracy(0.001, 0.0005, source="IM WT310E-02EN 7-7", of_reactive=0.001, crest_6=2.0)
POWER = Channel(
    "power_w", "power", "W", "mean", Fraction(1, 100), 0.01, WT310E, window_s=0.1, refresh_s=0.1,
    range_max=600.0,
)  # fmt: skip


def info(**changes: Any) -> ChannelInfo:
    fields: dict[str, Any] = {
        "name": "power_w", "quantity": "power", "unit": "W", "kind": "mean", "window_s": 1.0,
        "resolution": 0.1, "range_max": 600.0,
        "accuracy": {"of_reading": 0.001, "of_range": 0.0005, "of_reactive": 0.001},
    }  # fmt: skip
    return ChannelInfo(**{**fields, **changes})


class Meter:
    """An open instrument whose current range is not the one of the catalogue."""

    model, channels = (
        "wt310e",
        (replace(POWER, range_max=150.0, accuracy=replace(WT310E, crest_6=1)),),
    )


def test_the_range_that_was_set_reaches_the_descriptor_and_the_budget() -> None:
    descriptor = descriptor_from_meter("wall", Meter())  # type: ignore[arg-type]
    (channel,) = descriptor.channels
    assert channel.range_max == 150.0
    reference = reference_of("wt310e", channel, power_factor=1.0)
    assert reference.u_offset_w == pytest.approx(0.0005 * 150 / math.sqrt(3))
    assert reference.u_gain == pytest.approx(0.001 / math.sqrt(3))


def test_the_power_factor_of_the_run_or_a_low_one_that_is_named() -> None:
    tan_phi = math.tan(math.acos(0.8))
    known = reference_of("wt310e", info(), power_factor=0.8)
    assert known.u_gain == pytest.approx((0.001 + 0.001 * tan_phi) / math.sqrt(3))
    assert "power factor 0.80 (of the run)" in known.source
    unknown = reference_of("wt310e", info())
    assert unknown.u_gain == pytest.approx((0.001 + 0.001 * math.sqrt(3)) / math.sqrt(3))
    assert "0.50 (assumed)" in unknown.source


def test_the_parts_are_those_of_the_driver() -> None:
    """Common at a value: √(gain² + offset²) of the budget never exceeds the linear sum."""
    from calibration.instruments import Conditions

    accuracy = Accuracy(0.015, counts=3.0, source="leaflet")
    reference = reference_of("wattsup", info(accuracy=asdict(accuracy), resolution=0.1))
    parts = accuracy.limits(100.0, Conditions(resolution=0.1))
    assert reference.u_gain * 100.0 == pytest.approx(parts.gain / math.sqrt(3))
    assert reference.u_offset_w == pytest.approx(parts.offset / math.sqrt(3))


@pytest.mark.parametrize(
    ("cadence_s", "share"), [(0.1, 1.0), (1.0, 0.1), (0.05, 1.0), (None, 1.0), (0.2, 0.5)]
)
def test_a_meter_of_100_ms_that_is_polled_once_a_second_sees_a_tenth(
    cadence_s: float | None, share: float
) -> None:
    assert observed_share(POWER, cadence_s) == pytest.approx(share)


def test_what_counts_sees_all_and_a_pause_between_windows_is_unseen() -> None:
    assert observed_share(replace(POWER, kind="counter"), 10.0) == 1.0
    assert observed_share(replace(POWER, kind="instant", window_s=None), 10.0) == 1.0
    assert observed_share(replace(POWER, window_s=0.25, refresh_s=1.0), 1.0) == 0.25


def test_it_is_asked_once_per_refresh() -> None:
    assert default_cadence_s(Meter()) == 0.1  # type: ignore[arg-type]
    slow = type("Slow", (), {"model": "s", "channels": (replace(POWER, refresh_s=5.0),)})()
    assert default_cadence_s(slow) == 5.0
    descriptor = descriptor_from_meter("wall", Meter(), cadence_s=1.0)  # type: ignore[arg-type]
    assert descriptor.channels[0].observed_share == pytest.approx(0.1)


def test_above_95_percent_nothing_is_added() -> None:
    assert aliasing_u_w([np.array([1.0, 2.0, 3.0])], 0.95).tolist() == [0.0]


def test_one_window_of_an_interval_is_off_by_what_the_formula_says() -> None:
    """10 windows of an interval, one of them seen: the variance of the error is (1-s)·σ²."""
    rng = np.random.default_rng(5)
    windows_w = rng.normal(100.0, 7.0, size=(40_000, 10))
    error_w = windows_w[:, 0] - windows_w.mean(axis=1)
    stated_w = aliasing_u_w([windows_w[:, 0]], 0.1)[0]
    assert error_w.std() == pytest.approx(stated_w, rel=0.02)


def test_a_load_almost_in_step_with_the_poll_does_not_average_out() -> None:
    """A square wave of 0.999 s, polled at 1 s for 200 s: its phase creeps by a fifth of it.

    Where the windows scatter at all, twice the stated uncertainty covers the error in 89 % of the
    phases; divided by the root of the number of windows it would cover 13 %.
    """
    stated, divided, spread = 0, 0, 0
    for phase in np.linspace(0.0, 1.0, 200, endpoint=False):
        t = np.arange(2000) * 0.1 + phase * 0.999
        load_w = np.where((t + 0.05) % 0.999 < 0.5, 150.0, 50.0)
        seen_w = load_w[::10]
        error_w = abs(seen_w.mean() - load_w.mean())
        u_w = aliasing_u_w([seen_w], 0.1)[0]
        if seen_w.std() > 0:
            spread += 1
            stated += error_w <= 2 * u_w
            divided += error_w <= 2 * u_w / math.sqrt(seen_w.size)
    assert spread > 30
    assert stated / spread > 0.85
    assert divided / spread < 0.3


def test_points_too_short_for_a_scatter_take_the_one_of_the_others() -> None:
    u_w = aliasing_u_w([np.array([1.0]), np.array([0.0, 2.0])], 0.5)
    assert u_w == pytest.approx([1.0, 1.0])
    assert aliasing_u_w([np.array([1.0])], 0.5).tolist() == [0.0]
