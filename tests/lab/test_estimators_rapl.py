"""The RAPL reader: every zone once, wraps undone, and nothing made up where it cannot be known."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calibration.errors import NotAvailable
from calibration.estimators import RaplReader, find_zones

WRAP_UJ = 262_143_328_850


@dataclass
class Tree:
    """A powercap tree as the kernel shows it: flat links to nested folders."""

    root: Path
    files: dict[str, Path] = field(default_factory=dict)

    def zone(self, id: str, name: str, energy_uj: int, wrap_uj: int = WRAP_UJ) -> Tree:
        control, *numbers = id.split(":")
        folder = self.root / "devices" / "virtual" / "powercap" / control
        for depth in range(len(numbers)):
            folder = folder / ":".join([control, *numbers[: depth + 1]])
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "name").write_text(name + "\n")
        (folder / "max_energy_range_uj").write_text(f"{wrap_uj}\n")
        self.files[id] = folder / "energy_uj"
        self.set(id, energy_uj)
        links = self.root / "class" / "powercap"
        links.mkdir(parents=True, exist_ok=True)
        (links / id).symlink_to(folder)
        return self

    def set(self, id: str, energy_uj: int | str) -> None:
        self.files[id].write_text(f"{energy_uj}\n")


class Clock:
    def __init__(self) -> None:
        self.ns = 10**12

    def __call__(self) -> int:
        return self.ns

    def sleep(self, seconds: float) -> None:
        self.ns += round(seconds * 1e9)


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path)


def reader(tree: Tree, clock: Clock | None = None) -> RaplReader:
    clock = clock or Clock()
    return RaplReader(tree.root, now_ns=clock, sleep=clock.sleep)


def untar(archive: Path, into: Path) -> None:
    """Unpack a ttar archive: `Path:` and `Lines:` before the content, `SymlinkTo:` for a link."""
    path, lines = None, iter(archive.read_text().splitlines())
    for line in lines:
        key, _, value = line.partition(": ")
        if key == "Directory":
            (into / value).mkdir(parents=True, exist_ok=True)
        elif key == "Path":
            path = into / value
        elif key == "SymlinkTo" and path is not None:
            path.symlink_to(value)
        elif key == "Lines" and path is not None:
            path.write_text("".join(next(lines) + "\n" for _ in range(int(value))))


def test_a_real_machine_with_a_hexadecimal_zone(wattcal_data: Path, tmp_path: Path) -> None:
    untar(
        wattcal_data / "driver-fixtures" / "powercap-sysfs" / "procfs_class_powercap.ttar", tmp_path
    )
    root = tmp_path / "fixtures" / "sys"
    zones = {z.id: z for z in find_zones(root)}
    assert {i: z.name for i, z in zones.items()} == {
        "intel-rapl:0": "package-0",
        "intel-rapl:0:0": "core",
        "intel-rapl:a": "package-10",
    }
    assert zones["intel-rapl:a"].socket == 10
    assert zones["intel-rapl:0"].wrap_uj == 262_143_328_850
    clock = Clock()
    with RaplReader(root, now_ns=clock, sleep=clock.sleep) as rapl:
        descriptor = rapl.descriptor()
        assert descriptor.configuration["summed"] == {
            "rapl_core": ["intel-rapl:0:0"],
            "rapl_package": ["intel-rapl:0", "intel-rapl:a"],
        }
        values = rapl.read().values
        assert values["intel-rapl.0_j"] == 240_422.366267
        assert values["rapl_package_j"] == 0.0


def test_inputs_count_every_joule_once(tree: Tree) -> None:
    tree.zone("intel-rapl:0", "package-0", 1_000).zone("intel-rapl:0:0", "core", 2_000)
    tree.zone("intel-rapl:0:1", "uncore", 3_000).zone("intel-rapl:0:2", "dram", 4_000)
    tree.zone("intel-rapl:1", "package-1", 5_000).zone("intel-rapl:1:0", "dram", 6_000)
    tree.zone("intel-rapl:2", "psys", 7_000)
    tree.zone("intel-rapl-mmio:0", "package-0", 8_000).zone("intel-rapl-mmio:0:0", "dram", 9_000)
    clock = Clock()
    with reader(tree, clock) as rapl:
        descriptor = rapl.descriptor()
        inputs = {c.input: c for c in descriptor.channels if c.input}
        assert set(inputs) == {"rapl_package", "rapl_dram", "rapl_core", "rapl_psys"}
        assert all(c.wrap is None and c.kind == "counter" for c in inputs.values())
        assert "intel-rapl-mmio.0_j" not in {c.name for c in descriptor.channels}
        assert descriptor.scope.count("package-0") == 1
        for number, id in enumerate(tree.files):
            tree.set(id, 1_000 * (number + 1) + 10_000_000 * 2**number)
        clock.sleep(2.0)
        values = rapl.read().values
    assert values["rapl_package_j"] == 10 * (1 + 16)
    assert values["rapl_dram_j"] == 10 * (8 + 32)
    assert values["rapl_core_j"] == 10 * 2
    assert values["rapl_psys_j"] == 10 * 64
    raw = next(c for c in descriptor.channels if c.name == "intel-rapl.0_j")
    assert raw.wrap == WRAP_UJ / 1e6
    assert raw.resolution == pytest.approx(61.035e-6, rel=1e-4)
    assert raw.input is None


def test_a_nested_zone_without_a_flat_link_is_found(tree: Tree) -> None:
    tree.zone("intel-rapl:0", "package-0", 1).zone("intel-rapl:0:0", "dram", 2)
    (tree.root / "class" / "powercap" / "intel-rapl:0:0").unlink()
    assert [z.name for z in find_zones(tree.root)] == ["package-0", "dram"]


def test_zones_come_in_the_order_of_their_numbers_up_to_hexadecimal(tree: Tree) -> None:
    for number in (17, 3, 10, 0):
        tree.zone(f"intel-rapl:{number:x}", f"package-{number}", number * 10**9)
    assert [z.socket for z in find_zones(tree.root)] == [0, 3, 10, 17]


def test_a_counter_that_is_shown_once_per_die_counts_once(tree: Tree) -> None:
    for die in range(4):
        tree.zone(f"intel-rapl:{die}", f"package-0-die-{die}", 5_000_000_000)
        tree.zone(f"intel-rapl:{die}:0", "core", 10**9 * (die + 1))
    clock = Clock()
    with reader(tree, clock) as rapl:
        assert sorted(rapl.descriptor().configuration["mirrors"]) == [
            "intel-rapl:1",
            "intel-rapl:2",
            "intel-rapl:3",
        ]
        for die in range(4):
            tree.set(f"intel-rapl:{die}", 5_000_000_000 + 70_000_000)
        clock.sleep(1.0)
        values = rapl.read().values
        assert values["rapl_package_j"] == 70.0
        assert values["intel-rapl.3_j"] == 5070.0, "the raw counter is kept all the same"


def test_dies_with_counters_of_their_own_are_added(tree: Tree) -> None:
    tree.zone("intel-rapl:0", "package-0-die-0", 5_000_000_000)
    tree.zone("intel-rapl:1", "package-0-die-1", 5_090_000_000)
    clock = Clock()
    with reader(tree, clock) as rapl:
        tree.set("intel-rapl:0", 5_030_000_000)
        tree.set("intel-rapl:1", 5_130_000_000)
        clock.sleep(1.0)
        assert rapl.read().values["rapl_package_j"] == 70.0


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.floats(0.05, 20.0), st.floats(0, 500)), min_size=1, max_size=40),
    st.integers(0, 3_000_000_000),
)
def test_any_number_of_wraps_gives_the_true_energy(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[float, float]], start_uj: int
) -> None:
    wrap_uj = 100_000_000_000  # 100 kJ
    tree = Tree(tmp_path_factory.mktemp("tree"))
    first = wrap_uj - start_uj
    tree.zone("intel-rapl:0", "package-0", first % wrap_uj, wrap_uj)
    tree.zone("intel-rapl:1", "package-1", 7, wrap_uj)
    clock, truth_uj = Clock(), 0
    with reader(tree, clock) as rapl:
        for seconds, power_w in steps:
            clock.sleep(seconds)
            truth_uj += int(seconds * power_w * 1e6)
            tree.set("intel-rapl:0", (first + truth_uj) % wrap_uj)
            tree.set("intel-rapl:1", (7 + 2 * truth_uj) % wrap_uj)
            reading = rapl.read()
            assert reading.fault is None
            assert reading.values["rapl_package_j"] == 3 * truth_uj / 1e6


def test_a_counter_that_went_back_is_a_reset_and_never_a_number(tree: Tree) -> None:
    tree.zone("intel-rapl:0", "package-0", 50_000_000_000).zone("intel-rapl:0:0", "dram", 1_000)
    clock = Clock()
    with reader(tree, clock) as rapl:
        clock.sleep(1.0)
        tree.set("intel-rapl:0", 50_040_000_000)
        assert rapl.read().values["rapl_package_j"] == 40.0
        clock.sleep(1.0)
        tree.set("intel-rapl:0", 3_000_000)
        tree.set("intel-rapl:0:0", 6_001_000)
        reading = rapl.read()
        assert reading.values == {}
        assert reading.fault == "reset intel-rapl:0"
        clock.sleep(1.0)
        tree.set("intel-rapl:0", 33_000_000)
        after = rapl.read()
        assert after.fault is None
        # It begins again below where it was, so that no reader bridges the unknown.
        assert after.values["rapl_package_j"] == 30.0
        assert after.values["rapl_dram_j"] == 6.0, "what was not reset goes on"


def test_a_counter_that_jumped_ahead_is_not_energy_either(tree: Tree) -> None:
    tree.zone("intel-rapl:0", "package-0", 0)
    clock = Clock()
    with reader(tree, clock) as rapl:
        clock.sleep(0.1)
        tree.set("intel-rapl:0", 90_000_000_000)
        assert "reset" in (rapl.read().fault or "")


def test_a_gap_as_long_as_a_wrap_cannot_be_decided(tree: Tree) -> None:
    tree.zone("intel-rapl:0", "package-0", 0)
    clock = Clock()
    with reader(tree, clock) as rapl:
        clock.sleep(3600)  # a machine asleep: 262 kJ may have passed any number of times
        tree.set("intel-rapl:0", 20_000_000)
        reading = rapl.read()
        assert reading.values == {}
        assert reading.fault == "undecidable intel-rapl:0"
        clock.sleep(1)
        tree.set("intel-rapl:0", 30_000_000)
        assert rapl.read().values["rapl_package_j"] == 10.0


def test_a_failed_read_is_a_fault_and_loses_no_energy(tree: Tree) -> None:
    tree.zone("intel-rapl:0", "package-0", 0)
    clock = Clock()
    with reader(tree, clock) as rapl:
        for text, code in (("", "malformed"), ("busy", "malformed")):
            clock.sleep(1)
            tree.set("intel-rapl:0", text)
            reading = rapl.read()
            assert reading.values == {}
            assert reading.fault == code
        clock.sleep(1)
        tree.set("intel-rapl:0", 75_000_000)
        assert rapl.read().values["rapl_package_j"] == 75.0


def test_a_look_that_was_interrupted_is_repeated(tree: Tree) -> None:
    tree.zone("intel-rapl:0", "package-0", 0)
    instants = iter([0, 10**6, 2 * 10**9, 2 * 10**9 + 5 * 10**7, 3 * 10**9, 3 * 10**9 + 9000])
    with RaplReader(tree.root, now_ns=lambda: next(instants), sleep=lambda s: None) as rapl:
        reading = rapl.read()
    assert (reading.t_request_ns, reading.t_reply_ns) == (3 * 10**9, 3 * 10**9 + 9000)


def test_counters_that_only_root_may_read_are_named_with_the_remedy(
    tree: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree.zone("intel-rapl:0", "package-0", 0).zone("intel-rapl:1", "package-1", 9)
    real = os.open

    def denied(path: object, flags: int, *rest: object) -> int:
        if str(path).endswith("intel-rapl:1/energy_uj"):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path, flags, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "open", denied)
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(NotAvailable, match=r"sudo chmod a\+r .*intel-rapl\*/energy_uj"):
        reader(tree)
    assert len(os.listdir("/proc/self/fd")) == before, "what was opened is closed again"


@pytest.mark.parametrize(
    "fault", ["empty", "range", "text", "none", "other", "negative", "nameless", "binary"]
)
def test_a_tree_that_is_none_is_refused(tree: Tree, fault: str) -> None:
    if fault != "none":
        tree.zone("intel-rapl:0", "package-0", 5)
    if fault == "empty":
        tree.set("intel-rapl:0", "")
    elif fault == "text":
        tree.set("intel-rapl:0", "-")
    elif fault == "negative":
        tree.set("intel-rapl:0", -5)
    elif fault == "nameless":
        (tree.files["intel-rapl:0"].parent / "name").unlink()
    elif fault == "binary":
        (tree.files["intel-rapl:0"].parent / "name").write_bytes(b"\xff\xfe")
    elif fault == "range":
        (tree.files["intel-rapl:0"].parent / "max_energy_range_uj").write_text("0\n")
    elif fault == "other":
        (tree.root / "class" / "powercap" / "intel-rapl:0").rename(
            tree.root / "class" / "powercap" / "dtpm:0"
        )
    with pytest.raises(NotAvailable):
        reader(tree)


def test_a_machine_with_psys_only_has_no_package_input(tree: Tree) -> None:
    tree.zone("intel-rapl:0", "psys", 5)
    with reader(tree) as rapl:
        assert {c.input for c in rapl.descriptor().channels} == {"rapl_psys", None}
