"""Fingerprints from a folder that plays `/`, and whether a profile belongs to them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from calibration import Profile
from calibration.machine import configuration_digest, fingerprint, match

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
