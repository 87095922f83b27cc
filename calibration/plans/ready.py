"""Plans that are ready to run, and the one place that finds a plan by name or file."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from ..errors import InputError
from .order import shuffled_plan
from .plan import IDLE, Plan, PlanStep, from_toml
from .sync import sync_preamble

__all__ = ["READY", "SUMMARIES", "find_plan"]

_EIGHTHS: Final = tuple(n / 8 for n in range(1, 9))
_ODD, _EVEN = _EIGHTHS[0::2], _EIGHTHS[1::2]


def _cells(levels_of: Mapping[str, tuple[float, ...]]) -> list[tuple[str, float]]:
    return [(name, level) for name, levels in levels_of.items() for level in levels]


@functools.cache
def _smoke(seed: int = 1) -> Plan:
    """Build two workloads and idle, once each: three groups, one too few for any correction."""
    return shuffled_plan(
        "smoke",
        _cells({"cpu-int": (0.25, 0.5, 1.0), "memory-copy": (0.5, 1.0)}),
        seed=seed,
        step_s=14.0,
        idle_s=10.0,
        warm_up_s=2.0,
        settle_s=4.0,
        opening=sync_preamble(18.0, seed=seed),
    )


@functools.cache
def _quick(seed: int = 1) -> Plan:
    """Build ten cells of four workloads at eight levels, twice, with a preamble at each end."""
    return shuffled_plan(
        "quick",
        _cells(
            {
                "cpu-int": (0.125, 0.5, 0.875),
                "cpu-matmul": (0.25, 0.625, 1.0),
                "memory-copy": (0.5, 1.0),
                "cpu-int-1": (0.375, 0.75),
            }
        ),
        seed=seed,
        step_s=20.0,
        idle_s=25.0,
        repeats=2,
        warm_up_s=2.0,
        settle_s=5.0,
        parts=2,
        opening=sync_preamble(37.0, seed=seed),
        closing=sync_preamble(36.0, seed=seed + 1),
    )


@functools.cache
def _standard(seed: int = 1) -> Plan:
    """Build six workloads at four of eight levels each, twice, on a warm machine."""
    names = ("cpu-int", "cpu-matmul", "memory-copy", "cpu-float", "memory-latency", "mixed")
    return shuffled_plan(
        "standard",
        _cells({name: _EVEN if i % 2 else _ODD for i, name in enumerate(names)}),
        seed=seed,
        step_s=27.5,
        idle_s=32.0,
        repeats=2,
        warm_up_s=5.0,
        settle_s=7.5,
        parts=2,
        opening=(*sync_preamble(95.0, seed=seed), _warm_up(156.0)),
        between=sync_preamble(16.0, seed=seed + 1),
        closing=sync_preamble(16.0, seed=seed + 2),
    )


# Twenty workloads are twenty groups: a distribution-free 95 % interval needs nineteen.
_THOROUGH: Final = (
    "cpu-int",
    "cpu-int-half",
    "cpu-int-1",
    "cpu-float",
    "cpu-float-1",
    "cpu-matmul",
    "cpu-matmul-half",
    "cpu-vector",
    "cpu-fft",
    "cpu-sort",
    "cpu-hash",
    "cpu-compress",
    "cache-copy",
    "memory-copy",
    "memory-copy-1",
    "memory-read",
    "memory-latency",
    "mixed",
    "disk-light",
    "network-light",
)


@functools.cache
def _thorough(seed: int = 1) -> Plan:
    """Build twenty workloads at three levels each, twice; an idle anchor every 14 minutes."""
    thirds = ((0.25, 0.625, 1.0), (0.375, 0.75, 1.0), (0.125, 0.5, 0.875))
    return shuffled_plan(
        "thorough",
        _cells({name: thirds[i % 3] for i, name in enumerate(_THOROUGH)}),
        seed=seed,
        step_s=50.0,
        idle_s=60.0,
        repeats=2,
        warm_up_s=5.0,
        settle_s=15.0,
        parts=4,
        opening=(*sync_preamble(95.0, seed=seed), _warm_up(320.0)),
        between=sync_preamble(30.0, seed=seed + 1),
        closing=sync_preamble(30.0, seed=seed + 2),
    )


def _rezero(seed: int = 0) -> Plan:
    """Build a minute of idle; five seconds of it settle, which leaves more than the 50 s needed."""
    return Plan("rezero", seed, (PlanStep(IDLE, 0.0, 60.0),), settle_s=5.0)


@functools.cache
def _verify(seed: int = 1) -> Plan:
    """Build four workloads that `quick` does not have, at eight levels, once."""
    return shuffled_plan(
        "verify",
        _cells(
            {
                "cpu-float": (0.125, 0.5, 1.0),
                "cpu-hash": (0.25, 0.75, 1.0),
                "memory-read": (0.375, 0.625, 1.0),
                "mixed": (0.25, 0.875),
            }
        ),
        seed=seed,
        step_s=40.0,
        idle_s=28.0,
        warm_up_s=4.0,
        settle_s=10.0,
        parts=2,
        opening=sync_preamble(36.0, seed=seed),
        closing=sync_preamble(36.0, seed=seed + 1),
    )


def _observe(seed: int = 0) -> Plan:
    """Build an hour in which nothing is asked of the machine: it does its own work."""
    return Plan("observe", seed, (PlanStep("observe", 0.0, 3600.0, "observe"),))


def _warm_up(most_s: float) -> PlanStep:
    """Return the load that warms the machine: about the mean of what follows."""
    return PlanStep("cpu-int", 0.625, most_s, "warm-up")


SUMMARIES: Final[Mapping[str, str]] = {
    "smoke": "2 min: does everything work? Never gives a correction",
    "quick": "10 min: 8 levels over 4 workloads",
    "standard": "30 min: 8 levels over 6 workloads, thermally settled",
    "thorough": "2 h: 20 workloads, enough for distribution-free intervals",
    "rezero": "1 min of idle: a profile's offset for this session",
    "verify": "10 min: checks a published profile, no fit",
    "observe": "1 h: the machine does its own work",
}
READY: Final[Mapping[str, Callable[[], Plan]]] = {
    "smoke": _smoke,
    "quick": _quick,
    "standard": _standard,
    "thorough": _thorough,
    "rezero": _rezero,
    "verify": _verify,
    "observe": _observe,
}


def find_plan(name_or_file: str) -> Plan:
    """Return a ready plan by its name, or read one from a TOML file.

    Raises:
        InputError: there is no such plan and no such file, or the file is not a plan.

    """
    if name_or_file in READY:
        return READY[name_or_file]()
    path = Path(name_or_file)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"Expected the name of a plan ({', '.join(READY)}) or a TOML file; got "
            f"{name_or_file}, which cannot be read: {getattr(error, 'strerror', error)}."
        ) from None
    return from_toml(text, source=str(path))
