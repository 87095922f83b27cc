"""The emulated Eastron meters: rules of the documents, and what the driver makes of them."""

from __future__ import annotations

import struct

import pytest

from drivers import channels_of, open_meter
from drivers.emulators.faults import FaultPlan
from drivers.emulators.sdm import SdmDevice, SdmEmulator
from drivers.emulators.served import NullModem, PtyServer, Responder, VirtualClock
from drivers.errors import (
    CounterReset,
    Desync,
    DeviceError,
    Held,
    Implausible,
    Refused,
    Timeout,
    Unsupported,
)
from drivers.meters.sdm import EastronSdm
from drivers.meters.sdm_registers import VARIANTS, energy_resolution_j, request
from drivers.modbus import framed, read_request

S = 1_000_000_000


class Rig:
    """A meter in memory, on a clock of its own; keeps the instants of questions and answers."""

    def __init__(
        self, device: SdmDevice, *, variant: str = "sdm230", late_s: float = 1.5, blocks: int = 2
    ) -> None:
        self.clock, self.device, self.faults = VirtualClock(), device, FaultPlan(late_s=late_s)
        self.line = NullModem(Responder(device, self.faults), self.clock)
        self.name = "rig"
        self.asked_ns: list[int] = []
        self.answered_ns: list[int] = []
        self.meter = EastronSdm(self, variant=variant, blocks=blocks, now_ns=self.clock.now_ns)

    def write(self, data: bytes) -> None:
        self.asked_ns.append(self.clock.now_ns())
        self.line.write(data)

    def read(self, deadline_ns: int) -> bytes:
        if data := self.line.read(deadline_ns):
            self.answered_ns.append(self.clock.now_ns())
        return data

    def set_baud(self, baud: int) -> None:
        self.line.set_baud(baud)

    def close(self) -> None:
        self.line.close()

    def power_w(self) -> float:
        return self.meter.read().values["power_w"]


def test_it_answers_as_the_documents_say() -> None:
    device = SdmDevice(100.0, variant="sdm630")
    device.advance(0.0)

    def ask(body: str) -> str:
        return device.take(framed(bytes.fromhex(body)))[1][:-2].hex(" ").upper()

    assert ask("01 04 00 01 00 02") == "01 84 02"  # an odd address is part of a float
    assert ask("01 04 00 00 00 03") == "01 84 02"
    assert ask("01 04 00 00 00 52") == "01 84 02"  # 82 registers
    assert ask("01 04 00 00 00 50")[:8] == "01 04 A0"
    assert ask("01 05 00 00 00 00") == "01 85 01"
    assert ask("02 04 00 00 00 02") == ""  # another meter's question
    assert ask("01 03 00 14 00 02") == "01 03 04 3F 80 00 00"
    assert device.take(read_request(1, 4, 0, 2)[:-1] + b"\x00")[1] == b""  # a wrong checksum


def test_writing_2141_flips_the_word_order() -> None:
    device = SdmDevice(100.0, variant="sdm630")
    wanted = struct.pack(">f", 2141.0)
    question = framed(bytes.fromhex("01 10 00 28 00 02 04") + wanted[2:] + wanted[:2])
    assert device.take(question)[1] == framed(bytes.fromhex("01 10 00 28 00 02"))
    assert device.low_first
    rig = Rig(device, variant="sdm630")
    assert rig.meter.identify()["word_order"] == "low first"
    assert rig.power_w() == 100.0


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("low_first", [False, True])
def test_the_word_order_is_found_out_and_a_change_refused(variant: str, low_first: bool) -> None:
    rig = Rig(SdmDevice(345.25, variant=variant, low_first=low_first), variant=variant)
    assert rig.power_w() == 345.25
    rig.device.low_first = not low_first
    with pytest.raises(Implausible, match="Open the meter again"):
        rig.power_w()
    assert Rig(rig.device, variant=variant).power_w() == 345.25


