"""What a meter's resolution q does to readings: their scatter before rounding, what is left after.

A steady power shows the same count again, and the error of rounding with it: a sawtooth of the
power between -q/2 and q/2. Noise within a mean moves the reading over several counts and takes that
error away (dither; Widrow and Kollar, Quantization Noise, 2008, chapter 4). In between, the mean
of the counts is the power smoothed by the noise: it says by itself where in its step the power
lies.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import numpy.typing as npt

__all__ = ["before_rounding", "harmonics", "left_by_rounding"]

Floats = npt.NDArray[np.float64]
# From this share of a step on, noise leaves less than 1e-3 of the error of rounding.
_DITHERED = 0.6


@lru_cache(maxsize=1)
def _scatter() -> tuple[Floats, Floats]:
    """Return the scatter of rounded readings, and of the readings before, in steps of rounding.

    The scatter is the mean over all positions of the level between two counts.
    """
    before = np.concatenate([[0.0], np.logspace(-4, 0, 60)])
    after = []
    for s in before:
        if s < 0.05:  # a few readings about the edge: the mean over the level is s/√π exactly
            after.append(s / math.sqrt(math.pi))
            continue
        _, mean, square = _counts(float(s))
        after.append(float(np.mean(square - mean**2)))
    return np.sqrt(np.array(after)), before


def _counts(noise: float) -> tuple[Floats, Floats, Floats]:
    """Return levels within a step, and mean and mean square of their counts, in steps.

    A level μ with normal noise σ shows the count k with probability Φ((k+½-μ)/σ) - Φ((k-½-μ)/σ).
    """
    from scipy.special import ndtr

    level = (np.arange(64) + 0.5) / 64 - 0.5
    edge = np.arange(-7, 8) + 0.5
    p = np.diff(ndtr((edge[None, :] - level[:, None]) / noise), axis=1)
    k = edge[:-1] + 0.5
    return level, p @ k, p @ k**2


def before_rounding(scatter_w: float, q: float) -> float:
    """Return the standard deviation (W) of readings before rounding to q (W) from that after."""
    if q <= 0 or scatter_w > q:
        return math.sqrt(scatter_w**2 - (q * q / 12 if q > 0 else 0.0))
    after, before = _scatter()
    return q * float(np.interp(scatter_w / q, after, before))


def left_by_rounding(
    power_w: Floats, still: npt.NDArray[np.bool_], looks: Floats, sigma_w: float, q: float
) -> float:
    """Return what rounding to q leaves in the means of steady segments, as a standard u, W.

    `power_w` are the means of the rounded readings, `still` marks segments that show one count
    only, `looks` is how many independent readings each is worth (all of shape (segments,));
    `sigma_w` is the noise before rounding.

    Root mean square over the segments: where readings fall on several counts, their mean is the
    level smoothed by the noise, and its error what lies between the two; where they all fall on
    one, the level may lie anywhere in the step except within z σ of its edges, where one of the
    readings would more likely than not have shown the next count, Φ(z)^looks = ½: rectangular.
    """
    if q <= 0 or sigma_w >= _DITHERED * q:
        return 0.0
    if sigma_w <= 0:
        return q / math.sqrt(12)
    from scipy.special import ndtri

    z = ndtri(0.5 ** (1 / np.maximum(looks, 1.0)))
    half = np.maximum(0.5 * q - np.maximum(z, 0.0) * sigma_w, 0.0)
    error2 = half * half / 3
    if not still.all():
        level, mean, _ = _counts(sigma_w / q)
        position = power_w / q - np.rint(power_w / q)
        # The same curve a step to either side, so that positions near ±½ lie inside of it.
        mean3 = np.concatenate([mean - 1, mean, mean + 1])
        level3 = np.concatenate([level - 1, level, level + 1])
        seen = q * (position - np.interp(position, mean3, level3))
        error2 = np.where(still, error2, seen * seen)
    return math.sqrt(float(error2.mean()))


def harmonics(left_w: float, q: float, dof: float) -> Floats:
    """Return the weights of the harmonics of what rounding to q leaves, k = 1..8, their sum 1.

    The error of rounding is a sawtooth of the power, of variance q²/12 with a share 6/(π k)² in
    harmonic k; normal noise σ smooths it by exp(-4 π² k² σ²/q²) in variance (Widrow and Kollar,
    2008, chapter 4). σ follows from `left_w`, what is left as a standard uncertainty, known with
    `dof`: the weights are averaged over its relative variance 2/dof, by the three points of
    Gauss and Hermite (1, 1 ± √3 times its root, with 2/3 and 1/6 each).
    """
    k = np.arange(1, 9)
    noise, share = _smoothed()
    left, spread = 12 * (left_w / q) ** 2, math.sqrt(6 / dof)
    found = np.zeros(k.size)
    for times, part in ((1 - spread, 1 / 6), (1.0, 2 / 3), (1 + spread, 1 / 6)):
        s = float(np.interp(left * times, share, noise))
        weight = np.exp(-4 * (np.pi * k * s) ** 2) / (k * k)
        found += part * weight / weight.sum()
    return found


@lru_cache(maxsize=1)
def _smoothed() -> tuple[Floats, Floats]:
    """Return σ/q and the share of q²/12 that it leaves, the share rising."""
    noise = np.linspace(0.7, 0.0, 141)
    k = np.arange(1, 400)
    share = np.exp(-4 * (np.pi * np.outer(noise, k)) ** 2) @ (6 / (np.pi * k) ** 2)
    return noise, np.asarray(share)
