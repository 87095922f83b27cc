"""The PMD-USB over a real pty: the recorded bytes give exactly the samples of decoding the file."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from drivers.emulators.pmd_usb import PmdUsbEmulator, synthesise
from drivers.errors import Desync, Gone, Timeout
from drivers.meters.pmd_usb import CHANNELS, PmdUsb, decode
from drivers.reading import Block
from drivers.transport import open_port

NAMES = (
    "5050/3090",
    "5050/A100",
    "Transient_Response/3090_TR",
    "Transient_Response/A100_TR",
    "Transient_Response/K40m_TR",
)


class Heard:
    """A line on which the device has heard all that was said before its speed changes.

    A real one does within the 50 ms that the driver waits; an emulated one on a busy machine may
    not, and takes what comes at another speed than its own for noise.
    """

    def __init__(self, emulator: PmdUsbEmulator, now_ns: Callable[[], int]) -> None:
        self._line = open_port(emulator.path, baud=PmdUsb.baud, now_ns=now_ns)
        self._settle = emulator.settle
        self.name, self.read, self.write = self._line.name, self._line.read, self._line.write
        self.close = self._line.close

    def set_baud(self, baud: int) -> None:
        self._settle()
        self._line.set_baud(baud)


def open_meter_at(
    emulator: PmdUsbEmulator,
    *,
    block_s: float = 0.02,
    reply_s: float = 0.05,
    now_ns: Callable[[], int] = time.monotonic_ns,
) -> PmdUsb:
    return PmdUsb(Heard(emulator, now_ns), block_s=block_s, reply_s=reply_s, now_ns=now_ns)


class SlowClock:
    """A clock that is slow while a stream comes, so that nothing that a busy machine does lasts."""

    def __init__(self, emulator: PmdUsbEmulator) -> None:
        self.streaming, self._instrument = False, emulator.instrument
        self._begin_ns, self._shown_ns = time.monotonic_ns(), 0

    def now_ns(self) -> int:
        now_ns = time.monotonic_ns()
        slowness = 1000 if self.streaming and not self._instrument.finished else 1
        self._shown_ns += (now_ns - self._begin_ns) // slowness
        self._begin_ns = now_ns
        return self._shown_ns


def read_all(meter: PmdUsb, samples: int) -> list[Block]:
    blocks: list[Block] = []
    while sum(len(b.device_ticks) for b in blocks) < samples:
        blocks.append(meter.read_block())
    return blocks


@pytest.mark.parametrize("name", NAMES)
def test_a_recording_replayed_through_a_pty(name: str, wattcal_data: Path) -> None:
    path = wattcal_data / "gpu-pmdusb-nvidiasmi" / name / "PMD_data.bin"
    expected = decode(path.read_bytes())
    with PmdUsbEmulator(path) as emulator:
        clock = SlowClock(emulator)
        with open_meter_at(emulator, block_s=2e-5, reply_s=0.5, now_ns=clock.now_ns) as meter:
            meter.start()
            # It comes as fast as it can; that pace must not be taken for the device's clock.
            clock.streaming = True
            blocks = read_all(meter, len(expected.device_ticks))
            meter.stop()
        assert emulator.instrument.finished
    assert np.array_equal(np.concatenate([b.device_ticks for b in blocks]), expected.device_ticks)
    for channel in CHANNELS:
        column = np.concatenate([b.columns[channel.name] for b in blocks])
        assert column.dtype == np.int16
        assert np.array_equal(column, expected.columns[channel.name])
    assert not any(b.faults for b in blocks)
    for before, after in itertools.pairwise(blocks):
        assert before.t_reply_ns == after.t_request_ns <= after.t_reply_ns
    assert emulator.instrument.forbidden == []
    assert emulator.instrument.baud == 115_200  # left as it was found


def test_at_its_own_pace_the_clock_and_the_arrival_agree() -> None:
    with PmdUsbEmulator(synthesise(100.0, 1.0), speed=1.0) as emulator:
        with open_meter_at(emulator) as meter:
            meter.start()
            blocks = read_all(meter, 3000)
        assert len(blocks) > 5
    device_s = (blocks[-1].device_ticks[-1] - blocks[0].device_ticks[-1]) / 2_934_500
    host_s = (blocks[-1].t_reply_ns - blocks[0].t_reply_ns) * 1e-9
    assert abs(device_s - host_s) < 0.1


def test_a_stream_that_somebody_left_running_is_stopped_first() -> None:
    data = synthesise(100.0, 20.0)
    with PmdUsbEmulator(data, speed=1.0) as emulator:
        killed = open_port(emulator.path, baud=115_200)
        meter = PmdUsb(killed, reply_s=0.05)
        meter.start()
        killed.close()  # no stop, and the fast speed stays
        with open_meter_at(emulator) as meter:
            assert meter.identify() == {"model": "pmd-usb", "firmware": "6", "baud": "921600"}
            meter.start()
            assert len(meter.read_block().device_ticks) > 0
        assert emulator.instrument.forbidden == []


def test_damage_on_the_way_is_a_fault_of_its_block() -> None:
    clean = synthesise(100.0, 0.5)
    damaged = clean[: 18 * 700 + 5] + clean[18 * 703 :]
    with PmdUsbEmulator(damaged) as emulator, open_meter_at(emulator) as meter:
        meter.start()
        blocks = read_all(meter, len(clean) // 18 - 4)
    assert [f for b in blocks for f in b.faults] == ["desync"]
    rows = np.concatenate([b.columns["pcie2_i"] for b in blocks])
    assert set(rows) == set(decode(clean).columns["pcie2_i"])


def test_a_stream_that_dries_up_and_one_without_frames() -> None:
    with PmdUsbEmulator(b"") as emulator, open_meter_at(emulator) as meter:
        meter.start()
        with pytest.raises(Timeout, match="dried up"):
            meter.read_block()
    with PmdUsbEmulator(b"\x5a" * 5000) as emulator, open_meter_at(emulator) as meter:
        meter.start()
        with pytest.raises(Desync, match="5000 bytes came, but no PMD-USB frames"):
            meter.read_block()


def test_nobody_there_and_somebody_else_there() -> None:
    with PmdUsbEmulator(b"") as emulator:
        emulator.faults.inject("silent", 10)
        with open_meter_at(emulator) as meter, pytest.raises(Timeout, match="no PMD-USB answers"):
            meter.start()


def test_unplugged_while_it_streams() -> None:
    with PmdUsbEmulator(synthesise(100.0, 5.0), speed=1.0) as emulator:
        meter = open_meter_at(emulator)
        meter.start()
        assert len(meter.read_block().device_ticks) > 0
        emulator.unplug()
        with pytest.raises(Gone):
            read_all(meter, 1_000_000)
        meter.close()
        emulator.replug()
        with open_meter_at(emulator) as meter:
            meter.start()
            assert len(meter.read_block().device_ticks) > 0
