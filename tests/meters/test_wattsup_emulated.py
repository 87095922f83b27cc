"""The Watts Up? on a virtual clock and over a pty: what it is asked, how it is left."""

from __future__ import annotations

import numpy as np
import pytest

from drivers import open_meter
from drivers.emulators.faults import FaultPlan
from drivers.emulators.served import NullModem, Responder, VirtualClock
from drivers.emulators.wattsup import WattsUpDevice, WattsUpEmulator
from drivers.errors import DriverError, Refused, Transient, Unsupported
from drivers.meters.wattsup import WattsUp
from drivers.reading import Block


def bench(
    device: WattsUpDevice, faults: FaultPlan | None = None, **options: int
) -> tuple[WattsUp, VirtualClock]:
    clock = VirtualClock()
    line = NullModem(Responder(device, faults), clock)
    return WattsUp(line, now_ns=clock.now_ns, **options), clock


def watch(meter: WattsUp, clock: VirtualClock, seconds: float) -> tuple[list[Block], list[str]]:
    """Read on as a recorder does: after a silence the stream is started again."""
    meter.start()
    end_ns, blocks, failures = clock.now_ns() + round(seconds * 1e9), [], []
    while clock.now_ns() < end_ns:
        try:
            blocks.append(meter.read_block())
        except Transient as error:
            failures.append(error.code)
            meter.start()
    return blocks, failures


def test_it_says_who_it_is_and_what_it_logs() -> None:
    device = WattsUpDevice(87.3, variant="net")
    meter, _ = bench(device)
    assert meter.identify() == {
        "model": "wattsup",
        "variant": ".Net",
        "hardware": "5.2",
        "firmware": "3.14",
        "fields": "W V A WH Cost WH/Mo Cost/Mo Wmax Vmax Amax Wmin Vmin Amin PF DC PC Hz VA",
        "logged": "W V A WH PF Hz VA",
    }
    assert device.forbidden == []


def test_fields_that_are_not_logged_have_no_channel() -> None:
    meter, clock = bench(WattsUpDevice(87.3, logged=("W", "V", "A", "WH", "Wmax", "PF")))
    blocks, _ = watch(meter, clock, 3.0)
    assert [c.name for c in meter.channels] == [
        "power_w", "voltage_v", "current_a", "energy_j", "power_factor",
    ]  # fmt: skip
    assert set(blocks[0].columns) == {c.name for c in meter.channels}


def test_old_firmware_has_sixteen_fields() -> None:
    meter, clock = bench(WattsUpDevice(87.3, fields=16))
    blocks, _ = watch(meter, clock, 5.0)
    assert "apparent_power_va" not in blocks[0].columns
    assert len(blocks) >= 4


def test_without_power_it_is_refused() -> None:
    meter, _ = bench(WattsUpDevice(87.3, logged=("V", "A")))
    with pytest.raises(Refused, match="does not log W"):
        meter.identify()


def test_energy_of_a_changing_load() -> None:
    """The means of all seconds are the integral, to the rounding of 0.1 W."""
    meter, clock = bench(WattsUpDevice(lambda t_s: 60.0 + 40.0 * (int(t_s / 7) % 3)))
    blocks, failures = watch(meter, clock, 300.0)
    assert failures == []
    assert [f for b in blocks for f in b.faults] == []
    watt = np.concatenate([b.columns["power_w"] for b in blocks]) * 0.1
    end_s = np.array([b.t_reply_ns for b in blocks]) * 1e-9
    truth = [sum(60.0 + 40.0 * (int((t - 1 + (i + 0.5) / 50) / 7) % 3) for i in range(50)) / 50
             for t in end_s]  # fmt: skip
    assert abs(watt.sum() - sum(truth)) < 0.05 * len(watt)
    joule = np.concatenate([b.columns["energy_j"] for b in blocks]) * 360.0
    assert abs((joule[-1] - joule[0]) - watt[1:].sum()) <= 360.0 + 5.0
    ticks = np.concatenate([b.device_ticks for b in blocks])
    assert set(np.diff(ticks)) == {1}


def test_an_hour_with_faults_makes_no_number_up() -> None:
    """Every fault but changed payload bytes, which no checksum protects."""
    names = ("silent", "torn", "noise", "mangled", "double", "mid_stream", "over_range", "reboot")
    device = WattsUpDevice(lambda t_s: 80.0 + 40.0 * (int(t_s / 20) % 2))
    faults = FaultPlan(dict.fromkeys(names, 0.004), seed=3)
    meter, clock = bench(device, faults)
    faults.inject(None, 10)
    meter.identify()
    blocks, failures = watch(meter, clock, 3600.0)
    assert {int(w) for b in blocks for w in b.columns["power_w"]} <= set(range(800, 1201))
    named = {f for b in blocks for f in b.faults}
    assert named >= {"desync", "held", "implausible", "reboot"}
    assert named <= {"desync", "held", "implausible", "reboot", "counter-reset"}
    assert failures
    ticks = np.concatenate([b.device_ticks for b in blocks[: len(blocks) // 20]])
    assert np.diff(ticks).min() > -len(ticks)
    assert device.forbidden == []


def test_a_restart_ends_the_reports_until_they_are_started_again() -> None:
    faults = FaultPlan()
    meter, clock = bench(WattsUpDevice(87.3), faults)
    meter.identify()
    faults.inject(None, 5)
    faults.inject("reboot")
    blocks, failures = watch(meter, clock, 30.0)
    assert failures == ["timeout"]
    assert [f for b in blocks for f in b.faults] == ["reboot"]
    assert len(blocks) >= 15


def test_it_is_left_quiet_and_its_memory_untouched() -> None:
    with WattsUpEmulator(87.3) as emulator:
        meter = open_meter(f"wattsup@{emulator.path}?baud=115200")
        meter.start()
        meter.read_block()
        assert emulator.instrument.reporting
        meter.close()
        assert not emulator.instrument.reporting
        assert emulator.instrument.forbidden == []


def test_one_that_somebody_left_reporting_is_stopped_first() -> None:
    device = WattsUpDevice(87.3)
    device.advance(0.5)
    device.take(b"#L,W,3,E,1,1;")  # the reserved argument as wattsup-vmw sends it
    meter, _ = bench(device)
    assert meter.identify()["variant"] == "PRO"
    assert not device.reporting


def test_other_speed_other_meter_other_interval() -> None:
    device = WattsUpDevice(87.3, baud=19_200)
    meter, clock = bench(device, interval_s=5)
    blocks, _ = watch(meter, clock, 30.0)
    assert 5 <= len(blocks) <= 7
    assert meter.tick_rate_hz == 0.2
    with pytest.raises(Unsupported, match="1 to 3600"):
        bench(device, interval_s=0)
    faults = FaultPlan()
    meter, _ = bench(WattsUpDevice(87.3), faults)
    faults.inject("mangled", 10)
    with pytest.raises(DriverError):
        meter.identify()
