"""Figures as inline SVG whose colours are CSS variables, so that they follow the page's scheme.

matplotlib draws with placeholder colours, which are then replaced by `var(--name)`: one figure
serves screen, dark mode and print. Text stays text. Nothing is computed here.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterable
from html import escape
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from .view import FitView

__all__ = ["before_after_figure", "line_figure", "residual_figure", "workload_colours"]

# A placeholder is a colour that nobody would choose; the page's style sheet gives the real one.
_PAPER: Final = "#010100"
_INK: Final = "#010101"
_FAINT: Final = "#010102"
_LINE: Final = "#010103"
_BAND: Final = "#010104"
_BEFORE: Final = "#010105"
_AFTER: Final = "#010106"
_SERIES: Final = tuple(f"#0102{i:02x}" for i in range(8))
_VARIABLES: Final = {
    _PAPER: "--paper",
    _INK: "--ink",
    _FAINT: "--faint",
    _LINE: "--line",
    _BAND: "--band",
    _BEFORE: "--before",
    _AFTER: "--after",
    **{colour: f"--series-{i}" for i, colour in enumerate(_SERIES)},
}
_MARKERS: Final = ("o", "s", "^", "D", "v", "P", "X", "*")


def workload_colours(workloads: Iterable[str]) -> dict[str, tuple[str, str]]:
    """Give each workload a colour and a marker: never the colour alone."""
    unique = list(dict.fromkeys(workloads))
    count = len(_SERIES)
    return {w: (_SERIES[i % count], _MARKERS[i % count]) for i, w in enumerate(unique)}


def line_figure(view: FitView, *, ident: str, simulated: bool) -> str:
    """Draw the points, the fitted line and its band of U."""

    def draw(axes: Axes) -> None:
        x = [p.input for p in view.line]
        y = [p.power_w for p in view.line]
        u = [p.expanded_w for p in view.line]
        if x:
            low = [a - b for a, b in zip(y, u, strict=True)]
            high = [a + b for a, b in zip(y, u, strict=True)]
            axes.fill_between(x, low, high, color=_BAND, linewidth=0, label="U (95 %)")
            axes.plot(x, y, color=_LINE, linewidth=1.5, label="fit")
        if view.unit == "W":
            ends = [min(d.input for d in view.dots), max(d.input for d in view.dots)]
            axes.plot(
                ends, ends, color=_FAINT, linewidth=1, linestyle=(0, (4, 3)), label="raw = wall"
            )
        _scatter(axes, view, lambda d: d.reference_w)
        _input_axis(axes, view)
        axes.set_ylabel("wall meter, W")
        axes.figure.legend(loc="outside lower center", ncols=4)

    return _svg(draw, f"{view.name}: the fit", ident=ident, simulated=simulated, height=4.2)


def residual_figure(view: FitView, *, ident: str, simulated: bool) -> str:
    """Draw what the fit leaves over at its own points."""

    def draw(axes: Axes) -> None:
        axes.axhline(0.0, color=_LINE, linewidth=1.5)
        _scatter(axes, view, lambda d: d.residual_w)
        _input_axis(axes, view)
        axes.set_ylabel("meter − fit, W")
        reach = max((abs(d.residual_w) for d in view.dots if d.residual_w is not None), default=1.0)
        axes.set_ylim(-1.35 * max(reach, 0.1), 1.35 * max(reach, 0.1))

    return _svg(draw, f"{view.name}: residuals", ident=ident, simulated=simulated, height=2.5)


def before_after_figure(view: FitView, *, ident: str, simulated: bool) -> str:
    """Draw the mean error per workload, raw and corrected by a fit that has not seen it."""

    def draw(axes: Axes) -> None:
        names = [g.workload for g in view.groups]
        middle = range(len(names))
        series = (
            ("before: raw tool", _BEFORE, -0.19, [g.before_pct for g in view.groups]),
            ("after: held out", _AFTER, 0.19, [g.after_pct for g in view.groups]),
        )
        longest = max((v for *_, vs in series for v in vs if v is not None), default=1.0)
        for label, colour, shift, values in series:
            shown = [(i + shift, v) for i, v in zip(middle, values, strict=True) if v is not None]
            for place, length in shown:
                axes.barh(place, length, height=0.36, color=colour)
                axes.text(
                    length + 0.012 * longest, place, f"{length:.1f} %", va="center", fontsize=9,
                    color=_INK,
                )  # fmt: skip
            if shown:
                axes.bar(0, 0, color=colour, label=label)
        axes.set_yticks(list(middle), names)
        axes.invert_yaxis()
        axes.set_xlim(0, 1.16 * longest)
        axes.set_xlabel("mean |error| of power, % of the meter")
        axes.grid(axis="y", visible=False)
        if axes.get_legend_handles_labels()[0]:
            axes.figure.legend(loc="outside lower center", ncols=2)

    height = 1.4 + 0.45 * max(len(view.groups), 2)
    title = f"{view.name}: before and after"
    return _svg(draw, title, ident=ident, simulated=simulated, height=height)


def _input_axis(axes: Axes, view: FitView) -> None:
    """Give line and residuals the same horizontal axis."""
    low, high = min(d.input for d in view.dots), max(d.input for d in view.dots)
    margin = 0.04 * (high - low) or 1.0
    axes.set_xlim(low - margin, high + margin)
    axes.set_xlabel(f"{view.input}, W" if view.unit == "W" else f"{view.input} (0 to 1)")


def _scatter(axes: Axes, view: FitView, value: Callable[[Any], float | None]) -> None:
    for workload, (colour, marker) in workload_colours(d.workload for d in view.dots).items():
        mine = [d for d in view.dots if d.workload == workload]
        pairs = [(d.input, v) for d in mine if (v := value(d)) is not None]
        if pairs:
            x, y = zip(*pairs, strict=True)
            axes.scatter(
                x, y, s=34, marker=marker, color=colour, label=workload, zorder=3, linewidths=0
            )


_STYLE: Final[dict[str, Any]] = {
    "svg.fonttype": "none",
    "font.size": 10,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.edgecolor": _FAINT,
    "axes.labelcolor": _INK,
    "axes.titlecolor": _INK,
    "axes.facecolor": "none",
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "figure.facecolor": "none",
    "grid.color": _FAINT,
    "grid.linewidth": 0.4,
    "legend.frameon": True,
    "legend.framealpha": 1.0,
    "legend.facecolor": _PAPER,
    "legend.edgecolor": _PAPER,
    "legend.borderpad": 0.2,
    "legend.fontsize": 9,
    "legend.labelcolor": _INK,
    "text.color": _INK,
    "xtick.color": _FAINT,
    "ytick.color": _FAINT,
    "xtick.labelcolor": _INK,
    "ytick.labelcolor": _INK,
}


def _svg(
    draw: Callable[[Axes], None],
    title: str,
    *,
    ident: str,
    simulated: bool,
    height: float = 3.6,
) -> str:
    """Return the drawing as an SVG element for a page, its ids its own."""
    from matplotlib import rc_context
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    shown = f"SIMULATED · {title}" if simulated else title
    style: Any = {**_STYLE, "svg.hashsalt": ident}
    with rc_context(style):
        figure = Figure(figsize=(7.2, height), layout="constrained")
        FigureCanvasSVG(figure)
        axes = figure.subplots()
        axes.set_title(shown)
        draw(axes)
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return _for_page(buffer.getvalue(), shown, ident)


def _for_page(text: str, title: str, ident: str) -> str:
    text = text[text.index("<svg") :].strip()
    text = re.sub(r"<metadata>.*?</metadata>\s*", "", text, flags=re.DOTALL)
    text = re.sub(r'(?<=\sid=")', f"{ident}-", text)
    text = re.sub(r'(?<=href="#)', f"{ident}-", text)
    text = re.sub(r"(?<=url\(#)", f"{ident}-", text)
    # The width of the page decides; the drawing keeps its proportions through its viewBox.
    text = re.sub(r'<svg [^>]*?viewBox="([^"]+)"[^>]*>', rf'<svg viewBox="\1" role="img" '
                  rf'aria-label="{escape(title)}" xmlns="http://www.w3.org/2000/svg" '
                  r'xmlns:xlink="http://www.w3.org/1999/xlink">', text, count=1)  # fmt: skip
    text = re.sub(r"font: ([\d.]+px) [^;\"]+", r"font-size: \1", text)
    for colour, variable in _VARIABLES.items():
        text = text.replace(colour, f"var({variable})")
    return text
