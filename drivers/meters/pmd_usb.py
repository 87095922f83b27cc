"""ElmorLabs PMD-USB: voltage and current of four DC rails (PCIe and EPS cables) at 4.78 kHz.

It sits between power supply and graphics card or processor: what it sees is the DC side of one
component, never the wall.

Seen: five raw streams of JimZeyuYang/GPU_Power_Benchmark@4b5c944 (RTX 3090, A100, K40m;
doi:10.5281/zenodo.13313030), byte for byte.

Sources: those streams and `source/PMD.cpp` beside them; the maker's tools ElmorLabs/PMD-USB
@7263a95 `PMD/FormPMD.cs` and ElmorLabs/PMDLogger@162b6f7. There is no manual of the protocol, no
checksum in it, and no published accuracy.

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
  cannot be noticed.
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
from dataclasses import dataclass
from fractions import Fraction
from types import TracebackType
from typing import Final

import numpy as np
import numpy.typing as npt

from ..errors import Desync, Timeout, Transient, TransportError
from ..formats import Format, Stream
from ..reading import Block, Channel
from ..transport import Transport
from ..wire import Frame, Need, Skip, Verdict, ask, drain

__all__ = [
    "CHANNELS",
    "CHANNELS_SC24",
    "FORMATS",
    "Decoder",
    "PmdUsb",
    "PmdUsbSamples",
    "decode",
    "parse_id",
    "parse_welcome",
    "power_w",
]

FRAME_BYTES: Final = 18
TICK_RATE_HZ: Final = 2_934_500.0
TICK_MODULUS: Final = 65_536
_MEAN_STEP: Final = 614
_STEPS: Final = (550, 1100)
_RAIL_COUNTS: Final = (1450, 1750)  # 11.0 to 13.2 V
_EMPTY_COUNTS: Final = 16  # a connector without a cable may read near zero; on no tape so far
_IN_A_ROW: Final = 8
_SEARCH_BYTES: Final = 4096

_WELCOME: Final = b"ElmorLabs PMD-USB"
_START: Final = bytes.fromhex("07 01 02 FF")  # one write: a late argument would be a command
_STOP: Final = bytes.fromhex("07 00 02 FF")

_VOLT: Final = Fraction(7568, 1_000_000)  # FormPMD.cs, all channels alike
_AMPERE: Final = Fraction(488, 10_000)
_VOLT_SLOT_SC24: Final = Fraction(75, 10_000)


def _channels(slot_volt: Fraction) -> tuple[Channel, ...]:
    table = []
    for rail in ("pcie1", "pcie2", "eps1", "eps2"):
        volt = slot_volt if rail == "eps1" else _VOLT
        for name, quantity, unit, scale in (
            (f"{rail}_v", "voltage", "V", volt),
            (f"{rail}_i", "current", "A", _AMPERE),
        ):
            table.append(
                Channel(
                    name=name,
                    quantity=quantity,
                    unit=unit,
                    kind="instant",
                    scale=scale,
                    resolution=float(scale),
                    range_min=-2048 * float(scale),
                    range_max=2047 * float(scale),
                    assumed=("kind",),
                )
            )
    return tuple(table)


CHANNELS: Final = _channels(_VOLT)
# The five recordings have the slot riser on EPS1, which their authors scale by 7.5 mV a count.
CHANNELS_SC24: Final = _channels(_VOLT_SLOT_SC24)


@dataclass(frozen=True, slots=True, eq=False)
class PmdUsbSamples:
    """Decoded frames: unwrapped clock (counts) and raw integers per channel.

    `skipped` is the number of bytes that belong to no frame, `faults` holds one code per loss.
    """

    device_ticks: npt.NDArray[np.int64]
    columns: Mapping[str, npt.NDArray[np.int16]]
    skipped: int
    faults: tuple[str, ...]


def decode(data: bytes) -> PmdUsbSamples:
    """Decode a recorded stream; what is left over at its end counts as skipped."""
    decoder = Decoder()
    samples = decoder.feed(data, last=True)
    return PmdUsbSamples(
        samples.device_ticks, samples.columns, samples.skipped + decoder.pending, samples.faults
    )


def power_w(
    columns: Mapping[str, npt.NDArray[np.int16]], channels: tuple[Channel, ...] = CHANNELS
) -> npt.NDArray[np.float64]:
    """Return the sum of voltage times current over the four rails, in W."""
    value = {c.name: columns[c.name] * float(c.scale) for c in channels}
    rails = [name.removesuffix("_v") for name in value if name.endswith("_v")]
    total = np.zeros(len(columns["pcie1_v"]))
    for rail in rails:
        total += value[f"{rail}_v"] * value[f"{rail}_i"]
    return total


class Decoder:
    """Turns bytes into samples, the same ones however the bytes are cut into pieces."""

    def __init__(self) -> None:
        self._buffer = b""
        self._in_step = False
        self._tick: int | None = None  # of the last good frame, unwrapped
        self._t_ns: int | None = None  # its arrival
        self._lost = 0  # bytes skipped since then

    @property
    def pending(self) -> int:
        """Return how many bytes wait for more to come."""
        return len(self._buffer)

    def feed(self, data: bytes, t_ns: int | None = None, *, last: bool = False) -> PmdUsbSamples:
        """Decode what `data`, which arrived at `t_ns` (monotonic), completes.

        Frames carry no checksum: where bytes were lost inside one, its beginning and the end of a
        later one can look like a frame. So a frame counts only once the next one has come in step;
        the one before a break is thrown away with it. `last` says that no more bytes will come.
        """
        buffer = self._buffer + data
        at = skipped = 0
        ticks, words = list[npt.NDArray[np.int64]](), list[npt.NDArray[np.uint16]]()
        faults = list[str]()
        while True:
            found = not self._in_step
            if found:
                count, self._in_step = _search(buffer[at:])
                at, skipped, self._lost = at + count, skipped + count, self._lost + count
                if not self._in_step:
                    break
            frames = np.frombuffer(buffer, "<u2", (len(buffer) - at) // FRAME_BYTES * 9, at)
            frames = frames.reshape(-1, 9)
            good = _good_frames(frames, None if found else self._tick)
            whole = good == len(frames)
            sure = good if whole and last else max(good - 1, 0)
            if sure:
                ticks.append(self._unwrap(frames[:sure, 0], found, t_ns))
                words.append(frames[:sure])
                at += sure * FRAME_BYTES
            if whole:
                break
            if good:
                at, skipped = at + FRAME_BYTES, skipped + FRAME_BYTES
                self._lost += FRAME_BYTES
            self._in_step = False
            faults.append(Desync.code)
        self._buffer = buffer[at:]
        all_words = np.concatenate(words) if words else np.empty((0, 9), "<u2")
        raw = all_words[:, 1:].view("<i2") >> 4  # arithmetic: the sign comes along
        return PmdUsbSamples(
            np.concatenate(ticks) if ticks else np.empty(0, np.int64),
            {c.name: raw[:, i].astype(np.int16) for i, c in enumerate(CHANNELS)},
            skipped,
            tuple(faults),
        )

    def _unwrap(
        self, clock: npt.NDArray[np.uint16], found: bool, t_ns: int | None
    ) -> npt.NDArray[np.int64]:
        first = int(clock[0])
        if self._tick is not None:
            step = (first - self._tick) % TICK_MODULUS
            if found:
                step += TICK_MODULUS * self._periods_lost(step, t_ns)
            first = self._tick + step
        steps = np.diff(clock).astype(np.int64)  # modulo 65536, as the words themselves
        ticks: npt.NDArray[np.int64] = first + np.concatenate(([0], np.cumsum(steps)))
        self._tick, self._t_ns, self._lost = int(ticks[-1]), t_ns, 0
        return ticks

    def _periods_lost(self, step: int, t_ns: int | None) -> int:
        """Count the periods of the clock that went by unseen while frames were lost.

        Whole frames that were skipped are damaged, not missing: they count themselves. Otherwise
        bytes are missing, and only the arrival times tell how long that took.
        """
        if self._lost and self._lost % FRAME_BYTES == 0:
            expected = float(_MEAN_STEP * (self._lost // FRAME_BYTES + 1))
        elif t_ns is not None and self._t_ns is not None:
            expected = (t_ns - self._t_ns) * 1e-9 * TICK_RATE_HZ
        else:
            return 0
        return max(0, round((expected - step) / TICK_MODULUS))


def _good_words(words: npt.NDArray[np.uint16]) -> npt.NDArray[np.bool_]:
    """Tell which rows (clock first) have zeros where zeros belong, and rails near 12 V."""
    values = words[:, 1:]
    volts = values[:, ::2].view("<i2") >> 4
    rails = (volts >= _RAIL_COUNTS[0]) & (volts <= _RAIL_COUNTS[1])
    good: npt.NDArray[np.bool_] = ((values & 15) == 0).all(axis=1) & (
        rails | (np.abs(volts) <= _EMPTY_COUNTS)
    ).all(axis=1)
    return good


def _good_frames(frames: npt.NDArray[np.uint16], tick: int | None) -> int:
    """Return how many frames from the first on are good; `tick` is the clock of the one before."""
    clock = frames[:, 0].astype(np.int64)
    before = np.concatenate(([0 if tick is None else tick], clock[:-1])) if len(clock) else clock
    step = (clock - before) % TICK_MODULUS
    good = _good_words(frames) & (step >= _STEPS[0]) & (step <= _STEPS[1])
    if tick is None and len(good):
        good[0] = _good_words(frames[:1])[0]
    bad = np.flatnonzero(~good)
    return int(bad[0]) if bad.size else len(frames)


def _search(buffer: bytes) -> tuple[int, bool]:
    """Look for eight good frames in a row at any byte; return where, and whether they are there.

    Without them, the number of bytes is returned that certainly begin no such row.
    """
    row = _IN_A_ROW * FRAME_BYTES
    positions = len(buffer) - row + 1
    for begin in range(0, positions, _SEARCH_BYTES):
        count = min(_SEARCH_BYTES, positions - begin)
        octets = np.frombuffer(buffer, np.uint8, count + row - 1, begin).astype(np.uint16)
        words = octets[:-1] | octets[1:] << 8  # the word that begins at each byte
        starts = len(words) - FRAME_BYTES + 2
        at_each = np.stack([words[i : i + starts] for i in range(0, FRAME_BYTES, 2)], axis=1)
        good = _good_words(at_each)
        step = (words[FRAME_BYTES:] - words[:-FRAME_BYTES]).astype(np.uint16)  # modulo 65536
        follows = (step >= _STEPS[0]) & (step <= _STEPS[1])
        rows = np.logical_and.reduce([good[FRAME_BYTES * i :][:count] for i in range(_IN_A_ROW)])
        rows &= np.logical_and.reduce(
            [follows[FRAME_BYTES * i :][:count] for i in range(_IN_A_ROW - 1)]
        )
        found = np.flatnonzero(rows)
        if found.size:
            return begin + int(found[0]), True
    return max(0, positions), False


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
        Decoder,
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
        self._decoder = Decoder()
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
        self._decoder = Decoder()
        self._transport.write(_START)
        self._streaming = True
        self._t_last_ns = self._now_ns()

    def read_block(self) -> Block:
        """Return what arrives within `block_s` seconds, or as soon after as there is a sample.

        Raises:
            Timeout: the stream has dried up.
            Desync: bytes come, but no frames.

        """
        begin_ns = self._now_ns()
        end_ns = begin_ns + round(self._block_s * 1e9)
        give_up_ns = end_ns + 1_000_000_000
        parts, heard, now = list[PmdUsbSamples](), 0, begin_ns
        t_request_ns = t_reply_ns = self._t_last_ns
        while now < end_ns or (now < give_up_ns and not any(p.device_ticks.size for p in parts)):
            chunk = self._transport.read(end_ns if now < end_ns else give_up_ns)
            now = self._now_ns()
            if chunk:
                heard, t_reply_ns = heard + len(chunk), now
                parts.append(self._decoder.feed(chunk, now))
        if not any(p.device_ticks.size for p in parts):
            parts.append(self._decoder.feed(b"", now, last=True))  # a stream that has ended
        if not any(p.device_ticks.size for p in parts):
            if heard:
                raise Desync(
                    f"{self._transport.name}: {heard} bytes came, but no PMD-USB frames; "
                    "check that all four voltages lie between 11 and 13 V."
                )
            raise Timeout(
                f"{self._transport.name}: the stream has dried up; check the cable, start it again."
            )
        self._t_last_ns = t_reply_ns
        return Block(
            t_request_ns,
            t_reply_ns,
            np.concatenate([p.device_ticks for p in parts]),
            {c.name: np.concatenate([p.columns[c.name] for p in parts]) for c in self.channels},
            tuple(f for p in parts for f in p.faults),
        )

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

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
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
            if Decoder().feed(heard).device_ticks.size:
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
