"""A stand-in for NVIDIA's management library, with GPUs whose power is known.

`build_library` compiles `nvml_stub.c` into `libnvidia-ml.so.1`; programs find it through
LD_LIBRARY_PATH, load it with the real nvidia-ml-py, and see the GPUs of a state file that
`NvmlState` keeps current. Beside it lies an executable `nvidia-smi`, because some tools look for
one before they ask the library.

State file, little-endian, words of 8 bytes::

    0    magic          8   number of GPUs       16  driver version, text, 64 bytes
    128  one record of 512 bytes a GPU:
         name, uuid, vbios: text, 64 bytes each; then the words
         power_mw average_mw instant_mw energy_mj limit_mw utilisation temperature architecture
         has_counter has_fields lost mig (0 off, 1 on, 2 unsupported)
"""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import os
import shutil
import struct
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from ..errors import NotAvailable

__all__ = ["LIBRARY", "NvmlState", "build_library", "use_library", "variables"]

LIBRARY: Final = "libnvidia-ml.so.1"
_SOURCE: Final = Path(__file__).with_name("nvml_stub.c")
_MAGIC: Final = 0x4C4D564E
_HEADER: Final = 128
_RECORD: Final = 512
_MOST: Final = 8
_TEXTS: Final = ("name", "uuid", "vbios")
_WORDS: Final = (
    "power_mw", "average_mw", "instant_mw", "energy_mj", "limit_mw", "utilisation", "temperature",
    "architecture", "has_counter", "has_fields", "lost", "mig",
)  # fmt: skip
_SMI: Final = """#!/bin/sh
# SIMULATED. Tools look for this program before they ask the library.
echo "NVIDIA-SMI 0.0 (simulated)"
"""


def build_library(folder: Path) -> Path:
    """Compile the library into `folder`, which is made, and return the folder.

    Raises:
        NotAvailable: there is no C compiler, or it failed.

    """
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        raise NotAvailable(
            "Simulated GPUs need a C compiler (gcc or cc) for a small stand-in of NVIDIA's "
            "library; none is on PATH. Install gcc, or leave the GPUs out."
        )
    folder.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(
        [compiler, "-O2", "-shared", "-fPIC", "-o", str(folder / LIBRARY), str(_SOURCE)],
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise NotAvailable(f"{compiler} could not build the simulated GPU library: {done.stderr}")
    smi = folder / "nvidia-smi"
    smi.write_text(_SMI, encoding="ascii")
    smi.chmod(0o755)
    return folder


def variables(library: Path, state: Path) -> dict[str, str]:
    """Return the environment in which a program finds the library in a folder, and its GPUs."""
    paths = {
        name: os.pathsep.join(filter(None, [str(library), os.environ.get(name)]))
        for name in ("LD_LIBRARY_PATH", "PATH")
    }
    return {**paths, "WATTCAL_NVML": str(state)}


def use_library(library: Path, state: Path) -> None:
    """Let this very process, and those that it starts, see the GPUs of a state file.

    A process that runs looks up LD_LIBRARY_PATH no more, so nvidia-ml-py is handed the library. It
    keeps the first state file that it opens.
    """
    os.environ.update(variables(library, state))
    with contextlib.suppress(ImportError):  # without it whoever asks for GPUs says so
        import pynvml

        pynvml.nvmlLib = ctypes.CDLL(str(library / LIBRARY))


class NvmlState:
    """The state file: made for some GPUs, each described by its texts and constant words."""

    def __init__(self, path: Path, gpus: Sequence[Mapping[str, Any]], driver: str = "550.54.15"):
        if len(gpus) > _MOST:
            raise ValueError(f"At most {_MOST} simulated GPUs; got {len(gpus)}.")
        path.write_bytes(bytes(_HEADER + _MOST * _RECORD))
        descriptor = os.open(path, os.O_RDWR)
        try:
            self._map = mmap.mmap(descriptor, 0)
        finally:
            os.close(descriptor)
        self._map[16 : 16 + 64] = driver.encode().ljust(64, b"\0")
        for index, gpu in enumerate(gpus):
            for number, name in enumerate(_TEXTS):
                at = _HEADER + index * _RECORD + 64 * number
                self._map[at : at + 64] = str(gpu[name]).encode()[:63].ljust(64, b"\0")
            self.write(index, {k: int(v) for k, v in gpu.items() if k in _WORDS})
        struct.pack_into("<QQ", self._map, 0, _MAGIC, len(gpus))

    def write(self, index: int, words: Mapping[str, int]) -> None:
        """Set words of one GPU, each in one piece."""
        begin = _HEADER + index * _RECORD + 64 * len(_TEXTS)
        for name, value in words.items():
            struct.pack_into("<Q", self._map, begin + 8 * _WORDS.index(name), value)

    def close(self) -> None:
        """Give the mapping back."""
        self._map.close()
