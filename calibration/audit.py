"""How much of an energy figure was measured: read what a tool wrote, and judge it by itself.

`audit_file` needs no profile, no meter and no network, only the file. It says of every joule
whether it was *counted* by a hardware counter, *sampled* from a power sensor, *modelled* from the
load, *assumed* (a constant times the duration), or whether the file does not show it; each with
the evidence in the file. What cannot be shown is `unknown`, never guessed.

    audit = audit_file("emissions.csv")
    print(audit.sentence)
    audit.by_origin()["assumed"] / audit.energy_j

Files: CodeCarbon's `emissions.csv` and task files (every schema since 2021), CarbonTracker's logs,
the CSV of Zeus.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from ._audit import carbontracker, codecarbon, zeus
from ._audit.advice import sentence, steps
from ._audit.results import ORIGINS, Audit, AuditRow, Origin, Part, Remark, Step
from .errors import InputError
from .toolfiles import carbontracker as logs
from .toolfiles import table_records
from .toolfiles.codecarbon import MARKS
from .toolfiles.zeus import COLUMNS as ZEUS_COLUMNS

__all__ = [
    "ORIGINS",
    "Audit",
    "AuditRow",
    "Origin",
    "Part",
    "Remark",
    "Step",
    "audit_file",
]


def audit_file(path: str | Path) -> Audit:
    """Read a tool's file and say how much of its energy was measured.

    A CarbonTracker run has two logs; either may be named, and the other is read if it lies beside.

    Raises:
        InputError: the file cannot be read, or is none of these tools'.

    """
    path = Path(path)
    log = logs.log_beside(path)
    try:
        data = log.read_bytes()
    except OSError as error:
        raise InputError(
            f"Expected an emissions.csv, a CarbonTracker log or a CSV of Zeus at {path}; it cannot "
            f"be read ({error.strerror})."
        ) from None
    if logs.is_log(log, data):
        text = data.decode("utf-8", errors="replace")
        row = carbontracker.audit_log(str(path), text, logs.output_beside(log))
        digest = _digest(path.read_bytes())
        return _finish(path, digest, "carbontracker", logs.version_of(text), (row,))
    digest = _digest(data)
    records = list(table_records(path, data))
    if not records:
        raise InputError(f"{path}: Expected rows under a header; got none.")
    header = frozenset(records[0][1])
    if header >= MARKS:
        versions = {r.get("codecarbon_version", "") for _, r in records}
        version = versions.pop() or None if len(versions) == 1 else None
        return _finish(path, digest, "codecarbon", version, codecarbon.audit_rows(records))
    if header >= ZEUS_COLUMNS:
        return _finish(path, digest, "zeus", None, zeus.audit_rows(records))
    raise InputError(
        f"{path}:1: Expected the columns of CodeCarbon ({', '.join(sorted(MARKS))}, ...) or "
        f"of Zeus ({', '.join(sorted(ZEUS_COLUMNS))}, ...); got "
        f"{', '.join(records[0][1])[:120]!r}."
    )


def _digest(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def _finish(
    path: Path, digest: str, tool: str, version: str | None, rows: tuple[AuditRow, ...]
) -> Audit:
    return Audit(
        path=str(path),
        sha256=digest,
        tool=tool,
        version=version,
        rows=rows,
        remarks=_common(rows),
        steps=steps(tool, str(path), rows),
        sentence=sentence(tool, version, rows),
    )


def _common(rows: tuple[AuditRow, ...]) -> tuple[Remark, ...]:
    """Say each remark once, with how many rows share it; the rows keep their own."""
    first: dict[str, Remark] = {}
    count: dict[str, int] = {}
    for row in rows:
        for code in {r.code for r in row.remarks}:
            count[code] = count.get(code, 0) + 1
        for remark in row.remarks:
            first.setdefault(remark.code, remark)
    return tuple(
        Remark(
            code, r.message + (f" ({count[code]} of {len(rows)} rows.)" if len(rows) > 1 else "")
        )
        for code, r in first.items()
    )
