"""What is common to all emulators: the fault plan, TCP, and streams on a virtual clock."""

from __future__ import annotations

import random
import socket
from collections.abc import Mapping

import pytest

from drivers import Meter, StreamingMeter, open_meter
from drivers.emulators.faults import FAULTS, NOT_IN_STREAMS, Damage, FaultPlan, faults_of
from drivers.emulators.pzem004t import Pzem004tDevice, Pzem004tEmulator
from drivers.emulators.served import NullModem, Responder, VirtualClock
from drivers.errors import Gone

S = 1_000_000_000


class Talker:
    """Says its number, four bytes, every tenth of a second, while it is on."""

    baud = 9600
    faults: Mapping[str, Damage] = {"over_range": lambda _chance, _question, _answer: b"OVER"}

    def __init__(self) -> None:
        self.on, self.said, self.now_s = False, 0, 0.0

    def advance(self, t_s: float) -> None:
        self.now_s = t_s

    def reboot(self) -> None:
        self.on = False

    def take(self, buffer: bytes) -> tuple[bytes, bytes, bytes]:
        if not buffer:
            return b"", b"", b""
        self.on, self.said = buffer[:1] == b"+", int(self.now_s * 10)
        return buffer[:1], b"", buffer[1:]

    def due(self, t_s: float) -> bytes:
        if not self.on:
            return b""
        return b"".join(b"%04d" % i for i in range(self.said, int(t_s * 10)))

    def sent(self, count: int) -> None:
        self.said += count // 4


def listen(line: NullModem, clock: VirtualClock, seconds: float) -> bytes:
    heard, end_ns = b"", clock.now_ns() + round(seconds * S)
    while clock.now_ns() < end_ns:
        heard += line.read(end_ns)
    return heard


def test_a_stream_on_a_virtual_clock_comes_at_its_pace() -> None:
    clock = VirtualClock()
    line = NullModem(Responder(Talker()), clock)
    assert listen(line, clock, 1.0) == b""
    line.write(b"+")
    assert listen(line, clock, 1.05) == b"".join(b"%04d" % i for i in range(20, 30))
    line.set_baud(4800)
    assert not set(listen(line, clock, 1.0)) & set(b"0123456789")
    line.set_baud(9600)
    line.write(b"-")
    assert listen(line, clock, 1.0) == b""


@pytest.mark.parametrize("fault", [f for f in FAULTS if f not in NOT_IN_STREAMS])
def test_a_stream_suffers_each_fault_and_goes_on(fault: str) -> None:
    clock, device = VirtualClock(), Talker()
    responder = Responder(device, FaultPlan(away_s=0.5))
    line = NullModem(responder, clock)
    line.write(b"+")
    assert listen(line, clock, 0.35) == b"001000110012"
    if fault not in faults_of(device):
        responder.faults.inject(fault)
        with pytest.raises(ValueError, match="has no"):
            listen(line, clock, 0.2)
        return
    responder.faults.inject(fault)
    if fault == "unplug":
        with pytest.raises(Gone):
            listen(line, clock, 1.0)
        clock.wait_until(clock.now_ns() + S)
        line = NullModem(responder, clock)
        listen(line, clock, 0.1)
    else:
        heard = listen(line, clock, 1.0)
        assert heard != b"".join(b"%04d" % i for i in range(13, 23))
        if fault == "reboot":
            assert heard == b""
            line.write(b"+")
        listen(line, clock, 0.5)
    begin = int(clock.now_ns() * 1e-8)
    heard = listen(line, clock, 1.0)
    assert heard == b"".join(b"%04d" % i for i in range(begin, begin + 10))
    assert [s.fault for s in responder.log if s.fault] == [fault]


def test_a_device_has_the_faults_of_its_format_only() -> None:
    assert "over_range" not in faults_of(Pzem004tDevice(1.0))
    assert "bad_crc" in faults_of(Pzem004tDevice(1.0))
    assert "bad_crc" not in faults_of(Talker())
    with pytest.raises(ValueError, match="it has no bad_crc"):
        Responder(Talker(), FaultPlan({"bad_crc": 0.1}))


def test_a_flood_is_a_flood_and_an_earlier_answer_ends_in_the_middle() -> None:
    plan = FaultPlan(seed=1)
    flood = plan.deliver("flood", b"?", b"answer")
    assert sum(len(d.data) for d in flood) == 3200
    assert flood[-1].delay_s == pytest.approx(0.49)
    (only,) = plan.deliver("mid_stream", b"?", b"answer", before=b"earlier")
    assert only.data.endswith(b"answer")
    assert b"earlier".endswith(only.data.removesuffix(b"answer"))
    assert 0 < len(only.data) - 6 < 7


def test_a_device_may_take_its_time() -> None:
    class Slow(Pzem004tDevice):
        latency_s = 0.2
        ready_s = 2.0

    clock = VirtualClock()
    line = NullModem(Responder(Slow(100.0)), clock)
    line.write(bytes.fromhex("01 04 00 00 00 0A 70 0D"))
    assert line.read(clock.now_ns() + S) == b""
    assert len(line.read(clock.now_ns() + S)) == 25
    assert clock.now_ns() == pytest.approx(2.2 * S)


def read_on(meter: Meter | StreamingMeter) -> None:
    while True:
        meter.read()  # type: ignore[union-attr]


def test_over_tcp_one_client_at_a_time_and_unplugged() -> None:
    with Pzem004tEmulator(100.0, link="socket://127.0.0.1:0") as emulator:
        address = f"pzem-004t@{emulator.path}?reply_s=30"  # however busy this machine is
        meter = open_meter(address)
        assert meter.read().values["power_w"] == 100.0
        second = open_meter(address)
        with pytest.raises(Gone):
            read_on(second)
        second.close()
        assert meter.read().values["power_w"] == 100.0
        meter.close()
        meter = open_meter(address)
        assert meter.read().values["power_w"] == 100.0
        emulator.unplug()
        with pytest.raises(Gone):
            read_on(meter)
        meter.close()
        with pytest.raises(Gone, match="Nobody answers"):
            open_meter(address)
        emulator.replug()
        meter = open_meter(address)
        assert meter.read().values["power_w"] == 100.0
        meter.close()


@pytest.mark.parametrize("link", ["socket://10.0.0.1:5025", "socket://127.0.0.1:http"])
def test_only_this_machine_is_served(link: str) -> None:
    with pytest.raises(ValueError, match="this machine alone"):
        Pzem004tEmulator(100.0, link=link)


def test_a_taken_number_is_an_error_of_the_system() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        pytest.raises(OSError, match="in use"),
    ):
        Pzem004tEmulator(100.0, link=f"socket://127.0.0.1:{taken.getsockname()[1]}")


def test_damage_is_drawn_from_the_seed() -> None:
    def draw(seed: int) -> list[bytes]:
        plan = FaultPlan(seed=seed)
        return [plan.deliver("mangled", b"", b"12345678")[0].data for _ in range(5)]

    assert draw(1) == draw(1) != draw(2)
    assert draw(1)[0] == random.Random(1).randbytes(8)
