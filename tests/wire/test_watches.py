"""Held records by any field that should have moved; resets told apart from wraps."""

from __future__ import annotations

import pytest

from drivers.errors import CounterReset, Held
from drivers.held import CounterWatch, HeldWatch

S = 1_000_000_000


def test_records_that_stand_still_for_a_minute_are_held_until_they_move() -> None:
    watch = HeldWatch(("voltage_v", "power_w"), refresh_s=1.0)
    record = {"voltage_v": 230.1, "power_w": 0.0}
    for second in range(61):
        watch.check(second * S, record)
    with pytest.raises(Held, match="voltage_v, power_w have not moved for 61 s"):
        watch.check(61 * S, record)
    with pytest.raises(Held):
        watch.check(62 * S, record)
    watch.check(63 * S, {"voltage_v": 230.2, "power_w": 0.0})
    watch.check(64 * S, {"voltage_v": 230.2, "power_w": 0.0})


def test_any_field_that_moves_is_enough() -> None:
    watch = HeldWatch(("voltage_v", "power_w"), refresh_s=1.0)
    for second in range(600):
        watch.check(second * S, {"voltage_v": 230.0 + 0.1 * (second // 50 % 2), "power_w": 0.0})


def test_a_poll_faster_than_the_refresh_is_no_fault_however_often_it_repeats() -> None:
    watch = HeldWatch(("cycle",), refresh_s=0.5, records=2, refreshes=2)
    for tick in range(200):
        watch.check(tick * S // 100, {"cycle": tick // 50})
    with pytest.raises(Held):
        watch.check(4 * S, {"cycle": 3})


def test_a_long_pause_is_not_yet_held() -> None:
    """Two equal records an hour apart prove nothing; three do."""
    watch = HeldWatch(("voltage_v",), refresh_s=1.0)
    watch.check(0, {"voltage_v": 230.0})
    watch.check(3600 * S, {"voltage_v": 230.0})
    with pytest.raises(Held):
        watch.check(3601 * S, {"voltage_v": 230.0})


def test_a_wrap_is_no_reset() -> None:
    watch = CounterWatch("energy_j", wrap=1000.0, most_per_s=10.0)
    for t_s, value in ((0, 100.0), (1, 110.0), (60, 700.0), (61, 990.0), (62, 5.0)):
        watch.check(t_s * S, value)


@pytest.mark.parametrize(("wrap", "before", "after"), [(None, 990.0, 5.0), (1000.0, 500.0, 5.0)])
def test_a_fall_without_a_wrap_is_a_reset_once(
    wrap: float | None, before: float, after: float
) -> None:
    watch = CounterWatch("energy_j", wrap=wrap, most_per_s=10.0)
    watch.check(0, before)
    with pytest.raises(CounterReset, match=f"energy_j fell from {before:g} to {after:g}"):
        watch.check(S, after)
    watch.check(2 * S, after + 1)
