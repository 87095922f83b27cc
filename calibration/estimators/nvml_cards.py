"""The cards that NVML shows: what each is, what it can tell, and what its counter cannot have done.

Every function takes `n`, the module pynvml, which is loaded only where somebody asks for GPUs.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from ..errors import NotAvailable

__all__ = ["Card", "UnknownStep", "find_cards", "powers_w", "step_mj"]

_AVERAGE, _INSTANT = 185, 186
# A card draws more than its limit for milliseconds only; a step that would need twice the limit,
# beside a few updates of the counter, is no energy.
_TIMES_LIMIT: Final = 2.0
_SLACK_S: Final = 0.5
_MOST_W: Final = 2000.0
_PART_TIME: Final = re.compile(r"\b[AH]100\b")
_PART_TIME_SHARE: Final = 0.25


@dataclass(slots=True)
class Card:
    """One GPU: what it is, what it can tell, its counter last (mJ), how often it is renewed (s)."""

    uuid: str
    handle: Any
    facts: dict[str, Any]
    counts: bool
    powers: tuple[str, ...]
    most_w: float
    last_mj: int = 0
    period_s: float | None = None

    @property
    def observed_share(self) -> float:
        """Return the part of the time that its sensor looks, 0 to 1."""
        return _PART_TIME_SHARE if _PART_TIME.search(self.facts["name"]) else 1.0


class UnknownStep(Exception):  # noqa: N818 - internal, becomes the fault of a row
    """A step of a counter that no energy explains."""


def find_cards(n: Any) -> tuple[list[Card], tuple[str, ...]]:
    """Return the cards that tell something, and the names of those that do not.

    Raises:
        NotAvailable: none does.

    """
    cards, silent = [], []
    for index in range(n.nvmlDeviceGetCount()):
        handle = n.nvmlDeviceGetHandleByIndex(index)
        uuid = str(n.nvmlDeviceGetUUID(handle))
        counts = _ask(n, n.nvmlDeviceGetTotalEnergyConsumption, handle) is not None
        powers = tuple(powers_w(n, handle, ("instant_w", "average_w")))
        if not powers and _ask(n, n.nvmlDeviceGetPowerUsage, handle) is not None:
            powers = ("power_w",)
        limit_mw = _ask(n, n.nvmlDeviceGetEnforcedPowerLimit, handle)
        mig = _ask(n, n.nvmlDeviceGetMigMode, handle)
        facts = {
            "name": str(n.nvmlDeviceGetName(handle)),
            "vbios": _ask(n, n.nvmlDeviceGetVbiosVersion, handle),
            "architecture": _ask(n, n.nvmlDeviceGetArchitecture, handle),
            "power_limit_w": None if limit_mw is None else limit_mw / 1e3,
            # With MIG the numbers are those of the whole board, not of an instance.
            "mig": None if mig is None else bool(mig[0]),
        }
        if not counts and not powers:
            silent.append(f"{facts['name']} {uuid}")
            continue
        most_w = _MOST_W if limit_mw is None else _TIMES_LIMIT * limit_mw / 1e3
        cards.append(Card(uuid, handle, facts, counts, powers, most_w))
    if not cards:
        what = ", ".join(silent) or "no GPU"
        raise NotAvailable(
            f"Expected a GPU that tells its energy or power; found {what}. Record it without "
            "the estimator nvml."
        )
    if not all(c.counts for c in cards):
        # Power is read of all; a card with a counter only would be missing in the sum.
        silent += [f"{c.facts['name']} {c.uuid}" for c in cards if not c.powers]
        cards = [c for c in cards if c.powers]
    return cards, tuple(silent)


def _ask(n: Any, question: Callable[[Any], Any], handle: Any) -> Any:
    """Return the answer; None where this card or this library has none."""
    try:
        return question(handle)
    except (n.NVMLError_NotSupported, n.NVMLError_FunctionNotFound):
        return None


def powers_w(n: Any, handle: Any, names: tuple[str, ...]) -> dict[str, float]:
    """Return power by name, W; a field that a card does not know is left out."""
    if names == ("power_w",):
        return {"power_w": n.nvmlDeviceGetPowerUsage(handle) / 1e3}
    if not names:
        return {}
    answers = _ask(n, lambda h: n.nvmlDeviceGetFieldValues(h, [_INSTANT, _AVERAGE]), handle)
    found = {}
    for name, answer in zip(("instant_w", "average_w"), answers or (), strict=False):
        if name in names and answer.nvmlReturn == n.NVML_SUCCESS:
            found[name] = answer.value.uiVal / 1e3
    return found


def step_mj(card: Card, now_mj: int, elapsed_s: float) -> int:
    """Return the energy since the last reading, mJ, or raise `UnknownStep`.

    `reset`: the driver was loaded again, its counter is as young as that; `went_back`: it fell to
    something that no reload explains; `implausible`: it ran ahead of what the card can draw.
    """
    most_mj = card.most_w * (elapsed_s + _SLACK_S) * 1e3
    step = now_mj - card.last_mj
    if step < 0:
        raise UnknownStep(f"{'reset' if now_mj <= most_mj else 'went_back'} {card.uuid}")
    if step > most_mj:
        raise UnknownStep(f"implausible {card.uuid}")
    return step
