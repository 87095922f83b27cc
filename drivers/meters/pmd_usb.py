"""ElmorLabs PMD-USB: voltage and current of four DC rails (PCIe and EPS cables) at 4.78 kHz.

It sits between power supply and graphics card or processor: what it sees is the DC side of one
component, never the wall.

Seen: five raw streams of JimZeyuYang/GPU_Power_Benchmark@4b5c944 (RTX 3090, A100, K40m;
doi:10.5281/zenodo.13313030), byte for byte.

Sources: those streams and `source/PMD.cpp` beside them; the maker's tools ElmorLabs/PMD-USB
@7263a95 `PMD/FormPMD.cs` and ElmorLabs/PMDLogger@162b6f7. There is no manual of the protocol, no
checksum in it, and no published accuracy: 3 % + 1 count is assumed.

Wire, CH340, 8N1, 115200 baud at power-up; all little-endian:

    00                          -> "ElmorLabs PMD-USB", 17 characters
    01                          -> EE 0A firmware
    08 baud parity data stop    4 bytes each; changes the speed (parity 2, data 0, stop 0: 8N1)
    07 01 02 FF | 07 00 02 FF   stream on | off: 2 bytes of clock, all 8 channels

    frame    |clock|V pcie1|I pcie1|V pcie2|I pcie2|V eps1|I eps1|V eps2|I eps2|   9 words
    word     |vvvv vvvv vvvv 0000|   12 bits, two's complement, above four zeros

The clock counts 2934.5 per ms and wraps every 22.33 ms; each frame is a sample of its instant.
602 counts lie between frames, more at every 11th and 64th (683 to 1017), 614 on average.

Quirks
- A frame has no head. It is recognised by its zeros, by rails near 12 V and by the step of the
  clock; eight good frames in a row begin the stream. An error in the upper bits of a current
  cannot be noticed: 30 % of replaced bytes and 62 % of flipped bits pass as another value
  (`benchmarks/unchecked.py`).
- More than 22 ms of lost samples are known only modulo the clock's period. The driver takes the
  arrival time to count the periods, and says `desync`.
- 921600 baud is nearly full at this rate; 115200 would carry an eighth of it.
- An unused channel reads 1.5 to 2.8 counts of current, about 1 W at 12 V, so it adds to a sum.
- A program that was killed leaves the stream running: it is looked for and stopped first.
- 05 (write configuration), F0 (reset) and F1 (bootloader) are never sent.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping
from typing import Final

from ..errors import Timeout, Transient, TransportError
from ..formats import Format, Stream
from ..reading import Block
from ..stream import take_block
from ..transport import Transport
from ..wire import Frame, Need, Skip, Verdict, ask, drain
from .pmd_usb_frames import (
    CHANNELS,
    CHANNELS_SC24,
    TICK_MODULUS,
    TICK_RATE_HZ,
    decode,
    decoder,
    power_w,
)

__all__ = [
    "CHANNELS",
    "CHANNELS_SC24",
    "FORMATS",
    "PmdUsb",
    "decode",
    "decoder",
    "parse_id",
    "parse_welcome",
    "power_w",
]

_WELCOME: Final = b"ElmorLabs PMD-USB"
_START: Final = bytes.fromhex("07 01 02 FF")  # one write: a late argument would be a command
_STOP: Final = bytes.fromhex("07 00 02 FF")


def parse_welcome(buffer: bytes) -> Verdict:
    """Judge the beginning of `buffer` as the answer to 00."""
    if buffer.startswith(_WELCOME):
        return Frame(len(_WELCOME), _WELCOME)
    if _WELCOME.startswith(buffer):
        return Need()
    return Skip(1, "it is not the welcome of a PMD-USB")


def parse_id(buffer: bytes) -> Verdict:
    """Judge the beginning of `buffer` as the answer to 01; the payload is the firmware's byte."""
    if not b"\xee\x0a".startswith(buffer[:2]):
        return Skip(1, "it is not the identity of a PMD-USB")
    return Frame(3, buffer[2:3]) if len(buffer) >= 3 else Need()


FORMATS: Final = {
    "welcome": Format(parse_welcome, (_WELCOME,), checked=False),
    "firmware": Format(parse_id, (b"\xee\x0a\x06",), checked=False),
    # Frames 0 and 1 of a real stream (see Seen).
    "stream": Stream(
        decoder,
        (
            bytes.fromhex("54E02064E00340647007A0637002E0632000")
            + bytes.fromhex("ADE24064F00360649007D0636002E0630000"),
        ),
    ),
}


