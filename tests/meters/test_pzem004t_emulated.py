"""The emulated PZEM-004T: frames of the manual, the mean of its window, and a simulated hour."""

from __future__ import annotations

import math

import pytest

from drivers.emulators.faults import FaultPlan, faults_of
from drivers.emulators.pzem004t import Pzem004tDevice, Pzem004tEmulator
from drivers.emulators.served import NullModem, Responder, VirtualClock
from drivers.errors import CounterReset, Desync, DriverError, Gone, Held, OverRange, Timeout
from drivers.meters.pzem004t import Pzem004t, decode, request
from drivers.modbus import read_request


def shown(device: Pzem004tDevice, t_s: float) -> dict[str, float]:
    device.advance(t_s)
    _, answer, rest = device.take(request(1))
    assert rest == b""
    return decode(answer[3:-2])


def test_it_answers_as_the_manual_shows() -> None:
    device = Pzem004tDevice(100.0)
    device.advance(0.0)

    def ask(text: str) -> str:
        return device.take(bytes.fromhex(text))[1].hex(" ").upper()

    assert ask("01 06 00 02 00 02 A9 CB") == "01 06 00 02 00 02 A9 CB"  # now at address 2
    assert device.unit == 2
    device.unit = 1
    assert ask("01 42 80 11") == "01 42 80 11"
    assert ask(read_request(1, 4, 5, 6).hex()) == "01 84 02 C2 C1"
    assert ask(read_request(1, 3, 1, 2).hex())[:20] == "01 03 04 59 D8 00 01"
    assert ask(read_request(3, 4, 0, 10).hex()) == ""  # somebody else's question
    assert ask(read_request(0, 4, 0, 10).hex()) == ""  # a broadcast
    assert ask(read_request(0xF8, 3, 1, 2).hex())[:2] == "01"


def test_noise_before_a_question_is_skipped_and_half_a_question_waits() -> None:
    device = Pzem004tDevice(100.0)
    device.advance(0.0)
    question, answer, rest = device.take(b"\x00\xff" + request(1) + b"\x01\x04")
    assert (question, rest) == (request(1), b"\x01\x04")
    assert answer
    assert device.take(request(1)[:5]) == (b"", b"", request(1)[:5])


def test_it_shows_the_mean_of_the_window_at_each_refresh() -> None:
    device = Pzem004tDevice(lambda t_s: 100.0 + 10.0 * t_s, window_s=2.0, refresh_s=1.0)
    assert shown(device, 0.0)["power_w"] == 100.0
    assert shown(device, 0.99)["power_w"] == 100.0
    assert shown(device, 2.0)["power_w"] == pytest.approx(110.0, abs=0.05)
    assert shown(device, 2.9)["power_w"] == pytest.approx(110.0, abs=0.05)
    assert shown(device, 3.0)["power_w"] == pytest.approx(120.0, abs=0.05)


def test_it_is_quantised_and_starts_at_the_starting_power_and_current() -> None:
    assert shown(Pzem004tDevice(61.2345), 0.0)["power_w"] == 61.2
    assert shown(Pzem004tDevice(0.3, power_factor=0.01), 0.0)["power_w"] == 0.0
    assert shown(Pzem004tDevice(4.3), 0.0)["power_w"] == 0.0  # 0.0197 A at 230 V and 0.95
    assert shown(Pzem004tDevice(4.5), 0.0)["power_w"] == 4.5


@pytest.mark.parametrize("window_s", [1.0, 0.3])
def test_its_energy_is_the_integral_within_a_watt_hour(window_s: float) -> None:
    def power_w(t_s: float) -> float:
        return 1000.0 + 500.0 * math.sin(t_s / 7.0)

    device = Pzem004tDevice(power_w, window_s=window_s)
    device.advance(0.0)
    energy_j = shown(device, 3600.0)["energy_j"]
    integral_j = 1000.0 * 3600 + 500.0 * 7.0 * (1.0 - math.cos(3600.0 / 7.0))
    assert 0.0 <= integral_j - energy_j < 3600.0


def test_an_hour_with_faults_loses_only_the_faulty_readings() -> None:
    """One poll a second for an hour, one answer in a hundred goes wrong in one of all ways."""
    survived = ("noise", "mid_stream", "echo", "double", "trickle", "held")
    names = [n for n in faults_of(Pzem004tDevice(100.0)) if n != "counter_reset"]
    rates = {name: 0.01 / len(names) for name in names}
    faults = FaultPlan(rates, seed=3, late_s=0.6, away_s=0.5)
    clock = VirtualClock()
    device = Pzem004tDevice(lambda t_s: 100.0 + round(t_s), window_s=0.02, refresh_s=0.02)
    responder = Responder(device, faults)
    meter = Pzem004t(NullModem(responder, clock), unit=1, now_ns=clock.now_ns)
    read, lost, begin_ns = 0, 0, clock.now_ns()
    for second in range(3600):
        clock.wait_until(begin_ns + second * 1_000_000_000)
        try:
            reading = meter.read()
        except Gone:
            lost += 1
            meter = Pzem004t(NullModem(responder, clock), unit=1, now_ns=clock.now_ns)
            continue
        except DriverError:
            lost += 1
            continue
        read += 1
        truth_w = 100.0 + reading.t_request_ns * 1e-9
        held = responder.log[-1].fault == "held"
        assert abs(reading.values["power_w"] - truth_w) <= (2.6 if held else 0.6)
    harmful = sum(s.fault is not None and s.fault not in survived for s in responder.log)
    assert harmful > 10
    assert lost == harmful
    assert read + lost == 3600


