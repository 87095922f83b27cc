"""CarbonTracker, the real one, as an estimator: the watts of its handlers, added over devices.

What its numbers are worth, and how the child gets them, stands in
`children/carbontracker_child.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Self

from ..errors import WrongMode
from ..recording.documents import ChannelInfo, Descriptor
from .peers import peers_python
from .pipe import ToolProcess

__all__ = ["CarbonTracker"]

# Half of a TDP that it matched by the processor's name: it never changes.
_CONSTANT: Final = "GenericCPU"


class CarbonTracker:
    """Runs CarbonTracker in the environment of its own; a context manager.

    `rapl_root` plays /sys for its CPU handler, which then must read the counters there. A second
    of sleep is inside each of its answers, whatever `cadence_s` says.

    Raises:
        NotAvailable: there is no such environment, the tool is not in it, or reads nothing here.
        WrongMode: a powercap tree was given, and it does not use it.

    """

    def __init__(
        self,
        *,
        id: str = "carbontracker",
        cadence_s: float = 1.0,
        python: Path | None = None,
        rapl_root: Path | None = None,
    ) -> None:
        self.id, self.cadence_s = id, max(cadence_s, 1.0)
        root = None if rapl_root is None else str(rapl_root.resolve())
        self._child = ToolProcess(
            "CarbonTracker",
            "carbontracker_child.py",
            {"cadence_s": self.cadence_s, "rapl_root": root},
            python=peers_python(python),
        )
        # What a recorder asks for (`protocol.PushedEstimator`) the process gives itself.
        self.drain, self.finish = self._child.drain, self._child.finish
        self.close, self.pid = self._child.close, self._child.process.pid
        self.mode: Mapping[str, Any] = self._child.ready
        self.version = str(self.mode["version"])
        if root is not None and self.cpu_mode != "IntelCPU":
            self.close()
            raise WrongMode(
                f"Expected CarbonTracker to read the counters of {root}; it uses {self.cpu_mode}. "
                "Look for readable package zones in that tree."
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    @property
    def cpu_mode(self) -> str | None:
        """Return the class of its handler of the CPU: `IntelCPU`, `GenericCPU`, ..."""
        found = self.mode["handlers"].get("cpu")
        return None if found is None else str(found)

    def descriptor(self) -> Descriptor:
        """Return what the channels mean: the sum of all devices, then CPU and GPUs."""
        handlers, constant = self.mode["handlers"], self.cpu_mode == _CONSTANT
        whole = constant and "gpu" not in handlers
        channels = [self._channel("carbontracker_w", None if whole else "carbontracker")]
        channels += [self._channel(f"carbontracker_{part}_w", None) for part in handlers]
        return Descriptor(
            stream=self.id,
            role="estimator",
            source=f"carbontracker {self.version}",
            channels=tuple(channels),
            cadence_s=self.cadence_s,
            mode=" + ".join(handlers.values()),
            scope=tuple(d for part in handlers for d in self.mode["devices"][part]),
            configuration={
                **self.mode,
                "constant_times_duration": ["cpu"] if constant else [],
            },
        )

    def _channel(self, name: str, input_id: str | None) -> ChannelInfo:
        """Return a channel: the mean of a second that ends at the stamp, and gaps between them."""
        window_s = float(self.mode["window_s"])
        counted = self.cpu_mode == "IntelCPU" and not name.endswith("_gpu_w")
        return ChannelInfo(
            name=name,
            quantity="power",
            unit="W",
            kind="mean" if counted else "instant",
            window_s=window_s if counted else None,
            observed_share=1.0,
            input=input_id,
        )
