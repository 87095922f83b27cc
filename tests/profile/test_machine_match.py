"""Fingerprints from a folder that plays `/`, and whether a profile belongs to them."""

from __future__ import annotations

import hmac
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from calibration import Profile
from calibration.gpus import gpu_facts, names_by_library
from calibration.machine import (
    blind_spots,
    configuration_digest,
    fingerprint,
    match,
    this_machine,
    unit_id,
)
from calibration.simulation import nvml
from calibration.simulation.gpu import A100, Gpu
from calibration.simulation.profile import constant

CPUINFO = """processor\t: {n}
vendor_id\t: GenuineIntel
cpu family\t: 6
model\t\t: 106
model name\t: Intel(R) Xeon(R) Gold 6338 CPU @ 2.00GHz
stepping\t: 6
microcode\t: 0xd0003b9
physical id\t: {socket}
siblings\t: 2
cpu cores\t: 1
flags\t\t: fpu vme sse2{extra}
"""


def build(root: Path, *, extra: str = "", dmi: bool = True) -> Path:
    proc = root / "proc"
    proc.mkdir(parents=True)
    blocks = [CPUINFO.format(n=n, socket=n // 2, extra=extra) for n in range(4)]
    (proc / "cpuinfo").write_text("\n".join(blocks))
    if dmi:
        folder = root / "sys/class/dmi/id"
        folder.mkdir(parents=True)
        for name, value in {
            "sys_vendor": "Dell Inc.",
            "product_name": "PowerEdge R650",
            "board_vendor": "Dell Inc.",
            "board_name": "0PJ9XG",
            "bios_version": "1.9.2",
            "product_serial": "SECRET1",
            "product_uuid": "SECRET2",
        }.items():
            (folder / name).write_text(value + "\n")
    return root


def test_a_server(tmp_path: Path) -> None:
    found = fingerprint(build(tmp_path))
    assert found == {
        "dmi.sys_vendor": "Dell Inc.",
        "dmi.product_name": "PowerEdge R650",
        "dmi.board_vendor": "Dell Inc.",
        "dmi.board_name": "0PJ9XG",
        "bios.version": "1.9.2",
        "cpu.threads": 4,
        "cpu.id": "GenuineIntel-6-106-6",
        "cpu.model_name": "Intel(R) Xeon(R) Gold 6338 CPU @ 2.00GHz",
        "cpu.sockets": 2,
        "cpu.smt": True,
        "cpu.microcode": "0xd0003b9",
        "gpu.names": [],
        "virtual": False,
        "container": False,
        "unseen": [],
    }
    assert "SECRET" not in str(found)


def test_gpus_by_their_driver(tmp_path: Path) -> None:
    root = build(tmp_path)
    for i in range(2):
        folder = root / f"proc/driver/nvidia/gpus/0000:0{i}:00.0"
        folder.mkdir(parents=True)
        (folder / "information").write_text("Model: \t\t NVIDIA A100-PCIE-40GB\nIRQ: 7\n")
    assert fingerprint(root)["gpu.names"] == ["NVIDIA A100-PCIE-40GB"] * 2


def test_a_virtual_machine_says_so_and_lists_what_it_hides(tmp_path: Path) -> None:
    found = fingerprint(build(tmp_path, extra=" hypervisor", dmi=False))
    assert found["virtual"] is True
    assert "dmi.board_name" in found["unseen"]
    root = build(tmp_path / "b")
    (root / "sys/class/dmi/id/product_name").write_text("KVM Virtual Machine\n")
    assert fingerprint(root)["virtual"] is True
    assert fingerprint(build(tmp_path / "c"))["virtual"] is False


def test_an_arm_cpu_has_an_identity_too(tmp_path: Path) -> None:
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/cpuinfo").write_text(
        "processor\t: 0\nCPU implementer\t: 0x41\nCPU architecture: 8\nCPU variant\t: 0x0\n"
        "CPU part\t: 0xd08\nCPU revision\t: 3\n\nprocessor\t: 1\n"
    )
    assert fingerprint(tmp_path)["cpu.id"] == "0x41-8-0xd08-0x0-3"


def test_nothing_to_be_seen(tmp_path: Path) -> None:
    found = fingerprint(tmp_path)
    assert "cpu.id" in found["unseen"]
    (tmp_path / "sys/class/dmi/id").mkdir(parents=True)
    (tmp_path / "sys/class/dmi/id/board_name").write_text("To Be Filled By O.E.M.\n")
    (tmp_path / "sys/class/dmi/id/board_vendor").write_bytes(b"\xff\xfe\n")
    assert "dmi.board_name" in fingerprint(tmp_path)["unseen"]


@pytest.fixture
def server(tmp_path: Path) -> dict[str, Any]:
    return fingerprint(build(tmp_path))


SUBJECT = {
    "match": {
        "required": {
            "dmi.board_name": "0PJ9XG",
            "cpu.id": "GenuineIntel-6-106-6",
            "cpu.sockets": 2,
            "gpu.names": [],
        },
        "sensitive": [
            {"key": "cpu.smt", "value": True, "on_mismatch": "inflate", "u_rel": 0.01},
            {"key": "bios.version", "value": "1.9.2", "on_mismatch": "warn"},
        ],
    }
}


def test_the_same_configuration(server: dict[str, Any]) -> None:
    found = match(SUBJECT, server)
    assert (found.kind, found.flags, found.u_rel) == ("same_configuration", (), ())
    assert found.between_unit


def test_sensitive_keys_inflate_or_warn(server: dict[str, Any]) -> None:
    found = match(SUBJECT, {**server, "cpu.smt": False, "bios.version": "2.0"})
    assert found.kind == "same_configuration"
    assert found.u_rel == (("cpu.smt", 0.01),)
    assert found.flags == ("mismatch:cpu.smt", "mismatch:bios.version")
    del server["cpu.smt"]
    assert match(SUBJECT, server).flags == ("unseen:cpu.smt",)
    assert match(SUBJECT, server).u_rel == (("cpu.smt", 0.01),)


@pytest.mark.parametrize(
    ("change", "kind", "flag"),
    [
        ({"dmi.board_name": "0ABCDE"}, "similar", "mismatch:dmi.board_name"),
        ({"cpu.id": "GenuineIntel-6-106-7"}, "none", "mismatch:cpu.id"),
        ({"gpu.names": ["NVIDIA A100-PCIE-40GB"]}, "none", "mismatch:gpu.names"),
        ({"cpu.sockets": 1}, "similar", "mismatch:cpu.sockets"),
        ({"cpu.sockets": "2"}, "similar", "mismatch:cpu.sockets"),
        ({"dmi.board_name": None, "virtual": True}, "none", "virtual"),
    ],
)
def test_other_machines(
    server: dict[str, Any], change: dict[str, Any], kind: str, flag: str
) -> None:
    other = {k: v for k, v in {**server, **change}.items() if v is not None}
    found = match(SUBJECT, other)
    assert found.kind == kind
    assert flag in found.flags
    assert not found.corrects


def test_a_name_is_never_matched_by_likeness(server: dict[str, Any]) -> None:
    subject = {"match": {"required": {"cpu.model_name": "Intel(R) Xeon(R) Gold 6338 CPU"}}}
    assert match(subject, server).kind == "none"


def test_no_keys_are_no_match() -> None:
    found = match({"match": {"required": {}}}, {"cpu.id": "x"})
    assert (found.kind, found.flags) == ("unchecked", ("subject_unknown",))
    assert found.between_unit


def test_the_digest_does_not_depend_on_order() -> None:
    a = {"required": {"b": 1, "a": ["x"]}, "sensitive": [{"key": "c", "value": True}]}
    b = {"required": {"a": ["x"], "b": 1}, "sensitive": [{"key": "c", "value": True}]}
    assert configuration_digest(a) == configuration_digest(b)
    assert configuration_digest(a) != configuration_digest({"required": {"b": 1}})


def test_what_a_match_costs(
    line_document: Callable[..., dict[str, Any]],
    load: Callable[..., Profile],
    server: dict[str, Any],
) -> None:
    profile = load(line_document(subject=SUBJECT))
    alone = profile.correct(machine=None, rapl_package=60.0)
    here = profile.correct(machine=server, rapl_package=60.0)
    assert here.match == "same_configuration"
    assert here.u_w**2 - alone.u_w**2 == pytest.approx((0.03 * 122) ** 2)
    changed = profile.correct(machine={**server, "cpu.smt": False}, rapl_package=60.0)
    assert changed.u_w**2 - here.u_w**2 == pytest.approx((0.01 * 122) ** 2)


def test_between_units_follows_the_input_that_carries_it(
    example: dict[str, Any], load: Callable[..., Profile]
) -> None:
    example["subject"] = {"match": {"required": {}}}
    profile = load(example)
    inputs = {"rapl_package": 60.0, "nvml": 100.0}
    alone = profile.correct(machine=None, **inputs)
    unknown = profile.correct(machine={}, **inputs)
    board = 1.0891 * 100
    expected = (0.05 * board) ** 2 + (0.03 * (alone.power_w - board)) ** 2
    assert unknown.u_w**2 - alone.u_w**2 == pytest.approx(expected)
    assert unknown.match == "unchecked"


def test_another_machine_gets_its_raw_reading_back(
    line_document: Callable[..., dict[str, Any]],
    load: Callable[..., Profile],
    server: dict[str, Any],
) -> None:
    profile = load(line_document(subject=SUBJECT))
    other = {**server, "dmi.board_name": "0ABCDE"}
    power = profile.correct(machine=other, rapl_package=60.0)
    assert (power.power_w, power.calibrated, power.match) == (60.0, False, "similar")
    assert power.u_w == float("inf")
    assert "uncalibrated" in power.flags
    energy = profile.correct_energy(10.0, machine=other, rapl_package=600.0)
    assert (energy.energy_j, energy.calibrated) == (600.0, False)
    insisted = profile.correct(machine=other, indicative=True, rapl_package=60.0)
    assert insisted.calibrated
    assert "indicative" in insisted.flags
    nowhere = profile.correct(machine={}, indicative=True, rapl_package=60.0)
    assert not nowhere.calibrated


def test_a_simulated_machine_is_compared_with_none(
    line_document: Callable[..., dict[str, Any]], load: Callable[..., Profile]
) -> None:
    document = line_document(subject={"match": {"required": {"simulation.id": "demo"}}})
    document["provenance"]["data_kind"] = "simulated"
    profile = load(document, allow_simulated=True)
    answer = profile.correct(rapl_package=60.0)
    assert answer.match == "unchecked"
    assert answer.flags == ("simulated",)
    assert answer.u_w == profile.correct(machine=None, rapl_package=60.0).u_w
    assert profile.correct(machine={"simulation.id": "other"}, rapl_package=60.0).match == "none"


KEY = bytes(range(32))


def test_a_unit_is_known_by_a_keyed_hash_and_never_by_its_serial(tmp_path: Path) -> None:
    root = build(tmp_path / "a")
    digest = hmac.new(KEY, b"product_uuid=SECRET2\nproduct_serial=SECRET1\n", "sha256").hexdigest()
    assert unit_id(KEY, root) == f"hmac-sha256:{digest}"
    assert unit_id(bytes(32), root) != unit_id(KEY, root)
    other = build(tmp_path / "b")
    (other / "sys/class/dmi/id/product_serial").write_text("SECRET3\n")
    assert unit_id(KEY, other) != unit_id(KEY, root)
    for name in ("product_serial", "product_uuid"):
        (other / "sys/class/dmi/id" / name).write_text("To Be Filled By O.E.M.\n")
    assert unit_id(KEY, other) is None, "a filler is shared by many machines"
    assert unit_id(KEY, build(tmp_path / "c", dmi=False)) is None


def test_the_same_unit_adds_nothing_and_needs_all_keys(server: dict[str, Any]) -> None:
    subject, here = (
        {**SUBJECT, "unit_id": "hmac-sha256:aa"},
        {**server, "unit_id": "hmac-sha256:aa"},
    )
    found = match(subject, here)
    assert (found.kind, found.between_unit, found.flags) == ("same_unit", False, ())
    assert found.corrects
    assert match(subject, {**here, "unit_id": "hmac-sha256:bb"}).kind == "same_configuration"
    assert match(subject, server).kind == "same_configuration"
    assert match(subject, {**here, "cpu.smt": False}).kind == "same_configuration"
    assert match(subject, {**here, "cpu.sockets": 1}).kind == "similar"


def test_what_the_unit_saves(
    line_document: Callable[..., dict[str, Any]],
    load: Callable[..., Profile],
    server: dict[str, Any],
) -> None:
    unit = "hmac-sha256:" + "a" * 64
    profile = load(line_document(subject={**SUBJECT, "unit_id": unit}))
    alone = profile.correct(machine=None, rapl_package=60.0)
    here = profile.correct(machine={**server, "unit_id": unit}, rapl_package=60.0)
    assert (here.match, here.u_w) == ("same_unit", alone.u_w)


def test_this_machine_has_a_unit_only_with_a_key_and_makes_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = tmp_path / "key"
    monkeypatch.setenv("WATTCAL_KEY_FILE", str(key))
    try:
        this_machine.cache_clear()
        assert "unit_id" not in this_machine()
        assert not key.exists()
        key.write_text("broken")
        this_machine.cache_clear()
        assert "unit_id" not in this_machine()
        key.write_text(KEY.hex())
        this_machine.cache_clear()
        assert this_machine().get("unit_id") == unit_id(KEY)
    finally:
        this_machine.cache_clear()


def test_memory_modules_turbo_and_governor(tmp_path: Path) -> None:
    root = build(tmp_path)
    (root / "proc/meminfo").write_text("MemTotal:       263783612 kB\nMemFree: 1 kB\n")
    for number, size in enumerate(("32768", "32768", "0")):
        folder = root / f"sys/devices/system/edac/mc/mc0/dimm{number}"
        folder.mkdir(parents=True)
        (folder / "size").write_text(size + "\n")
    pstate = root / "sys/devices/system/cpu/intel_pstate"
    pstate.mkdir(parents=True)
    (pstate / "no_turbo").write_text("1\n")
    found = fingerprint(root)
    assert (found["memory.gib"], found["dimm.count"], found["cpu.turbo"]) == (252, 2, False)
    (pstate / "no_turbo").unlink()
    boost = root / "sys/devices/system/cpu/cpufreq"
    boost.mkdir()
    (boost / "boost").write_text("1\n")
    assert fingerprint(root)["cpu.turbo"] is True


def test_driver_and_vbios_come_from_the_kernel_module(tmp_path: Path) -> None:
    root = build(tmp_path)
    folder = root / "proc/driver/nvidia/gpus/0000:01:00.0"
    folder.mkdir(parents=True)
    (folder / "information").write_text(
        "Model: \t\t NVIDIA A100-PCIE-40GB\nVideo BIOS: \t 92.00.25.00.08\nGPU UUID: GPU-1\n"
    )
    (root / "proc/driver/nvidia/version").write_text(
        "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15  Tue Mar  5 22:23:56 UTC 2024\n"
    )
    found = fingerprint(root)
    assert (found["nvidia.driver"], found["gpu.vbios"]) == ("550.54.15", ["92.00.25.00.08"])
    assert "GPU-1" not in str(found)


def test_boards_without_a_name_are_named_by_their_bus_id(tmp_path: Path) -> None:
    root = build(tmp_path)
    for number, (vendor, kind, name) in enumerate(
        [("0x1002", "0x030000", "Instinct MI100"), ("0x1002", "0x030000", ""),
         ("0x10de", "0x030200", ""), ("0x8086", "0x030000", ""), ("0x1002", "0x040300", "")]
    ):  # fmt: skip
        folder = root / f"sys/bus/pci/devices/0000:0{number}:00.0"
        folder.mkdir(parents=True)
        (folder / "vendor").write_text(vendor)
        (folder / "class").write_text(kind)
        (folder / "device").write_text("0x73bf")
        if name:
            (folder / "product_name").write_text(name)
    assert fingerprint(root)["gpu.names"] == ["PCI 10de:73bf", "Instinct MI100", "PCI 1002:73bf"]


def test_in_a_container_the_library_is_asked_for_names(tmp_path: Path) -> None:
    root = build(tmp_path)
    (root / "dev").mkdir()
    (root / "dev/nvidiactl").touch()
    assert gpu_facts(root, lambda: ["NVIDIA H100"])["gpu.names"] == ["NVIDIA H100"]
    assert names_by_library("libnvidia-ml-that-is-not-there.so.1") == []


def test_names_come_from_the_library_through_ctypes(
    tmp_path: Path, require: Callable[[str, bool, str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    require("gcc", shutil.which("gcc") is not None, "the simulated GPU library needs gcc")
    card = Gpu("NVIDIA A100-SXM4-40GB", "GPU-1", constant(100.0), A100)
    library = nvml.build_library(tmp_path / "lib") / nvml.LIBRARY
    nvml.NvmlState(tmp_path / "gpus.bin", [card.describe()] * 2).close()
    monkeypatch.setenv("WATTCAL_NVML", str(tmp_path / "gpus.bin"))
    assert names_by_library(str(library)) == ["NVIDIA A100-SXM4-40GB"] * 2


def test_what_cannot_be_seen_is_said(tmp_path: Path) -> None:
    assert blind_spots(fingerprint(build(tmp_path / "metal"))) == ()
    virtual = fingerprint(build(tmp_path / "vm", extra=" hypervisor", dmi=False))
    (said,) = blind_spots(virtual)
    assert "hypervisor hides the board" in said
    assert "dmi.board_name" in said
    root = build(tmp_path / "pod")
    (root / "var/run/secrets/kubernetes.io").mkdir(parents=True)
    (said,) = blind_spots(fingerprint(root))
    assert said.startswith("A container shows the host's")
    (said,) = blind_spots(fingerprint(build(tmp_path / "arm", dmi=False)))
    assert said.startswith("The kernel does not show dmi.sys_vendor")
