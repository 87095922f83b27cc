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

from ..accuracy import PLUG_METER
from ..decoders import Frames, Layout, RunDecoder
from ..reading import Channel
from ..stream import Integers, Samples

__all__ = [
    "CHANNELS",
    "CHANNELS_SC24",
    "TICK_MODULUS",
    "TICK_RATE_HZ",
    "decode",
    "decoder",
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
                    accuracy=PLUG_METER,
                    range_min=-2048 * float(scale),
                    range_max=2047 * float(scale),
                    assumed=("kind", "accuracy"),
                )
            )
    return tuple(table)


CHANNELS: Final = _channels(_VOLT)
# The five recordings have the slot riser on EPS1, which their authors scale by 7.5 mV a count.
CHANNELS_SC24: Final = _channels(_VOLT_SLOT_SC24)


def decode(data: bytes) -> Samples:
    """Decode a recorded stream; what is left over at its end counts as skipped."""
    fresh = decoder()
    samples = fresh.feed(data, last=True)
    return Samples(
        samples.device_ticks, samples.columns, samples.skipped + fresh.pending, samples.faults
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


def _good_words(words: npt.NDArray[np.uint16]) -> npt.NDArray[np.bool_]:
    """Tell which rows (clock first) have zeros where zeros belong, and rails near 12 V."""
    values = words[:, 1:]
    volts = values[:, ::2].view("<i2") >> 4
    rails = (volts >= _RAIL_COUNTS[0]) & (volts <= _RAIL_COUNTS[1])
    good: npt.NDArray[np.bool_] = ((values & 15) == 0).all(axis=1) & (
        rails | (np.abs(volts) <= _EMPTY_COUNTS)
    ).all(axis=1)
    return good


def _good_frames(octets: Frames, tick: int | None) -> int:
    """Return how many frames from the first on are good; `tick` is the clock of the one before."""
    frames = _words(octets)
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


def _words(frames: Frames) -> npt.NDArray[np.uint16]:
    """Return frames as nine words each."""
    return np.ascontiguousarray(frames).view("<u2")


def _columns(frames: Frames) -> Mapping[str, Integers]:
    """Return the signed raw integers of every channel."""
    raw = _words(frames)[:, 1:].view("<i2") >> 4  # arithmetic: the sign comes along
    return {c.name: raw[:, i].astype(np.int16) for i, c in enumerate(CHANNELS)}


def decoder() -> RunDecoder:
    """Return a decoder at the beginning of a stream."""
    return RunDecoder(
        Layout(
            frame_bytes=FRAME_BYTES,
            tick_rate_hz=TICK_RATE_HZ,
            tick_modulus=TICK_MODULUS,
            mean_step=_MEAN_STEP,
            search=_search,
            good=_good_frames,
            clock=lambda frames: _words(frames)[:, 0],
            columns=_columns,
        )
    )
