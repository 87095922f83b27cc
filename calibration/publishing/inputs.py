"""Describe the inputs of a profile: where an indication comes from, and which tools show it.

The fields and units of the tools: CodeCarbon 3.3 `EmissionsData` (energies in kWh), Zeus 0.16
`Measurement` (J per device), node_exporter's rapl collector (`node_rapl_package_joules_total`),
dcgm-exporter (`DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION`, mJ). Files of CarbonTracker and Zeus:
`toolfiles.carbontracker`, `toolfiles.zeus`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from ..toolfiles.carbontracker import POWER
from ..toolfiles.zeus import ALL_ENERGIES

__all__ = ["input_entry"]

_RAPL_MODE: Mapping[str, Any] = {
    "cpu_mode": "intel_rapl",
    "rapl_prefer_psys": False,
    "rapl_include_dram": False,
    "tracking_mode": "machine",
    "pue": 1.0,
}
_CODECARBON_FIELDS: Mapping[str, str] = {
    "total": "energy_consumed",
    "cpu": "cpu_energy",
    "gpu": "gpu_energy",
    "ram": "ram_energy",
}
"""By the last part of the id: a second CodeCarbon in a run has another beginning."""
_NO_CPUS: Final = "no CPUs"
"""What the mode of Zeus begins with where it reads GPUs only, as its file always does."""
_GPU_COUNTERS: Final = "energy_counter"


def _powercap(domain: str) -> dict[str, Any]:
    return {"api": "linux-powercap", "domain": domain, "aggregate": "sum"}


_SOURCES: Mapping[str, Mapping[str, Any]] = {
    "rapl_package": _powercap("package"),
    "rapl_core": _powercap("core"),
    "rapl_dram": _powercap("dram"),
    "rapl_psys": _powercap("psys"),
    "nvml": {"api": "nvml", "domain": "total_energy", "aggregate": "sum"},
    "cpu_load": {"api": "proc-stat", "domain": "cpu"},
}
_ALIASES: Mapping[str, tuple[Mapping[str, Any], ...]] = {
    "rapl_package": (
        {
            "tool": "codecarbon", "versions": ">=3.3,<4", "field": "cpu_energy", "unit": "kWh",
            "requires": _RAPL_MODE,
        },
        {
            "tool": "zeus", "versions": ">=0.11", "field": "cpu_energy", "unit": "J",
            "aggregate": "sum",
        },
        {
            "tool": "node_exporter", "field": "node_rapl_package_joules_total", "unit": "J",
            "aggregate": "sum",
        },
    ),
    "rapl_dram": (
        {
            "tool": "zeus", "versions": ">=0.11", "field": "dram_energy", "unit": "J",
            "aggregate": "sum",
        },
    ),
    "nvml": (
        {
            "tool": "codecarbon", "versions": ">=3.3,<4", "field": "gpu_energy", "unit": "kWh",
            "requires": {"pue": 1.0},
        },
        {
            "tool": "dcgm_exporter", "field": "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION",
            "unit": "mJ", "aggregate": "sum",
        },
    ),
}  # fmt: skip


def input_entry(
    name: str,
    *,
    unit: str = "W",
    mode: str | None = None,
    version: str | None = None,
    settings: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return the entry of one input.

    Args:
        name: its id, such as `rapl_package` or `codecarbon_cpu`.
        unit: `W`, or `1` for a load.
        mode: the mode in which its tool was recorded, None where nobody said.
        version: the version of that tool.
        settings: what else changes the meaning of the number: the tool's settings (`pue`, ...) and
            the devices that it adds (`scope`).

    """
    source: dict[str, Any] = dict(_SOURCES.get(name, {"api": name}))
    aliases = [dict(a) for a in _ALIASES.get(name, ())]
    tool, component = name.partition("_")[0], name.rpartition("_")[2]
    field = _CODECARBON_FIELDS.get(component) if tool == "codecarbon" else None
    if field is not None:
        source = {"api": "codecarbon", "domain": component}
        aliases = [_codecarbon(field, mode, version, settings or {})]
    aliases += _own_file(name, mode, version, tuple((settings or {}).get("scope", ())))
    if mode == "perf":  # the same counters by another door, in a unit of its own
        source["api"] = "linux-perf-events"
    source["mode"] = mode
    source["version"] = version
    return {
        "id": name,
        "quantity": "active_power" if unit == "W" else "load",
        "unit": unit,
        "derive": "energy_delta_over_time" if unit == "W" else "sampled_load",
        "source": source,
        "aliases": aliases,
    }


def _codecarbon(
    field: str, mode: str | None, version: str | None, settings: Mapping[str, Any]
) -> dict[str, Any]:
    """Bind CodeCarbon's field to the version, mode and settings under which it was calibrated."""
    requires: dict[str, Any] = {
        "pue": float(settings.get("pue", 1.0)),
        "tracking_mode": str(settings.get("tracking_mode", "machine")),
    }
    if mode is not None and field in ("cpu_energy", "energy_consumed"):
        requires["cpu_mode"] = mode
        if mode == "intel_rapl":
            for key in ("rapl_prefer_psys", "rapl_include_dram"):
                requires[key] = bool(settings.get(key, False))
    alias = {"tool": "codecarbon", "field": field, "unit": "kWh", "requires": requires}
    versions = _minor_range(version)
    if versions:
        alias["versions"] = versions
    return alias


def _own_file(
    name: str, mode: str | None, version: str | None, scope: Sequence[str]
) -> list[dict[str, Any]]:
    """Return how the file that CarbonTracker or Zeus writes shows an input, where it does.

    It holds the input only where it names the same devices, read in the same mode, so both have to
    be known. Zeus measures CPUs and writes GPUs: with CPUs in the input, no file of it will do, and
    the alias names a field that says so.
    """
    if mode is None or not scope:
        return []
    requires: dict[str, Any]
    if name == "carbontracker":
        bound = {"tool": name, "field": POWER, "unit": "W"}
        requires = {
            "carbontracker_mode": mode,
            "devices": ", ".join(sorted(scope)),
            "update_interval": 1.0,
        }
    elif name == "zeus":
        gpus_only = mode.startswith(_NO_CPUS)
        bound = {"tool": name, "field": "gpu_energy" if gpus_only else ALL_ENERGIES, "unit": "J"}
        requires = {"zeus_mode": mode, **({"gpus": len(scope)} if gpus_only else {})}
    elif name == "nvml" and mode == _GPU_COUNTERS:
        bound = {"tool": "zeus", "field": "gpu_energy", "unit": "J", "versions": ">=0.11"}
        requires = {"gpu_mode": mode, "gpus": len(scope)}
    else:
        return []
    versions = _minor_range(version) if bound["tool"] == name else None
    return [
        {**bound, **({"versions": versions} if versions else {}), "aggregate": "sum",
         "requires": requires}
    ]  # fmt: skip


def _minor_range(version: str | None) -> str | None:
    """Return the range of the recorded minor version: 3.3.2 gives >=3.3,<3.4."""
    parts = (version or "").split(".")
    if len(parts) < 2 or not (parts[0].isdigit() and parts[1].isdigit()):
        return None
    return f">={parts[0]}.{parts[1]},<{parts[0]}.{int(parts[1]) + 1}"
