"""A meter with only a display: somebody reads it and types what it shows.

The meter is read at a mark, `NOW`, that ends the step (and, of an energy register, at one that ends
its settling). What is typed belongs to the mark, whenever it is typed: the load stops at the mark,
the clock of the plan stands still while an answer is awaited, and no waiting is part of a step. A
display of watts stands for the whole settled part of its step, which is a steady load.
"""

from __future__ import annotations

import os
import select
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

from ..errors import InputError, RunError
from ..recording.documents import ChannelInfo, Descriptor, Fault
from ..recording.writer import RunWriter, StreamWriter
from .display import Display, doubt, parse_entry

__all__ = ["Console", "ManualMeter", "Terminal"]

_NS: Final = 1e9
_WARN_S: Final = 5.0
_EYE_NS: Final = 1_000_000_000
"""A glance at the mark falls within half a second of it, before or after."""


class Console(Protocol):
    """Where somebody is told things and types lines."""

    def say(self, text: str) -> None:
        """Show a line."""
        ...

    def forget(self) -> None:
        """Forget what was typed before it was asked for."""
        ...

    def poll(self) -> str | None:
        """Return a typed line, or None while there is none; raise EOFError at the end."""
        ...


class Terminal:
    """Standard input and error; also a pipe or a file, one answer a line."""

    def __init__(self, fd: int = 0) -> None:
        self._fd, self._typed = fd, b""

    def say(self, text: str) -> None:
        """Show a line."""
        print(text, file=sys.stderr, flush=True)

    def forget(self) -> None:
        """Forget lines that were typed too early; those of a script are meant to wait."""
        if os.isatty(self._fd):
            import termios

            termios.tcflush(self._fd, termios.TCIFLUSH)
            self._typed = b""

    def poll(self) -> str | None:
        """Return a typed line, or None while there is none; raise EOFError at the end."""
        if b"\n" not in self._typed and select.select([self._fd], [], [], 0)[0]:
            more = os.read(self._fd, 4096)
            if not more and not self._typed:
                raise EOFError
            self._typed += more or b"\n"  # a last line may lack its end
        if b"\n" not in self._typed:
            return None
        line, _, self._typed = self._typed.partition(b"\n")
        return line.decode(errors="replace")


@dataclass(slots=True)
class _Mark:
    """One instant at which the display is read, and what was read; `doubted` until confirmed."""

    what: str
    t_ns: int
    value: float | None = None
    doubted: float | None = None
    reason: str = ""
    confirmed: bool = False


