"""How much damage a format lets through: answers with damaged bytes that are taken for values."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from drivers.errors import DriverError
from drivers.formats import Format
from drivers.wire import Frame

Damage = Callable[[random.Random, bytes], bytes]


def damaged(count: int, places: Sequence[int] | None = None) -> Damage:
    """Return what replaces `count` bytes, among `places` of an answer or all, by others."""

    def damage(chance: random.Random, answer: bytes) -> bytes:
        out = bytearray(answer)
        for place in chance.sample(range(len(out)) if places is None else places, count):
            out[place] ^= chance.randrange(1, 256)
        return bytes(out)

    return damage


def share_passed(form: Format, damage: Damage, count: int, *, seed: int = 1) -> float:
    """Return the share of damaged answers that give other values than the undamaged one."""
    chance, passed = random.Random(seed), 0
    for _ in range(count):
        answer = chance.choice(form.examples)
        values, bad = _values(form, answer), _values(form, damage(chance, answer))
        passed += bad is not None and bad != values
    return passed / count


def _values(form: Format, answer: bytes) -> object:
    verdict = form.parse(answer)
    if not isinstance(verdict, Frame) or form.decode is None:
        return None
    try:
        return form.decode(verdict.payload)
    except DriverError:
        return None
