"""Bring one tool and one scenario together: a stage, a private world, a child, an outcome."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from ..errors import NotAvailable
from ..simulation import namespace
from ..simulation.stage import Stage
from .figures import Outcome
from .scenarios import Scenario
from .tools.tool import CHILDREN, Run, Tool

__all__ = ["Place", "play"]

_LIMIT_S: Final = 60.0
_MARK: Final = "wattcal-report "
_ROOT: Final = Path(__file__).resolve().parents[2]


class Place:
    """Where tools run: the Python of the peers' environment, and the library of simulated GPUs.

    `injected` is how they see the simulated machine: `namespaces`, or `paths` where the kernel
    forbids those; then GPUs and permissions cannot be played, and the network is not cut off.
    """

    def __init__(self, peers: Path | None, library: Path | None) -> None:
        self._peers, self.library = peers, library
        self.injected = "paths" if namespace.why_not() else "namespaces"

    def python(self, tool: Tool) -> str:
        """Return the interpreter for a tool.

        Raises:
            NotAvailable: the peers' environment does not exist.

        """
        if tool.environment == "own":
            return sys.executable
        if self._peers is None or not self._peers.exists():
            raise NotAvailable(
                f"{tool.name} runs in an environment of its own, which does not exist; make it "
                "with: make peers"
            )
        return str(self._peers)

    def why_not(self, scenario: Scenario) -> str | None:
        """Return why a scenario cannot be played here, None where it can."""
        if scenario.gpus and self.library is None:
            return "simulated GPUs need a C compiler (gcc)"
        bound = not scenario.counted or "permission" in scenario.name
        if self.injected == "paths" and (scenario.gpus or bound):
            return f"it needs private namespaces, and {namespace.why_not()}"
        return None


def play(tool: Tool, scenario: Scenario, place: Place, folder: Path) -> Outcome:
    """Run a tool through a scenario in `folder`, which must not exist yet.

    Raises:
        NotAvailable: the tool or the scenario cannot run here.

    """
    reason = place.why_not(scenario)
    if reason is not None:
        raise NotAvailable(f"Scenario {scenario.name} cannot be played: {reason}.")
    python = place.python(tool)
    folder.mkdir(parents=True)
    work = folder / "work"
    work.mkdir()
    with Stage(folder / "stage", scenario.scene) as stage:
        apart = place.injected == "namespaces"
        setup = {
            "ask": dict(scenario.ask),
            "distribution": tool.distribution,
            "duration_s": scenario.duration_s,
            "go": str(stage.go),
            "gpus": scenario.gpus,
            "sysfs": None if apart else str(stage.sysfs),
        }
        command = [python, "-P", str(tool.child), json.dumps(setup)]
        if apart:
            environment = namespace.environment(
                work,
                sysfs=stage.sysfs,
                library=place.library if scenario.gpus else None,
                state=stage.gpu_state,
            )
            command = namespace.inside(command, bound_by_permissions=_bound(scenario))
        else:
            environment = dict(os.environ)
        return _outcome(tool, scenario, stage, _run(command, environment, work), work)


def _bound(scenario: Scenario) -> bool:
    return any(z.lost_at_s is not None for z in scenario.scene.zones)


def _run(
    command: Sequence[str], environment: Mapping[str, str], work: Path
) -> subprocess.CompletedProcess[str]:
    # The children find each other's common half, and ours finds this package.
    path = os.pathsep.join([str(CHILDREN), str(_ROOT)])
    printed, log = work.with_name("stdout"), work.with_name("stderr")
    with printed.open("wb") as out, log.open("wb") as err:
        process = subprocess.Popen(
            command,
            cwd=work,
            env={**environment, "PYTHONPATH": path},
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            start_new_session=True,
        )
        late = ""
        try:
            process.wait(_LIMIT_S)
        except subprocess.TimeoutExpired:
            late = f"\nno end within {_LIMIT_S:g} s"
        finally:
            # A tool that was killed may leave helpers behind; whoever is left ends here.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    said, logged = (p.read_text(encoding="utf-8", errors="replace") for p in (printed, log))
    return subprocess.CompletedProcess(command, process.returncode, said, logged + late)


def _outcome(
    tool: Tool,
    scenario: Scenario,
    stage: Stage,
    done: subprocess.CompletedProcess[str],
    work: Path,
) -> Outcome:
    report = _report(done.stdout)
    empty = Outcome(tool.name, str(report.get("version", "unknown")), scenario.name, (), (), None)
    if "windows" not in report:
        last = (done.stderr.strip().splitlines() or ["nothing was printed"])[-1]
        return replace(empty, error=f"it ended with code {done.returncode}: {last[:200]}")
    reported = tool.read(Run(report, work, done.stdout + done.stderr, scenario))
    return replace(
        empty,
        figures=reported.figures,
        windows_ns=tuple((w[0], w[1], w[2], w[3]) for w in report["windows"]),
        truth=stage.truth(),
        file_says=reported.file_says,
        log_says=reported.log_says,
        cpu_s=report.get("cpu_s"),
        error=reported.error,
        refused=reported.error is not None,
    )


def _report(said: str) -> dict[str, Any]:
    """Return what the child printed last under its mark."""
    lines = [line for line in said.splitlines() if line.startswith(_MARK)]
    found: dict[str, Any] = {}
    for line in lines:
        found.update(json.loads(line.removeprefix(_MARK)))
    return found
