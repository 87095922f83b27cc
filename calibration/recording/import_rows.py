"""From a file to the rows of a stream: instants, values, windows, a piece at a time."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import InputError
from .documents import Descriptor
from .mapping import TIME_UNITS, ChannelMapping, StreamMapping, TimeMapping
from .row_order import out_of_order
from .text_table import Cells, TextTable
from .units import si_factor

__all__ = ["Importer", "Rows", "descriptor_of", "stamps"]

Instants = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

# A recording may hold a stray value; more than one in a hundred is a wrong unit or scale.
_MOST_IMPLAUSIBLE = 0.01
# The highest power of a recording at the socket: a single-board computer alone idles above 1 W,
# and no supply of one machine reaches 1 MW.
_LEAST_PEAK_W = 0.5
_MOST_PEAK_W = 1e6


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """Some rows of a stream, as `StreamWriter.append_rows` takes them."""

    t_ns: Instants
    columns: dict[str, npt.NDArray[Any]]
    window_ns: Instants | None = None
    device_ticks: Instants | None = None


def descriptor_of(stream: StreamMapping) -> Descriptor:
    """Return the document that describes an imported stream."""
    raw = stream.format == "pmd-usb"
    return Descriptor(
        stream=stream.id,
        role=stream.role,
        source=stream.source,
        channels=tuple(c.info for c in stream.channels),
        boundary=stream.boundary,
        derived=stream.derived,
        arrival="streamed" if raw else "polled",
        cadence_s=stream.cadence_s,
        tick_rate_hz=stream.time.tick_rate_hz,
        mode=stream.mode,
        scope=stream.scope,
        configuration={"file": stream.file, "format": stream.format, **stream.configuration},
        identity=stream.identity,
    )


def stamps(cells: Cells, column: Any, time: TimeMapping) -> Instants:
    """Return the instants of a column, ns, with the mapping's offset added."""
    if time.format is not None:
        ns = cells.times(column, time.format, time.zone_s)
    else:
        ns = cells.instants(column, TIME_UNITS[time.unit or "s"])
    return ns + round(time.offset_s * 1e9)


