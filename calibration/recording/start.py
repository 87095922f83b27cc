"""The head of a run: who, when, and with which versions of what."""

from __future__ import annotations

import sys
import time
import uuid
from collections.abc import Mapping
from importlib import metadata
from typing import Any, Final, Literal

from .._version import VERSION
from .documents import Start

__all__ = ["new_start"]

# Import name -> distribution, for the libraries whose version can change a recording.
_LIBRARIES: Final = {
    "numpy": "numpy",
    "pyarrow": "pyarrow",
    "pandas": "pandas",
    "serial": "pyserial",
    "psutil": "psutil",
    "codecarbon": "codecarbon",
    "pynvml": "nvidia-ml-py",
}


def new_start(
    data_kind: Literal["measured", "simulated"],
    session: str,
    *,
    plan: Mapping[str, Any] | None = None,
    seed: int | None = None,
    machine: Mapping[str, Any] | None = None,
    note: str | None = None,
    source: Mapping[str, Any] | None = None,
    versions: Mapping[str, str] | None = None,
    setup: Mapping[str, Any] | None = None,
) -> Start:
    """Return the head of a new run: a fresh uid, the time, the versions of the loaded libraries.

    `versions` adds those of tools that run in processes of their own; `setup` is the bench's.
    """
    return Start(
        uid=uuid.uuid4().hex,
        t_wall_ns=time.time_ns(),
        data_kind=data_kind,
        session=session,
        plan=plan,
        seed=seed,
        machine=dict(machine or {}),
        versions={**_versions(), **(versions or {})},
        note=note,
        source=source,
        setup=dict(setup or {}),
    )


def _versions() -> dict[str, str]:
    found = {"python": sys.version.split()[0], "wattcal": VERSION}
    for module, distribution in _LIBRARIES.items():
        if module in sys.modules:
            try:
                found[distribution] = metadata.version(distribution)
            except metadata.PackageNotFoundError:
                found[distribution] = "unknown"
    return found
