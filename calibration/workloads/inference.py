"""A deployed model: resident in memory, answering requests that arrive at random.

Requests come as a Poisson process: the times between them are exponential, which is what many
users who know nothing of each other produce. One request at a time is answered, in the order of
arrival. At level 0 the model is held and nobody asks, so that holding can be told from answering.

The model is a stack of eight layers of 1024 x 1024 weights (float32, 32 MiB: larger than the caches
of most cores), and a request is 32 passes through it, one after the other, as a language model
writes token by token: every pass reads all weights, so it is memory that limits it.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator
from typing import Final

__all__ = ["Model", "arrivals_s"]

_LAYERS: Final = 8
_WIDTH: Final = 1024
_PASSES: Final = 32


def arrivals_s(per_hour: float, seed: int) -> Iterator[float]:
    """Yield the arrival times of a Poisson process, s from its beginning; none at a rate of 0."""
    rng = random.Random(seed)
    t_s = 0.0
    while per_hour > 0:
        t_s += -math.log(1.0 - rng.random()) * 3600.0 / per_hour
        yield t_s


class Model:
    """The resident model; its weights are allocated and touched when it is built."""

    def __init__(self) -> None:
        import numpy as np

        rng = np.random.default_rng(1)
        scale = 1 / math.sqrt(_WIDTH)
        self._weights = [
            rng.normal(0, scale, (_WIDTH, _WIDTH)).astype(np.float32) for _ in range(_LAYERS)
        ]
        self._state = np.ones(_WIDTH, dtype=np.float32)
        self.answer(lambda: True)

    def answer(self, go_on: Callable[[], bool]) -> bool:
        """Answer one request; return False when `go_on`, asked before every pass, said no."""
        import numpy as np

        x = self._state
        for _ in range(_PASSES):
            if not go_on():
                return False
            for w in self._weights:
                x = np.tanh(w @ x)
        self._state = x
        return True
