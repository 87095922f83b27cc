"""The counters and sensors that estimators read: there, readable, and what is lost without them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from .finding import Finding

__all__ = ["counter_findings"]

_RAPL_COST: Final = (
    "CPU energy is then guessed from a table of processors and the load; CodeCarbon and others "
    "fall back to that, and their file does not say so"
)
_IPMI_NODES: Final = ("dev/ipmi0", "dev/ipmi/0", "dev/ipmidev/0")  # as ipmitool tries them
_IPMI_TOOLS: Final = ("ipmi-dcmi", "ipmitool")


def counter_findings(
    root: Path = Path("/"),
    *,
    loads: Callable[[str], bool] | None = None,
    which: Callable[[str], str | None] = shutil.which,
) -> tuple[Finding, ...]:
    """Say of RAPL, the NVIDIA library and the board's own power sensor how they stand.

    `loads` tells whether a shared library can be loaded, `which` where a program is.
    """
    return (*_rapl(root), *_nvidia(root, loads or _loads), *_board(root, which))


def _rapl(root: Path) -> Iterator[Finding]:
    name = "RAPL counters"
    zones = sorted((root / "sys/class/powercap").glob("intel-rapl*:*/energy_uj"))
    if not zones:
        virtual = _virtual(root)
        if virtual:
            yield Finding(
                "rapl_absent", name, "absent", "none; this is a virtual machine", _RAPL_COST,
                "record on the host, or put a meter in front of it",
            )  # fmt: skip
        else:
            yield Finding(
                "rapl_absent", name, "absent", "none in /sys/class/powercap", _RAPL_COST,
                "load the kernel's module (AMD from family 17h needs Linux 5.8 or newer):",
                ("sudo modprobe intel_rapl_msr",),
            )  # fmt: skip
        return
    closed = [z for z in zones if not os.access(z, os.R_OK)]
    if closed:
        # Since Linux 5.10 root alone may read (CVE-2020-8694).
        yield Finding(
            "rapl_closed", name, "bad",
            f"{len(closed)} of {len(zones)} zones may not be read by this user", _RAPL_COST,
            "until the next start:",
            ("sudo chmod a+r /sys/class/powercap/intel-rapl*/energy_uj",),
        )  # fmt: skip
        return
    yield Finding("rapl", name, "good", f"{len(zones)} zones readable: {_zone_names(zones)}")


def _zone_names(zones: list[Path]) -> str:
    return ", ".join(_text(z.parent / "name") or z.parent.name for z in zones)


def _virtual(root: Path) -> bool:
    """Tell a virtual machine by the flag that its hypervisor sets (cpuid leaf 1, ecx bit 31)."""
    for line in _text(root / "proc/cpuinfo").splitlines():
        if line.startswith("flags"):
            return "hypervisor" in line.split()
    return False


def _nvidia(root: Path, loads: Callable[[str], bool]) -> Iterator[Finding]:
    name = "NVIDIA GPUs (NVML)"
    cards = sorted((root / "proc/driver/nvidia/gpus").glob("*"))
    boards = [
        p for p in (root / "sys/bus/pci/devices").glob("*")
        if _text(p / "vendor") == "0x10de" and _text(p / "class").startswith("0x03")
    ]  # fmt: skip
    cost = "their energy cannot be read; a tool then leaves them out, without a word in its sum"
    if not cards and boards:
        yield Finding(
            "nvml_no_driver", name, "bad", f"{len(boards)} on the bus, but no driver is loaded",
            cost, "install NVIDIA's driver, then look at:", ("nvidia-smi",),
        )  # fmt: skip
    elif not cards:
        yield Finding("nvml_absent", name, "absent", "none")
    elif loads("libnvidia-ml.so.1"):
        yield Finding("nvml", name, "good", f"{len(cards)}, and their library loads")
    else:
        yield Finding(
            "nvml_no_library", name, "bad",
            f"{len(cards)}, but libnvidia-ml.so.1 cannot be loaded", cost,
            "install the library of the driver's version; for a container:",
            ("docker run --gpus all ...",),
        )  # fmt: skip


def _loads(library: str) -> bool:
    import ctypes

    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


def _board(root: Path, which: Callable[[str], str | None]) -> Iterator[Finding]:
    name = "board's power sensor (IPMI)"
    cost = "the board's own watts are missing beside the others"
    node = next((root / n for n in _IPMI_NODES if (root / n).exists()), None)
    tool = next((t for t in _IPMI_TOOLS if which(t)), None)
    if node is None:
        yield Finding(
            "ipmi_absent", name, "absent", "no /dev/ipmi0", cost,
            "on a server with a management controller:", ("sudo modprobe ipmi_si ipmi_devintf",),
        )  # fmt: skip
    elif not os.access(node, os.R_OK | os.W_OK):
        yield Finding(
            "ipmi_closed", name, "bad",
            f"/{node.relative_to(root)} may not be used by this user", cost,
            "run the recording as root, or leave it out",
        )  # fmt: skip
    elif tool is None:
        yield Finding(
            "ipmi_no_tool", name, "bad", f"/{node.relative_to(root)}, but no program to ask it",
            cost, "install one of them:", ("sudo apt install freeipmi-tools",),
        )  # fmt: skip
    else:
        yield Finding("ipmi", name, "good", f"/{node.relative_to(root)}, asked by {tool}")


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
