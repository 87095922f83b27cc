"""`wattcal tape`: a meter recorded by command, replayed to a driver and to another program."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import jsonschema
import minimalmodbus
import pytest
import serial

from calibration.cli import main
from drivers import Gone, open_meter
from drivers.emulators.pmd_usb import PmdUsbEmulator
from drivers.emulators.pzem004t import Pzem004tEmulator
from drivers.playing import Exchange, Player, TapeServer, exchanges
from drivers.tape import Event, Tape, load_tape

ROOT = Path(__file__).parent.parent.parent
REAL = ROOT / "tests" / "tapes" / "pzem004t_v3_field_readings.tape"
SCHEMA = json.loads((ROOT / "calibration/schema/tape-record-1.0.json").read_text())


def record(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> Any:
    assert main(["tape", "record", *arguments, "--json"]) == code
    if code:
        return capsys.readouterr().err
    result = json.loads(capsys.readouterr().out)
    jsonschema.validate(result, SCHEMA)
    return result


def test_record_then_replay_to_a_driver(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "pzem.tape"
    with Pzem004tEmulator(87.0, unit=0x33) as emulator:
        result = record(
            capsys,
            f"pzem-004t@{emulator.path}?unit=0x33",
            "-o",
            str(file),
            "--seconds",
            "0.5",
            "--interval",
            "0.1",
            "--note",
            "ours,\nno. 2",
        )
    assert result["readings"] >= 3
    assert result["masked"] == result["readings"] + 1
    tape = load_tape(file)
    assert tape.head["evidence"] == "calc"  # a pseudo-terminal is no real meter
    assert tape.head["adapter"] == "pseudo-terminal"
    assert tape.head["line"] == "9600 baud, 8N1"
    assert tape.head["latency timer"] == "none"
    assert tape.head["note"] == "ours, no. 2"
    assert "unit ids are 1, 2" in tape.head["masked"]
    assert str(tmp_path) not in file.read_text()
    assert {e.data[0] for e in tape.events} == {1}
    with TapeServer(tape) as server:
        meter = open_meter(f"pzem-004t@{server.path}?unit=1")
        assert meter.identify()["unit"] == "1"
        assert meter.read().values["power_w"] == 87.0  # type: ignore[union-attr]
        meter.close()
        assert server.player.unknown == 0


def test_a_streaming_meter_is_recorded(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "rails.tape"
    with PmdUsbEmulator(90.0) as emulator:
        result = record(capsys, f"pmd-usb@{emulator.path}", "-o", str(file), "--seconds", "0.3")
    assert result["readings"] >= 2
    assert result["masked"] == 0
    assert sum(len(e.data) for e in load_tape(file).events if e.kind == "<") > 10_000
    with TapeServer(load_tape(file)) as server:
        meter = open_meter(f"pmd-usb@{server.path}")
        meter.identify()
        meter.start()  # type: ignore[union-attr]
        assert len(meter.read_block().device_ticks) > 100  # type: ignore[union-attr]
        meter.close()


def test_the_real_tape_answers_another_program() -> None:
    with TapeServer(load_tape(REAL)) as server:
        port = serial.Serial(server.path, 9600, timeout=1.0)
        instrument = minimalmodbus.Instrument(port, 1)
        assert instrument.read_registers(0, 10, functioncode=4)[0] == 2257
        assert instrument.read_registers(0, 10, functioncode=4)[0] == 2202  # the next one
        assert instrument.read_registers(0, 10, functioncode=4)[0] == 2257  # and again
        port.write(b"\x55\x66")
        time.sleep(0.2)
        assert server.player.unknown == 2
        port.close()


def test_a_meter_that_speaks_unasked_and_vanishes() -> None:
    tape = Tape(
        {}, (Event(0, "<", b"banner"), Event(50, ">", b"?"), Event(70, "<", b"!"), Event(90, "!"))
    )
    played = exchanges(tape)
    assert played == (
        Exchange(b"", ((0, b"banner"),)),
        Exchange(b"?", ((20, b"!"), (40, b""))),
    )
    player = Player(played)
    player.begin(1000)
    assert player.due(1000) == [b"banner"]
    player.hear(b"?", 2000)
    assert player.due(2019) == []
    assert player.due(2020) == [b"!"]
    assert player.due(2040) == [b""]  # the port vanishes


def test_questions_in_pieces_and_bytes_that_are_none() -> None:
    player = Player((Exchange(b"abc", ((0, b"1"),)), Exchange(b"ax", ((0, b"2"),))))
    for at, piece in enumerate((b"\x00a", b"b", b"cax")):
        player.hear(piece, at)
    assert (player.answered, player.unknown) == (2, 1)
    player.hear(b"ab", 10)
    player.hear(b"", 20)
    assert player.unknown == 1  # the rest may still come
    player.hear(b"", 1_000_000_000)
    assert player.unknown == 3


def test_an_unplugged_tape_comes_back() -> None:
    tape = Tape({}, (Event(0, ">", b"?"), Event(10, "!")))
    with TapeServer(tape) as server:
        port = serial.Serial(server.path, 9600, timeout=0.2)
        port.write(b"?")
        deadline = time.monotonic() + 10
        with pytest.raises((serial.SerialException, OSError)):
            any(port.read(1) for _ in iter(time.monotonic, deadline))
        port.close()
        while time.monotonic() < deadline:
            try:
                open_meter(f"pzem-004t@{server.path}").close()
                break
            except Gone:
                time.sleep(0.05)
        assert os.path.exists(server.path)


def test_replay_serves_until_it_is_stopped(tmp_path: Path) -> None:
    link = tmp_path / "meter"
    command = [sys.executable, "-m", "calibration", "tape", "replay", str(REAL)]
    with subprocess.Popen(
        [*command, "--link", str(link)], cwd=ROOT, stderr=subprocess.PIPE, text=True
    ) as process:
        deadline = time.monotonic() + 30
        while not link.exists():
            assert time.monotonic() < deadline
            time.sleep(0.02)
        meter = open_meter(f"pzem-004t@{link}?unit=1")
        assert meter.read().values["power_w"] == 24.4  # type: ignore[union-attr]
        meter.close()
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
        assert process.stderr is not None
        assert "1 questions answered, 0 bytes" in process.stderr.read()
    assert not os.path.lexists(link)


def test_mistakes_are_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "x.tape"
    assert "--evidence real" in record(
        capsys, "pzem-004t@socket://127.0.0.1:1", "-o", str(file), code=3
    )
    assert "Expected one of the meters" in record(capsys, "pz@/dev/x", "-o", str(file), code=4)
    assert "there is none" in record(capsys, "pzem-004t@/dev/no-such", "-o", str(file), code=4)
    assert not file.exists()  # nothing was said, nothing is left
    assert "positive" in record(
        capsys, "pzem-004t@/dev/x", "-o", str(file), "--seconds", "0", code=3
    )
    file.touch()
    assert "exists already" in record(capsys, "pzem-004t@/dev/x", "-o", str(file), code=3)
    assert main(["tape", "replay", str(file), "--seconds", "0.1"]) == 3
    assert "expected '# wattcal tape 1'" in capsys.readouterr().err
    file.write_text("# wattcal tape 1\n")
    assert main(["tape", "replay", str(file), "--seconds", "0.1"]) == 3
    assert "empty" in capsys.readouterr().err
