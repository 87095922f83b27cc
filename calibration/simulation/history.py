"""The truth of a simulated machine: a history of energies, kept in a file that processes share.

Power is constant from one knot to the next, so the energy of any window is exact: linear between
the cumulative energies at the knots, and after the last knot the last power goes on. One process
writes (the updater); any number read. The same history feeds the counters and the wall meter,
so that both tell of the same machine.

File format, little-endian: a header of eight int64 words, then one record a knot::

    word 0  number of valid knots            word 3  rewrites of the counters so far
    word 1  workload now, an index           word 4  CPU time of the updater's loop, ns
    word 2  stop when not zero               word 5  what the GPUs are told: their level in ppm,
    word 6..7  zero                                  and 2^32 times the period of a square wave, us
    record  t_ns int64; load, package_w, memory_w, wall_w, package_j, memory_j, wall_j,
            fans_w, leakage_w, gpu_w, gpu_j float64

A record is written before the count that makes it valid; a count is one aligned word.
"""

from __future__ import annotations

import mmap
import os
import struct
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

__all__ = ["History", "HistoryFile", "Knot"]

_HEADER_WORDS: Final = 8
_HEADER_BYTES: Final = 8 * _HEADER_WORDS
_RECORD: Final = struct.Struct("<q11d")
_COUNT, _WORKLOAD, _STOP, _REWRITES, _CPU_NS, _GPUS = range(6)


class Knot(NamedTuple):
    """The state from `t_ns` on: load 0 to 1, powers in W, energies since the first knot in J.

    `fans_w` and `leakage_w` are the parts of the powers that past load decides; `wall_w` holds
    both, `package_w` the leakage. `gpu_w` and `gpu_j` are those of all GPUs together.
    """

    t_ns: int
    load: float
    package_w: float
    memory_w: float
    wall_w: float
    package_j: float
    memory_j: float
    wall_j: float
    fans_w: float = 0.0
    leakage_w: float = 0.0
    gpu_w: float = 0.0
    gpu_j: float = 0.0


_DTYPE: Final = np.dtype([(n, "<i8" if n == "t_ns" else "<f8") for n in Knot._fields])


