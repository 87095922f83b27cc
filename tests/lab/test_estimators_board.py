"""The board's own sensor: three ways to ask, one estimator, and never more than a statement."""

from __future__ import annotations

import base64
import json
import shutil
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from calibration.analysis.averaging import averaging_window_s
from calibration.errors import InputError, NotAvailable
from calibration.estimators.board import BoardPower
from calibration.estimators.board_sources import (
    AcpiMeter,
    IpmiDcmi,
    NoAnswer,
    Redfish,
    parse_dcmi,
    parse_redfish,
)

# As ipmitool 1.8 prints it (lib/ipmi_dcmi.c, ipmi_dcmi_pwr_rd).
DCMI = b"""
    Instantaneous power reading:                   142 Watts
    Minimum during sampling period:                136 Watts
    Maximum during sampling period:                210 Watts
    Average power reading over sample period:      143 Watts
    IPMI timestamp:                           Thu Jan  2 03:04:05 2025
    Sampling period:                          00000001 Seconds.
    Power reading state is:                   activated


"""


class Clock:
    def __init__(self) -> None:
        self.ns = 10**12

    def __call__(self) -> int:
        return self.ns

    def sleep(self, seconds: float) -> None:
        self.ns += round(seconds * 1e9)


class Controller:
    """A board whose sensor shows the mean of `window_s`, renewed every `period_s`."""

    name = "simulated"
    facts: Mapping[str, Any] = {"stated_interval_s": None}

    def __init__(self, clock: Clock, *, period_s: float, window_s: float, step_s: float) -> None:
        self._clock, self._began_ns = clock, clock.ns
        self._period_s, self._window_s, self._step_s = period_s, window_s, step_s

    def read_w(self) -> Mapping[str, float]:
        t_s = (self._clock.ns - self._began_ns) / 1e9
        number = t_s // self._period_s
        climbed = min(max((number * self._period_s - self._step_s) / self._window_s, 0.0), 1.0)
        flicker = number % 3 if t_s < 10 else 0  # a machine at rest is never quite so
        return {"power_w": round(180 + 240 * climbed) + flicker}

    def close(self) -> None: ...


def test_update_period_and_averaging_window_are_found_by_measurement() -> None:
    clock = Clock()
    source = Controller(clock, period_s=1.0, window_s=30.0, step_s=60.0)
    with BoardPower(source, now_ns=clock, sleep=clock.sleep) as board:
        descriptor = board.descriptor()
        t_ns, values = [], []
        for _ in range(1500):
            clock.sleep(0.1)
            reading = board.read()
            t_ns.append(reading.t_reply_ns)
            values.append(reading.values["power_w"])
    assert descriptor.configuration["update_period_s"] == pytest.approx(1.0, rel=0.02)
    (channel,) = descriptor.channels
    assert (channel.input, channel.kind, channel.unit) == ("bmc", "instant", "W")
    assert averaging_window_s(np.array(t_ns), np.array(values)) == pytest.approx(30.0, rel=0.05)


def acpi(root: Path, watts: str = "215000000", interval: str | None = "1000") -> Path:
    chip = root / "class" / "hwmon" / "hwmon3"
    chip.mkdir(parents=True)
    (chip / "name").write_text("power_meter\n")
    (chip / "power1_average").write_text(f"{watts}\n")
    if interval is not None:
        (chip / "power1_average_interval").write_text(f"{interval}\n")
    other = root / "class" / "hwmon" / "hwmon0"
    other.mkdir()
    (other / "name").write_text("coretemp\n")
    return chip


def test_the_acpi_meter_is_a_mean_over_the_interval_that_it_states(tmp_path: Path) -> None:
    chip, clock = acpi(tmp_path), Clock()
    with BoardPower(AcpiMeter(tmp_path), now_ns=clock, sleep=clock.sleep) as board:
        (channel,) = board.descriptor().channels
        assert (channel.kind, channel.window_s, channel.stamp_at) == ("mean", 1.0, "end")
        assert board.read().values == {"power_w": 215.0}
        for text, fault in (("", "malformed"), ("-5", "malformed"), ("many", "malformed")):
            (chip / "power1_average").write_text(text)
            reading = board.read()
            assert (reading.values, reading.fault) == ({}, fault)
        (chip / "power1_average").unlink()
        assert board.read().fault == "unreadable"
    (tmp_path / "plain").mkdir()
    with pytest.raises(NotAvailable, match="modprobe acpi_power_meter"):
        AcpiMeter(tmp_path / "plain")
    with pytest.raises(NotAvailable, match="first reading"):
        BoardPower(AcpiMeter(acpi(tmp_path / "b", "broken").parents[2]), look_s=0.0)