@pytest.mark.parametrize("variant", ["sdm120", "sdm72d"])
def test_the_line_is_quiet_before_every_question(variant: str) -> None:
    rig = Rig(SdmDevice(100.0, variant=variant), variant=variant)
    rig.meter.identify()
    for _ in range(5):
        rig.meter.read()
    assert len(rig.asked_ns) == len(rig.answered_ns) > 10
    for answered_ns, asked_ns in zip(rig.answered_ns, rig.asked_ns[1:], strict=False):
        assert asked_ns - answered_ns >= 60_000_000


def test_an_sdm72d_rests_after_a_reading() -> None:
    rig = Rig(SdmDevice(100.0, variant="sdm72d"), variant="sdm72d")
    end_ns = rig.meter.read().t_reply_ns
    assert rig.meter.read().t_request_ns - end_ns >= 500_000_000


def test_one_block_takes_half_the_questions_and_lists_its_channels() -> None:
    rig = Rig(SdmDevice(100.0, variant="sdm630"), variant="sdm630", blocks=1)
    rig.meter.read()
    questions = len(rig.asked_ns)
    values = rig.meter.read().values
    assert len(rig.asked_ns) == questions + 1
    assert tuple(values) == tuple(c.name for c in rig.meter.channels)
    assert "energy_import_j" in values
    assert "power_l1_w" not in values


def test_three_phases_share_the_power() -> None:
    values = Rig(SdmDevice(900.0, variant="sdm630"), variant="sdm630").meter.read().values
    assert values["power_w"] == pytest.approx(900.0)
    assert [values[f"power_l{n}_w"] for n in (1, 2, 3)] == pytest.approx([300.0] * 3)


def test_power_that_flows_back_is_negative_and_counts_as_exported() -> None:
    rig = Rig(SdmDevice(-360.0, import_kwh=1.0))
    rig.meter.read()
    rig.clock.wait_until(100 * S)
    values = rig.meter.read().values
    assert values["power_w"] == -360.0
    assert values["energy_import_j"] == 3.6e6
    assert values["energy_export_j"] == pytest.approx(360.0 * 99, rel=0.01)


def test_identify_states_the_resolution_of_this_meters_registers() -> None:
    rig = Rig(SdmDevice(100.0, import_kwh=10_000.0))
    before = {c.name: c.resolution for c in rig.meter.channels}
    assert before["energy_import_j"] == before["energy_export_j"] == 28_125.0
    rig.meter.identify()
    after = {c.name: c.resolution for c in rig.meter.channels}
    assert after["energy_import_j"] == energy_resolution_j(3.6e10) == pytest.approx(3516, abs=1)
    assert after["energy_export_j"] == energy_resolution_j(3.6e6) == pytest.approx(0.43, abs=0.01)


def test_a_documented_meter_code_is_a_proof_or_a_contradiction() -> None:
    found = Rig(SdmDevice(100.0, variant="sdm120"), variant="sdm120").meter.identify()
    assert (found["meter_code"], found["proof"]) == ("0x0020", "meter code")
    with pytest.raises(DeviceError, match="code 0x0020 is that of sdm120"):
        Rig(SdmDevice(100.0, variant="sdm120"), variant="sdm230").meter.identify()
    found = Rig(SdmDevice(100.0)).meter.identify()
    assert (found["meter_code"], found["proof"]) == ("none offered", "address and layout")


def test_a_meter_that_calls_itself_otherwise_is_none() -> None:
    device = SdmDevice(100.0, unit=1)
    device._holding = lambda: device._words({0x14: 2.0})  # type: ignore[method-assign]
    with pytest.raises(DeviceError, match="calls itself 1"):
        Rig(device).meter.identify()


def test_an_exception_is_a_refusal_and_the_next_reading_works() -> None:
    rig = Rig(SdmDevice(100.0))
    rig.meter.read()
    rig.faults.inject("exception")
    with pytest.raises(Refused, match="exception 4"):
        rig.meter.read()
    assert rig.power_w() == 100.0


