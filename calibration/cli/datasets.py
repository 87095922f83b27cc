"""`wattcal datasets`: what public recordings are described, and fetching them."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Any

from .help import Help

if TYPE_CHECKING:
    from ..recording.mapping import Mapping

from .needs_lab import needs_lab

__all__ = ["register"]

_DESCRIPTION = """\
Public recordings of physical meters beside software estimators, made by others.

A description (datasets/NAME/dataset.toml) says where the files are, their SHA-256,
licence and citation, and how they become runs. `get` takes each file from the folder
WATTCAL_DATA if it is there, else from the source at a fixed commit, and imports them.

  wattcal datasets list
  wattcal datasets get gmt-mcp39f511-rapl
  wattcal fit runs/gmt-mcp39f511-rapl --input rapl_package --segments windows:1"""


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `datasets list`, `get` and `table`."""
    top = commands.add_parser(
        "datasets",
        help="fetch and import public recordings",
        description=_DESCRIPTION,
        formatter_class=Help,
    )
    actions = top.add_subparsers(metavar="ACTION", required=True)
    listing = actions.add_parser(
        "list",
        help="the data sets that are described here",
        description="List the data sets that are described here.\n\n  wattcal datasets list",
        formatter_class=Help,
    )
    listing.add_argument("--json", action="store_true", help="print JSON")
    listing.set_defaults(run=_list)
    get = actions.add_parser(
        "get",
        help="fetch a data set and import it as runs",
        description="Fetch a data set and import it as runs.\n\n"
        "  wattcal datasets get gmt-mcp39f511-rapl -o runs",
        formatter_class=Help,
    )
    get.add_argument("name", metavar="NAME", nargs="?", help="a name that `datasets list` prints")
    get.add_argument("--mapping", metavar="PATH", help="a dataset.toml that lies elsewhere")
    get.add_argument(
        "--files",
        metavar="DIR",
        default="wattcal-data",
        help="where the fetched files go, as DIR/NAME/ (default: %(default)s)",
    )
    get.add_argument(
        "-o", "--output", metavar="DIR", default="runs", help="where the runs go (default: runs)"
    )
    get.add_argument("--no-import", action="store_true", help="fetch the files only")
    get.add_argument("--json", action="store_true", help="print JSON")
    get.set_defaults(run=_get)
    summary = actions.add_parser(
        "table",
        help="each data set before and after its fit",
        description="Import every described data set and print how wrong its tool is before and "
        "after a fit, on held-out groups. Takes the files from WATTCAL_DATA, or from where "
        "`datasets get` has put them.\n\n  wattcal datasets table",
        formatter_class=Help,
    )
    summary.add_argument("name", metavar="NAME", nargs="*", help="default: all")
    summary.add_argument(
        "--files", metavar="DIR", default="wattcal-data", help="where `get` has put the files"
    )
    summary.add_argument("--json", action="store_true", help="print JSON")
    summary.set_defaults(run=_table)


def _list(arguments: argparse.Namespace) -> int:
    from ..recording.datasets import available, folders
    from .output import print_json, table

    mappings = available()
    if arguments.json:
        print_json(
            [
                {
                    "name": m.name,
                    "title": m.title,
                    "runs": [m.run_directory(r) for r in m.runs],
                    "files": len(m.files),
                    "licence": m.licence,
                    "citation": m.citation,
                    "path": str(m.path),
                }
                for m in mappings
            ]
        )
        return 0
    if not mappings:
        places = " or ".join(str(f) for f in folders())
        print(f"no descriptions in {places}; start from a checkout of the repository")
        return 0
    rows = [(m.name, str(len(m.runs)), str(len(m.files)), m.title or "") for m in mappings]
    print(table(("name", "runs", "files", "what"), rows, right="lrrl"))
    return 0


