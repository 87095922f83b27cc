"""Our Modbus drivers read strangers' servers: over TCP, and over a line of pseudo-terminals."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import select
import struct
import threading
import tty
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from drivers import open_meter
from drivers.errors import Refused

pymodbus = pytest.importorskip("pymodbus")

from pymodbus import FramerType  # noqa: E402
from pymodbus.server import ModbusSerialServer, ModbusTcpServer  # noqa: E402
from pymodbus.simulator import DataType, SimData, SimDevice  # noqa: E402

PZEM_UNIT = 0x10
SDM230 = {0x00: 230.2, 0x06: 1.5, 0x0C: 345.25, 0x12: 345.3, 0x1E: 1.0, 0x46: 50.0, 0x48: 123.456}
SDM630 = {0x00: 229.0, 0x02: 230.0, 0x04: 231.0, 0x0C: 100.0, 0x0E: 200.0, 0x10: 300.0}
SDM630 |= {0x34: 600.0, 0x46: 50.0, 0x48: 10_000.0, 0x4A: 1.0}
# Voltage, current, power, energy (low words first), frequency, power factor, alarm.
PZEM = [2302, 1500, 0, 3452, 0, 4464, 1, 500, 100, 0]


def words(values: dict[int, float], size: int, *, low_first: bool = False) -> list[int]:
    """Return registers that hold float32 numbers, the rest zero."""
    registers = [0] * size
    for register, value in values.items():
        pair = struct.unpack(">HH", struct.pack(">f", value))
        registers[register : register + 2] = pair[::-1] if low_first else pair
    return registers


def block(values: list[int]) -> list[SimData]:
    return [SimData(0, values=values, datatype=DataType.REGISTERS)]


def device(unit: int, inputs: list[int], holding: list[int]) -> SimDevice:
    bits = [SimData(0, values=[False], datatype=DataType.BITS)]
    return SimDevice(unit, simdata=(bits, bits, block(holding), block(inputs)))


def meters() -> list[SimDevice]:
    """Return two Eastron meters, one with swapped words, and a PZEM."""
    return [
        device(1, words(SDM230, 80), words({0x14: 1.0}, 80)),
        device(2, words(SDM630, 80, low_first=True), words({0x14: 2.0}, 80, low_first=True)),
        device(PZEM_UNIT, PZEM, [0, 23_000, PZEM_UNIT]),
    ]


@contextlib.contextmanager
def serving(make: Callable[[], Any]) -> Iterator[Any]:
    """Run a server of pymodbus in a thread."""
    logging.getLogger("pymodbus").setLevel(logging.CRITICAL)
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    async def start() -> Any:
        server = make()
        await server.serve_forever(background=True)
        return server

    server = asyncio.run_coroutine_threadsafe(start(), loop).result(5)
    try:
        yield server
    finally:
        asyncio.run_coroutine_threadsafe(server.shutdown(), loop).result(5)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(5)
        loop.close()


@pytest.fixture
def tcp() -> Iterator[str]:
    """Yield the address of a server that speaks RTU over TCP."""
    with serving(
        lambda: ModbusTcpServer(meters(), framer=FramerType.RTU, address=("127.0.0.1", 0))
    ) as server:
        yield f"socket://127.0.0.1:{server.transport.sockets[0].getsockname()[1]}"


@pytest.fixture
def line() -> Iterator[str]:
    """Yield one end of a line of two pseudo-terminals; the server is at the other end."""
    ends = [os.openpty() for _ in range(2)]
    for _, slave in ends:
        tty.setraw(slave)
    (near, near_slave), (far, far_slave) = ends
    stop, wake = os.pipe()

    def pump() -> None:
        while stop not in (ready := select.select([near, far, stop], [], [])[0]):
            for source, target in ((near, far), (far, near)):
                if source in ready:
                    os.write(target, os.read(source, 4096))

    thread = threading.Thread(target=pump, daemon=True)
    thread.start()
    try:
        with serving(
            lambda: ModbusSerialServer(meters(), port=os.ttyname(far_slave), baudrate=9600)
        ):
            yield os.ttyname(near_slave)
    finally:
        os.write(wake, b"x")
        thread.join(5)
        for descriptor in (near, near_slave, far, far_slave, stop, wake):
            os.close(descriptor)


@pytest.mark.parametrize("port", ["tcp", "line"])
def test_an_sdm230(port: str, request: pytest.FixtureRequest) -> None:
    meter = open_meter(f"sdm230@{request.getfixturevalue(port)}?unit=1&baud=9600")
    found = meter.identify()
    assert (found["word_order"], found["meter_code"]) == ("high first", "none offered")
    for _ in range(3):
        values = meter.read().values
        assert values["voltage_v"] == pytest.approx(230.2, rel=1e-7)
        assert values["power_w"] == 345.25
        assert values["energy_import_j"] == pytest.approx(123.456 * 3.6e6, rel=1e-7)
    meter.close()


@pytest.mark.parametrize("port", ["tcp", "line"])
def test_an_sdm630_with_swapped_words(port: str, request: pytest.FixtureRequest) -> None:
    meter = open_meter(f"sdm630@{request.getfixturevalue(port)}?unit=2&baud=9600")
    assert meter.identify()["word_order"] == "low first"
    values = meter.read().values
    assert values["power_w"] == 600.0
    assert [values[f"power_l{n}_w"] for n in (1, 2, 3)] == [100.0, 200.0, 300.0]
    assert [values[f"voltage_l{n}_v"] for n in (1, 2, 3)] == [229.0, 230.0, 231.0]
    assert values["energy_import_j"] == 3.6e10
    meter.close()


@pytest.mark.parametrize("port", ["tcp", "line"])
def test_a_pzem(port: str, request: pytest.FixtureRequest) -> None:
    meter = open_meter(f"pzem-004t@{request.getfixturevalue(port)}?unit={PZEM_UNIT}")
    assert meter.identify()["unit"] == str(PZEM_UNIT)
    values = meter.read().values
    assert values["voltage_v"] == 230.2
    assert values["power_w"] == 345.2
    assert values["energy_j"] == 70_000 * 3600
    meter.close()


def test_a_stranger_refuses_registers_that_it_lacks(tcp: str) -> None:
    """Its exception is the same to us as that of a meter."""
    meter = open_meter(f"sdm630@{tcp}?unit={PZEM_UNIT}")
    with pytest.raises(Refused, match="function 0x03 with exception 2"):
        meter.identify()
    meter.close()
