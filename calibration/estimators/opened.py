"""Estimators by name, as the command line asks for them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from ..errors import CalibrationError, InputError
from .codecarbon import CodeCarbon
from .cpu_load import CpuLoad
from .nvml import NvmlReader
from .protocol import Estimator, PushedEstimator
from .rapl import RaplReader

__all__ = ["ESTIMATORS", "available", "open_estimator"]

ESTIMATORS: Final[Mapping[str, str]] = {
    "rapl": "energy counters of the processor (Linux powercap)",
    "nvml": "energy counters or power sensors of NVIDIA GPUs",
    "cpu-load": "share of time that the cores were busy (psutil)",
    "codecarbon": "CodeCarbon, as it runs here, in a process of its own",
}


def open_estimator(name: str, *, powercap_root: Path | None = None) -> Estimator | PushedEstimator:
    """Open an estimator by its name; `powercap_root` plays /sys for the RAPL counters.

    A name may carry an id for its stream: `codecarbon:second`.

    Raises:
        InputError: there is no estimator of that name.
        NotAvailable, NotInstalled: it cannot run here; the message says what to do.

    """
    tool, _, stream = name.partition(":")
    stream = stream or tool
    if tool == "rapl":
        return RaplReader(powercap_root or Path("/sys"), id=stream)
    if tool == "nvml":
        return NvmlReader(id=stream)
    if tool == "cpu-load":
        return CpuLoad(id=stream)
    if tool == "codecarbon":
        return CodeCarbon(id=stream, rapl_root=powercap_root)
    raise InputError(f"Expected an estimator of {', '.join(ESTIMATORS)}; got {name!r}.")


def available(
    *, powercap_root: Path | None = None
) -> tuple[tuple[Estimator | PushedEstimator, ...], Mapping[str, str]]:
    """Open every estimator that runs here; return them, and why each of the others does not."""
    opened: list[Estimator | PushedEstimator] = []
    reasons: dict[str, str] = {}
    try:
        for name in ESTIMATORS:
            try:
                opened.append(open_estimator(name, powercap_root=powercap_root))
            except CalibrationError as error:
                reasons[name] = str(error)
    except BaseException:
        for estimator in opened:
            estimator.close()
        raise
    return tuple(opened), reasons
