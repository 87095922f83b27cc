"""Fetching the files of a data set: from a folder that has them, else from their source.

A file counts only by its SHA-256. It grows under a temporary name that survives an interruption, so
that the next attempt goes on where this one stopped, and gets its own name when the hash is right.
"""

from __future__ import annotations

import http.client
import os
import shutil
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ..errors import InputError
from .files import sha256_of
from .mapping import DataFile, Mapping
from .mapping_file import read_mapping

__all__ = ["Fetched", "available", "fetch", "find_mapping", "folders"]

_CHUNK: Final = 1 << 16
_TIMEOUT_S: Final = 30.0
_ATTEMPTS: Final = 3


@dataclass(frozen=True, slots=True)
class Fetched:
    """What `fetch` did: files by where they came from, and what it refused with the reason."""

    folder: Path
    copied: tuple[str, ...]
    downloaded: tuple[str, ...]
    present: tuple[str, ...]
    refused: tuple[tuple[str, str], ...]


def folders() -> tuple[Path, ...]:
    """Return where data set descriptions are looked for: here, then beside the packages."""
    beside = Path(__file__).resolve().parents[2] / "datasets"
    here = Path.cwd() / "datasets"
    return (here,) if here == beside else (here, beside)


def available() -> tuple[Mapping, ...]:
    """Return every described data set; a name that is described twice counts once.

    Raises:
        InputError: a description cannot be read.

    """
    found: dict[str, Mapping] = {}
    for folder in folders():
        for path in sorted(folder.glob("*/dataset.toml")):
            mapping = read_mapping(path)
            found.setdefault(mapping.name, mapping)
    return tuple(found.values())


def find_mapping(name: str) -> Path:
    """Return the description of a data set.

    Raises:
        InputError: there is none of that name.

    """
    if Path(name).name != name:
        raise InputError(
            f"Expected the name of a data set; got {name!r}. A path goes to --mapping."
        )
    for folder in folders():
        path = folder / name / "dataset.toml"
        if path.is_file():
            return path
    places = " or ".join(str(f) for f in folders())
    known = sorted({p.parent.name for f in folders() for p in f.glob("*/dataset.toml")})
    raise InputError(
        f"No data set {name!r} in {places} (known there: {', '.join(known) or 'none'}). The "
        "descriptions lie in the repository, not in the installed package: start from a checkout, "
        "or say --mapping PATH/dataset.toml."
    )


def fetch(
    mapping: Mapping,
    into: Path | str,
    *,
    data: Path | str | None = None,
    mirror: str | None = None,
    on_progress: Callable[[str, int, int | None], None] | None = None,
) -> Fetched:
    """Bring every file of a data set into `into/<name>/`.

    `data` is a folder that may hold them (`WATTCAL_DATA` where it is `None`), as `<name>/<file>`.
    `mirror` (`WATTCAL_MIRROR`) takes the place of scheme and host of the source. `on_progress` is
    told file, bytes so far, and bytes in all where the server says so.

    Raises:
        InputError: a file that the runs need cannot be had, or is another one than described.

    """
    folder = Path(into) / mapping.name
    stock = data if data is not None else os.environ.get("WATTCAL_DATA") or None
    base = mirror if mirror is not None else os.environ.get("WATTCAL_MIRROR") or None
    needed = {f for run in mapping.runs for f in run.files()}
    done: dict[str, list[str]] = {"copied": [], "downloaded": [], "present": []}
    refused = []
    for file in mapping.files:
        if file.sha256 is None:
            raise InputError(
                f"{mapping.path}: {file.file} has no sha256, so it cannot be told from another "
                "file; add it."
            )
        target = folder / file.file
        if target.is_file() and sha256_of(target) == file.sha256:
            done["present"].append(file.file)
        elif stock is not None and _copy(Path(stock) / mapping.name, file, target):
            done["copied"].append(file.file)
        elif file.derived is not None:
            if file.file in needed:
                raise InputError(f"{file.file} cannot be fetched: {file.derived}.")
            refused.append((file.file, file.derived))
        else:
            _download(_url(mapping, file, base), file, target, on_progress)
            done["downloaded"].append(file.file)
    return Fetched(
        folder,
        tuple(done["copied"]),
        tuple(done["downloaded"]),
        tuple(done["present"]),
        tuple(refused),
    )


