"""The SmartPower 3: listened to and never spoken to, on a virtual clock and over a pty."""

from __future__ import annotations

import numpy as np
import pytest

from drivers import open_meter
from drivers.emulators.faults import FaultPlan
from drivers.emulators.served import NullModem, Responder, VirtualClock
from drivers.emulators.smartpower3 import SmartPower3Device, SmartPower3Emulator
from drivers.errors import Timeout
from drivers.meters.smartpower3 import SmartPower3
from drivers.reading import Block


def watch(device: SmartPower3Device, seconds: float, faults: FaultPlan) -> list[Block]:
    clock = VirtualClock()
    meter = SmartPower3(NullModem(Responder(device, faults), clock), now_ns=clock.now_ns)
    meter.start()
    end_ns = clock.now_ns() + round(seconds * 1e9)
    blocks: list[Block] = []
    while clock.now_ns() < end_ns:
        blocks.append(meter.read_block())
    meter.close()
    return blocks


def test_it_is_never_spoken_to() -> None:
    device = SmartPower3Device(60.0)
    watch(device, 2.0, FaultPlan())
    assert device.heard == b""
    with SmartPower3Emulator(60.0) as emulator:
        meter = open_meter(f"smartpower3@{emulator.path}?baud=115200")
        assert meter.identify() == {"model": "smartpower3"}
        meter.close()
        assert emulator.instrument.heard == b""


def test_the_sum_of_the_outputs_is_the_power_also_beyond_65_w() -> None:
    blocks = watch(SmartPower3Device(lambda t_s: 50.0 + 20.0 * t_s), 5.0, FaultPlan())
    volt = np.concatenate([b.columns["output0_v"] for b in blocks]) * 1e-3
    ampere = np.concatenate([b.columns["output0_i"] for b in blocks]) * 1e-3
    t_s = 1.0 + (np.concatenate([b.device_ticks for b in blocks]) - 123_456) * 1e-3
    assert np.abs(volt * ampere - (50.0 + 20.0 * t_s)).max() <= 0.0061
    assert (volt * ampere).max() > 140.0


def test_damage_is_named_and_nothing_is_made_up() -> None:
    rates = dict.fromkeys(("torn", "bit_flip", "bad_crc", "noise", "mangled", "double"), 0.02)
    blocks = watch(SmartPower3Device(60.0), 60.0, FaultPlan(rates, seed=4))
    assert {f for b in blocks for f in b.faults} >= {"crc", "desync", "held"}
    assert {int(v) for b in blocks for v in b.columns["output0_i"]} == {5000}
    ticks = np.concatenate([b.device_ticks for b in blocks])
    assert np.diff(ticks).min() > 0
    assert 11_500 < len(ticks) < 12_000


def test_a_restart_is_named() -> None:
    faults = FaultPlan()
    faults.inject(None, 10)
    faults.inject("reboot")
    blocks = watch(SmartPower3Device(60.0), 10.0, faults)
    assert [f for b in blocks for f in b.faults] == ["reboot"]


def test_other_speeds_are_tried_and_silence_is_one_sentence() -> None:
    with SmartPower3Emulator(60.0, baud=460_800) as emulator:
        meter = open_meter(f"smartpower3@{emulator.path}")
        assert meter.identify() == {"model": "smartpower3"}
        meter.close()
        quiet = open_meter(f"smartpower3@{emulator.path}?baud=9600")
        with pytest.raises(Timeout, match="switch its logging on"):
            quiet.identify()
        quiet.close()


def test_the_slowest_log_is_waited_for() -> None:
    blocks = watch(SmartPower3Device(60.0, interval_ms=1000), 10.0, FaultPlan())
    assert {len(b.device_ticks) for b in blocks} == {1}
