"""Eastron SDM meters decoded: the maker's printed frames, both word orders, impossible values."""

from __future__ import annotations

import math
import struct
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drivers.emulators.sdm import SdmDevice
from drivers.errors import Implausible, Refused, Unsupported
from drivers.meters.sdm import EastronSdm
from drivers.meters.sdm_registers import (
    VARIANTS,
    decode,
    energy_resolution_j,
    floats,
    parse,
    request,
)
from drivers.modbus import framed, parse_answer, read_request, registers
from drivers.tape import Replay, load_tape
from drivers.wire import Frame, Skip
from tests.wire.sliding import cut, flipped, payloads

TAPE = Path(__file__).parent.parent / "tapes" / "sdm230_printed_answers.tape"
LINE, COUNTERS = VARIANTS["sdm230"]
every = pytest.mark.parametrize("variant", VARIANTS)

# The maker's documents print these: question, answer, number.
PRINTED = [
    (0x0000, "01 04 00 00 00 02 71 CB", "01 04 04 43 66 33 34 1B 38", 230.2),
    (0x000C, "01 04 00 0C 00 02 B1 C8", "01 04 04 43 AC A0 00 56 21", 345.25),
    (0x0048, "01 04 00 48 00 02 F1 DD", "01 04 04 42 F6 E9 79 81 BC", 123.456),
]


def block_of(device: SdmDevice, block: object) -> bytes:
    """Return the registers that the emulated meter answers a block with."""
    question, answer, rest = device.take(request(block, device.unit))  # type: ignore[arg-type]
    assert question
    assert rest == b""
    return answer[3:-2]


@pytest.mark.parametrize(("register", "question", "answer", "value"), PRINTED)
def test_the_printed_frames(register: int, question: str, answer: str, value: float) -> None:
    assert read_request(1, 4, register, 2) == bytes.fromhex(question)
    verdict = parse_answer(bytes.fromhex(answer), address=1, function=4, count=2)
    assert isinstance(verdict, Frame)
    (number,) = floats(registers(verdict.payload))
    assert number == pytest.approx(value, rel=1e-7)


def test_the_printed_address_of_the_meter() -> None:
    assert read_request(1, 3, 0x14, 2) == bytes.fromhex("01 03 00 14 00 02 84 0F")
    answer = bytes.fromhex("01 03 04 3F 80 00 00 F7 CF")
    verdict = parse_answer(answer, address=1, function=3, count=2)
    assert isinstance(verdict, Frame)
    assert floats(registers(verdict.payload)) == (1.0,)


def test_the_blocks_of_one_phase_are_those_of_the_documents() -> None:
    assert request(LINE, 1) == bytes.fromhex("01 04 00 00 00 26 71 D0")
    assert request(COUNTERS, 1) == bytes.fromhex("01 04 00 46 00 0A 91 D8")


@every
def test_blocks_keep_the_rules_of_all_documents(variant: str) -> None:
    blocks = VARIANTS[variant]
    assert len({b.count for b in blocks}) == len(blocks)  # an answer is known by nothing else
    for block in blocks:
        assert block.first % 2 == block.count % 2 == 0
        assert 0 < block.count <= 60
        for register, _ in block.table:
            assert register % 2 == 0
            assert block.first <= register <= block.first + block.count - 2


def test_a_word_swapped_voltage_is_refused_by_name() -> None:
    swapped = struct.pack(">f", 230.2)
    swapped = swapped[2:] + swapped[:2]
    (number,) = floats(swapped)
    assert number == pytest.approx(4.17e-08, rel=1e-3)
    device = SdmDevice(100.0, low_first=True)
    device.advance(0.0)
    with pytest.raises(Implausible, match=r"voltage_v from 80 to 300.*other word order would fit"):
        decode(LINE, block_of(device, LINE))
    assert decode(LINE, block_of(device, LINE), low_first=True)["power_w"] == 100.0


def test_an_impossible_mains_gets_no_hint_at_the_word_order() -> None:
    device = SdmDevice(100.0, voltage_v=30.0)
    device.advance(0.0)
    with pytest.raises(Implausible) as caught:
        decode(LINE, block_of(device, LINE))
    assert "word order" not in str(caught.value)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_is_a_fault(bad: float) -> None:
    block = struct.pack(">5f", 50.0, bad, 0.0, 0.0, 0.0)
    with pytest.raises(Implausible, match="Expected a number for energy_import_j"):
        decode(COUNTERS, block)


