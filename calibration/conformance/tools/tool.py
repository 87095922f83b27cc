"""What an adapter is: a script for the tool's own environment, and a reading of what it printed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

from ..figures import Claim, Figure
from ..scenarios import Scenario

__all__ = ["CHILDREN", "Lines", "Reported", "Run", "Tool"]

CHILDREN: Final = Path(__file__).resolve().parents[1] / "children"

Environment: TypeAlias = Literal["own", "peers"]


@dataclass(frozen=True, slots=True)
class Reported:
    """What a tool reported in one scenario.

    `file_says` and `log_says` are the source of its CPU figures as its result file and its log
    name it, None where they are silent. `error` is why it gave nothing, where it said so itself.
    """

    figures: tuple[Figure, ...]
    file_says: str | None = None
    log_says: str | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Run:
    """What a child left behind: what it printed, the folder it wrote to, its log, its scenario."""

    report: Mapping[str, Any]
    folder: Path
    log: str
    scenario: Scenario


@dataclass(frozen=True, slots=True)
class Lines:
    """The few lines of Python with which a user measures a window with a tool, without us.

    `load` imports it, `make` sets it up in a folder that it may fill; `begin` and `end` bracket a
    window, `{i}` is its number; `close` comes after the last one. `says` gives the lines that set
    `says` to a claim's value in the last window, in SI units, or to None where it left it out; they
    must run where it was killed on the way, too.
    """

    load: tuple[str, ...]
    make: tuple[str, ...]
    begin: str
    end: str
    close: tuple[str, ...]
    says: Callable[[Claim], tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Tool:
    """One tool under test.

    `child` is run by the Python of `environment` (`own`: ours; `peers`: .venv-peers). `lines` are
    for scripts that stand alone, given what a scenario asks for; None: it has no life without us.
    """

    name: str
    distribution: str
    environment: Environment
    child: Path
    read: Callable[[Run], Reported]
    lines: Callable[[Mapping[str, float]], Lines] | None = None
