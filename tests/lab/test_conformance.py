"""The conformance lab: an honest tool has no findings, planted mistakes are found with figures."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from jsonschema import Draft202012Validator

from calibration.cli import main
from calibration.conformance.campaign import Campaign, document, run
from calibration.conformance.defects import defects
from calibration.conformance.figures import Claim, Figure, Outcome
from calibration.conformance.judge import compare, judge
from calibration.conformance.play import Place, play
from calibration.conformance.report import html, markdown
from calibration.conformance.scenarios import SCENARIOS, Scenario, scenarios
from calibration.conformance.tools import TOOLS, Tool
from calibration.conformance.tools.tool import Reported, Run
from calibration.errors import NotAvailable
from calibration.simulation import namespace, nvml
from calibration.simulation.profile import constant
from calibration.simulation.stage import Stage, Truth

Require = Callable[[str, bool, str], None]
SHORT = {s.name: s for s in scenarios(0.2)}


def read_fake(ran: Run) -> Reported:
    package, both = frozenset({"package"}), frozenset({"package", "dram"})
    claims = (
        Claim("cpu_j", "energy_j", both),  # type: ignore[arg-type]
        Claim("package_w", "power_w", package),  # type: ignore[arg-type]
        Claim("duration_s", "duration_s", frozenset()),
    )
    return Reported(tuple(Figure(c, ran.report.get(c.field)) for c in claims), "powercap")


FAKE = Tool("fake", "fake", "own", Path(__file__).with_name("fake_tool_child.py"), read_fake)


@pytest.fixture
def place(require: Require) -> Place:
    reason = namespace.why_not()
    require("namespaces", reason is None, f"private namespaces: {reason}")
    return Place(None, None)


def test_an_honest_tool_has_no_findings(place: Place) -> None:
    campaign = run([FAKE], [SHORT["two-sockets"], SHORT["dram"]], place)
    assert campaign.findings == ()
    assert campaign.defects == ()
    assert document(campaign)["defects"] == []  # and no script
    assert all(c.inside for row in campaign.checks.values() for c in row)
    assert sum(len(row) for row in campaign.checks.values()) == 6


def test_four_planted_mistakes_give_four_findings(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_DEFECTS", "mean,memory,duration,power")
    campaign = run([FAKE], [SHORT["two-sockets"], SHORT["dram"], SHORT["constant"]], place)
    found = {(d.field, d.kind, d.looks_like): d for d in campaign.defects}
    mean = found["cpu_j", "wrong_energy", "like the mean of 2 devices, not their sum"]
    memory = found["cpu_j", "wrong_energy", "dram is left out"]
    duration = found["duration_s", "wrong_duration", None]
    power = found["package_w", "wrong_power", None]
    assert len(found) == 4
    assert mean.scenarios == ("two-sockets",)
    assert mean.least_pct == pytest.approx(-50.0, abs=1.0)
    assert memory.scenarios == ("dram",)
    assert memory.least_pct == pytest.approx(-13.04, abs=0.5)  # 6 of 46 W
    assert len(duration.scenarios) == 3
    assert duration.least_pct == pytest.approx(6.0, abs=0.3)
    assert power.most_pct == pytest.approx(95.75, abs=1.0)  # 156.6 W for a true 80 W
    shown = [f.message for f in campaign.findings if f.field == "package_w"]
    assert any("156." in message for message in shown)


def outcome(*figures: Figure, windows: int = 1, **more: object) -> Outcome:
    scene = SHORT["two-sockets"].scene
    marks = (0, 10_000_000, 1_990_000_000, 2_000_000_000)
    truth = Truth(scene, 0, 0)
    return Outcome("t", "1", "two-sockets", figures, (marks,) * windows, truth, **more)  # type: ignore[arg-type]


def energy(value: float | None, *parts: str, device: int | None = None) -> Figure:
    return Figure(Claim("e", "energy_j", frozenset(parts), device), value)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("value", "right"),
    [(128.7, True), (130.0, True), (127.0, False), (133.0, False), (0.0, False), (-130.0, False)],
)
def test_what_the_edges_leave_open_is_right(value: float, right: bool) -> None:
    """65 W for 1.98 to 2.00 s: 128.7 to 130 J, give or take 0.5 % and a renewal at either end."""
    (check,) = compare(SHORT["two-sockets"], outcome(energy(value, "package")))
    assert check.inside is right


@pytest.mark.parametrize(
    ("late_ms", "right"), [((1985, 2005), True), ((1000, 1020), False), ((2002, 2022), False)]
)
def test_a_late_renewal_at_an_edge_is_left_open_too(late_ms: tuple[int, int], right: bool) -> None:
    """132 J are 0.8 J more than is right; a counter that is 20 ms old hides 1.3 J."""
    first, last = (t * 1_000_000 for t in late_ms)
    said = outcome(energy(132.0, "package"))
    late = replace(said, truth=Truth(SHORT["two-sockets"].scene, 0, 0, ((first, last),)))
    assert [c.inside for c in compare(SHORT["two-sockets"], said)] == [False]
    assert [c.inside for c in compare(SHORT["two-sockets"], late)] == [right]


def test_a_stage_remembers_when_it_was_late(tmp_path: Path) -> None:
    with Stage(tmp_path / "s", SHORT["constant"].scene) as stage:
        stage.go.touch()
        before = stage.truth()
        player = next(c for c in psutil.Process().children() if str(tmp_path / "s") in c.cmdline())
        player.suspend()
        time.sleep(0.05)
        player.resume()
        time.sleep(0.05)
        after = stage.truth()
    assert after.late_s(before.go_ns, before.go_ns + 10_000_000_000) >= 0.05
    assert after.late_s(0, before.began_ns - 10_000_000) == 0.0


def test_devices_that_do_not_exist_are_named() -> None:
    findings = judge(SHORT["two-sockets"], outcome(energy(80.0, "package", device=2)))
    assert [f.kind for f in findings] == ["extra_device"]
    assert judge(SHORT["two-sockets"], outcome(energy(79.4, "package", device=0))) == ()


def test_a_power_that_contradicts_its_own_energy_is_named() -> None:
    package: frozenset[str] = frozenset({"package"})
    said = outcome(
        energy(129.3, "package"),
        Figure(Claim("p", "power_w", package), 65.0),  # type: ignore[arg-type]
        Figure(Claim("d", "duration_s", frozenset()), 2.0),
    )
    assert judge(SHORT["two-sockets"], said) == ()
    late = outcome(*said.figures[:2], Figure(Claim("d", "duration_s", frozenset()), 1.9))
    assert [f.kind for f in judge(SHORT["two-sockets"], late)] == ["wrong_duration", "disagreement"]


def test_a_guess_is_fine_only_where_it_is_said() -> None:
    scenario = SHORT["permission-denied"]
    silent = outcome(energy(100.0, "package"))
    assert [f.kind for f in judge(scenario, silent)] == ["silent_fallback"]
    assert judge(scenario, outcome(energy(100.0, "package"), file_says="a guess")) == ()
    refused = outcome(refused=True, error="it may not be read")
    assert judge(SHORT["two-sockets"], refused) == ()
    broken = outcome(error="it ended with code 1")
    assert [f.kind for f in judge(SHORT["two-sockets"], broken)] == ["failed"]


def test_an_explanation_that_fits_without_its_cause_is_dropped() -> None:
    """Half of the truth with one device as with two is no mean of two."""
    one = Scenario("one", "", 2.0, SHORT["constant"].scene, {"package": (constant(80.0),)})
    two = SHORT["two-sockets"]
    findings, checks = [], {}
    for scenario, value in ((one, 79.6), (two, 64.7)):
        said = outcome(energy(value, "package"))
        checks["t", scenario.name] = compare(scenario, said)
        findings += judge(scenario, said)
    assert findings[1].looks_like == "like the mean of 2 devices, not their sum"
    (defect,) = defects(findings, checks)
    assert defect.looks_like is None
    assert defect.tried == 2


def test_what_cannot_be_played_says_so(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(NotAvailable, match="gcc"):
        play(FAKE, SHORT["one-gpu"], place, Path("unused"))
    with pytest.raises(NotAvailable, match="make peers"):
        play(TOOLS["zeus"], SHORT["constant"], place, Path("unused"))
    monkeypatch.setattr(namespace, "why_not", lambda: "forbidden here")
    elsewhere = Place(None, None)
    assert elsewhere.injected == "paths"
    with pytest.raises(NotAvailable, match="forbidden here"):
        play(FAKE, SHORT["permission-denied"], elsewhere, Path("unused"))


def runs(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() not in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
    except psutil.NoSuchProcess:
        return False


def test_what_a_tool_leaves_running_ends_with_it(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A helper that outlives its tool, as after a kill, neither holds up the lab nor survives."""
    monkeypatch.setenv("FAKE_DEFECTS", "helper")
    assert play(FAKE, SHORT["short-task"], place, tmp_path / "f").error is None
    pid = int((tmp_path / "f/work/helper").read_text())
    deadline = time.monotonic() + 10.0  # the kernel takes its time to end it
    while runs(pid):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_paths_are_injected_where_namespaces_are_forbidden(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(namespace, "why_not", lambda: "forbidden here")
    campaign = run([FAKE, TOOLS["wattcal"]], [SHORT["two-sockets"]], Place(None, None))
    assert campaign.findings == ()
    assert document(campaign)["injected"] == "paths"


SCHEMA = json.loads(
    (Path(__file__).resolve().parents[2] / "calibration/schema/conformance-1.0.json").read_text()
)


def checked(campaign: Campaign) -> dict[str, object]:
    results: dict[str, object] = json.loads(json.dumps(document(campaign), allow_nan=False))
    Draft202012Validator(SCHEMA).validate(results)
    return results


def test_reports_are_made_of_the_results_alone(place: Place) -> None:
    results = checked(run([FAKE], [SHORT["two-sockets"]], place))
    page, text = html(results), markdown(results)
    assert page == html(json.loads(json.dumps(results)))
    for part in ("SIMULATED", "two-sockets", "cpu_j", "<svg"):
        assert part in page
    assert "| fake | cpu_j | " in text
    assert "<script" not in page
    assert "http" not in page.replace("http-equiv", "")


def without_cpuid(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Say that SELinux enforces: py-cpuinfo then takes the processor's name from /proc.

    Elsewhere it asks CPUID for the clock's frequency first, and spins for a second meanwhile, in
    every process of a tool. No number that is judged depends on it.
    """
    folder.mkdir()
    (folder / "sestatus").write_text("#!/bin/sh\necho 'Current mode: enforcing'\n")
    (folder / "sestatus").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")


def test_the_real_codecarbon_in_every_scenario(
    place: Place, require: Require, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is known of 3.3.2 must be found without being named; our own reading must be right."""
    import shutil

    require("gcc", shutil.which("gcc") is not None, "the simulated GPU library needs gcc")
    library = nvml.build_library(tmp_path / "lib")
    without_cpuid(tmp_path / "bin", monkeypatch)
    # Three at once: they mostly wait, and the edges of every window are known.
    campaign = run(
        [TOOLS["codecarbon"], TOOLS["wattcal"]], list(SHORT.values()), Place(None, library), jobs=3
    )
    checked(campaign)
    assert campaign.left_out == ()
    assert {s for _, s in campaign.outcomes} == {s.name for s in SCENARIOS}
    powers = [d for d in campaign.defects if (d.field, d.kind) == ("cpu_power", "wrong_power")]
    assert sum(len(d.scenarios) for d in powers) >= 3  # by chance of its timing; 16 of 21 seen
    said = [d.looks_like for d in campaign.defects if d.tool == "codecarbon"]
    assert "dram is left out" in said
    assert {s for d in campaign.defects if d.kind == "silent_fallback" for s in d.scenarios} >= {
        "permission-denied", "no-counter",
    }  # fmt: skip
    assert "killed" in {s for d in campaign.defects if d.kind == "missing" for s in d.scenarios}
    assert {d.field for d in campaign.defects if d.kind == "wrong_duration"} <= {"duration"}
    ours = [d for d in campaign.defects if d.tool == "wattcal"]
    assert [d for d in ours if d.kind != "wrong_source"] == []  # a GPU's counter may alias
    counted = campaign.checks["wattcal", "two-sockets"]
    assert all(abs(c.error_pct or 0.0) < 2.0 for c in counted)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nothing"], "Expected one of codecarbon"),
        (["codecarbon", "--scenario", "flood"], "Expected a scenario among constant"),
    ],
)
def test_wrong_usage_is_one_sentence(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["conformance", *arguments]) == 3
    assert words in capsys.readouterr().err


def test_the_command_writes_its_three_files(
    place: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = main(
        ["conformance", "wattcal", "--short", "--scenario", "constant", "-o", str(tmp_path / "c")]
    )
    assert code == 0
    printed = capsys.readouterr().out
    assert "constant" in printed
    assert "0 defects" in printed
    assert sorted(p.name for p in (tmp_path / "c").iterdir()) == [
        "report.html", "report.md", "results.json",
    ]  # fmt: skip
