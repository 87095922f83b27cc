"""One defect as a Python script that stands alone: what the maintainers of a tool can run.

It needs Linux, unshare(1) and the tool at its version, and nothing of this project. In private
namespaces it lays a powercap tree of its own over /sys/class, whose counters a second process
rewrites a thousand times a second, uses the tool as its users do, and prints one line: what the
tool says, what is true, the difference. Everything in it comes from the finding, the scenario and
the tool's own lines; what needs simulated GPUs has no script.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from .._version import VERSION
from ..simulation.profile import PowerProfile
from .figures import Figure, Outcome
from .judge import Finding, true_power
from .scenarios import Scenario
from .tools import Tool
from .tools.tool import Lines

__all__ = ["Script", "script"]

_TREE: Final = '''
import os, subprocess, tempfile, time
from multiprocessing import Value
from pathlib import Path

# Zones: folder, name, first value and range in uJ, power as (s, W) in straight pieces.
ZONES = [{zones}]
ROOT = Path("/sys/class/powercap/intel-rapl")
MOUNT = """mkdir class; mount --bind /sys/class class; mount -t tmpfs none /sys/class
for c in $PWD/class/*; do [ ${{c##*/}} = powercap ] || ln -s $c /sys/class/; done
mkdir -p /sys/class/powercap/intel-rapl; ln -s .. /sys/class/powercap/intel-rapl/subsystem
"""

def energy_j(power, t_s):
    ends = [*power[1:], (1e9, power[-1][1])]  # the last power goes on
    spans = [(min(t_s, b) - a, p, q, b - a) for (a, p), (b, q) in zip(power, ends)]
    return sum(s * (p + (q - p) * s / whole / 2) for s, p, q, whole in spans if s > 0)

def play(began, parent):
    opened = [os.open(ROOT / zone[0] / "energy_uj", os.O_WRONLY) for zone in ZONES]
    born = time.monotonic()
    while os.getppid() == parent:
        now = time.monotonic()
        t_s = now - began.value if began.value else 0.0{lost}
        for file, (_, _, first_uj, range_uj, power) in zip(opened, ZONES):
            joules = power[0][1] * (now - t_s - born) + energy_j(power, t_s)
            os.pwrite(file, b"%012d\\n" % (int(first_uj + 1e6 * joules) % range_uj), 0)
        time.sleep(0.001)
    os._exit(0)

if __name__ == "__main__":
    os.chdir(tempfile.mkdtemp())
    subprocess.run(["sh", "-ec", MOUNT], check=True)
    for folder, name, first_uj, range_uj, _ in ZONES:
        (ROOT / folder).mkdir()
        (ROOT.parent / Path(folder).name).symlink_to(ROOT / folder)
        (ROOT / folder / "name").write_text(name)
        (ROOT / folder / "energy_uj").write_text(str(first_uj))
        (ROOT / folder / "max_energy_range_uj").write_text(str(range_uj))
    began, parent = Value("d", 0.0, lock=False), os.getpid()
    os.fork() or play(began, parent)

'''
_LOST: Final = """
        if t_s >= {lost_at_s!r}:
            [os.chmod(file, 0) for file in opened]  # nobody may read them any more"""
_BOUND: Final = "setpriv --bounding-set -dac_override,-dac_read_search "


@dataclass(frozen=True, slots=True)
class Script:
    """A script: the name of its file, and what stands in it."""

    name: str
    text: str


def script(
    tool: Tool, scenario: Scenario, outcome: Outcome, finding: Finding, often: str = ""
) -> Script | None:
    """Return the script that shows a finding; None where no short one can.

    `outcome` is what the tool did in `scenario`, where `finding` was found; `often` says how else.
    """
    figure = next((f for f in outcome.figures if _of(finding, f)), None)
    lost = {z.lost_at_s for z in scenario.scene.zones}
    if tool.lines is None or outcome.version == "unknown" or not _plain(scenario) or len(lost) > 1:
        return None
    if finding.kind == "disagreement" or (finding.field and figure is None):
        return None  # it lies between two numbers, or in none
    lost_at_s = next(iter(lost), None)
    rows = (
        f'("{z.zone.directory}", "{z.zone.name}", {z.zone.start_uj}, {z.zone.range_uj}, '
        f"{_knots(z.truth)})"
        for z in scenario.scene.zones
    )
    code = _TREE.format(
        zones=",\n         ".join(rows),
        lost="" if lost_at_s is None else _LOST.format(lost_at_s=lost_at_s),
    )
    lines, name = tool.lines(scenario.ask), _name(finding, figure)
    body = [
        *_measured(scenario, figure, lines),
        *_printed(scenario, outcome, finding, figure, lines),
    ]
    run = f"unshare -Urmn {'' if lost_at_s is None else _BOUND}python3 {name}"
    head = _head(tool, scenario, outcome, finding, often, run)
    return Script(name, head + code + textwrap.indent("\n".join(body), "    ") + "\n")


