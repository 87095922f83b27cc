"""What goes wrong on the line to an instrument, as faults that a test orders or leaves to chance.

A fault changes what is delivered for one answer, or for one stretch of a stream; the emulated
instrument itself stays right. The plan is seeded: the same seed and the same questions give the
same faults.

Most faults are the same for every format. Those of `BY_FORMAT` depend on it (what is a wrong
checksum, an address, a refusal, an over-range?), so the device supplies its own versions of those
that its format has, as `faults`; `MODBUS_FAULTS` serves every Modbus RTU device. `counter_reset`
exists where the device has a method `reset_counters`.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias

from ..modbus import framed

__all__ = [
    "BY_FORMAT",
    "FAULTS",
    "MODBUS_FAULTS",
    "NOT_IN_STREAMS",
    "Damage",
    "Delivery",
    "FaultPlan",
    "faults_of",
]

FAULTS: Final[Mapping[str, str]] = {
    "silent": "no answer at all",
    "late": "the answer comes after the client has given up",
    "torn": "the answer breaks off in the middle",
    "trickle": "the answer comes byte by byte",
    "bit_flip": "one bit of the answer is flipped",
    "bad_crc": "the checksum of the answer is wrong",
    "noise": "random bytes before the answer",
    "mangled": "random bytes instead of the answer, as at a wrong speed",
    "flood": "random bytes without end, for half a second, instead of the answer",
    "mid_stream": "the end of an earlier answer comes before the answer",
    "echo": "the question comes back before the answer",
    "double": "the answer comes twice",
    "wrong_id": "the answer carries the address of another device",
    "exception": "the device answers that it failed",
    "over_range": "the device says that its range is exceeded",
    "held": "the answer before is repeated",
    "counter_reset": "the counters of the device begin anew",
    "reboot": "the device restarts and is silent for a while",
    "unplug": "the port vanishes, and comes back after a while",
}
BY_FORMAT: Final = ("bad_crc", "wrong_id", "exception", "over_range")
# Bytes of a stream cannot overtake each other, and nobody asked a question.
NOT_IN_STREAMS: Final = ("late", "trickle", "echo", "exception", "wrong_id")

# What a fault makes of (chance, question, answer); the question is empty in a stream.
Damage: TypeAlias = Callable[[random.Random, bytes, bytes], bytes]

_TRICKLE_S: Final = 0.06
_FLOOD_PIECES: Final = 50
_FLOOD_STEP_S: Final = 0.01
_FLOOD_BYTES: Final = 64


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
        self.rates: Mapping[str, float] = dict(rates or {})
        for name, rate in self.rates.items():
            _known(name)
            if not 0.0 <= rate <= 1.0:
                raise ValueError(f"The rate of {name} is a probability from 0 to 1; got {rate:g}.")
        if sum(self.rates.values()) > 1.0 + 1e-12:
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
        for name, rate in self.rates.items():
            if drawn < rate:
                return name
            drawn -= rate
        return None

    def deliver(
        self,
        fault: str | None,
        request: bytes,
        answer: bytes,
        *,
        before: bytes = b"",
        own: Mapping[str, Damage] | None = None,
    ) -> tuple[Delivery, ...]:
        """Return what the client receives in place of `answer`.

        `before` is an earlier answer, `own` are the format's own faults. `held`, `reboot`,
        `counter_reset` and `unplug` are matters of the device; here they change nothing or leave
        silence.

        Raises:
            ValueError: the format has no such fault.

        """
        if not answer:
            return ()
        if fault is None or fault in ("held", "counter_reset"):
            return (Delivery(0.0, answer),)
        if fault in ("silent", "reboot", "unplug"):
            return ()
        if fault == "late":
            return (Delivery(self.late_s, answer),)
        if fault == "trickle":
            step_s = min(0.004, _TRICKLE_S / len(answer))
            return tuple(Delivery(step_s * i, bytes((b,))) for i, b in enumerate(answer))
        if fault == "flood":
            return tuple(
                Delivery(_FLOOD_STEP_S * i, self._random.randbytes(_FLOOD_BYTES))
                for i in range(_FLOOD_PIECES)
            )
        if fault == "mid_stream":
            tail = before[self._random.randrange(1, len(before)) :] if len(before) > 1 else b""
            return (Delivery(0.0, tail + answer),)
        damage = (own or {}).get(fault) or _DAMAGE.get(fault)
        if damage is None:
            raise ValueError(f"The format of this device has no {fault}.")
        return (Delivery(0.0, damage(self._random, request, answer)),)


def faults_of(device: object) -> tuple[str, ...]:
    """Return the faults that this device can suffer, in the order of `FAULTS`."""
    own: Mapping[str, Damage] = getattr(device, "faults", {})
    missing = {name for name in BY_FORMAT if name not in own}
    if not hasattr(device, "reset_counters"):
        missing.add("counter_reset")
    return tuple(name for name in FAULTS if name not in missing)


def _flip(chance: random.Random, answer: bytes) -> bytes:
    damaged = bytearray(answer)
    damaged[chance.randrange(len(answer))] ^= 1 << chance.randrange(8)
    return bytes(damaged)


_DAMAGE: Final[Mapping[str, Damage]] = {
    "torn": lambda chance, _, answer: answer[: chance.randrange(1, max(2, len(answer)))],
    "bit_flip": lambda chance, _, answer: _flip(chance, answer),
    "noise": lambda chance, _, answer: chance.randbytes(chance.randrange(1, 12)) + answer,
    "mangled": lambda chance, _, answer: chance.randbytes(len(answer)),
    "echo": lambda _, request, answer: request + answer,
    "double": lambda _, __, answer: answer + answer,
}

MODBUS_FAULTS: Final[Mapping[str, Damage]] = {
    "bad_crc": lambda chance, _, answer: answer[:-2] + _flip(chance, answer[-2:]),
    "wrong_id": lambda _, __, answer: framed(bytes((answer[0] % 0xF7 + 1,)) + answer[1:-2]),
    "exception": lambda _, __, answer: framed(bytes((answer[0], answer[1] | 0x80, 4))),
}


def _known(name: str) -> None:
    if name not in FAULTS:
        raise ValueError(f"Expected a fault among {', '.join(FAULTS)}; got {name!r}.")