def test_dcmi_is_parsed_and_nothing_else_is() -> None:
    assert parse_dcmi(DCMI) == {"power_w": 142.0, "average_w": 143.0, "sampling_s": 1.0}
    assert parse_dcmi(DCMI.replace(b"\n", b"\r\n")) == parse_dcmi(DCMI)
    assert parse_dcmi(DCMI.replace(b": " * 1 + b" " * 18 + b"activated", b": deactivated")) is None
    assert parse_dcmi(DCMI.replace(b"142 Watts", b"N/A")) is None
    assert parse_dcmi(DCMI.replace(b"142 Watts", b"9999999999 Watts")) is None
    assert parse_dcmi(DCMI.replace(b"143 Watts", b"143 mW")) is None
    assert parse_dcmi(b"DCMI request failed because: Invalid command (c1)") is None


@given(st.binary(max_size=200), st.integers(0, len(DCMI)), st.integers(0, len(DCMI)))
def test_no_bytes_make_the_parsers_fail(junk: bytes, start: int, end: int) -> None:
    for damaged in (junk, DCMI[:start] + junk + DCMI[end:]):
        found = parse_dcmi(damaged)
        assert found is None or found["power_w"] >= 0
        answer = parse_redfish(damaged)
        assert answer is None or answer["power_w"] is not None


def ipmitool(folder: Path, script: str) -> str:
    program = folder / "ipmitool"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    return str(program)


def test_ipmitool_is_asked_for_its_dcmi_reading(tmp_path: Path) -> None:
    (tmp_path / "answer").write_bytes(DCMI)
    asked = tmp_path / "asked"
    program = ipmitool(tmp_path, f'echo "$@" >> {asked}; cat {tmp_path}/answer')
    clock = Clock()
    with BoardPower(IpmiDcmi(program), look_s=0.0, now_ns=clock) as board:
        assert board.read().values == {"power_w": 142.0, "average_w": 143.0}
        assert [c.input for c in board.descriptor().channels] == ["bmc", None]
        (tmp_path / "answer").write_bytes(b"Unable to establish LAN session")
        assert board.read().fault == "malformed"
    assert set(asked.read_text().splitlines()) == {"dcmi power reading"}
    with pytest.raises(NotAvailable, match="said: Could not open device"):
        IpmiDcmi(ipmitool(tmp_path, 'echo "Could not open device at /dev/ipmi0" >&2; exit 1'))
    with pytest.raises(NotAvailable, match="apt install ipmitool"):
        IpmiDcmi(str(tmp_path / "nothing-here"))


POWER = {
    "PowerControl": [
        {"PowerConsumedWatts": 344, "PowerMetrics": {"IntervalInMin": 1}},
        {"PowerConsumedWatts": 120},
    ]
}


@pytest.mark.parametrize(
    ("document", "found"),
    [
        (POWER, {"power_w": 344.0, "interval_s": 60.0}),
        ({"PowerControl": [{"PowerConsumedWatts": 12.5}]}, {"power_w": 12.5, "interval_s": None}),
        ({"PowerControl": [{"PowerConsumedWatts": None}]}, None),
        ({"PowerControl": [{"PowerConsumedWatts": "344"}]}, None),
        ({"PowerControl": [{"PowerConsumedWatts": True}]}, None),
        ({"PowerControl": [{"PowerConsumedWatts": -1}]}, None),
        ({"PowerControl": []}, None),
        ({"PowerControl": {"PowerConsumedWatts": 3}}, None),
        ([], None),
    ],
)
def test_redfish_is_parsed_and_nothing_else_is(document: object, found: object) -> None:
    assert parse_redfish(json.dumps(document).encode()) == found


