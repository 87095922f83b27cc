"""The PZEM-004T over a real pty, with everything that goes wrong: faults, never wrong values."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from drivers import open_meter
from drivers.emulators.faults import FaultPlan, faults_of
from drivers.emulators.pzem004t import Pzem004tEmulator
from drivers.errors import Checksum, Desync, DriverError, Gone, Refused, Timeout, Transient
from drivers.meters.pzem004t import Pzem004t
from drivers.reading import Reading
from drivers.transport import open_port


class Bench:
    """An emulator whose power is another number each time it is set, and a meter that reads it."""

    def __init__(self) -> None:
        self.power_w = 100.0
        self.emulator = Pzem004tEmulator(
            lambda _t_s: self.power_w, window_s=0.02, refresh_s=0.02, voltage_v=231.5
        )
        self.meter = self.open()

    def open(self) -> Pzem004t:
        # A tenth of a second to answer, so that the tests wait less; the ratios stay.
        return Pzem004t(open_port(self.emulator.path, baud=9600), unit=1, reply_s=0.1)

    def set_power(self, power_w: float) -> None:
        self.power_w = power_w
        time.sleep(0.06)  # two refreshes

    def close(self) -> None:
        self.meter.close()
        self.emulator.close()


@pytest.fixture
def bench() -> Iterator[Bench]:
    bench = Bench()
    yield bench
    bench.close()


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        ("silent", Timeout),
        ("torn", Timeout),
        ("bad_crc", Checksum),
        ("bit_flip", Transient),
        ("mangled", Transient),
        ("wrong_id", Desync),
        ("exception", Refused),
        ("reboot", Timeout),
    ],
)
def test_a_fault_is_a_fault_and_reading_goes_on(
    bench: Bench, fault: str, kind: type[DriverError]
) -> None:
    bench.emulator.faults.away_s = 0.2
    bench.emulator.faults.inject(fault)
    with pytest.raises(kind):
        bench.meter.read()
    bench.set_power(200.0)
    assert bench.meter.read().values["power_w"] == 200.0


@pytest.mark.parametrize("fault", ["noise", "echo", "double", "trickle"])
def test_what_a_serial_line_adds_is_survived(bench: Bench, fault: str) -> None:
    for number in range(8):
        bench.emulator.faults.inject(fault)
        bench.power_w = 100.0 + number
        time.sleep(0.06)
        assert bench.meter.read().values["power_w"] == 100.0 + number


@pytest.mark.parametrize("late_s", [0.18, 0.24, 0.29])
def test_a_late_answer_is_never_taken_for_the_next(bench: Bench, late_s: float) -> None:
    bench.emulator.faults.late_s = late_s
    bench.emulator.faults.inject("late")
    with pytest.raises(Timeout):
        bench.meter.read()
    bench.set_power(200.0)
    assert bench.meter.read().values["power_w"] == 200.0


def test_instants_enclose_the_answer(bench: Bench) -> None:
    before = time.monotonic_ns()
    reading = bench.meter.read()
    after = time.monotonic_ns()
    sent = bench.emulator.log[-1].t_ns
    assert before <= reading.t_request_ns <= sent <= reading.t_reply_ns <= after


def test_unplugged_in_the_middle_of_a_reading_and_plugged_in_again(bench: Bench) -> None:
    bench.emulator.faults.inject("silent", 1000)
    threading.Timer(0.03, bench.emulator.unplug).start()
    with pytest.raises(Gone):
        bench.meter.read()
    with pytest.raises(Gone):
        bench.meter.read()
    bench.meter.close()
    bench.emulator.faults.inject(None)
    bench.emulator.replug()
    bench.meter = bench.open()
    with pytest.raises(Timeout):
        bench.meter.read()


def test_a_shower_of_faults_loses_readings_and_never_invents_one() -> None:
    """Each answer shows another power, so that a stale or damaged one would be seen at once."""
    names = set(faults_of(Pzem004tEmulator.device(0.0))) - {"held", "unplug"}
    rates = dict.fromkeys(sorted(names), 0.05)
    step_w = 10.0
    begin_s = time.monotonic()

    def power_w(t_s: float) -> float:
        return 100.0 + step_w * round((t_s - begin_s) / 0.02)

    faults = FaultPlan(rates, seed=1, late_s=0.12, away_s=0.1)
    lost, readings = 0, list[Reading]()
    with Pzem004tEmulator(power_w, window_s=0.02, refresh_s=0.02, faults=faults) as emulator:
        meter = Pzem004t(open_port(emulator.path, baud=9600), unit=1, reply_s=0.05)
        while lost < 12 or len(readings) < 12:
            try:
                readings.append(meter.read())
            except Transient:
                lost += 1
            except Refused:
                lost += 1
        meter.close()
    for reading in readings:
        oldest = power_w(reading.t_request_ns * 1e-9 - 0.08)
        newest = power_w(reading.t_reply_ns * 1e-9 + 0.01)
        assert oldest <= reading.values["power_w"] <= newest
        assert reading.values["voltage_v"] == pytest.approx(230.0, abs=0.45)


def test_the_planned_unplug_comes_back_by_itself() -> None:
    faults = FaultPlan(away_s=0.2)
    faults.inject("unplug")
    with Pzem004tEmulator(70.0, faults=faults) as emulator:
        address = f"pzem-004t@{emulator.path}?reply_s=30"  # however busy this machine is
        meter = open_meter(address)
        with pytest.raises(Gone):
            meter.read()
        meter.close()
        deadline = time.monotonic() + 60
        while True:
            try:
                meter = open_meter(address)
                break
            except Gone:
                assert time.monotonic() < deadline
                time.sleep(0.02)
        assert meter.read().values["power_w"] == 70.0
        meter.close()
