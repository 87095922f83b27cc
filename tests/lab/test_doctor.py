"""`wattcal doctor` on trees of files that stand in for computers, and on this one."""

from __future__ import annotations

import grp
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import jsonschema
import pytest

from calibration.cli import main
from calibration.doctor import Finding, counter_findings, examine, package_findings
from calibration.instruments import serial_ports

ROOT = Path(__file__).resolve().parents[2]
SCHEMA = json.loads((ROOT / "calibration/schema/doctor-1.0.json").read_text(encoding="utf-8"))


class Computer:
    """A tree of /sys, /proc, /dev and /etc."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def write(self, path: str, text: str = "") -> Path:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return file

    def link(self, path: str, target: Path | str) -> None:
        link = self.root / path
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(target)

    def usb_port(
        self,
        name: str,
        usb_id: str,
        *,
        driver: str = "ch341",
        place: str = "1-2",
        serial: str | None = None,
        latency_ms: int | None = None,
        number: str = "188:0",
    ) -> Path:
        usb = f"sys/devices/pci0/usb1/{place}"
        for file, text in zip(("idVendor", "idProduct"), usb_id.split(":"), strict=True):
            self.write(f"{usb}/{file}", text + "\n")
        self.write(f"{usb}/product", "USB Serial\n")
        if serial is not None:
            self.write(f"{usb}/serial", serial + "\n")
        port = f"{usb}/{place}:1.0/{name}"
        (self.root / f"sys/drivers/{driver}").mkdir(parents=True, exist_ok=True)
        self.link(f"{port}/driver", self.root / f"sys/drivers/{driver}")
        if latency_ms is not None:
            self.write(f"{port}/latency_timer", f"{latency_ms}\n")
        self.write(f"sys/class/tty/{name}/dev", number + "\n")
        self.link(f"sys/class/tty/{name}/device", self.root / port)
        node = self.write(f"dev/{name}")
        node.chmod(0o660)
        return node

    def process(self, number: int, name: str, *devices: str) -> None:
        self.write(f"proc/{number}/comm", name + "\n")
        for i, device in enumerate(devices):
            self.link(f"proc/{number}/fd/{i + 3}", device)


@pytest.fixture
def computer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Computer:
    """Return an empty computer whose devices belong to dialout."""
    monkeypatch.setattr(grp, "getgrgid", lambda _gid: SimpleNamespace(gr_name="dialout"))
    return Computer(tmp_path)


@pytest.fixture
def forbid(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Return a function that forbids this user the files whose path holds a word."""
    real = os.access

    def closed(word: str) -> None:
        monkeypatch.setattr(os, "access", lambda p, m: word not in str(p) and real(p, m))

    return closed


def found(computer: Computer) -> dict[str, Finding]:
    diagnosis = examine(computer.root)
    return {f.code: f for f in diagnosis.findings if f.code != "package"}


def test_a_bare_computer_has_no_troubles(computer: Computer) -> None:
    diagnosis = examine(computer.root)
    assert [f.code for f in diagnosis.findings if f.state == "bad"] == []
    assert diagnosis.ports == ()
    assert diagnosis.udev_rule is None
    got = found(computer)
    assert got["no_usb_port"].state == "absent"
    assert "rfc2217" in got["no_usb_port"].cost
    assert got["rapl_absent"].commands == ("sudo modprobe intel_rapl_msr",)
    assert "load" in got["rapl_absent"].cost