@contextmanager
def service(
    answers: Mapping[str, object], context: ssl.SSLContext | None = None
) -> Iterator[tuple[str, list[str | None]]]:
    """A controller on loopback; yields its host:port and the passwords that it was shown."""
    shown: list[str | None] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            shown.append(self.headers.get("Authorization"))
            body = json.dumps(answers.get(self.path)).encode()
            self.send_response(200 if self.path in answers else 404)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *rest: object) -> None: ...

    server = HTTPServer(("127.0.0.1", 0), Handler)
    server.handle_error = lambda *_: None  # type: ignore[method-assign, assignment]
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_port}", shown
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


ANSWERS: Mapping[str, object] = {
    "/redfish/v1/Chassis": {
        "Members": [
            {"@odata.id": "/redfish/v1/Chassis/Fans"},
            {"@odata.id": "/redfish/v1/Chassis/1"},
        ]
    },
    "/redfish/v1/Chassis/1/Power": POWER,
}


def test_redfish_is_found_among_the_chassis_and_asked_with_the_password(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("WATTCAL_REDFISH_USER", "reader")
    monkeypatch.setenv("WATTCAL_REDFISH_PASSWORD", "secret")
    with service(ANSWERS) as (host, shown):
        with BoardPower(Redfish(f"http://{host}"), look_s=0.0) as board:
            assert board.read().values == {"power_w": 344.0}
            configuration = board.descriptor().configuration
        assert set(shown) == {"Basic " + base64.b64encode(b"reader:secret").decode()}
        assert configuration["path"] == "/redfish/v1/Chassis/1/Power"
        assert configuration["stated_sampling_s"] == 60.0
        assert "secret" not in json.dumps(dict(configuration))
        direct = Redfish(f"http://{host}/redfish/v1/Chassis/1/Power")
        assert direct.read_w() == {"power_w": 344.0}
        direct.close()
        with pytest.raises(NotAvailable, match="none has"):
            Redfish(f"http://{host}/redfish/v1/Chassis/Fans/Power")
    with pytest.raises(NotAvailable, match="unreadable"):
        Redfish(f"http://{host}")


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("10.0.0.5", "https://"),
        ("ftp://10.0.0.5", "https://"),
        ("https://h:port", "https://"),
        ("https://user:secret@10.0.0.5", "WATTCAL_REDFISH_USER"),
        ("http://10.0.0.5", "use https"),
    ],
)
def test_an_address_that_will_not_do_is_refused(
    url: str, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WATTCAL_REDFISH_USER", "reader")
    with pytest.raises(InputError, match=why) as refused:
        Redfish(url)
    assert "secret" not in str(refused.value)


def test_a_certificate_is_verified_unless_its_authority_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    openssl = shutil.which("openssl")
    if openssl is None:  # then a self-signed certificate cannot be made; the default is what counts
        assert ssl.create_default_context().verify_mode is ssl.CERT_REQUIRED
        return
    subprocess.run(
        [openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt",
         "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj",
         "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key),
         "-out", str(certificate)],
        check=True,
        capture_output=True,
    )  # fmt: skip
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with service(ANSWERS, context) as (host, _):
        with pytest.raises(NotAvailable, match="CERTIFICATE_VERIFY_FAILED"):
            Redfish(f"https://{host}")
        monkeypatch.setenv("WATTCAL_REDFISH_CA", str(certificate))
        trusted = Redfish(f"https://{host}")
        assert trusted.read_w() == {"power_w": 344.0}
        trusted.close()


def test_a_source_that_fails_once_is_a_fault_of_its_row() -> None:
    class Moody:
        name, facts = "moody", {"stated_interval_s": None}
        answers: Iterator[Callable[[], Mapping[str, float]]]

        def __init__(self) -> None:
            self.count = 0

        def read_w(self) -> Mapping[str, float]:
            self.count += 1
            if self.count == 2:
                raise NoAnswer("timeout")
            return {"power_w": 100.0}

        def close(self) -> None: ...

    with BoardPower(Moody(), look_s=0.0) as board:
        assert board.read().fault == "timeout"
        assert board.read().values == {"power_w": 100.0}
