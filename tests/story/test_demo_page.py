"""The page: one file that fetches nothing, says what it is, and prints what it was given."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from calibration.analysis import InputColumn, Points, compare_points, fit_points
from calibration.publishing.page import EnergyRow, Page, render_page, write_page
from calibration.publishing.view import fit_view

WORKLOADS = ("idle", "a", "b<i>", "c & d", "idle", "a", "b<i>", "c & d")
LOAD = np.array([0.0, 0.2, 0.4, 0.6, 0.02, 0.8, 0.9, 1.0])


def points(data_kind: str = "simulated") -> Points:
    n = LOAD.size
    rng = np.random.default_rng(3)
    rapl = InputColumn(10 + 60 * LOAD, mode="counter", modes=("counter",), source="RAPL")
    load = InputColumn(LOAD, unit="1", mode="m", modes=("m",))
    cubic = InputColumn(8 * (0.1 + 0.9 * LOAD**3), mode="cpu_load", modes=("cpu_load",))
    return Points(
        session=("s",) * n,
        workload=WORKLOADS,
        segment=tuple(f"step-{i}" for i in range(n)),
        duration_s=np.full(n, 3.0),
        reference_w=30 + 75 * LOAD + rng.normal(0, 0.3, n),
        reference_u_w=np.full(n, 0.1),
        level=LOAD,
        start_unix_s=1e9 + np.arange(n),
        inputs={"rapl_package": rapl, "codecarbon_cpu": cubic, "cpu_load": load},
        data_kind=data_kind,
    )


def page(data_kind: str = "simulated") -> Page:
    table = points(data_kind)
    inputs = ("rapl_package", "codecarbon_cpu")
    fits = [fit_points(table, (k,), model="affine") for k in inputs]
    assert [f.verdict == "correction" for f in fits] == [True, False]
    return Page(
        title="A machine",
        data_kind=data_kind,
        summary="Summary.",
        notes=("A note with <b>.",),
        comparison=compare_points(table),
        views=tuple(fit_view(table, f, name=f.inputs[0]) for f in fits),
        energies=(EnergyRow("corrected", 4321.0, 123.4, "how"), EnergyRow("true", 4300.0)),
        facts={"meter": "PZEM"},
        sources={"run/": "the recording"},
    )


class Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.tags: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attrs:
            if name == "id":
                self.ids.append(value or "")
            if name in ("src", "href", "xlink:href", "action", "data"):
                self.links.append(value or "")


@pytest.fixture(scope="module")
def html() -> str:
    return render_page(page())


def test_page_fetches_nothing_and_repeats_no_id(html: str) -> None:
    found = Links()
    found.feed(html)
    assert all(link.startswith("#") for link in found.links)
    assert len(found.ids) == len(set(found.ids))
    assert not {"script", "img", "link", "iframe"} & set(found.tags)
    assert found.tags.count("svg") == 6
    targets = re.findall(r"url\(#([^)]+)\)", html) + [link[1:] for link in found.links]
    assert targets
    assert set(targets) <= set(found.ids)


def test_simulated_stands_in_title_head_and_every_plot(html: str) -> None:
    assert re.search(r"<title>SIMULATED: A machine</title>", html)
    assert '<span class="stamp">SIMULATED</span>' in html
    assert len(re.findall(r'aria-label="SIMULATED · ', html)) == 6
    drawn = re.findall(r"<svg.*?</svg>", html, flags=re.DOTALL)
    assert all(re.search(r">SIMULATED · [^<]+</text>", svg) for svg in drawn)


def test_measured_pages_do_not_say_simulated() -> None:
    assert "SIMULATED" not in render_page(page("measured"))


def test_colours_are_the_style_sheet_s(html: str) -> None:
    assert not re.search(r"#0[12][0-9a-f]{4}\b", html), "a placeholder colour is left"
    used = set(re.findall(r"var\((--[a-z0-9-]+)\)", html))
    light = html[html.index(":root") : html.index("@media")]
    defined = set(re.findall(r"(--[a-z0-9-]+):", light))
    assert used <= defined
    dark = html[html.index("prefers-color-scheme: dark") :]
    assert defined <= set(re.findall(r"(--[a-z0-9-]+):", dark))


def test_refusal_and_numbers_stand_on_the_page(html: str) -> None:
    assert "workload_dependence" in html
    assert "implausible_gain" in html
    assert "4,321" in html or "4321" in html
    assert "± 123" in html
    assert "&lt;b&gt;" in html
    assert "<i>" not in html


def test_page_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    write_page(page(), tmp_path / "p.html")
    assert [f.name for f in tmp_path.iterdir()] == ["p.html"]
    with pytest.raises(OSError, match="missing"):
        write_page(page(), tmp_path / "missing" / "p.html")


def test_view_agrees_with_the_fit_by_hand() -> None:
    table = points()
    fit = fit_points(table, ("rapl_package",), model="affine")
    assert fit.model is not None
    view = fit_view(table, fit, name="x")
    b0, b1 = (t.value for t in fit.model.terms)
    for dot in view.dots:
        assert dot.residual_w == pytest.approx(dot.reference_w - b0 - b1 * dot.input)
    assert view.line[0].power_w == pytest.approx(b0 + b1 * 10.0)
    raw = np.abs(table.inputs["rapl_package"].value - table.reference_w) / table.reference_w
    idle = next(g for g in view.groups if g.workload == "idle")
    assert idle.before_pct == pytest.approx(100 * raw[[0, 4]].mean())


def test_a_fit_without_held_out_groups_has_a_page_too() -> None:
    table = points()
    few = table.select(np.array([True, True] + [False] * 6))
    views = [fit_view(few, fit_points(few, (k,), model="affine"), name=k) for k in few.inputs]
    bare = fit_view(
        table, fit_points(table, ("cpu_load",), model="affine", scheme="none"), name="l"
    )
    nothing = Page("t", "simulated", "", (), compare_points(few), (*views, bare))
    assert render_page(nothing).count("<svg") == 12