def _copy(stock: Path, file: DataFile, target: Path) -> bool:
    source = stock / file.file
    if not source.is_file() or sha256_of(source) != file.sha256:
        return False
    target.parent.mkdir(parents=True, exist_ok=True)
    part = _part(target)
    shutil.copyfile(source, part)
    os.replace(part, target)
    return True


def _part(target: Path) -> Path:
    return target.with_name(target.name + ".part")


def _url(mapping: Mapping, file: DataFile, mirror: str | None) -> str:
    if mapping.url is None:
        raise InputError(
            f"{mapping.path}: it has no [source] url, so {file.file} cannot be fetched. Put the "
            f"file into a folder {mapping.name} and say WATTCAL_DATA=THAT_FOLDER'S_PARENT."
        )
    url = mapping.url.replace("{commit}", mapping.commit or "")
    url = url.replace("{path}", urllib.parse.quote(file.path))
    if mirror is not None:
        parts = urllib.parse.urlsplit(url)
        url = mirror.rstrip("/") + urllib.parse.urlunsplit(("", "", *parts[2:]))
    if urllib.parse.urlsplit(url).scheme not in ("http", "https"):
        raise InputError(f"{mapping.path}: expected an http or https URL; got {url}.")
    return url


def _download(
    url: str,
    file: DataFile,
    target: Path,
    on_progress: Callable[[str, int, int | None], None] | None,
) -> None:
    """Fetch one file, going on with what an earlier attempt left."""
    target.parent.mkdir(parents=True, exist_ok=True)
    part = _part(target)
    for attempt in range(1, _ATTEMPTS + 1):
        resumed = part.stat().st_size if part.exists() else 0
        expected = _receive(url, part, resumed, file.file, on_progress)
        size = part.stat().st_size
        if expected is not None and size < expected:
            if attempt < _ATTEMPTS:
                continue
            raise InputError(
                f"{url}: the connection ended after {size} of {expected} bytes, {_ATTEMPTS} times. "
                "What arrived is kept; try again to go on from there."
            )
        actual = sha256_of(part)
        if actual == file.sha256:
            os.replace(part, target)
            return
        part.unlink()
        if resumed:
            continue  # the part may have been of another file: once more from the beginning
        raise InputError(
            f"{url}: expected SHA-256 {file.sha256}; got {actual}. The source has another file "
            "there than the one described; nothing was kept."
        )
    raise InputError(f"{url}: no complete file in {_ATTEMPTS} attempts; try again later.")


def _receive(
    url: str,
    part: Path,
    resumed: int,
    name: str,
    on_progress: Callable[[str, int, int | None], None] | None,
) -> int | None:
    """Append what the server sends to `part`; return the whole size if the server says it."""
    request = urllib.request.Request(url, headers={"User-Agent": "wattcal"})
    if resumed:
        request.add_header("Range", f"bytes={resumed}-")
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as answer:
            if resumed and answer.status != http.HTTPStatus.PARTIAL_CONTENT:
                resumed = 0  # the server sends everything again
            length = answer.headers.get("Content-Length")
            total = None if length is None else resumed + int(length)
            with part.open("r+b" if resumed else "wb") as file:
                file.seek(resumed)
                file.truncate()
                have = resumed
                while chunk := answer.read(_CHUNK):
                    file.write(chunk)
                    have += len(chunk)
                    if on_progress is not None:
                        on_progress(name, have, total)
            return total
    except urllib.error.HTTPError as error:
        with error:
            if error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and resumed:
                return None  # everything is here already, or the part is of another file
            raise InputError(
                f"{url}: the server answers {error.code} {error.reason}; expected the file {name}. "
                "The source may have moved: check url, commit and path in the description."
            ) from None
    except http.client.IncompleteRead as error:
        with part.open("ab") as file:
            file.write(error.partial)
        return part.stat().st_size + (error.expected or 1)
    except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
        reason = getattr(error, "reason", error)
        raise InputError(
            f"{url}: cannot fetch {name} ({reason}). Check the network, or say WATTCAL_DATA where "
            "the files are already."
        ) from None
