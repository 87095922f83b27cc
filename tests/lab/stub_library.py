"""The stand-in of NVIDIA's library inside a test's own process, under the real nvidia-ml-py."""

from __future__ import annotations

import ctypes
import shutil
from pathlib import Path

import pytest

from calibration.simulation import nvml

__all__ = ["load_library"]


def load_library(built: Path, folder: Path, state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let pynvml load a copy in `folder` of the library in `built`, which reads `state`.

    A copy, because a library that is loaded twice from one file keeps its first state.
    """
    import pynvml

    copy = folder / nvml.LIBRARY
    shutil.copy(built / nvml.LIBRARY, copy)
    monkeypatch.setattr(pynvml, "CDLL", lambda _name: ctypes.CDLL(str(copy)))
    monkeypatch.setattr(pynvml, "nvmlLib", None)
    monkeypatch.setattr(pynvml, "_nvmlGetFunctionPointer_cache", {})
    monkeypatch.setenv("WATTCAL_NVML", str(state))
