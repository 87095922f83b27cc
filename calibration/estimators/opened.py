"""Estimators by name, as the command line asks for them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from ..errors import CalibrationError, InputError
from .board import BoardPower
from .board_sources import AcpiMeter, IpmiDcmi, Redfish, Source
from .carbontracker import CarbonTracker
from .codecarbon import CodeCarbon
from .cpu_load import CpuLoad
from .nvml import NvmlReader
from .protocol import Estimator, PushedEstimator
from .rapl import RaplReader
from .rapl_perf import RaplPerf
from .smi import SMI, SmiPower
from .zeus import Zeus

__all__ = ["ESTIMATORS", "available", "open_estimator"]

ESTIMATORS: Final[Mapping[str, str]] = {
    "rapl": "energy counters of the processor (Linux powercap)",
    "rapl-perf": "the same counters through perf events",
    "nvml": "energy counters or power sensors of NVIDIA GPUs",
    "cpu-load": "share of time that the cores were busy (/proc/stat)",
    "codecarbon": "CodeCarbon, as it runs here, in a process of its own",
    "codecarbon-fallback": "the same, in whatever mode it has fallen back to",
    "carbontracker": "CarbonTracker, in a process and an environment of its own",
    "zeus": "Zeus, in a process and an environment of its own",
    "nvidia-smi": "power of NVIDIA GPUs, by the program of that name",
    "rocm-smi": "power of AMD GPUs, by the program of that name",
    "bmc-acpi": "the board's own power meter (ACPI, hwmon)",
    "bmc-ipmi": "the board's own power sensor (IPMI DCMI, ipmitool)",
    "bmc-redfish": "the board's own power sensor (Redfish: bmc-redfish@https://HOST)",
}
_UNASKED: Final = ("rapl", "nvml", "cpu-load", "codecarbon")
"""What a recording takes that names no estimator."""
_BOARDS: Final[Mapping[str, Callable[[str], Source]]] = {
    "bmc-acpi": lambda where: AcpiMeter(),
    "bmc-ipmi": lambda where: IpmiDcmi(),
    "bmc-redfish": Redfish,
}


def open_estimator(name: str, *, powercap_root: Path | None = None) -> Estimator | PushedEstimator:
    """Open an estimator by its name; `powercap_root` plays /sys for the RAPL counters.

    A name may carry an id for its stream, and where to find what it needs: TOOL[:STREAM][@WHERE].
    For `carbontracker` and `zeus` that is an environment (default: WATTCAL_PEERS, .venv-peers), for
    `bmc-redfish` the address of the controller.

    Raises:
        InputError: there is no estimator of that name.
        NotAvailable, NotInstalled: it cannot run here; the message says what to do.

    """
    named, _, where = name.partition("@")
    tool, _, stream = named.partition(":")
    stream = stream or tool
    place = Path(where) if where else None
    if tool == "rapl":
        return RaplReader(powercap_root or Path("/sys"), id=stream)
    if tool == "rapl-perf":
        return RaplPerf(powercap_root or Path("/sys"), id=stream)
    if tool == "nvml":
        return NvmlReader(id=stream)
    if tool == "cpu-load":
        return CpuLoad(id=stream)
    if tool == "codecarbon":
        return CodeCarbon(id=stream, rapl_root=powercap_root)
    if tool == "codecarbon-fallback":
        return CodeCarbon(id=stream, rapl_root=powercap_root, fallback=True)
    if tool == "carbontracker":
        return CarbonTracker(id=stream, python=place, rapl_root=powercap_root)
    if tool == "zeus":
        return Zeus(id=stream, python=place, rapl_root=powercap_root)
    if tool in SMI:
        return SmiPower(tool, id=stream, program=where or None)
    if tool in _BOARDS:
        return BoardPower(_BOARDS[tool](where), id=stream)
    raise InputError(f"Expected an estimator of {', '.join(ESTIMATORS)}; got {name!r}.")


def available(
    *, powercap_root: Path | None = None
) -> tuple[tuple[Estimator | PushedEstimator, ...], Mapping[str, str]]:
    """Open the usual estimators that run here; return them, and why each of the others does not."""
    opened: list[Estimator | PushedEstimator] = []
    reasons: dict[str, str] = {}
    try:
        for name in _UNASKED:
            try:
                opened.append(open_estimator(name, powercap_root=powercap_root))
            except CalibrationError as error:
                reasons[name] = str(error)
    except BaseException:
        for estimator in opened:
            estimator.close()
        raise
    return tuple(opened), reasons
