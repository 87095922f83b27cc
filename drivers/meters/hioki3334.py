r"""Hioki 3334: a single-phase AC/DC power meter for 15 to 300 V and 0.1 to 30 A.

Seen: no instrument of our own yet, and nobody's captured bytes.

Sources: two programs of its users, rniwase/hioki3334com (BSD-2-Clause) and csehydrogen/hioki3334:
commands, their replies, ranges, the value for an over-range. The data sheet of its siblings 3331
and 3332 for the accuracy. No manual was at hand.

Wire, RS-232, 9600 8N1, CR LF (LF is accepted):

    :VOLTAGE:RANGE 300;AUTO OFF     (no reply)
    :VOLTAGE?                    -> :VOLTAGE:RANGE 300;AUTO OFF
    :MEASURE? V,A,W,PF           -> V +230.12E+0;A +1.5713E+0;W +345.00E+0;PF +0.9541E+0

Headers are on: each value comes with the name of its quantity, so that no answer to another
question can be taken for it. (They can be turned off with `:HEAD OFF`, for shorter lines.)

A value is a moving mean of `averaging` updates, 1, 2, 5, 10, 25, 50 or 100. How long an update
takes stands in no source; 0.2 s is assumed (`Channel.assumed`).

Quirks
- +-999.99E+9 stands for an over-range.
- `:RS232:ANSW ON` would confirm every command; it is turned off, because a confirmation behind the
  values is one of the forms that nobody has shown whole.
- After any failure the driver waits, asks `*IDN?` until that answer comes, sets everything again
  and reads it back.
- A power below zero (more than 0.5 % of the range) is a fault: the input is wired the wrong way
  round, or the sign, which is a byte of its own, was damaged.
- Its integrator is left alone.
- PW3335, PW3336 and PW3337 share the form of its messages and not the names of items: left out.

Without a checksum a corrupted byte can be noticed only by what it says. Checked are: the grammar
of the line, the names of the quantities, the separators, what the ranges can hold, five digits in
each value, and |P| against U·I·|PF| within their rounding. In a reading of 345 W 13 of all 13,260
single corrupted bytes (0.1 %) change a value and are not noticed; they change the power by 0.03 W
at most. `tests/wire/test_hioki3334_lines.py` measures both.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Final

from ..accuracy import Accuracy
from ..errors import DeviceError, DriverError, Implausible, OverRange, Refused
from ..formats import Format
from ..held import HeldWatch
from ..ranges import Ranges, five_digits, one_of
from ..reading import Channel, Reading
from ..scpi import Number, number, parse_line, power_agrees, units
from ..talk import Talk
from ..transport import Transport

__all__ = ["FORMATS", "Hioki3334", "channels", "decode", "refuse_identity", "refuse_values"]

_VOLTS: Final = (15.0, 30.0, 150.0, 300.0)
_AMPS: Final = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
_AVERAGINGS: Final = (1, 2, 5, 10, 25, 50, 100)
_ITEMS: Final = ("V", "A", "W", "PF")
_QUESTION: Final = f":MEASURE? {','.join(_ITEMS)}"
_OVER: Final = 999.99e9
_MOST_OVER: Final = 2.0  # times the range
_MOST_BELOW: Final = 0.005  # of the range: a consumer's power is not negative, a lost sign may be
_UPDATE_S: Final = 0.2
_SIBLINGS: Final = "data sheet of the 3331 and 3332, its siblings"


def channels(voltage_range_v: float, current_range_a: float, averaging: int) -> tuple[Channel, ...]:
    """Return what it delivers on these ranges."""
    window_s = averaging * _UPDATE_S
    rows: tuple[tuple[str, str, str, float, Accuracy], ...] = (
        ("voltage_v", "voltage", "V", voltage_range_v, _accuracy()),
        ("current_a", "current", "A", current_range_a, _accuracy()),
        ("power_w", "power", "W", voltage_range_v * current_range_a, _accuracy()),
        ("power_factor", "power_factor", "1", 1.0, Accuracy(absolute=0.005, assumed=True)),
    )
    return tuple(
        Channel(
            name=name,
            quantity=quantity,
            unit=unit,
            kind="mean",
            scale=five_digits(size),
            resolution=float(five_digits(size)),
            accuracy=accuracy,
            window_s=window_s,
            refresh_s=_UPDATE_S,
            range_min=0.0 if unit in "VA" else -size,
            range_max=size,
            assumed=("accuracy", "resolution", "window_s", "refresh_s", "stamp_at"),
        )
        for name, quantity, unit, size, accuracy in rows
    )


def _accuracy() -> Accuracy:
    return Accuracy(of_reading=0.001, of_range=0.001, source=_SIBLINGS, assumed=True)


CHANNELS: Final = channels(300.0, 3.0, 5)


def refuse_identity(text: str) -> str | None:
    """Say why a line is no answer of a Hioki to *IDN?, or None."""
    fields = text.split(",")
    if len(fields) >= 2 and fields[0].strip().upper() == "HIOKI":
        return None
    return f"{text[:60]!r} is no identity of a Hioki"


def refuse_values(text: str) -> str | None:
    """Say why a line is not the list of the four quantities, or None."""
    found = units(text)
    if tuple(unit.header for unit in found) != _ITEMS:
        return f"{text[:60]!r} does not name {' '.join(_ITEMS)}"
    for unit in found:
        if len(unit.fields) != 1 or number(unit.fields[0]) is None:
            return f"{unit.fields!r} is no number"
    return None


def decode(text: str, voltage_range_v: float, current_range_a: float) -> dict[str, float]:
    """Return the values of a line that was not refused.

    Raises:
        OverRange: one of them says so.
        Implausible: a value has not five digits or cannot be measured on its range, or the power
            contradicts U·I·PF.

    """
    sizes = (voltage_range_v, current_range_a, voltage_range_v * current_range_a, 1.0)
    fields = list[Number]()
    for unit, size in zip(units(text), sizes, strict=True):
        text_of = unit.fields[0]
        field = number(text_of)
        if not isinstance(field, Number):
            raise Implausible(f"Expected a number for {unit.header}; got {text_of!r}.")
        if abs(field.value) >= _OVER:
            raise OverRange(f"Expected values within the ranges; got {text!r}. Widen them.")
        mantissa = text_of.upper().partition("E")[0]
        if sum(c.isdigit() for c in mantissa) != 5:
            raise Implausible(f"Expected five digits for {unit.header}; got {text_of!r}.")
        low = {"W": -_MOST_BELOW * size, "PF": -1.0}.get(unit.header, 0.0)
        if not low <= field.value <= _MOST_OVER * size or (
            unit.header == "PF" and abs(field.value) > 1.0
        ):
            raise Implausible(f"{unit.header} of {text_of} is not measurable on {size:g}.")
        fields.append(field)
    voltage, current, power, factor = fields
    if not power_agrees(voltage, current, power, factor):
        raise Implausible(f"The power is not voltage times current times factor: {text!r}.")
    return {c.name: f.value for c, f in zip(CHANNELS, fields, strict=True)}


FORMATS: Final = {
    "values": Format(
        partial(parse_line, refuse=refuse_values),
        (
            b"V +230.12E+0;A +1.5713E+0;W +345.00E+0;PF +0.9541E+0\r\n",
            b"V +230.12E+0;A +999.99E+9;W +999.99E+9;PF +999.99E+9\r\n",
        ),
        checked=False,
        decode=lambda payload: decode(payload.decode("ascii"), 300.0, 3.0),
    ),
    "identity": Format(
        partial(parse_line, refuse=refuse_identity), (b"HIOKI,3334,0,V1.00\r\n",), checked=False
    ),
}


class Hioki3334:
    """One instrument on one line; its ranges and its averaging are set, and read back."""

    model = "hioki-3334"
    baud = 9600
    channels: tuple[Channel, ...] = CHANNELS
    voltage_ranges_v = _VOLTS
    current_ranges_a = _AMPS

    def __init__(
        self,
        transport: Transport,
        *,
        voltage_range_v: float = 300.0,
        current_range_a: float = 3.0,
        averaging: int = 5,
        reply_s: float = 1.0,
        now_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        one_of("voltage_range_v", voltage_range_v, _VOLTS)
        one_of("current_range_a", current_range_a, _AMPS)
        one_of("averaging", averaging, _AVERAGINGS)
        self._transport, self._averaging = transport, averaging
        self._ranges = Ranges(voltage_range_v, current_range_a)
        self.channels = channels(voltage_range_v, current_range_a, averaging)
        self._talk = Talk(transport, refuse_identity, reply_s=reply_s, end=b"\r\n", now_ns=now_ns)
        self._ready = False
        self._held = HeldWatch([c.name for c in CHANNELS], refresh_s=averaging * _UPDATE_S)

    def who(self) -> Mapping[str, str]:
        """Ask who it is, and set nothing.

        Raises:
            DeviceError: another instrument answers.

        """
        identity = self._talk.resynchronise()
        _, name, *rest = (field.strip() for field in identity.split(","))
        if name != "3334":
            raise DeviceError(f"Expected a Hioki 3334; {identity!r} answers.")
        serial, firmware = [*rest, "", ""][:2]
        return {"model": self.model, "identity": name, "serial": serial, "firmware": firmware}

    def identify(self) -> Mapping[str, str]:
        """Ask who it is, set everything and read it back."""
        return {
            **self._prepare(),
            "voltage_range_v": f"{self._ranges.voltage_v:g}",
            "current_range_a": f"{self._ranges.current_a:g}",
            "averaging": str(self._averaging),
            "rectifier": "ACDC",
        }

    def read(self) -> Reading:
        """Take one reading.

        Raises:
            Timeout, Desync: no answer; before the next reading everything is set and read back.
            OverRange, Implausible, Held: an answer without a trustworthy value.
            DeviceError: another instrument answers, or it does not take its settings.

        """
        if self._talk.again or not self._ready:
            self._prepare()
        answer = self._talk.ask(_QUESTION, refuse_values)
        ranges = self._ranges
        values = decode(answer.payload.decode("ascii"), ranges.voltage_v, ranges.current_a)
        self._held.check(answer.t_reply_ns, values)
        return Reading(answer.t_request_ns, answer.t_reply_ns, values)

    def ranges(self) -> Ranges:
        """Read the ranges back."""
        volt, volt_auto = self._talk.fields(":VOLTAGE?", 2)
        amp, amp_auto = self._talk.fields(":CURRENT?", 2)
        sizes = [number(volt), number(amp)]
        voltage, current = (s.value if isinstance(s, Number) else math.nan for s in sizes)
        return Ranges(voltage, current, volt_auto == "ON", amp_auto == "ON")

    def set_ranges(self, ranges: Ranges) -> None:
        """Set ranges outside a measurement; fixed ones also for the readings that follow.

        Raises:
            Refused: the instrument does not take them.
            Unsupported: there are no such ranges.

        """
        self._ready = False  # the next reading sets and reads back everything
        if not (ranges.voltage_auto or ranges.current_auto):
            one_of("voltage_range_v", ranges.voltage_v, _VOLTS)
            one_of("current_range_a", ranges.current_a, _AMPS)
            self._ranges = ranges
            self.channels = channels(ranges.voltage_v, ranges.current_a, self._averaging)
        self._set(ranges)

    def read_extremes(self) -> tuple[float, float]:
        """Return voltage (V) and current (A) once, on whatever range.

        Raises:
            OverRange: there is no number for one of them.

        """
        if self._talk.again:
            self._talk.resynchronise()
        answer = self._talk.ask(_QUESTION, refuse_values)
        found = [number(u.fields[0]) for u in units(answer.payload.decode("ascii"))[:2]]
        values = [f.value for f in found if isinstance(f, Number) and abs(f.value) < _OVER]
        if len(values) < 2:
            raise OverRange("Expected a voltage and a current; the range is being changed.")
        return values[0], values[1]

    def close(self) -> None:
        """Give the port back; the meter needs no farewell."""
        with contextlib.suppress(DriverError):
            self._transport.close()

    def __enter__(self) -> Hioki3334:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _prepare(self) -> Mapping[str, str]:
        """Find the common question again, set everything, read it back; return who it is."""
        self._ready = False
        identity = self.who()
        for command in (":RS232:ANSW OFF", ":HEAD ON", ":HOLD OFF", ":RECTIFIER ACDC"):
            self._talk.tell(command)
        self._talk.agree("", ":HOLD?", ("OFF",))
        self._talk.agree("", ":RECTIFIER?", ("ACDC",))
        self._talk.tell(f":AVERAGING {self._averaging}")
        self._talk.agree("", ":AVERAGING?", (str(self._averaging),))
        self._set(self._ranges)
        self._ready = True
        return identity

    def _set(self, ranges: Ranges) -> None:
        """Set both ranges and read them back.

        Raises:
            Refused: they are not as they were set.

        """
        for name, size, auto in (
            ("VOLTAGE", ranges.voltage_v, ranges.voltage_auto),
            ("CURRENT", ranges.current_a, ranges.current_auto),
        ):
            text = f"{size:g}" if name == "VOLTAGE" else f"{size:.1f}"
            self._talk.tell(f":{name}:AUTO ON" if auto else f":{name}:RANGE {text};AUTO OFF")
        found = self.ranges()
        same = (
            found.voltage_auto == ranges.voltage_auto
            and found.current_auto == ranges.current_auto
            and (ranges.voltage_auto or found.voltage_v == ranges.voltage_v)
            and (ranges.current_auto or found.current_a == ranges.current_a)
        )
        if not same:
            raise Refused(f"Expected {ranges}; the meter says {found}.")
