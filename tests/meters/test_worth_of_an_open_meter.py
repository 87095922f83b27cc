"""From the ranges that an open instrument reads back to the descriptor and the budget of a run."""

from __future__ import annotations

import math
from typing import Any

import pytest

from calibration.analysis.reference import reference_of
from calibration.bench.describe import default_cadence_s, descriptor_from_meter
from calibration.recording.documents import ChannelInfo
from drivers import Conditions
from drivers.catalog import driver_of, emulator_of, find
from drivers.emulators.served import NullModem, Responder, VirtualClock


def opened(model: str, **options: Any) -> Any:
    entry, clock = find(model), VirtualClock()
    line = NullModem(Responder(emulator_of(entry).device(345.0, **entry.preset)), clock)
    meter = driver_of(entry)(line, now_ns=clock.now_ns, **entry.preset, **options)
    meter.identify()
    return meter


def power(meter: Any, **options: Any) -> ChannelInfo:
    channels = descriptor_from_meter("wall", meter, **options).channels
    return next(c for c in channels if c.name == "power_w")


@pytest.mark.parametrize(("model", "limit_w"), [("wt310e", 0.645), ("wt310", 0.945)])
def test_345_w_on_300_v_and_2_a(model: str, limit_w: float) -> None:
    meter = opened(model, voltage_range_v=300.0, current_range_a=2.0)
    channel = next(c for c in meter.channels if c.name == "power_w")
    assert channel.range_max == 600.0
    conditions = Conditions(range_max=channel.range_max, power_factor=1.0)
    assert channel.accuracy.limit(345.0, conditions) == pytest.approx(limit_w, abs=1e-9)

    info = power(meter)
    assert info.range_max == 600.0
    assert info.accuracy is not None
    assert set(info.accuracy) >= {"of_reading", "of_range", "of_reactive"}
    reference = reference_of(model, info, power_factor=1.0)
    linear_w = reference.u_gain * 345.0 + reference.u_offset_w
    assert linear_w * math.sqrt(3) == pytest.approx(limit_w, abs=1e-9)


def test_another_range_and_crest_factor_is_another_budget() -> None:
    wide = power(opened("wt310e", voltage_range_v=300.0, current_range_a=20.0))
    assert wide.range_max == 6000.0
    assert reference_of("wt310e", wide).u_offset_w == pytest.approx(3.0 / math.sqrt(3))
    doubled = power(opened("wt310e", voltage_range_v=300.0, current_range_a=1.0, crest_factor=6))
    assert doubled.range_max == 300.0
    assert reference_of("wt310e", doubled).u_offset_w == pytest.approx(0.3 / math.sqrt(3))


def test_a_wt310e_that_updates_every_100_ms_and_is_polled_at_1_hz_sees_a_tenth() -> None:
    meter = opened("wt310e", refresh_s=0.1)
    assert default_cadence_s(meter) == pytest.approx(0.1)
    assert power(meter).observed_share == 1.0
    assert power(meter, cadence_s=1.0).observed_share == pytest.approx(0.1)
