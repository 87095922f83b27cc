"""Read a profile's file strictly: UTF-8, one JSON object, no key twice, no NaN."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ..errors import InputError, SchemaError

__all__ = ["parse", "read"]


def read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(
            f"Expected a profile in {path}; it cannot be read ({error.strerror})."
        ) from None


def parse(data: bytes, path: Path) -> Any:
    """Parse JSON strictly: UTF-8, no NaN, no key twice."""

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        value = dict(items)
        if len(value) != len(items):
            twice = next(k for i, (k, _) in enumerate(items) if k in dict(items[:i]))
            raise SchemaError(f"{path}: Expected each key once in an object; got {twice!r} twice.")
        return value

    def constant(name: str) -> None:
        raise SchemaError(f"{path}: Expected finite numbers; got {name}, which JSON does not know.")

    if not data.strip():
        raise SchemaError(f"{path}: Expected a profile (a JSON object); the file is empty.")
    try:
        return json.loads(data.decode(), object_pairs_hook=pairs, parse_constant=constant)
    except UnicodeDecodeError as error:
        raise SchemaError(
            f"{path}: Expected a profile (JSON in UTF-8); byte {error.start} is not UTF-8."
        ) from None
    except json.JSONDecodeError as error:
        raise SchemaError(
            f"{path}: Expected a profile (a JSON object); line {error.lineno}, column "
            f"{error.colno} is not JSON ({error.msg}). The file may have been cut short."
        ) from None
    except RecursionError:
        raise SchemaError(f"{path}: Expected a profile; got JSON nested beyond reason.") from None