class PmdUsb:
    """One PMD-USB on one port."""

    model = "pmd-usb"
    baud = 115_200
    channels = CHANNELS
    tick_rate_hz = TICK_RATE_HZ
    tick_modulus = TICK_MODULUS

    def __init__(
        self,
        transport: Transport,
        *,
        stream_baud: int = 921_600,
        block_s: float = 0.1,
        reply_s: float = 0.2,
        now_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._transport, self._now_ns = transport, now_ns
        self._stream_baud, self._block_s, self._reply_s = stream_baud, block_s, reply_s
        self._line_baud: int | None = None  # unknown until the device has answered
        self._streaming = False
        self._decoder = decoder()
        self._t_last_ns = 0

    def identify(self) -> Mapping[str, str]:
        """Ask for the firmware; stops a stream that is running."""
        self.stop()
        self._find_speed()
        answer = self._ask(b"\x01", parse_id)
        return {"model": self.model, "firmware": str(answer[0]), "baud": str(self._line_baud)}

    def start(self) -> None:
        """Go to the fast speed and start the stream."""
        self._find_speed()
        self._change_speed(self._stream_baud)
        self._ask(b"\x00", parse_welcome)
        self._decoder = decoder()
        self._transport.write(_START)
        self._streaming = True
        self._t_last_ns = self._now_ns()

    def read_block(self) -> Block:
        """Return what arrives within `block_s` seconds, or as soon after as there is a sample.

        Raises:
            Timeout: the stream has dried up.
            Desync: bytes come, but no frames.

        """
        block = take_block(
            self._transport,
            self._decoder,
            (c.name for c in self.channels),
            t_before_ns=self._t_last_ns,
            block_s=self._block_s,
            patience_s=1.0,
            now_ns=self._now_ns,
            what="PMD-USB frames",
            advice="check that all four voltages lie between 11 and 13 V",
        )
        self._t_last_ns = block.t_reply_ns
        return block

    def stop(self) -> None:
        """Stop the stream and drain what is still on its way."""
        if self._streaming:
            self._transport.write(_STOP)
            drain(self._transport, self._reply_s, now_ns=self._now_ns)
            self._streaming = False

    def close(self) -> None:
        """Stop, go back to the speed of power-up for whoever comes next, give the port back."""
        with contextlib.suppress(TransportError):
            self.stop()
            if self._line_baud is not None:
                self._change_speed(self.baud)
        self._transport.close()

    def __enter__(self) -> PmdUsb:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _ask(self, request: bytes, parse: Callable[[bytes], Verdict]) -> bytes:
        return ask(
            self._transport, request, parse, reply_s=self._reply_s, now_ns=self._now_ns
        ).payload

    def _find_speed(self) -> None:
        """Find the speed at which the device talks, stopping a stream that somebody left running.

        Only 00 is sent at a speed that may be wrong. At an eighth of the true speed it arrives as
        line breaks, at eight times it as FF: welcome and no-op, never a command that writes.
        """
        if self._line_baud is not None:
            return
        for baud in (self.baud, self._stream_baud):
            self._transport.set_baud(baud)
            heard, end_ns = b"", self._now_ns() + 50_000_000
            while self._now_ns() < end_ns:
                heard += self._transport.read(end_ns)
            if decoder().feed(heard).device_ticks.size:
                self._transport.write(_STOP)
                drain(self._transport, self._reply_s, now_ns=self._now_ns)
            elif len(heard) > len(_WELCOME):
                continue  # somebody talks, at another speed: do not talk into it
            with contextlib.suppress(Transient):
                self._ask(b"\x00", parse_welcome)
                self._line_baud = baud
                return
        raise Timeout(
            f"{self._transport.name}: no PMD-USB answers at {self.baud} or {self._stream_baud} "
            "baud; check the cable, or unplug the device and plug it in again."
        )

    def _change_speed(self, baud: int) -> None:
        if baud == self._line_baud:
            return
        settings = b"".join(n.to_bytes(4, "little") for n in (baud, 2, 0, 0))
        self._transport.write(b"\x08" + settings)
        drain(self._transport, 0.05, now_ns=self._now_ns)  # the command must leave at the old speed
        self._transport.set_baud(baud)
        self._line_baud = baud
