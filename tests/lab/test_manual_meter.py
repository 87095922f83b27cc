"""A meter with only a display: what is typed, what is doubted, and what is made of it."""

from __future__ import annotations

import os
import pty
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from decimal import Decimal
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from calibration.analysis.fit import fit_points
from calibration.analysis.segments import run_points
from calibration.bench import ManualMeter, parse_display
from calibration.bench.display import doubt, parse_entry
from calibration.errors import InputError
from calibration.plans import Plan, PlanStep
from calibration.recording.check import check_run
from calibration.recording.reader import read_run
from calibration.simulation.machine import package_power_w, wall_power_w
from tests.lab.closed_loop import MACHINE, S, Simulated, recorded

ROOT = Path(__file__).resolve().parents[2]
PLAN = Plan(
    "by hand",
    0,
    (
        PlanStep("idle", 0.0, 60.0),
        *(
            PlanStep(w, level, 60.0)
            for w in ("cpu-int", "cpu-matmul", "memory-copy")
            for level in (0.25, 1.0, 0.5)
        ),
        PlanStep("idle", 0.0, 60.0),
    ),
    settle_s=10.0,
)


@pytest.mark.parametrize(
    ("text", "display", "value"),
    [
        ("53.2", "0.1W", 53.2),
        (" 53,2 ", "0.1W", 53.2),
        ("53.2 w", "0.1W", 53.2),
        ("0.0532 kW", "0.1W", 53.2),
        ("0,125", "0.001kWh", 0.125 * 3.6e6),
        ("1234", "1Wh", 1234 * 3600.0),
        ("1.234kwh", "1Wh", 1234 * 3600.0),
    ],
)
def test_an_entry_is_understood(text: str, display: str, value: float) -> None:
    assert parse_entry(text, parse_display(display)) == pytest.approx(value, rel=1e-12)


@pytest.mark.parametrize(
    ("text", "display", "words"),
    [
        ("", "0.1W", "expected a number as displayed, in W"),
        ("about 53", "0.1W", "expected a number"),
        ("-3", "0.1W", "expected a number"),
        ("53.25", "0.1W", "lies between two steps"),
        ("1,234", "0.001kWh", "may be 1.234 or 1234"),
        ("1.234,5", "0.1W", "one decimal point"),
        ("1.2", "1Wh", "lies between two steps"),
        ("53.2 kWh", "0.1W", "was said to show W; got kWh"),
    ],
)
def test_an_entry_with_two_meanings_or_none_is_asked_again(
    text: str, display: str, words: str
) -> None:
    with pytest.raises(InputError, match=re.escape(words)):
        parse_entry(text, parse_display(display))


@pytest.mark.parametrize("text", ["0W", "1", "W", "1J", "0.1 kw"])
def test_a_display_without_a_step_is_none(text: str) -> None:
    with pytest.raises(InputError, match="smallest step"):
        parse_display(text)


@pytest.mark.parametrize(
    ("value", "workload", "level", "words"),
    [
        (53.2, "idle", None, None),
        (532.0, "idle", None, "the same load was at 53"),  # a slip of a digit
        (0.0532, "idle", None, "the same load"),  # kW for W
        (130.0, "cpu-int", 0.5, None),
        (1300.0, "cpu-int", 0.75, "all steps before lay between"),
        (13.0, "cpu-int", 0.75, "below idle"),
        (410.0, "cpu-int", 0.75, "the machine draws 300 W at most"),
    ],
)
def test_what_is_hardly_true_is_doubted(
    value: float, workload: str, level: float | None, words: str | None
) -> None:
    seen = {("idle", None): [53.0], ("cpu-int", 0.5): [128.0]}
    full = 300.0 if words is not None and "300 W" in words else None
    said = doubt(value, value, workload=workload, level=level, seen=seen, full_w=full)
    assert (said is None) if words is None else (said is not None and words in said)


