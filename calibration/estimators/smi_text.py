"""What `nvidia-smi -q -x` and `rocm-smi ... --json` print, as cards with watts. Pure functions.

nvidia-smi: XML with one `gpu` an entry; its power stands in `power_readings` or (drivers from 530)
`gpu_power_readings`, as `power_draw` or (drivers from 570) as `average_power_draw` and
`instant_power_draw`; `10.25 W`, or `N/A` where a card has no sensor. The power of memory and of the
module beside it belongs to the same board and is not read.

rocm-smi: JSON with `card0`, ... and `system`; `Average Graphics Package Power (W)`, or (ROCm 6)
`Current Socket Graphics Package Power (W)`. The second die of a board says `N/A (Secondary die)`:
its power is in that of the first.
"""

from __future__ import annotations

import json
import math
import re
import xml.etree.ElementTree as ET
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

__all__ = ["SmiAnswer", "SmiCard", "parse_nvidia_smi", "parse_rocm_smi"]

_MOST_BYTES: Final = 1 << 22
_WATTS: Final = re.compile(r"(\d{1,6}(?:\.\d{1,6})?)(?: W)?")
_NVIDIA_POWERS: Final = {
    "instant_power_draw": "instant_w",
    "average_power_draw": "average_w",
    "power_draw": "power_w",
}
_ROCM_POWERS: Final = {
    "Current Socket Graphics Package Power (W)": "instant_w",
    "Average Graphics Package Power (W)": "average_w",
}


@dataclass(frozen=True, slots=True)
class SmiCard:
    """One card: its identity (UUID or bus address), its name, watts by kind, and its settings.

    `powers_w` has `instant_w`, `average_w`, or `power_w` where nobody says which it is; it is empty
    where the card has no sensor. `limit_w` is the power limit in force.
    """

    id: str
    name: str | None
    powers_w: Mapping[str, float]
    limit_w: float | None
    vbios: str | None
    mig: bool | None


@dataclass(frozen=True, slots=True)
class SmiAnswer:
    """The whole answer: the driver's version and the cards, in the order they stand there."""

    driver: str | None
    cards: tuple[SmiCard, ...]


def parse_nvidia_smi(answer: bytes) -> SmiAnswer | None:
    """Return the cards of an answer of nvidia-smi; `None` where it is none."""
    if len(answer) > _MOST_BYTES:
        return None
    try:
        root = ET.fromstring(answer)
    except (ET.ParseError, LookupError, ValueError):
        return None
    if root.tag != "nvidia_smi_log":
        return None
    cards = []
    for number, gpu in enumerate(root.iter("gpu")):
        readings = gpu.find("gpu_power_readings")
        if readings is None:
            readings = gpu.find("power_readings")
        powers: dict[str, float] = {}
        limit_w = None
        if readings is not None:
            found = {n: _watts(readings.findtext(tag)) for tag, n in _NVIDIA_POWERS.items()}
            powers = {n: w for n, w in found.items() if w is not None}
            limits = ("enforced_power_limit", "current_power_limit", "power_limit")
            limit_w = next((w for t in limits if (w := _watts(readings.findtext(t)))), None)
        mig = _said(gpu.findtext("mig_mode/current_mig"))
        cards.append(
            SmiCard(
                id=_said(gpu.findtext("uuid")) or gpu.get("id") or f"gpu{number}",
                name=_said(gpu.findtext("product_name")),
                powers_w=powers,
                limit_w=limit_w,
                vbios=_said(gpu.findtext("vbios_version")),
                mig=None if mig is None else mig == "Enabled",
            )
        )
    return SmiAnswer(_said(root.findtext("driver_version")), tuple(cards))


def parse_rocm_smi(answer: bytes) -> SmiAnswer | None:
    """Return the cards of an answer of rocm-smi; `None` where it is none."""
    if len(answer) > _MOST_BYTES:
        return None
    try:
        document = json.loads(answer)
    except (ValueError, RecursionError):
        return None
    if not isinstance(document, dict):
        return None
    cards = []
    for key, fields in document.items():
        if not re.fullmatch(r"card\d+", key) or not isinstance(fields, dict):
            continue
        text = {k.lower(): v for k, v in fields.items() if isinstance(v, str)}
        found = {n: _watts(text.get(k.lower())) for k, n in _ROCM_POWERS.items()}
        name = _said(text.get("card series"))
        cards.append(
            SmiCard(
                id=_said(text.get("pci bus")) or key,
                # Old versions put the vendor's number there.
                name=None if name is None or name.startswith("0x") else name,
                powers_w={n: w for n, w in found.items() if w is not None},
                limit_w=_watts(text.get("max graphics package power (w)")),
                vbios=_said(text.get("vbios version")),
                mig=None,
            )
        )
    if not cards:
        return None
    system = document.get("system")
    driver = system.get("Driver version") if isinstance(system, dict) else None
    return SmiAnswer(driver if isinstance(driver, str) else None, tuple(cards))


def _watts(text: str | None) -> float | None:
    match = _WATTS.fullmatch((text or "").strip())
    value = float(match[1]) if match else math.nan
    return value if math.isfinite(value) else None


def _said(text: str | None) -> str | None:
    """Return what a field says; None where it says nothing or `N/A`."""
    said = (text or "").strip()
    return None if not said or said.startswith("N/A") else said