class HistoryFile:
    """The shared file: made by the parent, filled by the updater, read by both."""

    def __init__(self, path: Path) -> None:
        descriptor = os.open(path, os.O_RDWR)
        try:
            self._map = mmap.mmap(descriptor, 0)
        finally:
            os.close(descriptor)
        self._capacity = (len(self._map) - _HEADER_BYTES) // _RECORD.size

    @classmethod
    def create(cls, path: Path, *, knots: int) -> HistoryFile:
        """Make an empty history with room for `knots`; unused room takes no disk space."""
        with path.open("xb") as file:
            file.truncate(_HEADER_BYTES + knots * _RECORD.size)
        return cls(path)

    def _get(self, word: int) -> int:
        return int(struct.unpack_from("<q", self._map, 8 * word)[0])

    def _set(self, word: int, value: int) -> None:
        struct.pack_into("<q", self._map, 8 * word, value)

    @property
    def count(self) -> int:
        """Return how many knots are valid."""
        return self._get(_COUNT)

    @property
    def workload(self) -> int:
        """Return the index of the workload that the machine was last told to run."""
        return self._get(_WORKLOAD)

    @workload.setter
    def workload(self, index: int) -> None:
        self._set(_WORKLOAD, index)

    @property
    def gpus_told(self) -> tuple[float, float]:
        """Return what the GPUs were last told: a level, 0 to 1, and a period in s, 0 if steady."""
        word = self._get(_GPUS)
        return (word & 0xFFFFFFFF) / 1e6, (word >> 32) / 1e6

    def tell_gpus(self, level: float, period_s: float = 0.0) -> None:
        """Give the GPUs a level, or a square wave that is high for that share of its period."""
        self._set(_GPUS, round(level * 1e6) + (round(period_s * 1e6) << 32))

    @property
    def stopping(self) -> bool:
        """Return whether the updater was asked to end."""
        return self._get(_STOP) != 0

    def stop(self) -> None:
        """Ask the updater to end."""
        self._set(_STOP, 1)

    @property
    def rewrites(self) -> int:
        """Return how often the counters were rewritten."""
        return self._get(_REWRITES)

    @property
    def cpu_ns(self) -> int:
        """Return the CPU time that the updater has used, in ns."""
        return self._get(_CPU_NS)

    def note(self, rewrites: int, cpu_ns: int) -> None:
        """Let the updater say what it did so far."""
        self._set(_REWRITES, rewrites)
        self._set(_CPU_NS, cpu_ns)

    def append(self, knot: Knot) -> bool:
        """Add a knot; return False, and add nothing, when the file is full."""
        count = self.count
        if count >= self._capacity:
            return False
        _RECORD.pack_into(self._map, _HEADER_BYTES + count * _RECORD.size, *knot)
        self._set(_COUNT, count + 1)
        return True

    def last(self) -> Knot | None:
        """Return the newest knot."""
        count = self.count
        if not count:
            return None
        offset = _HEADER_BYTES + (count - 1) * _RECORD.size
        return Knot(*_RECORD.unpack_from(self._map, offset))

    def at(self, t_ns: int) -> Knot | None:
        """Return the knot that holds at an instant: the newest that is not later, else the first.

        Looks backwards from the newest, since it is asked for the near past.
        """
        knot = None
        for index in range(self.count - 1, -1, -1):
            knot = Knot(*_RECORD.unpack_from(self._map, _HEADER_BYTES + index * _RECORD.size))
            if knot.t_ns <= t_ns:
                break
        return knot

    def mean_w(self, t_ns: int, window_ns: int) -> float:
        """Return the mean wall power over a window about `t_ns`, W; 0 before there is any."""
        begin, end = t_ns - window_ns // 2, t_ns + window_ns // 2
        first, last = self.at(begin), self.at(end)
        if first is None or last is None:
            return 0.0
        joules = (
            last.wall_j
            - first.wall_j
            + (last.wall_w * (end - last.t_ns) - first.wall_w * (begin - first.t_ns)) * 1e-9
        )
        return joules * 1e9 / (end - begin)

    def history(self) -> History:
        """Return a copy of what is known so far."""
        size = self.count * _RECORD.size
        data = self._map[_HEADER_BYTES : _HEADER_BYTES + size]
        return History(np.frombuffer(data, dtype=_DTYPE))

    def close(self) -> None:
        """Give the mapping back."""
        self._map.close()


class History:
    """What the machine truly did: exact powers in W and energies in J over any window."""

    def __init__(self, knots: npt.NDArray[Any]) -> None:
        self.knots = knots

    @property
    def t_ns(self) -> npt.NDArray[np.int64]:
        """Return the instants of the knots, monotonic ns."""
        return self.knots["t_ns"]

    def power_w(self, t_ns: int, what: str = "wall") -> float:
        """Return the power at an instant, in W; before the first knot that of the first."""
        index = int(np.searchsorted(self.t_ns, t_ns, side="right")) - 1
        return float(self.knots[f"{what}_w"][max(index, 0)])

    def energy_j(self, t_start_ns: int, t_end_ns: int, what: str = "wall") -> float:
        """Return the energy between two instants, in J, exact for piecewise constant power."""
        return self._until(t_end_ns, what) - self._until(t_start_ns, what)

    def _until(self, t_ns: int, what: str) -> float:
        index = max(int(np.searchsorted(self.t_ns, t_ns, side="right")) - 1, 0)
        knot = self.knots[index]
        return float(knot[f"{what}_j"] + knot[f"{what}_w"] * ((t_ns - int(knot["t_ns"])) / 1e9))

    def to_csv(self, path: Path) -> None:
        """Write the knots as a table for people; `t_ns` is CLOCK_MONOTONIC."""
        with path.open("w", encoding="ascii") as file:
            file.write("# SIMULATED: the truth of a machine that does not exist\n")
            file.write(",".join(Knot._fields) + "\n")
            for row in self.knots:
                numbers = (f"{v:.6f}" for v in list(row)[1:])
                file.write(f"{int(row['t_ns'])},{','.join(numbers)}\n")