def _name(finding: Finding, figure: Figure | None) -> str:
    """Return the name of the file: tool, field, kind and scenario."""
    words = [finding.tool, finding.field, finding.kind, finding.scenario]
    if figure is not None and figure.window:
        words.append(f"window {figure.window + 1}")
    return "-".join(re.sub("[^a-z0-9]+", "-", w.lower()).strip("-") for w in words if w) + ".py"


def _of(finding: Finding, figure: Figure) -> bool:
    return (figure.claim.field, figure.value) == (finding.field, finding.reported)


def _plain(scenario: Scenario) -> bool:
    """Whether a scenario has nothing but zones that run, wrap and may be taken away."""
    return not scenario.gpus and all(
        z.stalls_at_s is None and z.resets_at_s is None and z.zone.range_readable
        for z in scenario.scene.zones
    )


def _head(
    tool: Tool, scenario: Scenario, outcome: Outcome, finding: Finding, often: str, run: str
) -> str:
    said = f"{tool.name} {outcome.version}, {scenario.says}: {finding.message}"
    if finding.looks_like and finding.looks_like not in said:
        said += f": {finding.looks_like}"
    said += f"; {often}" if often else ""
    said = said.replace("\\", "/").replace('"', "'")
    lines = textwrap.wrap(f'"""{said}.', 98)
    lines += [f"SIMULATED counters, in namespaces of their own; found by wattcal {VERSION}:"]
    lines += [f"    pip install {tool.distribution}=={outcome.version}", f"    {run}", '"""', ""]
    return "\n".join(lines)


def _measured(scenario: Scenario, figure: Figure | None, lines: Lines) -> Iterator[str]:
    """Yield the tool's own lines, with the instants between which it did the window in question."""
    kill_at_s = scenario.ask.get("kill_at_s")
    yield from lines.load
    if kill_at_s is not None:
        yield "victim = os.fork()"
        yield "if not victim:"
        # Its helpers die with it, or they would stay for ever.
        killed = ("os.setpgrp()", *_opened(lines), f"time.sleep({kill_at_s:g})", "os.killpg(0, 9)")
        yield from (f"    {line}" for line in killed)
        yield "os.waitpid(victim, 0)"
        yield "t1_s = time.monotonic() - began.value"
        yield f"t0_s = t1_s - {kill_at_s:g}"
        return
    yield from _opened(lines)
    length_s = scenario.duration_s / int(scenario.ask.get("tasks", 1))
    window = figure.window if figure else 0
    for i in range(window):
        yield f"time.sleep({length_s:g})"
        yield lines.end.format(i=i)
        yield lines.begin.format(i=i + 1)
    yield "t0_s = time.monotonic() - began.value"
    yield f"time.sleep({length_s:g})"
    yield "t1_s = time.monotonic() - began.value"
    yield lines.end.format(i=window)
    yield from lines.close


def _opened(lines: Lines) -> tuple[str, ...]:
    return (*lines.make, "began.value = time.monotonic()", lines.begin.format(i=0))


def _printed(
    scenario: Scenario, outcome: Outcome, finding: Finding, figure: Figure | None, lines: Lines
) -> Iterator[str]:
    """Yield the lines that print what the tool says beside what is true."""
    who = f"SIMULATED, {outcome.tool} {outcome.version}"
    if figure is None:
        yield f'print("{who} has come to its end")'
        return
    claim, unit = figure.claim, figure.claim.unit
    power = true_power(scenario, claim)
    nothing = figure.value is None
    value = "{says}" if nothing else "{says:.3f}"
    says = f"{who}: {claim.field} says {value} {unit},"
    yield from lines.says(claim)
    if claim.quantity == "duration_s":
        yield "true = t1_s - t0_s"
    elif power is not None:
        over = " / (t1_s - t0_s)" if claim.quantity == "power_w" else ""
        yield f"truth = {_knots(power)}"
        joules = "energy_j(truth, t1_s) - energy_j(truth, t0_s)"
        yield f"true = ({joules}){over}" if over else f"true = {joules}"
    else:
        yield f'print(f"{says} and there is no such counter")'
        return
    yield f'print(f"{says}"'
    error = "" if nothing else ", {100 * (says / true - 1):+.1f} %"
    yield f'      f" true {{true:.3f}} {unit}{error}")'


def _knots(power: PowerProfile) -> str:
    pairs = zip(power.times_s, power.powers_w, strict=True)
    return "[" + ", ".join(f"({t:g}, {w:g})" for t, w in pairs) + "]"
