"""A driver through a real ser2net in front of an emulated meter: what a meter elsewhere looks like.

ser2net runs as a process of this test, with a file of its own, on loopback ports that are free.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from drivers import Timeout, open_meter
from drivers.emulators.faults import FaultPlan
from drivers.emulators.pzem004t import Pzem004tEmulator

# pyserial 3.5 starts its reading thread in a way that Python calls deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:set(Daemon|Name):DeprecationWarning")

# On the wire 0xFFFF: each 0xFF is a command byte of telnet, and must come through doubled.
POWER_W = 6553.5

Server = tuple[Pzem004tEmulator, int, int]

_FILE = """\
%YAML 1.1
---
connection: &rfc2217
  accepter: telnet(rfc2217),tcp,127.0.0.1,{rfc2217}
  connector: serialdev,{path},9600n81,local
connection: &raw
  accepter: tcp,127.0.0.1,{raw}
  connector: serialdev,{path},9600n81,local
"""


def free_ports(count: int) -> list[int]:
    """Return ports on which nobody listens at present."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [s.getsockname()[1] for s in sockets]
    for each in sockets:
        each.close()
    return ports


@pytest.fixture
def server(require: Callable[[str, bool, str], None], tmp_path: Path) -> Iterator[Server]:
    """Start ser2net in front of a meter at unit 7; yield it with the RFC 2217 and the raw port."""
    program = shutil.which("ser2net", path=os.pathsep.join((os.defpath, "/usr/sbin", "/sbin")))
    require("ser2net", program is not None, "install the Debian package ser2net")
    assert program is not None
    rfc2217, raw = free_ports(2)
    with Pzem004tEmulator(POWER_W, unit=7, faults=FaultPlan()) as emulator:
        file = tmp_path / "ser2net.yaml"
        file.write_text(_FILE.format(rfc2217=rfc2217, raw=raw, path=emulator.path))
        with (
            (tmp_path / "log").open("w+") as log,
            subprocess.Popen(
                [program, "-n", "-d", "-c", str(file)], stdout=log, stderr=subprocess.STDOUT
            ) as process,
        ):
            try:
                _wait_until_it_listens(process, (rfc2217, raw), tmp_path / "log")
                yield emulator, rfc2217, raw
            finally:
                process.terminate()
                process.wait(10)


def _wait_until_it_listens(
    process: subprocess.Popen[bytes], ports: tuple[int, ...], log: Path
) -> None:
    """Look into the kernel's table: a connection would take the only place at the port."""
    deadline = time.monotonic() + 20
    wanted = {f"0100007F:{port:04X}" for port in ports}
    while True:
        rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
        if wanted <= {row[1] for row in rows if row[3] == "0A"}:
            return
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.02)


@pytest.mark.parametrize("kind", ["rfc2217", "socket"])
def test_a_meter_behind_ser2net(server: Server, kind: str) -> None:
    emulator, rfc2217, raw = server
    port = f"rfc2217://127.0.0.1:{rfc2217}?ign_set_control&" if kind == "rfc2217" else (
        f"socket://127.0.0.1:{raw}?"
    )  # fmt: skip
    meter = open_meter(f"pzem-004t@{port}unit=7")
    try:
        assert meter.identify()["unit"] == "7"
        for _ in range(3):
            reading = meter.read()  # type: ignore[union-attr]
            assert reading.values["power_w"] == POWER_W
            assert reading.t_reply_ns > reading.t_request_ns
        assert b"\xff\xff" in emulator.log[-1].answer
        emulator.faults.inject("late")
        with pytest.raises(Timeout):
            meter.read()  # type: ignore[union-attr]
        # The late answer has been listened for; the next one is that of the next question.
        assert meter.read().values["power_w"] == POWER_W  # type: ignore[union-attr]
    finally:
        meter.close()
