"""Strangers' Modbus clients read our emulator, so that driver and emulator cannot agree alone."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest
import serial

from drivers.emulators.pzem004t import Pzem004tEmulator
from drivers.emulators.sdm import SdmEmulator

minimalmodbus = pytest.importorskip("minimalmodbus")
pymodbus = pytest.importorskip("pymodbus")


def pzem(link: str | None = None) -> Pzem004tEmulator:
    return Pzem004tEmulator(15_948.7, power_factor=0.99, energy_wh=70_000, wander_v=0.0, link=link)


@pytest.fixture
def emulator() -> Iterator[Pzem004tEmulator]:
    with pzem() as emulator:
        yield emulator


@pytest.mark.parametrize("link", [None, "socket://127.0.0.1:0"])
def test_minimalmodbus_reads_the_emulator(link: str | None) -> None:
    with pzem(link) as emulator:
        port = serial.serial_for_url(emulator.path, baudrate=9600, timeout=0.5)
        meter = minimalmodbus.Instrument(port, 1)
        swapped = minimalmodbus.BYTEORDER_LITTLE_SWAP
        assert meter.read_register(0, 1, functioncode=4) == 230.0
        assert meter.read_long(3, functioncode=4, byteorder=swapped) == 159_487
        assert meter.read_long(5, functioncode=4, byteorder=swapped) == 70_000
        with pytest.raises(minimalmodbus.IllegalRequestError):
            meter.read_register(77, functioncode=4)
        port.close()


def test_pymodbus_reads_the_emulator(emulator: Pzem004tEmulator) -> None:
    from pymodbus.client import ModbusSerialClient

    logging.getLogger("pymodbus").setLevel(logging.CRITICAL)
    client = ModbusSerialClient(emulator.path, baudrate=9600, timeout=1, retries=0)
    assert client.connect()
    words = client.read_input_registers(0, count=10, device_id=1).registers
    assert words[0] == 2300
    assert words[3] | words[4] << 16 == 159_487
    assert client.read_input_registers(9, count=2, device_id=1).isError()
    client.close()


@pytest.mark.parametrize("link", [None, "socket://127.0.0.1:0"])
def test_minimalmodbus_reads_an_sdm(link: str | None) -> None:
    with SdmEmulator(345.25, wander_v=0.0, import_kwh=10_000.0, link=link) as emulator:
        port = serial.serial_for_url(emulator.path, baudrate=9600, timeout=0.5)
        meter = minimalmodbus.Instrument(port, 1)
        assert meter.read_float(0x00, functioncode=4) == 230.0
        assert meter.read_float(0x0C, functioncode=4) == 345.25
        assert meter.read_float(0x46, functioncode=4) == 50.0
        assert meter.read_float(0x48, functioncode=4) == pytest.approx(10_000.0, abs=0.01)
        assert meter.read_float(0x14, functioncode=3) == 1.0
        with pytest.raises(minimalmodbus.IllegalRequestError):
            meter.read_registers(0x01, 2, functioncode=4)  # half a number
        port.close()


def test_pymodbus_reads_an_sdm_with_swapped_words() -> None:
    from pymodbus.client import ModbusSerialClient

    logging.getLogger("pymodbus").setLevel(logging.CRITICAL)
    with SdmEmulator(-50.0, variant="sdm630", unit=3, low_first=True) as emulator:
        client = ModbusSerialClient(emulator.path, baudrate=9600, timeout=1, retries=0)
        assert client.connect()
        words = client.read_input_registers(0x34, count=2, device_id=3).registers
        assert client.convert_from_registers(
            words, client.DATATYPE.FLOAT32, word_order="little"
        ) == pytest.approx(-50.0)
        assert len(client.read_input_registers(0, count=80, device_id=3).registers) == 80
        assert client.read_input_registers(0, count=82, device_id=3).isError()
        client.close()
