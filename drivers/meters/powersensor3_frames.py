"""The bytes of a PowerSensor3 as pure functions; `powersensor3` draws the frame."""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

import numpy as np
import numpy.typing as npt

from ..accuracy import PLUG_METER
from ..decoders import Frames, Layout, RunDecoder
from ..reading import Accuracy, Channel
from ..stream import Integers
from ..wire import Frame, Need, Skip, Verdict

__all__ = [
    "CHANNELS",
    "RECORD_BYTES",
    "TICK_MODULUS",
    "TICK_RATE_HZ",
    "Sensor",
    "channels",
    "decode_record",
    "decoder",
    "pairs_in_use",
    "parse_done",
    "parse_record",
    "parse_version",
]

FRAME_BYTES: Final = 18
RECORD_BYTES: Final = 41
TICK_RATE_HZ: Final = 1_000_000.0
TICK_MODULUS: Final = 1024
WINDOW_S: Final = 50e-6
_STEP: Final = 50
# A step of 52 is what 41 lost frames look like (2100 modulo 1024), so it is no step.
_STEPS: Final = (48, 51)
_SENSORS: Final = 8
_FULL_SCALE_V: Final = 3.3
_LEVELS: Final = 1024
# Values are stored as millionths of their unit: exact to a part in 25,000 of a level, and with
# them one scale serves every sensor, whatever its zero and its sensitivity.
_SCALE: Final = Fraction(1, 1_000_000)

# Bits that are the same in every frame, as nine big-endian words: the timestamp, sensors 0 to 7.
# The marker may stand on sensor 0.
_MASK: Final = np.array([0xF0C0, 0xF080] + [0xF0C0] * 7, np.uint16)
_EXPECT: Final = np.array([0xF040] + [0x8000 | s << 12 for s in range(_SENSORS)], np.uint16)
_MARKER: Final = 0x40

_RECORD: Final = struct.Struct("<16s16sff?")
_VERSION: Final = re.compile(rb"(F[0-9]{3}-[0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,3}(?:-DEMO)?)\r\n")
_LONGEST_VERSION: Final = 24


@dataclass(frozen=True, slots=True)
class Sensor:
    """One of the eight sensors: even ones measure the current of a pair, odd ones its voltage.

    Its value is (3.3 V · level / 1023 - `vref_v`) / `sensitivity`, in A (sensitivity in V/A) or V.
    """

    kind: str
    pair_name: str
    vref_v: float
    sensitivity: float
    in_use: bool

    @property
    def resolution(self) -> float:
        """Return the value of one level, in A or V."""
        return abs(_FULL_SCALE_V / (_LEVELS - 1) / self.sensitivity)

    def table(self) -> npt.NDArray[np.int32]:
        """Return the value of every level in millionths, shape (1024,)."""
        level = np.arange(_LEVELS)
        value = (_FULL_SCALE_V * level / (_LEVELS - 1) - self.vref_v) / self.sensitivity
        return np.rint(value / float(_SCALE)).astype(np.int32)


# What the sources give as an example; only `channels` knows a real device.
_EXAMPLE: Final = (
    Sensor("current", "example", 1.65, 0.12, True),
    Sensor("voltage", "example", 0.0, 0.0877, True),
) * 4


def parse_version(buffer: bytes) -> Verdict:
    """Judge the beginning of `buffer` as the answer to V; the payload is the version."""
    if found := _VERSION.match(buffer):
        return Frame(found.end(), found.group(1))
    if buffer[:1] not in (b"", b"F") or b"\n" in buffer or len(buffer) >= _LONGEST_VERSION:
        return Skip(1, "it is not the version of a PowerSensor3")
    return Need()


def parse_record(buffer: bytes) -> Verdict:
    """Judge the beginning of `buffer` as the record of one sensor; the payload is the record."""
    if len(buffer) < RECORD_BYTES:
        return Need()
    record = buffer[:RECORD_BYTES]
    if record[-1] > 1 or (record[-1] and not _sensible(decode_record(record))):
        return Skip(1, "it is no record of a sensor")
    return Frame(RECORD_BYTES, record)


def parse_done(buffer: bytes) -> Verdict:
    """Judge the beginning of `buffer` as the end of the configuration."""
    if not buffer:
        return Need()
    return Frame(1, b"D") if buffer[:1] == b"D" else Skip(1, "it is not the end of the records")


def decode_record(record: bytes) -> Sensor:
    """Take the record of one sensor apart."""
    kind, name, vref_v, sensitivity, in_use = _RECORD.unpack(record)
    return Sensor(_text(kind), _text(name), vref_v, sensitivity, in_use)


def _text(field: bytes) -> str:
    return field.partition(b"\0")[0].decode("latin-1")


