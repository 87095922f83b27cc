"""An hour with every polled meter of the catalogue, and half a minute with every streaming one.

Driver and emulated instrument run in this process on one clock that only moves when somebody
waits. One exchange in a hundred goes wrong, in all the ways that the format has. What the driver
returns is compared with what the instrument said, energy with the integral of the power that it
was given. A new entry of the catalogue is tested without a new line here.

An instrument that is asked ten times a second would take long: it runs for as many exchanges as
others make in an hour, and for the whole hour where WATTCAL_SOAK=1.
"""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from calibration.analysis.energy import total_energy, window_energy
from calibration.recording.documents import ChannelInfo
from calibration.recording.reader import Series
from drivers import CATALOG, Channel, CounterReset, DriverError, Entry, Gone, channels_of
from drivers.catalog import driver_of, emulator_of
from drivers.emulators.faults import NOT_IN_STREAMS, FaultPlan
from tests.meters.in_memory import (
    BUMP,
    CELL,
    NS,
    Bench,
    base_of,
    bumpy,
    poll_s,
    resolution_w,
    total_w,
)

SOAK = os.environ.get("WATTCAL_SOAK") == "1"
EXCHANGES = 3600
# No tick falls on an edge between two steps of an emulated instrument, which begin at its start.
ODD_NS = 7_300_001
FAULT_NS = 5 * NS // 2
# What a line adds to an answer without touching it; the answer must come through.
HARMLESS = {"noise", "mid_stream", "echo", "double", "trickle", "held", "counter_reset"}
# After these the next reading may say what happened instead of a value.
AFTERMATH = {"counter_reset", "reboot", "unplug"}

# They talk from power-up on, and nothing that may be sent to them stops that; may only shrink.
NEVER_QUIET = {"smartpower3", "pm-line"}

POLLED = [e for e in CATALOG if not hasattr(driver_of(e), "read_block")]
STREAMED = [e for e in CATALOG if hasattr(driver_of(e), "read_block")]


