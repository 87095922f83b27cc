"""Plans that are ready to run, and the one place that finds a plan by name or file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from ..errors import InputError
from .order import shuffled_plan
from .plan import Plan, from_toml

__all__ = ["READY", "find_plan", "staircase", "staircase_short"]

STAIRCASE_LEVELS: Final = (0.125, 0.25, 0.375, 0.5, 0.625, 0.75, 0.875, 1.0)


def staircase(seed: int = 1) -> Plan:
    """Build the CPU duty-cycle staircase: eight levels twice, shuffled, three idle anchors, 7 min.

    A step is 20 s, of which 5 s settle: a plug meter that averages over 1 s and lags by
    1 s or 2 s keeps at least ten good readings of every step.
    """
    return shuffled_plan(
        "staircase",
        [("cpu-int", level) for level in STAIRCASE_LEVELS],
        seed=seed,
        step_s=20.0,
        idle_s=30.0,
        repeats=2,
        warm_up_s=5.0,
        settle_s=5.0,
    )


def staircase_short(seed: int = 1) -> Plan:
    """Build the staircase for a first look: five levels once, under a minute."""
    return shuffled_plan(
        "staircase-short",
        [("cpu-int", level) for level in (0.2, 0.4, 0.6, 0.8, 1.0)],
        seed=seed,
        step_s=7.0,
        idle_s=6.0,
        warm_up_s=2.0,
        settle_s=2.5,
    )


READY: Final[Mapping[str, Callable[[], Plan]]] = {
    "staircase": staircase,
    "staircase-short": staircase_short,
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