@needs_lab
def _get(arguments: argparse.Namespace) -> int:
    from ..errors import InputError
    from ..recording.datasets import fetch, find_mapping
    from ..recording.importer import import_mapping
    from ..recording.mapping_file import read_mapping
    from .output import Progress, print_json

    if (arguments.name is None) == (arguments.mapping is None):
        raise InputError("Expected either the NAME of a data set or --mapping PATH.")
    path = arguments.mapping or find_mapping(arguments.name)
    mapping = read_mapping(path)
    bar = Progress(f"fetching {mapping.name}", float(len(mapping.files)))
    names = [f.file for f in mapping.files]

    def show(file: str, have: int, total: int | None) -> None:
        bar.update(names.index(file) + (have / total if total else 0.0))

    try:
        fetched = fetch(mapping, arguments.files, on_progress=show)
    finally:
        bar.close()
    for file, reason in fetched.refused:
        print(f"wattcal: {file} was not fetched: {reason}", file=sys.stderr)
    runs = (
        ()
        if arguments.no_import
        else import_mapping(path, data=fetched.folder, into=arguments.output, keep=True)
    )
    if arguments.json:
        print_json(
            {
                "name": mapping.name,
                "folder": str(fetched.folder),
                "copied": fetched.copied,
                "downloaded": fetched.downloaded,
                "present": fetched.present,
                "refused": [{"file": f, "reason": r} for f, r in fetched.refused],
                "runs": [str(r) for r in runs],
            }
        )
        return 0
    print(
        f"{mapping.name}: {len(fetched.copied)} files copied, {len(fetched.downloaded)} "
        f"downloaded, {len(fetched.present)} there already, in {fetched.folder}"
    )
    print(f"licence {mapping.licence}; cite: {mapping.citation}")
    for run in runs:
        print(run)
    return 0


def _table(arguments: argparse.Namespace) -> int:
    from ..recording.datasets import available, find_mapping
    from ..recording.mapping_file import read_mapping
    from .output import print_json, table

    chosen = [read_mapping(find_mapping(n)) for n in arguments.name] or list(available())
    rows = [row for mapping in chosen if mapping.fits for row in _looks(mapping, arguments.files)]
    if arguments.json:
        print_json(rows)
        return 0
    header = ("recording", "tool", "before", "after", "held out", "gain(u)", "published")
    cells = [
        (
            r["recording"],
            r["input"],
            _percent(r["before_mape_pct"]),
            _percent(r["after_mape_pct"]),
            "-" if r["after_mape_pct"] is None else f"{r['groups']} {r['scheme']}s",
            _gain(r["gain"], r["u_gain"]),
            "" if r["published_gain"] is None else _span(r["published_gain"]),
        )
        for r in rows
    ]
    print(table(header, cells, right="llrrlll"))
    print("\nbefore, after: mean |error| of power in %, of the tool as it is, and corrected")
    print("on groups that the fit has not seen. gain(u): u in units of the last digits.")
    for r in rows:
        codes = ", ".join(r["reasons"])
        print(f"{r['recording']}: {r['verdict']}{': ' + codes if codes else ''}")
    return 0


def _looks(mapping: Mapping, files: str) -> list[dict[str, Any]]:
    """Import a data set into a temporary folder and look at it as its recipes say."""
    import os
    import tempfile
    from pathlib import Path

    from ..analysis import fit_points, run_points
    from ..recording.importer import import_mapping
    from ..recording.reader import read_run

    stock = os.environ.get("WATTCAL_DATA")
    data = Path(stock) if stock and (Path(stock) / mapping.name).is_dir() else Path(files)
    found = []
    with tempfile.TemporaryDirectory() as folder:
        paths = import_mapping(mapping.path, data=data, into=folder)
        for recipe in mapping.fits:
            run = read_run(paths[[r.id for r in mapping.runs].index(recipe.run)])
            points = run_points([run], segments=recipe.segments, reference=recipe.reference)
            result = fit_points(points, (recipe.input,), model=recipe.model)
            gain = u_gain = None
            if result.model is not None and result.form in ("affine", "gain"):
                at = [t.input for t in result.model.terms].index(recipe.input)
                gain = result.model.terms[at].value
                u_gain = result.model.covariance[at][at] ** 0.5
            stream = recipe.reference or run.meters()[0]
            before, after = result.validation.before, result.validation.after
            found.append(
                {
                    "recording": f"{mapping.name.split('-')[0]} "
                    + (recipe.run.split("-")[-1] if len(mapping.runs) > 1 else stream),
                    "dataset": mapping.name,
                    "run": recipe.run,
                    "reference": stream,
                    "input": recipe.input,
                    "form": result.form,
                    "n": result.n_points,
                    "scheme": result.validation.scheme,
                    "groups": result.validation.groups,
                    "before_mape_pct": None if before is None else before.mape_pct,
                    "after_mape_pct": None if after is None else after.mape_pct,
                    "gain": gain,
                    "u_gain": u_gain,
                    "published_gain": recipe.published_gain,
                    "verdict": result.verdict,
                    "reasons": [r.code for r in result.reasons if r.consequence != "flag"],
                }
            )
    return found


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _gain(value: float | None, u: float | None) -> str:
    """Return a gain with its standard uncertainty in units of the last digits (GUM 7.2.2)."""
    if value is None or u is None:
        return "a curve"
    return f"{value:.4f}({round(u * 1e4)})"


def _span(gains: tuple[float, float]) -> str:
    low, high = gains
    return f"{low:.4f}" if low == high else f"{low:.4f}..{high:.4f}"