class Reader:
    """Somebody who reads the simulated machine's meter at each mark, and answers when it suits."""

    def __init__(self, machine: Simulated, display: str, spoil: Callable[[int, str], str]) -> None:
        self.machine, self.display = machine, parse_display(display)
        self.spoil, self.said = spoil, []
        self.marks: list[str] = []
        self.answers: list[str] = []
        self.waits = self.asked = 0

    def shown(self) -> str:
        t_s = self.machine.clock.now_ns() / S
        if self.display.quantity == "power":
            value = self.machine.wall_w(t_s)
        else:
            edges = [*self.machine.t_s, t_s]
            value = 7.2e6 + sum(
                self.machine.wall_w(0.5 * (a + b)) * (b - a) for a, b in pairwise(edges) if b > a
            )
        steps = int(value / self.display.step + (0.5 if self.display.quantity == "power" else 0))
        return str(Decimal(steps) * self.display.step_shown)

    def say(self, text: str) -> None:
        self.said.append(text)
        if text.startswith("NOW"):
            self.marks.append(self.shown())
        elif text.endswith("?") and "step" in text:
            self.asked += 1
            right = self.marks.pop(0)
            self.answers = [self.spoil(self.asked, right), right]
            self.waits = 300  # half a minute
        elif "Enter goes on" in text:
            self.answers = [""]
            self.waits = 5

    def forget(self) -> None:
        """Nothing is typed too early here."""

    def poll(self) -> str | None:
        if self.waits > 0:
            self.waits -= 1
            return None
        return self.answers.pop(0) if self.answers else None


def slips(number: int, right: str) -> str:
    """Type the third answer without its decimal point, the fifth in words."""
    return right.replace(".", "") if number == 3 else "twelve" if number == 5 else right


def test_a_display_of_watts_becomes_points_and_no_waiting_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    readers = []

    def reader(machine: Simulated) -> ManualMeter:
        readers.append(Reader(machine, "0.1W", slips))
        return ManualMeter(readers[0].display, readers[0], stream="plug", full_w=400.0)

    run = recorded(PLAN, tmp_path, monkeypatch, reader=reader)
    assert check_run(run.path) == ()
    lengths = [(s.t_end_ns - s.t_start_ns) / S for s in run.steps]
    assert lengths == pytest.approx([60.0] * len(PLAN.steps), abs=0.01)
    begins = np.array([s.t_start_ns for s in run.steps]) / S
    assert (np.diff(begins) > 62).all(), "nobody waited"
    said = "\n".join(readers[0].said)
    assert "expected a number as displayed" in said
    assert re.search(r"\d+\.0 W\? ", said), "the slip of a digit was not doubted"
    points = run_points([run])
    assert points.n == len(PLAN.steps)
    truth = [wall_power_w(MACHINE, 0.0 if np.isnan(v) else v, w)
             for v, w in zip(points.level, points.workload, strict=True)]  # fmt: skip
    assert points.reference_w == pytest.approx(truth, abs=0.051)
    assert points.reference_u_w == pytest.approx(0.1 / 12**0.5)
    assert points.reference is not None
    assert points.reference.assumed, "nobody knows what this meter is worth"
    result = fit_points(points, ("rapl_package",))
    assert result.model is not None
    x_w = package_power_w(MACHINE, 0.5)
    predicted = sum(t.value * (x_w if i else 1.0) for i, t in enumerate(result.model.terms))
    assert predicted == pytest.approx(wall_power_w(MACHINE, 0.5), rel=0.03)


def test_a_register_is_read_at_both_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps = tuple(PlanStep(s.workload, s.level, 900.0) for s in PLAN.steps[::2])
    plan = Plan("register", 0, steps, settle_s=10.0)

    def reader(machine: Simulated) -> ManualMeter:
        who = Reader(machine, "1Wh", lambda n, right: right[:-1] if n == 4 else right)
        return ManualMeter(who.display, who, stream="plug", full_w=400.0)

    run = recorded(plan, tmp_path, monkeypatch, reader=reader)
    lengths = [(s.t_end_ns - s.t_start_ns) / S for s in run.steps]
    assert lengths == pytest.approx([900.0] * len(steps), abs=0.01)
    points = run_points([run])
    assert points.duration_s == pytest.approx(890.0, abs=0.2)
    truth = np.array([wall_power_w(MACHINE, 0.0 if np.isnan(v) else v, w)
                      for v, w in zip(points.level, points.workload, strict=True)])  # fmt: skip
    quantised = 3600 / 6**0.5 / points.duration_s
    glance = 2**0.5 * 0.5 / 3**0.5 / points.duration_s * points.reference_w
    assert points.reference_u_w == pytest.approx(np.hypot(quantised, glance), rel=1e-6)
    error = points.reference_w - truth
    assert np.abs(error).max() < 3600 / 890 + 0.1
    assert np.sqrt(np.mean((error / points.reference_u_w) ** 2)) < 2
    assert len(run.series("plug", "energy_j").value) == 2 * len(steps)


