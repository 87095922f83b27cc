"""The lines of Yokogawa's meters: real conversations, real samples, and single corrupted bytes."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from drivers.errors import DriverError, Implausible, OverRange
from drivers.meters.yokogawa_lines import (
    decode,
    decode_block,
    parse_values,
    refuse_identity,
    refuse_values,
)
from drivers.meters.yokogawa_tables import Settings
from drivers.meters.yokogawa_wt import YokogawaWt
from drivers.ranges import choose, five_digits
from drivers.scpi import Number, number, power_agrees, units
from drivers.talk import Talk
from drivers.tape import Replay, load_tape
from drivers.wire import Frame

TAPES = Path(__file__).parent.parent / "tapes"
AT_300_V_2_A = Settings(300.0, 2.0, 3, False, 1.0, 1)
VOLTS = (15.0, 30.0, 60.0, 150.0, 300.0, 600.0)
AMPS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0)
FOLDER = "mlperf-ptdaemon-yokogawa"
# Instrument, ranges of its testing run (V, A) as its transcript says they were set.
REAL = (
    ("wt310e-rpi4", 300.0, 0.1),
    ("wt333e-orin", 150.0, 0.5),
    ("wt210-xe2420", 150.0, 5.0),
    ("wt330multi-xr12", 150.0, 2.0),
)


@pytest.mark.parametrize("name", ["wt310e", "wt333e", "wt210"])
def test_a_real_conversation(name: str) -> None:
    """Every question on the tape is asked by `Talk`, and its real answer taken apart."""
    tape = load_tape(TAPES / f"yokogawa_{name}_transcript.tape")
    questions = [e.data for e in tape.events if e.kind == ">"]
    with Replay(tape) as line:
        talk = Talk(line, refuse_identity, reply_s=1.0, now_ns=line.now_ns)
        identity = talk.resynchronise()
        assert identity.split(",")[1] == {"wt210": "760401"}.get(name, name.upper())
        for question in questions[1:]:
            text = question.decode().strip()
            found = units(talk.text(text))
            if text == ":CFAC?;:CURR:RANG?;:CURR:AUTO?;:VOLT:RANG?;:VOLT:AUTO?":
                assert [u.fields[0] for u in found][::2] == ["3", "0", "0"]
            if text == ":NUMERIC:NORMAL:VALUE?":
                assert number(found[0].fields[4]) is not None
                assert len(found[0].fields) == 10


def exchanges(log: Path) -> Iterator[tuple[str, int, str]]:
    """Yield (question, bytes counted, answer) of a transcript."""
    text = log.read_text(encoding="utf-8", errors="replace")
    question = r"Writing query string (\S+?)(?:\.\.\.)?\s*\n(?:\.\.\.\s*\n)?"
    pattern = question + r"[^\n]*?\.\.\.response of (\d+) bytes: (.*)\n"
    for asked, count, answer in re.findall(pattern, text):
        yield asked, int(count), answer


def test_all_real_answers_have_as_many_units_as_their_question(wattcal_data: Path) -> None:
    seen = 0
    for name, _, _ in REAL:
        for question, count, answer in exchanges(
            wattcal_data / FOLDER / name / "power/ptd_logs.txt"
        ):
            assert count == len(answer) + 1  # one end of line
            found = units(answer)
            expected = question.count("?")
            if question == ":NUMERIC:NORMAL?":
                expected = 1 + int(found[0].fields[0])
            if name.startswith("wt210"):  # its :VOLT? answers range and automatic
                expected += len(re.findall(r":VOLT\?", question)) - (question == ":CONF?")
            if question != ":CONF?":
                assert len(found) == expected, (question, answer)
            seen += 1
    assert seen == 43


def samples(path: Path) -> Iterator[tuple[float, float, float, float]]:
    """Yield (W, V, A, PF) of every channel of a log; -1 W is what the tool wrote for none."""
    with path.open(encoding="utf-8") as file:
        for row in csv.reader(file):
            for at, word in enumerate(row):
                if word == "Watts" and float(row[at + 3]) > 0:
                    watt, volt, amp, factor = (float(row[at + 1 + 2 * i]) for i in range(4))
                    yield watt, volt, amp, factor


@pytest.mark.parametrize(("name", "volt_range", "amp_range"), REAL)
def test_real_samples_have_five_digits_and_agree(
    wattcal_data: Path, name: str, volt_range: float, amp_range: float
) -> None:
    """What the driver checks in every reading holds in every sample of the real testing runs."""
    steps = [five_digits(s) for s in (volt_range * amp_range, volt_range, amp_range, 1.0)]
    count = 0
    for values in samples(wattcal_data / FOLDER / name / "run_1/spl.txt"):
        for value, size in zip(values, steps, strict=True):
            assert abs(value / float(size) - round(value / float(size))) < 1e-3, (values, size)
        power, volt, amp, factor = (Number(v, s) for v, s in zip(values, steps, strict=True))
        assert power_agrees(volt, amp, power, factor), values
        count += 1
    assert count >= 600


@pytest.mark.parametrize(("name", "volt_range", "amp_range"), REAL)
def test_the_ranging_rule_finds_the_ranges_of_the_real_runs(
    wattcal_data: Path, name: str, volt_range: float, amp_range: float
) -> None:
    rows = list(samples(wattcal_data / FOLDER / name / "ranging/spl.txt"))
    volts, amps = [r[1] for r in rows], [r[2] for r in rows]
    tables = {"voltage_ranges_v": VOLTS, "current_ranges_a": AMPS}
    as_recorded = choose(volts, amps, margin=1.0, **tables)
    assert (as_recorded.voltage_v, as_recorded.current_a) == (volt_range, amp_range)
    published = choose(volts, amps, **tables)
    assert published.current_a == (1.0 if name == "wt333e-orin" else amp_range)


def test_the_real_mix_up_is_refused(wattcal_data: Path) -> None:
    """Twenty times a WT310E's answer about ranges was taken for data, and -1 W written down."""
    log = (wattcal_data / FOLDER / "wt310e-rpi4/power/ptd_logs.txt").read_text()
    buffers = re.findall(r"Buffer was (\S+)", log)
    assert len(buffers) == 20
    for buffer in buffers:
        assert refuse_values(buffer, 4) is not None
        assert not isinstance(parse_values(buffer.encode() + b"\n"), Frame)


