"""The WT310 family: settings read back, faults as faults, no answer to another question."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import pytest

from drivers.accuracy import Conditions
from drivers.emulators.faults import FaultPlan
from drivers.emulators.scpi_lines import CommandTable
from drivers.emulators.served import NullModem, Responder, VirtualClock
from drivers.emulators.yokogawa_wt import YokogawaWtDevice, YokogawaWtEmulator
from drivers.emulators.yokogawa_wt210 import YokogawaWt210Device
from drivers.errors import (
    CounterReset,
    Desync,
    DeviceError,
    Held,
    OverRange,
    Refused,
    Timeout,
    Unsupported,
)
from drivers.meters.yokogawa_wt import YokogawaWt
from drivers.ranges import Ranges, ranging_run
from drivers.tape import load_tape

TAPES = Path(__file__).parent.parent / "tapes"
SECOND = 1_000_000_000


class Bench:
    """A driver and its emulated instrument on one virtual clock."""

    def __init__(self, power_w: Any = 345.0, *, device: Any = None, **options: Any) -> None:
        self.clock, self.faults = VirtualClock(), FaultPlan(late_s=1.6)
        variant = options.get("variant", "wt310e")
        self.device = YokogawaWtDevice(power_w, variant=variant, **(device or {}))
        self.responder = Responder(self.device, self.faults)
        self.line = NullModem(self.responder, self.clock)
        self.meter = YokogawaWt(self.line, now_ns=self.clock.now_ns, **options)

    def wait(self, seconds: float = 1.0) -> None:
        self.clock.wait_until(self.clock.now_ns() + round(seconds * SECOND))


def test_it_sets_everything_and_says_what_it_set() -> None:
    bench = Bench(voltage_range_v=150.0, current_range_a=10.0, refresh_s=0.25, line_filter=True)
    bench.device.volt_auto = True
    identity = bench.meter.identify()
    assert identity["serial"] == "EMULATED01"
    assert (identity["voltage_range_v"], identity["current_range_a"]) == ("150", "10")
    assert (identity["refresh_s"], identity["line_filter"]) == ("0.25", "on")
    device = bench.device
    assert (device.volt_range, device.amp_range, device.volt_auto) == (150.0, 10.0, False)
    assert device.analyser.refresh_s == 0.25
    assert device.line_filter == 1
    assert device.items == [("U", 1), ("I", 1), ("P", 1), ("LAMB", 1)]


def test_a_range_that_is_not_taken_is_refused() -> None:
    bench = Bench()
    bench.device._set_range = lambda _which, _text: None  # type: ignore[method-assign]
    bench.device.amp_range = 0.5
    with pytest.raises(Refused, match=r"Expected 5 0 .* the meter says 500.0E-03 0"):
        bench.meter.read()


def test_an_error_that_the_meter_keeps_is_told() -> None:
    bench = Bench()
    handlers = bench.device._handlers()
    del handlers[":RATE"]
    bench.device._table = CommandTable(handlers)
    bench.device.analyser.refresh_s = 1.0
    with pytest.raises(Refused, match='the error 113,"Undefined header;RATE"'):
        bench.meter.identify()


def test_another_instrument_is_no_wt310() -> None:
    bench = Bench(variant="wt310e")
    bench.device.identity = "WT310"
    with pytest.raises(DeviceError, match="Expected a WT310E; 'YOKOGAWA,WT310,"):
        bench.meter.identify()


def test_the_specification_limit_at_345_w() -> None:
    """±(0.1 % + 0.05 % of 600 W) for the WT310E, ±(0.1 % + 0.1 % of 600 W) for the WT310."""
    for variant, limit_w in (("wt310e", 0.645), ("wt310", 0.945)):
        meter = Bench(variant=variant, current_range_a=2.0).meter
        (power,) = (c for c in meter.channels if c.name == "power_w")
        assert power.accuracy is not None
        at = Conditions(range_max=power.range_max, power_factor=1.0)
        assert power.accuracy.limit(345.0, at) == pytest.approx(limit_w)
        off = Conditions(range_max=power.range_max, power_factor=0.5)
        reactive = math.sqrt(3) * 345.0 * (0.001 if variant == "wt310e" else 0.002)
        assert power.accuracy.limit(345.0, off) == pytest.approx(limit_w + reactive)
    six = Bench(crest_factor=6, current_range_a=2.5, line_filter=True).meter
    (power,) = (c for c in six.channels if c.name == "power_w")
    assert power.accuracy is not None
    at = Conditions(range_max=power.range_max, power_factor=1.0)
    assert power.accuracy.limit(345.0, at) == pytest.approx(345 * 0.004 + 0.001 * 750)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"voltage_range_v": 230.0}, "voltage_range_v to be one of 15, 30, 60, 150, 300, 600"),
        ({"current_range_a": 3.0}, "current_range_a to be one of 0.005"),
        ({"refresh_s": 0.3}, "refresh_s to be one of 0.1, 0.25, 0.5, 1, 2, 5; got 0.3"),
        ({"crest_factor": 4}, "crest factor of 3 or 6"),
        ({"elements": 2}, "elements to be one of 1"),
        ({"variant": "wt333e", "elements": 2, "integrate": True}, "one element"),
    ],
)
def test_an_impossible_setting_is_one_sentence(options: dict[str, Any], words: str) -> None:
    with pytest.raises(Unsupported, match=words):
        Bench(**options)


def test_the_mean_of_each_update_and_the_sum_of_the_elements() -> None:
    bench = Bench(lambda t_s: 100.0 + 10.0 * t_s, variant="wt333e", elements=3)
    bench.meter.identify()
    bench.wait(3.5)
    values = bench.meter.read().values
    end_s = bench.device.analyser.end_s
    assert end_s is not None
    assert values["power_w"] == pytest.approx(100.0 + 10.0 * (end_s - 0.5), abs=0.1)
    assert values["power_w"] == values["power_1_w"] + values["power_2_w"] + values["power_3_w"]
    assert {c.name for c in bench.meter.channels} >= values.keys()


def test_over_range_is_a_fault_and_a_quantity_without_data_has_no_value() -> None:
    bench = Bench(lambda t_s: 2000.0 if t_s > 3.0 else 345.0, current_range_a=5.0)
    assert bench.meter.read().fault is None
    bench.wait(4.0)
    with pytest.raises(OverRange):
        bench.meter.read()
    idle = Bench(2.0)
    reading = idle.meter.read()
    assert reading.values.keys() == {"voltage_v", "current_a", "power_w"}
    assert reading.fault == "no-data"


def test_its_own_watt_hours_are_the_integral() -> None:
    bench = Bench(lambda t_s: 1000.0 + 500.0 * math.sin(t_s / 7.0), integrate=True)
    first = bench.meter.read()
    began_s = bench.device.analyser.end_s
    bench.wait(1800.0)
    last = bench.meter.read()
    ended_s = bench.device.analyser.end_s
    assert began_s is not None
    assert ended_s is not None
    integral = 1000.0 * (ended_s - began_s) - 3500.0 * (
        math.cos(ended_s / 7.0) - math.cos(began_s / 7.0)
    )
    gained = last.values["energy_j"] - first.values["energy_j"]
    assert gained == pytest.approx(integral, abs=360.0)  # one count, 0.1 Wh
    bench.meter.close()
    assert bench.device.state == "STOP"


def test_floats_in_a_block_say_the_same_as_text() -> None:
    text, block = Bench(345.0, integrate=True), Bench(345.0, integrate=True, binary=True)
    for bench in (text, block):
        bench.meter.read()
        bench.wait(60.0)
    assert block.meter.read().values == pytest.approx(text.meter.read().values, rel=1e-7)
    assert b"#40020" in block.responder.log[-1].answer
    over = Bench(2000.0, binary=True)
    with pytest.raises(OverRange):
        over.meter.read()
    idle = Bench(2.0, binary=True)
    assert idle.meter.read().fault == "no-data"


def test_an_integration_survives_a_fault_and_not_a_restart() -> None:
    bench = Bench(345.0, integrate=True)
    bench.meter.read()
    bench.wait(100.0)
    bench.faults.inject("late")
    with pytest.raises(Timeout):
        bench.meter.read()
    energy_j = bench.meter.read().values["energy_j"]
    assert energy_j == pytest.approx(345.0 * 100.0, abs=4 * 345.0 + 360.0)
    bench.faults.inject("reboot")
    with pytest.raises(Timeout):
        bench.meter.read()
    bench.wait(2.0)
    with pytest.raises(CounterReset):
        bench.meter.read()
    assert bench.meter.read().values["energy_j"] < energy_j


def test_an_integrator_that_has_stopped_is_a_fault_and_is_started_anew() -> None:
    bench = Bench(345.0, integrate=True)
    bench.meter.read()
    bench.wait(60.0)
    bench.meter.read()
    bench.device._integrate("TIM")  # its timer is up
    bench.meter.read()
    bench.wait(10.0)
    with pytest.raises(Held, match="stopped counting"):
        bench.meter.read()
    with pytest.raises(CounterReset):
        bench.meter.read()
    before_j = bench.meter.read().values["energy_j"]
    bench.wait(60.0)
    gained_j = bench.meter.read().values["energy_j"] - before_j
    assert gained_j == pytest.approx(345.0 * 60.0, abs=400.0)


def test_an_integration_that_somebody_left_running_is_stopped_first() -> None:
    bench = Bench()
    bench.device.state = "STAR"
    assert bench.meter.identify()["voltage_range_v"] == "300"
    assert bench.device.state == "RES"


def test_a_restart_is_noticed_and_everything_is_set_again() -> None:
    bench = Bench()
    bench.meter.read()
    bench.wait()
    bench.device.reboot()  # headers on, ten items: the next answer is no list of four
    with pytest.raises(Desync, match="holds 10 values, not 4"):
        bench.meter.read()
    assert bench.meter.read().values["power_w"] == pytest.approx(345.0)


@pytest.mark.parametrize("late_s", [1.05, 1.6, 2.9])
def test_a_late_answer_is_never_taken_for_the_next_one(late_s: float) -> None:
    bench = Bench(lambda t_s: 100.0 + round(t_s))
    bench.meter.read()
    bench.faults.late_s = late_s
    bench.wait()
    bench.faults.inject("late")
    with pytest.raises(Timeout):
        bench.meter.read()
    for _ in range(5):
        bench.wait()
        reading = bench.meter.read()
        truth_w = 100.0 + reading.t_request_ns / SECOND
        assert abs(reading.values["power_w"] - truth_w) < 2.1


class Shifted:
    """A line on which a real answer about ranges comes before each of the first answers."""

    name = "shifted"

    def __init__(self, line: NullModem, strangers: list[bytes]) -> None:
        self._line, self._strangers, self._ahead = line, strangers, b""

    def write(self, data: bytes) -> None:
        if data.startswith(b":NUM:NORM:VAL?") and self._strangers:
            self._ahead = self._strangers.pop(0)
            return  # the answer to this one is what the next question would get
        self._line.write(data)

    def read(self, deadline_ns: int) -> bytes:
        ahead, self._ahead = self._ahead, b""
        return ahead or self._line.read(deadline_ns)

    def set_baud(self, baud: int) -> None:
        self._line.set_baud(baud)

    def close(self) -> None:
        self._line.close()


def test_the_real_mix_up_of_a_wt310e_comes_out_as_faults(wattcal_data: Path) -> None:
    """Where the reference tool wrote Watts = -1, here stand faults, and then the truth."""
    log = wattcal_data / "mlperf-ptdaemon-yokogawa/wt310e-rpi4/power/ptd_logs.txt"
    buffers = re.findall(r"watts reading nan from WT310\nBuffer was (\S+)", log.read_text())
    assert len(buffers) == 5
    bench = Bench(3.328, voltage_range_v=300.0, current_range_a=0.1)
    bench.meter._transport = bench.meter._talk._transport = Shifted(
        bench.line, [b.encode() + b"\n" for b in buffers]
    )
    for _ in buffers:
        with pytest.raises(Desync, match="holds 1 values, not 4"):
            bench.meter.read()
    assert bench.meter.read().values["power_w"] == 3.328


def test_a_dead_measuring_side_is_held() -> None:
    bench = Bench()
    bench.meter.read()
    bench.device.advance = lambda _t_s: None  # type: ignore[method-assign]
    for _ in range(59):
        bench.wait()
        bench.meter.read()
    bench.wait(2.0)
    with pytest.raises(Held):
        bench.meter.read()


@pytest.mark.parametrize("binary", [False, True])
def test_a_ranging_run_fixes_the_next_ranges_and_restores_the_first(binary: bool) -> None:
    bench = Bench(lambda t_s: 320.0 + 100.0 * math.sin(t_s), current_range_a=20.0, binary=binary)
    bench.meter.identify()
    before = bench.meter.ranges()
    chosen = ranging_run(bench.meter, 30, wait=bench.wait).ranges
    assert chosen == Ranges(300.0, 5.0)  # 1.9 A times 1.1 is more than 2 A
    assert bench.meter.ranges() == before == Ranges(300.0, 20.0)
    bench.meter.set_ranges(chosen)
    assert bench.meter.read().values["power_w"] > 0
    assert bench.meter.ranges() == chosen
    (power,) = (c for c in bench.meter.channels if c.name == "power_w")
    assert power.range_max == 1500.0
    assert bench.meter.identify()["current_range_a"] == "5"


def test_the_emulator_says_what_the_real_one_said() -> None:
    """Every answer of the real WT310E, the state of its transcript given."""
    device = YokogawaWtDevice(345.0, serial="C3XX00000X")
    device.advance(1.0)
    device.amp_range = 0.5
    events = load_tape(TAPES / "yokogawa_wt310e_transcript.tape").events
    for asked, answered in zip(events[::2], events[1::2], strict=True):
        question = asked.data.decode()
        if question.startswith(":CFAC?"):
            device.headers = 0
        if question.startswith(":CURR:RANG?"):
            device.amp_auto = device.volt_auto  # the transcript turns one after the other on
            device.volt_auto = True
        _, answer, rest = device.take(asked.data)
        assert (answer.replace(b"\r\n", b"\n"), rest) == (answered.data, b"")


def test_over_a_real_pty() -> None:
    from drivers.transport import open_port

    with YokogawaWtEmulator(345.0) as emulator:
        meter = YokogawaWt(open_port(emulator.path, baud=9600))
        with meter:
            assert meter.identify()["identity"] == "WT310E"
            assert meter.read().values["power_w"] == pytest.approx(345.0)


def test_a_reading_that_waits_for_the_update_is_the_mean_of_that_update() -> None:
    bench = Bench(lambda t_s: 100.0 + 10.0 * t_s, sync=True, refresh_s=2.0)
    for _ in range(4):
        reading = bench.meter.read()
        middle_s = reading.t_reply_ns / SECOND - 1.0
        assert reading.values["power_w"] == pytest.approx(100.0 + 10.0 * middle_s, abs=0.06)
        bench.wait(0.3)


def wt210(power_w: Any = 345.0, **options: Any) -> tuple[YokogawaWt210Device, YokogawaWt, Any]:
    clock = VirtualClock()
    device = YokogawaWt210Device(power_w)
    line = NullModem(Responder(device), clock)
    meter = YokogawaWt(line, variant="wt210", now_ns=clock.now_ns, **options)
    return device, meter, clock


def test_a_wt210_is_set_and_read_in_its_own_dialect() -> None:
    device, meter, _ = wt210(current_range_a=2.0, refresh_s=0.25, line_filter=True)
    device.on = {"V", "A", "W", "TIME"}  # as the last user left it
    identity = meter.identify()
    assert (identity["identity"], identity["firmware"]) == ("760401", "F1.12")
    assert device.on == {"V", "A", "W", "PF"}
    assert (device.volt_range, device.amp_range) == (300.0, 2.0)
    assert device.analyser.refresh_s == 0.25
    assert device.settings["LFILT"] == "1"
    assert meter.read().values["power_w"] == 345.0
    assert meter.ranges() == Ranges(300.0, 2.0)
    with pytest.raises(Unsupported, match="without integrate, sync and binary"):
        wt210(integrate=True)


def test_what_a_wt210_has_no_number_for_is_a_fault() -> None:
    device, meter, clock = wt210(current_range_a=2.0)
    device.amp_range = 0.5
    meter.identify()
    device.amp_range = 0.5  # 1.6 A is more than 1.4 times that
    clock.wait_until(clock.now_ns() + SECOND)
    with pytest.raises(OverRange):
        meter.read()


def test_the_emulated_wt210_says_what_the_real_one_said() -> None:
    device = YokogawaWt210Device(345.0)
    device.advance(1.0)
    device.volt_range, device.amp_range = 150.0, 2.0
    device.settings |= {"VOLT:AUTO": "1", "CURR:AUTO": "1"}
    events = load_tape(TAPES / "yokogawa_wt210_transcript.tape").events
    compared = 0
    for asked, answered in zip(events[::2], events[1::2], strict=True):
        question = asked.data.decode()
        if question.startswith((":CURRENT:RANGE?", ":CFAC?", ":CURR:RANG?")):
            device.headers = False
        if b"5.000E+00" in answered.data:
            device.amp_range, device.settings["CURR:AUTO"] = 5.0, "0"
            device.settings["VOLT:AUTO"] = "0"
        if question.startswith(":CONF?"):
            continue  # the list of everything at once, which the driver does not use
        _, answer, _ = device.take(asked.data)
        assert answer.replace(b"\r\n", b"\n") == answered.data
        compared += 1
    assert compared == 8
