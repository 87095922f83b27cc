"""Shelly and Tasmota plugs over real HTTP: what they are, what they refuse, deadlines."""

from __future__ import annotations

import socket
import threading
import time
import urllib.request
from collections.abc import Callable

import pytest

from drivers import (
    CounterReset,
    DeviceError,
    DriverError,
    Gone,
    Implausible,
    OverRange,
    Refused,
    Timeout,
    TransportError,
    Unsupported,
    open_meter,
)
from drivers.emulators.faults import FaultPlan
from drivers.emulators.shelly import ShellyEmulator
from drivers.emulators.tasmota import TasmotaEmulator


def test_a_shelly_says_who_it_is_and_what_it_measures() -> None:
    with ShellyEmulator(100.0, energy_wh=5.0) as emulator:
        for component in ("switch", "pm1"):
            meter = open_meter(f"shelly@{emulator.path}?component={component}")
            identity = meter.identify()
            assert identity["product"] == "SNPL-00112EU"
            values = meter.read().values
            assert values["power_w"] == 100.0
            assert values["voltage_v"] == pytest.approx(230.0, abs=0.45)
            assert values["energy_j"] >= 5.0 * 3600
            meter.close()


def test_a_tasmota_has_the_resolution_that_it_shows() -> None:
    with TasmotaEmulator(61.26) as emulator:
        meter = open_meter(f"tasmota@{emulator.path}")
        assert meter.identify()["firmware"] == "12.5.0(emulated)"
        assert meter.read().values["power_w"] == 61.0
        assert {c.name: c.resolution for c in meter.channels}["power_w"] == 1.0
        meter.close()
    with TasmotaEmulator(61.26, watt_res=1, volt_res=2, outlets=2) as emulator:
        meter = open_meter(f"tasmota@{emulator.path}")
        meter.identify()
        resolution = {c.name: c.resolution for c in meter.channels}
        assert (resolution["power_w"], resolution["voltage_v"]) == (0.1, 0.01)
        assert resolution["energy_j"] == 3600.0
        assert meter.read().values["power_w"] == 61.3
        second = open_meter(f"tasmota@{emulator.path}?outlet=2")
        assert second.read().values["power_w"] == 0.0
        third = open_meter(f"tasmota@{emulator.path}?outlet=3")
        with pytest.raises(DeviceError, match="Expected outlet 3"):
            third.identify()
        for one in (meter, second, third):
            one.close()


@pytest.mark.parametrize(
    ("start", "model", "kind", "words"),
    [
        (lambda: ShellyEmulator(1.0, metered=False), "shelly", DeviceError, "no power meter at"),
        (lambda: ShellyEmulator(1.0, generation=1), "shelly", DeviceError, "Gen2 or later"),
        (lambda: ShellyEmulator(1.0, password=True), "shelly", Refused, "asks for a password"),
        (lambda: TasmotaEmulator(1.0), "shelly", Refused, "HTTP status 404"),
        (lambda: ShellyEmulator(1.0), "tasmota", Refused, "HTTP status 500"),
        (lambda: TasmotaEmulator(1.0, metered=False), "tasmota", DeviceError, "no Tasmota with"),
        (lambda: TasmotaEmulator(1.0, password=True), "tasmota", Refused, "password"),
    ],
)
def test_another_device_is_refused_in_a_sentence(
    start: Callable[[], ShellyEmulator], model: str, kind: type[DriverError], words: str
) -> None:
    with start() as emulator:
        meter = open_meter(f"{model}@{emulator.path}")
        with pytest.raises(kind, match=words) as caught:
            meter.identify()
        assert "\n" not in str(caught.value)
        meter.close()


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        ("over_range", OverRange),
        ("wrong_id", Implausible),
        ("exception", Refused),
        ("silent", Timeout),
        ("torn", Timeout),
    ],
)
def test_faults_of_a_shelly(fault: str, kind: type[DriverError]) -> None:
    faults = FaultPlan()
    with ShellyEmulator(100.0, faults=faults) as emulator:
        meter = open_meter(f"shelly@{emulator.path}?reply_s=0.2")
        faults.inject(fault)
        with pytest.raises(kind):
            meter.read()
        assert meter.read().values["power_w"] == 100.0
        meter.close()


