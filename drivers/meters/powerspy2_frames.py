"""The frames of a PowerSpy2 as pure functions of bytes, and the checks that replace a checksum."""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

from ..decoders import LineDecoder
from ..errors import Desync, Implausible, OverRange
from ..stream import PacketTicks, Samples
from ..wire import Frame, Need, Skip, Verdict

__all__ = [
    "SCALE",
    "Identity",
    "ReportDecoder",
    "Scales",
    "decode_identity",
    "decode_report",
    "parse_byte",
    "parse_identity",
    "parse_period",
    "parse_report",
    "parse_state",
]

# Values are stored as millionths of their unit, because each meter has its own scale.
SCALE: Final = Fraction(1, 1_000_000)
_LONGEST: Final = 64
_IDENTITY: Final = re.compile(
    rb"POWERSPY([A-Z])([0-9A-F]{2})([0-9A-F]{2})([0-9A-F]{2})([0-9A-F]{2})([0-9A-F]{4})"
)
_REPORT: Final = re.compile(
    rb"([0-9A-F]{8}) ([0-9A-F]{8}) ([0-9A-F]{8}) ([0-9A-F]{4}) ([0-9A-F]{4})"
)
_NOTHING_PLUGGED_IN: Final = b"FFFFFF"
# Wider than any mains; the meter itself works from 90 to 264 V.
_MAINS_V: Final = (50.0, 300.0)
_CREST: Final = 1.8  # of a sine 1.41


@dataclass(frozen=True, slots=True)
class Identity:
    """What a meter says of itself; `hardware` 2 is the first PowerSpy, which speaks otherwise."""

    state: str
    locked: int
    trigger: int
    software: int
    hardware: int
    serial: int


@dataclass(frozen=True, slots=True)
class Scales:
    """The meter's own scales, volt and ampere per count, from its EEPROM."""

    volt: float
    ampere: float

    def sensible(self) -> bool:
        """Tell whether they can be scales: a report must be able to hold a mains and a current."""
        return 1e-3 <= self.volt <= 1.0 and 1e-6 <= self.ampere <= 0.1


def parse_frame(buffer: bytes) -> Verdict:
    """Judge the beginning of `buffer` as <...>; the payload is what stands between."""
    begin = buffer.find(b"<")
    if begin < 0:
        return Need() if len(buffer) < _LONGEST else Skip(len(buffer) - _LONGEST + 1, "no frame")
    if begin and buffer[:begin].strip(b"\r\n"):
        return Skip(begin, "it is no frame of a PowerSpy2")
    end = buffer.find(b">", begin, begin + _LONGEST)
    another = buffer.find(b"<", begin + 1, begin + _LONGEST)
    if another >= 0 and (end < 0 or another < end):
        return Skip(another, "the frame breaks off")
    if end < 0:
        whole = len(buffer) - begin < _LONGEST
        return Need() if whole else Skip(begin + 1, "the frame has no end")
    return Frame(end + 1, buffer[begin + 1 : end])


def _parse(buffer: bytes, pattern: re.Pattern[bytes], what: str) -> Verdict:
    verdict = parse_frame(buffer)
    if isinstance(verdict, Frame) and not pattern.fullmatch(verdict.payload):
        return Skip(verdict.length, f"it is not {what}")
    return verdict


def parse_identity(buffer: bytes) -> Verdict:
    """Judge the beginning of `buffer` as the answer to <?>."""
    return _parse(buffer, _IDENTITY, "an identity")


def parse_byte(buffer: bytes) -> Verdict:
    """Judge the beginning of `buffer` as one byte of the EEPROM."""
    return _parse(buffer, re.compile(rb"[0-9A-F]{2}"), "a byte of the EEPROM")


def parse_period(buffer: bytes) -> Verdict:
    """Judge the beginning of `buffer` as the answer to <F>."""
    return _parse(buffer, re.compile(rb"F[0-9A-F]{4}"), "a period of the mains")


