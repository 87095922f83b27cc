"""`wattcal conformance`: the released tools against counters whose energy is known."""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from ..errors import InputError, NotAvailable
from .help import Help
from .needs_lab import needs_lab

__all__ = ["register", "results_text"]

_CONFORMANCE = """\
Run an energy tool as it comes from PyPI against simulated counters of exactly
known energy, and compare every number that it reports with the truth, with its
other numbers and with itself. Any Linux machine will do: no hardware, no
network. Everything it writes is marked simulated.

TOOL is codecarbon, carbontracker, zeus, wattcal (our own adapters) or all.
carbontracker and zeus run in an environment of their own: make peers.

  wattcal conformance codecarbon --short
  wattcal conformance all -o conformance/"""


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `conformance`."""
    parser = commands.add_parser(
        "conformance",
        help="energy tools against counters of known energy",
        description=_CONFORMANCE,
        formatter_class=Help,
    )
    parser.add_argument("tool", metavar="TOOL", help="a tool, or all")
    parser.add_argument("--scenario", action="append", default=[], metavar="NAME",
                        help="play this one only (again for more)")  # fmt: skip
    parser.add_argument("--short", action="store_true", help="every scenario, a quarter as long")
    parser.add_argument("--peers", type=Path, default=Path(".venv-peers"), metavar="DIR",
                        help="environment of carbontracker and zeus (.venv-peers)")  # fmt: skip
    parser.add_argument("-o", "--output", type=Path, metavar="DIR",
                        help="write results.json, report.html, report.md, scripts/")  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print results.json")
    parser.set_defaults(run=_run)


@needs_lab
def _run(arguments: argparse.Namespace) -> int:
    from ..conformance.campaign import document, run
    from ..conformance.play import Place
    from ..conformance.scenarios import SCENARIOS, scenarios
    from ..conformance.tools import TOOLS
    from ..simulation.nvml import build_library
    from .output import Progress, print_json

    names = list(TOOLS) if arguments.tool == "all" else [arguments.tool]
    if names[0] not in TOOLS:
        raise InputError(f"Expected one of {', '.join(TOOLS)} or all; got {arguments.tool!r}.")
    known = {s.name: s for s in SCENARIOS}
    for name in arguments.scenario:
        if name not in known:
            raise InputError(f"Expected a scenario among {', '.join(known)}; got {name!r}.")
    played = scenarios(0.25) if arguments.short else SCENARIOS
    chosen = [s for s in played if not arguments.scenario or s.name in arguments.scenario]
    with tempfile.TemporaryDirectory(prefix="wattcal-nvml-") as folder:
        try:
            library: Path | None = build_library(Path(folder) / "lib")
        except NotAvailable as why:
            print(f"wattcal: {why}", file=sys.stderr)
            library = None
        place = Place(arguments.peers.absolute() / "bin" / "python", library)
        for name in names:
            place.python(TOOLS[name])  # says what is missing before anything is played
        bar = Progress("conformance", 1.0)
        campaign = run([TOOLS[n] for n in names], chosen, place, progress=bar.update)
        bar.close()
    results = document(campaign)
    if arguments.output is not None:
        _write(arguments.output, results)
    if arguments.json:
        print_json(results)
    else:
        print(results_text(results))
    return 0


def _write(folder: Path, results: dict[str, Any]) -> None:
    """Write the files; reports and scripts are made of the first one as it stands on disk."""
    from ..conformance.report import html, markdown

    folder.mkdir(parents=True, exist_ok=True)
    _put(folder / "results.json", json.dumps(results, indent=1, allow_nan=False) + "\n")
    written = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    _put(folder / "report.html", html(written))
    _put(folder / "report.md", markdown(written))
    for script in (d["script"] for d in written["defects"] if d["script"]):
        (folder / script["name"]).parent.mkdir(exist_ok=True)
        _put(folder / script["name"], script["text"])
    print(f"wattcal: wrote {folder / 'report.html'}", file=sys.stderr)


def _put(path: Path, text: str) -> None:
    temporary = path.with_name(path.name + ".part")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, path)


def results_text(results: dict[str, Any]) -> str:
    """Return the table of a campaign, then its defects, a line each."""
    import textwrap

    from .output import table

    tools = [t["name"] for t in results["tools"]]
    rows = []
    for scenario in results["scenarios"]:
        outcomes = {o["tool"]: o for o in scenario["outcomes"]}
        rows.append([scenario["name"], *(_word(outcomes.get(t)) for t in tools)])
    lines = [table(["scenario", *tools], rows), ""]
    lines.append("The error of the tool's energy (or of the worst one) in %; +n: so many other")
    lines.append("numbers of it are wrong. SIMULATED counters, exact truth.")
    for tool in results["tools"]:
        found = [d for d in results["defects"] if d["tool"] == tool["name"]]
        lines += ["", f"{tool['name']} {tool['version']}: {len(found)} defects"]
        for defect in found:
            lines.append(textwrap.fill(f"- {defect['headline']}", 78, subsequent_indent="  "))
    for left in results["left_out"]:
        lines += ["", textwrap.fill(f"left out: {left['tool']}, {left['reason']}", 78)]
    return "\n".join(lines)


def _word(outcome: dict[str, Any] | None) -> str:
    """Say one outcome in a cell."""
    if outcome is None:
        return "-"
    if outcome["refused"]:
        return "refused"
    if outcome["error"]:
        return "failed"
    if not outcome["figures"]:
        return "-"
    energies = [f for f in outcome["figures"] if f["quantity"] == "energy_j"] or [
        f for f in outcome["figures"] if f["quantity"] == "power_w"
    ]
    wrong = sum(not f["right"] for f in outcome["figures"])
    known = [f for f in energies if f["error_pct"] is not None]
    if not known:
        silent = any(f["kind"] == "silent_fallback" for f in outcome["findings"])
        return "a guess, unsaid" if silent else "nothing" if wrong else "ok"
    worst = max(known, key=lambda f: (not f["right"], abs(f["error_pct"])))
    others = wrong - (not worst["right"])
    return f"{worst['error_pct']:+.1f}" + (f" +{others}" if others else "")
