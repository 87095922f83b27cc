"""The PZEM-004T v3 decoded: real answers, computed ones, and impossible ones."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drivers.emulators.pzem004t import Pzem004tDevice
from drivers.errors import Implausible
from drivers.meters.pzem004t import ANY_ADDRESS, CHANNELS, Pzem004t, decode, parse, request
from drivers.modbus import registers
from drivers.tape import Replay, load_tape
from drivers.wire import Frame

TAPE = Path(__file__).parent.parent / "tapes" / "pzem004t_v3_field_readings.tape"
NAMES = ("voltage_v", "current_a", "power_w", "energy_j", "frequency_hz", "power_factor")


def test_the_tape_of_real_answers() -> None:
    expected = [
        (1, (225.7, 0.108, 24.4, 38 * 3600, 50.0, 1.0)),
        (1, (220.2, 0.041, 1.8, 237 * 3600, 59.9, 0.2)),
        (2, (220.2, 0.039, 0.6, 1 * 3600, 59.9, 0.07)),
        (3, (220.3, 0.041, 0.7, 53 * 3600, 59.9, 0.08)),
    ]
    with Replay(load_tape(TAPE)) as line:
        for address, values in expected:
            meter = Pzem004t(line, unit=address, now_ns=line.now_ns)
            reading = meter.read()
            assert reading.values == dict(zip(NAMES, values, strict=True))
            assert reading.t_reply_ns - reading.t_request_ns == 40_000_000


def test_the_high_words_count() -> None:
    """A computed answer: 70.123 A, 15948.7 W, 9 999 990 Wh, alarm on."""
    frame = bytes.fromhex(
        "01 04 14 08 FA 11 EB 00 01 6E FF 00 02 96 76 00 98 01 F3 00 63 FF FF 43 B2"
    )
    verdict = parse(frame, 1)
    assert isinstance(verdict, Frame)
    values = decode(registers(verdict.payload))
    assert values["current_a"] == 70.123
    assert values["power_w"] == 15948.7
    assert values["energy_j"] == 9_999_990 * 3600
    assert values["power_factor"] == 0.99


def test_questions() -> None:
    assert request(1) == bytes.fromhex("01 04 00 00 00 0A 70 0D")
    assert request(ANY_ADDRESS) == bytes.fromhex("F8 04 00 00 00 0A 64 64")


@pytest.mark.parametrize("address", [0x01, 0x42, 0xF7, 0xF8])
def test_the_general_address_accepts_any_answer(address: int) -> None:
    device = Pzem004tDevice(100.0, unit=min(address, 0xF7))
    device.advance(0.0)
    _, answer, _ = device.take(request(ANY_ADDRESS))
    assert isinstance(parse(answer, ANY_ADDRESS), Frame)


@pytest.mark.parametrize(
    ("voltage_v", "frequency_hz", "word"), [(30.0, 50.0, "voltage_v"), (230.0, 20.0, "frequency")]
)
def test_no_mains_is_a_fault_and_no_value(voltage_v: float, frequency_hz: float, word: str) -> None:
    device = Pzem004tDevice(100.0, voltage_v=voltage_v, frequency_hz=frequency_hz)
    device.advance(0.0)
    _, answer, _ = device.take(request(1))
    with pytest.raises(Implausible, match=word):
        decode(answer[3:-2])


def test_a_high_mains_is_a_value() -> None:
    device = Pzem004tDevice(100.0, voltage_v=264.0)
    device.advance(0.0)
    _, answer, _ = device.take(request(1))
    assert decode(answer[3:-2])["voltage_v"] == 264.0


@settings(deadline=None)
@given(
    st.integers(0, 10_000_000),
    st.floats(5.3, 23_000.0),
    st.integers(800, 2600),
    st.integers(450, 650),
)
def test_what_the_emulator_encodes_the_driver_decodes(
    energy_wh: int, power_w: float, volt_tenths: int, hertz_tenths: int
) -> None:
    """The emulator was written from the manual and not from the driver's table."""
    device = Pzem004tDevice(
        power_w,
        energy_wh=energy_wh,
        voltage_v=volt_tenths / 10,
        frequency_hz=hertz_tenths / 10,
        power_factor=1.0,
    )
    device.advance(0.0)
    _, answer, _ = device.take(request(1))
    verdict = parse(answer, 1)
    assert isinstance(verdict, Frame)
    values = decode(registers(verdict.payload))
    assert values["power_w"] == round(10 * power_w) / 10
    assert values["voltage_v"] == volt_tenths / 10
    assert values["frequency_hz"] == hertz_tenths / 10
    assert values["energy_j"] == min(energy_wh, 9_999_990) * 3600
    assert values["current_a"] == pytest.approx(power_w / volt_tenths * 10, abs=0.000501)


def test_resolutions_are_one_count() -> None:
    assert {c.name: c.resolution for c in CHANNELS} == {
        "voltage_v": 0.1,
        "current_a": 0.001,
        "power_w": 0.1,
        "energy_j": 3600.0,
        "frequency_hz": 0.1,
        "power_factor": 0.01,
    }