def test_the_real_values_of_two_elements() -> None:
    """Those of the WT333E on 150 V and 1 A, without the two frequencies."""
    at = Settings(150.0, 1.0, 3, False, 1.0, 2)
    values, fault = decode(
        "118.83E+00,0.8002E+00,79.77E+00,0.8389E+00,121.01E+00,0.8001E+00,66.91E+00,0.6910E+00", at
    )
    assert fault is None
    assert values["power_w"] == pytest.approx(146.68)
    assert (values["power_1_w"], values["power_factor_2"]) == (79.77, 0.691)


def test_values_and_what_is_missing() -> None:
    values, fault = decode("230.12E+00,1.5713E+00,345.00E+00,0.9541E+00", AT_300_V_2_A)
    assert fault is None
    assert values == {
        "voltage_v": 230.12,
        "current_a": 1.5713,
        "power_w": 345.0,
        "power_factor": 0.9541,
    }
    values, fault = decode("230.12E+00,0.0000E+00,0.00E+00,NAN", AT_300_V_2_A)
    assert (values["power_w"], fault) == (0.0, "no-data")
    assert "power_factor" not in values
    values, fault = decode("NAN,NAN,NAN,NAN", AT_300_V_2_A)
    assert (values, fault) == ({}, "no-data")
    with pytest.raises(OverRange, match="Widen"):
        decode("230.12E+00,INF,INF,NAN", AT_300_V_2_A)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("230.12E+00,1.5713E+00,245.00E+00,0.9541E+00", "not voltage times current"),
        ("230.12E+00,1.5713E+00,345.0E+00,0.9541E+00", "steps of 0.01"),
        ("023.12E+00,1.5713E+03,345.00E+00,0.9541E+00", "steps"),
        ("930.12E+00,1.5713E+00,345.00E+00,0.9541E+00", "not measurable"),
        ("230.12E+00,1.5713E+00,345.00E+00,1.9541E+00", "power factor"),
        ("-230.12E+00,1.5713E+00,345.00E+00,0.9541E+00", "not measurable"),
        ("230.12E+00,1.5713E+00,-345.00E+00,0.9541E+00", "not measurable"),
        ("230.12E+00,1.5713E+00,345.00E+00,-0.9541E+00", "the sign of the power"),
        ("30.12E+00,0.0000E+00,0.00E+00,NAN", "a mains voltage"),
    ],
)
def test_a_value_that_cannot_be_is_a_fault(line: str, words: str) -> None:
    assert refuse_values(line, 4) is None
    with pytest.raises(Implausible, match=words):
        decode(line, AT_300_V_2_A)