def test_a_port_is_described_in_full(computer: Computer) -> None:
    computer.usb_port("ttyUSB10", "0403:6001", driver="ftdi_sio", serial="A800", latency_ms=1)
    computer.usb_port("ttyUSB2", "1a86:7523", place="1-3")
    computer.link("dev/serial/by-id/usb-FTDI_A800-if00-port0", "../../ttyUSB10")
    other, ftdi = serial_ports(computer.root)
    assert (ftdi.device, ftdi.usb_id, ftdi.bridge) == ("/dev/ttyUSB10", "0403:6001", "FTDI FT232R")
    assert (ftdi.driver, ftdi.serial_number, ftdi.latency_ms) == ("ftdi_sio", "A800", 1)
    assert ftdi.by_id == "/dev/serial/by-id/usb-FTDI_A800-if00-port0"
    assert (other.device, other.serial_number, other.location) == ("/dev/ttyUSB2", None, "1-3")
    texts = [f.found for f in examine(computer.root).findings if f.code == "port"]
    assert texts[0] == "free; it reports no serial number, only its place on the bus, 1-3"
    assert texts[1] == f"free; its lasting name is {ftdi.by_id}"


def test_a_port_of_another_group_names_the_group_and_a_rule(
    computer: Computer, forbid: Callable[[str], None]
) -> None:
    computer.usb_port("ttyUSB0", "1a86:7523")
    forbid("dev/ttyUSB0")
    trouble = found(computer)["port_closed"]
    assert trouble.state == "bad"
    assert "group dialout" in trouble.found
    assert trouble.commands == ("sudo usermod -aG dialout $USER",)
    assert examine(computer.root).udev_rule == (
        'SUBSYSTEM=="tty", ATTRS{idVendor}=="1a86", ATTRS{idProduct}=="7523", \\\n'
        '  TAG+="uaccess", ENV{ID_MM_DEVICE_IGNORE}="1"'
    )


def test_a_port_of_root_alone(computer: Computer, forbid: Callable[[str], None]) -> None:
    computer.usb_port("ttyUSB0", "1a86:7523").chmod(0o600)
    forbid("dev/ttyUSB0")
    assert found(computer)["port_closed"].found == "belongs to dialout alone"


def test_a_port_that_dev_does_not_show(computer: Computer) -> None:
    computer.usb_port("ttyUSB0", "1a86:7523").unlink()
    assert found(computer)["port_missing"].commands == ("docker run --device /dev/ttyUSB0 ...",)


def test_two_readers_of_one_port(computer: Computer) -> None:
    computer.usb_port("ttyUSB0", "1a86:7523")
    computer.process(41, "minicom", "/dev/ttyUSB0", "/dev/null")
    computer.process(os.getpid(), "python", "/dev/ttyUSB0")  # this one does not count
    trouble = found(computer)["port_held"]
    assert trouble.found == "open in minicom (41)"
    assert "two readers" in trouble.cost


def test_the_latency_timer_of_an_ftdi(computer: Computer) -> None:
    computer.usb_port("ttyUSB0", "0403:6001", driver="ftdi_sio", latency_ms=16)
    trouble = found(computer)["latency_timer"]
    assert trouble.found == "16 ms"
    assert "".join(trouble.commands).endswith("devices/ttyUSB0/latency_timer")
    rule = examine(computer.root).udev_rule
    assert rule is not None
    assert 'ATTR{latency_timer}="1"' in rule


RULE = 'ENV{PRODUCT}=="1a86/7523/*", ENV{BRLTTY_BRAILLE_DRIVER}="bm", GOTO="brltty_usb_run"\n'


@pytest.mark.parametrize(
    ("rule", "taken"),
    [
        (RULE, True),
        ("# " + RULE, False),
        (RULE.replace(",", ', ATTRS{manufacturer}=="Hedo",', 1), False),
        ('ATTRS{idVendor}=="1a86", ATTRS{idProduct}=="7523", RUN+="brltty"\n', True),
        (RULE.replace("1a86", "10c4"), False),
    ],
)
def test_brltty_takes_what_its_rules_name(computer: Computer, rule: str, taken: bool) -> None:
    computer.usb_port("ttyUSB0", "1a86:7523")
    computer.write("usr/lib/udev/rules.d/85-brltty.rules", rule)
    trouble = found(computer)["brltty"]
    assert trouble.state == ("bad" if taken else "good")
    if taken:
        assert trouble.found == "/dev/ttyUSB0: named in /usr/lib/udev/rules.d/85-brltty.rules"
        computer.write("etc/udev/rules.d/85-brltty.rules")  # an empty file hides the rule
        assert found(computer)["brltty"].state == "good"


