"""What instruments that talk by themselves share: samples, a clock that wraps, a block of them.

Such an instrument counts time itself, in ticks of a word that soon wraps. `DeviceClock` adds the
wraps up again. What a clock cannot say, because a whole number of its periods went by unseen, only
the arrival of the bytes can: it fills a gap that is known to be one, and it betrays a gap that
looked like none. An arrival can be late and never early, so the shortest delay of a second is
compared with that of the second before, never a single one; and what it usually grows by in a
second is the clock's own error of rate, no loss.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from statistics import median
from typing import Any, Final, Protocol

import numpy as np
import numpy.typing as npt

from .errors import Desync, Held, Rebooted, Timeout
from .held import HeldWatch
from .reading import Block
from .transport import Transport

__all__ = [
    "DeviceClock",
    "Integers",
    "PacketTicks",
    "Samples",
    "StreamDecoder",
    "join",
    "take_block",
]

Integers = npt.NDArray[Any]
Ticks = npt.NDArray[np.int64]

# Bytes are decoded together that arrive within this time: a fast stream comes in a thousand pieces
# a second.
_PIECE_NS: Final = 5_000_000
_SECOND_NS: Final = 1_000_000_000
# Delays jump by milliseconds on a busy host; the shortest one of a second does so hardly ever.
_LEAST_SLIP_S: Final = 0.01
_GROWTHS: Final = 3
# How far a clock may run ahead of the arrivals before it is another clock, and how far back lies
# what has only come twice.
_SLACK_S: Final = 10.0


@dataclass(frozen=True, slots=True, eq=False)
class Samples:
    """Decoded frames: unwrapped clock (ticks) and raw integers per channel, shape (n,) each.

    `skipped` is the number of bytes that belong to no frame, `faults` holds one code per loss.
    """

    device_ticks: Ticks
    columns: Mapping[str, Integers]
    skipped: int
    faults: tuple[str, ...]


class StreamDecoder(Protocol):
    """Turns bytes into samples, the same ones however the bytes are cut into pieces."""

    def feed(self, data: bytes, t_ns: int | None = None, *, last: bool = False) -> Samples:
        """Decode what `data`, which arrived at `t_ns` (monotonic), completes; never raises.

        `last` says that no more bytes will come.
        """
        ...

    @property
    def pending(self) -> int:
        """Return how many bytes wait for more to come; bounded, whatever is fed."""
        ...


def join(parts: Iterable[Samples], names: Iterable[str]) -> Samples:
    """Put samples that follow each other, at least one of them, into one."""
    parts = list(parts)
    return Samples(
        np.concatenate([p.device_ticks for p in parts]),
        {n: np.concatenate([p.columns[n] for p in parts]) for n in names},
        sum(p.skipped for p in parts),
        tuple(f for p in parts for f in p.faults),
    )


class DeviceClock:
    """Adds up the wraps of a clock of `rate_hz` that counts modulo `modulus`."""

    def __init__(self, rate_hz: float, modulus: int) -> None:
        self._rate_hz, self._modulus = rate_hz, modulus
        self.tick: int | None = None  # of the last sample, unwrapped
        self._t_ns: int | None = None  # its arrival
        self._offset = 0  # of the tick from the clock's own count, once it was restarted
        self._second_ns = 0  # the second whose shortest delay is sought
        self._shortest_ns: float | None = None
        self._shortest_before_ns: float | None = None
        self._growths_ns: deque[float] = deque(maxlen=9)  # of the shortest delay, per second

    def unwrap(
        self,
        words: Integers,
        t_ns: int | None,
        *,
        gap: bool = False,
        expected: float | None = None,
    ) -> Ticks:
        """Return the ticks of samples without a gap between them, which arrived at `t_ns`.

        `gap` says that something is missing before the first one; `expected` is how many ticks
        that lasted, where the bytes tell (else the arrival does).
        """
        first = int(words[0])
        if self.tick is not None:
            step = (first - self.tick) % self._modulus
            if gap:
                step += self._modulus * self._periods(step, t_ns, expected)
            first = self.tick + step
        steps: Ticks = np.mod(np.diff(words.astype(np.int64)), self._modulus)
        ticks: Ticks = first + np.concatenate(([0], np.cumsum(steps)))
        self.tick, self._t_ns = int(ticks[-1]), t_ns
        return ticks

    def follow(self, word: int, t_ns: int | None) -> int:
        """Return the tick of a sample of a slow clock, which may have been restarted.

        After a restart the clock goes on from the last tick by the time between the arrivals.

        Raises:
            Held: it stands still or goes back a little: the sample is one that has been seen.
            Rebooted: it has gone back, or further forward than time has.

        """
        if self.tick is None:
            self.tick, self._t_ns = word, t_ns
            return word
        step = (word + self._offset - self.tick) % self._modulus
        if -step % self._modulus <= _SLACK_S * self._rate_hz:
            raise Held("The clock of the instrument has not moved; the sample is a repetition.")
        most, elapsed = self._modulus / 2, 1.0
        if t_ns is not None and self._t_ns is not None:
            elapsed = (t_ns - self._t_ns) * 1e-9 * self._rate_hz
            step += self._modulus * max(0, round((elapsed - step) / self._modulus))
            most = elapsed + _SLACK_S * self._rate_hz
        restarted = step > most
        self.tick += max(1, round(elapsed)) if restarted else step
        self._t_ns = t_ns
        if restarted:
            self._offset = self.tick - word
            raise Rebooted("The clock of the instrument has gone back; it was restarted.")
        return self.tick

    def slipped(self, t_ns: int) -> bool:
        """Take note of the last sample's delay; True if a whole period was lost unseen.

        A loss of less than 10 ms is not told from a late arrival. Found within two seconds, once
        five have shown how fast the clock runs.
        """
        if self.tick is None:
            return False
        delay_ns = t_ns - self.tick / self._rate_hz * 1e9
        if self._shortest_ns is None or delay_ns < self._shortest_ns:
            self._shortest_ns = delay_ns
        if t_ns - self._second_ns < _SECOND_NS:
            return False
        before, now = self._shortest_before_ns, self._shortest_ns
        self._second_ns, self._shortest_before_ns, self._shortest_ns = t_ns, now, None
        if before is None:
            return False
        growth_ns, known = now - before, len(self._growths_ns) >= _GROWTHS
        excess_ns = growth_ns - median(self._growths_ns) if known else 0.0
        if excess_ns < _LEAST_SLIP_S * 1e9:
            self._growths_ns.append(growth_ns)
            return False
        period_ns = self._modulus / self._rate_hz * 1e9
        periods = max(1, round(excess_ns / period_ns))
        self.tick += periods * self._modulus
        self._shortest_before_ns = None
        return True

    def _periods(self, step: int, t_ns: int | None, expected: float | None) -> int:
        if expected is None:
            if t_ns is None or self._t_ns is None:
                return 0
            expected = (t_ns - self._t_ns) * 1e-9 * self._rate_hz
        return max(0, round((expected - step) / self._modulus))


class PacketTicks:
    """Makes a clock for an instrument without one: packets come every `interval_s` seconds.

    Each packet is one tick after the one before, and more where the arrival says that some were
    lost. A packet may be late by three quarters of an interval, measured from the promptest of the
    last ones. Packets that waited for a busy host come together and keep their ticks.
    """

    def __init__(self, interval_s: float) -> None:
        self._interval_s = interval_s
        self._tick = -1
        self._delays_s: deque[float] = deque(maxlen=16)
        self._before: tuple[bytes, int] | None = None
        self._held = HeldWatch(("packet",), refresh_s=interval_s)

    def once(self, packet: bytes, t_ns: int | None) -> None:
        """Take note of a packet that arrived at `t_ns`.

        Raises:
            Held: it has come twice, or all have been the same for a minute of intervals.

        """
        if t_ns is None:
            return
        before, self._before = self._before, (packet, t_ns)
        early = before is not None and t_ns - before[1] < 0.5e9 * self._interval_s
        if early and before is not None and packet == before[0]:
            raise Held("The packet has come twice.")
        self._held.check(t_ns, {"packet": float(hash(packet))})

    def count(self, samples: Samples, t_ns: int | None) -> Samples:
        """Return samples that arrived at `t_ns` with their ticks."""
        n = len(samples.device_ticks)
        if not n:
            return samples
        newest = self._tick + n
        if t_ns is not None:
            t_s = t_ns * 1e-9
            if self._delays_s:
                since = (t_s - min(self._delays_s)) / self._interval_s
                newest = max(newest, int(since + 0.25))
            self._delays_s.append(t_s - newest * self._interval_s)
        self._tick = newest
        return replace(samples, device_ticks=np.arange(newest - n + 1, newest + 1, dtype=np.int64))


def take_block(
    transport: Transport,
    decoder: StreamDecoder,
    names: Iterable[str],
    *,
    t_before_ns: int,
    block_s: float,
    patience_s: float,
    now_ns: Callable[[], int],
    what: str,
    advice: str,
) -> Block:
    """Return what arrives within `block_s` seconds, or as soon after as there is a sample or fault.

    A block may hold no sample and say by its faults why. `t_before_ns` is the arrival of the block
    before; `what` names the frames that were expected, and `advice` says what to do, where
    something else comes.

    Raises:
        Timeout: nothing came for `patience_s` seconds more.
        Desync: bytes came, but no frames.
        Gone: the port has vanished.

    """
    names = tuple(names)
    now = now_ns()
    end_ns = now + round(block_s * 1e9)
    give_up_ns = end_ns + round(patience_s * 1e9)
    parts, heard, some, t_reply_ns = list[Samples](), 0, False, t_before_ns
    piece, feed_ns = b"", now
    while now < end_ns or (now < give_up_ns and not some):
        chunk = transport.read(end_ns if now < end_ns else give_up_ns)
        now = now_ns()
        if chunk:
            piece, heard, t_reply_ns = piece + chunk, heard + len(chunk), now
        if piece and (now >= feed_ns or now >= end_ns):
            parts.append(decoder.feed(piece, t_reply_ns))
            some = some or parts[-1].device_ticks.size > 0 or bool(parts[-1].faults)
            piece, feed_ns = b"", now + _PIECE_NS
    if not some:  # perhaps the stream has ended
        parts.append(decoder.feed(b"", now, last=True))
    samples = join(parts, names)
    if not samples.device_ticks.size and not samples.faults:
        if heard:
            raise Desync(f"{transport.name}: {heard} bytes came, but no {what}; {advice}.")
        raise Timeout(
            f"{transport.name}: the stream has dried up; check the cable, start it again."
        )
    return Block(t_before_ns, t_reply_ns, samples.device_ticks, samples.columns, samples.faults)
