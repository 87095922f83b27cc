"""The emulated RDTech testers: each model is known by its number, each answer by its mark."""

from __future__ import annotations

import pytest

from drivers.emulators.faults import FaultPlan
from drivers.emulators.served import NullModem, Responder, VirtualClock
from drivers.emulators.um25c import Um25cDevice
from drivers.errors import Checksum, Desync, DeviceError, Timeout
from drivers.meters.um25c import MODELS, Um25c


class Rig:
    """A tester in memory, on a clock of its own."""

    def __init__(
        self, device: Um25cDevice, *, variant: str | None = None, late_s: float = 0.8
    ) -> None:
        self.clock, self.faults = VirtualClock(), FaultPlan(late_s=late_s)
        line = NullModem(Responder(device, self.faults), self.clock)
        self.meter = Um25c(line, variant=variant or device.variant, now_ns=self.clock.now_ns)

    def power_w(self) -> float:
        return self.meter.read().values["power_w"]


@pytest.mark.parametrize("variant", MODELS.values())
def test_it_reads_the_dc_side_of_a_device(variant: str) -> None:
    rig = Rig(Um25cDevice(12.345, variant=variant))
    assert rig.meter.identify() == {"model": variant, "boundary": "dc_usb"}
    values = rig.meter.read().values
    assert values["power_w"] == 12.345
    assert values["voltage_v"] * values["current_a"] == pytest.approx(12.345, abs=0.02)


def test_another_model_is_refused() -> None:
    with pytest.raises(DeviceError, match="Expected a um25c; a um34c answers"):
        Rig(Um25cDevice(1.0, variant="um34c"), variant="um25c").meter.identify()


def test_other_commands_get_no_answer() -> None:
    device = Um25cDevice(1.0)
    device.advance(0.0)
    assert device.take(b"\xf4") == (b"\xf4", b"", b"")


@pytest.mark.parametrize(("variant", "error"), [("um25c", Desync), ("um34c", Checksum)])
def test_a_wrong_end_is_named(variant: str, error: type[Exception]) -> None:
    rig = Rig(Um25cDevice(10.0, variant=variant))
    rig.faults.inject("bad_crc")
    with pytest.raises(error):
        rig.meter.read()
    assert rig.power_w() == 10.0


@pytest.mark.parametrize("late_s", [0.51, 0.9, 1.4])
def test_an_answer_within_the_quiet_time_is_drained(late_s: float) -> None:
    power = [10.0]
    rig = Rig(Um25cDevice(lambda _t_s: power[0], window_s=0.02, refresh_s=0.02), late_s=late_s)
    rig.faults.inject("late")
    with pytest.raises(Timeout):
        rig.meter.read()
    power[0] = 20.0
    assert rig.power_w() == 20.0
