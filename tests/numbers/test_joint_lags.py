"""Lags of inputs that see different parts of one machine, where each alone misleads."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from calibration.analysis.alignment import estimate_lag
from calibration.analysis.energy import EnergyCurve, Pieces
from calibration.analysis.joint_lags import joint_lags

S = 10**9
CPU_LATE_S, GPU_LATE_S = 0.35, -0.2


def held(times_s: npt.NDArray[np.float64], powers_w: npt.NDArray[np.float64]) -> Pieces:
    """Return a power that is constant from each instant to the next."""
    t_ns = np.rint(times_s * S).astype(np.int64)
    return Pieces(t_ns[:-1], t_ns[1:], powers_w[:-1].copy(), powers_w[:-1].copy())


def read(power: Pieces, late_s: float) -> Pieces:
    """Return what a counter that is read every 0.1 s and shows everything late makes of it."""
    at_s = np.arange(power.start_ns[0] / S, power.end_ns[-1] / S, 0.1)
    energy = EnergyCurve(power).at(at_s * S)[0]
    return held(at_s + late_s, np.append(np.diff(energy) / 0.1, 0.0))


def machine(seed: int) -> tuple[Pieces, Pieces, Pieces]:
    """Return a meter with windows of 1 s, and what CPU and GPU say: by turns they work, or rest.

    400 W of the GPU over 90 W of the CPU, steps of 12 s, and ten edges of the CPU alone.
    """
    rng = np.random.default_rng(seed)
    lengths = np.concatenate([rng.uniform(2, 4, 10), np.full(40, 12.0)])
    edges = 30.0 + np.concatenate([[0.0], np.cumsum(lengths)])
    which = rng.integers(0, 3, lengths.size)
    which[:10] = np.arange(10) % 2
    level = rng.choice([0.25, 0.5, 0.75, 1.0], lengths.size)
    cpu = np.where(which == 1, 90.0 * level, 0.0)
    gpu = np.where(which == 2, 400.0 * level, 0.0)
    times = np.concatenate([[0.0], edges, [edges[-1] + 30.0]])
    powers = [np.concatenate([[0.0], p, [0.0, 0.0]]) for p in (cpu, gpu)]
    start = np.arange(10.0, times[-1] - 10.0)
    wall_w = np.full(start.size, 80.0) + rng.normal(0, 0.3, start.size)
    for p in powers:
        curve = EnergyCurve(held(times, p))
        wall_w += 1.1 * curve.between(start * S, (start + 1) * S)[0]
    meter = held(np.append(start, start[-1] + 1), np.append(wall_w, 0.0))
    cpu_input, gpu_input = (
        read(held(times, p), late_s)
        for p, late_s in zip(powers, (CPU_LATE_S, GPU_LATE_S), strict=True)
    )
    return meter, cpu_input, gpu_input


def test_each_lag_is_found_in_what_the_other_leaves() -> None:
    """On eight machines: within four of the stated uncertainties; alone, the CPU's is chance."""
    alone_wrong, miss = 0, []
    for seed in range(8):
        meter, cpu, gpu = machine(seed)
        alone = estimate_lag(meter, cpu)
        alone_wrong += not alone.resolved or abs(alone.offset_s - CPU_LATE_S) > 0.2
        lags = joint_lags(meter, {"cpu": cpu, "gpu": gpu})
        for lag, late_s in ((lags["cpu"], CPU_LATE_S), (lags["gpu"], GPU_LATE_S)):
            assert lag.resolved, (seed, lag.reason)
            assert lag.u_s < 0.02
            miss.append((lag.offset_s - late_s) / lag.u_s)
    assert alone_wrong >= 4, "the case would show nothing"
    assert np.max(np.abs(miss)) < 4
    assert np.std(miss) == pytest.approx(1.0, abs=0.4)


def test_an_input_that_sees_all_of_it_keeps_its_own_lag() -> None:
    """Neither a copy of it nor a part of it makes it clearer, so nothing is taken out."""
    meter, cpu, gpu = machine(3)
    both = Pieces(meter.start_ns + S // 2, meter.end_ns + S // 2, meter.start_w, meter.end_w)
    lags = joint_lags(meter, {"all": both, "copy": both, "gpu": gpu})
    assert lags["all"] == lags["copy"] == estimate_lag(meter, both)
    assert lags["all"].offset_s == pytest.approx(0.5, abs=0.01)
    assert repr(joint_lags(meter, {"cpu": cpu})["cpu"]) == repr(estimate_lag(meter, cpu))


def test_an_input_that_was_not_there_all_the_time_takes_nothing_from_the_others() -> None:
    meter, cpu, gpu = machine(4)
    few = gpu.start_ns < 60 * S
    short = Pieces(*(v[few] for v in (gpu.start_ns, gpu.end_ns, gpu.start_w, gpu.end_w)))
    empty = Pieces(*(v[:0] for v in (gpu.start_ns, gpu.end_ns, gpu.start_w, gpu.end_w)))
    lags = joint_lags(meter, {"cpu": cpu, "gpu": gpu, "short": short, "empty": empty})
    assert lags["cpu"].offset_s == pytest.approx(CPU_LATE_S, abs=0.05)
    assert not lags["empty"].resolved