def test_a_reset_of_the_energy_register_is_named_once_and_reading_goes_on() -> None:
    clock = VirtualClock()
    responder = Responder(Pzem004tDevice(100.0, energy_wh=5000.0), FaultPlan())
    meter = Pzem004t(NullModem(responder, clock), now_ns=clock.now_ns)
    assert meter.read().values["energy_j"] == 5000 * 3600
    responder.faults.inject("counter_reset")
    assert meter.read().values["energy_j"] == 5000 * 3600
    with pytest.raises(CounterReset, match=r"energy_j fell from 1.8e\+07 to 0"):
        meter.read()
    assert meter.read().values["energy_j"] == 0.0


def test_a_meter_that_stands_still_is_held_after_a_minute_and_one_on_a_mains_is_not() -> None:
    for wander_v, held in ((0.4, False), (0.0, True)):
        clock = VirtualClock()
        responder = Responder(Pzem004tDevice(0.0, wander_v=wander_v))
        meter = Pzem004t(NullModem(responder, clock), now_ns=clock.now_ns)
        for second in range(61):
            clock.wait_until(second * 1_000_000_000)
            meter.read()
        clock.wait_until(63 * 1_000_000_000)
        if held:
            with pytest.raises(Held, match="voltage_v"):
                meter.read()
        else:
            meter.read()


class Stale:
    """The power is 100 W, then 200 W; the answer with the 100 W is late."""

    def __init__(self, late_s: float) -> None:
        faults = FaultPlan(late_s=late_s)
        faults.inject("late")
        self.power_w, self.clock = 100.0, VirtualClock()
        device = Pzem004tDevice(lambda _t_s: self.power_w, window_s=0.02, refresh_s=0.02)
        line = NullModem(Responder(device, faults), self.clock)
        self.faults = faults
        self.meter = Pzem004t(line, unit=1, now_ns=self.clock.now_ns)
        with pytest.raises(Timeout):
            self.meter.read()
        self.power_w = 200.0


@pytest.mark.parametrize("late_s", [0.31, 0.5, 0.89])
def test_an_answer_within_the_quiet_time_is_drained(late_s: float) -> None:
    assert Stale(late_s).meter.read().values["power_w"] == 200.0


@pytest.mark.parametrize("late_s", [0.91, 1.0, 1.19])
def test_an_answer_after_the_quiet_time_is_known_by_its_length(late_s: float) -> None:
    stale = Stale(late_s)
    stale.faults.inject("silent")  # nothing but the stale answer arrives
    with pytest.raises(Desync, match="announces 20 bytes, not 18"):
        stale.meter.read()
    assert stale.meter.read().values["power_w"] == 200.0


def test_the_stale_value_comes_through_where_either_guard_is_missing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("drivers.meters.pzem004t._BLOCK_WITHOUT_ALARM", 10)
    stale = Stale(1.0)
    stale.faults.inject("silent")
    assert stale.meter.read().values["power_w"] == 100.0
    monkeypatch.setattr("drivers.wire.drain", lambda *_args, **_options: True)
    stale = Stale(0.5)
    stale.faults.inject("silent")
    assert stale.meter.read().values["power_w"] == 100.0


def test_the_same_seed_gives_the_same_faults() -> None:
    def draw(seed: int) -> list[str | None]:
        plan = FaultPlan({"silent": 0.3, "late": 0.3}, seed=seed)
        return [plan.next() for _ in range(50)]

    assert draw(1) == draw(1) != draw(2)
    assert set(draw(1)) == {None, "silent", "late"}


@pytest.mark.parametrize(
    ("rates", "words"),
    [({"fire": 0.1}, "Expected a fault among"), ({"late": 1.5}, "probability"), ({"late": -1}, "")],
)
def test_an_impossible_plan_is_refused(rates: dict[str, float], words: str) -> None:
    with pytest.raises(ValueError, match=words or "probability"):
        FaultPlan(rates)


def test_a_power_function_that_breaks_is_reported_and_not_swallowed() -> None:
    def broken(_t_s: float) -> float:
        raise ZeroDivisionError("no power today")

    emulator = Pzem004tEmulator(broken)
    emulator.unplug()  # must not wait for a thread that is no more
    with pytest.raises(RuntimeError, match="no power today"):
        emulator.close()


@pytest.mark.parametrize(
    ("variant", "rated_a", "rated_w"),
    [("pzem-004t", 100.0, 23_000.0), ("pzem-014", 10.0, 2300.0), ("pzem-016", 100.0, 23_000.0)],
)
def test_variants_differ_in_their_ranges_and_refuse_what_is_above(
    variant: str, rated_a: float, rated_w: float
) -> None:
    top = {c.name: c.range_max for c in Pzem004t.channels_of(variant)}
    assert (top["current_a"], top["power_w"]) == (rated_a, rated_w)
    power_w = [0.9 * rated_w]
    clock = VirtualClock()
    device = Pzem004tDevice(lambda _t_s: power_w[0], variant=variant, power_factor=1.0)
    line = NullModem(Responder(device), clock)
    meter = Pzem004t(line, variant=variant, now_ns=clock.now_ns)
    assert meter.read().values["power_w"] == pytest.approx(0.9 * rated_w)
    power_w[0] = 1.1 * rated_w
    clock.wait_until(10_000_000_000)
    with pytest.raises(OverRange, match=f"at most {rated_a:g} A; got {1.1 * rated_a:g}"):
        meter.read()


def test_a_shunt_starts_earlier_than_a_transformer() -> None:
    assert shown(Pzem004tDevice(2.5, variant="pzem-016"), 0.0)["power_w"] == 0.0
    assert shown(Pzem004tDevice(2.5, variant="pzem-014"), 0.0)["power_w"] == 2.5
