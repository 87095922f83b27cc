"""What an adapter is: a script for the tool's own environment, and a reading of what it printed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

from ..figures import Figure
from ..scenarios import Scenario

__all__ = ["CHILDREN", "Reported", "Run", "Tool"]

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
class Tool:
    """One tool under test.

    `child` is run by the Python of `environment` (`own`: ours; `peers`: .venv-peers).
    """

    name: str
    distribution: str
    environment: Environment
    child: Path
    read: Callable[[Run], Reported]