class Importer:
    """Reads one stream's file from beginning to end; what was left out is counted on the way.

    `notes` holds (code, sentence, count) of what was left out, complete once `rows` is exhausted;
    `jump_ns` is the last stamp before the rows first went back, None where they did not.
    """

    def __init__(self, stream: StreamMapping, folder: Path) -> None:
        self.stream = stream
        self.notes: list[tuple[str, str, int]] = []
        self.jump_ns: int | None = None
        self._folder = folder
        self._path = folder / stream.file
        self._where = f"stream {stream.id}"
        self._last_ns: int | None = None
        self._dropped, self._kept, self._back_ns = 0, 0, 0
        self._register = dict.fromkeys((c.info.name for c in stream.channels if c.increment), 0.0)
        self._seen = {c.info.name: 0 for c in stream.channels}
        self._odd: dict[str, tuple[int, float]] = {}
        self._most = dict.fromkeys(self._seen, -math.inf)

    @property
    def windows(self) -> bool:
        """Whether each row has an averaging window of its own."""
        time = self.stream.time
        return (time.window, time.window_column, time.begin_column) != (None, None, None)

    def rows(self) -> Iterator[Rows]:
        """Yield the rows in the order of the file.

        Raises:
            InputError: something in the file is not what the mapping says.

        """
        if self.stream.format == "pmd-usb":
            yield self._raw()
        else:
            yield from self._text()
        self._judge()

    def _text(self) -> Iterator[Rows]:
        stream = self.stream
        form = stream.format
        if form == "pmd-usb":
            return
        table = TextTable(self._path, form, last_line=stream.last_line)
        wanted: list[tuple[Any, str]] = [(stream.time.column, f"{self._where}, time")]
        if stream.time.begin_column is not None:
            wanted.append((stream.time.begin_column, f"{self._where}, time"))
        if stream.time.window_column is not None:
            wanted.append((stream.time.window_column, f"{self._where}, window"))
        for channel in stream.channels:
            wanted += [(c, f"{self._where}, channel {channel.info.name}") for c in channel.columns]
        wanted += [(c, f"{self._where}, where") for c, _ in stream.where]
        for found in table.read(wanted):
            cells = found.where(stream.where)
            if not cells.line.size:
                continue
            rows = self._piece(cells)
            if rows.t_ns.size:
                yield rows
        if table.dropped_last:
            self.notes.append(("truncated", f"{stream.file}: the last line was cut off", 1))
        if self._dropped > self._kept:
            raise InputError(
                f"{stream.file}: time_jump: {self._dropped} of {self._dropped + self._kept} rows "
                f"go back in time, by {self._back_ns / 1e9:.6g} s at most; expected rows in order. "
                "Sort the file, or split it where its clock was set."
            )
        if self._dropped:
            text = f"{stream.file}: rows whose time went back, by {self._back_ns / 1e9:.6g} s"
            self.notes.append(("backwards", text, self._dropped))

    def _piece(self, cells: Cells) -> Rows:
        time = self.stream.time
        t_ns = stamps(cells, time.column, time)
        keep = self._forward(t_ns, cells)
        previous = self._last_ns
        values: dict[str, npt.NDArray[Any]] = {
            c.info.name: self._channel(c, cells, keep) for c in self.stream.channels
        }
        kept = t_ns[keep]
        window = None
        if time.begin_column is not None:
            window = kept - stamps(cells, time.begin_column, time)[keep]
            if window.size and window.min() <= 0:
                line = int(cells.line[keep][int(np.argmin(window))])
                raise InputError(
                    f"{cells.file.name}, line {line}: expected {time.begin_column!r} before "
                    f"{time.column!r}; it is not. Are the two columns swapped?"
                )
        elif time.window_column is not None:
            length = cells.numbers(time.window_column, ("", *self.stream.missing))[keep]
            unit_ns = TIME_UNITS[time.unit or "s"] / 1000
            # 0 is what a row without a window of its own has.
            window = np.rint(np.maximum(np.nan_to_num(length), 0) * unit_ns).astype(np.int64)
        elif time.window is not None:
            first = kept[:1] if previous is None else np.array([previous], dtype=np.int64)
            window = np.diff(kept, prepend=first)
        if kept.size:
            self._last_ns = int(kept[-1])
        return Rows(kept, values, window)

    def _forward(self, t_ns: Instants, cells: Cells) -> npt.NDArray[np.bool_]:
        """Return which rows do not go back; refuse or count the others.

        A clock that was set back goes on from there: the rows that repeat a time are left out and
        counted. A few rows that go back and return are out of order: the file is not what it should
        be, unless the mapping says to leave them out.
        """
        start = t_ns[0] if self._last_ns is None else self._last_ns
        latest = np.maximum.accumulate(np.concatenate([[start], t_ns]))[:-1]
        back = t_ns < latest
        if back.any() and self.stream.time.backwards == "error":
            at = out_of_order(t_ns, back)
            if at is not None:
                raise InputError(
                    f"{cells.file.name}, line {int(cells.line[at])}: the time goes back by "
                    f"{(int(latest[at]) - int(t_ns[at])) / 1e9:.6g} s (time_jump); expected rows "
                    'in order. Sort the file, or say backwards = "drop" in the mapping to leave '
                    "such rows out."
                )
        if self.jump_ns is None and back.any():
            self.jump_ns = int(latest[int(np.argmax(back))])
        self._dropped += int(np.count_nonzero(back))
        self._kept += int(np.count_nonzero(~back))
        self._back_ns = max(self._back_ns, int((latest - t_ns).max(initial=0)))
        return ~back

    def _channel(
        self, channel: ChannelMapping, cells: Cells, keep: npt.NDArray[np.bool_]
    ) -> Floats:
        parts = [cells.numbers(c, self.stream.missing) for c in channel.columns]
        total = np.asarray(np.sum(parts, axis=0), dtype=np.float64)[keep]
        scale = channel.scale
        if scale.numerator != 1:
            total = total * float(scale.numerator)
        if scale.denominator != 1:
            total = total / float(scale.denominator)
        self._weigh(channel, total)
        if not channel.increment:
            return total
        lost = np.isnan(total)
        if lost.any():
            raise InputError(
                f"{cells.file.name}, line {int(cells.line[keep][int(np.argmax(lost))])}: the "
                f"increment of {channel.info.name} is missing, so what the register holds behind "
                "it is unknown; split the file there, or map it as mean power."
            )
        name = channel.info.name
        register = self._register[name] + np.cumsum(total)
        if register.size:
            self._register[name] = float(register[-1])
        return register

    def _weigh(self, channel: ChannelMapping, values: Floats) -> None:
        """Count what lies outside the plausible range."""
        self._seen[channel.info.name] += int(np.count_nonzero(~np.isnan(values)))
        self._most[channel.info.name] = float(
            np.fmax.reduce(values, initial=self._most[channel.info.name])
        )
        if channel.plausible is None:
            return
        low, high = channel.plausible
        odd = (values < low) | (values > high)
        if odd.any():
            count, first = self._odd.get(channel.info.name, (0, float(values[int(np.argmax(odd))])))
            self._odd[channel.info.name] = (count + int(np.count_nonzero(odd)), first)

    def _judge(self) -> None:
        """Refuse a channel of which too much is implausible, or nothing is there."""
        for channel in self.stream.channels:
            name, unit = channel.info.name, channel.info.unit
            seen = self._seen[name]
            if not seen:
                among = " and ".join(f"{c} = {t}" for c, t in self.stream.where)
                raise InputError(
                    f"{self._where}: {self.stream.file} has no value at all for {name}"
                    + (f" in rows with {among}" if among else "")
                    + f"; is {channel.columns[0]!r} the right column?"
                )
            count, first = self._odd.get(name, (0, 0.0))
            if channel.plausible is not None and count > _MOST_IMPLAUSIBLE * seen:
                low, high = channel.plausible
                raise InputError(
                    f"{self._where}: {count} of {seen} values of {name} in {self.stream.file} lie "
                    f"outside {low:g} to {high:g} {unit} (the first is {first:g}); is {unit} times "
                    f"{channel.scale} the right unit and scale? (unit_scale)"
                )
            self._judge_socket(channel)
            if count:
                self.notes.append(
                    ("implausible", f"{name}: values outside its plausible range", count)
                )

    def _judge_socket(self, channel: ChannelMapping) -> None:
        """Refuse power at a socket that no computer takes; it needs no `plausible` to be said.

        A mapping whose `plausible` begins at 0 says that zeros are what the file holds.
        """
        si_unit, factor = si_factor(channel.info.unit)
        if si_unit != "W" or self.stream.boundary != "psu_ac_input":
            return
        most_w = self._most[channel.info.name] * float(factor)
        if most_w == 0 and channel.plausible is not None and channel.plausible[0] == 0:
            return
        if not _LEAST_PEAK_W <= most_w <= _MOST_PEAK_W:
            raise InputError(
                f"{self._where}: {channel.info.name} in {self.stream.file} reaches {most_w:g} W; a "
                f"computer at psu_ac_input takes more than {_LEAST_PEAK_W:g} W and less than "
                f"{_MOST_PEAK_W:.0f} W. Is {channel.info.unit} times {channel.scale} right? "
                "(unit_scale)"
            )

    def _raw(self) -> Rows:
        """Decode a raw byte stream of a PMD-USB; its clock counts from the instant in a file."""
        from ..instruments import decode_pmd_usb

        stream, time = self.stream, self.stream.time
        samples = decode_pmd_usb(self._path.read_bytes())
        if not samples.device_ticks.size:
            raise InputError(
                f"{stream.file}: expected the raw frames of a PMD-USB; found none in "
                f"{samples.skipped} bytes."
            )
        for channel in stream.channels:
            for column in channel.columns:
                if column not in samples.columns:
                    raise InputError(
                        f"{self._where}, channel {channel.info.name}: column {column!r} is not to "
                        f"be found; a PMD-USB has {', '.join(samples.columns)}."
                    )
        if samples.skipped:
            self.notes.append(("skipped", f"{stream.file}: bytes of no frame", samples.skipped))
        for code in sorted(set(samples.faults)):
            self.notes.append((code, f"{stream.file}: {code}", samples.faults.count(code)))
        ticks = samples.device_ticks - samples.device_ticks[0]
        rate = time.tick_rate_hz or 1.0
        t_ns = self._start_ns(time) + np.rint(ticks * (1e9 / rate)).astype(np.int64)
        columns: dict[str, npt.NDArray[Any]] = {}
        for channel in stream.channels:
            raw = samples.columns[str(channel.columns[0])]
            columns[channel.info.name] = raw
            self._weigh(channel, np.asarray(raw * float(channel.scale), dtype=np.float64))
        self._weigh_derived(columns)
        return Rows(t_ns, columns, device_ticks=ticks)

    def _weigh_derived(self, columns: dict[str, npt.NDArray[Any]]) -> None:
        scales = {
            c.info.name: float(c.scale * si_factor(c.info.unit)[1]) for c in self.stream.channels
        }
        for derived in self.stream.derived:
            bounds = derived.channel.plausible
            if bounds is None:
                continue
            factor = float(si_factor(derived.channel.unit)[1])
            total = np.zeros(next(iter(columns.values())).size)
            for term in derived.terms:
                total += np.prod([columns[n] * scales[n] for n in term], axis=0)
            odd = int(np.count_nonzero((total < bounds[0] * factor) | (total > bounds[1] * factor)))
            if odd > _MOST_IMPLAUSIBLE * total.size:
                raise InputError(
                    f"{self._where}: {odd} of {total.size} values of {derived.channel.name} lie "
                    f"outside {bounds[0]:g} to {bounds[1]:g} {derived.channel.unit}; check the "
                    "scales of its channels."
                )

    def _start_ns(self, time: TimeMapping) -> int:
        path = self._folder / str(time.start_file)
        text = path.read_text(encoding="utf-8").strip()
        try:
            value = int(text)
        except ValueError:
            raise InputError(
                f"{time.start_file}: expected one whole number of {time.unit}; got {text[:40]!r}."
            ) from None
        picoseconds = TIME_UNITS[time.unit or "s"]
        return value * picoseconds // 1000 + round(time.offset_s * 1e9)
