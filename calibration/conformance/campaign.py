"""Play every tool through every scenario and set down what came of it as one document."""

from __future__ import annotations

import platform
import tempfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from .._version import VERSION
from ..errors import NotAvailable
from ..machine import fingerprint
from .defects import Defect, defects
from .figures import Outcome
from .judge import TOLERANCE, Check, Finding, compare, judge
from .play import Place, play
from .scenarios import Scenario
from .script import Script, script
from .tools import Tool

__all__ = ["Campaign", "document", "run"]


@dataclass(frozen=True, slots=True)
class Campaign:
    """What was played: outcomes, comparisons and findings by (tool, scenario), and what was not."""

    began: str
    injected: str
    tools: tuple[Tool, ...]
    scenarios: tuple[Scenario, ...]
    outcomes: Mapping[tuple[str, str], Outcome]
    checks: Mapping[tuple[str, str], tuple[Check, ...]]
    findings: tuple[Finding, ...]
    defects: tuple[Defect, ...]
    left_out: tuple[tuple[str, str, str], ...]


def run(
    tools: Sequence[Tool],
    scenarios: Sequence[Scenario],
    place: Place,
    *,
    jobs: int = 2,
    progress: Callable[[float], None] = lambda _share: None,
) -> Campaign:
    """Play all scenarios, `jobs` at a time: tools mostly wait, and their windows' edges are known.

    Raises:
        NotAvailable: a tool's environment does not exist.

    """
    began = datetime.now(UTC).isoformat(timespec="seconds")
    outcomes: dict[tuple[str, str], Outcome] = {}
    checks: dict[tuple[str, str], tuple[Check, ...]] = {}
    findings: list[Finding] = []
    left_out: list[tuple[str, str, str]] = []
    pairs = [(t, s) for s in scenarios for t in tools]
    with (
        tempfile.TemporaryDirectory(prefix="wattcal-conformance-") as folder,
        ThreadPoolExecutor(jobs) as pool,
    ):
        started = [
            pool.submit(play, tool, scenario, place, Path(folder) / f"{number}")
            for number, (tool, scenario) in enumerate(pairs)
        ]
        for number, ((tool, scenario), future) in enumerate(zip(pairs, started, strict=True)):
            key = (tool.name, scenario.name)
            try:
                outcome = future.result()
            except NotAvailable as why:
                left_out.append((*key, str(why)))
                continue
            outcomes[key] = outcome
            checks[key] = compare(scenario, outcome)
            findings += judge(scenario, outcome)
            progress((number + 1) / len(pairs))
    return Campaign(
        began, place.injected, tuple(tools), tuple(scenarios), outcomes, checks, tuple(findings),
        defects(findings, checks), tuple(left_out),
    )  # fmt: skip


def document(campaign: Campaign) -> dict[str, Any]:
    """Return `results.json`: everything that the reports print."""
    machine = fingerprint()
    return {
        "data_kind": "simulated",
        "began": campaign.began,
        "wattcal": VERSION,
        "injected": campaign.injected,
        "tolerance_pct": 100.0 * TOLERANCE,
        "machine": {
            "cpu": machine.get("cpu.model_name"),
            "threads": machine.get("cpu.threads"),
            "virtual": machine.get("virtual"),
            "kernel": machine.get("kernel"),
            "python": platform.python_version(),
        },
        "tools": [
            {"name": name, "version": version} for name, version in _versions(campaign).items()
        ],
        "scenarios": [_scenario(s, campaign) for s in campaign.scenarios],
        "defects": [_defect(d, _script(d, campaign)) for d in campaign.defects],
        "left_out": [
            {"tool": t, "scenario": s, "reason": reason} for t, s, reason in campaign.left_out
        ],
    }


def _versions(campaign: Campaign) -> dict[str, str]:
    """Return the version of each tool: a process that was killed may not have said its own."""
    said = {o.tool: o.version for o in campaign.outcomes.values()}
    return {
        **said,
        **{o.tool: o.version for o in campaign.outcomes.values() if o.version != "unknown"},
    }


def _scenario(scenario: Scenario, campaign: Campaign) -> dict[str, Any]:
    return {
        "name": scenario.name,
        "says": scenario.says,
        "duration_s": scenario.duration_s,
        "counted": scenario.counted,
        "asked": dict(scenario.ask),
        "powers": [
            {
                "part": f"{part} {number}" if len(truths) > 1 else part,
                "times_s": [*truth.times_s, max(truth.times_s[-1], scenario.duration_s)],
                "powers_w": [*truth.powers_w, truth.powers_w[-1]],
            }
            for part, truths in scenario.truths.items()
            for number, truth in enumerate(truths)
        ],
        "outcomes": [
            _outcome(o, campaign.checks[key], [f for f in campaign.findings if _is(f, key)])
            for key, o in campaign.outcomes.items()
            if key[1] == scenario.name
        ],
    }


def _is(finding: Finding, key: tuple[str, str]) -> bool:
    return (finding.tool, finding.scenario) == key


def _outcome(
    outcome: Outcome, checks: Sequence[Check], findings: Sequence[Finding]
) -> dict[str, Any]:
    spans = outcome.windows_ns
    span_s = sum((w[3] - w[0]) / 1e9 for w in spans)
    return {
        "tool": outcome.tool,
        "version": outcome.version,
        "file_says": outcome.file_says,
        "log_says": outcome.log_says,
        "refused": outcome.error if outcome.refused else None,
        "error": None if outcome.refused else outcome.error,
        "cpu_s": outcome.cpu_s,
        "cpu_pct": None if outcome.cpu_s is None or not span_s else 100 * outcome.cpu_s / span_s,
        "figures": [
            {
                "field": c.claim.field,
                "quantity": c.claim.quantity,
                "parts": sorted(c.claim.parts),
                "window": c.window,
                "reported": c.reported,
                "true": c.true,
                "low": c.low,
                "high": c.high,
                "error_pct": c.error_pct,
                "u_pct": c.u_pct,
                "right": c.inside,
            }
            for c in checks
        ],
        "findings": [{"kind": f.kind, "field": f.field, "message": f.message} for f in findings],
    }


def _script(defect: Defect, campaign: Campaign) -> Script | None:
    """Return the script of the defect's example, or of another of its findings that has one."""
    tool = next(t for t in campaign.tools if t.name == defect.tool)
    scenarios = {s.name: s for s in campaign.scenarios}
    version = _versions(campaign)[tool.name]
    alike = (
        f
        for name in defect.scenarios
        for f in campaign.findings
        if (f.tool, f.field, f.kind, f.scenario) == (tool.name, defect.field, defect.kind, name)
    )
    for finding in (defect.example, *alike):
        outcome = replace(campaign.outcomes[tool.name, finding.scenario], version=version)
        found = script(tool, scenarios[finding.scenario], outcome, finding, defect.often)
        if found is not None:
            return found
    return None


def _defect(defect: Defect, found: Script | None) -> dict[str, Any]:
    return {
        "tool": defect.tool,
        "field": defect.field,
        "kind": defect.kind,
        "headline": defect.headline,
        "scenarios": list(defect.scenarios),
        "tried": defect.tried,
        "least_pct": defect.least_pct,
        "most_pct": defect.most_pct,
        "looks_like": defect.looks_like,
        "reported": defect.example.reported,
        "true": defect.example.true,
        "reproduce": f"wattcal conformance {defect.tool} --scenario {defect.scenarios[0]}",
        "script": None if found is None else {"name": f"scripts/{found.name}", "text": found.text},
    }
