"""`wattcal audit`: how much of a tool's number was measured. Works in the base install."""

from __future__ import annotations

import argparse
import textwrap
from pathlib import Path
from typing import Any

from .._audit.advice import percent
from ..audit import ORIGINS, Audit, AuditRow, audit_file
from .help import Help
from .output import print_json, table

__all__ = ["register"]

_AUDIT = """\
Say of every joule in a tool's file whether a hardware counter counted it, a
power sensor was sampled, a formula modelled it from the load, or it was merely
assumed (a constant times the duration), with the evidence in the file itself.
What the file does not show is "unknown". Needs no meter, profile or network.

FILE is an emissions.csv of CodeCarbon (or its task file), a log of
CarbonTracker, or the CSV of Zeus.

  wattcal audit emissions.csv
  wattcal audit emissions.csv --json > audit.json"""

_MOST_ROWS = 20


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `audit`."""
    parser = commands.add_parser(
        "audit",
        help="how much of a tool's number was measured",
        description=_AUDIT,
        formatter_class=Help,
    )
    parser.add_argument("file", type=Path, metavar="FILE")
    parser.add_argument("--all", action="store_true", help="print every row of a long file")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    audit = audit_file(arguments.file)
    if arguments.json:
        print_json(document(audit))
    else:
        print(_text(audit, every_row=arguments.all))
    return 0


def document(audit: Audit) -> dict[str, Any]:
    """Return the JSON of an audit; every key always present."""
    return {
        "file": audit.path,
        "sha256": audit.sha256,
        "tool": audit.tool,
        "version": audit.version,
        "energy_j": audit.energy_j,
        "by_origin_j": dict(audit.by_origin()),
        "rows": [
            {
                "where": r.where,
                "id": r.id,
                "duration_s": r.duration_s,
                "energy_j": r.energy_j,
                "by_origin_j": dict(r.by_origin()),
                "parts": [
                    {
                        "component": p.component,
                        "energy_j": p.energy_j,
                        "origin": p.origin,
                        "evidence": p.evidence,
                    }
                    for p in r.parts
                ],
                "remarks": [{"code": m.code, "message": m.message} for m in r.remarks],
            }
            for r in audit.rows
        ],
        "remarks": [{"code": m.code, "message": m.message} for m in audit.remarks],
        "steps": [
            {"code": s.code, "message": s.message, "command": s.command} for s in audit.steps
        ],
        "sentence": audit.sentence,
    }


def _text(audit: Audit, *, every_row: bool) -> str:
    shown = audit.rows if every_row else audit.rows[:_MOST_ROWS]
    columns = [o for o, e in audit.by_origin().items() if e] or ["unknown"]
    rows = [_cells(_short(r.id), r.duration_s, r.energy_j, r.by_origin(), columns) for r in shown]
    total_s = sum(r.duration_s or 0.0 for r in audit.rows)
    if len(audit.rows) > 1:
        rows.append(_cells("total", total_s, audit.energy_j, audit.by_origin(), columns))
    lines = [table(["run", "time s", "J", *columns], rows, right="lrr" + "r" * len(columns))]
    if len(shown) < len(audit.rows):
        lines.append(f"({len(audit.rows) - len(shown)} more rows: --all)")
    lines += ["", *(_wrapped(f"{o}: {ORIGINS[o]}") for o in columns)]
    lines += ["", "Evidence", *_evidence(audit.rows)]
    if audit.remarks:
        lines += ["", "Remarks", *(_bullet(f"{m.code}: {m.message}") for m in audit.remarks)]
    lines += ["", "What to do next, cheapest first"]
    for number, step in enumerate(audit.steps, start=1):
        lines.append(textwrap.fill(f"{number}. {step.message}", 78, subsequent_indent="   "))
        if step.command:
            lines.append(f"     {step.command}")
    lines += ["", textwrap.fill(audit.sentence, 76, initial_indent="  ", subsequent_indent="  ")]
    return "\n".join(lines)


def _cells(
    name: str,
    duration_s: float | None,
    energy_j: float,
    by_origin: dict[Any, float],
    columns: list[Any],
) -> list[str]:
    shares = [
        "-" if energy_j <= 0 or not by_origin[c] else percent(by_origin[c] / energy_j)
        for c in columns
    ]
    return [name, "-" if duration_s is None else f"{duration_s:.1f}", f"{energy_j:.6g}", *shares]


def _evidence(rows: tuple[AuditRow, ...]) -> list[str]:
    """Say each kind of evidence once, with the rows that share it counted."""
    first: dict[tuple[str, str], str] = {}
    count: dict[tuple[str, str], int] = {}
    for row in rows:
        for part in row.parts:
            key = (part.component, part.origin)
            first.setdefault(key, part.evidence)
            count[key] = count.get(key, 0) + 1
    return [
        _bullet(
            f"{component}, {origin}: {evidence}"
            + (f" ({count[component, origin]} of {len(rows)} rows)" if len(rows) > 1 else "")
        )
        for (component, origin), evidence in first.items()
    ]


def _bullet(text: str) -> str:
    return textwrap.fill(f"- {text}", 78, subsequent_indent="  ")


def _wrapped(text: str) -> str:
    return textwrap.fill(text, 78, subsequent_indent="  ")


def _short(name: str) -> str:
    return name if len(name) <= 18 else f"{name[:8]}...{name[-7:]}"
