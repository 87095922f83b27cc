"""The emulated MCP39F5xx: ranges and accumulation are read, unknown ones refused, never guessed."""

from __future__ import annotations

from fractions import Fraction

import pytest

from drivers import channels_of, open_meter
from drivers.emulators.faults import FaultPlan
from drivers.emulators.mcp39f511 import Mcp39f511Device, Mcp39f511Emulator
from drivers.emulators.served import NullModem, Responder, VirtualClock
from drivers.errors import Checksum, Desync, DeviceError, Held, Timeout, Unsupported
from drivers.meters.mcp39f511 import Mcp39f511
from drivers.meters.mcp39f511_registers import VARIANTS, request

S = 1_000_000_000


class Rig:
    """A chip in memory, on a clock of its own."""

    def __init__(
        self, device: Mcp39f511Device, *, late_s: float = 0.4, power_lsb_w: float | None = None
    ) -> None:
        self.clock, self.device, self.faults = VirtualClock(), device, FaultPlan(late_s=late_s)
        self.responder = Responder(device, self.faults)
        self.meter = Mcp39f511(
            NullModem(self.responder, self.clock),
            variant=device.variant,
            power_lsb_w=power_lsb_w,
            now_ns=self.clock.now_ns,
        )

    def power_w(self) -> float:
        return self.meter.read().values["power_w"]


def test_it_answers_as_the_chip_does() -> None:
    device = Mcp39f511Device(123.45, interval=1)
    device.advance(0.0)

    def ask(text: str) -> str:
        return device.take(bytes.fromhex(text))[1].hex(" ").upper()

    assert ask("A5 08 41 00 16 4E 08 5A") == "06 0B 39 30 00 00 00 00 00 00 7A"
    assert ask("A5 08 41 00 06 4E 20 5E") == "51"  # the real mistake of a sum
    assert ask("A5 05 41 00 EB") == "15"
    device = Mcp39f511Device(123.45, ranges=(18, 12, 6))
    device.advance(0.0)
    assert ask("A5 08 41 00 16 4E 08 5A") == "06 0B 00 20 07 06 00 00 00 00 3E"
    assert device.take(b"\x00\xff" + request(0xA8, 2)[:5]) == (b"", b"", request(0xA8, 2)[:5])


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize(
    ("watt_range", "lsb_w"), [(19, Fraction(1, 100)), (6, Fraction(1, 819200))]
)
def test_the_range_of_power_gives_the_scale(variant: str, watt_range: int, lsb_w: Fraction) -> None:
    rig = Rig(Mcp39f511Device(123.4567, variant=variant, ranges=(18, 12, watt_range)))
    assert rig.power_w() == pytest.approx(123.4567, abs=0.51 * float(lsb_w))
    channel = next(c for c in rig.meter.channels if c.name == "power_w")
    assert channel.scale == lsb_w
    assert channel.resolution == float(lsb_w)


@pytest.mark.parametrize("ranges", [(18, 12, 10), (17, 12, 19), (18, 11, 19)])
def test_an_unknown_range_is_refused(ranges: tuple[int, int, int]) -> None:
    with pytest.raises(Unsupported, match=f"has {ranges[0]}/{ranges[1]}/{ranges[2]}"):
        Rig(Mcp39f511Device(100.0, ranges=ranges)).meter.identify()


def test_a_known_load_gives_the_scale_where_the_range_of_power_does_not() -> None:
    rig = Rig(Mcp39f511Device(100.0, ranges=(18, 12, 10)), power_lsb_w=0.01 / 2**9)
    assert rig.power_w() == pytest.approx(100.0, abs=1e-5)
    with pytest.raises(Unsupported):
        Rig(Mcp39f511Device(100.0, ranges=(18, 11, 10)), power_lsb_w=0.01).power_w()
    with pytest.raises(Unsupported, match="positive power_lsb_w"):
        Rig(Mcp39f511Device(100.0), power_lsb_w=-1.0)


