"""An emulated meter on a ramp: every answer is another number, so that none can be mistaken."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from drivers.emulators.pzem004t import Pzem004tEmulator
from drivers.emulators.served import Sent

__all__ = ["end_of", "holes_in", "is_stretch_of", "ramp_meter", "readings_of"]

_READ_INPUT = 4
_BYTES = (20, 18)  # after a failure the driver asks for the block without its last register


def ramp_meter(refresh_s: float = 0.05) -> Pzem004tEmulator:
    """Return a meter whose power rises by 200 W a second, up to 16 kW and again from 0."""
    return Pzem004tEmulator(
        lambda t_s: 200 * t_s % 16_000, window_s=refresh_s, refresh_s=refresh_s, voltage_v=230.0
    )


def readings_of(log: Iterable[Sent]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Return instant (monotonic ns) and power (W) of every reading that the emulator sent.

    The registers are taken from the answer's bytes here, without the driver: power is two
    big-endian registers, the low one first, in 0.1 W (PZEM-004T V3.0 manual, section 2.3).
    """
    good = [
        s for s in log if s.fault is None and s.answer[1] == _READ_INPUT and s.answer[2] in _BYTES
    ]
    words = [np.frombuffer(s.answer[3:13], ">u2").astype(np.int64) for s in good]
    return (
        np.array([s.t_ns for s in good], dtype=np.int64),
        np.array([(w[3] + (w[4] << 16)) / 10 for w in words], dtype=np.float64),
    )


def is_stretch_of(part: npt.NDArray[np.float64], whole: npt.NDArray[np.float64]) -> int:
    """Return behind which element of `whole` the stretch `part` ends; -1 where it is none of it."""
    if not part.size:
        return 0
    for begin in np.flatnonzero(np.isclose(whole, part[0], rtol=0, atol=0.01)):
        end = int(begin) + part.size
        if end <= whole.size and np.allclose(whole[begin:end], part, rtol=0, atol=0.01):
            return end
    return -1


def holes_in(part: npt.NDArray[np.float64], whole: npt.NDArray[np.float64]) -> int:
    """Return how many readings of `whole` are missing inside `part`; -1 where it is no part of it.

    What was sent before the first of `part` and after the last is none of its holes.
    """
    first, end = _found(part, whole)
    return end - first - part.size if end >= 0 else -1


def end_of(part: npt.NDArray[np.float64], whole: npt.NDArray[np.float64]) -> int:
    """Return behind which reading of `whole` `part` ends, holes allowed; -1: it is no part."""
    return _found(part, whole)[1]


def _found(part: npt.NDArray[np.float64], whole: npt.NDArray[np.float64]) -> tuple[int, int]:
    at, first = 0, 0
    for number, value in enumerate(part.tolist()):
        while at < whole.size and abs(whole[at] - value) > 0.01:
            at += 1
        if at == whole.size:
            return 0, -1
        first = at if number == 0 else first
        at += 1
    return first, at
