"""From findings to defects: what one field of one tool gets wrong over all scenarios, said once.

A finding is one wrong number in one scenario. Many of them are one mistake, and an explanation that
fits one scenario may be chance: a column that is half of the truth with one GPU as well as with two
is no mean of devices. So an explanation stands only where it is needed: where the field is right
without the circumstance that it names.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from .judge import SOURCE, Check, Finding

__all__ = ["Defect", "defects"]


@dataclass(frozen=True, slots=True)
class Defect:
    """One mistake of one field: in which scenarios it showed, by how much, what it looks like.

    `least_pct` and `most_pct` bound the error in % of the truth where there is one; `example` is
    the finding that shows it best, `looks_like` an explanation that stands over all scenarios.
    """

    tool: str
    field: str
    kind: str
    scenarios: tuple[str, ...]
    tried: int
    least_pct: float | None
    most_pct: float | None
    looks_like: str | None
    example: Finding

    @property
    def headline(self) -> str:
        """Return one line for it."""
        said = self.example.message
        if self.looks_like and self.looks_like not in said:
            said += f": {self.looks_like}"
        often = f"{self.often}; " if self.often else ""
        return f"{often}{self.scenarios[0]}: {said}"

    @property
    def often(self) -> str:
        """Return in how many scenarios it showed, and by how much; nothing where in one only."""
        if len(self.scenarios) == 1:
            return ""
        spread = ""
        if self.least_pct is not None and self.most_pct is not None:
            spread = f", by {self.least_pct:+.0f} % to {self.most_pct:+.0f} %"
        return f"in {len(self.scenarios)} of {self.tried} scenarios{spread}"


def defects(
    findings: Sequence[Finding], checks: Mapping[tuple[str, str], Sequence[Check]]
) -> tuple[Defect, ...]:
    """Gather findings by tool, field, kind and explanation, the most frequent first.

    `checks` holds every comparison by (tool, scenario), the right ones too: they tell how often a
    field was tried, and whether it is right where an explanation does not apply.
    """
    groups: dict[tuple[str, str, str, str | None], list[Finding]] = {}
    for finding in findings:
        looks = finding.looks_like if _needed(finding, checks) else None
        groups.setdefault((finding.tool, finding.field, finding.kind, looks), []).append(finding)
    found = [_defect(key, group, checks) for key, group in groups.items()]
    return tuple(sorted(found, key=lambda d: (d.tool, -len(d.scenarios), d.field)))


def _needed(finding: Finding, checks: Mapping[tuple[str, str], Sequence[Check]]) -> bool:
    """Whether the field is right in most scenarios to which the explanation does not apply."""
    if finding.looks_like is None:
        return False
    if finding.reported == 0 or finding.looks_like == SOURCE:
        return True
    others = [
        check
        for (tool, scenario), row in checks.items()
        if tool == finding.tool and scenario != finding.scenario
        for check in row
        if check.claim.field == finding.field and check.looks_like is None
    ]
    return not others or sum(c.inside for c in others) * 2 > len(others)


def _defect(
    key: tuple[str, str, str, str | None],
    group: Sequence[Finding],
    checks: Mapping[tuple[str, str], Sequence[Check]],
) -> Defect:
    tool, field, kind, looks = key
    tried = sum(
        any(c.claim.field == field for c in row) for (t, _), row in checks.items() if t == tool
    )
    errors = [
        100.0 * (f.reported - f.true) / f.true for f in group if f.reported is not None and f.true
    ]
    example = max(group, key=lambda f: abs((f.reported or 0.0) - (f.true or 0.0)) / (f.true or 1.0))
    scenarios = dict.fromkeys([example.scenario, *(f.scenario for f in group)])
    return Defect(
        tool=tool,
        field=field,
        kind=kind,
        scenarios=tuple(scenarios),
        tried=max(tried, len(scenarios)),
        least_pct=min(errors, default=None),
        most_pct=max(errors, default=None),
        looks_like=looks,
        example=example,
    )