@pytest.mark.parametrize(("interval", "window_s"), [(1, 0.04), (4, 0.32), (6, 1.28)])
def test_the_accumulation_becomes_the_window(interval: int, window_s: float) -> None:
    rig = Rig(Mcp39f511Device(100.0, interval=interval))
    found = rig.meter.identify()
    assert found["accumulation_interval"] == str(interval)
    assert found["ranges"] == "18/12/19 18/12/19"
    assert {c.window_s for c in rig.meter.channels} == {window_s}
    before_ns = rig.meter.read().t_request_ns  # and no question comes sooner than that
    assert rig.meter.read().t_request_ns - before_ns >= round(window_s * 1e9)


def test_the_window_is_that_of_the_line() -> None:
    rig = Rig(Mcp39f511Device(100.0, frequency_hz=60.1))
    rig.meter.identify()
    assert {c.window_s for c in rig.meter.channels} == {16 / 60}


@pytest.mark.parametrize("interval", [0, 17])
def test_an_impossible_accumulation_is_refused(interval: int) -> None:
    device = Mcp39f511Device(100.0)
    device.interval = interval
    with pytest.raises(Unsupported, match=f"from 1 to 16; got {interval}"):
        Rig(device).meter.identify()


def test_a_setting_that_has_changed_is_noticed_after_a_failure() -> None:
    rig = Rig(Mcp39f511Device(100.0))
    rig.meter.read()
    rig.device.ranges = (18, 12, 6)
    rig.faults.inject("silent")
    with pytest.raises(Timeout):
        rig.meter.read()
    with pytest.raises(DeviceError, match="open it again"):
        rig.meter.read()


def test_two_outlets() -> None:
    values = Rig(Mcp39f511Device(200.0, second_share=0.25)).meter.read().values
    assert (values["power_w"], values["power_2_w"]) == (200.0, 50.0)


@pytest.mark.parametrize("late_s", [0.3, 0.6, 0.8, 1.2])
def test_a_late_answer_is_never_a_newer_one(late_s: float) -> None:
    power = [100.0]
    rig = Rig(Mcp39f511Device(lambda _t_s: power[0], interval=1), late_s=late_s)
    rig.meter.read()
    rig.faults.inject("late")
    with pytest.raises(Timeout):
        rig.meter.read()
    power[0] = 200.0
    rig.clock.wait_until(rig.clock.now_ns() + S)  # the chip has measured anew
    rig.faults.inject("silent")
    with pytest.raises((Timeout, Desync)):
        rig.meter.read()
    assert rig.power_w() == 200.0


def test_faults_of_the_format_are_named() -> None:
    rig = Rig(Mcp39f511Device(100.0))
    rig.meter.read()
    rig.faults.inject("bad_crc")
    with pytest.raises(Checksum):
        rig.meter.read()
    rig.faults.inject("exception")
    with pytest.raises((Checksum, Desync), match="the meter"):
        rig.meter.read()
    assert rig.power_w() == 100.0


def test_a_chip_that_repeats_itself_is_held_after_a_minute() -> None:
    rig = Rig(Mcp39f511Device(100.0, wander_v=0.0))
    for second in range(60):
        rig.clock.wait_until((second + 1) * S)
        rig.meter.read()
    rig.clock.wait_until(64 * S)
    with pytest.raises(Held):
        rig.meter.read()


def test_opened_at_its_other_speed_over_tcp() -> None:
    with Mcp39f511Emulator(345.25, variant="mcp39f501", link="socket://127.0.0.1:0") as emulator:
        meter = open_meter(f"mcp39f501@{emulator.path}")
        assert meter.identify()["model"] == "mcp39f501"
        assert meter.read().values["power_w"] == 345.25
        meter.close()
    assert [c.name for c in channels_of("mcp39f511n") if c.unit == "W"] == ["power_w", "power_2_w"]
