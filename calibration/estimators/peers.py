"""Where the tools live that do not live with others: the Python of `.venv-peers`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from ..errors import NotAvailable

__all__ = ["peers_python"]

_VARIABLE: Final = "WATTCAL_PEERS"


def peers_python(where: Path | None = None) -> Path:
    """Return the Python of the peers: `where`, or WATTCAL_PEERS, or .venv-peers of this folder.

    Each may be an environment or its interpreter.

    Raises:
        NotAvailable: there is none.

    """
    given = where or Path(os.environ.get(_VARIABLE) or ".venv-peers")
    python = given / "bin" / "python" if given.is_dir() else given
    if not os.access(python, os.X_OK) or python.is_dir():
        raise NotAvailable(
            f"Expected the Python of an environment with the tool at {python}; there is none. Make "
            "one: python3 -m venv .venv-peers && .venv-peers/bin/pip install carbontracker zeus "
            f"(a clone of wattcal: make peers), or name another in {_VARIABLE}."
        )
    return python.absolute()