class ManualMeter:
    """Asks for what the display shows, step by step.

    `full_w` is the most that the machine can draw, where known; `accuracy` the maker's limit.
    """

    def __init__(
        self,
        display: Display,
        console: Console,
        *,
        stream: str = "manual",
        model: str = "manual",
        full_w: float | None = None,
        accuracy: Mapping[str, Any] | None = None,
    ) -> None:
        self.stream, self.display = stream, display
        self._console, self._model = console, model
        self._full_w, self._accuracy = full_w, accuracy
        self._seen: dict[tuple[str, float | None], list[float]] = {}
        self._register: tuple[int, float] | None = None  # the last one: instant and J
        self._marks: list[_Mark] = []
        self._asked: _Mark | None = None
        self._confirming = self._warned = False
        self._label, self._workload = "", ""
        self._level: float | None = None
        self._settled_ns = 0
        self._over = False

    def descriptor(
        self, boundary: str, identity: Mapping[str, str], traceability: Mapping[str, Any]
    ) -> Descriptor:
        """Return what the one channel means."""
        energy = self.display.quantity == "energy"
        channel = ChannelInfo(
            name="energy_j" if energy else "power_w",
            quantity="energy" if energy else "active_power",
            unit="J" if energy else "W",
            kind="counter" if energy else "mean",
            resolution=self.display.step,
            accuracy=self._accuracy,
            assumed=() if energy else ("window_s",),
        )
        return Descriptor(
            stream=self.stream, role="meter", source=self._model, channels=(channel,),
            boundary=boundary, configuration={"read_by": "a person"}, identity=dict(identity),
            traceability=dict(traceability),
        )  # fmt: skip

    @property
    def windows(self) -> bool:
        """Whether each row has a window of its own: a display of watts stands for its step."""
        return self.display.quantity == "power"

    def begin(self, label: str, workload: str, level: float | None) -> None:
        """Note that a step that counts has begun."""
        self._label, self._workload, self._level = label, workload, level
        self._marks, self._asked, self._warned, self._confirming = [], None, False, False

    def look(self, now_ns: int, t_start_ns: int, left_s: float, settle_s: float) -> None:
        """Warn before a mark, set that behind the settling; take what was typed meanwhile."""
        register = self.display.quantity == "energy"
        if now_ns - t_start_ns >= settle_s * _NS and not self._marks:
            self._settled_ns = now_ns
            self._marks.append(_Mark("register at the start", now_ns))
            if register:
                self._console.say(f"NOW: {self._label}: note the register.")
        if not self._warned and left_s <= _WARN_S:
            self._warned = True
            what = f"register ({self.display.unit})" if register else self.display.unit
            self._console.say(f"{self._label}: in {left_s:.0f} s read the {what}.")
        if register and self._marks and not self._over:
            self._converse()

    def ended(self, now_ns: int) -> None:
        """Set the mark that ends the step."""
        if not self._marks:
            return  # it was cut short before it had settled: nothing to read
        self._console.say(f"NOW: {self._label}: read the display.")
        if self.display.quantity == "power":
            self._marks = [_Mark("display", now_ns)]
        else:
            self._marks.append(_Mark("register at the end", now_ns))

    def answered(self) -> bool:
        """Take what was typed; return whether everything of the ended step is known."""
        if self._over:
            return True
        self._converse()
        return not self._marks or (
            all(m.value is not None for m in self._marks) and not self._confirming
        )

    def write(self, sink: StreamWriter, writer: RunWriter) -> None:
        """Write the rows of the ended step; a mark that was not answered is a failed reading."""
        name = "power_w" if self.windows else "energy_j"
        for mark in self._marks:
            window_ns = mark.t_ns - self._settled_ns if self.windows else None
            if mark.value is None or self._confirming:
                sink.append(mark.t_ns, mark.t_ns, {}, "unanswered")
                continue
            sink.append(mark.t_ns - _EYE_NS, mark.t_ns, {name: mark.value}, window_ns=window_ns)
            if mark.confirmed:
                writer.fault(
                    Fault(
                        stream=self.stream,
                        code="doubtful_entry",
                        message=f"{self._label}, {mark.what}: {self.display.shown(mark.value)} "
                        f"was entered twice although {mark.reason}.",
                        t_opened_ns=mark.t_ns,
                        t_ended_ns=mark.t_ns,
                    )
                )
        if self._marks and self._marks[-1].value is not None:
            power_w = self._power(self._marks)
            if power_w is not None:
                self._seen.setdefault((self._workload, self._level), []).append(power_w)
            if not self.windows:
                self._register = self._marks[-1].t_ns, self._marks[-1].value
        self._marks, self._asked, self._confirming = [], None, False

    def _power(self, marks: list[_Mark]) -> float | None:
        first, last = marks[0].value, marks[-1].value
        if last is None or first is None:
            return None
        if self.windows:
            return last
        return (last - first) * _NS / max(marks[-1].t_ns - marks[0].t_ns, 1)

    def _converse(self) -> None:
        """Ask the next question, or take the answer to the one that stands."""
        if self._asked is None and not self._confirming:
            self._asked = next((m for m in self._marks if m.value is None), None)
            if self._asked is None:
                return
            self._console.forget()
            self._console.say(f"{self._label}, {self._asked.what}, in {self.display.unit}?")
        try:
            line = self._console.poll()
        except EOFError:
            self._over = True
            raise RunError(
                f"The input ended before {self._label} was answered; expected one line a reading, "
                "and an empty one that confirms the step."
            ) from None
        if line is None:
            return
        if self._confirming:
            self._take_correction(line)
        elif self._asked is not None:
            self._take(self._asked, line)

    def _take(self, mark: _Mark, line: str) -> None:
        try:
            value = parse_entry(line, self.display)
        except InputError as error:
            self._console.say(f"  {error}. Again?")
            return
        reason = self._doubt(mark, value)
        if reason is not None and mark.doubted != value:
            mark.doubted, mark.reason = value, reason
            self._console.say(
                f"  {self.display.shown(value)}? {reason}. The right value, or the same again?"
            )
            return
        mark.value, mark.confirmed = value, reason is not None
        self._asked = None
        ended = self.windows or len(self._marks) == 2
        if ended and all(m.value is not None for m in self._marks):
            self._confirming = True
            self._console.say(f"  {self._summary()} Enter goes on; another value corrects it.")

    def _take_correction(self, line: str) -> None:
        if not line.strip():
            self._confirming = False
            return
        start = line.strip().lower().startswith("s ")
        mark = self._marks[0 if start else -1]
        mark.value = mark.doubted = None
        self._confirming, self._asked = False, mark
        self._take(mark, line.strip()[2:] if start else line)

    def _summary(self) -> str:
        if self.windows:
            return f"{self.display.shown(self._marks[0].value or 0.0)}."
        a, b = (self.display.shown(m.value or 0.0) for m in self._marks)
        power_w = self._power(self._marks) or 0.0
        return f"From {a} to {b}: {power_w:.4g} W on average. `s VALUE` corrects the start."

    def _doubt(self, mark: _Mark, value: float) -> str | None:
        """Return why a value is hardly true; a register is judged by the power that it means."""
        facts: dict[str, Any] = {"seen": self._seen, "full_w": self._full_w}
        if self.windows:
            return doubt(value, value, workload=self._workload, level=self._level, **facts)
        before = self._register
        if mark is not self._marks[0]:
            first = self._marks[0]
            before = None if first.value is None else (first.t_ns, first.value)
        if before is None:
            return None
        if value < before[1]:
            return f"the register was at {self.display.shown(before[1])} already"
        elapsed_s = (mark.t_ns - before[0]) / _NS
        mean_w, blur_w = (value - before[1]) / elapsed_s, self.display.step / elapsed_s
        low_w, high_w = max(mean_w - blur_w, 0.0), mean_w + blur_w
        if mark is self._marks[0]:  # between two steps anything may have run
            most = max((v for values in self._seen.values() for v in values), default=None)
            bound = self._full_w or (None if most is None else 8.0 * most)
            if bound is not None and low_w > 1.2 * bound:
                return f"since the last reading that would be {mean_w:.4g} W"
            return None
        return doubt(low_w, high_w, workload=self._workload, level=self._level, **facts)
