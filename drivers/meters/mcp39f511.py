"""Microchip MCP39F511N (two outlets), MCP39F511 and MCP39F501: power-monitoring chips for mains.

The MCP39F511N is on the demonstration board ADM00706 (USB, MCP2221); the MCP39F501 in the Shelly 2.

Seen: no chip of our own. The answers in `tests/tapes/mcp39f5*.tape` were captured by others.

Sources: green-coding-solutions/green-metrics-tool@86d4733 `psu/energy/ac/mcp` (map and ranges of
the 511N; facts only) and its PR 732 (accumulation); osmhpi/pinpoint@1e61d8c; Microchip forum
m1140587 (real answer of a 511); arendst/Tasmota@20af465 `xnrg_04_mcp39f501.ino` (map and real
answers of a 501, 0x51 and 0x15; facts only) and a fork's `xnrg_33_mcp39f511.ino` (map of the 511);
front pages of the data sheets (accuracy).

Wire, 8N1, 115200 baud (511N, 511) or 4800 (501); data little-endian; sum = of all bytes before:

    request  |A5|08|41|address hi lo|4E|count|sum|
    answer   |06|count + 3|data...|sum|          51: our sum was wrong; 15: not acknowledged
    511N     0x0002: status version V f PF1 PF2 I1 I1 I2 I2 P1 P1 P2 P2 Q1 Q1      (words)
    511      0x0002: status version V f analog PF I I P P Q Q S S
    501      0x0004: I I V P P Q Q S S PF f

V counts 0.1 V, f 1 mHz, PF 1/32768 (from 0x7FFF = 1). What a count of current or power is worth
is a property of the calibration and of the *range registers*. They are read when the meter is
opened, and anything but the following is refused:

    range of V 18: 0.1 V      range of I 12: 0.1 mA      range of P 19: 10 mW; 6: 10 mW / 2^13

(18, 12, 19: the real 501, whose V x I equals its S so; 6: green-metrics-tool, for the 511N).
With another range of P, `power_lsb_w` says what a load of known power has shown a count to be.

It shows the mean over 2^N line cycles; N is read and becomes the channels' window. N = 0 is
refused (it gives power near zero, or below), and no question comes sooner than one window after
the one before, for the same reason.

Quirks
- P is a magnitude. Its sign is in the status register, in bits that stand in no source at hand:
  a machine that feeds back looks like one that draws. The status is shown by `identify`.
- The addresses of N and the ranges of the 511 stand in one unfinished program only; were they
  wrong, the values there would be refused.
- The energy registers are left out: one source halves them and does not know why.
- The checksum is a sum: it notices every single damaged byte, but of two some pass. Mains
  voltage and frequency, and power not above voltage times current, are checked besides. Of
  answers with two damaged bytes 0.16 % get through (tests/wire/test_mcp39f511_frames.py).
- "Sporadically broken packets" are known to pinpoint; a loop without an overall deadline hangs.
- This driver never writes: not N, not the ranges, no calibration.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import partial

from ..errors import DeviceError, Transient, Unsupported
from ..held import HeldWatch
from ..reading import Channel, Reading
from ..transport import Transport
from ..wire import Answer, ask, drain
from .mcp39f511_registers import (
    AMPERE_RANGE,
    FACTORY_WINDOW_S,
    FORMATS,
    VARIANTS,
    VOLT_RANGE,
    WATT,
    decode,
    parse,
    request,
)

__all__ = ["FORMATS", "Mcp39f511"]


@dataclass(frozen=True, slots=True)
class Setting:
    """What a chip is set to: N, and per outlet the ranges of voltage, current and power."""

    interval: int
    ranges: tuple[tuple[int, ...], ...]


class Mcp39f511:
    """One chip on one port; `variant` is its name.

    `power_lsb_w` is what a count of power is worth, in W; it goes before what the range of P says.
    The channels without a number are those of the (first) outlet.
    """

    baud = 115200
    bauds = (115200, 4800)

    def __init__(
        self,
        transport: Transport,
        *,
        variant: str = "mcp39f511n",
        power_lsb_w: float | None = None,
        reply_s: float = 0.25,
        now_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        if power_lsb_w is not None and not 0 < power_lsb_w < 1e3:
            raise Unsupported(f"Expected a positive power_lsb_w in W; got {power_lsb_w:g}.")
        self.model, self.channels = variant, self.channels_of(variant)
        self._variant = VARIANTS[variant]
        self._lsb_w = None if power_lsb_w is None else Fraction(str(power_lsb_w))
        self._transport, self._now_ns = transport, now_ns
        self._ask = partial(ask, transport, reply_s=reply_s, now_ns=now_ns)
        self._setting: Setting | None = None
        self._in_step = False
        self._window_s = FACTORY_WINDOW_S
        self._not_before_ns = now_ns()
        self._held = self._watch()

    @staticmethod
    def channels_of(variant: str = "mcp39f511n") -> tuple[Channel, ...]:
        """Return the channels of a chip as it leaves the factory, without opening one."""
        if variant not in VARIANTS:
            raise Unsupported(f"Expected one of {', '.join(VARIANTS)}; got {variant!r}.")
        return tuple(channel for *_, channel in VARIANTS[variant].fields)

    def identify(self) -> Mapping[str, str]:
        """Read N and the ranges, and take a reading as the proof.

        Raises:
            Unsupported: N is 0, or a range is none of the known ones.
            Implausible: what it measures is no mains.

        """
        self._in_step = False
        block = self._block().payload
        line_hz = decode(self._variant, block, self._watts())["frequency_hz"]
        found = {"model": self.model, "proof": "ranges and mains at their addresses"}
        if self._variant.first == 0x02:  # the block begins with them
            found["status"] = f"0x{int.from_bytes(block[0:2], 'little'):04X}"
            found["version"] = f"0x{int.from_bytes(block[2:4], 'little'):04X}"
        if self._setting is not None:
            self._describe(self._setting, min((50.0, 60.0), key=lambda hz: abs(hz - line_hz)))
            found["accumulation_interval"] = str(self._setting.interval)
            found["ranges"] = " ".join("/".join(map(str, r)) for r in self._setting.ranges)
        return found

    def read(self) -> Reading:
        """Take one reading of all channels.

        Raises:
            Implausible: there is no mains, or a power is above voltage times current.
            Held: nothing has moved for a minute.
            DeviceError: its setting has changed since it was opened.

        """
        answer = self._block()
        values = decode(self._variant, answer.payload, self._watts())
        self._held.check(answer.t_reply_ns, values)
        return Reading(answer.t_request_ns, answer.t_reply_ns, values)

    def close(self) -> None:
        """Give the port back; the chip needs no farewell."""
        self._transport.close()

    def _block(self) -> Answer:
        """Ask for the block of a reading, not sooner than one window after the one before."""
        if not self._in_step:
            self._synchronise()
        left_ns = self._not_before_ns - self._now_ns()
        if left_ns > 0:
            drain(self._transport, left_ns * 1e-9, now_ns=self._now_ns)
        answer = self._exchange(self._variant.first, self._variant.count)
        self._not_before_ns = answer.t_request_ns + round(self._window_s * 1e9)
        return answer

    def _synchronise(self) -> None:
        """Read N and the ranges, by answers of other lengths than that of a reading.

        So an answer that outlives the quiet time after a failure never meets the next reading.
        """
        interval = int.from_bytes(self._exchange(self._variant.interval, 2).payload, "little")
        ranges = tuple(tuple(self._exchange(a, 4).payload[:3]) for a in self._variant.ranges)
        setting = Setting(interval, ranges)
        if self._setting not in (None, setting):
            raise DeviceError(
                f"The meter was set to {self._setting} when it was opened and is to {setting} now; "
                "open it again."
            )
        if self._setting is None:
            self._apply(setting)
        self._in_step = True

    def _apply(self, setting: Setting) -> None:
        """Take over what the meter is set to, or refuse it."""
        if not 1 <= setting.interval <= 16:
            raise Unsupported(
                f"Expected an accumulation interval from 1 to 16; got {setting.interval}. With 0 "
                "the power is wrong: set N >= 1 with the maker's tool."
            )
        for number, (volt, ampere, watt) in enumerate(setting.ranges, start=1):
            known = ampere == AMPERE_RANGE and (number > 1 or volt == VOLT_RANGE)
            if not known or (watt not in WATT and self._lsb_w is None):
                raise Unsupported(
                    f"Expected the ranges {VOLT_RANGE}/{AMPERE_RANGE}/19 or 6 of V/I/P; outlet "
                    f"{number} has {volt}/{ampere}/{watt}, whose counts nobody knows. Calibrate "
                    "it with the maker's tool, or give power_lsb_w where only that of P is unknown."
                )
        self._setting = setting
        self._describe(setting, line_hz=50.0)  # until the line has told; 50 Hz gives the longer

    def _describe(self, setting: Setting, line_hz: float) -> None:
        """Give the channels their window and what a count of power is worth."""
        self._window_s = 2**setting.interval / line_hz
        watts = iter(self._watts())
        self.channels = tuple(
            replace(
                c,
                window_s=self._window_s,
                refresh_s=self._window_s,
                scale=(scale := next(watts) if c.unit == "W" else c.scale),
                resolution=float(scale),
            )
            for c in self.channels
        )
        self._held = self._watch()

    def _watts(self) -> tuple[Fraction, ...]:
        """Return what a count of power is worth at each outlet."""
        ranges = self._setting.ranges if self._setting is not None else ()
        return tuple(self._lsb_w or WATT[r[2]] for r in ranges)

    def _watch(self) -> HeldWatch:
        names = [c.name for c in self.channels]
        return HeldWatch(names, refresh_s=self._window_s, refreshes=60.0 / self._window_s)

    def _exchange(self, address: int, count: int) -> Answer:
        try:
            return self._ask(request(address, count), partial(parse, count=count))
        except Transient:
            self._in_step = False
            raise
