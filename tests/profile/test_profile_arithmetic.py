"""Corrected powers and energies against closed forms; correlations kept."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from calibration import InputError, OutOfRange, Profile, ProfileError, combine

Make = Callable[..., dict[str, Any]]
Load = Callable[..., Profile]


def line_u_w(x: float, averaging_s: float = 1.0) -> float:
    """Return the closed form of the line's standard uncertainty at x, W."""
    power = 50 + 1.2 * x
    coefficients = 0.25 - 2 * 0.002 * x + 0.0001 * x * x
    return math.sqrt(
        coefficients
        + (0.001 * power) ** 2
        + 0.12**2
        + 3.0**2
        + 4.6**2
        + 2.1**2 / max(1.0, averaging_s)
    )


@pytest.mark.parametrize("i", range(3))
def test_stated_vectors(worked: Profile, i: int) -> None:
    node = worked.document["uncertainty"]["stated"]["U_at"][i]
    answer = worked.correct(machine=None, **node["inputs"])
    assert answer.power_w == pytest.approx(node["P"], abs=0.005)
    assert 2.0 * answer.u_w == pytest.approx(node["U"], abs=0.005)
    assert answer.match == "unchecked"
    assert answer.flags == ()
    assert answer.low_w == answer.power_w - answer.k * answer.u_w
    assert answer.digest is None


def test_the_factor_is_students_at_the_effective_dof(line: Profile) -> None:
    answer = line.correct(machine=None, rapl_package=60.0)
    c2 = 0.25 - 2 * 0.002 * 60 + 0.0001 * 3600
    dof = answer.u_w**4 / (c2**2 / 20 + 3.0**4 / 5 + 4.6**4 / 8)
    from scipy.stats import t

    assert answer.k == pytest.approx(t.ppf(0.975, dof), rel=1e-10)
    assert answer.u_w == pytest.approx(line_u_w(60.0))


@given(
    st.lists(st.floats(58, 470), min_size=1, max_size=20),
    st.floats(52, 300),
)
def test_arrays_give_what_numbers_give(worked: Profile, values: list[float], nvml: float) -> None:
    x = np.array(values)
    many = worked.correct(machine=None, averaging_s=30.0, rapl_package=x, nvml=nvml)
    for i, value in enumerate(values):
        one = worked.correct(machine=None, averaging_s=30.0, rapl_package=value, nvml=nvml)
        assert many.power_w[i] == pytest.approx(one.power_w)
        assert many.u_w[i] == pytest.approx(one.u_w)
        assert many.k[i] == pytest.approx(one.k, rel=1e-10)
        assert bool(many.inside[i]) is bool(one.inside)


def test_a_missing_sample_stays_missing_in_an_array(line: Profile) -> None:
    answer = line.correct(machine=None, rapl_package=np.array([60.0, np.nan]))
    assert np.isnan(answer.power_w).tolist() == [False, True]
    assert answer.inside.tolist() == [True, False]
    assert "outside:rapl_package" in answer.flags


def test_energy_is_not_the_sum_of_independent_seconds(worked: Profile) -> None:
    """One-second samples taken as independent understate an hour 56 times, a day 275 times."""
    second = worked.correct(machine=None, averaging_s=1.0, rapl_package=60.0, nvml=55.0)
    for seconds, factor in ((3600, 56), (86400, 275)):
        mean = worked.correct(machine=None, averaging_s=seconds, rapl_package=60.0, nvml=55.0)
        right_j = seconds * mean.u_w
        wrong_j = math.sqrt(seconds) * second.u_w
        assert right_j / wrong_j == pytest.approx(factor, rel=0.01)


def test_energy_is_additive_in_time_whatever_the_windows(line: Profile) -> None:
    hour = line.correct_energy(3600.0, machine=None, rapl_package=3600 * 80.0)
    assert hour.energy_j == pytest.approx(3600 * (50 + 1.2 * 80))
    assert hour.u_j == pytest.approx(3600 * line_u_w(80.0, 3600.0))
    assert hour.power_w == pytest.approx(146.0)
    assert hour.raw_j == pytest.approx(288_000)
    parts = [
        line.correct_energy(60.0, machine=None, rapl_package=60 * x) for x in [70.0, 90.0] * 30
    ]
    total = combine(parts)
    assert total.energy_j == pytest.approx(hour.energy_j)
    assert total.u_j == pytest.approx(hour.u_j, rel=1e-12)
    assert total.k == pytest.approx(hour.k, rel=1e-9)


