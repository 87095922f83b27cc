"""Registers: any wrap, any split, resets, gaps, zeros, units and clocks."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calibration.analysis import counters, pieces
from calibration.analysis.counters import (
    REASONS,
    clock_findings,
    increasing,
    register_differences,
)
from calibration.analysis.energy import Pieces
from calibration.recording.documents import ChannelInfo, Clock, Descriptor
from calibration.recording.reader import Series, read_run
from calibration.recording.writer import RunWriter, new_start
from tests.numbers import counter_fuzz

S = 1_000_000_000


def series(kind: str, t_s: np.ndarray, value: np.ndarray, **more: object) -> Series:
    t_s = np.asarray(t_s, dtype=float)
    channel = ChannelInfo(
        name="energy_j" if kind == "counter" else "power_w",
        quantity="active_energy" if kind == "counter" else "active_power",
        unit="J" if kind == "counter" else "W",
        kind=kind,  # type: ignore[arg-type]
        window_s=1.0,
        wrap=more.pop("wrap", None),  # type: ignore[arg-type]
    )
    plain = Series(
        stream="s",
        channel=channel,
        t_ns=np.rint(t_s * S).astype(np.int64),
        t_half_width_ns=np.zeros(t_s.size, dtype=np.int64),
        value=np.asarray(value, dtype=float),
        window_ns=None,
        cadence_s=1.0,
        max_gap_s=5.0,
        source="test",
        mode=None,
        boundary="psu_ac_input",
        role="estimator",
        faults={},
    )
    return dataclasses.replace(plain, **more)  # type: ignore[arg-type]


def codes(source: Series) -> tuple[str, ...]:
    return tuple(f.code for f in pieces(source).findings)


@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.integers(0, 999), min_size=3, max_size=40),
    st.integers(0, 1023),
    st.data(),
)
def test_any_split_at_any_wrap_position_adds_up(
    energies: list[int], begin: int, data: st.DataObject
) -> None:
    """A register of 1024 J read every second at 999 W at most: one wrap is always decidable."""
    true = begin + np.concatenate([[0], np.cumsum(energies)])
    t = np.arange(true.size, dtype=np.int64) * S
    whole = register_differences(t, true % 1024.0, modulus_j=1024.0, power_limit_w=999.0)
    assert whole.undecided == 0
    assert np.array_equal(whole.energy_j, energies)
    cut = data.draw(st.integers(1, true.size - 1))
    parts = [
        register_differences(t[a], true[a] % 1024.0, modulus_j=1024.0, power_limit_w=999.0)
        for a in (slice(0, cut + 1), slice(cut, None))
    ]
    assert sum(float(p.energy_j.sum()) for p in parts) == whole.energy_j.sum()


def test_broken_traces_hold_no_negative_and_no_wrong_joule() -> None:
    """A hundred thousand of the million that `make fuzz` makes: see `counter_fuzz`."""
    tally = counter_fuzz.fuzz(100_000, 7)
    assert tally.breaches == {}
    for name in ("register_reset", "several_wraps", "implausible", "missing", "known_break",
                 "suspended", "torn_read"):  # fmt: skip
        assert tally.reasons[name] > 100, name
    assert tally.reasons["good"] > 0.8 * tally.steps
    assert tally.stalls == 100
    # What leaves no trace in the numbers is rare, and bounded by what the hardware can draw.
    assert tally.unseen_resets < 2e-3 * tally.steps


@pytest.mark.parametrize(
    ("planted", "breach"),
    [
        ("torn", "one half of a tear kept"),
        ("slept", "a register lost in sleep passed over"),
        ("modulus_j", "a wrong energy that nothing hides"),
    ],
)
def test_the_fuzz_finds_what_is_planted(
    planted: str, breach: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The fuzz has to fail where a rule is missing."""
    if planted == "torn":
        nothing = lambda t, r, *_: np.zeros(r[..., 2:].shape, dtype=bool)  # noqa: E731
        monkeypatch.setattr(counters, "_torn", nothing)
    else:
        spoiled = {"slept": (), "modulus_j": 2 * counter_fuzz.MODULUS_J}

        def without(*arrays: np.ndarray, **options: object) -> object:
            given = {**options, planted: spoiled[planted]}
            return register_differences(*arrays, **given)  # type: ignore[arg-type]

        monkeypatch.setattr(counter_fuzz, "register_differences", without)
    assert breach in counter_fuzz.fuzz(20_000, 7).breaches


def reason(t_s: list[float], r: list[float], **options: object) -> list[str]:
    t = np.rint(np.array(t_s) * S).astype(np.int64)
    found = register_differences(t, np.array(r), **options)  # type: ignore[arg-type]
    return [REASONS[i] for i in found.reason]


