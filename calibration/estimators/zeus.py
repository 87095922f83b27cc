"""Zeus, the real one, as an estimator: its energies by device, in windows back to back.

What its numbers are worth, and how the child gets them, stands in `children/zeus_child.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Final

from ..errors import WrongMode
from ..instruments import Reading
from ..recording.documents import ChannelInfo, Descriptor
from .peers import peers_python
from .pipe import ToolProcess

__all__ = ["Zeus"]

_START_TIMEOUT_S: Final = 60.0
_FINISH_TIMEOUT_S: Final = 20.0
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
            start_timeout_s=_START_TIMEOUT_S,
            python=peers_python(python),
        )
        self.mode: Mapping[str, Any] = self._child.ready
        if root is not None and not self.mode["summed"]:
            self.close()
            raise WrongMode(
                f"Expected Zeus to read the packages of {root}; it reads {self.mode['cpus']} with "
                f"the zones {self.mode['zones']}. Look whether they are readable."
            )

    def __enter__(self) -> Zeus:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def version(self) -> str:
        """Return the version of zeus that runs."""
        return str(self.mode["version"])

    @property
    def pid(self) -> int:
        """Return the process id of the child."""
        return self._child.process.pid

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

    def drain(self) -> tuple[Reading, ...]:
        """Return the readings that have arrived since the last call, without waiting."""
        return self._child.drain()

    def finish(self) -> tuple[Reading, ...]:
        """Let it end its last window; return what was not yet handed out."""
        return self._child.finish(_FINISH_TIMEOUT_S)

    def close(self) -> None:
        """End the child."""
        self._child.close()

    def _mode(self) -> str:
        cpus = str(self.mode["cpus"])
        parts = ["no CPUs" if cpus.startswith(_NO_CPUS) else "rapl"]
        parts += sorted(set(self.mode["gpu_source"].values()))
        return " + ".join(parts)
