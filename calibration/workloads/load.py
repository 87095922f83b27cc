"""Whatever makes a machine work, as the bench sees it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

__all__ = ["Load"]


class Load(Protocol):
    """Whatever makes the machine work: a `WorkloadRunner`, or the machine of a simulation."""

    @property
    def ended(self) -> bool:
        """Return whether what was started has ended by itself."""
        ...

    def start(self, name: str, level: float) -> None:
        """Start a workload."""
        ...

    def stop(self) -> Mapping[str, Any]:
        """Stop it and say what was done."""
        ...
