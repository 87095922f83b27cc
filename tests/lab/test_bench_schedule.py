"""The samplers with a fake clock, in one thread: nothing late, missed or lost goes unsaid."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from calibration.bench.polled import MeterSampler, PolledSampler
from calibration.bench.pushed import PushedSampler
from calibration.bench.schedule import Schedule
from calibration.bench.streamed import StreamSampler
from calibration.errors import EstimatorError
from calibration.instruments import Block, Checksum, DriverError, Gone, Reading, Timeout
from calibration.recording.documents import ChannelInfo, Derived, Descriptor
from calibration.recording.reader import Run, read_run
from calibration.recording.writer import RunWriter, new_start

S = 10**9


# How fast a busy machine makes examples up says nothing about the schedule.
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.integers(0, 10**15), st.integers(1, 10**10), st.lists(st.integers(0, 10**10), max_size=30)
)
def test_every_tick_is_either_taken_or_missed_and_none_twice(
    begin_ns: int, cadence_ns: int, waits_ns: list[int]
) -> None:
    schedule, now, expected, seen = Schedule(begin_ns, cadence_ns), begin_ns, 0, []
    assert schedule.last(begin_ns - 1) == -1
    for wait in waits_ns:
        now = now + wait % (50 * cadence_ns)
        if schedule.last(now) < expected:
            continue
        missed = schedule.missed(expected, now)
        seen += [*missed, schedule.last(now)]
        expected = schedule.last(now) + 1
        assert schedule.tick_ns(expected - 1) <= now < schedule.tick_ns(expected)
    assert seen == list(range(len(seen)))


class Clock:
    def __init__(self) -> None:
        self.ns = 100 * S

    def __call__(self) -> int:
        return self.ns


class Script:
    """A meter or estimator that does what a list says: a value, an error, a slow answer."""

    id = "source"
    model = "script"
    channels = ()
    cadence_s = 1.0
    since_previous = False

    def __init__(self, clock: Clock, acts: Iterable[object]) -> None:
        self.clock, self.acts, self.closed = clock, iter(acts), 0

    def read(self) -> Reading:
        begin = self.clock.ns
        act = next(self.acts)
        if isinstance(act, DriverError):
            raise act
        if isinstance(act, tuple):
            act, seconds = act
            self.clock.ns += round(seconds * S)
        self.clock.ns += 1000
        return Reading(begin, self.clock.ns, {"power_w": float(act)})  # type: ignore[arg-type]

    def identify(self) -> Mapping[str, str]:
        return {}

    def close(self) -> None:
        self.closed += 1


DESCRIPTOR = Descriptor(
    stream="source",
    role="meter",
    source="script",
    channels=(ChannelInfo(name="power_w", quantity="power", unit="W", kind="mean", window_s=1.0),),
    cadence_s=1.0,
)


def recorded(
    path: Path,
    make: Callable[[RunWriter, Clock], object],
    *,
    seconds: float,
    wake: Callable[[int], int] = lambda due: due,
) -> Run:
    """Run a sampler for so long by stepping it whenever it is due, and read the run back."""
    clock = Clock()
    with RunWriter.create(path / "run", start=new_start("measured", "s"), live=False) as writer:
        sampler = make(writer, clock)
        end = clock.ns + round(seconds * S)
        due: int | None = clock.ns
        while due is not None and due < end:
            clock.ns = max(clock.ns, wake(due))
            due = sampler.step(clock.ns)  # type: ignore[attr-defined]
        sampler.finish(clock.ns)  # type: ignore[attr-defined]
    return read_run(path / "run")


def meter(acts: Iterable[object], **options: object) -> Callable[[RunWriter, Clock], MeterSampler]:
    def make(writer: RunWriter, clock: Clock) -> MeterSampler:
        sink = writer.open_stream(DESCRIPTOR)
        reopen = options.get("reopen")
        again = None if reopen is None else (lambda: reopen(clock))  # type: ignore[operator]
        return MeterSampler(Script(clock, acts), sink, writer, clock.ns, now_ns=clock, reopen=again)

    return make


def test_a_day_at_1_hz_in_a_moment(tmp_path: Path) -> None:
    run = recorded(tmp_path, meter(range(10**6)), seconds=86_400)
    series = run.series("source", "power_w")
    assert series.value.tolist() == list(range(86_400))
    assert set(np.diff(series.t_ns).tolist()) == {S}, "ticks never drift"
    assert run.faults == ()
    assert run.stop is not None
    assert run.stop.faults == {}


def test_a_slow_answer_costs_the_ticks_that_it_covers_and_shifts_none(tmp_path: Path) -> None:
    run = recorded(tmp_path, meter([0, (1, 2.4), 2, 3, 4, 5, 6]), seconds=6)
    series = run.series("source", "power_w")
    assert series.faults == {2: "missed"}
    assert [v for v in series.value if v == v] == [0, 1, 2, 3, 4]
    seconds = ((series.t_ns - 100 * S) / S).round(2).tolist()
    assert seconds == [0.0, 3.4, 3.4, 3.4, 4.0, 5.0]


def test_a_machine_that_slept_is_one_fault_and_not_a_million_rows(tmp_path: Path) -> None:
    slept = [False]

    def wake(due: int) -> int:
        if due >= 105 * S and not slept[0]:
            slept[0] = True
            return due + 3 * 3600 * S
        return due

    run = recorded(tmp_path, meter(range(100)), seconds=3 * 3600 + 10, wake=wake)
    series = run.series("source", "power_w")
    assert len(series.value) < 40
    fault = next(f for f in run.faults if f.code == "missed")
    assert fault.count == 3 * 3600 - 10
    assert fault.t_ended_ns is not None
    assert fault.t_ended_ns - fault.t_opened_ns == pytest.approx(3 * 3600 * S, rel=0.01)


def test_a_late_question_is_counted_and_its_value_kept(tmp_path: Path) -> None:
    run = recorded(
        tmp_path,
        meter(range(10)),
        seconds=5,
        wake=lambda due: due + (7 * S // 10) * (due == 102 * S),
    )
    assert run.series("source", "power_w").faults == {}
    (fault,) = run.faults
    assert (fault.code, fault.count) == ("late", 1)


def test_a_disturbed_answer_is_a_row_with_its_code(tmp_path: Path) -> None:
    acts = [0, Timeout("silent"), 2, Checksum("bad"), 4]
    run = recorded(tmp_path, meter(acts), seconds=5)
    series = run.series("source", "power_w")
    assert series.faults == {1: "timeout", 3: "crc"}
    assert np.isnan(series.value[[1, 3]]).all()
    assert series.value[[0, 2, 4]].tolist() == [0, 2, 4]
    assert run.stop is not None
    assert run.stop.faults == {"timeout": 1, "crc": 1}


def test_an_unplugged_meter_is_opened_again_until_it_is_back(tmp_path: Path) -> None:
    tries = []

    def reopen(clock: Clock) -> Script:
        tries.append(clock.ns)
        if len(tries) < 4:
            raise Gone("still away")
        return Script(clock, [70, 80, 90])

    run = recorded(tmp_path, meter([0, 1, Gone("unplugged")], reopen=reopen), seconds=9)
    series = run.series("source", "power_w")
    assert series.faults == dict.fromkeys((2, 3, 4, 5), "gone")
    assert series.value[-3:].tolist() == [70, 80, 90]
    (outage,) = run.faults
    assert (outage.code, outage.count, outage.message) == ("outage", 4, "unplugged")
    assert outage.t_opened_ns == 102 * S
    assert outage.t_ended_ns == pytest.approx(106 * S, abs=10**4)


def test_a_meter_that_stays_away_is_an_open_fault(tmp_path: Path) -> None:
    run = recorded(tmp_path, meter([0, Gone("unplugged")]), seconds=4)
    (outage,) = run.faults
    assert outage.t_ended_ns is None
    assert outage.count == 3


def test_a_mean_since_the_reading_before_has_its_own_window(tmp_path: Path) -> None:
    def make(writer: RunWriter, clock: Clock) -> PolledSampler:
        source = Script(clock, [9, 1, (2, 1.5), 3, 4])
        source.since_previous = True
        descriptor = replace(DESCRIPTOR, role="estimator")
        return PolledSampler(source, writer.open_stream(descriptor, windows=True), writer, clock.ns)

    series = recorded(tmp_path, make, seconds=5).series("source", "power_w")
    assert series.window_ns is not None
    good = np.isfinite(series.value)
    assert series.value[good].tolist() == [1, 2, 3, 4], "the first has no window and is discarded"
    edges = series.t_ns[good] - series.window_ns[good]
    assert edges[1:].tolist() == series.t_ns[good][:-1].tolist(), "windows join without a gap"


class Tool:
    """A pushed estimator that sends what a table says at each second, then dies or finishes."""

    id = "source"
    cadence_s = 1.0

    def __init__(self, clock: Clock, silent: range = range(0), dies_s: float = 1e9) -> None:
        self.clock, self.silent, self.dies_s, self.sent = clock, silent, dies_s, 0

    def drain(self) -> tuple[Reading, ...]:
        seconds = (self.clock.ns - 100 * S) / S
        if seconds > self.dies_s:
            raise EstimatorError("it has ended by itself: exit status 1.")
        due = range(self.sent, int(seconds) + 1)
        self.sent = due.stop
        return tuple(
            Reading((100 + i) * S, (100 + i) * S + 1, {"power_w": i})
            for i in due
            if i not in self.silent
        )

    def finish(self) -> tuple[Reading, ...]:
        return (Reading(self.clock.ns, self.clock.ns + 1, {"power_w": 99.0}),)


def tool(**options: object) -> Callable[[RunWriter, Clock], PushedSampler]:
    def make(writer: RunWriter, clock: Clock) -> PushedSampler:
        source = Tool(clock, **options)  # type: ignore[arg-type]
        return PushedSampler(source, writer.open_stream(DESCRIPTOR), writer, clock.ns)  # type: ignore[arg-type]

    return make


def test_a_tool_sends_when_it_likes_and_once_more_at_the_end(tmp_path: Path) -> None:
    run = recorded(tmp_path, tool(), seconds=5.5)
    assert run.series("source", "power_w").value.tolist() == [0, 1, 2, 3, 4, 5, 99]
    assert run.faults == ()


def test_a_tool_that_dies_costs_its_own_stream_only(tmp_path: Path) -> None:
    run = recorded(tmp_path, tool(dies_s=3.5), seconds=20)
    assert run.series("source", "power_w").value.tolist() == [0, 1, 2, 3]
    (fault,) = run.faults
    assert fault.code == "ended"
    assert "exit status 1" in fault.message


def test_a_tool_that_stalls_is_a_fault_until_it_speaks_again(tmp_path: Path) -> None:
    run = recorded(tmp_path, tool(silent=range(5, 30)), seconds=40)
    (fault,) = run.faults
    assert fault.code == "stalled"
    assert fault.t_opened_ns == pytest.approx(104 * S, abs=S // 4)
    assert fault.t_ended_ns == pytest.approx(130 * S, abs=S // 4)


class Rails(Script):
    """A streaming meter of one rail: 12 V and 2 A in raw counts."""

    tick_rate_hz, tick_modulus = 1000.0, 65536

    def __init__(self, clock: Clock, acts: Iterable[object]) -> None:
        super().__init__(clock, acts)
        self.started = self.stopped = 0
        self.ticks = 0

    def start(self) -> None:
        self.started += 1

    def stop(self) -> None:
        self.stopped += 1

    def read_block(self) -> Block:
        begin = self.clock.ns
        self.clock.ns += S // 10
        act = next(self.acts)
        if isinstance(act, DriverError):
            raise act
        self.ticks += 100
        ticks = np.arange(self.ticks - 100, self.ticks, dtype=np.int64)
        columns = {"a_v": np.full(100, 120, np.int16), "a_i": np.full(100, 20, np.int16)}
        return Block(begin, self.clock.ns, ticks, columns, act)  # type: ignore[arg-type]


RAILS = Descriptor(
    stream="source",
    role="meter",
    source="rails",
    channels=tuple(
        ChannelInfo(name=n, quantity=q, unit=u, kind="instant", scale=(1, 10))
        for n, q, u in (("a_v", "voltage", "V"), ("a_i", "current", "A"))
    ),
    derived=(
        Derived(
            channel=ChannelInfo(name="power_w", quantity="power", unit="W", kind="instant"),
            terms=(("a_v", "a_i"),),
        ),
    ),
    arrival="streamed",
    tick_rate_hz=1000.0,
)


def test_a_stream_is_written_in_blocks_and_started_again_after_a_loss(tmp_path: Path) -> None:
    acts = [(), ("desync",), (), Timeout("dry"), (), Gone("unplugged")]
    first: list[Rails] = []
    second: list[Rails] = []

    def make(writer: RunWriter, clock: Clock) -> StreamSampler:
        first.append(Rails(clock, acts))

        def reopen() -> Rails:
            second.append(Rails(clock, [()] * 100))
            return second[0]

        sink = writer.open_stream(RAILS)
        return StreamSampler(first[0], sink, writer, now_ns=clock, reopen=reopen)  # type: ignore[arg-type]

    run = recorded(tmp_path, make, seconds=1.6)
    series = run.series("source", "power_w")
    assert set(series.faults.values()) == {"desync", "timeout", "gone"}
    good = np.isfinite(series.value)
    np.testing.assert_allclose(series.value[good], 24.0)
    assert good.sum() == 100 * (4 + second[0].ticks // 100)
    assert first[0].started == 2
    assert first[0].closed == 1
    assert (second[0].started, second[0].stopped, second[0].closed) == (1, 1, 1)
    (outage,) = run.faults
    assert outage.code == "outage"
    assert outage.t_ended_ns is not None