def typed(answers: list[tuple[str, str]], folder: Path, *arguments: str) -> tuple[int, str]:
    """Run `wattcal record` in a terminal; type each answer once its question is there."""
    parent, child = pty.openpty()
    command = [sys.executable, "-m", "calibration", "record", "--meter", "manual", *arguments]
    command += ["--estimator", "cpu-load", "-o", str(folder / "run")]
    with subprocess.Popen(
        command, cwd=folder, stdin=child, stdout=child, stderr=child, start_new_session=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    ) as process:  # fmt: skip
        os.close(child)
        said, begin = "", 0
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            try:
                said += os.read(parent, 4096).decode()
            except OSError:
                break
            while answers and (at := said.find(answers[0][0], begin)) >= 0:
                begin = at + len(answers[0][0])
                time.sleep(0.05)
                os.write(parent, f"{answers.pop(0)[1]}\n".encode())
        code = process.wait(timeout=30)
    os.close(parent)
    assert not answers, said
    return code, said


def test_it_works_in_a_terminal_and_a_slip_is_corrected(tmp_path: Path) -> None:
    (tmp_path / "lab.toml").write_text("[ambient]\nprompt = true\n")
    question = "display, in W?"
    code, said = typed(
        [
            ("in °C: ", "85"), ("in °C: ", "22,5"),
            (question, "45.0"), ("Enter goes on", ""),
            (question, "603"), ("The right value, or the same again?", "60.3"),
            ("Enter goes on", "60.1"), ("60.1 W. Enter goes on", ""),
            (question, "45.2"), ("Enter goes on", ""),
        ],
        tmp_path, "--display", "0.1W", "--workload", "cpu-int-1:0.3:0.6", "--full-w", "200",
    )  # fmt: skip
    assert code == 0, said
    assert "the machine draws 200 W at most" in said
    assert "expected a room between" in said
    assert "Traceback" not in said
    run = read_run(tmp_path / "run")
    assert run.start.setup["ambient_c"] == 22.5
    assert run.series("manual", "power_w").value.tolist() == [45.0, 60.1, 45.2]
    for step in run.steps:
        assert (step.t_end_ns - step.t_start_ns) / S == pytest.approx(0.6, abs=0.3)


@pytest.mark.parametrize(
    ("lines", "code", "values"),
    [("45\n\n60\n\n45\n\n", 0, [45.0, 60.0, 45.0]), ("45\n\n60\n", 3, [45.0])],
)
def test_it_takes_a_script_and_notices_its_end(
    lines: str, code: int, values: list[float], tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "calibration", "record", "--meter", "manual"]
    command += ["--display", "1W", "--workload", "cpu-int-1:0.3:0.6", "--estimator", "cpu-load"]
    done = subprocess.run(
        [*command, "-o", str(tmp_path / "run")],
        input=lines, cwd=ROOT, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    run = read_run(tmp_path / "run")
    value = run.series("manual", "power_w").value
    assert value[np.isfinite(value)].tolist() == values
    if code:
        assert "The input ended before step 2 of 3, cpu-int-1 0.3 was answered" in done.stderr
        assert run.stop is not None
        assert run.stop.exit_status == "fail"


def test_ctrl_c_at_a_question_seals_what_there_is(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "calibration", "record", "--meter", "manual"]
    command += ["--display", "1W", "--workload", "idle:0:0.6", "--estimator", "cpu-load"]
    with subprocess.Popen(
        [*command, "-o", str(tmp_path / "run")], cwd=ROOT,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        for line in process.stderr or ():
            if b"display, in W?" in line:
                process.send_signal(signal.SIGINT)
                break
        # Not `communicate`: it would close the input, which is another way to end.
        process.wait(timeout=30)
        err = process.stderr.read() if process.stderr else b""
    assert process.returncode == 130, err
    assert b"Traceback" not in err
    assert check_run(tmp_path / "run") == ()
    series = read_run(tmp_path / "run").series("manual", "power_w")
    assert np.isnan(series.value).all()
    assert set(series.faults.values()) == {"unanswered"}