def test_independent_samples_average_out_only_from_their_correlation_time_on(
    line: Profile,
) -> None:
    for seconds in (0.2, 1.0, 10.0):
        answer = line.correct_energy(seconds, machine=None, rapl_package=seconds * 80.0)
        assert answer.u_j == pytest.approx(seconds * line_u_w(80.0, seconds))
        assert ("averaging:below_min" in answer.flags) == (seconds < 10)


def closed_form(
    parts: list[tuple[float, float, str, str]],
) -> float:
    """Return u of the sum of jobs (T, x, session, workload) with T above 1 s, J."""
    t = sum(p[0] for p in parts)
    e = sum(p[0] * p[1] for p in parts)
    energy = 50 * t + 1.2 * e
    square = 0.25 * t * t - 2 * 0.002 * t * e + 0.0001 * e * e
    square += (0.001 * energy) ** 2 + (0.12 * t) ** 2
    for index, u in ((2, 3.0), (3, 4.6)):
        for name in {p[index] for p in parts}:
            square += (u * sum(p[0] for p in parts if p[index] == name)) ** 2
    square += sum(2.1**2 * p[0] for p in parts)
    return math.sqrt(square)


@given(
    st.lists(
        st.tuples(
            st.floats(10, 1e5), st.floats(10, 200), st.sampled_from("AB"), st.sampled_from("xyz")
        ),
        min_size=1,
        max_size=6,
    )
)
def test_sums_keep_every_correlation(
    line: Profile, parts: list[tuple[float, float, str, str]]
) -> None:
    jobs = [
        line.correct_energy(t, machine=None, session=session, workload=workload, rapl_package=t * x)
        for t, x, session, workload in parts
    ]
    total = combine(jobs)
    assert total.u_j == pytest.approx(closed_form(parts), rel=1e-9)
    assert total.energy_j == pytest.approx(sum(j.energy_j for j in jobs))
    # Grouping does not matter.
    assert combine([combine(jobs[:1]), *jobs[1:]]).energy_j == pytest.approx(total.energy_j)


def test_what_is_not_told_is_taken_to_be_shared(line: Profile) -> None:
    untold = [line.correct_energy(100.0, machine=None, rapl_package=8000.0) for _ in range(2)]
    told = [
        line.correct_energy(100.0, machine=None, rapl_package=8000.0, session=s, workload=s)
        for s in "ab"
    ]
    assert combine(untold).u_j > combine(told).u_j
    assert combine(untold).session is None
    assert combine([told[0], told[0]]).workload == "a"


def test_nothing_to_add_and_profiles_that_do_not_mix(
    line: Profile, line_document: Make, load: Load
) -> None:
    with pytest.raises(InputError, match="at least one"):
        combine([])
    other = load(line_document(revision=4))
    parts = [p.correct_energy(10, machine=None, rapl_package=800.0) for p in (line, other)]
    with pytest.raises(InputError, match="several profiles"):
        combine(parts)


def test_the_duration_and_the_inputs_carry_their_own_doubt(line: Profile) -> None:
    exact = line.correct_energy(100.0, machine=None, rapl_package=8000.0)
    loose = line.correct_energy(
        100.0,
        machine=None,
        duration_u_s=0.5,
        inputs_u_j={"rapl_package": 30.0},
        rapl_package=8000.0,
    )
    assert loose.u_j**2 - exact.u_j**2 == pytest.approx((50 * 0.5) ** 2 + (1.2 * 30) ** 2)
    with pytest.raises(InputError, match="nvml"):
        line.correct_energy(100.0, machine=None, inputs_u_j={"nvml": 1.0}, rapl_package=8000.0)


