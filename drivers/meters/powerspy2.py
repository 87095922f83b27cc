"""PowerSpy2 (Alciom): a plug meter on Bluetooth that averages over whole periods of the mains.

Seen: nothing of a real one ourselves. The five reports and the EEPROM of
`tests/wire/test_powerspy2_frames.py` stand in the simulator of patrickmarlier/powerspy.py; they
fit together (230.7 V, 0.78 A, 171 W, and a power below volt times ampere in each), but it is not
said where they come from.

Sources: green-coding-solutions/green-metrics-tool@2281f06 `powerspy2.py` (V. Krause, LGPL),
patrickmarlier/powerspy.py@1963d32 and joular/powerspycli@0c21596 (LGPL): commands, frames, scales.
The maker publishes no accuracy of which we know: 3 % + 1 count is assumed.

Wire, Bluetooth serial (RFCOMM, for example /dev/rfcomm0), any speed; frames are < text >, numbers
in capital hexadecimal:

    <?>      -> <POWERSPY state pll trigger software hardware serial>
    <Vaa>    -> <bb>             byte aa of the EEPROM; float32 LE scales from 0E (V) and 12 (A)
    <F>      -> <Fpppp>          1,382,400 / pppp is the frequency of the mains in Hz
    <Jnnnn>  -> <K>, then a report after every nnnn periods of the mains
    <Q>      -> <K>              ends them

    report   <VVVVVVVV IIIIIIII PPPPPPPP vvvv iiii> LF CR
             mean squares of voltage and current, power, peaks; in counts of the two scales

The mean is taken over nnnn whole periods, 50 by default, and the report stands for the periods
before it; the reports count the intervals. There is no checksum. Consistency checks: 38
characters of their kind at their place; a mains voltage; the power at most voltage times current;
no peak below its root mean square. They let through 3.3 % of the reports in which one byte was
replaced by another and a value differs, and 18 % of those with one flipped bit
(`benchmarks/unchecked.py`): the lower digits are not protected by anything.

Quirks
- With nothing plugged in the power is FFFFFF...: said as `overrange`, never as a number.
- The first PowerSpy (hardware 2) takes <Jnn>, counts its periods otherwise, and is refused.
- A program that was killed leaves it reporting: <Q> comes first.
- <W> (write the EEPROM), <R> (reset), <E> (set the clock) and <Y> (delete a file) are never sent.
"""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Final

from ..accuracy import PLUG_METER
from ..errors import Refused, TransportError, Unsupported
from ..formats import Format, Stream
from ..reading import Block, Channel
from ..stream import take_block
from ..transport import Transport
from ..wire import ask, drain
from .powerspy2_frames import (
    SCALE,
    ReportDecoder,
    Scales,
    decode_identity,
    decode_report,
    decode_scale,
    parse_byte,
    parse_identity,
    parse_period,
    parse_report,
    parse_state,
)

__all__ = ["CHANNELS", "FORMATS", "PowerSpy2"]

_CLOCK_HZ: Final = 1_382_400.0
_FIRST_POWERSPY: Final = 2
_VOLT_AT: Final = 0x0E
_AMPERE_AT: Final = 0x12
_EXAMPLE: Final = Scales(0.08155, 5.449e-4)


def _channel(name: str, quantity: str, unit: str, resolution: float) -> Channel:
    peak = quantity.startswith("peak")
    return Channel(
        name=name,
        quantity=quantity,
        unit=unit,
        kind="instant" if peak else "mean",
        scale=SCALE,
        resolution=resolution,
        accuracy=PLUG_METER,
        window_s=None if peak else 1.0,
        refresh_s=1.0,
        range_min=0.0,
        assumed=("accuracy", "stamp_at"),
    )


def _channels(scales: Scales, interval_s: float) -> tuple[Channel, ...]:
    """Return what a meter with these scales delivers; one count is the step of each value."""
    table = (
        _channel("voltage_v", "voltage", "V", scales.volt),
        _channel("current_a", "current", "A", scales.ampere),
        _channel("power_w", "power", "W", scales.volt * scales.ampere),
        _channel("voltage_peak_v", "peak_voltage", "V", scales.volt),
        _channel("current_peak_a", "peak_current", "A", scales.ampere),
    )
    return tuple(
        replace(c, refresh_s=interval_s, window_s=c.window_s and interval_s) for c in table
    )


CHANNELS: Final = _channels(_EXAMPLE, 1.0)

_REPORT: Final = b"<007A1FCA 001F82FB 003AC29C 0FA9 0AB5>"

FORMATS: Final = {
    "identity": Format(
        parse_identity, (b"<POWERSPYR0100230A4567>",), checked=False, decode=decode_identity
    ),
    "byte": Format(parse_byte, (b"<6C>",), checked=False),
    "period": Format(parse_period, (b"<F6C00>",), checked=False),
    "state": Format(parse_state, (b"<K>", b"<Z>"), checked=False),
    "report": Format(
        parse_report, (_REPORT,), checked=False, decode=partial(decode_report, scales=_EXAMPLE)
    ),
    "stream": Stream(partial(ReportDecoder, _EXAMPLE, 1.0), (_REPORT + b"\n\r",)),
}