def test_a_reset_of_the_register_is_named() -> None:
    faults = FaultPlan()
    with ShellyEmulator(100.0, faults=faults, energy_wh=50.0) as emulator:
        meter = open_meter(f"shelly@{emulator.path}")
        faults.inject("counter_reset")
        meter.read()
        with pytest.raises(CounterReset, match="energy_j fell"):
            meter.read()
        meter.read()
        meter.close()


def test_a_late_answer_dies_with_its_connection() -> None:
    faults = FaultPlan(late_s=0.3)
    with ShellyEmulator(100.0, faults=faults) as emulator:
        meter = open_meter(f"shelly@{emulator.path}?reply_s=0.2")
        faults.inject("late")
        with pytest.raises(Timeout):
            meter.read()
        faults.inject("silent")
        with pytest.raises(Timeout):
            meter.read()
        meter.close()


def test_a_trickling_server_does_not_outlast_the_deadline() -> None:
    """One byte every 20 ms for ever: each would restart a timeout per byte."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        halt = threading.Event()

        def trickle() -> None:
            while not halt.is_set():
                client, _ = server.accept()
                with client:
                    try:
                        while not halt.wait(0.02):
                            client.sendall(b"H")
                    except OSError:
                        continue

        thread = threading.Thread(target=trickle, daemon=True)
        thread.start()
        meter = open_meter(f"shelly@http://127.0.0.1:{server.getsockname()[1]}?reply_s=0.3")
        begin = time.monotonic()
        with pytest.raises(DriverError):
            meter.read()
        assert time.monotonic() - begin < 10.0  # not for ever; draining has its own limit
        halt.set()
        meter.close()


def test_a_proxy_of_the_environment_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    with TasmotaEmulator(40.0) as emulator:
        meter = open_meter(f"tasmota@{emulator.path}")
        assert meter.read().values["power_w"] == 40.0
        meter.close()


def test_another_client_understands_the_emulated_plug() -> None:
    """Python's own HTTP client, with its own parser, gets the same JSON."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    for start, path in (
        (ShellyEmulator, "/rpc/Switch.GetStatus?id=0"),
        (TasmotaEmulator, "/cm?cmnd=Status%208"),
    ):
        with start(100.0) as emulator, opener.open(emulator.path + path, timeout=5) as answer:
            assert answer.status == 200
            body = answer.read()
        assert body.startswith(b"{")
        assert body.endswith(b"}")
        assert b":100" in body


@pytest.mark.parametrize(
    ("address", "kind", "words"),
    [
        ("shelly@/dev/ttyUSB0", Unsupported, "found at http://HOST; got '/dev/ttyUSB0'"),
        ("pzem-004t@http://127.0.0.1", Unsupported, "found at a port, socket://"),
        ("shelly@http://127.0.0.1:1", Gone, "there is none"),
        ("shelly@http://127.0.0.1:99999", TransportError, "Expected http://HOST"),
        ("shelly@http://127.0.0.1/path", TransportError, "Expected http://HOST"),
    ],
)
def test_a_wrong_address_is_one_sentence(address: str, kind: type[DriverError], words: str) -> None:
    with pytest.raises(kind, match=words) as caught:
        open_meter(address)
    assert "\n" not in str(caught.value)


def test_a_component_that_is_none() -> None:
    with ShellyEmulator(1.0) as emulator, pytest.raises(Unsupported, match="switch or pm1"):
        open_meter(f"shelly@{emulator.path}?component=light")


def test_a_plug_is_served_on_this_machine_only() -> None:
    with pytest.raises(ValueError, match="PORT only"):
        ShellyEmulator(1.0, link="/tmp/meter")
