"""The PowerSensor3 over a real pty: configuration, stream, marker, stop, and what goes wrong."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from drivers.emulators.powersensor3 import PowerSensor3Emulator
from drivers.errors import Desync, DriverError, Gone, Refused, Timeout
from drivers.meters.powersensor3 import PowerSensor3
from drivers.reading import Block
from drivers.transport import Transport, open_port


def open_meter_at(emulator: PowerSensor3Emulator) -> PowerSensor3:
    return PowerSensor3(open_port(emulator.path, baud=PowerSensor3.baud), block_s=0.02)


def read_for(meter: PowerSensor3, samples: int) -> list[Block]:
    blocks: list[Block] = []
    while sum(len(b.device_ticks) for b in blocks) < samples:
        blocks.append(meter.read_block())
    return blocks


def test_it_says_who_it_is_and_which_pairs_it_has() -> None:
    with PowerSensor3Emulator(60.0, rails_v=(12.0, 3.3)) as emulator:
        with open_meter_at(emulator) as meter:
            identity = meter.identify()
            assert identity["firmware"] == "F411-1.6.1"
            assert identity["pair0"] == "rail 0 MLX91221"
            assert identity["pair1"] == "rail 1 MLX91221"
            assert "pair2" not in identity
            assert identity["sensor0"] == "zero 1.64999998 V, sensitivity 0.119999997"
            assert [c.name for c in meter.channels] == [
                "pair0_v", "pair0_i", "pair1_v", "pair1_i", "marker",
            ]  # fmt: skip
            assert meter.channels[0].resolution == pytest.approx(0.0368, abs=1e-4)
            assert meter.channels[1].resolution == pytest.approx(0.0269, abs=1e-4)
        assert emulator.instrument.forbidden == []


def test_a_second_of_the_stream_loses_nothing() -> None:
    patient = PowerSensor3Emulator(60.0, queue_bytes=10_000_000)  # the host may be busy
    with patient as emulator, open_meter_at(emulator) as meter:
        meter.start()
        blocks = read_for(meter, 20_000)
        meter.stop()
        assert not emulator.instrument.streaming
        assert emulator.instrument.lost_frames == 0
    ticks = np.concatenate([b.device_ticks for b in blocks])
    assert set(np.diff(ticks)) == {50}
    assert [f for b in blocks for f in b.faults] == []
    for before, after in itertools.pairwise(blocks):
        assert before.t_reply_ns == after.t_request_ns <= after.t_reply_ns
    scale = {c.name: float(c.scale) for c in meter.channels}
    watt = np.concatenate(
        [b.columns["pair0_v"] * scale["pair0_v"] * b.columns["pair0_i"] * scale["pair0_i"]
         for b in blocks]
    )  # fmt: skip
    step_w = 12.0 * 0.0269 + 5.0 * 0.0368
    assert np.abs(watt - 60.0).max() <= 0.5 * step_w


def test_a_marker_stands_in_one_frame() -> None:
    with PowerSensor3Emulator(60.0) as emulator, open_meter_at(emulator) as meter:
        meter.start()
        read_for(meter, 500)
        meter.mark()
        blocks = read_for(meter, 4000)
    assert sum(int(b.columns["marker"].sum()) for b in blocks) == 1


def test_a_stream_that_somebody_left_running_is_stopped_first() -> None:
    with PowerSensor3Emulator(60.0) as emulator:
        killed = open_port(emulator.path, baud=PowerSensor3.baud)
        meter = PowerSensor3(killed)
        meter.start()
        meter.read_block()
        killed.close()  # no stop
        assert emulator.instrument.streaming
        with open_meter_at(emulator) as meter:
            assert meter.identify()["firmware"] == "F411-1.6.1"
            meter.start()
            assert len(meter.read_block().device_ticks) > 0
        assert not emulator.instrument.streaming


def test_without_a_pair_in_use_it_is_refused() -> None:
    with (
        PowerSensor3Emulator(60.0, rails_v=()) as emulator,
        open_meter_at(emulator) as meter,
        pytest.raises(Refused, match="no pair of sensors in use"),
    ):
        meter.identify()


def test_frames_lost_on_the_way_are_a_fault() -> None:
    """A queue of 600 frames, and a host that looks away for a tenth of a second.

    Losses of 0 and of 471 frames modulo 512 leave the step of the clock as it is (the driver's
    docstring); how many are lost is chance, and such a one says nothing here.
    """
    for _ in range(3):
        with PowerSensor3Emulator(60.0, queue_bytes=18 * 600) as emulator:
            with open_meter_at(emulator) as meter:
                meter.start()
                read_for(meter, 1000)
                emulator.stall(0.15)
                blocks = read_for(meter, 8000)
            lost = emulator.instrument.lost_frames
        assert lost > 0
        if lost % 512 not in (0, 471):
            break
    assert "desync" in [f for b in blocks for f in b.faults]
    ticks = np.concatenate([b.device_ticks for b in blocks])
    assert np.diff(ticks).min() > 0


def test_silence_and_strangers() -> None:
    with PowerSensor3Emulator(60.0) as emulator:
        emulator.faults.inject("silent", 50)
        with open_meter_at(emulator) as meter, pytest.raises(Timeout):
            meter.identify()
    with PowerSensor3Emulator(60.0) as emulator:
        emulator.faults.inject("mangled", 50)
        with open_meter_at(emulator) as meter, pytest.raises(DriverError):
            meter.identify()


class Flipping:
    """A line that flips one bit of each record's sensitivity when they are read again."""

    def __init__(self, inner: Transport) -> None:
        self.name, self._inner, self._asked = inner.name, inner, 0
        self.set_baud, self.close = inner.set_baud, inner.close

    def read(self, deadline_ns: int) -> bytes:
        data = self._inner.read(deadline_ns)
        if self._asked == 2 and len(data) == 41 and data[40]:
            return data[:38] + bytes((data[38] ^ 1,)) + data[39:]
        return data

    def write(self, data: bytes) -> None:
        self._asked += data == b"R"
        self._inner.write(data)


def test_a_configuration_that_reads_otherwise_the_second_time_is_refused() -> None:
    """A sensitivity with a flipped bit is still a sensitivity: only the second reading tells."""
    with PowerSensor3Emulator(60.0) as emulator:
        line = Flipping(open_port(emulator.path, baud=PowerSensor3.baud))
        with PowerSensor3(line) as meter, pytest.raises(Desync, match="when it is read again"):
            meter.identify()


def test_unplugged_while_it_streams() -> None:
    with PowerSensor3Emulator(60.0) as emulator:
        meter = open_meter_at(emulator)
        meter.start()
        assert len(meter.read_block().device_ticks) > 0
        emulator.unplug()
        with pytest.raises(Gone):
            read_for(meter, 1_000_000)
        meter.close()
        emulator.replug()
        with open_meter_at(emulator) as meter:
            meter.start()
            assert len(meter.read_block().device_ticks) > 0