def mask(question: bytes, answer: bytes) -> bytes:
    """Put 0 for the serial number, the end of what it says of itself, in a tape."""
    return re.sub(rb"(POWERSPY.{9})[0-9A-F]{1,4}", _blank, answer)


def _blank(found: re.Match[bytes]) -> bytes:
    return found[1] + b"0" * (len(found[0]) - len(found[1]))


class PowerSpy2:
    """One PowerSpy2 on one port; `periods` of the mains are averaged (1 to 65535).

    Its scales and the frequency of the mains are asked for when it is identified; `channels` and
    `tick_rate_hz` are those of the instrument from then on.
    """

    model = "powerspy2"
    baud = 115_200
    channels: tuple[Channel, ...] = CHANNELS
    tick_modulus = 1 << 62  # it has no clock: reports are counted

    def __init__(
        self,
        transport: Transport,
        *,
        periods: int = 50,
        reply_s: float = 3.0,
        now_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        if not 1 <= periods <= 0xFFFF:
            raise Unsupported(f"Expected 1 to 65535 periods of the mains; got {periods}.")
        self._transport, self._now_ns, self._periods = transport, now_ns, periods
        self._ask = partial(ask, transport, reply_s=reply_s, now_ns=now_ns)
        self._scales: Scales | None = None
        self._interval_s = periods / 50.0
        self.tick_rate_hz = 1.0 / self._interval_s
        self._talks = True  # somebody may have left it reporting
        self._decoder = ReportDecoder(_EXAMPLE, self._interval_s)
        self._t_last_ns = 0

    def identify(self) -> Mapping[str, str]:
        """Ask who it is, for its scales and the mains; stops what is reported.

        Raises:
            Unsupported: it is the first PowerSpy.
            Refused: its scales can be none, or it sees no mains.

        """
        self.stop()
        who = decode_identity(self._ask(b"<?>", parse_identity).payload)
        if who.hardware == _FIRST_POWERSPY:
            raise Unsupported(
                f"{self._transport.name}: expected a PowerSpy2; got the first PowerSpy, which "
                "speaks otherwise."
            )
        scales = Scales(self._scale(_VOLT_AT), self._scale(_AMPERE_AT))
        if scales != Scales(self._scale(_VOLT_AT), self._scale(_AMPERE_AT)):
            raise Refused(
                f"{self._transport.name}: the scales of the PowerSpy2 differ when they are read "
                "again; try once more."
            )
        count = int(self._ask(b"<F>", parse_period).payload[1:], 16)
        frequency_hz = _CLOCK_HZ / count if count else 0.0
        if not scales.sensible() or not 45.0 <= frequency_hz <= 65.0:
            raise Refused(
                f"{self._transport.name}: expected a mains of 45 to 65 Hz and scales near 0.08 V "
                f"and 0.0005 A; got {frequency_hz:.2f} Hz, {scales.volt:g} V, {scales.ampere:g} A."
            )
        self._scales, self._interval_s = scales, self._periods / frequency_hz
        self.tick_rate_hz = 1.0 / self._interval_s
        self.channels = _channels(scales, self._interval_s)
        return {
            "model": self.model,
            "serial": f"{who.serial:04X}",
            "software": f"{who.software:02X}",
            "hardware": f"{who.hardware:02X}",
            "mains_hz": f"{frequency_hz:.2f}",
            "periods": str(self._periods),
            "scales": f"{scales.volt:.9g} V, {scales.ampere:.9g} A",
        }

    def start(self) -> None:
        """Let it report after every `periods` periods of the mains.

        Raises:
            Refused: it says that it cannot.

        """
        if self._scales is None:
            self.identify()
        self.stop()
        self._decoder = ReportDecoder(self._scales or _EXAMPLE, self._interval_s)
        self._talks = True
        if self._ask(b"<J%04X>" % self._periods, parse_state).payload != b"K":
            raise Refused(f"{self._transport.name}: the PowerSpy2 does not start to report.")
        self._t_last_ns = self._now_ns()

    def read_block(self) -> Block:
        """Return the next report as a block of one sample (more where the host was busy).

        Raises:
            Timeout: no report came for two and a half intervals and a second.
            Desync: bytes came, but no reports.

        """
        block = take_block(
            self._transport,
            self._decoder,
            (c.name for c in self.channels),
            t_before_ns=self._t_last_ns,
            block_s=0.0,
            patience_s=1.0 + 2.5 * self._interval_s,
            now_ns=self._now_ns,
            what="reports of a PowerSpy2",
            advice="look whether something is plugged into it",
        )
        self._t_last_ns = block.t_reply_ns
        return block

    def stop(self) -> None:
        """End the reports and drain what is still on its way."""
        if self._talks:
            self._transport.write(b"<Q>")
            drain(self._transport, 0.5, now_ns=self._now_ns)
            self._talks = False

    def close(self) -> None:
        """End the reports and give the port back."""
        with contextlib.suppress(TransportError):
            self.stop()
        self._transport.close()

    def __enter__(self) -> PowerSpy2:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _scale(self, first: int) -> float:
        """Read one float of the EEPROM, byte by byte."""
        texts = [self._ask(b"<V%02X>" % (first + i), parse_byte).payload for i in range(4)]
        return decode_scale(bytes(int(text, 16) for text in texts))
