"""Who is behind a port: asked in a polite order, in bounded time, and never a port in use."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import jsonschema
import pytest

from calibration.cli import main
from drivers import Busy, DeviceError, Entry, Timeout, entries, open_meter
from drivers.catalog import find
from drivers.discovery import SerialPort
from drivers.emulators.by_model import start
from drivers.emulators.pmd_usb import PmdUsbEmulator
from drivers.emulators.pzem004t import Pzem004tEmulator
from drivers.errors import Gone
from drivers.probing import ask_port, candidates
from drivers.transport import Transport

ROOT = Path(__file__).parent.parent.parent
SCHEMA = json.loads((ROOT / "calibration/schema/meters-asked-1.0.json").read_text())

ANY = Entry("any", "Any", "ACME", (), (), ".meters.pzem004t:Pzem004t", None, ())
OWN = Entry("own", "Own", "ACME", (), (), ".meters.pmd_usb:PmdUsb", None, (), {}, ("1a86:7523",))
CH340 = SerialPort("/dev/ttyUSB0", 0x1A86, 0x7523)
FTDI = SerialPort("/dev/ttyUSB0", 0x0403, 0x6001)


@pytest.mark.parametrize(
    ("port", "expected"),
    [
        (CH340, ["own", "any"]),
        (FTDI, ["any"]),
        (SerialPort("/dev/ttyS1"), ["own", "any"]),  # nothing is known of what is behind it
        (None, ["own", "any"]),
    ],
)
def test_meters_with_a_bridge_of_their_own_come_first(
    port: SerialPort | None, expected: list[str]
) -> None:
    assert [e.model for e in candidates(port, [ANY, OWN])] == expected


class Plug:
    """A driver of a meter that speaks HTTP."""

    baud = 0


def test_over_http_only_those_who_speak_it_are_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("drivers.probing.driver_of", lambda e: Plug if e.model == "plug" else Shelf)
    shelf = Shelf({"plug": None, "a1": None})
    models = [*MODELS, *family("plug", driver="plug:Plug")]
    found = ask_port("http://10.0.0.9", models, open_at=shelf.open_at, now_ns=lambda: shelf.now)
    assert (found.address, found.tried) == ("plug@http://10.0.0.9", ("plug",))
    found = ask_port("x", models, open_at=shelf.open_at, talks=quiet, now_ns=lambda: shelf.now)
    assert found.model == "a1"


class Shelf:
    """Meters that answer as they are told; notes who was asked, on a clock of its own."""

    baud = 9600

    def __init__(self, answers: Mapping[str, Exception | None]) -> None:
        self.answers, self.asked, self.open = answers, list[str](), 0
        self.now = 0

    def open_at(self, address: str, through: object = None) -> Shelf:
        model = address.partition("@")[0]
        self.asked.append(model)
        self.now += 2_000_000_000
        self.open += 1
        return self

    def identify(self) -> Mapping[str, str]:
        answer = self.answers.get(self.asked[-1], Timeout("silence"))
        if answer is not None:
            raise answer
        return {"model": self.asked[-1]}

    def close(self) -> None:
        self.open -= 1


def quiet(_port: str) -> bool:
    return False


def family(*models: str, driver: str = ".meters.pzem004t:Pzem004t") -> list[Entry]:
    return [Entry(m, m, "ACME", (), (), driver, None, ()) for m in models]


MODELS = [*family("a1", "a2", "a3"), *family("b1", "b2", driver=".meters.pmd_usb:PmdUsb")]


def test_a_silent_family_is_asked_once() -> None:
    shelf = Shelf({"b2": None, "b1": DeviceError("a b2")})
    found = ask_port("x", MODELS, open_at=shelf.open_at, talks=quiet, now_ns=lambda: shelf.now)
    assert shelf.asked == ["a1", "b1", "b2"]
    assert (found.model, found.address, found.tried) == ("b2", "b2@x", ("a1", "b1", "b2"))
    assert found.also == ()
    assert shelf.open == 0


def test_whoever_answers_to_the_same_question_is_named() -> None:
    shelf = Shelf({"a1": None, "a2": DeviceError("another"), "a3": None})
    found = ask_port("x", MODELS, open_at=shelf.open_at, talks=quiet, now_ns=lambda: shelf.now)
    assert (found.model, found.also) == ("a1", ("a3",))


def test_who_talks_unasked_is_asked_first() -> None:
    shelf = Shelf({"b1": None})
    found = ask_port(
        "x", MODELS, open_at=shelf.open_at, talks=lambda _: True, now_ns=lambda: shelf.now
    )
    assert found.tried == ("b1",)  # a PMD-USB streams, a PZEM does not


def test_time_is_bounded() -> None:
    shelf = Shelf({f"a{i}": DeviceError("another") for i in (1, 2, 3)})
    found = ask_port(
        "x", MODELS, limit_s=3.0, open_at=shelf.open_at, talks=quiet, now_ns=lambda: shelf.now
    )
    assert found.model is None
    assert found.tried == ("a1", "a2")
    assert found.why == "3 s were over"


class Babbler:
    """A line that always has something to say; time passes with every piece."""

    name = "babbler"

    def __init__(self) -> None:
        self.now, self.closed_at = 0, list[float]()

    def read(self, deadline_ns: int) -> bytes:
        self.now += 10_000_000
        return b"bla" if self.now < deadline_ns else b""

    def write(self, data: bytes) -> None: ...

    def set_baud(self, baud: int) -> None: ...

    def close(self) -> None:
        self.closed_at.append(self.now / 1e9)


class Patient:
    """A driver that asks until somebody answers; its leave takes a second."""

    def __init__(self, line: Transport) -> None:
        self.line = line

    def identify(self) -> Mapping[str, str]:
        while True:
            self.line.read(10**18)

    def close(self) -> None:
        for _ in range(100):
            self.line.read(10**18)
        self.line.close()


@pytest.mark.parametrize(("limit_s", "ends_s"), [(60.0, [11.0, 22.0]), (15.0, [11.0, 16.0])])
def test_nobody_takes_all_of_the_time(limit_s: float, ends_s: list[float]) -> None:
    line = Babbler()

    def open_at(_address: str, through: Callable[[Babbler], Transport]) -> Patient:
        return Patient(through(line))

    found = ask_port(
        "x", MODELS, limit_s=limit_s, open_at=open_at, talks=quiet, now_ns=lambda: line.now
    )
    assert line.closed_at == pytest.approx(ends_s)
    assert found.tried == ("a1", "b1")
    assert found.why == ("15 s were over" if limit_s < 20 else "nobody that is known answered")


def test_a_port_that_cannot_be_used_is_not_asked_again() -> None:
    shelf = Shelf({"a1": Gone("The port has vanished.")})
    found = ask_port("x", MODELS, open_at=shelf.open_at, talks=quiet, now_ns=lambda: shelf.now)
    assert (found.model, found.tried, found.why) == (None, ("a1",), "The port has vanished.")

    def busy(_address: str, through: object) -> Shelf:
        raise Busy("Held.")

    assert ask_port("x", MODELS, open_at=busy, talks=quiet).why == "Held."


def ask(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[dict[str, object]]:
    assert main(["meters", *arguments, "--json"]) == 0
    found: list[dict[str, object]] = json.loads(capsys.readouterr().out)
    jsonschema.validate(found, SCHEMA)
    return found


def test_an_emulated_meter_is_found_by_talking(capsys: pytest.CaptureFixture[str]) -> None:
    with Pzem004tEmulator(50.0, unit=7) as emulator:
        (found,) = ask(capsys, "--port", emulator.path, "pzem-004t")
        assert found["model"] == "pzem-004t"
        assert found["identity"]["unit"] == "7"  # type: ignore[index]
        meter = open_meter(str(found["address"]))
        assert meter.identify()["model"] == "pzem-004t"
        meter.close()
        assert main(["meters", "--port", emulator.path, "pzem-004t"]) == 0
        assert "pzem-004t says: " in capsys.readouterr().out


def test_the_whole_catalogue_is_told_apart_on_a_port(capsys: pytest.CaptureFixture[str]) -> None:
    """A PMD-USB takes single bytes as commands: no question to another meter may reach it."""
    with PmdUsbEmulator(100.0) as emulator:
        (found,) = ask(capsys, "--port", emulator.path)
        assert found["model"] == "pmd-usb"
        assert emulator.instrument.forbidden == []


def test_meters_behind_adapters_are_told_apart() -> None:
    """Modbus questions first, which a meter that reads lines must not take for half a line."""
    asked = [find("pzem-004t"), *(e for e in entries() if e.driver == find("wt333e").driver)]
    with start("wt333e", 100.0) as emulator:
        found = ask_port(emulator.path, asked)
        assert found.model == "wt333e", found
        assert found.also == ()


@pytest.mark.parametrize("model", ["smartpower3", "pm-line"])
def test_where_somebody_talks_meters_that_do_so_come_first(model: str) -> None:
    with start(model, 100.0) as emulator:
        found = ask_port(emulator.path, candidates(None))
        assert found.model == model, found
        assert set(found.tried) <= {"smartpower3", "pm-line"}
        assert {e.request for e in emulator.log} <= {b"?"}  # no question meant for another meter


def test_a_port_in_use_is_left_alone(capsys: pytest.CaptureFixture[str]) -> None:
    with Pzem004tEmulator(50.0) as emulator:
        meter = open_meter(f"pzem-004t@{emulator.path}")
        (found,) = ask(capsys, "--port", emulator.path)
        assert found["model"] is None
        assert "held by another process" in str(found["why"])
        assert emulator.log == ()
        meter.close()


def test_a_held_usb_port_is_not_even_opened(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    held = SerialPort("/dev/ttyUSB7", 0x1A86, 0x7523, held_by=("minicom (41)",))
    monkeypatch.setattr("calibration.instruments.serial_ports", lambda: (held,))
    (found,) = ask(capsys, "--ask")
    assert found["why"] == "open in minicom (41); it is left alone"
    assert main(["meters"]) == 0
    out = capsys.readouterr().out
    assert "/dev/ttyUSB7: 1a86:7523 WCH CH340, open in minicom (41)" in out


def test_a_free_usb_port_names_who_it_may_be(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("calibration.instruments.serial_ports", lambda: (CH340,))
    assert main(["meters"]) == 0
    out = capsys.readouterr().out
    assert "perhaps pmd-usb" in out
    assert max(map(len, out.splitlines())) <= 80


@pytest.fixture
def silence() -> Iterator[str]:
    """Yield the address of somebody who never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        held: list[socket.socket] = []
        stop = threading.Event()

        def serve() -> None:
            server.settimeout(0.05)
            while not stop.is_set():
                try:
                    held.append(server.accept()[0])
                except TimeoutError:
                    continue

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"socket://127.0.0.1:{server.getsockname()[1]}"
        stop.set()
        thread.join()
        for connection in held:
            connection.close()


def test_silence_ends_in_time(silence: str, capsys: pytest.CaptureFixture[str]) -> None:
    began_s = time.monotonic()
    (found,) = ask(capsys, "--port", silence, "--limit", "1")
    assert found["model"] is None
    assert time.monotonic() - began_s < 10.0
    assert found["why"] == "1 s were over"


def test_no_port_and_a_wrong_limit(capsys: pytest.CaptureFixture[str]) -> None:
    (found,) = ask(capsys, "--port", "/dev/no-such-port")
    assert "there is none" in str(found["why"])
    assert main(["meters", "--ask", "--limit", "0"]) == 3
    assert "--limit expects seconds" in capsys.readouterr().err


def test_every_bridge_is_written_as_lsusb_prints_it() -> None:
    for entry in entries():
        for bridge in entry.bridges:
            vid, pid = bridge.split(":")
            assert f"{int(vid, 16):04x}:{int(pid, 16):04x}" == bridge
