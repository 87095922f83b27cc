"""The stream of an ElmorLabs PMD-USB as pure functions of bytes; `pmd_usb` draws the frame.

A frame has no head: eight in a row, each with zeros where zeros belong, rails near 12 V and a
plausible step of the clock, begin a stream, and the first that is none ends it.
"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import Final

import numpy as np
import numpy.typing as npt

from ..errors import Desync
from ..reading import Channel
from ..stream import DeviceClock, Samples

__all__ = [
    "CHANNELS",
    "CHANNELS_SC24",
    "TICK_MODULUS",
    "TICK_RATE_HZ",
    "Decoder",
    "decode",
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


def decode(data: bytes) -> Samples:
    """Decode a recorded stream; what is left over at its end counts as skipped."""
    decoder = Decoder()
    samples = decoder.feed(data, last=True)
    return Samples(
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
        self._clock = DeviceClock(TICK_RATE_HZ, TICK_MODULUS)
        self._lost = 0  # bytes skipped since the last good frame

    @property
    def pending(self) -> int:
        """Return how many bytes wait for more to come."""
        return len(self._buffer)

    def feed(self, data: bytes, t_ns: int | None = None, *, last: bool = False) -> Samples:
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
            good = _good_frames(frames, None if found else self._clock.tick)
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
        if t_ns is not None and ticks and self._clock.slipped(t_ns):
            faults.append(Desync.code)
        all_words = np.concatenate(words) if words else np.empty((0, 9), "<u2")
        raw = all_words[:, 1:].view("<i2") >> 4  # arithmetic: the sign comes along
        return Samples(
            np.concatenate(ticks) if ticks else np.empty(0, np.int64),
            {c.name: raw[:, i].astype(np.int16) for i, c in enumerate(CHANNELS)},
            skipped,
            tuple(faults),
        )

    def _unwrap(
        self, words: npt.NDArray[np.uint16], found: bool, t_ns: int | None
    ) -> npt.NDArray[np.int64]:
        """Unwrap the clock; whole frames that were skipped are damaged, and count themselves."""
        expected = None
        if self._lost and self._lost % FRAME_BYTES == 0:
            expected = float(_MEAN_STEP * (self._lost // FRAME_BYTES + 1))
        self._lost = 0
        return self._clock.unwrap(words, t_ns, gap=found, expected=expected)


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
