"""Workloads on a machine whose GPUs are simulated: the processor works, its GPUs are told.

SIMULATED. No GPU of this computer is touched and no library for one is needed: whoever plays the
GPUs is told which level to hold, or which square wave to draw, and the step says that it was
played. The processor rests in such a step, where a real one would hand out kernels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from types import TracebackType
from typing import Any, TypeAlias

from .catalog import workload
from .load import Load
from .runner import WorkloadRunner

__all__ = ["PlayedGpus", "Tell"]

Tell: TypeAlias = Callable[[str, float, float], None]
"""Called with the workload, the GPUs' level (0 to 1), and the period of a square wave, s, or 0."""


class PlayedGpus:
    """Runs what is for the processor, and tells `tell` what is for the GPUs; a context manager.

    `tell` learns of every workload: one that is not for the GPUs leaves them at level 0. `others`
    runs those, by default a `WorkloadRunner` on `cores`.
    """

    def __init__(
        self,
        names: Iterable[str],
        tell: Tell,
        *,
        cores: int | None = None,
        others: Load | None = None,
    ) -> None:
        self._tell, self._own = tell, None
        self._told: dict[str, Any] | None = None
        if others is None:
            others = self._own = WorkloadRunner(
                [n for n in names if not workload(n).gpu], cores=cores
            )
        self._others = others

    @property
    def ended(self) -> bool:
        """Return whether what was started has ended by itself; a GPU's workload never does."""
        return self._told is None and self._others.ended

    def start(self, name: str, level: float) -> None:
        """Start a workload."""
        entry = workload(name)
        if not entry.gpu:
            self._told = None
            self._tell(name, 0.0, 0.0)
            self._others.start(name, level)
            return
        period_s = entry.argument if entry.square else None
        self._told = {
            "workers": 0,
            "duty": level,
            "operations": 0,
            "operation": None,
            "simulated": True,
            **({} if period_s is None else {"period_s": period_s, "device": "gpu"}),
        }
        self._tell(name, level, period_s or 0.0)

    def stop(self) -> Mapping[str, Any]:
        """Stop it and say what was done; `simulated` where nothing but a level was told."""
        told, self._told = self._told, None
        self._tell("idle", 0.0, 0.0)
        return self._others.stop() if told is None else told

    def __enter__(self) -> PlayedGpus:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._own is not None:
            self._own.close()
