"""What goes wrong on a serial line, as named faults that a test can order or leave to chance.

A fault changes what is delivered for one answer; the emulated instrument itself stays right. The
plan is seeded: the same seed and the same questions give the same faults.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from ..modbus import framed

__all__ = ["FAULTS", "Delivery", "FaultPlan"]

FAULTS: Final[Mapping[str, str]] = {
    "silent": "no answer at all",
    "late": "the answer comes after the client has given up",
    "torn": "the answer breaks off in the middle",
    "trickle": "the answer comes byte by byte",
    "bit_flip": "one bit of the answer is flipped",
    "bad_crc": "the checksum of the answer is wrong",
    "noise": "random bytes before the answer",
    "mangled": "random bytes instead of the answer, as at a wrong speed",
    "echo": "the question comes back before the answer",
    "double": "the answer comes twice",
    "wrong_id": "the answer carries the address of another device",
    "exception": "the device answers that it failed",
    "held": "the answer before is repeated",
    "reboot": "the device restarts and is silent for a while",
    "unplug": "the port vanishes, and comes back after a while",
}


@dataclass(frozen=True, slots=True)
class Delivery:
    """Bytes that arrive at the client `delay_s` seconds after its question."""

    delay_s: float
    data: bytes


class FaultPlan:
    """Decides for each answer which fault it suffers.

    `rates` is the probability of each fault per answer. `late_s` is how long a late answer
    takes, `away_s` how long a device is away when it restarts or is unplugged, both in seconds.
    """

    def __init__(
        self,
        rates: Mapping[str, float] | None = None,
        *,
        seed: int = 0,
        late_s: float = 0.6,
        away_s: float = 1.0,
    ) -> None:
        self._rates = dict(rates or {})
        for name, rate in self._rates.items():
            _known(name)
            if not 0.0 <= rate <= 1.0:
                raise ValueError(f"The rate of {name} is a probability from 0 to 1; got {rate:g}.")
        if sum(self._rates.values()) > 1.0:
            raise ValueError("The rates of all faults together must not exceed 1.")
        self.late_s, self.away_s = late_s, away_s
        self._random = random.Random(seed)
        self._ordered: deque[str | None] = deque()

    def inject(self, name: str | None, count: int = 1) -> None:
        """Let the next `count` answers suffer this fault (None: none), before chance decides."""
        if name is not None:
            _known(name)
        self._ordered.extend([name] * count)

    def next(self) -> str | None:
        """Return the fault of the next answer, or None."""
        try:
            return self._ordered.popleft()
        except IndexError:
            pass
        drawn = self._random.random()
        for name, rate in self._rates.items():
            if drawn < rate:
                return name
            drawn -= rate
        return None

    def deliver(self, fault: str | None, request: bytes, answer: bytes) -> tuple[Delivery, ...]:
        """Return what the client receives in place of `answer`.

        `held`, `reboot` and `unplug` are matters of the device; here they change nothing or
        leave silence.
        """
        if not answer:
            return ()
        if fault is None or fault == "held":
            return (Delivery(0.0, answer),)
        if fault in ("silent", "reboot", "unplug"):
            return ()
        if fault == "late":
            return (Delivery(self.late_s, answer),)
        if fault == "trickle":
            return tuple(Delivery(0.004 * i, bytes((b,))) for i, b in enumerate(answer))
        if fault == "double":
            return (Delivery(0.0, answer + answer),)
        if fault == "exception":
            return (Delivery(0.0, framed(bytes((answer[0], answer[1] | 0x80, 4)))),)
        return (Delivery(0.0, _DAMAGE[fault](self._random, request, answer)),)


_Damage = Callable[[random.Random, bytes, bytes], bytes]


def _flip(chance: random.Random, answer: bytes) -> bytes:
    damaged = bytearray(answer)
    damaged[chance.randrange(len(answer))] ^= 1 << chance.randrange(8)
    return bytes(damaged)


_DAMAGE: Final[Mapping[str, _Damage]] = {
    "torn": lambda chance, _, answer: answer[: chance.randrange(1, len(answer))],
    "bit_flip": lambda chance, _, answer: _flip(chance, answer),
    "bad_crc": lambda chance, _, answer: answer[:-2] + _flip(chance, answer[-2:]),
    "noise": lambda chance, _, answer: chance.randbytes(chance.randrange(1, 12)) + answer,
    "mangled": lambda chance, _, answer: chance.randbytes(len(answer)),
    "echo": lambda _, request, answer: request + answer,
    "wrong_id": lambda _, __, answer: framed(bytes((answer[0] % 0xF7 + 1,)) + answer[1:-2]),
}


def _known(name: str) -> None:
    if name not in FAULTS:
        raise ValueError(f"Expected a fault among {', '.join(FAULTS)}; got {name!r}.")
