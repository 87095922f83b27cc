"""Watches over what an instrument says: that it does not repeat itself, nor a counter fall or stop.

A meter polled faster than it refreshes answers the same again, and that is no fault. A meter
whose measuring side has died, or a cache in front of it, answers the same for ever: a recording
would hold a flat line that nobody measured. `HeldWatch` tells the two apart by one rule:

    at least `records` identical records in a row, over more than `refreshes` refresh periods,
    are held; identical means that *none* of the fields that should have moved has moved.

The power alone is no witness, it stands still on an idle machine. The mains voltage is a good one:
at a resolution of 0.1 V it does not stand still for a minute. So the default is 60 refresh
periods; an instrument whose answers carry a cycle number or a clock of their own proves it sooner
(`refreshes=2`). Source of the phenomenon: mandulaj/PZEM-004T-v30 issues 75 and 142 (a disconnected
meter that looks alive, zeros for days).

`CounterWatch` tells the wrap of a register from a reset: a counter that falls has wrapped only if
going on through its modulus is a step that the rated power allows in the time that has passed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from .errors import CounterReset, Held

__all__ = ["CounterWatch", "HeldWatch", "StalledWatch"]

_LEAST_RECORDS: Final = 3
_REFRESHES: Final = 60
_SLACK_S: Final = 5.0  # a register may be written up to this much late


class HeldWatch:
    """Notices an instrument that repeats itself; `fields` are those that should move."""

    def __init__(
        self,
        fields: Sequence[str],
        *,
        refresh_s: float,
        records: int = _LEAST_RECORDS,
        refreshes: float = _REFRESHES,
    ) -> None:
        self._fields = tuple(fields)
        self._records = records
        self._limit_ns = round(refreshes * refresh_s * 1e9)
        self._last: tuple[float | None, ...] | None = None
        self._since_ns = self._count = 0

    def check(self, t_ns: int, values: Mapping[str, float]) -> None:
        """Take note of a record that arrived at `t_ns` (monotonic).

        Raises:
            Held: it and those before it are held, by the rule above.

        """
        record = tuple(values.get(name) for name in self._fields)
        if record != self._last:
            self._last, self._since_ns, self._count = record, t_ns, 1
            return
        self._count += 1
        held_ns = t_ns - self._since_ns
        if self._count >= self._records and held_ns > self._limit_ns:
            raise Held(
                f"{', '.join(self._fields)} have not moved for {held_ns * 1e-9:.0f} s; the meter "
                "repeats itself. Switch it off and on again, and check its measuring side."
            )


class StalledWatch:
    """Notices a counter that stands still although the rate that it counts says that it must not.

    `step` is the counter's resolution in its own unit; a rate that is measured beside it, per
    second, makes it due. A counter may stand still for `steps` of them.
    """

    def __init__(self, name: str, *, step: float, steps: float = 5.0) -> None:
        self._name, self._most = name, steps * step
        self._value: float | None = None
        self._last_ns = 0
        self._due = 0.0

    def check(self, t_ns: int, value: float, rate_per_s: float) -> None:
        """Take note of the counter and of the rate that arrived at `t_ns` (monotonic).

        Raises:
            Held: the counter has not moved while the rate made it due.

        """
        if value != self._value:
            self._value, self._due = value, 0.0
        else:
            self._due += max(rate_per_s, 0.0) * (t_ns - self._last_ns) * 1e-9
        self._last_ns = t_ns
        if self._due > self._most:
            raise Held(
                f"{self._name} stands at {value:g}, although {self._due:g} more were due; it has "
                "stopped counting."
            )


class CounterWatch:
    """Notices a counter that has fallen without having wrapped.

    `wrap` is its modulus in its own unit, None where it has none or none is known; `most_per_s`
    is the steepest rise that the instrument's rating allows, in that unit per second.
    """

    def __init__(self, name: str, *, wrap: float | None = None, most_per_s: float = 0.0) -> None:
        self._name, self._wrap, self._most_per_s = name, wrap, most_per_s
        self._last: tuple[int, float] | None = None

    def check(self, t_ns: int, value: float) -> None:
        """Take note of the value that arrived at `t_ns` (monotonic).

        Raises:
            CounterReset: it fell, and not by a wrap; the next value is judged from here.

        """
        before, self._last = self._last, (t_ns, value)
        if before is None or value >= before[1]:
            return
        if self._wrap is not None:
            most = self._most_per_s * ((t_ns - before[0]) * 1e-9 + _SLACK_S)
            if value - before[1] + self._wrap <= most:
                return
        raise CounterReset(
            f"{self._name} fell from {before[1]:g} to {value:g}; it was reset, or the meter has "
            "restarted. What it counted in between is unknown."
        )
