"""Help texts of 80 columns: paragraphs are filled, indented lines (examples, lists) are kept."""

from __future__ import annotations

import argparse
import textwrap
from itertools import groupby

__all__ = ["Help"]

_WIDTH = 80


class Help(argparse.HelpFormatter):
    """Fill paragraphs to 80 columns and keep what is indented as it stands."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, width=_WIDTH)

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        blocks = []
        for kept, lines in groupby(text.splitlines(), lambda line: line[:1] in ("", " ")):
            block = "\n".join(lines)
            blocks.append(block if kept else textwrap.fill(block, _WIDTH))
        return "\n".join(blocks)
