"""`wattcal datasets`: what public recordings are described, and fetching them."""

from __future__ import annotations

import argparse
import sys

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
    """Add `datasets list` and `datasets get`."""
    top = commands.add_parser(
        "datasets",
        help="fetch and import public recordings",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    actions = top.add_subparsers(metavar="ACTION", required=True)
    listing = actions.add_parser("list", help="the data sets that are described here")
    listing.add_argument("--json", action="store_true", help="print JSON")
    listing.set_defaults(run=_list)
    get = actions.add_parser(
        "get",
        help="fetch a data set and import it as runs",
        description="Fetch a data set and import it as runs. Example: wattcal datasets get "
        "gmt-mcp39f511-rapl -o runs",
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
