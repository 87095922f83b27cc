"""Read what energy tools write: files of CodeCarbon, CarbonTracker and Zeus, and plain CSV.

A row becomes a `ToolRow` in SI units with the facts that bear on its mode. Nothing is filled in:
a field that is missing, empty or NaN is missing, and asking for it names file and line. One file
a format; standard library only.
"""

from __future__ import annotations

from .cells import table_records
from .codecarbon import codecarbon_row
from .reading import read_tool_file
from .rows import Tool, ToolFile, ToolRow, overlapping

__all__ = [
    "Tool",
    "ToolFile",
    "ToolRow",
    "codecarbon_row",
    "overlapping",
    "read_tool_file",
    "table_records",
]