def leaks(reply: bytes, settings: Settings) -> tuple[int, int, float]:
    """Corrupt every byte in all ways: (changed and accepted, tries, largest change in W)."""
    true, _ = decode(reply.decode().strip(), settings)
    accepted = tries = 0
    worst_w = 0.0
    for at in range(len(reply) - 2):  # the end of line is no payload
        for byte in range(256):
            if byte == reply[at]:
                continue
            tries += 1
            if not 32 <= byte < 127 and byte != 10:
                continue  # no text: `parse_line` cuts the line there
            verdict = parse_values(reply[:at] + bytes((byte,)) + reply[at + 1 :])
            if not isinstance(verdict, Frame):
                continue
            try:
                values, _ = decode(verdict.payload.decode(), settings)
            except DriverError:
                continue
            if any(name in true and value != true[name] for name, value in values.items()):
                accepted += 1
                worst_w = max(
                    worst_w, abs(values.get("power_w", true["power_w"]) - true["power_w"])
                )
    return accepted, tries, worst_w


def test_a_block_of_another_length_or_without_agreement_is_a_fault() -> None:
    block = bytes.fromhex("43661EB8 3FC9205C 43AC8000 3F743FE6")
    values, fault = decode_block(block, AT_300_V_2_A)
    assert fault is None
    assert values["power_w"] == 345.0
    for wrong in (block[:12], block + bytes(4), b""):
        with pytest.raises(Implausible, match="block of 4 values"):
            decode_block(wrong, AT_300_V_2_A)
    with pytest.raises(Implausible, match="not voltage times"):
        decode_block(block[:8] + bytes.fromhex("43758000") + block[12:], AT_300_V_2_A)


def test_how_many_corrupted_bytes_of_a_block_go_unnoticed() -> None:
    """The figures of the driver's docstring; they may only shrink."""
    block = bytes.fromhex("43661EB8 3FC9205C 43AC8000 3F743FE6")
    true, _ = decode_block(block, AT_300_V_2_A)
    accepted, worst_w = 0, 0.0
    for at in range(16):
        for byte in set(range(256)) - {block[at]}:
            try:
                values, _ = decode_block(
                    block[:at] + bytes((byte,)) + block[at + 1 :], AT_300_V_2_A
                )
            except DriverError:
                continue
            accepted += 1
            worst_w = max(worst_w, abs(values.get("power_w", 345.0) - true["power_w"]))
    assert (accepted <= 1080, worst_w <= 0.047) == (True, True)


def test_how_many_corrupted_bytes_go_unnoticed() -> None:
    """The figures of the driver's docstring; they may only shrink."""
    accepted, tries, worst_w = leaks(
        b"230.12E+00,1.5713E+00,345.00E+00,0.9541E+00\r\n", AT_300_V_2_A
    )
    assert (accepted <= 12, tries, worst_w <= 0.031) == (True, 10_965, True)


@pytest.mark.parametrize("model", ["wt310", "wt332e"])
def test_a_whole_computed_conversation(model: str) -> None:
    """The driver still says and understands what it did when the tape was made."""
    with Replay(load_tape(TAPES / f"yokogawa_{model}_computed.tape")) as line:
        meter = YokogawaWt(line, variant=model, now_ns=line.now_ns)
        assert meter.identify()["serial"] == "EMULATED01"
        powers = [meter.read().values["power_w"] for _ in range(3)]
        meter.close()
    assert powers == pytest.approx([352.5, 357.5, 362.5], abs=0.05)
