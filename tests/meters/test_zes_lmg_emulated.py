"""The LMG95 and LMG670: confirmed settings, a clock of their own, streams that are left stopped."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from drivers.emulators.faults import FaultPlan
from drivers.emulators.served import NullModem, Responder, VirtualClock
from drivers.emulators.zes_lmg import ZesLmgDevice, ZesLmgEmulator
from drivers.errors import DeviceError, Timeout, Unsupported
from drivers.meters.zes_lmg import ZesLmg
from drivers.transport import open_port

SECOND = 1_000_000_000
BOTH = pytest.mark.parametrize("variant", ["lmg95", "lmg670"])


class Bench:
    """A driver and its emulated instrument on one virtual clock."""

    def __init__(self, power_w: Any = 345.0, *, variant: str, device: Any = None, **options: Any):
        self.clock, self.faults = VirtualClock(), FaultPlan()
        self.device = ZesLmgDevice(power_w, variant=variant, **(device or {}))
        self.responder = Responder(self.device, self.faults)
        self.line = NullModem(self.responder, self.clock)
        self.meter = ZesLmg(self.line, variant=variant, now_ns=self.clock.now_ns, **options)


@BOTH
def test_every_setting_is_confirmed_and_the_items_are_in_order(variant: str) -> None:
    bench = Bench(variant=variant, voltage_range_v=400.0, current_range_a=5.0)
    identity = bench.meter.identify()
    assert identity["identity"] == variant.upper()
    assert (bench.device.volt_range, bench.device.amp_range) == (400.0, 5.0)
    assert identity["voltage_range_v"] == "400"
    confirmed = [c for c in bench.device.commands if c == "*opc?"]
    assert len(confirmed) == (7 if variant == "lmg95" else 3)
    bench.meter.start()
    assert " ".join(bench.device.items) == identity["items"]


@BOTH
def test_each_line_is_the_mean_of_its_cycle_on_the_meters_own_clock(variant: str) -> None:
    bench = Bench(lambda t_s: 100.0 + 10.0 * t_s, variant=variant)
    bench.meter.start()
    blocks = [bench.meter.read_block() for _ in range(20)]
    ticks = np.concatenate([b.device_ticks for b in blocks])
    cycles = np.diff(ticks) / bench.meter.tick_rate_hz
    assert cycles == pytest.approx(np.full(19, 0.5))
    for block in blocks:
        assert block.faults == ()
        middle_s = block.t_reply_ns / SECOND - 0.25
        assert block.columns["power_w"][0] / 10_000 == pytest.approx(100 + 10 * middle_s, abs=0.3)


@BOTH
def test_lines_lost_on_the_way_are_a_gap_in_the_clock(variant: str) -> None:
    bench = Bench(variant=variant)
    bench.meter.start()
    first = bench.meter.read_block()
    bench.faults.inject("torn", 1)
    bench.faults.inject("silent", 1)
    faults: list[str] = []
    for _ in range(2):
        block = bench.meter.read_block()
        faults += block.faults
    gap_s = (block.device_ticks[0] - first.device_ticks[0]) / bench.meter.tick_rate_hz
    assert gap_s == pytest.approx((block.t_reply_ns - first.t_reply_ns) / SECOND, abs=0.02)
    assert gap_s >= 1.5


@BOTH
def test_a_stream_that_somebody_left_is_stopped_and_ours_too(variant: str) -> None:
    bench = Bench(variant=variant)
    bench.meter.start()
    bench.meter.read_block()
    bench.clock.wait_until(bench.clock.now_ns() + 3 * SECOND)
    again = ZesLmg(bench.line, variant=variant, now_ns=bench.clock.now_ns)
    assert again.identify()["model"] == variant
    assert not bench.device.streaming
    again.start()
    assert again.read_block().device_ticks.size == 1
    again.close()
    assert not bench.device.streaming


@BOTH
def test_an_over_range_is_a_fault_of_its_sample(variant: str) -> None:
    bench = Bench(lambda t_s: 5_000.0 if 4.0 <= t_s < 5.0 else 345.0, variant=variant)
    bench.meter.start()
    faults: list[str] = []
    for _ in range(12):
        faults += bench.meter.read_block().faults
    assert "overrange" in faults


def test_a_stream_that_has_stopped_is_a_timeout_and_another_model_is_refused() -> None:
    bench = Bench(variant="lmg95")
    bench.meter.start()
    bench.meter.read_block()
    bench.device.reboot()
    with pytest.raises(Timeout, match="dried up"):
        bench.meter.read_block()
    bench.device.identity = "LMG450"
    with pytest.raises(DeviceError, match="Expected an LMG95"):
        bench.meter.identify()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"variant": "lmg95", "cycle_s": 0.0}, "cycle_s from 0.05 to 60 s"),
        ({"variant": "lmg670", "cycle_s": 1.0}, "cycle_s of 0.5 s"),
        ({"variant": "lmg95", "current_range_a": -1.0}, "ranges up to"),
    ],
)
def test_an_impossible_setting_is_one_sentence(options: dict[str, Any], words: str) -> None:
    with pytest.raises(Unsupported, match=words):
        Bench(**options)


def test_an_lmg670_over_tcp() -> None:
    with ZesLmgEmulator(345.0, variant="lmg670", link="socket://127.0.0.1:0") as emulator:
        meter = ZesLmg(open_port(emulator.path, baud=115_200), variant="lmg670")
        with meter:
            meter.start()
            block = meter.read_block()
            assert block.columns["power_w"][0] / 10_000 == pytest.approx(345.0, abs=0.01)