def test_brltty_that_runs(computer: Computer) -> None:
    computer.process(7, "brltty")
    assert found(computer)["brltty"].found == "running"


def test_modem_manager_and_what_it_was_told(computer: Computer) -> None:
    computer.usb_port("ttyUSB0", "1a86:7523", number="188:0")
    assert found(computer)["modem_manager"].state == "good"
    computer.process(9, "ModemManager")
    trouble = found(computer)["modem_manager"]
    assert trouble.state == "bad"
    assert "/dev/ttyUSB0" in trouble.found
    computer.write("run/udev/data/c188:0", "E:ID_BUS=usb\nE:ID_MM_DEVICE_IGNORE=1\n")
    assert found(computer)["modem_manager"].state == "good"


def test_the_console_is_left_alone_and_empty_places_are_no_ports(computer: Computer) -> None:
    for name, kind, console in (("ttyS0", "4", "Y"), ("ttyS1", "4", "N"), ("ttyS2", "0", "N")):
        (computer.root / f"sys/devices/{name}").mkdir(parents=True)
        computer.link(f"sys/class/tty/{name}/device", computer.root / f"sys/devices/{name}")
        computer.write(f"sys/class/tty/{name}/type", kind)
        computer.write(f"sys/class/tty/{name}/console", console)
        computer.write(f"dev/{name}")
    assert [(p.device, p.console) for p in serial_ports(computer.root)] == [
        ("/dev/ttyS0", True),
        ("/dev/ttyS1", False),
    ]
    assert found(computer)["port_console"].state == "absent"


def test_rapl_zones(computer: Computer, forbid: Callable[[str], None]) -> None:
    for zone, name in (("intel-rapl:0", "package-0"), ("intel-rapl:0:0", "core")):
        computer.write(f"sys/class/powercap/{zone}/energy_uj", "1\n")
        computer.write(f"sys/class/powercap/{zone}/name", name + "\n")
    assert found(computer)["rapl"].found == "2 zones readable: package-0, core"
    forbid("energy_uj")
    trouble = found(computer)["rapl_closed"]
    assert trouble.state == "bad"
    assert trouble.commands == ("sudo chmod a+r /sys/class/powercap/intel-rapl*/energy_uj",)


def test_a_virtual_machine_is_told_so(computer: Computer) -> None:
    computer.write("proc/cpuinfo", "processor : 0\nflags\t\t: fpu hypervisor sse\n")
    assert "virtual machine" in found(computer)["rapl_absent"].found


def counters(computer: Computer, *, loads: bool = False, tool: str | None = None) -> set[str]:
    got = counter_findings(computer.root, loads=lambda _: loads, which=lambda _: tool)
    return {f.code for f in got}


def test_nvidia(computer: Computer) -> None:
    assert "nvml_absent" in counters(computer)
    computer.write("sys/bus/pci/devices/0000:01:00.0/vendor", "0x10de\n")
    computer.write("sys/bus/pci/devices/0000:01:00.0/class", "0x030200\n")
    assert "nvml_no_driver" in counters(computer)
    computer.write("proc/driver/nvidia/gpus/0000:01:00.0/information")
    assert "nvml_no_library" in counters(computer)
    assert "nvml" in counters(computer, loads=True)


def test_ipmi(computer: Computer, forbid: Callable[[str], None]) -> None:
    assert "ipmi_absent" in counters(computer)
    computer.write("dev/ipmi0")
    assert "ipmi_no_tool" in counters(computer)
    assert "ipmi" in counters(computer, tool="/usr/sbin/ipmi-dcmi")
    forbid("dev/ipmi0")
    assert "ipmi_closed" in counters(computer)


HERE = {
    "calibration": str(ROOT / "calibration/__init__.py"),
    "drivers": str(ROOT / "drivers/__init__.py"),
}
OWNERS = {"calibration": ["wattcal"], "drivers": ["wattcal"], "serial": ["pyserial"]}


