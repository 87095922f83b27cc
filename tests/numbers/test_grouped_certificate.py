"""A line and its held-out errors from sums by group: the same as from the rows, merged or not."""

from __future__ import annotations

import numpy as np
import pytest

from calibration.analysis import GroupedMoments, straight_line
from calibration.errors import FitError, InputError

NAMES = [f"w{i}" for i in range(25)]


def rows(n: int = 5000) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(5)
    group = rng.integers(0, len(NAMES), n)
    x = rng.uniform(50, 250, n)
    u = rng.uniform(0.5, 2.0, n)
    own = rng.standard_normal(len(NAMES))
    return x, 12 + 1.12 * x + own[group] + u * rng.standard_normal(n), u, group


def test_every_group_is_held_out_as_if_its_rows_were_left_out() -> None:
    x, y, u, group = rows()
    found = GroupedMoments().add(x, y, u, group, NAMES).certificate()
    whole = straight_line(x, y, u_y=u)
    assert found.line.slope == pytest.approx(whole.slope, rel=1e-12)
    assert found.line.u_slope == pytest.approx(whole.u_slope, rel=1e-12)
    for i, name in enumerate(found.groups):
        own = group == NAMES.index(name)
        others = straight_line(x[~own], y[~own], u_y=u[~own])
        error = others.intercept + others.slope * x[own] - y[own]
        w = u[own] ** -2
        assert found.n[i] == np.count_nonzero(own)
        assert found.slopes[i] == pytest.approx(others.slope, rel=1e-11)
        assert found.bias[i] == pytest.approx(np.average(error, weights=w), rel=1e-8)
        assert found.rms[i] ** 2 == pytest.approx(np.average(error**2, weights=w), rel=1e-8)
    ordered = np.sort(np.abs(found.bias))
    assert found.interval == "group_conformal"
    assert found.half_width == ordered[24]  # ceil(26 x 0.95) = 25th of 25


def test_partitions_merge_to_the_same_certificate() -> None:
    x, y, u, group = rows()
    whole = GroupedMoments().add(x, y, u, group, NAMES).certificate()
    parts = [GroupedMoments().add(x[i::3], y[i::3], u[i::3], group[i::3], NAMES) for i in range(3)]
    merged = parts[2].merge(parts[0]).merge(parts[1]).certificate()
    order = [merged.groups.index(name) for name in whole.groups]
    assert merged.bias[order] == pytest.approx(whole.bias, rel=1e-9)
    assert merged.half_width == pytest.approx(whole.half_width, rel=1e-9)


def test_few_groups_rest_on_students_t_or_on_the_worst_of_them() -> None:
    x, y, u, group = rows()
    few = group < 6
    found = GroupedMoments().add(x[few], y[few], u[few], group[few], NAMES).certificate()
    assert found.interval == "student_t"
    assert found.half_width == pytest.approx(2.776445 * np.sqrt(np.mean(found.bias**2)), rel=1e-6)
    sixteen = group < 16
    off = y + 40.0 * (group == 3)
    worst = GroupedMoments().add(
        x[sixteen], off[sixteen], u[sixteen], group[sixteen], NAMES
    ).certificate()  # fmt: skip
    assert worst.interval == "worst_group"
    assert worst.half_width == np.abs(worst.bias).max() > 35


def test_what_does_not_fit_is_one_sentence() -> None:
    x, y, u, group = rows(100)
    with pytest.raises(InputError, match="indices from 0 to 2"):
        GroupedMoments().add(x, y, u, group, NAMES[:3])
    with pytest.raises(InputError, match="one shape"):
        GroupedMoments().add(x, y[:-1], u, group, NAMES)
    with pytest.raises(FitError, match="at least 4 groups"):
        GroupedMoments().add(x, y, u, np.zeros(100, dtype=int), NAMES).certificate()
