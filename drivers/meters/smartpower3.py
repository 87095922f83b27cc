"""ODROID SmartPower 3 (Hardkernel): a bench supply that reports its input and two DC outputs.

What it sees is the DC side of a board, and its own input; never the wall.

Seen: nothing of a real one yet; every line is computed from the firmware's source.

Sources: hardkernel/smartpower3@ded7f0e, the firmware: the format of the log, its checksums, its
speeds and intervals. There is no published accuracy of its meters.

Wire, USB-serial, 8N1, 115200 baud until another speed is set on its display; a line every 5 to
1000 ms once logging is switched on there, the same text as on UDP port 6000:

    0000123456,15012,1234,18524,0,05001,0987,04936,1,00,12003,0040,00480,0,00,d5,11 CR LF
    |ms       |mV in|mA  |mW   |*|output 0: mV, mA, mW, on, interrupts|output 1 |cs|cx|

    *   low input        cs  two's complement of the sum, cx the xor of all bytes before `cs`

Field widths are the least: 10 A make the line longer, so it is split on commas, not columns.

Power is voltage times current of one line, never the power that the line states: that is a 16-bit
number of milliwatts and wraps at 65.5 W, without a mark. What the firmware averages stands in no
source; voltage and current are taken as instants.

The maker gives no accuracy: 3 % + 1 count is assumed.

Quirks
- Nothing is ever written to it: it answers anything with `>>> Unknown command <<<` in the middle
  of the lines, and Ctrl-C opens a menu. So it can neither be started nor stopped from here.
- `ms` is its own clock, 32 bits, which wraps after 49.7 days. A clock that goes back otherwise is
  a restart and said as `reboot`; a line whose clock stands still is said as `held`.
- Both checksums together let one random change in 65,536 pass.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Final

from ..accuracy import PLUG_METER
from ..decoders import LineDecoder
from ..errors import Checksum, Timeout
from ..formats import Format, Stream
from ..reading import Block, Channel
from ..stream import DeviceClock, take_block
from ..transport import Transport
from ..wire import Frame, Need, Skip, Verdict, drain

__all__ = ["CHANNELS", "FORMATS", "SmartPower3", "decode", "decoder", "parse"]

TICK_RATE_HZ: Final = 1000.0
TICK_MODULUS: Final = 1 << 32
_FIELDS: Final = 17
_LONGEST: Final = 160
_SLOWEST_S: Final = 1.0

# The field of each channel. The names of the outputs are those of rails, whose products are summed
# into the power; the input, which feeds them, must not be in that sum.
_TABLE: Final = (
    (1, "input_voltage_v", "voltage", "V"),
    (2, "input_current_a", "current", "A"),
    (5, "output0_v", "voltage", "V"),
    (6, "output0_i", "current", "A"),
    (10, "output1_v", "voltage", "V"),
    (11, "output1_i", "current", "A"),
)


def _channel(name: str, quantity: str, unit: str) -> Channel:
    return Channel(
        name=name,
        quantity=quantity,
        unit=unit,
        kind="instant",
        scale=Fraction(1, 1000),
        resolution=0.001,
        accuracy=PLUG_METER,
        range_min=0.0,
        assumed=("kind", "accuracy"),
    )


CHANNELS: Final = tuple(_channel(name, quantity, unit) for _, name, quantity, unit in _TABLE)


def parse(buffer: bytes) -> Verdict:
    """Judge the beginning of `buffer` as a line of the log; the payload is the line."""
    end = buffer.find(b"\n", 0, _LONGEST)
    if end < 0:
        return Need() if len(buffer) < _LONGEST else Skip(1, "the line is too long")
    line, length = buffer[:end], end + 1
    if not line.endswith(b"\r"):
        return Skip(length, "it is no line of a SmartPower 3")
    fields = line[:-1].split(b",")
    if len(fields) != _FIELDS or not all(f.isdigit() for f in fields[:9] + fields[10:14]):
        return Skip(length, "it is no line of a SmartPower 3")
    body = line[:-1].rpartition(b",")[0].rpartition(b",")[0] + b","
    if fields[15] != _sum(body) or fields[16] != _xor(body):
        return Skip(length, "its checksum does not fit", Checksum)
    return Frame(length, line[:-1])


def decode(line: bytes) -> tuple[int, Mapping[str, int]]:
    """Return the clock (ms) and the raw integers of a line."""
    fields = line.split(b",")
    return int(fields[0]), {name: int(fields[i]) for i, name, _, _ in _TABLE}


def _sum(body: bytes) -> bytes:
    """Return the two's complement of the sum of all bytes."""
    return b"%02x" % (-sum(body) & 0xFF)


