"""Over how long a power sensor averages, found at the steps of the load of a recorded run."""

from __future__ import annotations

from collections.abc import Callable
from math import floor
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from calibration.analysis.averaging import averaging_window_s
from calibration.analysis.compare import compare_points
from calibration.analysis.segments import run_points
from calibration.cli.report import comparison_text
from calibration.recording.documents import ChannelInfo, Descriptor, Step
from calibration.recording.reader import Run, read_run
from calibration.recording.writer import RunWriter, new_start
from calibration.simulation.gpu import RTX_3090, Gpu, GpuReadings
from calibration.simulation.profile import PowerProfile

S = 10**9


def sampled(
    every_s: float, last_s: float, value: Callable[[float], float]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    times = every_s * np.arange(round(last_s / every_s))
    return np.rint(times * S).astype(np.int64), np.array([value(t) for t in times])


@pytest.mark.parametrize(("window_s", "period_s"), [(1.0, 0.1), (0.5, 0.05), (60.0, 2.0)])
def test_the_averaging_window_is_the_length_of_the_climb(window_s: float, period_s: float) -> None:
    def mean(t_s: float) -> float:
        looked_s = floor(t_s / period_s) * period_s
        return 80.0 + 120.0 * min(max((looked_s - 1.3 * window_s) / window_s, 0.0), 1.0)

    t_ns, values = sampled(period_s / 5, 4 * window_s, mean)
    assert averaging_window_s(t_ns, values) == pytest.approx(window_s, rel=0.02)
    assert averaging_window_s(t_ns, 300.0 - values) == pytest.approx(window_s, rel=0.02)
    values[7] = np.nan
    assert averaging_window_s(t_ns, values) == pytest.approx(window_s, rel=0.02)


def test_no_step_no_window() -> None:
    assert averaging_window_s(*sampled(0.1, 60.0, lambda t: 100.0)) is None
    assert averaging_window_s(*sampled(0.1, 60.0, lambda t: 100.0 + 9 * (int(t * 7) % 3))) is None
    assert averaging_window_s(*sampled(0.1, 60.0, lambda t: 100.0 + 100 * (t > 30))) is None
    assert averaging_window_s(*sampled(0.1, 0.0, lambda t: t)) is None


def recorded(path: Path, *, climb_s: float = 0.0) -> Run:
    """Write a GPU with a load of eight steps of 10 s, a meter at 10 Hz, the card's own numbers.

    The load takes `climb_s` from one level to the next; the card shows means over 1 s.
    """
    step_s, levels = 10.0, [60.0, 200.0, 120.0, 280.0, 60.0, 240.0, 90.0, 300.0]
    knots = [(0.0, levels[0])]
    for i, level in enumerate(levels):
        knots += [(i * step_s + climb_s, level), ((i + 1) * step_s, level)]
    truth = PowerProfile.of(knots)
    card = GpuReadings(Gpu("NVIDIA RTX 3090", "GPU-1", truth, RTX_3090))
    columns = ("instant_w", "average_w")
    with RunWriter.create(path, start=new_start("simulated", "s"), live=False) as writer:
        meter = writer.open_stream(
            Descriptor(
                stream="wall", role="meter", source="made", boundary="psu_ac_input", cadence_s=0.1,
                channels=(
                    ChannelInfo(name="power_w", quantity="active_power", unit="W", kind="mean",
                                window_s=0.1, resolution=0.01),
                ),
            )
        )  # fmt: skip
        nvml = writer.open_stream(
            Descriptor(
                stream="nvml", role="estimator", source="NVML", mode="power", cadence_s=0.05,
                channels=tuple(
                    ChannelInfo(name=name, quantity="power", unit="W", kind="instant",
                                resolution=0.001, input="nvml" if name == "average_w" else None)
                    for name in columns
                ),
            )
        )  # fmt: skip
        for k in range(1, round(len(levels) * step_s * 20)):
            t_ns = k * S // 20
            words = card.at(k / 20, 0.0)
            nvml.append(t_ns, t_ns, {n: words[n.replace("_w", "_mw")] / 1000 for n in columns})
            if k % 2 == 0:
                wall = 40.0 + truth.power_w(k / 20 - 0.05)
                meter.append(t_ns, t_ns, {"power_w": round(wall, 2)})
        for i, level in enumerate(levels):
            begin = round(i * step_s * S)
            writer.step(
                Step(index=i, workload="copy", level=level / 300, t_start_ns=begin,
                     t_end_ns=begin + round(step_s * S), settle_s=2.0)
            )  # fmt: skip
    return read_run(path)


def test_a_run_tells_which_of_a_cards_numbers_is_an_average_and_of_what(tmp_path: Path) -> None:
    comparison = compare_points(run_points([recorded(tmp_path / "run")]))
    (found,) = comparison.averaging
    assert (found.stream, found.channel, found.n) == ("nvml", "average_w", 7)
    assert found.window_s == pytest.approx(1.0, rel=0.03)
    assert found.u_s < 0.1, "the card renews its number every 0.1 s"
    text = " ".join(comparison_text(comparison).split())
    assert "nvml, average_w: shows the mean of" in text
    assert "found at 7 steps of the load" in text


def test_a_load_that_climbs_slowly_itself_says_nothing_of_the_sensor(tmp_path: Path) -> None:
    assert run_points([recorded(tmp_path / "run", climb_s=1.5)]).averaging == ()