def test_what_cannot_be_decided_says_why() -> None:
    wrap = {"modulus_j": 1000.0, "power_limit_w": 100.0}
    assert reason([0, 1, 2], [990, 40, 90], **wrap) == ["", ""]
    assert reason([0, 1, 2], [500, 40, 90], **wrap) == ["register_reset", ""]
    assert reason([0, 20], [990, 40], **wrap) == ["several_wraps"]
    assert reason([0, 18], [40, 990], **wrap) == [""]  # a second turn would take 1950 J
    assert reason([0, 1], [40, 500], **wrap) == ["implausible"]
    assert reason([0, 1, 2], [10, np.nan, 60], **wrap) == ["missing", "missing"]
    assert reason([0, 1], [990, 40], power_limit_w=100.0) == ["register_reset"]
    assert reason([0, 1], [990, 640], power_limit_w=100.0) == ["went_back"]
    assert reason([0, 1], [990, 40], **wrap, slept=((0, S),)) == ["suspended"]
    assert reason([0, 1], [10, 40], **wrap, breaks=[1]) == ["known_break"]
    # So low that it may have begun again in its sleep; higher up it cannot have.
    assert reason([0, 1], [10, 40], **wrap, slept=((0, S),)) == ["suspended"]
    assert reason([0, 1], [500, 540], **wrap, slept=((0, S),)) == [""]
    assert reason([0, 1, 2, 3], [500, 40, 600, 650], **wrap) == ["torn_read", "torn_read", ""]
    assert reason([0, 1, 2, 3], [500, 900, 600, 650], **wrap) == ["torn_read", "torn_read", ""]
    assert reason([0, 1, 2], [500, 540, 600], **wrap) == ["", ""]
    with pytest.raises(ValueError, match="modulus_j"):
        reason([0, 1], [1, 2], modulus_j=0.0)


def test_a_register_that_begins_again_is_found_without_a_range() -> None:
    up = np.cumsum(np.full(60, 40.0))
    cut = pieces(series("counter", np.arange(120), np.concatenate([up, up])))
    assert [f.code for f in cut.findings] == ["register_reset"]
    assert cut.findings[0].row == 60
    assert cut.energy_j.sum() == pytest.approx(2 * 59 * 40.0)


def test_zeros_between_readings_are_missing_and_zeros_of_idle_hardware_are_not() -> None:
    t = np.arange(40)
    power = np.full(40, 60.0)
    power[[3, 17, 18]] = 0.0
    cut = pieces(series("mean", t, power))
    assert [(f.code, f.count) for f in cut.findings] == [("missing_as_zero", 3)]
    assert cut.energy_j.sum() / cut.duration_s.sum() == pytest.approx(60.0)
    sleepy = np.where(t < 20, 0.0, 3.0 * (t - 19.9))
    assert codes(series("mean", t, sleepy)) == ()
    # A meter at the machine's input that shows zeros only shows nothing.
    dead = series("mean", t, np.zeros(40))
    assert codes(dead) == ()
    assert codes(dataclasses.replace(dead, role="meter")) == ("missing_as_zero",)
    register = 1000.0 + 30.0 * t
    register[11] = 0.0
    cut = pieces(series("counter", t, register))
    assert [(f.code, f.row) for f in cut.findings] == [("missing_as_zero", 11)]
    assert cut.energy_j.sum() == pytest.approx(39 * 30.0)


@pytest.mark.parametrize("factor", [1000.0, 3600.0, 1 / 1000.0, 1 / 3600.0])
@pytest.mark.parametrize("kind", ["mean", "counter"])
def test_a_change_of_unit_inside_a_log_is_found(kind: str, factor: float) -> None:
    rng = np.random.default_rng(2)
    power = 40 + rng.normal(0, 1, 100)
    value = power if kind == "mean" else 50_000 + np.cumsum(power)
    value = np.where(np.arange(100) >= 70, value * factor, value)
    cut = pieces(series(kind, np.arange(100), value))
    assert [(f.code, f.row) for f in cut.findings] == [("unit_scale", 70)]
    assert cut.energy_j.sum() / cut.duration_s.sum() == pytest.approx(40, rel=0.01)


def test_ten_is_a_unit_only_where_the_digits_change_and_else_a_load() -> None:
    rng = np.random.default_rng(2)
    deci = np.rint(300 + rng.normal(0, 6, 60))
    assert codes(series("mean", np.arange(60), np.where(np.arange(60) < 40, deci, deci / 10))) == (
        "unit_scale",
    )
    loaded = np.where(np.arange(60) < 40, 30.0, 300.0) + np.round(rng.normal(0, 1, 60), 1)
    assert codes(series("mean", np.arange(60), loaded)) == ()


