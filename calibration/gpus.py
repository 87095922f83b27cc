"""Which GPUs a machine has, by what its kernel and drivers show: the standard library, no pynvml.

    /proc/driver/nvidia/gpus/*/information     Model, Video BIOS
    /proc/driver/nvidia/version                NVRM version: ... Kernel Module  550.54.15  ...
    /sys/bus/pci/devices/*                     vendor, class, device, product_name (amdgpu)

In a container the driver's /proc entries may be missing while its device is there; then the names
come from NVIDIA's management library through ctypes (NVML API reference: nvmlDeviceGetName).
"""

from __future__ import annotations

import ctypes
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

__all__ = ["gpu_facts", "names_by_library"]

_DRIVER: Final = re.compile(r"Kernel Module\s+(?:for \S+\s+)?(\d+(?:\.\d+)+)")
_NVIDIA, _AMD = "0x10de", "0x1002"
_DISPLAY: Final = "0x03"
_NAME_BYTES: Final = 96  # NVML_DEVICE_NAME_V2_BUFFER_SIZE


def gpu_facts(root: Path, library_names: Callable[[], list[str]] | None = None) -> dict[str, Any]:
    """Return `gpu.names` (always; an empty list counts) and, where shown, driver and VBIOS.

    A board that no driver serves is named by its PCI id: it draws power all the same.
    """
    names: list[str] = []
    vbios: list[str] = []
    for information in sorted(root.glob("proc/driver/nvidia/gpus/*/information")):
        fields = _fields(information)
        names += [fields["Model"]] if fields.get("Model") else []
        vbios += [fields["Video BIOS"]] if fields.get("Video BIOS", "").strip("?.") else []
    if not names and (root / "dev/nvidiactl").exists():
        names = (library_names or names_by_library)()
    boards = _boards(root)
    if not names:
        names = [f"PCI {b['id']}" for b in boards if b["vendor"] == _NVIDIA]
    names += [b["name"] or f"PCI {b['id']}" for b in boards if b["vendor"] == _AMD]
    found: dict[str, Any] = {"gpu.names": names}
    if vbios:
        found["gpu.vbios"] = vbios
    driver = _DRIVER.search(_text(root / "proc/driver/nvidia/version"))
    if driver:
        found["nvidia.driver"] = driver[1]
    return found


def names_by_library(name: str = "libnvidia-ml.so.1") -> list[str]:
    """Return the names of NVIDIA's GPUs as their management library says them; none without it."""
    try:
        library = ctypes.CDLL(name)
        if library.nvmlInit_v2() != 0:
            return []
    except (OSError, AttributeError):
        return []
    names = []
    try:
        count = ctypes.c_uint(0)
        if library.nvmlDeviceGetCount_v2(ctypes.byref(count)) != 0:
            return []
        for index in range(count.value):
            handle, text = ctypes.c_void_p(), ctypes.create_string_buffer(_NAME_BYTES)
            code = library.nvmlDeviceGetHandleByIndex_v2(
                ctypes.c_uint(index), ctypes.byref(handle)
            ) or library.nvmlDeviceGetName(handle, text, ctypes.c_uint(_NAME_BYTES))
            if code == 0:
                names.append(text.value.decode(errors="replace"))
    except AttributeError:
        return []
    finally:
        library.nvmlShutdown()
    return names


def _boards(root: Path) -> list[dict[str, str]]:
    """Return the display controllers of NVIDIA and AMD on the PCI bus."""
    found = []
    for device in sorted(root.glob("sys/bus/pci/devices/*")):
        vendor = _text(device / "vendor")
        if vendor in (_NVIDIA, _AMD) and _text(device / "class").startswith(_DISPLAY):
            id = f"{vendor[2:]}:{_text(device / 'device').removeprefix('0x')}"
            found.append({"vendor": vendor, "id": id, "name": _text(device / "product_name")})
    return found


def _fields(path: Path) -> dict[str, str]:
    """Return the `key : value` lines of a file."""
    pairs = (line.partition(":") for line in _text(path).splitlines() if ":" in line)
    return {key.strip(): value.strip() for key, _, value in pairs}


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
