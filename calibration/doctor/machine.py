"""What cannot be seen from inside this machine: a hypervisor, a container, a silent kernel."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from ..machine import blind_spots, fingerprint
from .finding import Finding

__all__ = ["machine_findings"]

_COST: Final = "a profile of this hardware cannot be recognised here, nor one made for others"


def machine_findings(root: Path = Path("/")) -> tuple[Finding, ...]:
    """Return one finding for each thing that hides part of the machine below `root`."""
    return tuple(
        Finding(
            "machine_hidden", "this machine", "absent", sentence.rstrip("."), _COST,
            "record and publish on the host itself",
        )
        for sentence in blind_spots(fingerprint(root))
    )  # fmt: skip