def test_a_refusal_is_one() -> None:
    verdict = parse(bytes.fromhex("01 84 02 C2 C1"), LINE, 1)
    assert isinstance(verdict, Frame)
    with pytest.raises(Refused, match="exception 2"):
        registers(verdict.payload)


@pytest.mark.parametrize(
    ("energy_kwh", "step_j"),
    [(10, 3.43), (100, 27.5), (1_000, 220), (10_000, 3516), (100_000, 28_125)],
)
def test_the_energy_resolution_grows_with_the_register(energy_kwh: float, step_j: float) -> None:
    assert energy_resolution_j(energy_kwh * 3.6e6) == pytest.approx(step_j, rel=0.005)


@given(st.floats(0.0, 1e5))
def test_the_energy_resolution_is_the_step_of_a_float32(energy_kwh: float) -> None:
    stored = np.float32(energy_kwh)
    step_kwh = energy_resolution_j(float(stored) * 3.6e6) / 3.6e6
    assert step_kwh == pytest.approx(float(np.spacing(stored)), rel=1e-9)


@settings(deadline=None)
@given(
    st.sampled_from(sorted(VARIANTS)),
    st.booleans(),
    st.floats(-20_000, 20_000),
    st.floats(100, 280),
    st.floats(0, 90_000),
)
def test_what_the_emulator_encodes_the_driver_decodes(
    variant: str, low_first: bool, power_w: float, voltage_v: float, import_kwh: float
) -> None:
    """The emulator was written from the documents and not from the driver's table."""
    device = SdmDevice(
        power_w, variant=variant, voltage_v=voltage_v, import_kwh=import_kwh, low_first=low_first
    )
    device.advance(0.0)
    values: dict[str, float] = {}
    for block in VARIANTS[variant]:
        values |= decode(block, block_of(device, block), low_first=low_first)
    assert tuple(values) == tuple(c.name for c in EastronSdm.channels_of(variant))
    assert values["power_w"] == pytest.approx(power_w, rel=1e-6)
    assert values["frequency_hz"] == 50.0
    assert values["energy_import_j"] == pytest.approx(import_kwh * 3.6e6, rel=1e-6)
    lines = ("_l1", "_l2", "_l3") if "voltage_l1_v" in values else ("",)
    for line in lines:
        volts, amperes = values[f"voltage{line}_v"], values[f"current{line}_a"]
        assert volts == pytest.approx(voltage_v, rel=1e-6)
        apparent_va = values[f"apparent_power{line}_va"]
        assert volts * amperes == pytest.approx(apparent_va, rel=1e-5, abs=1e-4)
    assert sum(values[f"power{line}_w"] for line in lines) == pytest.approx(power_w, rel=1e-5)


ANSWER = framed(bytes.fromhex("01 04 14") + struct.pack(">5f", 50.0, 123.456, 0.5, 0.0, 0.0))


@given(st.lists(st.integers(0, 10_000), max_size=12), st.binary(max_size=40))
def test_any_pieces_and_any_noise_before_give_the_same(places: list[int], noise: bytes) -> None:
    judge = partial(parse, block=COUNTERS, unit=1)
    if payloads(judge, [noise]) or not isinstance(judge(noise[-3:] + ANSWER[:3]), Skip | Frame):
        noise = b""  # the noise is itself the beginning of an answer
    assert payloads(judge, cut(noise + ANSWER, places))[-1:] == [ANSWER[1:-2]]


def test_no_flipped_bit_is_accepted() -> None:
    for frame in flipped(ANSWER):
        assert isinstance(parse(frame, COUNTERS, 1), Skip)


def test_the_tape_of_printed_answers() -> None:
    with Replay(load_tape(TAPE)) as line:
        meter = EastronSdm(line, variant="sdm230", now_ns=line.now_ns)
        values = meter.read().values
    assert values["voltage_v"] == pytest.approx(230.2, rel=1e-7)
    assert values["power_w"] == 345.25
    assert values["energy_import_j"] == pytest.approx(123.456 * 3.6e6, rel=1e-7)


def test_an_unknown_variant_is_refused() -> None:
    with pytest.raises(Unsupported, match=r"Expected one of sdm120, .*; got 'sdm999'"):
        EastronSdm.channels_of("sdm999")
    with pytest.raises(Unsupported, match="blocks=1 or blocks=2; got 3"):
        EastronSdm.channels_of("sdm120", 3)
