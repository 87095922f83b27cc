"""A power over time with an energy that is exact: straight pieces between knots.

A profile is two equally long tuples, instants in s from its start (never decreasing) and powers in
W; a step is one instant twice. Before the first knot and after the last the power is that of the
knot. Its energy between two instants is the sum of trapezoids, which is exact for straight pieces.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Protocol

__all__ = [
    "GrowingProfile",
    "PowerProfile",
    "TruePower",
    "constant",
    "ramp",
    "square",
    "staircase",
    "total",
]


class TruePower(Protocol):
    """A power over time that is known exactly: instants in s, W, J."""

    def power_w(self, t_s: float) -> float:
        """Return the power at an instant, W."""
        ...

    def energy_j(self, start_s: float, end_s: float) -> float:
        """Return the energy between two instants, J."""
        ...


@dataclass(frozen=True, slots=True)
class PowerProfile:
    """Power in W over time in s; `joules` holds the energy from the first knot to each."""

    times_s: tuple[float, ...]
    powers_w: tuple[float, ...]
    joules: tuple[float, ...]

    @classmethod
    def of(cls, knots: Iterable[tuple[float, float]]) -> PowerProfile:
        """Build a profile from (instant in s, power in W).

        Raises:
            ValueError: there is no knot, or the instants decrease.

        """
        pairs = list(knots)
        times, powers = tuple(t for t, _ in pairs), tuple(p for _, p in pairs)
        if not pairs or any(b < a for a, b in pairwise(times)):
            raise ValueError("A power profile needs knots in the order of their time.")
        steps = (
            0.5 * (powers[i] + powers[i + 1]) * (times[i + 1] - times[i])
            for i in range(len(pairs) - 1)
        )
        return cls(times, powers, (0.0, *accumulate(steps)))

    def power_w(self, t_s: float) -> float:
        """Return the power at an instant, W; at a step that behind it."""
        return self._within(t_s, bisect_right(self.times_s, t_s))

    def energy_j(self, start_s: float, end_s: float) -> float:
        """Return the energy between two instants, J."""
        return self._until(end_s) - self._until(start_s)

    def _until(self, t_s: float) -> float:
        """Return the energy from the first knot to an instant; negative before it."""
        after = bisect_right(self.times_s, t_s)
        if after == 0:
            return (t_s - self.times_s[0]) * self.powers_w[0]
        mean_w = 0.5 * (self.powers_w[after - 1] + self._within(t_s, after))
        return self.joules[after - 1] + mean_w * (t_s - self.times_s[after - 1])

    def _within(self, t_s: float, after: int) -> float:
        """Return the power at an instant in the piece that knot `after` closes."""
        if after == 0:
            return self.powers_w[0]
        if after == len(self.times_s):
            return self.powers_w[-1]
        begin_s, end_s = self.times_s[after - 1], self.times_s[after]
        share = (t_s - begin_s) / (end_s - begin_s)
        return self.powers_w[after - 1] + share * (self.powers_w[after] - self.powers_w[after - 1])

    def scaled(self, factor: float, offset_w: float = 0.0) -> PowerProfile:
        """Return `factor` times this profile plus `offset_w`."""
        return PowerProfile.of(
            (t, factor * p + offset_w) for t, p in zip(self.times_s, self.powers_w, strict=True)
        )


class GrowingProfile:
    """A power that is still being made: constant from each knot to the next, the last one goes on.

    What lies further back than `keep_s` before the newest knot is forgotten, and taken for the
    oldest power that is left.
    """

    def __init__(self, keep_s: float) -> None:
        self._keep_s = keep_s
        self._times_s: list[float] = []
        self._powers_w: list[float] = []
        self._joules: list[float] = []

    def hold(self, t_s: float, power_w: float) -> None:
        """Let a power begin at an instant that is later than all before."""
        self._joules.append(self._until(t_s) if self._times_s else 0.0)
        self._times_s.append(t_s)
        self._powers_w.append(power_w)
        old = bisect_right(self._times_s, t_s - self._keep_s) - 1
        if old > 0:
            del self._times_s[:old], self._powers_w[:old], self._joules[:old]

    def power_w(self, t_s: float) -> float:
        """Return the power at an instant, W; at a knot that behind it."""
        return self._powers_w[max(bisect_right(self._times_s, t_s) - 1, 0)]

    def energy_j(self, start_s: float, end_s: float) -> float:
        """Return the energy between two instants, J."""
        return self._until(end_s) - self._until(start_s)

    def _until(self, t_s: float) -> float:
        at = max(bisect_right(self._times_s, t_s) - 1, 0)
        return self._joules[at] + self._powers_w[at] * (t_s - self._times_s[at])


def constant(power_w: float) -> PowerProfile:
    """Return the same power for ever."""
    return PowerProfile.of([(0.0, power_w)])


def ramp(from_w: float, to_w: float, duration_s: float) -> PowerProfile:
    """Return a straight rise or fall."""
    return PowerProfile.of([(0.0, from_w), (duration_s, to_w)])


def staircase(levels_w: Sequence[float], step_s: float) -> PowerProfile:
    """Return each level in turn for `step_s` seconds."""
    knots: list[tuple[float, float]] = []
    for number, level_w in enumerate(levels_w):
        knots += [(number * step_s, level_w), ((number + 1) * step_s, level_w)]
    return PowerProfile.of(knots)


def square(low_w: float, high_w: float, period_s: float, duration_s: float) -> PowerProfile:
    """Return low and high in turn, half a period each, beginning high; low at the end."""
    levels = [high_w if i % 2 == 0 else low_w for i in range(round(2 * duration_s / period_s))]
    knots = staircase(levels, period_s / 2)
    return PowerProfile.of(
        [*zip(knots.times_s, knots.powers_w, strict=True), (knots.times_s[-1], low_w)]
    )


def total(profiles: Sequence[PowerProfile]) -> PowerProfile:
    """Return the sum of profiles.

    Raises:
        ValueError: there is none.

    """
    times = sorted({t for p in profiles for t in p.times_s})
    knots: list[tuple[float, float]] = []
    for t_s in times:
        before = sum(_left_w(p, t_s) for p in profiles)
        after = sum(p.power_w(t_s) for p in profiles)
        knots += [(t_s, before), (t_s, after)] if before != after else [(t_s, after)]
    return PowerProfile.of(knots)


def _left_w(profile: PowerProfile, t_s: float) -> float:
    """Return the power just before an instant."""
    for time_s, power_w in zip(profile.times_s, profile.powers_w, strict=True):
        if time_s == t_s:
            return power_w
    return profile.power_w(t_s)
