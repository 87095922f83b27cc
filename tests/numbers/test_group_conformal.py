"""Group-conformal half-widths: the rank that is asked for, and the coverage that it promises."""

from __future__ import annotations

import numpy as np
import pytest

from calibration.analysis.validation import group_conformal


def test_the_half_width_is_a_score_of_the_right_rank() -> None:
    labels = [f"g{i}" for i in range(39) for _ in range(2)]
    error = np.repeat(np.arange(1.0, 40.0), 2) * np.where(np.arange(78) % 4 < 2, 1, -1)
    assert group_conformal(error, labels) == 38.0  # ceil(40 x 0.95)


def test_below_nineteen_groups_there_is_none() -> None:
    labels = [f"g{i}" for i in range(18)]
    assert group_conformal(np.arange(18.0), labels) is None
    assert group_conformal(np.arange(19.0), [*labels, "g18"]) == 18.0


def test_a_new_group_lies_inside_as_often_as_promised() -> None:
    rng = np.random.default_rng(11)
    held = 0
    trials = 2000
    for _ in range(trials):
        error = rng.standard_t(3, 26)  # no normal distribution is needed
        half = group_conformal(error[:25], [str(i) for i in range(25)])
        assert half is not None
        held += abs(error[25]) <= half
    # 25 of 26 ranks: 0.9615, s.e. 0.0043
    assert held / trials == pytest.approx(25 / 26, abs=0.013)
