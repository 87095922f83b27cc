"""Ports: opened for one process, named in clear sentences when they fail, gone when unplugged."""

from __future__ import annotations

import contextlib
import gc
import socket
import struct
import sys
import threading
import time
import types
from pathlib import Path

import pytest
import serial
import serial.rfc2217

from drivers.emulators.port import PtyPort
from drivers.emulators.pzem004t import Pzem004tEmulator
from drivers.errors import Busy, Gone, Timeout, TransportError
from drivers.meters.pzem004t import Pzem004t
from drivers.transport import open_port


@pytest.fixture
def port() -> PtyPort:
    return PtyPort()


def soon(seconds: float = 0.2) -> int:
    return time.monotonic_ns() + round(seconds * 1e9)


def test_bytes_pass_unchanged_both_ways(port: PtyPort) -> None:
    line = open_port(str(port.path), baud=9600)
    every = bytes(range(256))
    line.write(every)
    assert port.read(1.0) == every
    port.write(every)
    assert line.read(soon()) == every
    assert line.read(soon(0.0)) == b""
    line.close()
    line.close()
    port.close()


def test_a_port_is_opened_for_one(port: PtyPort) -> None:
    line = open_port(str(port.path), baud=9600)
    with pytest.raises(Busy, match="held by another process"):
        open_port(str(port.path), baud=9600)
    line.close()
    open_port(str(port.path), baud=9600).close()
    port.close()


def test_unplugged_while_reading_and_writing_is_gone(port: PtyPort) -> None:
    line = open_port(str(port.path), baud=9600)
    port.unplug()
    with pytest.raises(Gone, match="vanished"):
        line.read(soon())
    with pytest.raises(Gone):
        line.write(b"x")
    with pytest.raises(Gone):
        line.set_baud(19200)
    line.close()
    with pytest.raises(Gone):
        line.read(soon())
    port.close()


@pytest.mark.parametrize(
    ("name", "kind", "words"),
    [
        ("/dev/ttyNOPE7", Gone, "there is none"),
        ("socket://127.0.0.1:1", Gone, "Nobody answers"),
        ("nope://x", TransportError, "Expected a device such as"),
        ("/etc/passwd", TransportError, "something else"),
        ("/", TransportError, "something else"),
    ],
)
def test_a_port_that_cannot_be_opened_is_one_sentence(
    name: str, kind: type[TransportError], words: str
) -> None:
    with pytest.raises(kind, match=words) as caught:
        open_port(name, baud=9600)
    assert "\n" not in str(caught.value)
    assert caught.value.__suppress_context__


def test_without_pyserial_the_install_command_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "serial", None)
    with pytest.raises(TransportError, match=r"pip install 'wattcal\[lab\]'"):
        open_port("/dev/ttyUSB0", baud=9600)
    monkeypatch.setitem(sys.modules, "serial", types.ModuleType("serial"))
    with pytest.raises(TransportError, match="pip uninstall serial"):
        open_port("/dev/ttyUSB0", baud=9600)


def test_the_speed_reaches_the_port(port: PtyPort) -> None:
    line = open_port(str(port.path), baud=9600)
    assert port.baud == 9600
    line.set_baud(921_600)
    assert port.baud == 921_600
    line.close()
    port.close()


def test_an_existing_file_is_not_replaced_by_a_port(tmp_path: Path) -> None:
    taken = tmp_path / "taken"
    taken.write_text("precious")
    with pytest.raises(FileExistsError, match="exists already"):
        PtyPort(taken)
    assert taken.read_text() == "precious"


def test_a_dangling_name_of_a_crashed_emulator_is_taken_over(tmp_path: Path) -> None:
    link = tmp_path / "meter"
    link.symlink_to("/dev/pts/987654")
    port = PtyPort(link)
    open_port(str(link), baud=9600).close()
    port.close()
    assert not link.is_symlink()


def bridge(server: socket.socket, path: str, *, rfc2217: bool) -> threading.Thread:
    """Serve a pty over TCP to one client, raw or with the negotiation of RFC 2217."""

    def pump() -> None:
        client, _ = server.accept()
        with client, serial.Serial(path, 9600, timeout=0) as port:
            client.settimeout(0.005)
            manager = None
            if rfc2217:
                # A pty has neither modem lines nor their state.
                manager = serial.rfc2217.PortManager(
                    port, types.SimpleNamespace(write=client.sendall)
                )
            while True:
                try:
                    data = client.recv(1024)
                    if not data:
                        return
                    port.write(b"".join(manager.filter(data)) if manager else data)
                except TimeoutError:
                    pass
                back = port.read(1024)
                if back:
                    client.sendall(b"".join(manager.escape(back)) if manager else back)

    def pump_until_closed() -> None:
        with contextlib.suppress(OSError):
            pump()

    thread = threading.Thread(target=pump_until_closed, daemon=True)
    thread.start()
    return thread


@pytest.mark.filterwarnings("ignore:set(Daemon|Name):DeprecationWarning")  # pyserial 3.5
@pytest.mark.parametrize("scheme", ["socket", "rfc2217"])
def test_a_meter_behind_a_network_bridge(scheme: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_update_dtr_state", "_update_rts_state"):
        monkeypatch.setattr(serial.Serial, name, lambda _self: None)
    monkeypatch.setattr(
        serial.rfc2217.PortManager, "check_modem_lines", lambda _self, **_options: None
    )
    with Pzem004tEmulator(123.4) as emulator, socket.create_server(("127.0.0.1", 0)) as server:
        thread = bridge(server, emulator.path, rfc2217=scheme == "rfc2217")
        line = open_port(f"{scheme}://127.0.0.1:{server.getsockname()[1]}", baud=9600)
        meter = Pzem004t(line)
        assert meter.read().values["power_w"] == 123.4
        assert meter.read().values["power_w"] == 123.4
        emulator.faults.inject("silent")
        with pytest.raises(Timeout):
            meter.read()
        assert meter.read().values["power_w"] == 123.4
        meter.close()
        thread.join(5)


def test_a_closed_connection_is_gone() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        line = open_port(f"socket://127.0.0.1:{server.getsockname()[1]}", baud=9600)
        client, _ = server.accept()
        client.close()
        with pytest.raises(Gone):
            line.read(soon())
        line.close()


@pytest.mark.filterwarnings("error")  # a socket that nobody closed is a ResourceWarning
def test_a_connection_that_was_broken_off_is_closed_at_this_end_too() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        line = open_port(f"socket://127.0.0.1:{server.getsockname()[1]}", baud=9600)
        client, _ = server.accept()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close()  # breaks off, and says no farewell
        with pytest.raises(Gone):
            line.read(soon())
        line.close()
        del line
        gc.collect()
