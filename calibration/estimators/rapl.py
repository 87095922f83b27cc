"""The RAPL reader: energy counters of the processor, summed without counting anything twice.

Each input (`rapl_package`, `rapl_dram`, `rapl_core`, `rapl_psys`) is the sum of its zones, as
energy since the first reading; a sum of counters that wrap at different times cannot be unwrapped
afterwards, so it is unwrapped here, and the raw counters stand beside it. What cannot be decided
is a fault: the row has no values, and the input begins again at 0 in the next row, which tells
every reader that the energy in between is unknown.

Files stay open and are read by `pread`, which makes the kernel read the counter anew. A look is
repeated when the process lost its core in the middle, so that all zones of a row belong to one
instant. The counter is renewed every millisecond or so (`dram` more slowly): windows of
50 ms and more are safe.
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ..errors import NotAvailable
from ..instruments import Reading
from ..recording.documents import ChannelInfo, Descriptor
from .powercap import INPUTS, Zone, find_zones, zones_of_input

__all__ = ["RaplReader"]

# More than any one zone can deliver (the largest sockets are rated near 1 kW); a step that would
# need more is no energy but a reset. The slack is one renewal of the slowest counter.
_MOST_W: Final = 2000.0
_RENEWAL_S: Final = 0.01
# A look that took longer than this was interrupted.
_TORN_NS: Final = 2_000_000
_LOOKS: Final = 3
# Two reads of one counter through two zones differ by what flows in between.
_MIRROR_UJ: Final = 1_000_000
_MIRROR_LOOKS: Final = 5
_MIRROR_PAUSE_S: Final = 0.004


@dataclass(slots=True)
class _Counter:
    """An open counter, in microjoules."""

    zone: Zone
    descriptor: int

    def read_uj(self) -> int:
        value = int(os.pread(self.descriptor, 32, 0))
        if value < 0:
            raise ValueError(f"{value} is below zero, where no counter is")
        return value


class _Lost(Exception):  # noqa: N818 - internal, never leaves this module
    """A step of a counter that no energy explains."""


class RaplReader:
    """Reads the powercap tree under `root`; a context manager.

    Raises:
        NotAvailable: there are no counters, or they may not be read.

    """

    since_previous = False

    def __init__(
        self,
        root: Path = Path("/sys"),
        *,
        id: str = "rapl",
        cadence_s: float = 0.1,
        now_ns: Callable[[], int] = time.monotonic_ns,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.id, self.cadence_s = id, cadence_s
        self._root, self._now_ns = root, now_ns
        self._counters: list[_Counter] = []
        try:
            for zone in find_zones(root):
                self._counters.append(_open(zone, root))
            self._files = [c.descriptor for c in self._counters]
            self._mirrors = self._find_mirrors(sleep)
            self._t_last_ns, _, first = self._look()
        except BaseException:
            self.close()
            raise
        self._last_uj = first
        zones = tuple(c.zone for c in self._counters if c.zone.id not in self._mirrors)
        self._inputs = {i: frozenset(z.id for z in zones_of_input(zones, i)) for i in INPUTS}
        self._inputs = {i: ids for i, ids in self._inputs.items() if ids}
        # Looked up once: reading shall cost next to nothing.
        self._members = {
            f"{i}_j": [k for k, c in enumerate(self._counters) if c.zone.id in ids]
            for i, ids in self._inputs.items()
        }
        self._columns = [_column(c.zone) for c in self._counters]
        # What makes each sum of counters the energy since the first reading.
        self._offset_uj = {n: -sum(first[k] for k in ks) for n, ks in self._members.items()}
        self._least_wrap_uj = min(c.zone.wrap_uj for c in self._counters)

    def __enter__(self) -> RaplReader:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def descriptor(self) -> Descriptor:
        """Return what the channels mean: one per input, then one per raw counter."""
        by_id = {c.zone.id: c.zone for c in self._counters}
        sums = tuple(
            ChannelInfo(
                name=f"{i}_j",
                quantity="energy",
                unit="J",
                kind="counter",
                resolution=max(_unit_j(by_id[z]) for z in ids),
                input=i,
            )
            for i, ids in self._inputs.items()
        )
        raw = tuple(
            ChannelInfo(
                name=_column(z),
                quantity="energy",
                unit="J",
                kind="counter",
                resolution=_unit_j(z),
                wrap=z.wrap_uj / 1e6,
            )
            for z in by_id.values()
        )
        counted = [z for i in self._inputs for z in by_id.values() if z.id in self._inputs[i]]
        return Descriptor(
            stream=self.id,
            role="estimator",
            source="RAPL, Linux powercap",
            channels=sums + raw,
            cadence_s=self.cadence_s,
            mode="powercap",
            scope=tuple(z.name for z in counted),
            configuration={
                "root": str(self._root),
                "kernel": platform.release(),
                "zones": {z.id: z.name for z in by_id.values()},
                "summed": {i: sorted(ids) for i, ids in self._inputs.items()},
                "mirrors": dict(self._mirrors),
            },
        )

    def read(self) -> Reading:
        """Take one reading of all zones, J; a fault says what went wrong, and with which zone."""
        try:
            t_request_ns, t_reply_ns, values = self._look()
        except (OSError, ValueError) as error:
            now_ns = self._now_ns()
            code = "unreadable" if isinstance(error, OSError) else "malformed"
            return Reading(now_ns, now_ns, fault=code)
        last_uj, elapsed_s = self._last_uj, max(t_reply_ns - self._t_last_ns, 0) / 1e9
        self._t_last_ns, self._last_uj = t_request_ns, values
        most_uj = _MOST_W * (elapsed_s + _RENEWAL_S) * 1e6
        plain = most_uj < self._least_wrap_uj
        for now_uj, before_uj in zip(values, last_uj, strict=True):
            plain = plain and 0 <= now_uj - before_uj <= most_uj
        if not plain:
            faults = self._decide(values, last_uj, elapsed_s)
            if faults:
                return Reading(t_request_ns, t_reply_ns, fault=", ".join(faults))
        joules = {}
        for name, members in self._members.items():
            sum_uj = self._offset_uj[name]
            for k in members:
                sum_uj += values[k]
            joules[name] = sum_uj / 1e6
        for name, now_uj in zip(self._columns, values, strict=True):
            joules[name] = now_uj / 1e6
        return Reading(t_request_ns, t_reply_ns, joules)

    def _decide(self, values: list[int], last_uj: list[int], elapsed_s: float) -> list[str]:
        """Undo wraps in the sums; return what no energy explains.

        Where there is such a fault, what was not touched by it goes on, and the rest begins again
        at 0.
        """
        faults: list[str] = []
        wrapped_uj, lost = [0] * len(values), set()
        for k, counter in enumerate(self._counters):
            step_uj = values[k] - last_uj[k]
            try:
                wrapped_uj[k] = _step(counter.zone, step_uj, elapsed_s) - step_uj
            except _Lost as error:
                faults.append(str(error))
                lost.add(k)
        for name, members in self._members.items():
            if lost.isdisjoint(members):
                self._offset_uj[name] += sum(wrapped_uj[k] for k in members)
            else:
                self._offset_uj[name] = -sum(values[k] for k in members)
        return faults

    def close(self) -> None:
        """Close the files."""
        for counter in self._counters:
            if counter.descriptor >= 0:
                os.close(counter.descriptor)
                counter.descriptor = -1

    def _look(self) -> tuple[int, int, list[int]]:
        """Return the instants before and after, and all counters, uJ; the tightest of few looks."""
        found = self._glance()
        for _ in range(_LOOKS - 1):
            if found[1] - found[0] <= _TORN_NS:
                break
            again = self._glance()
            found = min(found, again, key=lambda look: look[1] - look[0])
        return found

    def _glance(self) -> tuple[int, int, list[int]]:
        before_ns = self._now_ns()
        values = [int(os.pread(file, 32, 0)) for file in self._files]
        after_ns = self._now_ns()
        if min(values) < 0:
            raise ValueError(f"{min(values)} is below zero, where no counter is")
        return before_ns, after_ns, values

    def _find_mirrors(self, sleep: Callable[[float], None]) -> dict[str, str]:
        """Return zone -> zone for those that show the very same counter of one socket.

        A mirror's value always lies between two reads of the other, at every one of several looks;
        two counters of their own that have run since the machine was started do not.
        """
        groups: dict[tuple[int, str], list[_Counter]] = {}
        for counter in self._counters:
            if counter.zone.socket is not None:
                key = (counter.zone.socket, counter.zone.kind)
                groups.setdefault(key, []).append(counter)
        pairs = [(g[0], other) for g in groups.values() for other in g[1:]]
        for _ in range(_MIRROR_LOOKS if pairs else 0):
            pairs = [(one, other) for one, other in pairs if _between(one, other)]
            sleep(_MIRROR_PAUSE_S)
        return {other.zone.id: one.zone.id for one, other in pairs}


def _open(zone: Zone, root: Path) -> _Counter:
    path = zone.path / "energy_uj"
    try:
        counter = _Counter(zone, os.open(path, os.O_RDONLY | os.O_CLOEXEC))
    except PermissionError:
        raise NotAvailable(
            f"{path} may be read by root only. Until the next start of the machine this opens it: "
            f"sudo chmod a+r {root}/class/powercap/intel-rapl*/energy_uj"
        ) from None
    except OSError as error:
        raise NotAvailable(f"{path} cannot be read ({error.strerror}).") from None
    try:
        counter.read_uj()
    except (OSError, ValueError) as error:
        os.close(counter.descriptor)
        raise NotAvailable(f"Expected microjoules in {path}; reading it gave: {error}.") from None
    return counter


def _step(zone: Zone, step_uj: int, elapsed_s: float) -> int:
    """Return the energy since the last reading, uJ, of a counter that moved by `step_uj`.

    `undecidable`: the gap was so long that the counter may have wrapped any number of times;
    `reset`: it went back, or ahead, by more than any energy explains.
    """
    most_uj = _MOST_W * (elapsed_s + _RENEWAL_S) * 1e6
    if most_uj >= zone.wrap_uj:
        raise _Lost(f"undecidable {zone.id}")
    if step_uj < 0:
        step_uj += zone.wrap_uj
    if not 0 <= step_uj <= most_uj:
        raise _Lost(f"reset {zone.id}")
    return step_uj


def _between(one: _Counter, other: _Counter) -> bool:
    before_uj = one.read_uj()
    value_uj = other.read_uj()
    flowed_uj = (one.read_uj() - before_uj) % one.zone.wrap_uj
    distance_uj = (value_uj - before_uj + _MIRROR_UJ) % one.zone.wrap_uj
    return distance_uj <= flowed_uj + 2 * _MIRROR_UJ


def _unit_j(zone: Zone) -> float:
    """Return the step of a counter, J: its range holds 2^32 of them.

    (Intel SDM volume 4, MSR_PKG_ENERGY_STATUS: 32 bits of the energy unit.)
    """
    return zone.wrap_uj / 2**32 / 1e6


def _column(zone: Zone) -> str:
    return f"{zone.id.replace(':', '.')}_j"
