"""Saying in one sentence that a command needs the laboratory's libraries."""

from __future__ import annotations

import argparse
import functools
from collections.abc import Callable

from ..errors import NotInstalled

__all__ = ["needs_lab"]

Command = Callable[[argparse.Namespace], int]


def needs_lab(command: Command) -> Command:
    """Wrap a command that imports numpy, pyarrow or pandas in its body.

    Raises:
        NotInstalled: one of them is missing.

    """

    @functools.wraps(command)
    def run(arguments: argparse.Namespace) -> int:
        try:
            return command(arguments)
        except ModuleNotFoundError as error:
            if (error.name or "").split(".")[0] in ("calibration", "drivers"):
                raise
            raise NotInstalled(
                f"This command needs {error.name}, which is not installed. "
                "Install the laboratory: pip install 'wattcal[lab]'."
            ) from None

    return run
