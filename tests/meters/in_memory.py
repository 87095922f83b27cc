"""A meter of the catalogue and its emulated instrument, face to face in memory on one clock."""

from __future__ import annotations

import contextlib
import inspect
import math
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from drivers import Channel, DriverError, Entry, Reading
from drivers.catalog import driver_of, emulator_of
from drivers.emulators.faults import FaultPlan, faults_of
from drivers.emulators.served import NullModem, Responder, VirtualClock

NS = 1_000_000_000
# A cell is a stretch of exchanges with a bump of power in its middle, flat at both ends: so its
# energy does not depend on when exactly inside a refresh the meter is asked.
CELL = 60
BUMP = (20, 40)


class Canned:
    """A line on which each question is answered with what the instrument last said to it."""

    name = "canned"

    def __init__(self, answers: Mapping[bytes, bytes], clock: VirtualClock) -> None:
        self.answers, self._clock = answers, clock
        self._pending = deque[bytes]()

    def read(self, deadline_ns: int) -> bytes:
        if self._pending:
            return self._pending.popleft()
        self._clock.wait_until(deadline_ns)
        return b""

    def write(self, data: bytes) -> None:
        answer = self.answers.get(data)
        if answer is not None:
            self._pending.append(answer)

    def set_baud(self, baud: int) -> None: ...

    def close(self) -> None: ...


class Tap:
    """Stands between a streaming device and its line, and keeps what the device itself says."""

    def __init__(self, device: Any) -> None:
        self._device, self._due, self.said = device, b"", list[bytes]()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._device, name)

    def due(self, t_s: float) -> bytes:
        self._due = self._device.due(t_s)
        return self._due

    def sent(self, count: int) -> None:
        self.said.append(self._due)
        self._device.sent(count)


class Bench:
    """A meter of the catalogue on a null modem; faults begin once it is open."""

    def __init__(self, entry: Entry, power_w: Callable[[float], float]) -> None:
        self.entry, self.clock, self.driver = entry, VirtualClock(), driver_of(entry)
        device = emulator_of(entry).device(power_w, **entry.preset)
        self.device = Tap(device) if hasattr(device, "due") else device
        self.responder = Responder(self.device)
        self.faults = faults_of(device)
        self.checked = "bad_crc" in self.faults
        parameters = inspect.signature(self.driver).parameters
        self.reply_s = parameters["reply_s"].default if "reply_s" in parameters else 0.4
        self.setup: dict[bytes, bytes] = {}
        self._perfect: tuple[Canned, VirtualClock, Any] | None = None
        self.meter = self.open()

    def plan(self, rates: Mapping[str, float], *, away_s: float = 1.5) -> FaultPlan:
        return FaultPlan(rates, seed=7, late_s=1.5 * self.reply_s, away_s=away_s)

    def open(self) -> Any:
        """Open it as the catalogue does and let it say who it is, without faults."""
        plan, self.responder.faults = self.responder.faults, FaultPlan()
        line = NullModem(self.responder, self.clock)
        meter = self.driver(line, now_ns=self.clock.now_ns, **self.entry.preset)
        assert meter.identify()["model"] == self.entry.model
        if hasattr(meter, "start"):
            meter.start()
        self.setup |= {s.request: s.answer for s in self.responder.log}
        self._perfect = None
        self.responder.log.clear()
        self.responder.faults = plan
        return meter

    def open_again(self) -> Any:
        """Try every tenth of a second until it is there."""
        while True:
            try:
                return self.open()
            except DriverError:
                self.clock.wait_until(self.clock.now_ns() + NS // 10)

    def expected(self) -> Mapping[str, float]:
        """Return what a driver reads on a perfect line that repeats the last answers."""
        answers = {**self.setup, **{s.request: s.answer for s in self.responder.log}}
        if self._perfect is not None:
            line, clock, meter = self._perfect
            line.answers = answers
            clock.wait_until(self.clock.now_ns())
            # One that has read before need not set the instrument up again. It compares with what
            # it read then: where it refuses, one that has read nothing yet is asked.
            with contextlib.suppress(DriverError):
                reading: Reading = meter.read()
                return reading.values
        clock = VirtualClock(self.clock.now_ns())
        line = Canned(answers, clock)
        meter = self.driver(line, now_ns=clock.now_ns, **self.entry.preset)
        for _ in range(3):  # a driver may ask in another way after a failure
            try:
                reading = meter.read()
            except DriverError as error:
                failure = error
            else:
                self._perfect = line, clock, meter
                return reading.values
        self._perfect = None
        raise failure


def poll_s(channels: tuple[Channel, ...]) -> float:
    """Return how often a meter is asked by default: once per refresh."""
    periods = [c.refresh_s or c.window_s for c in channels]
    return min((p for p in periods if p is not None), default=1.0)


def rails(names: Iterable[str]) -> list[tuple[str, str]]:
    """Return the voltages and the currents whose products are the power of the instrument."""
    names = set(names)
    if {"voltage_v", "current_a"} <= names:
        return [("voltage_v", "current_a")]
    return [(n, f"{n[:-1]}i") for n in sorted(names) if n.endswith("_v") and f"{n[:-1]}i" in names]


def total_w(values: Mapping[str, Any]) -> Any:
    """Return the power of all elements or rails of one instrument."""
    parts = [v for n, v in values.items() if n.endswith("_power_w")]
    if "power_w" in values or parts:
        return values.get("power_w", sum(parts))
    return sum(values[volt] * values[ampere] for volt, ampere in rails(values))


def resolution_w(channels: tuple[Channel, ...], values: Mapping[str, float]) -> float:
    """Return the step of that power at these values, in W: of rails one count each of V and I."""
    step = {c.name: c.resolution for c in channels}
    if "power_w" in step:
        return step["power_w"]
    if parts := [s for n, s in step.items() if n.endswith("_power_w")]:
        return sum(parts)
    return sum(
        step[volt] * abs(values[ampere]) + step[ampere] * abs(values[volt])
        for volt, ampere in rails(step)
    )


def base_of(channels: tuple[Channel, ...]) -> float:
    """Return a power well inside the range of the instrument, in W; the bump doubles it."""
    limits = [0.25 * c.range_max for c in channels if c.unit == "W" and c.range_max]
    return min(100.0, *limits) if limits else 50.0


def bumpy(period_s: float, base_w: float) -> Callable[[float], float]:
    """Return a power that is flat, with one smooth bump of twice its height per cell."""
    begin, end = (b * period_s for b in BUMP)

    def power_w(t_s: float) -> float:
        at = (t_s - 1.0) % (CELL * period_s)
        if not begin < at < end:
            return base_w
        return base_w * (1.0 + math.sin(math.pi * (at - begin) / (end - begin)) ** 2)

    return power_w