def parse_state(buffer: bytes) -> Verdict:
    """Judge the beginning of `buffer` as <K> (done) or <Z> (failed)."""
    return _parse(buffer, re.compile(rb"[KZ]"), "K or Z")


def parse_report(buffer: bytes) -> Verdict:
    """Judge the beginning of `buffer` as a report of real time."""
    return _parse(buffer, _REPORT, "a report")


def decode_identity(payload: bytes) -> Identity:
    """Take an identity apart."""
    found = _IDENTITY.fullmatch(payload)
    if found is None:
        raise Desync("Expected the identity of a PowerSpy.")
    numbers = (int(group, 16) for group in found.groups()[1:])
    return Identity(found.group(1).decode(), *numbers)


def decode_scale(four_bytes: bytes) -> float:
    """Return the scale that four bytes of the EEPROM hold."""
    value: float = struct.unpack("<f", four_bytes)[0]
    return value


def decode_report(payload: bytes, scales: Scales) -> dict[str, int]:
    """Return voltage, current, power and the two peaks of a report, in millionths.

    Raises:
        OverRange: nothing is plugged in; the meter marks the power with F.
        Implausible: the values cannot belong together.

    """
    found = _REPORT.fullmatch(payload)
    if found is None:
        raise Desync("Expected a report of a PowerSpy2.")
    if found.group(3).startswith(_NOTHING_PLUGGED_IN):
        raise OverRange("Nothing is plugged in: the PowerSpy2 marks its power as FFFFFF.")
    squared_v, squared_a, power, peak_v, peak_a = (int(group, 16) for group in found.groups())
    volt, ampere = math.sqrt(squared_v) * scales.volt, math.sqrt(squared_a) * scales.ampere
    watt = power * scales.volt * scales.ampere
    if not _MAINS_V[0] <= volt <= _MAINS_V[1]:
        raise Implausible(f"Expected a mains voltage; got {volt:.1f} V.")
    if watt > 1.01 * volt * ampere + 0.5:
        raise Implausible(f"{watt:.1f} W are more than {volt * ampere:.1f} V x A.")
    if peak_v * scales.volt < 0.99 * volt or peak_a * scales.ampere < 0.99 * ampere - 0.01:
        raise Implausible("A peak lies below its root mean square.")
    if peak_v * scales.volt > _CREST * volt:
        raise Implausible(f"The peak of the voltage is more than {_CREST:g} times its mean.")
    values = {
        "voltage_v": volt,
        "current_a": ampere,
        "power_w": watt,
        "voltage_peak_v": peak_v * scales.volt,
        "current_peak_a": peak_a * scales.ampere,
    }
    if max(values.values()) >= 2147.0:
        raise OverRange("A value is beyond what the meter is built for.")
    return {name: round(value / float(SCALE)) for name, value in values.items()}


class ReportDecoder:
    """Turns reports into samples; they count the averaging intervals of `interval_s` seconds."""

    def __init__(self, scales: Scales, interval_s: float) -> None:
        self._scales = scales
        names = ("voltage_v", "current_a", "power_w", "voltage_peak_v", "current_peak_a")
        self._lines = LineDecoder(parse_report, self._decode, names)
        self._ticks = PacketTicks(interval_s)
        self._before: tuple[int | None, bytes] | None = None

    @property
    def pending(self) -> int:
        """Return how many bytes wait for more to come."""
        return self._lines.pending

    def feed(self, data: bytes, t_ns: int | None = None, *, last: bool = False) -> Samples:
        """Decode what `data`, which arrived at `t_ns` (monotonic), completes."""
        return self._ticks.count(self._lines.feed(data, t_ns, last=last), t_ns)

    def _decode(self, payload: bytes, t_ns: int | None) -> tuple[int, Mapping[str, int]]:
        self._ticks.once(payload, t_ns)
        return 0, decode_report(payload, self._scales)
