"""One adapter a tool, the only places that name tools: how it is asked, what its fields claim.

`children/<tool>_child.py` runs in the tool's own environment, in the namespaces of the scenario,
and prints what the tool said as one line of JSON; `<tool>.py` turns that into figures with claims.
"""

from __future__ import annotations

from .carbontracker import CARBONTRACKER
from .codecarbon import CODECARBON
from .tool import Reported, Tool
from .wattcal import WATTCAL
from .zeus import ZEUS

__all__ = ["TOOLS", "Reported", "Tool"]

TOOLS = {t.name: t for t in (CODECARBON, CARBONTRACKER, ZEUS, WATTCAL)}
