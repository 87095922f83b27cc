"""One thing that was looked at: what was found, what it costs, and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["Finding"]


@dataclass(frozen=True, slots=True)
class Finding:
    """What was looked at (`subject`), how it stands, and what was found there.

    `code` names the kind of finding for programs. `good` needs nothing; `absent` is something that
    a computer may do without; `bad` spoils a measurement. `cost` says what cannot be done or goes
    wrong and `remedy` what to do, both empty where all is well; `commands` are lines to paste.
    """

    code: str
    subject: str
    state: Literal["good", "absent", "bad"]
    found: str
    cost: str = ""
    remedy: str = ""
    commands: tuple[str, ...] = ()
