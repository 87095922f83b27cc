"""A calibration as one HTML file: figures and style inline, nothing fetched, nothing computed.

The page prints what it is given: views of fits, a comparison, notes, and what the correction made
of a job. It reads in light and dark and on paper.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path

from ..analysis.compare import Comparison
from .figures import before_after_figure, line_figure, residual_figure
from .view import FitView

__all__ = ["EnergyRow", "Page", "render_page", "write_page"]


@dataclass(frozen=True, slots=True)
class EnergyRow:
    """One energy of the job at the end, J; `expanded_j` is U where there is one."""

    name: str
    energy_j: float
    expanded_j: float | None = None
    note: str = ""


@dataclass(frozen=True, slots=True)
class Page:
    """Everything a page says.

    `facts` are label and text, in order; `notes` are sentences that stand on top; `sources` names
    the files beside the page.
    """

    title: str
    data_kind: str
    summary: str
    notes: tuple[str, ...]
    comparison: Comparison
    views: tuple[FitView, ...]
    energies: tuple[EnergyRow, ...] = ()
    energy_text: str = ""
    facts: Mapping[str, str] = field(default_factory=dict)
    sources: Mapping[str, str] = field(default_factory=dict)


def render_page(page: Page) -> str:
    """Return the page as HTML."""
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    folder = resources.files(__package__)
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["number"] = _number
    environment.filters["signed"] = _signed
    template = environment.from_string(folder.joinpath("page.html").read_text(encoding="utf-8"))
    simulated = page.data_kind == "simulated"
    figures = [
        {
            "line": Markup(line_figure(v, ident=f"line{i}", simulated=simulated)),
            "residual": Markup(residual_figure(v, ident=f"residual{i}", simulated=simulated)),
            "errors": Markup(before_after_figure(v, ident=f"errors{i}", simulated=simulated)),
        }
        for i, v in enumerate(page.views)
    ]
    style = folder.joinpath("page.css").read_text(encoding="utf-8")
    return template.render(
        page=page,
        simulated=simulated,
        shown=list(zip(page.views, figures, strict=True)),
        style=Markup(style),
        verdicts=_VERDICTS,
        formula=_formula,
    )


def write_page(page: Page, path: Path) -> None:
    """Write the page, whole or not at all."""
    text = render_page(page)
    temporary = path.with_name(path.name + ".part")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, path)


_VERDICTS = {
    "correction": "correction",
    "error_statement": "error statement only",
    "refused": "refused",
}


def _number(value: float | None, digits: int = 3) -> str:
    """Write a number with `digits` significant digits, never in powers of ten up to a million."""
    if value is None or value != value:
        return "–"
    text = f"{value:.{digits}g}"
    text = f"{value:,.0f}" if "e" in text and abs(value) >= 1 else text
    return text.replace("-", "−")


def _signed(value: float | None, digits: int = 3) -> str:
    text = _number(value, digits)
    return text if text.startswith(("−", "–")) else f"+{text}"


def _formula(view: FitView) -> str:
    """Write the fitted function as a line of text."""
    if view.fit.model is None:
        return "no function could be fitted"
    parts: list[str] = []
    for term in view.fit.model.terms:
        value = _number(abs(term.value), 4)
        if term.basis == "const":
            body = f"{value} W"
        else:
            name = term.input or ""
            if term.basis == "hinge":
                name = f"max(0, {name} − {_number(term.knot, 4)})"
            elif term.power > 1:
                name = f"{name}^{term.power}"
            unit = "" if term.unit == "1" else f" {term.unit}"
            body = f"{value}{unit} × {name}"
        sign = "− " if term.value < 0 else ("+ " if parts else "")
        parts.append(sign + body)
    return "wall = " + " ".join(parts)
