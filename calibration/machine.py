"""Say which machine this is, as far as anybody may see, and whether a profile belongs to it.

The keys come from the kernel: `/sys/class/dmi/id` (the world-readable files; serial numbers and
UUIDs are for root and are never read), `/proc/cpuinfo`, `/proc/driver/nvidia/gpus`. A hypervisor
or a container hides some of them. What cannot be seen is listed under `unseen`, and is never
guessed: names are compared as they are, since a fuzzy match of names silently gives wrong power.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

__all__ = [
    "REQUIRED_KEYS",
    "Match",
    "MatchKind",
    "configuration_digest",
    "fingerprint",
    "match",
    "this_machine",
]

MatchKind: TypeAlias = Literal["same_unit", "same_configuration", "similar", "none", "unchecked"]

REQUIRED_KEYS: Final = (
    "dmi.sys_vendor",
    "dmi.product_name",
    "dmi.board_vendor",
    "dmi.board_name",
    "cpu.id",
    "cpu.model_name",
    "cpu.sockets",
    "gpu.names",
    "virtual",
)
"""What must be equal for two machines to count as the same configuration."""

_DMI: Final = {
    "dmi.sys_vendor": "sys_vendor",
    "dmi.product_name": "product_name",
    "dmi.board_vendor": "board_vendor",
    "dmi.board_name": "board_name",
    "bios.version": "bios_version",
}
_FILLERS: Final = frozenset(
    {"", "to be filled by o.e.m.", "default string", "system product name", "not specified", "none"}
)
_VIRTUAL_PRODUCTS: Final = (
    "kvm", "qemu", "vmware", "virtualbox", "virtual machine", "bochs", "xen", "openstack",
    "amazon ec2", "google compute engine", "firecracker", "hvm domu", "parallels", "bhyve",
)  # fmt: skip
"""Words that the firmware of virtual machines puts into vendor or product name."""


@dataclass(frozen=True, slots=True)
class Match:
    """How well a profile's subject fits a machine, and what that costs.

    `u_rel` are relative standard uncertainties that mismatches of sensitive keys add;
    `between_unit` is whether the profile's spread between specimens has to be added.
    """

    kind: MatchKind
    flags: tuple[str, ...] = ()
    u_rel: tuple[tuple[str, float], ...] = ()
    between_unit: bool = False

    @property
    def corrects(self) -> bool:
        """Whether a correction may be given without the caller's insistence."""
        return self.kind not in ("similar", "none")


@functools.cache
def this_machine() -> Mapping[str, Any]:
    """Return the fingerprint of the machine this process runs on, read once."""
    return fingerprint()


