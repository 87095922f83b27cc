"""The emulated first PZEM-004T: what it asks for first, stale answers, resets, repetition."""

from __future__ import annotations

import pytest

from drivers.emulators.faults import FaultPlan
from drivers.emulators.pzem004t_v1 import Pzem004tV1Device
from drivers.emulators.served import NullModem, Responder, VirtualClock
from drivers.errors import Checksum, CounterReset, Desync, Held, Timeout
from drivers.meters.pzem004t_v1 import Pzem004tV1, request

S = 1_000_000_000
ADDRESS = bytes((192, 168, 1, 1))


class Rig:
    """A module in memory, on a clock of its own."""

    def __init__(self, device: Pzem004tV1Device, *, late_s: float = 1.5) -> None:
        self.clock, self.device, self.faults = VirtualClock(), device, FaultPlan(late_s=late_s)
        self.responder = Responder(device, self.faults)
        line = NullModem(self.responder, self.clock)
        self.meter = Pzem004tV1(line, now_ns=self.clock.now_ns)

    def power_w(self) -> float:
        return self.meter.read().values["power_w"]


def test_it_says_nothing_before_its_address_was_set_and_a_zero_first() -> None:
    device = Pzem004tV1Device(100.0)
    device.advance(0.0)
    assert device.take(request(0xB0, ADDRESS))[1] == b""
    assert device.take(request(0xB4, ADDRESS))[1] == bytes.fromhex("00 A4 00 00 00 00 00 A4")
    assert device.take(request(0xB0, ADDRESS))[1] == bytes.fromhex("A0 00 E6 00 00 00 86")
    assert device.take(request(0xB0, b"\xc0\xa8\x01\x02"))[1] == b""  # another module's


def test_a_reading_is_four_questions_after_the_address() -> None:
    rig = Rig(Pzem004tV1Device(345.0, energy_wh=12.0))
    values = rig.meter.read().values
    assert values == {"voltage_v": 230.0, "current_a": 1.58, "power_w": 345.0, "energy_j": 43_200.0}
    assert [s.request[0] for s in rig.responder.log] == [0xB4, 0xB0, 0xB1, 0xB2, 0xB3]
    rig.meter.read()
    assert [s.request[0] for s in rig.responder.log][5:] == [0xB0, 0xB1, 0xB2, 0xB3]


def test_after_a_restart_the_address_is_set_again() -> None:
    rig = Rig(Pzem004tV1Device(345.0))
    rig.meter.read()
    rig.device.reboot()
    with pytest.raises(Timeout):
        rig.meter.read()
    assert rig.power_w() == 345.0


@pytest.mark.parametrize("late_s", [1.1, 2.5, 3.1, 3.9])
@pytest.mark.parametrize("question", [0, 1, 2, 3])
def test_a_late_answer_is_never_a_newer_one(late_s: float, question: int) -> None:
    power = [100.0]
    rig = Rig(Pzem004tV1Device(lambda _t_s: power[0], window_s=0.02, refresh_s=0.02), late_s=late_s)
    rig.meter.read()
    rig.faults.inject(None, question)
    rig.faults.inject("late")
    with pytest.raises(Timeout):
        rig.meter.read()
    power[0] = 200.0
    rig.faults.inject("silent")
    with pytest.raises((Timeout, Desync)):
        rig.meter.read()
    assert rig.power_w() == 200.0


@pytest.mark.parametrize(("fault", "error"), [("bad_crc", Checksum), ("wrong_id", Desync)])
def test_faults_of_the_format_are_named(fault: str, error: type[Exception]) -> None:
    rig = Rig(Pzem004tV1Device(345.0))
    rig.meter.read()
    rig.faults.inject(fault)
    with pytest.raises(error):
        rig.meter.read()
    assert rig.power_w() == 345.0


def test_a_fallen_energy_is_a_fault_once() -> None:
    rig = Rig(Pzem004tV1Device(100.0, energy_wh=50.0))
    rig.meter.read()
    rig.device.reset_counters()
    with pytest.raises(CounterReset):
        rig.meter.read()
    assert rig.power_w() == 100.0


def test_a_module_that_repeats_itself_is_held_after_a_minute() -> None:
    rig = Rig(Pzem004tV1Device(0.0, wander_v=0.0))
    for second in range(60):
        rig.clock.wait_until((second + 1) * S)
        rig.meter.read()
    rig.clock.wait_until(63 * S)
    with pytest.raises(Held):
        rig.meter.read()
