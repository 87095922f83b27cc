"""How a meter is opened: what the catalogue presets, how the line is set, which speed answers."""

from __future__ import annotations

import termios
from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Any

import pytest
import serial

import drivers.catalog
import drivers.opening
from drivers import Channel, DeviceError, Entry, Gone, Timeout, channels_of, open_meter
from drivers.errors import TransportError, Unsupported
from drivers.transport import open_port


class Line:
    """A line on which somebody answers at 2400 baud; notes how it was opened."""

    name = "line"

    def __init__(self, **settings: Any) -> None:
        self.settings, self.bauds, self.closed = settings, list[int](), 0

    def set_baud(self, baud: int) -> None:
        self.bauds.append(baud)

    def close(self) -> None:
        self.closed += 1


class Acme:
    """A driver of a family with two models."""

    baud, bauds = 9600, (9600, 2400, 4800)
    parity, stopbits, dtr, rts = "E", 1, False, False

    def __init__(
        self,
        transport: Line,
        *,
        variant: str,
        unit: int = 1,
        now_ns: Callable[[], int],
        answers: int = 2400,
    ) -> None:
        self.line, self.variant, self.unit, self.answers = transport, variant, unit, answers

    @staticmethod
    def channels_of(variant: str) -> tuple[Channel, ...]:
        return (Channel(variant, "power", "W", "instant", Fraction(1), 1.0),)

    def identify(self) -> Mapping[str, str]:
        if self.answers < 0:
            raise DeviceError("Expected an ACME; somebody else answers.")
        if self.line.bauds[-1] != self.answers:
            raise Timeout("Nobody answers.")
        return {"model": self.variant}


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> list[Line]:
    opened: list[Line] = []

    def open_line(port: str, *, now_ns: object, **settings: Any) -> Line:
        opened.append(Line(port=port, **settings))
        return opened[-1]

    entry = Entry("acme-2", "ACME", "ACME", (), (), "acme:Acme", None, (), {"variant": "acme-2"})
    monkeypatch.setattr(drivers.opening, "open_port", open_line)
    for module in (drivers.catalog, drivers.opening):
        monkeypatch.setattr(module, "find", lambda _model: entry)
    monkeypatch.setattr(drivers.catalog, "_load", lambda _where: Acme)
    return opened


def test_the_preset_reaches_driver_and_channels_and_is_no_option(lines: list[Line]) -> None:
    meter: Any = open_meter("acme-2@/dev/x?unit=7")
    assert (meter.variant, meter.unit) == ("acme-2", 7)
    assert [c.name for c in channels_of("acme-2")] == ["acme-2"]
    with pytest.raises(Unsupported, match="knows the keys answers, baud, parity, stopbits, unit;"):
        open_meter("acme-2@/dev/x?variant=acme-3")
    with pytest.raises(Unsupported, match="has the options answers, unit; got 'variant'"):
        open_meter("acme-2@/dev/x", variant="acme-3")


def test_the_line_is_set_as_the_driver_says_unless_the_address_does(lines: list[Line]) -> None:
    open_meter("acme-2@/dev/x")
    open_meter("acme-2@/dev/x?baud=2400&parity=N&stopbits=2", answers=0)
    common = {"port": "/dev/x", "dtr": False, "rts": False}
    assert lines[0].settings == {**common, "baud": 9600, "parity": "E", "stopbits": 1}
    assert lines[1].settings == {**common, "baud": 2400, "parity": "N", "stopbits": 2}
    assert lines[1].bauds == []  # a speed that was asked for is not searched for


def test_the_speed_is_found_by_talking(lines: list[Line]) -> None:
    open_meter("acme-2@/dev/x")
    assert lines[0].bauds == [9600, 2400]
    open_meter("acme-2@socket://h:1")
    assert lines[1].bauds == []  # the other end of a raw bridge has its own speed


def test_nobody_at_any_speed_and_somebody_else(lines: list[Line]) -> None:
    with pytest.raises(Timeout):
        open_meter("acme-2@/dev/x", answers=1200)
    assert (lines[0].bauds, lines[0].closed) == ([9600, 2400, 4800], 1)
    with pytest.raises(DeviceError, match="somebody else"):
        open_meter("acme-2@/dev/x", answers=-1)
    assert (lines[1].bauds, lines[1].closed) == ([9600], 1)


def test_lines_of_the_arduino_kind_are_set_before_opening(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pty has no modem lines; what reaches pyserial before `open` is looked at instead."""
    seen: list[object] = []

    def refuse(self: Any) -> None:
        seen.extend((self.baudrate, self.parity, self.stopbits, self.rtscts, self.dtr, self.rts))
        raise OSError(2, "no such port")

    monkeypatch.setattr(serial.Serial, "open", refuse)
    with pytest.raises(Gone):
        open_port("/dev/x", baud=38400, parity="E", stopbits=2, rtscts=True, dtr=False, rts=False)
    assert seen == [38400, "E", 2, True, False, False]


def test_a_parity_that_the_port_cannot_do_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    """Some kernels refuse parity on a pty with `termios.error`, which is no OSError."""

    def refuse(_self: Any) -> None:
        raise termios.error(22, "Invalid argument")

    monkeypatch.setattr(serial.Serial, "open", refuse)
    with pytest.raises(TransportError, match="cannot be set to this speed, parity and stopbits"):
        open_port("/dev/x", baud=9600, parity="E")
