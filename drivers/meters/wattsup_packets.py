"""The packets of a Watts Up? as pure functions of bytes, and the checks that replace a checksum."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from ..decoders import LineDecoder
from ..errors import Implausible, Rebooted
from ..held import CounterWatch
from ..stream import PacketTicks, Samples
from ..wire import Frame, Need, Skip, Verdict

__all__ = ["FIELDS", "PacketDecoder", "check_fields", "parse_data", "parse_reply"]

FIELDS: Final = (
    "W", "V", "A", "WH", "Cost", "WH/Mo", "Cost/Mo", "Wmax", "Vmax", "Amax",
    "Wmin", "Vmin", "Amin", "PF", "DC", "PC", "Hz", "VA",
)  # fmt: skip
_LONGEST: Final = 400
_BANNER: Final = b"$Revision: "
# Counts of the wire: tenths, of A thousandths, of PF hundredths.
_RANGES: Final = {
    "W": (0, 50_000),
    "V": (900, 2_800),
    "A": (0, 20_000),
    "PF": (0, 100),
    "Hz": (400, 700),
    "VA": (0, 60_000),
}
_JOULES_A_COUNT: Final = 360.0


def parse_packet(buffer: bytes) -> Verdict:
    """Judge the beginning of `buffer` as a packet; the payload is what stands between # and ;.

    What comes before # belongs to the frame, because it means nothing; unless it is the banner of
    a restart, which is a frame of its own, without a payload.
    """
    begin = buffer.find(b"#")
    before = buffer if begin < 0 else buffer[:begin]
    if _BANNER in before and (begin >= 0 or b"\n" in before):
        return Frame(len(before), b"")
    if len(before) > _LONGEST:
        return Skip(len(before) - _LONGEST, "it is no packet")
    if begin < 0:
        return Need()
    end = buffer.find(b";", begin, begin + _LONGEST)
    another = buffer.find(b"#", begin + 1, begin + _LONGEST)
    if another >= 0 and (end < 0 or another < end):
        return Skip(another, "the packet breaks off")
    if end < 0:
        whole = len(buffer) - begin < _LONGEST
        return Need() if whole else Skip(begin + 1, "the packet has no end")
    text = buffer[begin + 1 : end].translate(None, b"\r\n\t")
    fields = text.split(b",")
    count = fields[2] if len(fields) > 3 else b""
    if not text.isascii() or not count.isdigit() or int(count[:4]) != len(fields) - 3:
        return Skip(end + 1, "it has not as many arguments as it says")
    return Frame(end + 1, text)


def parse_reply(buffer: bytes, letter: bytes, count: int | None = None) -> Verdict:
    """Judge the beginning of `buffer` as a reply of this letter with `count` arguments."""
    verdict = parse_packet(buffer)
    if not isinstance(verdict, Frame):
        return verdict
    fields = verdict.payload.split(b",")
    if fields[0] != letter or (count is not None and len(fields) != count + 3):
        return Skip(verdict.length, f"it is not the reply #{letter.decode()}")
    return verdict


def parse_data(buffer: bytes) -> Verdict:
    """Judge the beginning of `buffer` as a packet of values, or as the banner of a restart."""
    verdict = parse_packet(buffer)
    if not isinstance(verdict, Frame) or not verdict.payload:
        return verdict
    letter, _, _, *values = verdict.payload.split(b",")
    if letter != b"d":
        return Skip(verdict.length, "it is another packet")
    if not all(v == b"_" or (v.isdigit() and len(v) <= 10) for v in values):
        return Skip(verdict.length, "a value is no number")
    return verdict


def check_fields(counts: Mapping[str, int]) -> None:
    """Hold what is logged against itself; `counts` are integers of the wire by field.

    Raises:
        Implausible: they cannot belong together.

    """
    for name, (low, high) in _RANGES.items():
        if name in counts and not low <= counts[name] <= high:
            raise Implausible(f"Expected {name} from {low} to {high}; got {counts[name]}.")
    power_w = counts["W"] / 10
    apparent_va = counts["VA"] / 10 if "VA" in counts else None
    if "V" in counts and "A" in counts:
        product_va = counts["V"] * counts["A"] / 10_000
        if apparent_va is not None and abs(apparent_va - product_va) > 2.0 + 0.02 * product_va:
            raise Implausible(f"{apparent_va:g} VA are not {product_va:g} V x A.")
        apparent_va = product_va
    if apparent_va is None:
        return
    if power_w > 2.0 + 1.02 * apparent_va:
        raise Implausible(f"{power_w:g} W are more than {apparent_va:g} VA.")
    if (
        "PF" in counts
        and abs(power_w - counts["PF"] / 100 * apparent_va) > 2.0 + 0.03 * apparent_va
    ):
        raise Implausible(f"{power_w:g} W are not {counts['PF'] / 100:g} x {apparent_va:g} VA.")


class PacketDecoder:
    """Turns packets into samples; the packets count the intervals, the arrival counts the lost.

    `names` has the channel of each logged field, `count` is how many fields a packet has.
    """

    def __init__(
        self, names: Mapping[str, str], *, count: int = len(FIELDS), interval_s: int = 1
    ) -> None:
        self._names, self._count, self._interval_s = names, count, interval_s
        self._lines = LineDecoder(parse_data, self._decode, names.values())
        self._ticks = PacketTicks(interval_s)
        self._counter = CounterWatch("energy_j")
        self._before: tuple[int, Mapping[str, int]] | None = None  # arrival, counts

    @property
    def pending(self) -> int:
        """Return how many bytes wait for more to come."""
        return self._lines.pending

    def feed(self, data: bytes, t_ns: int | None = None, *, last: bool = False) -> Samples:
        """Decode what `data`, which arrived at `t_ns` (monotonic), completes."""
        return self._ticks.count(self._lines.feed(data, t_ns, last=last), t_ns)

    def _decode(self, payload: bytes, t_ns: int | None) -> tuple[int, Mapping[str, int]]:
        if not payload:
            raise Rebooted("The meter was restarted; it has to be told again to report.")
        self._ticks.once(payload, t_ns)
        values = payload.split(b",")[3:]
        if len(values) != self._count:
            raise Implausible(f"Expected {self._count} values; got {len(values)}.")
        by_field = dict(zip(FIELDS, values, strict=False))
        if b"_" in (by_field[f] for f in self._names):
            raise Implausible("A field that the meter logs is missing.")
        counts = {f: int(by_field[f]) for f in self._names}
        before, self._before = self._before, None  # a doubtful packet is no witness
        if max(counts.values(), default=0) >= 1 << 31:
            raise Implausible("A value is beyond all ranges.")
        if "W" in counts:
            check_fields(counts)
        if t_ns is not None:
            self._watch(counts, t_ns, before)
            self._before = t_ns, counts
        return 0, {self._names[f]: value for f, value in counts.items()}

    def _watch(
        self, counts: Mapping[str, int], t_ns: int, before: tuple[int, Mapping[str, int]] | None
    ) -> None:
        """Hold a packet against the one before."""
        if before is not None:
            self._follows(counts, before[1], (t_ns - before[0]) * 1e-9)
        if "WH" in counts:
            self._counter.check(t_ns, counts["WH"])

    def _follows(
        self, counts: Mapping[str, int], before: Mapping[str, int], since_s: float
    ) -> None:
        """Hold voltage and energy against those of `since_s` seconds before."""
        if "V" in counts and abs(counts["V"] - before["V"]) > 0.1 * before["V"]:
            raise Implausible("The voltage has jumped by more than a tenth.")
        if "WH" in counts and "W" in counts:
            most_w = 1.5 * max(counts["W"], before["W"]) / 10
            if since_s > 1.5 * self._interval_s:  # packets in between were lost
                most_w = _RANGES["W"][1] / 10
            most = most_w * (since_s + self._interval_s) / _JOULES_A_COUNT + 2
            if counts["WH"] - before["WH"] > most:
                raise Implausible("The energy has risen by more than the power allows.")
