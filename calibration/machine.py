"""Say which machine this is, as far as anybody may see, and whether a profile belongs to it.

The keys come from the kernel: `/sys/class/dmi/id` (the world-readable files; serial numbers and
UUIDs are for root), `/proc/cpuinfo`, `/proc/meminfo`, EDAC, cpufreq, and what `gpus` finds. A
hypervisor or a container hides some of them. What cannot be seen is listed under `unseen`, and is
never guessed: names are compared as they are, since a fuzzy match of names silently gives wrong
power.

Which specimen it is, is told by an HMAC-SHA256 of the board's UUID and serials under the
laboratory's key (`keyed`), where that key and those files can be read. The serials themselves go
nowhere.
"""

from __future__ import annotations

import functools
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

from .errors import InputError
from .gpus import gpu_facts
from .keyed import key_path, keyed_hash, lab_key

__all__ = [
    "REQUIRED_KEYS",
    "Match",
    "MatchKind",
    "blind_spots",
    "configuration_digest",
    "fingerprint",
    "match",
    "this_machine",
    "unit_id",
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
_UNIT: Final = ("product_uuid", "product_serial", "board_serial")
_UNIT_FILLERS: Final = _FILLERS | {
    "0", "system serial number", "03000200-0400-0500-0006-000700080009",
    "00000000-0000-0000-0000-000000000000", "ffffffff-ffff-ffff-ffff-ffffffffffff",
}  # fmt: skip
"""What makers leave in these fields: many machines share it."""
_CONTAINER_MARKS: Final = (
    ".dockerenv", "run/.containerenv", "var/run/secrets/kubernetes.io", "run/systemd/container",
)  # fmt: skip
_KIB_PER_GIB: Final = 1 << 20
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
    """Return the fingerprint of the machine this process runs on, read once.

    Where the laboratory's key is at hand, `unit_id` says which specimen it is; none is made here.
    """
    found = fingerprint()
    try:
        unit = unit_id(lab_key()) if key_path().is_file() else None
    except InputError:
        unit = None
    return found if unit is None else {**found, "unit_id": unit}


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
    found.update(_memory(root))
    found.update(gpu_facts(root))  # an empty list counts: idle GPUs are hidden watts
    firmware = " ".join(
        str(found.get(k, "")) for k in ("dmi.sys_vendor", "dmi.product_name")
    ).lower()
    hypervisor = bool(found.pop("_hypervisor", False))
    found["virtual"] = hypervisor or any(word in firmware for word in _VIRTUAL_PRODUCTS)
    found["container"] = any((root / p).exists() for p in _CONTAINER_MARKS)
    kernel = _line(root / "proc/sys/kernel/osrelease")
    if kernel:
        found["kernel"] = kernel
    governor = _line(root / "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
    if governor:
        found["cpu.governor"] = governor
    turbo = _turbo(root)
    if turbo is not None:
        found["cpu.turbo"] = turbo
    found["unseen"] = [k for k in REQUIRED_KEYS if k not in found]
    return found


def match(subject: Mapping[str, Any], machine: Mapping[str, Any]) -> Match:
    """Compare a profile's subject with a machine's fingerprint.

    * All `required` keys equal: `same_configuration`. The specimen may be another one, so the
      profile's `between_unit` is added; a differing `sensitive` key adds its `u_rel` or a flag.
      With the same `unit_id` and no mismatch it is the `same_unit`, and nothing is added.
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
    unit = subject.get("unit_id")
    same = unit is not None and unit == machine.get("unit_id") and not flags
    if machine.get("virtual"):
        flags.append("virtual")
    if same:
        return Match("same_unit", tuple(flags))
    return Match("same_configuration", tuple(flags), tuple(inflation), between_unit=True)


def blind_spots(machine: Mapping[str, Any]) -> tuple[str, ...]:
    """Return what cannot be seen from inside this machine, one sentence each; none on bare metal.

    `machine` is a fingerprint.
    """
    found = []
    unseen = machine.get("unseen", ())
    hidden = f" ({', '.join(unseen)} cannot be seen)" if unseen else ""
    if machine.get("virtual"):
        found.append(
            f"A hypervisor hides the board, its power supplies and its neighbours{hidden}: energy "
            "counters are rarely passed through, and what they count is the host's."
        )
    if machine.get("container"):
        found.append(
            "A container shows the host's processor and counters, not its own share of them; DMI "
            "and devices may be masked."
        )
    if unseen and not found:
        found.append(f"The kernel does not show {', '.join(unseen)}.")
    return tuple(found)


def unit_id(key: bytes, root: Path = Path("/")) -> str | None:
    """Return which specimen the machine below `root` is; None where none of it can be read.

    The HMAC-SHA256 under `key` of one `name=value` line for each of DMI's product_uuid,
    product_serial and board_serial that can be read (root, as a rule) and holds something.
    """
    lines = [
        f"{name}={value}\n"
        for name in _UNIT
        if (value := _line(root / "sys/class/dmi/id" / name)) is not None
        and value.lower() not in _UNIT_FILLERS
    ]
    return keyed_hash("".join(lines), key) if lines else None


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
    return next((line.strip() for line in _text(path).splitlines() if line.strip()), None)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _cpu(root: Path) -> dict[str, Any]:
    """Read /proc/cpuinfo: one block per logical CPU, `key : value`; x86 and ARM name the CPU."""
    text = _text(root / "proc/cpuinfo")
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


def _memory(root: Path) -> dict[str, Any]:
    """Return the installed memory in GiB, and how many modules the memory controllers show.

    The kernel keeps part of it for itself: MemTotal is rounded up to a whole GiB, from 16 GiB up to
    a multiple of 4.
    """
    found: dict[str, Any] = {}
    total = re.search(r"^MemTotal:\s+(\d+) kB$", _text(root / "proc/meminfo"), re.MULTILINE)
    if total:
        gib = -(-int(total[1]) // _KIB_PER_GIB)
        found["memory.gib"] = gib if gib < 16 else -(-gib // 4) * 4
    sizes = [_line(p) for p in root.glob("sys/devices/system/edac/mc/mc*/dimm*/size")]
    modules = sum(size not in (None, "0") for size in sizes)
    if modules:
        found["dimm.count"] = modules
    return found


def _turbo(root: Path) -> bool | None:
    """Return whether the processor may exceed its nominal frequency; None where nobody says."""
    cpu = root / "sys/devices/system/cpu"
    no_turbo = _line(cpu / "intel_pstate/no_turbo")
    boost = _line(cpu / "cpufreq/boost")
    if no_turbo in ("0", "1"):
        return no_turbo == "0"
    return boost == "1" if boost in ("0", "1") else None


def _fields(block: str) -> dict[str, str]:
    """Return the `key : value` lines of a block."""
    pairs = (line.partition(":") for line in block.splitlines() if ":" in line)
    return {key.strip(): value.strip() for key, _, value in pairs}
