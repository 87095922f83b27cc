"""Zeus, the real one, as an estimator: its energies by device, in windows back to back.

What its numbers are worth, and how the child gets them, stands in `children/zeus_child.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Self

from ..errors import WrongMode
from ..recording.documents import ChannelInfo, Descriptor
from .peers import peers_python
from .pipe import ToolProcess

__all__ = ["Zeus"]

# Without the right to read the counters it goes on with a class of this beginning, silently.
_NO_CPUS: Final = "Empty"


class Zeus:
    """Runs Zeus in the environment of its own; a context manager.

    `rapl_root` plays /sys for its CPUs, which then must be read from there.

    Raises:
        NotAvailable: there is no such environment, Zeus is not in it, or it reads nothing here.
        WrongMode: a powercap tree was given, and it reads no package of it.

    """

    def __init__(
        self,
        *,
        id: str = "zeus",
        cadence_s: float = 1.0,
        python: Path | None = None,
        rapl_root: Path | None = None,
    ) -> None:
        self.id, self.cadence_s = id, cadence_s
        root = None if rapl_root is None else str(rapl_root.resolve())
        self._child = ToolProcess(
            "Zeus",
            "zeus_child.py",
            {"cadence_s": cadence_s, "rapl_root": root},
            python=peers_python(python),
        )
        # What a recorder asks for (`protocol.PushedEstimator`) the process gives itself.
        self.drain, self.finish = self._child.drain, self._child.finish
        self.close, self.pid = self._child.close, self._child.process.pid
        self.mode: Mapping[str, Any] = self._child.ready
        self.version = str(self.mode["version"])
        if root is not None and not self.mode["summed"]:
            self.close()
            raise WrongMode(
                f"Expected Zeus to read the packages of {root}; it reads {self.mode['cpus']} with "
                f"the zones {self.mode['zones']}. Look whether they are readable."
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def descriptor(self) -> Descriptor:
        """Return what the channels mean, and which of its devices are added."""
        columns = (*self.mode["columns"], "zeus_total_j")
        zones: Mapping[str, str] = self.mode["zones"]
        return Descriptor(
            stream=self.id,
            role="estimator",
            source=f"zeus {self.version}",
            channels=tuple(
                ChannelInfo(
                    name=name,
                    quantity="energy",
                    unit="J",
                    kind="counter",
                    input="zeus" if name == "zeus_total_j" else None,
                )
                for name in columns
            ),
            cadence_s=self.cadence_s,
            mode=self._mode(),
            scope=(
                *(zones[str(i)] for i in self.mode["summed"]),
                *(["dram"] if "zeus_dram_j" in columns else []),
                *(f"GPU {i}" for i in self.mode["gpu_source"]),
            ),
            configuration={k: v for k, v in self.mode.items() if k != "columns"},
        )

    def _mode(self) -> str:
        cpus = str(self.mode["cpus"])
        parts = ["no CPUs" if cpus.startswith(_NO_CPUS) else "rapl"]
        parts += sorted(set(self.mode["gpu_source"].values()))
        return " + ".join(parts)
