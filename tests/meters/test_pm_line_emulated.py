"""A meter of one's own: found by its header, watched, restarted, and with another header."""

from __future__ import annotations

import numpy as np
import pytest

from drivers.emulators.faults import FaultPlan
from drivers.emulators.pm_line import PmLineDevice, PmLineEmulator
from drivers.emulators.served import NullModem, Responder, VirtualClock
from drivers.errors import Refused, Timeout, Transient, Unsupported
from drivers.meters.pm_line import PmLine
from drivers.reading import Block
from drivers.transport import open_port


def bench(device: PmLineDevice, faults: FaultPlan | None = None) -> tuple[PmLine, VirtualClock]:
    clock = VirtualClock()
    return PmLine(NullModem(Responder(device, faults), clock), now_ns=clock.now_ns), clock


def watch(meter: PmLine, clock: VirtualClock, seconds: float) -> list[Block]:
    meter.start()
    end_ns, blocks = clock.now_ns() + round(seconds * 1e9), []
    while clock.now_ns() < end_ns:
        try:
            blocks.append(meter.read_block())
        except Transient:
            meter.start()
    return blocks


def test_it_says_its_fields_and_its_values_are_exact() -> None:
    meter, clock = bench(PmLineDevice(lambda t_s: 40.0 + t_s, rate_hz=100.0))
    assert meter.identify() == {
        "model": "pm-line", "fields": "in_v in_i", "units": "V A", "rate_hz": "100",
    }  # fmt: skip
    blocks = watch(meter, clock, 10.0)
    ticks = np.concatenate([b.device_ticks for b in blocks])
    assert set(np.diff(ticks)) == {10_000}
    ampere = np.concatenate([b.columns["in_i"] for b in blocks]) * 1e-3
    t_s = 1.0 + (ticks - 123_456) * 1e-6
    assert np.abs(12.0 * ampere - (40.0 + t_s)).max() <= 12.0 * 0.000501


@pytest.mark.parametrize("rate_hz", [0.5, 1.0, 1000.0])
def test_slow_and_fast_ones(rate_hz: float) -> None:
    meter, clock = bench(PmLineDevice(60.0, rate_hz=rate_hz))
    blocks = watch(meter, clock, 10 / rate_hz)
    assert sum(len(b.device_ticks) for b in blocks) >= 8
    assert [f for b in blocks for f in b.faults] == []


def test_faults_are_named_and_nothing_is_made_up() -> None:
    names = ("torn", "bit_flip", "bad_crc", "noise", "mangled", "double", "silent")
    faults = FaultPlan(dict.fromkeys(names, 0.01), seed=2)
    meter, clock = bench(PmLineDevice(60.0), faults)
    faults.inject(None, 20)
    blocks = watch(meter, clock, 300.0)
    assert {int(v) for b in blocks for v in b.columns["in_i"]} == {5000}
    assert {f for b in blocks for f in b.faults} >= {"crc", "desync", "held"}


def test_a_restart_is_named_and_the_clock_goes_on() -> None:
    faults = FaultPlan()
    meter, clock = bench(PmLineDevice(60.0, boot_us=10**9), faults)
    meter.start()
    faults.inject(None, 3)
    faults.inject("reboot")
    blocks = watch(meter, clock, 20.0)
    assert {f for b in blocks for f in b.faults} == {"reboot"}
    ticks = np.concatenate([b.device_ticks for b in blocks])
    assert np.diff(ticks).min() > 0


def test_another_header_than_before_is_refused() -> None:
    device = PmLineDevice(60.0)
    meter, _ = bench(device)
    meter.start()
    device.header = "#pm,1,in_v;in_i,mV;A,100"
    with pytest.raises(Refused, match="another header"):
        meter.start()


def test_another_version_and_no_lines() -> None:
    meter, _ = bench(PmLineDevice(60.0, header="#pm,2,in_v;in_i,V;A,"))
    with pytest.raises(Unsupported, match="Expected #pm,1"):
        meter.identify()
    meter, _ = bench(PmLineDevice(60.0, header="#pm,1,in_v,V,"))  # its lines have two values
    with pytest.raises(Timeout, match="no lines with 1 values"):
        meter.identify()


def test_over_a_pty() -> None:
    with PmLineEmulator(60.0, rate_hz=1000.0) as emulator:
        meter = PmLine(open_port(emulator.path, baud=PmLine.baud, dtr=False, rts=False))
        meter.start()
        blocks = [meter.read_block() for _ in range(3)]
        meter.close()
    assert sum(len(b.device_ticks) for b in blocks) > 100
    assert [f for b in blocks for f in b.faults] == []
