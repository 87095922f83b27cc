"""Two small pictures a scenario, as SVG whose colours are the page's variables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any, Final

__all__ = ["errors_plot", "power_plot"]

_WIDTH: Final = 760
_LEFT: Final = 230
_RIGHT: Final = 16
_ROW: Final = 20
_MOST_PCT: Final = 30.0
_DASHES: Final = ("", "7 4", "2 3", "9 3 2 3")


def power_plot(scenario: Mapping[str, Any]) -> str:
    """Draw the true power of every part over time."""
    return "".join(_power(scenario))


def _power(scenario: Mapping[str, Any]) -> Iterator[str]:
    powers, height = scenario["powers"], 120
    if not powers:
        return
    most_w = max(max(p["powers_w"]) for p in powers) * 1.1 or 1.0
    span_s = scenario["duration_s"]
    width = _WIDTH - _LEFT - _RIGHT

    def at(t_s: float, power_w: float) -> str:
        x = _LEFT + width * min(max(t_s / span_s, 0.0), 1.0)
        return f"{x:.1f},{height - 24 - (height - 34) * power_w / most_w:.1f}"

    yield _open(height, f"{scenario['name']}: true power over time")
    yield _line(_LEFT, height - 24, _WIDTH - _RIGHT, height - 24, "var(--faint)")
    for index, power in enumerate(powers):
        knots = zip(power["times_s"], power["powers_w"], strict=True)
        points = " ".join(at(t, w) for t, w in knots)
        dash = f' stroke-dasharray="{_DASHES[index % 4]}"' if index % 4 else ""
        colour = f"var(--series-{(index + 1) % 8})"
        yield (
            f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"{dash}/>'
        )
        yield _text(_LEFT - 12, 20 + 18 * index, power["part"], "end", colour)
    yield _text(_LEFT - 12, height - 20, "0 W", "end", "var(--soft)")
    yield _text(_LEFT, height - 6, "0 s", "start", "var(--soft)")
    yield _text(_WIDTH - _RIGHT, height - 6, f"{span_s:g} s", "end", "var(--soft)")
    yield _text(_WIDTH - _RIGHT, 14, f"{most_w / 1.1:g} W at the most", "end", "var(--soft)")
    yield "</svg>"


def errors_plot(scenario: Mapping[str, Any]) -> str:
    """Draw the error of every number in % of its truth, beside what counts as right."""
    rows = [
        (o["tool"], f)
        for o in scenario["outcomes"]
        for f in o["figures"]
        if f["error_pct"] is not None
    ]
    return "".join(_errors(scenario["name"], rows))


def _errors(name: str, rows: Sequence[tuple[str, Mapping[str, Any]]]) -> Iterator[str]:
    if not rows:
        return
    height = _ROW * len(rows) + 34
    middle = _LEFT + (_WIDTH - _LEFT - _RIGHT) / 2
    scale = (_WIDTH - _LEFT - _RIGHT) / 2 / _MOST_PCT
    yield _open(height, f"{name}: error of every number in per cent")
    yield _line(middle, 4, middle, height - 28, "var(--faint)")
    for index, (tool, figure) in enumerate(rows):
        y = _ROW * index + 14
        several = f" ({figure['window'] + 1})" if figure["window"] else ""
        label = f"{tool} {figure['field']}{several}"
        yield _text(_LEFT - 12, y + 4, label[:36], "end", "var(--ink)")
        low, high = (100 * (figure[k] - figure["true"]) / figure["true"] for k in ("low", "high"))
        x0 = middle + scale * max(low, -_MOST_PCT)
        x1 = middle + scale * min(high, _MOST_PCT)
        place = f'x="{x0:.1f}" y="{y - 5}" width="{x1 - x0:.1f}" height="10"'
        yield f'<rect {place} fill="var(--band)"/>'
        yield _mark(middle + scale * figure["error_pct"], y, figure["right"], figure["error_pct"])
    for pct in (-_MOST_PCT, 0.0, _MOST_PCT):
        anchor = "start" if pct < 0 else "end" if pct > 0 else "middle"
        yield _text(middle + scale * pct, height - 10, f"{pct:+.0f} %", anchor, "var(--soft)")
    yield "</svg>"


def _mark(x: float, y: float, right: bool, error_pct: float) -> str:
    """Return a dot, or at the edge an arrow with the figure beside it."""
    if abs(error_pct) > _MOST_PCT:
        edge = _LEFT if error_pct < 0 else _WIDTH - _RIGHT
        tip, back = (edge, edge + 9) if error_pct < 0 else (edge, edge - 9)
        anchor = "start" if error_pct < 0 else "end"
        beside = back + (5 if error_pct < 0 else -5)
        return (
            f'<path d="M{tip},{y} L{back},{y - 5} L{back},{y + 5} Z" fill="var(--bad)"/>'
            + _text(beside, y + 4, f"{error_pct:+.0f} %", anchor, "var(--bad)")
        )
    colour = "var(--good)" if right else "var(--bad)"
    fill = "var(--paper)" if right else colour
    return f'<circle cx="{x:.1f}" cy="{y}" r="4" fill="{fill}" stroke="{colour}" stroke-width="2"/>'


def _open(height: float, title: str) -> str:
    return (
        f'<svg viewBox="0 0 {_WIDTH} {height}" role="img" aria-label="{escape(title)}" '
        'font-size="12">'
    )


def _line(x0: float, y0: float, x1: float, y1: float, colour: str) -> str:
    return f'<line x1="{x0:.1f}" y1="{y0}" x2="{x1:.1f}" y2="{y1}" stroke="{colour}"/>'


def _text(x: float, y: float, text: str, anchor: str, colour: str) -> str:
    return f'<text x="{x:.1f}" y="{y}" text-anchor="{anchor}" fill="{colour}">{escape(text)}</text>'