def _xor(body: bytes) -> bytes:
    """Return the xor of all bytes."""
    value = 0
    for octet in body:
        value ^= octet
    return b"%02x" % value


def decoder() -> LineDecoder:
    """Return a decoder that begins anywhere in a log."""
    clock = DeviceClock(TICK_RATE_HZ, TICK_MODULUS)

    def with_clock(payload: bytes, t_ns: int | None) -> tuple[int, Mapping[str, int]]:
        word, row = decode(payload)
        return clock.follow(word, t_ns), row

    return LineDecoder(parse, with_clock, (c.name for c in CHANNELS))


FORMATS: Final = {
    "line": Format(
        parse,
        (b"0000123456,15012,1234,18524,0,05001,0987,04936,1,00,12003,0040,00480,0,00,d5,11\r\n",),
        checked=True,
        decode=decode,
    ),
    "log": Stream(
        decoder,
        (
            b"0000123456,15012,1234,18524,0,05001,0987,04936,1,00,12003,0040,00480,0,00,d5,11\r\n"
            b"0000123461,15012,1234,18524,0,05001,0987,04936,1,00,12003,0040,00480,0,00,d7,13\r\n",
        ),
    ),
}


class SmartPower3:
    """One SmartPower 3 on one port, which is only listened to."""

    model = "smartpower3"
    baud = 115_200
    talks_unasked = True
    bauds = (115_200, 921_600, 460_800, 230_400, 57_600, 38_400, 19_200, 9_600)
    channels = CHANNELS
    tick_rate_hz = TICK_RATE_HZ
    tick_modulus = TICK_MODULUS

    def __init__(
        self,
        transport: Transport,
        *,
        block_s: float = 0.1,
        now_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._transport, self._now_ns, self._block_s = transport, now_ns, block_s
        self._decoder = decoder()
        self._t_last_ns = now_ns()

    def identify(self) -> Mapping[str, str]:
        """Listen for a line of the log; nothing is asked, it would answer into its lines.

        Raises:
            Timeout: there is none; logging may be switched off on its display.

        """
        lines = decoder()
        end_ns = self._now_ns() + round(1.3 * _SLOWEST_S * 1e9)
        while chunk := self._transport.read(end_ns):
            if lines.feed(chunk).device_ticks.size:
                return {"model": self.model}
            if self._now_ns() >= end_ns:
                break  # bytes without end
        raise Timeout(
            f"{self._transport.name}: no line of a SmartPower 3 within {1.3 * _SLOWEST_S:g} s; "
            "switch its logging on, at this speed, on its display."
        )

    def start(self) -> None:
        """Begin to listen; what has arrived before is thrown away."""
        drain(self._transport, 0.0, limit_s=_SLOWEST_S, now_ns=self._now_ns)
        self._decoder = decoder()
        self._t_last_ns = self._now_ns()

    def read_block(self) -> Block:
        """Return what arrives within `block_s` seconds, or as soon after as there is a line.

        Raises:
            Timeout: no line comes any more.
            Desync: bytes come, but no lines.

        """
        block = take_block(
            self._transport,
            self._decoder,
            (c.name for c in self.channels),
            t_before_ns=self._t_last_ns,
            block_s=self._block_s,
            patience_s=2.5 * _SLOWEST_S,
            now_ns=self._now_ns,
            what="lines of a SmartPower 3",
            advice="check the speed that is set on its display",
        )
        self._t_last_ns = block.t_reply_ns
        return block

    def stop(self) -> None:
        """Stop listening: it cannot be told to stop."""

    def close(self) -> None:
        """Give the port back."""
        self._transport.close()

    def __enter__(self) -> SmartPower3:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()
