"""The Hioki 3334: settings read back, faults as faults, ranging."""

from __future__ import annotations

import math
from typing import Any

import pytest

from drivers.emulators.faults import FaultPlan
from drivers.emulators.hioki3334 import Hioki3334Device, Hioki3334Emulator
from drivers.emulators.served import NullModem, Responder, VirtualClock
from drivers.errors import Desync, DeviceError, OverRange, Refused, Timeout, Unsupported
from drivers.meters.hioki3334 import Hioki3334
from drivers.ranges import Ranges, ranging_run
from drivers.transport import open_port

SECOND = 1_000_000_000


class Bench:
    """A driver and its emulated instrument on one virtual clock."""

    def __init__(self, power_w: Any = 345.0, **options: Any) -> None:
        self.clock, self.faults = VirtualClock(), FaultPlan(late_s=1.6)
        self.device = Hioki3334Device(power_w)
        line = NullModem(Responder(self.device, self.faults), self.clock)
        self.meter = Hioki3334(line, now_ns=self.clock.now_ns, **options)

    def wait(self, seconds: float = 1.0) -> None:
        self.clock.wait_until(self.clock.now_ns() + round(seconds * SECOND))


def test_it_sets_everything_and_says_what_it_set() -> None:
    bench = Bench(voltage_range_v=150.0, current_range_a=10.0, averaging=10)
    bench.device.settings |= {"HEAD": "OFF", "HOLD": "ON", "CURRENT:AUTO": "ON"}
    identity = bench.meter.identify()
    assert (identity["voltage_range_v"], identity["current_range_a"]) == ("150", "10")
    assert (bench.device.volt_range, bench.device.amp_range) == (150.0, 10.0)
    assert bench.device.settings["CURRENT:AUTO"] == "OFF"
    assert bench.device.settings["HOLD"] == "OFF"
    assert bench.device.settings["AVERAGING"] == "10"
    assert bench.meter.channels[0].window_s == 2.0


def test_the_mean_of_its_updates() -> None:
    bench = Bench(lambda t_s: 100.0 + 10.0 * t_s)
    bench.meter.identify()
    bench.wait(5.1)
    end_s = bench.device.analyser.end_s
    values = bench.meter.read().values
    end_s = bench.device.analyser.end_s
    assert end_s is not None
    assert values["power_w"] == pytest.approx(100.0 + 10.0 * (end_s - 0.5), abs=0.01)


def test_over_range_and_a_range_that_is_not_taken_are_faults() -> None:
    bench = Bench(1500.0)
    with pytest.raises(OverRange):
        bench.meter.read()
    stuck = Bench()
    stuck.device._obey = lambda name, value: (  # type: ignore[method-assign]
        None if name == "CURRENT:RANGE" else Hioki3334Device._obey(stuck.device, name, value)
    )
    with pytest.raises(Refused, match=r"current_a=30\.0"):
        stuck.meter.read()


def test_another_instrument_is_no_3334() -> None:
    bench = Bench()
    obey = bench.device._obey
    bench.device._obey = lambda name, value: (  # type: ignore[method-assign]
        "HIOKI,PW3336,0,V1.00" if name == "*IDN?" else obey(name, value)
    )
    with pytest.raises(DeviceError, match="Expected a Hioki 3334"):
        bench.meter.identify()


def test_headers_that_somebody_turned_off_are_noticed() -> None:
    bench = Bench()
    bench.meter.read()
    bench.device.settings["HEAD"] = "OFF"
    with pytest.raises(Desync, match="does not name V A W PF"):
        bench.meter.read()
    assert bench.meter.read().values["power_w"] == pytest.approx(345.0)


@pytest.mark.parametrize("late_s", [1.05, 2.9])
def test_a_late_answer_is_never_taken_for_the_next_one(late_s: float) -> None:
    bench = Bench(lambda t_s: 100.0 + 10.0 * t_s)
    bench.meter.read()
    bench.faults.late_s = late_s
    bench.wait()
    bench.faults.inject("late")
    with pytest.raises(Timeout):
        bench.meter.read()
    reading = bench.meter.read()
    truth_w = 100.0 + 10.0 * reading.t_request_ns / SECOND
    assert truth_w - 10.0 <= reading.values["power_w"] <= truth_w


def test_a_ranging_run_fixes_the_next_ranges_and_restores_the_first() -> None:
    bench = Bench(lambda t_s: 300.0 + 100.0 * math.sin(t_s), current_range_a=30.0)
    bench.meter.identify()
    assert ranging_run(bench.meter, 30, wait=bench.wait).ranges == Ranges(300.0, 3.0)
    assert bench.meter.ranges() == Ranges(300.0, 30.0)
    bench.meter.set_ranges(Ranges(300.0, 3.0))
    assert bench.meter.read().values["power_w"] > 0
    assert bench.meter.ranges() == Ranges(300.0, 3.0)


@pytest.mark.parametrize(
    "options", [{"voltage_range_v": 600.0}, {"current_range_a": 5.0}, {"averaging": 3}]
)
def test_an_impossible_setting_is_one_sentence(options: dict[str, Any]) -> None:
    with pytest.raises(Unsupported, match="to be one of"):
        Bench(**options)


def test_over_a_real_pty() -> None:
    with (
        Hioki3334Emulator(345.0) as emulator,
        Hioki3334(open_port(emulator.path, baud=9600)) as meter,
    ):
        assert meter.read().values["power_w"] == pytest.approx(345.0)