def test_a_bent_model_refuses_run_totals(worked: Profile) -> None:
    with pytest.raises(OutOfRange, match="not additive"):
        worked.correct_energy(3600.0, machine=None, rapl_package=3.6e5, nvml=3.6e5)
    minute = worked.correct_energy(60.0, machine=None, rapl_package=60 * 400.0, nvml=60 * 100.0)
    power = worked.correct(machine=None, rapl_package=400.0, nvml=100.0)
    assert minute.energy_j == pytest.approx(60 * power.power_w)
    # The slope with T at fixed energies: P minus what follows the inputs (here beyond the knot).
    loose = worked.correct_energy(
        60.0, machine=None, duration_u_s=1.0, rapl_package=60 * 400.0, nvml=60 * 100.0
    )
    slope = power.power_w - (1.1427 + 0.0613) * 400 - 1.0891 * 100
    assert loose.u_j**2 - minute.u_j**2 == pytest.approx(slope**2)


def test_a_long_window_of_a_bent_model_is_flagged(worked: Profile) -> None:
    point = {"rapl_package": 60.0, "nvml": 55.0}
    flags = worked.correct(machine=None, averaging_s=600.0, **point).flags
    assert flags == ("averaging:above_max",)
    assert worked.correct(machine=None, averaging_s=1.0, **point).flags == ("averaging:below_min",)


@pytest.mark.parametrize(
    ("point", "flags"),
    [
        ((50.0, 60.0), ("outside:rapl_package",)),
        ((40.0, 52.0), ("outside:rapl_package", "outside:output")),
        ((470.0, 301.0), ("outside:nvml", "outside:halfspace")),
        ((58.0, 52.0), ()),
    ],
)
def test_outside_the_domain(
    worked: Profile, point: tuple[float, float], flags: tuple[str, ...]
) -> None:
    answer = worked.correct(machine=None, rapl_package=point[0], nvml=point[1])
    assert answer.flags == flags
    assert answer.inside == (not flags)


def test_a_profile_may_refuse_to_extrapolate(line_document: Make, load: Load) -> None:
    document = line_document()
    document["applicability"]["extrapolation"] = "refuse"
    profile = load(document)
    with pytest.raises(OutOfRange, match="rapl_package in 10 to 200"):
        profile.correct(machine=None, rapl_package=201.0)
    with pytest.raises(OutOfRange, match="rapl_package"):
        profile.correct_energy(10.0, machine=None, rapl_package=20.0)


@pytest.mark.parametrize(
    ("inputs", "named"),
    [
        ({}, "got nothing"),
        ({"rapl_package": 1.0, "nvml": 2.0}, "got nvml, rapl_package"),
        ({"codecarbon_total": 1.0}, "takes rapl_package"),
        ({"rapl_package": "60"}, "got str"),
        ({"rapl_package": [60.0]}, "got list"),
        ({"rapl_package": True}, "got bool"),
        ({"rapl_package": None}, "got NoneType"),
        ({"rapl_package": math.nan}, "finite"),
        ({"rapl_package": math.inf}, "finite"),
    ],
)
def test_inputs_that_are_none(line: Profile, inputs: dict[str, Any], named: str) -> None:
    with pytest.raises(InputError, match=named):
        line.correct(machine=None, **inputs)


@pytest.mark.parametrize("duration_s", [0.0, -1.0, math.nan, math.inf])
def test_durations_that_are_none(line: Profile, duration_s: float) -> None:
    with pytest.raises(InputError, match="duration_s"):
        line.correct_energy(duration_s, machine=None, rapl_package=1.0)


def test_above_idle_the_offset_drops_out(line: Profile) -> None:
    idle = {"rapl_package": 12.0}
    answer = line.correct(machine=None, averaging_s=1.0, idle=idle, rapl_package=80.0)
    assert answer.power_w == pytest.approx(1.2 * 68)
    assert "above_idle" in answer.flags
    power = 1.2 * 68
    expected = 0.0001 * 68**2 + (0.001 * power) ** 2 + 4.6**2 + 2.1**2
    assert answer.u_w == pytest.approx(math.sqrt(expected))
    job = line.correct_energy(100.0, machine=None, idle=idle, duration_u_s=9.0, rapl_package=8000.0)
    assert job.energy_j == pytest.approx(100 * power)