def test_a_jump_back_in_time_is_found_and_said() -> None:
    t = np.arange(50.0)
    t[30:] -= 4.5
    cut = pieces(series("instant", t, np.full(50, 20.0)))
    assert [(f.code, f.row) for f in cut.findings] == [("time_jump", 30)]
    assert "4" in cut.findings[0].message
    assert np.all(np.diff(cut.start_ns) > 0)
    # One stamp in the far future must not cost the rest of the recording.
    stamps = np.arange(100, dtype=np.int64)
    stamps[10] = 10**15
    keep, found = increasing(stamps)
    assert found is not None
    assert np.count_nonzero(keep) == 99
    assert increasing(np.array([1, 2, 2, 3]))[1] is None


def test_a_register_that_stood_still_lost_its_course_or_its_energy() -> None:
    t = np.arange(300)
    power = np.full(300, 50.0)
    register = np.cumsum(power)
    held = np.where((t >= 100) & (t < 160), register[100], register)
    cut = pieces(series("counter", t, held))
    assert cut.energy_j.sum() == pytest.approx(299 * 50.0)
    assert cut.start_w.max() == pytest.approx(50.0, rel=0.05)
    lost = np.where(t < 100, register, np.where(t < 160, register[100], register - 59 * 50.0))
    cut = pieces(series("counter", t, lost))
    assert [f.code for f in cut.findings] == ["stalled"]
    assert cut.energy_j.sum() / cut.duration_s.sum() == pytest.approx(50.0, rel=0.02)


def test_clocks_tell_of_sleep_and_of_a_wall_clock_that_was_set() -> None:
    def look(mono: float, boot: float, wall: float) -> Clock:
        return Clock(
            monotonic_ns=round(mono * S),
            boottime_ns=round(boot * S),
            wall_ns=round(wall * S),
            boot_id="b",
        )

    calm = [look(0, 0, 1000), look(60, 60, 1060.001), look(120, 120, 1120.002)]
    assert clock_findings(calm) == ()
    slept = [look(0, 0, 1000), look(60, 90, 1090)]
    assert [f.code for f in clock_findings(slept)] == ["suspended"]
    stepped = [look(0, 0, 1000), look(60, 60, 1055)]
    assert [f.code for f in clock_findings(stepped)] == ["time_jump"]


def test_a_register_that_went_back_while_the_machine_slept_did_not_wrap(tmp_path: Path) -> None:
    """A counter near its end, lost in a suspend: as a wrap it would be a plausible 5 W."""

    def recorded(name: str, boottime_s: float) -> Pieces:
        with RunWriter.create(
            tmp_path / name, start=new_start("simulated", "s"), live=False
        ) as run:
            rapl = ChannelInfo(
                name="package_j", quantity="energy", unit="J", kind="counter", wrap=1000.0
            )
            stream = run.open_stream(
                Descriptor(stream="rapl", role="estimator", source="made", channels=(rapl,))
            )
            for t_s, reading in ((0, 980.0), (1, 985.0), (2, 990.0), (3, 2.0), (4, 7.0)):
                stream.append(t_s * S, t_s * S, {"package_j": reading})
            for mono, boot in ((0, 0.0), (2, 2.0), (3, boottime_s)):
                boot_ns = round(boot * S)
                run.clock(
                    Clock(monotonic_ns=mono * S, boottime_ns=boot_ns, wall_ns=boot_ns, boot_id="b")
                )
        return pieces(read_run(tmp_path / name).series("rapl", "package_j"))

    awake, slept = recorded("awake", 3.0), recorded("slept", 63.0)
    assert awake.energy_j.sum() == pytest.approx(27.0)
    assert slept.energy_j.sum() == pytest.approx(15.0)
    (finding,) = slept.findings
    assert finding.code == "register_reset"
    assert "while the machine slept" in finding.message


def test_a_sensor_that_repeats_all_its_digits_has_died_and_a_coarse_one_has_not() -> None:
    rng = np.random.default_rng(6)
    power = 60 + rng.normal(0, 2, 400)
    stuck = np.where((np.arange(400) >= 150) & (np.arange(400) < 240), power[150], power)
    cut = pieces(series("mean", np.arange(400), stuck))
    assert [(f.code, f.row) for f in cut.findings] == [("stalled", 150)]
    assert codes(series("mean", np.arange(400), power)) == ()
    assert codes(series("mean", np.arange(400), np.rint(stuck))) == ()


def test_a_log_that_is_read_rarely_is_decided_where_the_power_is_bounded() -> None:
    """400 W on a register of 262 kJ, read every ten minutes: each turn takes eleven."""
    true = np.cumsum(np.full(50, 400.0 * 600))
    rare = series("counter", 600.0 * np.arange(50), true % 262_144.0, wrap=262_144.0)
    cut = pieces(rare, power_limit_w=420.0)
    assert cut.undecided == 0
    assert cut.energy_j.sum() / cut.duration_s.sum() == pytest.approx(400.0)
    assert np.all(pieces(rare).energy_j >= 0)
    assert pieces(rare).undecided > 40