def packages(
    tmp_path: Path, *, pyserial: bool = True, owners: dict[str, list[str]] | None = None, **at: str
) -> dict[str, Finding]:
    serial = tmp_path / "serial"
    serial.mkdir(exist_ok=True)
    for name in ("__init__.py", *(("serialutil.py", "serialposix.py") if pyserial else ())):
        (serial / name).touch()
    places = {**HERE, "serial": str(serial / "__init__.py"), **at}
    got = package_findings({**OWNERS, **(owners or {})}, places.get)
    return {f.subject.removeprefix("package "): f for f in got}


def test_packages_that_are_right(tmp_path: Path) -> None:
    got = packages(tmp_path)
    assert {n: got[n].state for n in OWNERS} == dict.fromkeys(OWNERS, "good")
    assert got["numpy"].state == "absent"
    assert got["numpy"].commands == ("pip install 'wattcal[lab]'",)


def test_another_distribution_ships_drivers(tmp_path: Path) -> None:
    got = packages(tmp_path, owners={"drivers": ["wattcal", "acme-drivers"]})
    assert got["drivers"].code == "foreign_package"
    assert got["drivers"].commands[0] == "pip uninstall acme-drivers"
    got = packages(tmp_path, drivers="/elsewhere/drivers/__init__.py")
    assert "/elsewhere/drivers" in got["drivers"].found


def test_the_wrong_serial(tmp_path: Path) -> None:
    assert packages(tmp_path, pyserial=False)["serial"].code == "foreign_package"


def test_the_wrong_serial_beside_the_right_one(tmp_path: Path) -> None:
    got = packages(tmp_path, owners={"serial": ["serial", "pyserial"]})["serial"]
    assert got.commands == (
        "pip uninstall serial",
        "pip install --force-reinstall pyserial",
    )


def test_no_pyserial() -> None:
    got = {f.subject: f for f in package_findings({}, HERE.get)}
    assert got["package serial"].code == "no_pyserial"


def test_this_computer(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor"]) == 0
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= 80, out
    for word in ("RAPL", "NVML", "IPMI", "package serial", "brltty", "ModemManager"):
        assert word in out
    assert main(["doctor", "--json"]) == 0
    jsonschema.validate(json.loads(capsys.readouterr().out), SCHEMA)


def test_a_computer_full_of_troubles_reads_well(
    computer: Computer, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    computer.usb_port("ttyUSB0", "0403:6001", driver="ftdi_sio", latency_ms=16)
    computer.process(9, "ModemManager")
    computer.process(41, "minicom", "/dev/ttyUSB0")
    diagnosis = examine(computer.root)
    monkeypatch.setattr("calibration.doctor.examine", lambda: diagnosis)
    assert main(["doctor"]) == 0
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= 80, out
    assert "sudo tee /etc/udev/rules.d/70-wattcal.rules <<'END'" in out
    assert "3 of" in out
    assert main(["doctor", "--json"]) == 0
    jsonschema.validate(json.loads(capsys.readouterr().out), SCHEMA)


def test_it_works_in_the_bare_install() -> None:
    """Without site-packages there is nothing but the standard library and the source."""
    code = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r})\n"
        "from calibration.cli import main\nsys.exit(main(['doctor']))"
    )
    done = subprocess.run(
        [sys.executable, "-S", "-c", code], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "pyserial is not installed" in done.stdout
    assert "package numpy: not installed" in done.stdout


def test_what_hides_the_machine_is_said(computer: Computer) -> None:
    computer.write("proc/cpuinfo", "processor : 0\nvendor_id : X\nflags : fpu hypervisor\n")
    (hidden,) = (f for f in examine(computer.root).findings if f.code == "machine_hidden")
    assert "A hypervisor hides the board" in hidden.found
    assert "dmi.board_name" in hidden.found
    assert hidden.remedy == "record and publish on the host itself"