@pytest.mark.parametrize("late_s", [1.1, 2.5, 3.1, 3.9])
@pytest.mark.parametrize("block", [0, 1])
def test_a_late_answer_never_meets_another_question(late_s: float, block: int) -> None:
    """Within the quiet time it is drained; after that, the meter's address is asked for first."""
    power = [100.0]
    device = SdmDevice(lambda _t_s: power[0], window_s=0.02, refresh_s=0.02)
    rig = Rig(device, late_s=late_s)
    rig.meter.read()
    rig.faults.inject(None, block)
    rig.faults.inject("late")
    with pytest.raises(Timeout):
        rig.meter.read()
    power[0] = 200.0
    rig.faults.inject("silent")
    with pytest.raises((Timeout, Desync)):
        rig.meter.read()
    assert rig.power_w() == 200.0


def test_a_fallen_energy_is_a_fault_once() -> None:
    rig = Rig(SdmDevice(100.0, import_kwh=5.0))
    rig.meter.read()
    rig.device.reset_counters()
    with pytest.raises(CounterReset, match="energy_import_j fell"):
        rig.meter.read()
    assert rig.power_w() == 100.0


def test_a_meter_that_repeats_itself_is_held_after_a_minute() -> None:
    rig = Rig(SdmDevice(100.0, wander_v=0.0))
    for second in range(60):
        rig.clock.wait_until((second + 1) * S)
        rig.meter.read()
    rig.clock.wait_until(63 * S)
    with pytest.raises(Held, match="voltage_v"):
        rig.meter.read()


def test_no_mains_is_no_value() -> None:
    with pytest.raises(Implausible, match="voltage_v"):
        Rig(SdmDevice(100.0, voltage_v=20.0)).meter.read()


def test_opened_by_its_address_over_tcp() -> None:
    with SdmEmulator(345.25, variant="sdm630", unit=7, link="socket://127.0.0.1:0") as emulator:
        meter = open_meter(f"sdm630@{emulator.path}?unit=7&pause_s=0")
        assert meter.identify()["unit"] == "7"
        assert meter.read().values["power_w"] == 345.25
        meter.close()
    assert channels_of("sdm630")[0].name == "power_w"


@pytest.mark.parametrize(
    ("query", "words"),
    [("unit=300", "unit from 1 to 247"), ("blocks=3", "blocks=1 or blocks=2; got 3")],
)
def test_impossible_options_are_one_sentence(query: str, words: str) -> None:
    with SdmEmulator(1.0) as emulator, pytest.raises(Unsupported, match=words):
        open_meter(f"sdm230@{emulator.path}?{query}")


def test_a_question_for_registers_that_the_meter_lacks_reads_zero() -> None:
    """The SDM72D's manual: a parameter that the wiring does not have returns zero."""
    device = SdmDevice(100.0, variant="sdm72d")
    device.advance(0.0)
    totals = VARIANTS["sdm72d"][0]
    _, answer, _ = device.take(request(totals, 1))
    assert answer[3:-2][2 * (0x42 - 0x34) :][:4] == bytes(4)


class AtOneSpeed(SdmDevice):
    """Hears and speaks at 2400 baud alone."""

    baud = 2400

    def due(self, _t_s: float) -> bytes:
        return b""

    def sent(self, _count: int) -> None:
        """Never has anything to say unasked."""


def test_its_speed_is_found_when_it_is_opened() -> None:
    with PtyServer(Responder(AtOneSpeed(345.25))) as emulator:
        meter = open_meter(f"sdm230@{emulator.path}?reply_s=0.1")
        assert meter.read().values["power_w"] == 345.25
        meter.close()
        meter = open_meter(f"sdm230@{emulator.path}?reply_s=0.1&baud=9600")
        with pytest.raises(Timeout):
            meter.identify()
        meter.close()


def test_a_silent_port_ends_in_a_timeout() -> None:
    """A pseudo-terminal knows no parity, so only the speeds are tried there."""
    with SdmEmulator(1.0, unit=9) as emulator, pytest.raises(Timeout):
        open_meter(f"sdm230@{emulator.path}?unit=1&reply_s=0.02")
