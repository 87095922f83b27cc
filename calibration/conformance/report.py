"""The report of a campaign, as HTML and Markdown, from `results.json` alone: nothing computed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from html import escape
from importlib import resources
from typing import Any, Final

from .plots import errors_plot, power_plot

__all__ = ["html", "markdown"]

Document = Mapping[str, Any]

_INTRODUCTION: Final = (
    "The released tools ran unmodified against counters whose energy is known exactly. Every "
    "number that a tool reported is compared with the truth of the window in which it was asked to "
    "measure, with the tool's other numbers, and with itself in other scenarios. A number is right "
    "when it lies within the tolerance of that truth plus what the edges of the window leave open."
)


def markdown(results: Document) -> str:
    """Return the report as Markdown, fit to be attached to an issue of a tool."""
    return "\n".join(_markdown(results)) + "\n"


def _markdown(results: Document) -> Iterator[str]:
    yield "# How well do energy tools count? (SIMULATED counters, exact truth)"
    yield ""
    yield _INTRODUCTION
    yield ""
    yield from (f"- {label}: {text}" for label, text in _facts(results))
    for tool in results["tools"]:
        yield ""
        yield f"## {tool['name']} {tool['version']}"
        yield ""
        yield _score(results, tool["name"])
        yield ""
        for defect in results["defects"]:
            if defect["tool"] == tool["name"]:
                yield f"- **{_title(defect)}** {defect['headline']}."
                yield f"  Show it: {_shown(defect)}"
    yield ""
    yield "## Every number"
    for scenario in results["scenarios"]:
        yield ""
        yield f"### {scenario['name']}: {scenario['says']}"
        yield ""
        yield "| tool | field | reported | true | error | right |"
        yield "|---|---|--:|--:|--:|---|"
        for tool, row in _rows(scenario):
            yield f"| {tool} | " + " | ".join(row) + " |"
    if results["left_out"]:
        yield ""
        yield "## Left out"
        yield ""
        yield from (f"- {o['tool']}, {o['scenario']}: {o['reason']}" for o in results["left_out"])


def html(results: Document) -> str:
    """Return the report as one HTML file that fetches nothing."""
    css = resources.files("calibration.publishing").joinpath("page.css").read_text("utf-8")
    body = "\n".join(_html(results))
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        "<title>SIMULATED: how well do energy tools count?</title>\n"
        f"<style>\n{css}\n</style>\n</head>\n<body>\n{body}\n</body>\n</html>\n"
    )


def _html(results: Document) -> Iterator[str]:
    yield '<header><span class="stamp">SIMULATED COUNTERS, EXACT TRUTH</span>'
    yield "<h1>How well do energy tools count?</h1>"
    yield f'<p class="lead">{escape(_INTRODUCTION)}</p></header><main>'
    yield "<section><h2>Result</h2>"
    yield from _table(
        ("tool", "version", "numbers", "right", "defects"),
        ((t["name"], t["version"], *_counts(results, t["name"])) for t in results["tools"]),
        numbers=(2, 3, 4),
    )
    yield "</section>"
    for tool in results["tools"]:
        found = [d for d in results["defects"] if d["tool"] == tool["name"]]
        yield f"<section><h2>{escape(tool['name'])} {escape(tool['version'])}</h2>"
        yield f"<p>{escape(_score(results, tool['name']))}</p>"
        if found:
            yield '<ul class="notes">'
            for defect in found:
                yield (
                    f"<li><strong>{escape(_title(defect))}</strong> {escape(defect['headline'])}."
                    f"{_show(defect)}</li>"
                )
            yield "</ul>"
        yield "</section>"
    yield "<section><h2>Every scenario</h2>"
    yield (
        "<p>Above, the true power over time. Below, the error of every number in % of its truth: "
        "the bar is what counts as right, a hollow mark is right, a filled one not, an arrow lies "
        "outside.</p>"
    )
    for scenario in results["scenarios"]:
        yield f"<h3>{escape(scenario['name'])}: {escape(scenario['says'])}</h3>"
        yield f"<figure>{power_plot(scenario)}{errors_plot(scenario)}</figure>"
        yield from _table(
            ("tool", "field", "reported", "true", "error", "right"),
            ((tool, *row) for tool, row in _rows(scenario)),
            numbers=(2, 3, 4),
        )
    yield "</section><section><h2>How it was made</h2><dl>"
    yield from (f"<dt>{escape(k)}</dt><dd>{escape(v)}</dd>" for k, v in _facts(results))
    for left in results["left_out"]:
        yield f"<dt>left out</dt><dd>{escape(left['tool'])}, {escape(left['scenario'])}: "
        yield f"{escape(left['reason'])}</dd>"
    yield "</dl></section></main>"


def _table(head: tuple[str, ...], rows: Any, *, numbers: tuple[int, ...]) -> Iterator[str]:
    def cell(tag: str, index: int, text: str) -> str:
        kind = ' class="n"' if index in numbers else ""
        return f"<{tag}{kind}>{escape(str(text))}</{tag}>"

    yield '<div class="scroll"><table><thead><tr>'
    yield "".join(cell("th", i, h) for i, h in enumerate(head)) + "</tr></thead><tbody>"
    for row in rows:
        yield "<tr>" + "".join(cell("td", i, c) for i, c in enumerate(row)) + "</tr>"
    yield "</tbody></table></div>"


def _rows(scenario: Document) -> Iterator[tuple[str, tuple[str, ...]]]:
    for outcome in scenario["outcomes"]:
        for figure in outcome["figures"]:
            unit = {"energy_j": "J", "power_w": "W", "duration_s": "s"}[figure["quantity"]]
            several = f" ({figure['window'] + 1})" if figure["window"] else ""
            yield (
                outcome["tool"],
                (
                    figure["field"] + several,
                    _number(figure["reported"], unit),
                    _number(figure["true"], unit),
                    "–" if figure["error_pct"] is None else f"{figure['error_pct']:+.1f} %",
                    "yes" if figure["right"] else "NO",
                ),
            )
        if outcome["refused"] or outcome["error"]:
            said = outcome["refused"] or outcome["error"]
            word = "refused" if outcome["refused"] else "failed"
            yield outcome["tool"], (word, "–", "–", "–", said)


def _score(results: Document, tool: str) -> str:
    numbers, right, _ = _counts(results, tool)
    text = f"{right} of {numbers} numbers are right"
    shares = [
        o["cpu_pct"]
        for s in results["scenarios"]
        for o in s["outcomes"]
        if o["tool"] == tool and o["cpu_pct"] is not None
    ]
    if shares:
        text += f"; its process used {sum(shares) / len(shares):.1f} % of a core while it measured"
    return text + "."


def _counts(results: Document, tool: str) -> tuple[str, str, str]:
    figures = [
        f
        for s in results["scenarios"]
        if s["counted"]
        for o in s["outcomes"]
        if o["tool"] == tool
        for f in o["figures"]
    ]
    found = sum(d["tool"] == tool for d in results["defects"])
    return str(len(figures)), str(sum(f["right"] for f in figures)), str(found)


def _title(defect: Document) -> str:
    kind = str(defect["kind"]).replace("_", " ")
    return f"{defect['field']}: {kind}." if defect["field"] else f"{kind}."


def _shown(defect: Document) -> str:
    """Return a link to the script that shows a defect, or the command where there is none."""
    script = defect["script"]
    return f"[{script['name']}]({script['name']})" if script else f"`{defect['reproduce']}`"


def _show(defect: Document) -> str:
    script = defect["script"]
    if script is None:
        return f"<br><code>{escape(defect['reproduce'])}</code>"
    name = escape(script["name"])
    return (
        f'<details><summary><a href="{name}">{name}</a></summary>'
        f'<pre class="scroll"><code>{escape(script["text"])}</code></pre></details>'
    )


def _facts(results: Document) -> Iterator[tuple[str, str]]:
    yield "date", results["began"]
    yield "tolerance", f"{results['tolerance_pct']:g} % plus the edges of the window"
    yield "seen through", results["injected"]
    yield "tools", ", ".join(f"{t['name']} {t['version']}" for t in results["tools"])
    yield "computer", ", ".join(f"{k} {v}" for k, v in results["machine"].items() if v is not None)
    yield "made by", f"wattcal {results['wattcal']}"


def _number(value: float | None, unit: str) -> str:
    if value is None:
        return "nothing"
    text = f"{value:.1f}" if abs(value) >= 10 else f"{value:.3g}"
    return f"{text} {unit}"
