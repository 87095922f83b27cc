"""RAPL through perf events: its own unit, its own permission, and the kernel's real system call."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from calibration.errors import NotAvailable
from calibration.estimators.rapl_perf import RaplPerf, open_perf_event

# Documented for Intel: 2^-32 J.
SCALE = "2.3283064365386962890625e-10"


def events(
    root: Path, scale: str = SCALE, unit: str = "Joules", mask: str = "0,8", kind: str = "21",
    names: tuple[str, ...] = ("energy-pkg", "energy-ram"), packages: tuple[int, ...] = (0, 1),
) -> Path:  # fmt: skip
    folder = root / "bus" / "event_source" / "devices" / "power"
    (folder / "events").mkdir(parents=True)
    (folder / "type").write_text(f"{kind}\n")
    (folder / "cpumask").write_text(f"{mask}\n")
    for number, name in enumerate(names):
        (folder / "events" / name).write_text(f"event=0x{number:02x}\n")
        (folder / "events" / f"{name}.scale").write_text(f"{scale}\n")
        (folder / "events" / f"{name}.unit").write_text(f"{unit}\n")
    for cpu, package in zip((0, 8), packages, strict=False):
        topology = root / "devices" / "system" / "cpu" / f"cpu{cpu}" / "topology"
        topology.mkdir(parents=True)
        (topology / "physical_package_id").write_text(f"{package}\n")
    return root


class Counters:
    """Eight-byte counters by (config, cpu), behind ordinary files; they count while one sleeps."""

    def __init__(self, folder: Path) -> None:
        self._folder, self.ns = folder, 10**12
        self._files: dict[tuple[int, int], int] = {}
        self.alive = {(0, 0), (0, 8), (1, 0), (1, 8)}

    def open(self, kind: int, config: int, cpu: int) -> int:
        assert kind == 21
        path = self._folder / f"{config}-{cpu}"
        path.write_bytes(bytes(8))
        self._files[config, cpu] = os.open(path, os.O_RDWR)
        return self._files[config, cpu]

    def show(self, config: int, cpu: int, units: int) -> None:
        os.pwrite(self._files[config, cpu], units.to_bytes(8, "little"), 0)

    def sleep(self, seconds: float) -> None:
        self.ns += round(seconds * 1e9)
        self.rewind()
        for key in self.alive:
            self.show(*key, 1 << 20)

    def rewind(self) -> None:
        for file in self._files.values():
            os.lseek(file, 0, os.SEEK_SET)


def test_packages_and_dram_are_added_in_the_unit_of_this_door(tmp_path: Path) -> None:
    counters = Counters(tmp_path)
    with RaplPerf(
        events(tmp_path / "sys"),
        open_event=counters.open,
        now_ns=lambda: counters.ns,
        sleep=counters.sleep,
    ) as rapl:
        counters.ns += 10**9
        counters.rewind()
        for key, units in (((0, 0), 40 << 32), ((0, 8), 25 << 32), ((1, 0), 3 << 31), ((1, 8), 0)):
            counters.show(*key, units + (1 << 20))
        reading = rapl.read()
        descriptor = rapl.descriptor()
        assert reading.values == {"rapl_package_j": 65.0, "rapl_dram_j": 1.5}
        counters.ns += 10**9
        counters.rewind()
        counters.show(0, 8, 1 << 32)  # a processor that was taken away and came back
        assert rapl.read().fault == "reset rapl_package of package 1"
        counters.ns += 10**9
        counters.rewind()
        counters.show(0, 8, 8 << 32)
        assert rapl.read().values == {"rapl_package_j": 7.0, "rapl_dram_j": 1.5}
    assert (descriptor.mode, descriptor.source) == ("perf", "RAPL, perf events")
    assert {c.input for c in descriptor.channels} == {"rapl_package", "rapl_dram"}
    assert descriptor.channels[0].resolution == 2**-32
    assert descriptor.configuration["cpus"] == [0, 8]


def test_the_real_system_call_counts(tmp_path: Path) -> None:
    """The kernel's CPU clock (type 1, config 0) counts ns: read as nJ it is 1 W, exactly."""
    root = events(tmp_path, scale="1e-9", mask="0", kind="1", names=("energy-pkg",), packages=(0,))
    try:
        os.close(open_perf_event(1, 0, 0))
    except OSError:
        # Where a kernel keeps perf events from this user, that is said.
        with pytest.raises(NotAvailable, match=r"perf_event_paranoid|cannot open"):
            RaplPerf(root)
        return
    with RaplPerf(root) as rapl:
        first = rapl.read()
        time.sleep(0.3)
        last = rapl.read()
    seconds = (last.t_reply_ns - first.t_request_ns) / 1e9
    joules = last.values["rapl_package_j"] - first.values["rapl_package_j"]
    assert 0.3 <= joules <= seconds


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (lambda f: (f / "type").unlink(), "powercap instead"),
        (lambda f: (f / "events" / "energy-pkg.unit").write_text("Calories"), "unit Joules"),
        (lambda f: (f / "events" / "energy-pkg.scale").write_text("much"), "scale"),
        (lambda f: (f / "cpumask").write_text("all"), "none"),
        (
            lambda f: (
                f.parents[3] / "devices/system/cpu/cpu8/topology/physical_package_id"
            ).write_text("0"),
            "counter shown twice",
        ),
    ],
)
def test_what_nobody_can_read_is_not_available(
    tmp_path: Path, spoil: Callable[[Path], object], why: str
) -> None:
    root = events(tmp_path / "sys")
    spoil(root / "bus" / "event_source" / "devices" / "power")
    counters = Counters(tmp_path)
    with pytest.raises(NotAvailable, match=why):
        RaplPerf(root, open_event=counters.open, sleep=counters.sleep)


def test_a_domain_that_counts_nothing_is_left_out_and_named(tmp_path: Path) -> None:
    counters = Counters(tmp_path)
    counters.alive -= {(1, 0), (1, 8)}
    root = events(tmp_path / "sys")
    with RaplPerf(root, open_event=counters.open, sleep=counters.sleep) as rapl:
        descriptor = rapl.descriptor()
    assert [c.name for c in descriptor.channels] == ["rapl_package_j"]
    assert descriptor.configuration["without_a_count"] == ["rapl_dram"]
    counters.alive.clear()
    with pytest.raises(NotAvailable, match="nothing counts there"):
        RaplPerf(root, open_event=counters.open, sleep=counters.sleep)


def test_a_user_who_may_not_is_told_the_line(tmp_path: Path) -> None:
    def refuse(kind: int, config: int, cpu: int) -> int:
        raise PermissionError(errno.EACCES, "Permission denied")

    with pytest.raises(NotAvailable, match=r"kernel\.perf_event_paranoid=0"):
        RaplPerf(events(tmp_path), open_event=refuse)
