"""What most meters show: the mean of the power over a window, renewed at every refresh.

Shared by the emulated instruments that are asked; each of them adds its own rounding, its own
starting power and its own registers.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from typing import Final

__all__ = ["WindowedPower"]

_STEP_S: Final = 0.02


class WindowedPower:
    """The power as an instrument sees it; `power_w` is a constant or called with monotonic seconds.

    `shown_w` is the mean over the last `window_s` seconds at the last refresh; `imported_j` and
    `exported_j` are the integrals of its positive and its negative part, as far as `counts` says
    that the instrument counts it. The power is looked at in the middle of steps of at most 20 ms.
    """

    def __init__(
        self,
        power_w: Callable[[float], float] | float,
        *,
        window_s: float,
        refresh_s: float,
        counts: Callable[[float], bool] = lambda _power_w: True,
    ) -> None:
        for name, value in (("window_s", window_s), ("refresh_s", refresh_s)):
            if not 0 < value < 1e6:
                raise ValueError(f"{name} must be a positive number of seconds; got {value:g}.")
        self._power_w = power_w if callable(power_w) else (lambda _t_s: power_w)
        self._counts = counts
        self._steps = max(1, round(refresh_s / _STEP_S))
        self._step_s = refresh_s / self._steps
        self._recent: deque[float] = deque(maxlen=max(1, round(window_s / self._step_s)))
        self._count = 0
        self._start_s: float | None = None
        self._refreshed_s: float | None = None
        self.shown_w = self.imported_j = self.exported_j = 0.0

    def advance(self, t_s: float) -> None:
        """Measure until `t_s`: one look at the power in the middle of every step."""
        if self._start_s is None:  # switched on: the first refresh lies one period ahead
            self._start_s, self._count = t_s, 0
            self._recent.clear()
            self.shown_w = float(self._power_w(t_s))
        start_s, step_s, power_of = self._start_s, self._step_s, self._power_w
        while (end_s := start_s + (self._count + 1) * step_s) <= t_s:
            power_w = power_of(end_s - 0.5 * step_s)
            self._count += 1
            self._recent.append(power_w)
            if self._counts(power_w):
                if power_w >= 0:
                    self.imported_j += power_w * step_s
                else:
                    self.exported_j -= power_w * step_s
            if self._count % self._steps == 0:
                self.shown_w = sum(self._recent) / len(self._recent)
                self._refreshed_s = end_s

    def wandering(self, value: float, by: float) -> float:
        """Return `value`, wandered by at most `by` at the last refresh.

        As the voltage of a real mains does: one that stands still is the mark of a held meter.
        """
        return value if self._refreshed_s is None else value + by * math.sin(self._refreshed_s)

    def restart(self) -> None:
        """Forget the window and the phase of the refresh; the integrals stay."""
        self._start_s = None
