"""The PowerSpy2 on a virtual clock: its scales, its reports, and nothing plugged in."""

from __future__ import annotations

import numpy as np
import pytest

from drivers.emulators.faults import FaultPlan
from drivers.emulators.powerspy2 import PowerSpy2Device, PowerSpy2Emulator
from drivers.emulators.served import NullModem, Responder, VirtualClock
from drivers.errors import Refused, Transient, Unsupported
from drivers.meters.powerspy2 import PowerSpy2
from drivers.reading import Block
from drivers.transport import open_port


def bench(
    device: PowerSpy2Device, faults: FaultPlan | None = None, **options: int
) -> tuple[PowerSpy2, VirtualClock]:
    clock = VirtualClock()
    line = NullModem(Responder(device, faults), clock)
    return PowerSpy2(line, now_ns=clock.now_ns, **options), clock


def watch(meter: PowerSpy2, clock: VirtualClock, seconds: float) -> list[Block]:
    meter.start()
    end_ns, blocks = clock.now_ns() + round(seconds * 1e9), []
    while clock.now_ns() < end_ns:
        try:
            blocks.append(meter.read_block())
        except Transient:
            meter.start()
    return blocks


def test_it_says_who_it_is_and_its_scales() -> None:
    device = PowerSpy2Device(87.3)
    meter, _ = bench(device)
    identity = meter.identify()
    assert identity == {
        "model": "powerspy2",
        "serial": "4567",
        "software": "23",
        "hardware": "0A",
        "mains_hz": "50.00",
        "periods": "50",
        "scales": "0.0815515 V, 0.000544900016 A".replace(
            "0.0815515", f"{device.volt:.9g}"
        ).replace("0.000544900016", f"{device.ampere:.9g}"),
    }
    assert meter.channels[2].resolution == pytest.approx(device.volt * device.ampere)
    assert device.forbidden == []


@pytest.mark.parametrize(("periods", "seconds"), [(50, 1.0), (5, 0.1), (250, 5.0)])
def test_the_periods_set_the_window(periods: int, seconds: float) -> None:
    meter, clock = bench(PowerSpy2Device(lambda t_s: 60.0 + t_s), periods=periods)
    blocks = watch(meter, clock, 30 * seconds)
    assert meter.tick_rate_hz == pytest.approx(1 / seconds, rel=1e-3)
    assert meter.channels[2].window_s == pytest.approx(seconds, rel=1e-3)
    watt = np.concatenate([b.columns["power_w"] for b in blocks]) * 1e-6
    assert np.diff(watt) == pytest.approx(seconds, rel=0.01, abs=2e-4)
    ticks = np.concatenate([b.device_ticks for b in blocks])
    assert set(np.diff(ticks)) == {1}


def test_nothing_plugged_in_gives_faults_and_no_numbers() -> None:
    device = PowerSpy2Device(87.3)
    meter, _ = bench(device)
    meter.start()
    meter.read_block()
    device.plugged_in = False
    for _ in range(3):
        block = meter.read_block()
        assert (len(block.device_ticks), block.faults) == (0, ("overrange",))
    device.plugged_in = True
    assert meter.read_block().columns["power_w"][0] == pytest.approx(87.3e6, rel=1e-4)


def test_an_hour_with_faults_makes_no_number_up() -> None:
    names = ("silent", "torn", "noise", "mangled", "double", "mid_stream", "over_range", "reboot")
    device = PowerSpy2Device(80.0)
    faults = FaultPlan(dict.fromkeys(names, 0.004), seed=5)
    meter, clock = bench(device, faults)
    faults.inject(None, 30)
    meter.identify()
    blocks = watch(meter, clock, 3600.0)
    watt = np.concatenate([b.columns["power_w"] for b in blocks]) * 1e-6
    assert np.abs(watt - 80.0).max() <= 0.5 * device.volt * device.ampere + 1e-6
    named = {f for b in blocks for f in b.faults}
    assert named >= {"desync", "overrange", "held"}
    assert device.forbidden == []


def test_the_first_powerspy_and_absurd_scales_are_refused() -> None:
    meter, _ = bench(PowerSpy2Device(87.3, hardware=2))
    with pytest.raises(Unsupported, match="the first PowerSpy"):
        meter.identify()
    meter, _ = bench(PowerSpy2Device(87.3, volt=80.0))
    with pytest.raises(Refused, match="scales near"):
        meter.identify()
    meter, _ = bench(PowerSpy2Device(87.3, frequency_hz=400.0))
    with pytest.raises(Refused, match="45 to 65 Hz"):
        meter.identify()


def test_it_is_left_quiet() -> None:
    with PowerSpy2Emulator(87.3) as emulator:
        meter = PowerSpy2(open_port(emulator.path, baud=PowerSpy2.baud), periods=5)
        meter.start()
        meter.read_block()
        meter.close()
        assert not emulator.instrument.reporting
        with PowerSpy2(open_port(emulator.path, baud=PowerSpy2.baud)) as again:
            assert again.identify()["serial"] == "4567"
