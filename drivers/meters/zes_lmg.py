r"""ZES Zimmer LMG95 and LMG670: precision power analysers that report one line per cycle.

Seen: no instrument of our own yet. Lines of an LMG95 and an LMG670 as logged by
cuveland/lmgtools@44d548b (`example/*.log`): those of the LMG670 as they came, those of the LMG95
after a change of their number format; see `tests/tapes/zes_*.tape`.

Sources: those logs and the programs beside them (commands, languages, wraps of the counters,
sentinels). No manual was at hand.

Wire. LMG95: RS-232, 115200 8N1, RTS/CTS, echo off, CR LF. LMG670: TCP port 5025 (`socket://`), LF.
In the language "short"; every set command is confirmed by `*OPC?` in the same line:

    irng 10;*OPC?                                    -> 1
    actn;count?;sctc?;cycr?;utrms?;itrms?;p?;pf?     names the items of a line; no reply
    cont on                                          -> count;sctc;cycr;utrms;itrms;p;pf, per cycle

A line holds the means over one cycle, a whole number of mains periods of about `cycle_s`. The
clock is the instrument's own: the LMG95 counts its cycles (16 bits), the LMG670 stamps them. So a
lost line is a gap in the ticks and never a shift. The true length of a cycle (`cycr`, `durnorm`)
is on average the cycle time; it is checked against it, and the ADC samples (`sctc`) against both.

Quirks
- A stream that somebody left running is stopped first, until the line has been quiet.
- 9.91E+37 is no number (the power factor without a current), 9.9E+37 an over-range.
- `*rst` puts everything to its default; the ranges are set after it and confirmed. Their read-back
  stands in no source, so the confirmations and the limits of the values must do.
- The cycle time of an LMG670 is not set, because no source says how; it has to be 0.5 s.
- Its time stamps are of one day; its channel 1 alone is read.

Without a checksum a corrupted byte can be noticed only by what it says. Checked are: the grammar
of the line, the number of items, counter or time stamp, the cycle time, ADC samples per cycle, what
the ranges can hold, and |P| against U·I·|pf| within their rounding. `tests/wire/test_zes_lines.py`
measures what comes through: of all single corrupted bytes of a line 13 of 14,280 (LMG95) and 57 of
24,990 (LMG670) change a value unnoticed, the power by 0.004 W of 345 W at most.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Final

from ..errors import DeviceError, DriverError, Unsupported
from ..formats import Format, Stream
from ..reading import Block, Channel
from ..scpi import parse_line
from ..stream import take_block
from ..transport import Transport
from ..wire import Verdict, ask, drain
from .zes_lines import MODELS, ValuesDecoder, channels, parse_values

__all__ = ["FORMATS", "ZesLmg"]

_QUIET_S: Final = 0.5
_VOLTAGE_RANGE_V: Final = 250.0
_CURRENT_RANGE_A: Final = 10.0
_CYCLE_S: Final = 0.5

_LMG95_LINE: Final = b"10268;434553545;0.500217;234.904;0.0000;0.000;9.91e+37\r\n"
_LMG670_LINE: Final = (
    b"2015:01:21D17:20:55.437817000+0000;0.500101824;"
    b"2.316219E+02;0.000000E+00;0.000000E+00;9.910000E+37\n"
)


def _stream(variant: str, *lines: bytes) -> Stream:
    make = partial(
        ValuesDecoder,
        MODELS[variant],
        voltage_range_v=_VOLTAGE_RANGE_V,
        current_range_a=_CURRENT_RANGE_A,
        cycle_s=_CYCLE_S,
    )
    return Stream(make, lines)


def parse_confirmation(buffer: bytes) -> Verdict:
    """Judge the first line of `buffer` as the answer to *OPC?."""
    return parse_line(buffer, lambda text: None if text == "1" else f"{text[:40]!r} is no 1")


def parse_identity(buffer: bytes) -> Verdict:
    """Judge the first line of `buffer` as the answer of a ZES instrument to *idn?."""

    def refuse(text: str) -> str | None:
        fields = text.split(",")
        if len(fields) >= 3 and "LMG" in fields[1] and "ZES" in fields[0].upper():
            return None
        return f"{text[:60]!r} is no identity of an LMG"

    return parse_line(buffer, refuse)


FORMATS: Final = {
    "lmg95 line": Format(
        partial(parse_values, model=MODELS["lmg95"]), (_LMG95_LINE,), checked=False
    ),
    "lmg670 line": Format(
        partial(parse_values, model=MODELS["lmg670"]), (_LMG670_LINE,), checked=False
    ),
    "lmg95 stream": _stream("lmg95", _LMG95_LINE, _LMG95_LINE.replace(b"10268", b"10269")),
    "lmg670 stream": _stream("lmg670", _LMG670_LINE),
    "confirmation": Format(parse_confirmation, (b"1\r\n",), checked=False),
    "identity": Format(
        parse_identity, (b"ZES ZIMMER Electronic Systems GmbH,LMG95,0000,1.0\r\n",), checked=False
    ),
}


class ZesLmg:
    """One instrument on one line. `cycle_s` is its cycle time, 0.05 to 60 s."""

    baud = 115_200
    rtscts = True

    def __init__(
        self,
        transport: Transport,
        *,
        variant: str = "lmg95",
        voltage_range_v: float = _VOLTAGE_RANGE_V,
        current_range_a: float = _CURRENT_RANGE_A,
        cycle_s: float = _CYCLE_S,
        reply_s: float = 2.0,
        now_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self.model, self._model = variant, MODELS[variant]
        if not 0.05 <= cycle_s <= 60.0:
            raise Unsupported(f"Expected a cycle_s from 0.05 to 60 s; got {cycle_s:g}.")
        if variant == "lmg670" and cycle_s != _CYCLE_S:
            raise Unsupported(f"Expected a cycle_s of {_CYCLE_S:g} s; got {cycle_s:g}.")
        if not (0 < voltage_range_v <= 1000 and 0 < current_range_a <= 100):
            raise Unsupported(
                "Expected ranges up to 1000 V and 100 A; "
                f"got {voltage_range_v:g} V and {current_range_a:g} A."
            )
        self._transport, self._now_ns, self._cycle_s = transport, now_ns, cycle_s
        self._ranges = voltage_range_v, current_range_a
        self.channels: tuple[Channel, ...] = channels(*self._ranges, cycle_s)
        self.tick_rate_hz = self._model.ticks_per_s or 1 / cycle_s
        self.tick_modulus = self._model.tick_modulus
        self._ask = partial(ask, transport, reply_s=reply_s, now_ns=now_ns)
        self._ready = False
        self._decoder = self._new_decoder()
        self._t_last_ns = now_ns()

    @staticmethod
    def channels_of(variant: str) -> tuple[Channel, ...]:
        """Return what a model delivers as it is set by default."""
        return channels(_VOLTAGE_RANGE_V, _CURRENT_RANGE_A, _CYCLE_S)

    def who(self) -> Mapping[str, str]:
        """Stop what it reports, ask who it is, and set nothing.

        Raises:
            DeviceError: another instrument answers.

        """
        self.stop()
        answer = self._ask(b"*idn?" + self._model.end, parse_identity)
        maker, name, *rest = answer.payload.decode("ascii").split(",")
        if name.strip() != self._model.identity:
            raise DeviceError(f"Expected an {self._model.identity}; got {maker}, {name}.")
        serial, firmware = [*(r.strip() for r in rest), "", ""][:2]
        return {"model": self.model, "identity": name, "serial": serial, "firmware": firmware}

    def identify(self) -> Mapping[str, str]:
        """Ask who it is, reset it, and set ranges and cycle time, each confirmed."""
        self._ready = False
        identity = self.who()
        self._confirmed("*cls")
        self._confirmed("*rst")
        self._say(self._model.language)
        if self._model.ticks_per_s is None:
            self._confirmed(f"cycl {self._cycle_s:g}")
        voltage, current = self._ranges
        for command in self._model.ranges:
            self._confirmed(command.format(voltage=voltage, current=current))
        self._ready = True
        return {
            **identity,
            "voltage_range_v": f"{voltage:g}",
            "current_range_a": f"{current:g}",
            "cycle_s": f"{self._cycle_s:g}",
            "items": " ".join(self._model.items),
        }

    def start(self) -> None:
        """Let it report the items of every cycle."""
        if not self._ready:
            self.identify()
        self._decoder = self._new_decoder()
        self._say("actn;" + ";".join(f"{item}?" for item in self._model.items))
        self._say("cont on")
        self._t_last_ns = self._now_ns()

    def read_block(self) -> Block:
        """Return the next line as a block of one sample (more where the host was busy).

        Raises:
            Timeout: no line came for five cycles.
            Desync: bytes came, but no lines.

        """
        block = take_block(
            self._transport,
            self._decoder,
            (c.name for c in self.channels),
            t_before_ns=self._t_last_ns,
            block_s=0.0,
            patience_s=5 * self._cycle_s,
            now_ns=self._now_ns,
            what=f"lines of an {self._model.identity}",
            advice="check ranges and cycle time, and that nobody else talks to it",
        )
        self._t_last_ns = block.t_reply_ns
        return block

    def stop(self) -> None:
        """End the reports, whoever started them, and drain what is still on its way."""
        self._say(self._model.language)
        self._say("cont off")
        drain(self._transport, _QUIET_S, now_ns=self._now_ns)

    def close(self) -> None:
        """End the reports, hand the keys back, and give the port back."""
        with contextlib.suppress(DriverError):
            self.stop()
            self._say("gtl")
        self._ready = False
        self._transport.close()

    def __enter__(self) -> ZesLmg:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _new_decoder(self) -> ValuesDecoder:
        voltage, current = self._ranges
        return ValuesDecoder(
            self._model, voltage_range_v=voltage, current_range_a=current, cycle_s=self._cycle_s
        )

    def _say(self, command: str) -> None:
        self._transport.write(command.encode("ascii") + self._model.end)

    def _confirmed(self, command: str) -> None:
        """Set something; the confirmation comes once it is done.

        Raises:
            Timeout, Desync: it does not come.

        """
        self._ask(f"{command};*OPC?".encode("ascii") + self._model.end, parse_confirmation)