def fingerprint(root: Path = Path("/")) -> dict[str, Any]:
    """Return what can be seen of a machine, as flat JSON: `cpu.id`, `dmi.board_name`, ...

    `virtual` says whether a hypervisor shows itself (CPU flag or firmware names), `container`
    whether a container runtime does; `unseen` lists the keys of `REQUIRED_KEYS` without a value.
    """
    found: dict[str, Any] = {}
    for key, name in _DMI.items():
        value = _line(root / "sys/class/dmi/id" / name)
        if value is not None and value.lower() not in _FILLERS:
            found[key] = value
    found.update(_cpu(root))
    found["gpu.names"] = _gpus(root)  # an empty list counts: idle GPUs are hidden watts
    firmware = " ".join(
        str(found.get(k, "")) for k in ("dmi.sys_vendor", "dmi.product_name")
    ).lower()
    hypervisor = bool(found.pop("_hypervisor", False))
    found["virtual"] = hypervisor or any(word in firmware for word in _VIRTUAL_PRODUCTS)
    found["container"] = any((root / p).exists() for p in (".dockerenv", "run/.containerenv"))
    kernel = _line(root / "proc/sys/kernel/osrelease")
    if kernel:
        found["kernel"] = kernel
    governor = _line(root / "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
    if governor:
        found["cpu.governor"] = governor
    found["unseen"] = [k for k in REQUIRED_KEYS if k not in found]
    return found


def match(subject: Mapping[str, Any], machine: Mapping[str, Any]) -> Match:
    """Compare a profile's subject with a machine's fingerprint.

    * All `required` keys equal: `same_configuration`. The specimen may be another one, so the
      profile's `between_unit` is added; a differing `sensitive` key adds its `u_rel` or a flag.
      (`same_unit` would need the keyed identity of a unit, which this version does not read.)
    * The same CPU and GPUs in another board: `similar`; another CPU, or one that cannot be seen:
      `none`. No correction unless the caller insists.
    * A subject without required keys (the machine of somebody else's recording is often not
      described): there is nothing to compare, so `unchecked`, flagged `subject_unknown`, with
      `between_unit` added because nothing says that it is the same unit.
    """
    keys = subject.get("match", {})
    required: Mapping[str, Any] = keys.get("required", {})
    if not required:
        return Match("unchecked", ("subject_unknown",), between_unit=True)
    flags: list[str] = []
    for key, wanted in required.items():
        if key not in machine:
            flags.append(f"unseen:{key}")
        elif not _equal(machine[key], wanted):
            flags.append(f"mismatch:{key}")
    if flags:
        if machine.get("virtual") or machine.get("container"):
            flags.append("virtual" if machine.get("virtual") else "container")
        alike = [k for k in ("cpu.id", "gpu.names") if k in required]
        same_parts = "cpu.id" in alike and all(
            k in machine and _equal(machine[k], required[k]) for k in alike
        )
        moved = machine.get("virtual", False) != required.get("virtual", False)
        kind: MatchKind = "similar" if same_parts and not moved else "none"
        return Match(kind, tuple(flags), between_unit=True)
    inflation: list[tuple[str, float]] = []
    for entry in keys.get("sensitive", ()):
        key = entry["key"]
        if key in machine and _equal(machine[key], entry["value"]):
            continue
        flags.append(f"{'mismatch' if key in machine else 'unseen'}:{key}")
        if entry["on_mismatch"] == "inflate" and entry.get("u_rel"):
            inflation.append((key, float(entry["u_rel"])))
    if machine.get("virtual"):
        flags.append("virtual")
    return Match("same_configuration", tuple(flags), tuple(inflation), between_unit=True)


def configuration_digest(match_keys: Mapping[str, Any]) -> str:
    """Return the digest of the sorted required and sensitive keys: the look-up key of an index.

    The digest is over the UTF-8 text of one `key=value` line per key, values as compact JSON.
    """
    pairs = {**{e["key"]: e["value"] for e in match_keys.get("sensitive", ())}}
    pairs.update(match_keys.get("required", {}))
    lines = [
        f"{k}={json.dumps(pairs[k], separators=(',', ':'), ensure_ascii=False)}\n"
        for k in sorted(pairs)
    ]
    return "sha256:" + hashlib.sha256("".join(lines).encode()).hexdigest()


def _equal(seen: Any, wanted: Any) -> bool:
    """Compare without mercy, but for the order of a list (devices are enumerated in any order)."""
    if isinstance(seen, (list, tuple)) and isinstance(wanted, (list, tuple)):
        return sorted(map(str, seen)) == sorted(map(str, wanted))
    return type(seen) is type(wanted) and bool(seen == wanted)


def _line(path: Path) -> str | None:
    """Return the first line of a small file; None where it is missing, empty or not for us."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    return next((line.strip() for line in text.splitlines() if line.strip()), None)


def _cpu(root: Path) -> dict[str, Any]:
    """Read /proc/cpuinfo: one block per logical CPU, `key : value`; x86 and ARM name the CPU."""
    try:
        text = (root / "proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return {}
    blocks = [_fields(block) for block in text.split("\n\n") if "processor" in block]
    if not blocks:
        return {}
    first = blocks[0]
    found: dict[str, Any] = {"cpu.threads": len(blocks)}
    for keys in (
        ("vendor_id", "cpu family", "model", "stepping"),
        ("CPU implementer", "CPU architecture", "CPU part", "CPU variant", "CPU revision"),
    ):
        identity = [first.get(k) for k in keys]
        if all(identity):
            found["cpu.id"] = "-".join(str(v) for v in identity)
    if first.get("model name"):
        found["cpu.model_name"] = first["model name"]
    sockets = {b["physical id"] for b in blocks if "physical id" in b}
    if sockets:
        found["cpu.sockets"] = len(sockets)
    if "siblings" in first and "cpu cores" in first:
        found["cpu.smt"] = first["siblings"] != first["cpu cores"]
    if first.get("microcode"):
        found["cpu.microcode"] = first["microcode"]
    found["_hypervisor"] = "hypervisor" in first.get("flags", "").split()
    return found


def _fields(block: str) -> dict[str, str]:
    """Return the `key : value` lines of a block."""
    pairs = (line.partition(":") for line in block.splitlines() if ":" in line)
    return {key.strip(): value.strip() for key, _, value in pairs}


def _gpus(root: Path) -> list[str]:
    """Return the models of NVIDIA boards, as their kernel driver names them."""
    names = []
    for information in sorted(root.glob("proc/driver/nvidia/gpus/*/information")):
        try:
            lines = information.read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            continue
        model = _fields("\n".join(lines)).get("Model")
        names += [model] if model else []
    return names
