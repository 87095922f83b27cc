"""What is in motion while a plan runs: its steps in the main thread, each source in its own."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Final

from ..plans import COMMAND, IDLE, Due, Plan, due
from ..recording.documents import Fault, Step
from ..recording.writer import RunWriter, StreamWriter
from ..workloads import Load
from .costs import Ledger
from .describe import UNTRACED, MeterNotes, descriptor_from_meter, identity_of
from .interrupts import Interrupts
from .made import AnyEstimator, AnyMeter, sampler_of_estimator, sampler_of_meter
from .manual import ManualMeter
from .resting import Resting
from .sampler import Sampler
from .snapshot import Snapshot
from .steady import Steadiness
from .threads import SamplerThread
from .warm_up import WarmUp
from .watts import LiveWatts

__all__ = ["Session"]

_FRAME_S: Final = 0.25
_LOOK_S: Final = 0.1
_LOOKS: Final = 2.5  # so much longer where nothing can end a step before its time


class Session:
    """What is in motion while a plan runs.

    Time passes in `now_ns` and `pause` only, and `start_sources` alone starts threads: a session
    with a clock of its own that steps its samplers itself runs through hours in seconds.
    """

    def __init__(
        self,
        plan: Plan,
        writer: RunWriter,
        on_progress: Callable[[Snapshot], None] | None,
        stop: threading.Event,
        interrupts: Interrupts,
        now_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self.now_ns = now_ns
        self.plan, self.writer = plan, writer
        self.stopped = False
        self._stop, self._interrupts = stop, interrupts
        self._on_progress = on_progress
        self.samplers: list[Sampler] = []
        self.active: Sequence[frozenset[str]] | None = None
        self._resting: list[Resting] = []
        self._threads: list[SamplerThread] = []
        self._halt = threading.Event()
        self._step: tuple[Due, int] | None = None
        # How long steps really took that ended before their time, by index.
        self._took_s: dict[int, float] = {}
        self._warm_up: WarmUp | None = None
        self._shown_s = -math.inf
        self._steadiness = Steadiness(0.0, 0.0)
        self._ledger = Ledger(writer, now_ns)
        self.manual: ManualMeter | None = None
        self._manual_sink: StreamWriter | None = None
        self._waited_ns = 0

    def open(
        self,
        meters: Mapping[str, AnyMeter],
        estimators: Sequence[AnyEstimator],
        boundary: str,
        reopen: Mapping[str, Callable[[], AnyMeter]],
        cadence_s: Mapping[str, float],
        known: Mapping[str, MeterNotes] = MappingProxyType({}),
    ) -> None:
        """Describe every stream and set every source in motion."""
        metered = [
            (
                meter,
                self.writer.open_stream(
                    descriptor_from_meter(
                        stream,
                        meter,
                        boundary=notes.boundary or boundary,
                        cadence_s=cadence_s.get(stream),
                        identity={**identity_of(meter), **notes.identity},
                        traceability=notes.traceability,
                    )
                ),
                reopen.get(stream),
            )
            for stream, meter in meters.items()
            for notes in (known.get(stream, MeterNotes()),)
        ]
        estimated = [
            (
                estimator,
                self.writer.open_stream(
                    estimator.descriptor(), windows=getattr(estimator, "since_previous", False)
                ),
            )
            for estimator in estimators
        ]
        if self.manual is not None:
            notes = known.get(self.manual.stream, MeterNotes())
            self._manual_sink = self.writer.open_stream(
                self.manual.descriptor(
                    notes.boundary or boundary, notes.identity, notes.traceability or UNTRACED
                ),
                windows=self.manual.windows,
            )
        begin_ns, now_ns = self.now_ns(), self.now_ns
        software = [sampler_of_estimator(e, sink, self.writer, begin_ns) for e, sink in estimated]
        in_turn = frozenset().union(*(self.active or ()))
        self._resting = [Resting(s) for s in software if s.stream in in_turn]
        others = [s for s in software if s.stream not in in_turn]
        self.samplers = [
            *(
                sampler_of_meter(m, sink, self.writer, begin_ns, again, now_ns)
                for m, sink, again in metered
            ),
            *self._resting,
            *others,
        ]
        self.start_sources()

    def start_sources(self) -> None:
        """Give every source a thread of its own."""
        self._threads = [SamplerThread(s, self.writer, self._halt) for s in self.samplers]
        for thread in self._threads:
            thread.start()

    def follow(self, workloads: Load) -> None:
        """Tell the machine what is due until the plan is over or somebody stops it."""
        begin_ns = self.now_ns()
        while True:
            t_s = (self.now_ns() - begin_ns - self._waited_ns) / 1e9
            now = due(self.plan, t_s, self._took_s)
            if now is None or self._must_stop():
                self.stopped = now is not None
                self.end_step(workloads)
                break
            if now.step is not None and (self._step is None or self._step[0].index != now.index):
                self.end_step(workloads)
                for resting in self._resting:
                    resting.rest(resting.stream not in self._active(now.index))
                workloads.start(now.step.workload, now.step.level)
                self._step = now, self.now_ns()
                warming = now.step.purpose == "warm-up"
                self._warm_up = WarmUp(self.plan.settle_s) if warming else None
                self._steadiness = self._new_steadiness()
                self._shown_s = -math.inf  # whoever looks on learns of a change at once
                self._begin_by_hand()
            if self._on_progress is not None:
                self._show(t_s, now, self._on_progress)
            self._look_by_hand(now.left_s)
            self._ledger.write(self._spent())
            if now.step is not None and self._is_done(now, workloads):
                self._took_s[now.index] = now.since_s
                continue
            program = now.step is not None and now.step.workload.startswith(COMMAND)
            early = program or self._warm_up is not None or self.manual is not None
            self.pause(min(now.left_s, _LOOK_S if early else _LOOKS * _LOOK_S))

    def _active(self, index: int) -> frozenset[str]:
        return frozenset() if self.active is None else self.active[index]

    def pause(self, seconds: float) -> None:
        """Let time pass, unless somebody stops the recording."""
        self._stop.wait(seconds)

    def _by_hand(self) -> ManualMeter | None:
        """Return the meter that somebody reads, if the present step is one that counts."""
        if self.manual is None or self._step is None:
            return None
        step = self.plan.steps[self._step[0].index]
        return self.manual if step.purpose == "measure" else None

    def _begin_by_hand(self) -> None:
        meter = self._by_hand()
        if meter is not None and self._step is not None:
            number = self._step[0].index
            step = self.plan.steps[number]
            level = None if step.workload == IDLE else step.level
            name = step.workload if level is None else f"{step.workload} {level:g}"
            label = f"step {number + 1} of {len(self.plan.steps)}, {name}"
            meter.begin(label, step.workload, level)

    def _look_by_hand(self, left_s: float) -> None:
        meter = self._by_hand()
        if meter is not None and self._step is not None:
            meter.look(self.now_ns(), self._step[1], left_s, self.plan.settle_s)

    def _wait_by_hand(self, meter: ManualMeter) -> None:
        """Wait until the ended step is answered; the plan's clock stands still meanwhile."""
        began_ns = self.now_ns()
        while not self._must_stop() and not meter.answered():
            self.pause(_LOOK_S)
        if self._manual_sink is not None:
            meter.write(self._manual_sink, self.writer)
        self._waited_ns += self.now_ns() - began_ns

    def _is_done(self, now: Due, workloads: Load) -> bool:
        """Whether the present step may end early: its program has, or the machine is warm."""
        if self._warm_up is None:
            return workloads.ended
        shown = self._first
        return self._warm_up.look(now.since_s, None if shown is None else shown.value)

    @property
    def _first(self) -> LiveWatts | None:
        """The source that says how steady the machine is: the first one that reads watts."""
        return next((s.watts for s in self.samplers if s.watts.shown), None)

    def _new_steadiness(self) -> Steadiness:
        resolution_w = 0.0 if self._first is None else self._first.resolution_w
        return Steadiness(self.plan.settle_s, 2 * resolution_w)

    def _spent(self) -> list[tuple[Sampler, float]]:
        """Return every sampler with the processor time of its thread, s."""
        spent = [t.cpu_s for t in self._threads] or [0.0] * len(self.samplers)
        return list(zip(self.samplers, spent, strict=True))

    def end_step(self, workloads: Load) -> None:
        """Stop what runs and write down what it did; a step that was cut short says so."""
        if self._step is None:
            return
        by_hand = self._by_hand()
        (now, t_start_ns), self._step = self._step, None
        t_end_ns = self.now_ns()
        if by_hand is not None:
            by_hand.ended(t_end_ns)
        achieved = dict(workloads.stop())
        step = self.plan.steps[now.index]
        lasted_s = (t_end_ns - t_start_ns) / 1e9
        if step.purpose != "measure":
            achieved["purpose"] = step.purpose
        if self.active is not None:
            achieved["sources"] = sorted(self._active(now.index))
        if self._warm_up is not None:
            achieved.update(self._warm_up.report())
        if lasted_s < 0.9 * step.duration_s and now.index not in self._took_s:
            achieved["cut_short"] = True
        if "lost_workers" in achieved:
            message = f"{achieved['lost_workers']} of {achieved['workers']} workers died."
            self.writer.fault(
                Fault(
                    stream=None,
                    code="workload",
                    message=message,
                    t_opened_ns=t_start_ns,
                    t_ended_ns=t_end_ns,
                )
            )
        self.writer.step(
            Step(
                index=now.index,
                workload=step.workload,
                level=None if step.workload == IDLE else step.level,
                t_start_ns=t_start_ns,
                t_end_ns=t_end_ns,
                # All of a step that is no measurement is settling: no point is made of it.
                settle_s=min(self.plan.settle_s, lasted_s)
                if step.purpose == "measure"
                else lasted_s,
                achieved=achieved,
            )
        )
        if by_hand is not None:
            self._wait_by_hand(by_hand)

    def close(self) -> None:
        """Stop the threads, take what the sources still have, and write what went wrong."""
        self._halt.set()
        for thread in self._threads:
            thread.join()
        for sampler in self.samplers:
            sampler.finish(self.now_ns())
        if self.samplers:
            self._ledger.write(self._spent(), at_once=True)

    def raise_failure(self) -> None:
        """Raise what a thread could not live with."""
        fatal = self._fatal()
        if fatal is not None:
            raise fatal

    def _must_stop(self) -> bool:
        return self._stop.is_set() or self._interrupts.seen or self._fatal() is not None

    def _fatal(self) -> BaseException | None:
        return next((t.fatal for t in self._threads if t.fatal is not None), None)

    def _show(self, t_s: float, now: Due, view: Callable[[Snapshot], None]) -> None:
        if t_s - self._shown_s < _FRAME_S:
            return
        self._shown_s = t_s
        first = self._first
        self._steadiness.look(now.since_s, None if first is None else first.value)
        self._ledger.show(lambda: view(self._snapshot(t_s, now)))

    def _snapshot(self, t_s: float, now: Due) -> Snapshot:
        shown = [s for s in self.samplers if s.watts.shown]
        return Snapshot(
            t_s=t_s,
            total_s=self.plan.total_s,
            index=now.index,
            steps=len(self.plan.steps),
            workload=None if now.step is None else now.step.workload,
            level=None if now.step is None else now.step.level,
            watts={s.stream: math.nan if s.watts.value is None else s.watts.value for s in shown},
            faults={s.stream: s.faults for s in self.samplers},
            step_left_s=now.left_s,
            level_s=self._steadiness.level_s,
            slope_per_min=self._steadiness.slope_per_min,
            steady=self._steadiness.steady,
            trouble=self.writer.keeper.trouble,
        )
