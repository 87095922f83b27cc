"""What a source reads at present, in watts, for whoever looks on; nothing is computed from it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from ..recording.documents import Descriptor

__all__ = ["LiveWatts"]

_WINDOW_NS: Final = 500_000_000
# Of several counters the one that says most about a source is shown.
_FIRST: Final = ("_total", "_package")


class LiveWatts:
    """Follows one channel: a power as it is, a counter by its difference over half a second.

    `value` is in watts, `None` until there is one; `resolution_w` is 0 where it is not known.
    """

    def __init__(self, descriptor: Descriptor) -> None:
        channels = (*descriptor.channels, *(d.channel for d in descriptor.derived))
        power = [c.name for c in channels if c.unit == "W"]
        counters = [c for c in channels if c.unit == "J" and c.input is not None]
        counters.sort(key=lambda c: not (c.input or "").endswith(_FIRST))
        self._power = power[0] if power else None
        self._counter = counters[0].name if counters else None
        self.resolution_w = max((c.resolution or 0.0 for c in channels if c.unit == "W"), default=0)
        self._before: tuple[int, float] | None = None
        self.value: float | None = None

    @property
    def shown(self) -> bool:
        """Whether this source reads watts at all."""
        return self._power is not None or self._counter is not None

    def take(self, t_ns: int, values: Mapping[str, float]) -> None:
        """Look at a good row."""
        if self._power is not None:
            self.value = values.get(self._power, self.value)
        elif self._counter is not None and self._counter in values:
            energy_j = values[self._counter]
            if self._before is None or energy_j < self._before[1]:
                self._before = t_ns, energy_j
            elif t_ns - self._before[0] >= _WINDOW_NS:
                self.value = (energy_j - self._before[1]) / ((t_ns - self._before[0]) / 1e9)
                self._before = t_ns, energy_j