def _sensible(sensor: Sensor) -> bool:
    """Tell whether a sensor in use can be one: printable names, a zero and a slope."""
    texts = sensor.kind + sensor.pair_name
    return (
        texts.isprintable()
        and texts.isascii()
        and abs(sensor.vref_v) <= 5.0
        and math.isfinite(sensor.sensitivity)
        and 1e-4 <= abs(sensor.sensitivity) <= 1e3
    )


def pairs_in_use(sensors: tuple[Sensor, ...]) -> tuple[int, ...]:
    """Return the pairs of which both sensors are in use; half a pair has no power."""
    return tuple(p for p in range(4) if sensors[2 * p].in_use and sensors[2 * p + 1].in_use)


def channels(
    sensors: tuple[Sensor, ...], *, assumed: tuple[str, ...] = ("accuracy",)
) -> tuple[Channel, ...]:
    """Return what a device with these sensors delivers: voltage and current of each pair in use."""
    table = []
    for pair in pairs_in_use(sensors):
        for name, quantity, unit, sensor in (
            (f"pair{pair}_v", "voltage", "V", sensors[2 * pair + 1]),
            (f"pair{pair}_i", "current", "A", sensors[2 * pair]),
        ):
            ends = sorted(float(sensor.table()[i]) * float(_SCALE) for i in (0, -1))
            table.append(
                Channel(
                    name=name,
                    quantity=quantity,
                    unit=unit,
                    kind="mean",
                    scale=_SCALE,
                    resolution=sensor.resolution,
                    accuracy=PLUG_METER,
                    window_s=WINDOW_S,
                    range_min=ends[0],
                    range_max=ends[1],
                    assumed=assumed,
                )
            )
    marker = Channel(
        name="marker",
        quantity="marker",
        unit="1",
        kind="instant",
        scale=Fraction(1),
        resolution=1.0,
        accuracy=Accuracy(source="a bit, exact"),
        range_min=0.0,
        range_max=1.0,
    )
    return (*table, marker)


CHANNELS: Final = channels(_EXAMPLE, assumed=("accuracy", "resolution", "range_min", "range_max"))


def decoder(sensors: tuple[Sensor, ...] = _EXAMPLE) -> RunDecoder:
    """Return a decoder for the stream of a device with these sensors."""
    tables = {}
    for pair in pairs_in_use(sensors):
        tables[f"pair{pair}_v"] = (2 * pair + 2, sensors[2 * pair + 1].table())
        tables[f"pair{pair}_i"] = (2 * pair + 1, sensors[2 * pair].table())

    def columns(frames: Frames) -> Mapping[str, Integers]:
        words = _words(frames)
        out: dict[str, Integers] = {n: t[_values(words[:, i])] for n, (i, t) in tables.items()}
        out["marker"] = (words[:, 1] & _MARKER != 0).astype(np.int32)
        return out

    return RunDecoder(
        Layout(
            frame_bytes=FRAME_BYTES,
            tick_rate_hz=TICK_RATE_HZ,
            tick_modulus=TICK_MODULUS,
            mean_step=_STEP,
            search=_search,
            good=_good,
            clock=lambda frames: _values(_words(frames)[:, 0]),
            columns=columns,
        )
    )


def _words(frames: Frames) -> npt.NDArray[np.uint16]:
    """Return frames as nine words each."""
    return np.ascontiguousarray(frames).view(">u2").astype(np.uint16)


def _values(words: npt.NDArray[np.uint16]) -> npt.NDArray[np.uint16]:
    """Return the ten bits of each word."""
    return ((words & 0x0F00) >> 2 | words & 0x3F).astype(np.uint16)


def _good(frames: Frames, tick: int | None) -> int:
    """Return how many frames from the first on are frames in step."""
    if not len(frames):
        return 0
    words = _words(frames)
    bad = ((words & _MASK) != _EXPECT).any(axis=1)
    clock = _values(words[:, 0]).astype(np.int64)
    step = np.diff(clock, prepend=clock[0] - _STEP if tick is None else tick) % TICK_MODULUS
    bad |= (step < _STEPS[0]) | (step > _STEPS[1])
    return int(np.argmax(bad)) if bad.any() else len(frames)


def _search(buffer: bytes) -> tuple[int, bool]:
    """Look for a frame at any byte."""
    positions = len(buffer) - FRAME_BYTES + 1
    if positions <= 0:
        return 0, False
    octets = np.frombuffer(buffer, np.uint8).astype(np.uint16)
    words = octets[:-1] << 8 | octets[1:]  # the word that begins at each byte
    at = np.flatnonzero((words[:positions] & _MASK[0]) == _EXPECT[0])
    for i in range(1, len(_MASK)):
        at = at[(words[at + 2 * i] & _MASK[i]) == _EXPECT[i]]
    return (int(at[0]), True) if at.size else (positions, False)