def per_entry(entries: list[Entry]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("entry", entries, ids=lambda e: e.model)


@dataclass
class Hour:
    """What came of one: a row per tick of the poll, and what was seen on the way."""

    poll_s: float
    base_w: float
    channels: tuple[Channel, ...]
    t_ns: list[int] = field(default_factory=list)
    values: list[Mapping[str, float] | None] = field(default_factory=list)
    faults: list[set[str]] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    lost_for_nothing: list[str] = field(default_factory=list)
    slow_gone: list[float] = field(default_factory=list)


def live_through(bench: Bench, poll: float, base_w: float, ticks: int) -> Hour:
    """Ask once per poll, as a recording does, and compare every answer with the instrument."""
    hour = Hour(poll, base_w, bench.meter.channels)
    begin_ns, poll_ns = bench.clock.now_ns() + ODD_NS, round(poll * NS)
    trouble, troubled = set[str](), -CELL
    for tick in range(ticks):
        at_ns = begin_ns + tick * poll_ns
        before, trouble = trouble & AFTERMATH, set[str]()
        value: Mapping[str, float] | None = None
        if bench.clock.now_ns() >= at_ns + poll_ns:
            trouble = before | {"missed"}  # still busy with an earlier failure
        else:
            bench.clock.wait_until(at_ns)
            error: DriverError | None = None
            try:
                value = bench.meter.read().values
            except Gone as gone:
                error = gone
                hour.slow_gone.append((bench.clock.now_ns() - at_ns) / NS)
            except DriverError as other:
                error = other
            trouble = {s.fault for s in bench.responder.log if s.fault is not None}
            if trouble:
                troubled = tick
            # What could be wrong after a fault is looked at closely, the rest every tenth time.
            close = tick - troubled <= 3 or tick % 10 == 0
            if value is not None and close and value != bench.expected():
                hour.wrong.append(f"{sorted(trouble)} {value}")
            # Where a reading is several questions, a later answer may already show the reset.
            reset = isinstance(error, CounterReset) and "counter_reset" in trouble
            if error is not None and not (trouble - HARMLESS or before or reset):
                hour.lost_for_nothing.append(f"{sorted(trouble)} {error}")
            bench.responder.log.clear()
            if isinstance(error, Gone):
                bench.meter = bench.open_again()
        if "reboot" in trouble:
            begin_ns += ODD_NS
        hour.t_ns.append(at_ns)
        hour.values.append(value)
        hour.faults.append(trouble | before)
    return hour


def series_of(hour: Hour, name: str) -> Series:
    """Return one channel (`power_w`: of all elements) as the analysis reads it from a run."""
    named = [c for c in hour.channels if c.name == name or c.name.endswith("power_w")]
    channel = (named or [c for c in hour.channels if c.unit == "A"])[0]
    rows = [math.nan if v is None else total_w(v) for v in hour.values]
    info = ChannelInfo(
        name=name,
        quantity="power",
        unit="W",
        kind=channel.kind,
        window_s=channel.window_s,
        stamp_at=channel.stamp_at,
    )
    t = np.array(hour.t_ns, np.int64)
    faults = {i: "lost" for i, v in enumerate(hour.values) if v is None}
    return Series(
        "meter", info, t, np.zeros_like(t), np.array(rows), None, hour.poll_s, 5.5 * hour.poll_s,
        "test", None, None, "meter", faults,
    )  # fmt: skip


def clean_cells(hour: Hour) -> list[int]:
    """Return the first ticks of the cells without any fault, nor one just before or behind."""
    return [
        first
        for first in range(CELL, len(hour.values) - CELL, CELL)
        if not any(hour.faults[i] for i in range(first - 2, first + CELL + 1))
    ]


@per_entry(POLLED)
def test_an_hour_with_faults(entry: Entry) -> None:
    channels = channels_of(entry.model)
    poll, base_w = poll_s(channels), base_of(channels)
    bench = Bench(entry, bumpy(poll, base_w))
    names = [n for n in bench.faults if bench.checked or n != "bit_flip"]
    bench.responder.faults = bench.plan(dict.fromkeys(names, 0.01 / len(names)))
    ticks = math.ceil(3600 / poll) if SOAK else min(EXCHANGES, math.ceil(3600 / poll))
    hour = live_through(bench, poll, base_w, ticks)

    assert hour.wrong == []
    assert hour.lost_for_nothing == []
    assert all(delay_s <= 1.0 for delay_s in hour.slow_gone)
    lost = [i for i, v in enumerate(hour.values) if v is None]
    assert 0 < len(lost) < 0.05 * ticks

    cells = clean_cells(hour)
    assert len(cells) >= 5
    series = series_of(hour, "power_w")
    start = np.array([hour.t_ns[c] for c in cells], np.int64)
    length_s = CELL * poll
    energy, observed = window_energy(series, start, start + round(length_s * NS))
    integral_j = base_w * poll * (CELL + (BUMP[1] - BUMP[0]) / 2)
    some = next(v for v in hour.values if v is not None)
    step_j = length_s * resolution_w(hour.channels, some) / 2
    assert energy / observed * length_s == pytest.approx(integral_j, abs=step_j)

    for channel in hour.channels:
        if channel.kind == "counter" and channel.quantity == "energy":
            for first in cells:
                begin, end = hour.values[first], hour.values[first + CELL]
                if begin is not None and end is not None and begin[channel.name]:
                    counted_j = end[channel.name] - begin[channel.name]
                    assert counted_j == pytest.approx(integral_j, abs=channel.resolution)

    good = [i for i, v in enumerate(hour.values) if v is not None]
    gaps_s = [poll * (b - a) for a, b in itertools.pairwise(good)]
    if series.channel.kind == "instant":
        unseen_s = sum(g for g in gaps_s if g > 5.5 * poll)
    else:
        unseen_s = sum(max(0.0, g - (series.channel.window_s or 0.0)) for g in gaps_s)
    _, observed_s, span_s = total_energy(series)
    assert span_s - observed_s == pytest.approx(unseen_s, abs=1.0)


def rows_of(samples: Any, modulus: int) -> set[tuple[int, ...]]:
    """Return samples as (clock word, values...)."""
    return set(
        zip(
            (samples.device_ticks % modulus).tolist(),
            *(c.tolist() for c in samples.columns.values()),
            strict=True,
        )
    )


@pytest.mark.parametrize("late", [1.1, 1.5, 2.9])
@per_entry([e for e in POLLED if not hasattr(emulator_of(e).device, "due")])
def test_a_late_answer_is_never_taken_for_the_next_one(entry: Entry, late: float) -> None:
    """The first answer is late and the second never comes: any value would be the first one's."""
    bench = Bench(entry, lambda _t_s: 100.0)
    bench.meter.read()
    plan = bench.responder.faults = FaultPlan(late_s=late * bench.reply_s)
    plan.inject("late")
    plan.inject("silent")
    with pytest.raises(DriverError):
        bench.meter.read()
    with pytest.raises(DriverError):
        bench.meter.read()
    assert bench.meter.read().values == bench.expected()


class Listener:
    """Takes blocks from a stream, one fault of each kind after the other, and starts it again."""

    def __init__(self, bench: Bench, every_ns: int) -> None:
        self.bench, self.blocks = bench, [list[Any]()]
        self.every_ns = every_ns
        self.said = [np.empty(0, np.int64)]  # rows, as numbers
        self.faults: list[tuple[int, str]] = []
        self.names = [
            n for n in bench.faults
            if n not in NOT_IN_STREAMS and (bench.checked or n != "bit_flip")
        ]  # fmt: skip

    def listen(self) -> None:
        """Hear each fault once, and one of them twice."""
        clock, plan = self.bench.clock, self.bench.plan({}, away_s=0.5)
        self.bench.responder.faults = plan
        names = itertools.cycle(self.names)
        next_ns = clock.now_ns() + self.every_ns
        end_ns = clock.now_ns() + self.every_ns * (len(self.names) + 2)
        while clock.now_ns() < end_ns:
            if clock.now_ns() >= next_ns:
                next_ns += self.every_ns
                self.faults.append((clock.now_ns(), next(names)))
                plan.inject(self.faults[-1][1])
            try:
                block = self.bench.meter.read_block()
            except DriverError as error:
                since_ns, fault = self.faults[-1]
                if isinstance(error, Gone):
                    assert fault == "unplug"
                    assert (
                        clock.now_ns() - since_ns <= NS + self.every_ns // 100
                    )  # with the next word
                if isinstance(error, Gone) or clock.now_ns() - since_ns > NS:
                    self.start_again()  # a stream that has stopped does not begin by itself
            else:
                self.blocks[-1].append(block)
        self.note_what_was_said()

    def start_again(self) -> None:
        self.note_what_was_said()
        self.bench.meter = self.bench.open_again()
        self.blocks.append([])

    def note_what_was_said(self) -> None:
        # Of another meter of this kind: it knows how such a device is set, and has seen nothing.
        decoder = Bench(self.bench.entry, lambda _t_s: 1.0).meter._decoder
        self.said.append(self.numbers(decoder.feed(b"".join(self.bench.device.said))))
        self.said.append(self.numbers(decoder.feed(b"", last=True)))
        self.bench.device.said.clear()

    def numbers(self, samples: Any) -> Any:
        """Return one number per row, other rows other numbers: all its values, mixed."""
        mixed = np.zeros(samples.device_ticks.size, np.int64)
        for channel in self.bench.meter.channels:
            column = samples.columns[channel.name].astype(np.int64)
            mixed = (mixed * 6364136223846793005 + column) ^ (mixed >> 29)
        return mixed


@per_entry(STREAMED)
def test_a_stream_with_faults(entry: Entry) -> None:
    channels, base_w = channels_of(entry.model), base_of(channels_of(entry.model))
    # A stream of one sample per averaging window: its cells are so many windows long, and clean
    # ones lie between two faults.
    window_s = max((c.refresh_s or 0.0 for c in channels), default=0.0)
    period_s = max(0.01, window_s)
    bench = Bench(entry, bumpy(period_s, base_w))
    channels = bench.meter.channels
    listener = Listener(bench, max(FAULT_NS, round(2.5 * CELL * window_s * NS)))
    listener.listen()
    assert len(listener.faults) > len(listener.names)  # each at least once
    returned = np.concatenate([listener.numbers(b) for part in listener.blocks for b in part])
    assert np.count_nonzero(~np.isin(returned, np.concatenate(listener.said))) == 0

    cell_s, rate_hz = CELL * period_s, bench.meter.tick_rate_hz
    clean = 0
    whole = ([b for b in part if b.device_ticks.size] for part in listener.blocks)
    for blocks in filter(None, whole):
        ticks = np.concatenate([b.device_ticks for b in blocks])
        # Time that was lost shows in the instrument's own clock.
        spent_s = (blocks[-1].t_reply_ns - blocks[0].t_reply_ns) / NS
        clock_s = (ticks[-1] - blocks[0].device_ticks[-1]) / rate_hz
        assert clock_s == pytest.approx(spent_s, abs=1.0 + window_s)
        t_s = np.concatenate(
            [b.t_reply_ns / NS - (b.device_ticks[-1] - b.device_ticks) / rate_hz for b in blocks]
        )
        columns = {
            c.name: np.concatenate([b.columns[c.name] for b in blocks]) * float(c.scale)
            for c in channels
        }
        largest = {n: float(np.abs(v).max()) for n, v in columns.items()}
        power_w, step_s = total_w(columns)[:-1], np.diff(ticks) / rate_hz
        for cell in range(int((t_s[0] - 1.0) / cell_s) + 1, int((t_s[-1] - 1.0) / cell_s)):
            begin_s = 1.0 + cell * cell_s
            before_s = 1.2 + 6 * window_s
            if any(
                begin_s - before_s < t / NS < begin_s + cell_s + 0.1 for t, _ in listener.faults
            ):
                continue
            inside = (t_s[:-1] >= begin_s) & (t_s[:-1] < begin_s + cell_s)
            length_s = float(step_s[inside].sum())
            energy_j = float((power_w * step_s)[inside].sum())
            expected_j = base_w * (length_s + period_s * (BUMP[1] - BUMP[0]) / 2)
            assert length_s == pytest.approx(cell_s, abs=0.05 + window_s)
            step_j = length_s * resolution_w(channels, largest) / 2
            assert energy_j == pytest.approx(expected_j, abs=step_j)
            clean += 1
    assert clean >= 5


@per_entry(CATALOG)
def test_it_is_found_talking_and_left_quiet(entry: Entry) -> None:
    """A killed program leaves a stream running; the next one must cope, and stop it at the end."""
    bench = Bench(entry, lambda _t_s: 100.0)
    take_one(bench.meter)
    bench.clock.wait_until(bench.clock.now_ns() + NS)
    meter = bench.open()  # the first one was never closed
    take_one(meter)
    meter.close()
    bench.clock.wait_until(bench.clock.now_ns() + 5 * NS)
    if entry.model in NEVER_QUIET:
        return
    assert bench.responder.stream(bench.clock.now_ns()) == (0, [])


def take_one(meter: Any) -> None:
    if hasattr(meter, "read_block"):
        assert meter.read_block().device_ticks.size
    else:
        assert meter.read().values