def test_a_profile_with_a_hidden_state_never_gives_absolute_power(
    line_document: Make, load: Load
) -> None:
    document = line_document()
    document["measurand"]["above_idle_only"] = True
    document["applicability"]["idle_inputs"] = {"rapl_package": 12.0}
    document["uncertainty"]["stated"]["U_at"] = [
        {"inputs": {"rapl_package": 60.0}, "P": 57.6, "U": 10.1595}
    ]
    profile = load(document)
    answer = profile.correct(machine=None, rapl_package=80.0)
    assert answer.power_w == pytest.approx(1.2 * 68)
    assert "above_idle" in answer.flags
    own = profile.correct(machine=None, idle={"rapl_package": 20.0}, rapl_package=80.0)
    assert own.power_w == pytest.approx(1.2 * 60)
    with pytest.raises(ProfileError, match="idle"):
        replace(profile, idle_inputs={}).correct(machine=None, rapl_package=80.0)


def test_a_statement_of_error_gives_no_correction(line_document: Make, load: Load) -> None:
    document = line_document(kind="error_statement")
    del document["model"], document["uncertainty"]
    profile = load(document)
    for call in (
        lambda: profile.correct(machine=None, rapl_package=80.0),
        lambda: profile.correct_energy(10.0, machine=None, rapl_package=800.0),
    ):
        with pytest.raises(ProfileError, match=r"bias -131 W, mean error 27\.4 %"):
            call()


def test_after_review_the_offset_is_widened_and_said(line: Profile) -> None:
    late = replace(line, today=date(2027, 3, 3)).correct(machine=None, rapl_package=60.0)
    fresh = line.correct(machine=None, rapl_package=60.0)
    assert late.flags == ("expired_review",)
    assert late.u_w**2 - fresh.u_w**2 == pytest.approx(3 * 3.0**2)
    early = replace(line, today=date(2026, 10, 13)).correct(machine=None, rapl_package=60.0)
    assert early.flags == ("not_yet_valid",)


def test_an_assumed_offset_is_always_said(line_document: Make, load: Load) -> None:
    document = line_document()
    component = document["uncertainty"]["components"][2]
    component.update(status="assumed", sessions={"n": 1, "span_days": 0})
    profile = load(document)
    assert profile.correct(machine=None, rapl_package=60.0).flags == ("session_offset:assumed",)


def test_a_load_goes_in_without_unit(line_document: Make, load: Load) -> None:
    document = line_document()
    document["inputs"][0].update(
        id="cpu_load", quantity="load", unit="1", derive="sampled_load", aliases=[]
    )
    document["model"]["terms"] = [
        {"id": "b0", "basis": "const", "value": 50.0, "unit": "W"},
        {"id": "b1", "basis": "input", "input": "cpu_load", "value": 80.0, "unit": "W"},
    ]
    document["model"]["covariance"] = [[0.25, 0.0], [0.0, 0.5]]
    document["applicability"]["domain"] = {"cpu_load": [0.0, 1.0], "output": [50.0, 130.0]}
    document["uncertainty"]["stated"]["U_at"] = [
        {"inputs": {"cpu_load": 0.5}, "P": 90.0, "U": 11.8267}
    ]
    profile = load(document)
    job = profile.correct_energy(100.0, machine=None, cpu_load=0.5)
    assert job.energy_j == pytest.approx(9000)
    assert math.isnan(job.raw_j)


def test_codecarbon_alone_means_its_total(line_document: Make, load: Load) -> None:
    text = json.dumps(line_document()).replace("rapl_package", "codecarbon_total")
    profile = load(json.loads(text))
    short = profile.correct(machine=None, codecarbon=60.0)
    assert short == profile.correct(machine=None, codecarbon_total=60.0)


def test_what_was_checked_does_not_change_afterwards(line_document: Make, load: Load) -> None:
    document = line_document()
    profile = load(document)
    document["subject"]["match"]["required"]["cpu.id"] = "x"
    assert profile.correct(rapl_package=60.0).match == "unchecked"
