"""The VISA transport: messages and no loose bytes, against pyvisa-sim and a scripted resource."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import pytest
import pyvisa

from drivers.errors import Busy, Gone, Timeout, TransportError
from drivers.transport import open_port
from drivers.visa import VisaTransport
from drivers.wire import Frame, Need, Verdict, ask, drain

DEVICE = """\
spec: "1.1"
devices:
  meter:
    eom:
      TCPIP INSTR: {q: "\\n", r: "\\n"}
      ASRL INSTR: {q: "\\r\\n", r: "\\n"}
    error: "ERROR"
    dialogues:
      - {q: "*IDN?", r: "ACME,1,2,3"}
      - {q: ":STOP"}
resources:
  TCPIP::10.0.0.7::INSTR: {device: meter}
  ASRL1::INSTR: {device: meter}
"""


def line(buffer: bytes) -> Verdict:
    end = buffer.find(b"\n")
    return Need() if end < 0 else Frame(end + 1, buffer[:end])


def soon(seconds: float = 0.2) -> int:
    return time.monotonic_ns() + round(seconds * 1e9)


@pytest.fixture
def simulated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "devices.yaml"
    path.write_text(DEVICE)
    monkeypatch.setenv("PYVISA_LIBRARY", f"{path}@sim")


@pytest.mark.usefixtures("simulated")
def test_a_question_is_answered_and_nothing_comes_unasked() -> None:
    port = open_port("visa:TCPIP::10.0.0.7::INSTR", baud=9600)
    assert port.read(soon()) == b""
    answer = ask(port, b"*IDN?\n", line, reply_s=1.0)
    assert answer.payload == b"ACME,1,2,3"
    assert port.read(soon()) == b""
    port.write(b":STOP\n")  # a command has no answer: reading would be an error of the device
    begin = time.monotonic()
    assert drain(port, 0.5)
    assert time.monotonic() - begin < 0.4
    port.close()
    port.close()


@pytest.mark.usefixtures("simulated")
def test_a_serial_line_behind_visa_gets_its_speed() -> None:
    port = open_port("visa:ASRL1::INSTR", baud=19_200)
    assert isinstance(port, VisaTransport)
    assert port._resource.baud_rate == 19_200
    assert ask(port, b"*IDN?\r\n", line, reply_s=1.0).payload == b"ACME,1,2,3"
    port.close()


@pytest.mark.parametrize(
    ("name", "kind", "words"),
    [
        ("visa:ASRL/dev/ttyNOPE7::INSTR", Gone, "there is none"),
        ("visa:nonsense", TransportError, "Expected a VISA resource such as visa:TCPIP"),
    ],
)
def test_what_cannot_be_opened_is_one_sentence(
    name: str, kind: type[TransportError], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYVISA_LIBRARY", "@py")
    with pytest.raises(kind, match=words) as caught:
        open_port(name, baud=9600)
    assert "\n" not in str(caught.value)


def test_without_pyvisa_the_install_command_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyvisa", None)
    with pytest.raises(TransportError, match=r"pip install 'wattcal\[visa\]'"):
        open_port("visa:TCPIP::10.0.0.7::INSTR", baud=9600)


def status(name: str) -> pyvisa.VisaIOError:
    return pyvisa.VisaIOError(getattr(pyvisa.constants.StatusCode, name))


class Scripted:
    """A resource that does what it is told, and notes what is done to it."""

    timeout = 0

    def __init__(self, *answers: bytes | BaseException) -> None:
        self.answers, self.done = list(answers), list[str]()

    def read_raw(self) -> bytes:
        self.done.append(f"read {self.timeout}")
        answer = self.answers.pop(0)
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def write_raw(self, data: bytes) -> None:
        self.done.append(f"write {data.decode()}")
        if self.answers and isinstance(self.answers[0], OSError):
            raise self.answers[0]

    def clear(self) -> None:
        self.done.append("clear")

    def close(self) -> None:
        self.done.append("close")


def test_a_late_answer_is_cleared_and_never_taken_for_the_next() -> None:
    resource = Scripted(status("error_timeout"), b"NEW\n")
    port = VisaTransport("visa:X", resource, now_ns=lambda: 0)
    with pytest.raises(Timeout, match="no answer within"):
        ask(port, b"OLD?\n", line, reply_s=0.3, now_ns=lambda: 0)
    assert ask(port, b"NEW?\n", line, reply_s=0.3, now_ns=lambda: 0).payload == b"NEW"
    assert resource.done == ["write OLD?\n", "read 300", "clear", "write NEW?\n", "read 300"]


@pytest.mark.parametrize("error", [status("error_connection_lost"), OSError(5, "gone"), EOFError()])
def test_a_lost_connection_is_gone(error: Exception) -> None:
    port = VisaTransport("visa:X", Scripted(error))
    if not isinstance(error, OSError):
        port.write(b"?")
        with pytest.raises(Gone, match="visa:X has vanished"):
            port.read(soon())
    else:
        with pytest.raises(Gone, match="visa:X has vanished"):
            port.write(b"?")


def test_an_instrument_that_another_program_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_arguments: Any, **_options: Any) -> None:
        raise status("error_resource_busy")

    monkeypatch.setattr(pyvisa.ResourceManager, "open_resource", refuse)
    monkeypatch.setenv("PYVISA_LIBRARY", "@sim")
    with pytest.raises(Busy, match="held by another program"):
        open_port("visa:TCPIP::10.0.0.7::INSTR", baud=9600)
