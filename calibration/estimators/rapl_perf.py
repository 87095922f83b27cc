"""RAPL through perf events: the same energy as powercap shows, by another door.

    /sys/bus/event_source/devices/power/
        type, cpumask                            the kernel's number for it; one CPU a package
        events/energy-pkg                        event=0x02
        events/energy-pkg.scale, .unit           2.3283064365386962890625e-10, Joules

The door has its own unit (its scale is read, never assumed) and its own permission, so its input
is bound to the mode `perf`. The kernel extends the processor's 32-bit counter to 64 bits, begins at
0 when the event is opened, and does not wrap. (perf_event_open(2);
Documentation/ABI/testing/sysfs-bus-event_source-devices-events; arch/x86/events/rapl.c.)
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import re
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ..errors import NotAvailable
from ..instruments import Reading
from ..recording.documents import ChannelInfo, Descriptor

__all__ = ["RaplPerf", "open_perf_event"]

_EVENTS: Final = {
    "energy-pkg": "rapl_package",
    "energy-ram": "rapl_dram",
    "energy-cores": "rapl_core",
    "energy-psys": "rapl_psys",
}
_EVENT: Final = re.compile(r"event=(0x[0-9a-fA-F]+|\d+)")
_SYSCALL: Final = {"x86_64": 298, "i686": 336, "aarch64": 241, "riscv64": 241}
# struct perf_event_attr up to config1 (PERF_ATTR_SIZE_VER0): type, size, config, then zeros.
_ATTRIBUTES: Final = struct.Struct("<IIQ48x")
_CLOSE_ON_EXEC: Final = 8
# No package delivers more; see `rapl._MOST_W`.
_MOST_W: Final = 2000.0
_RENEWAL_S: Final = 0.01
# A counter is renewed every millisecond or so; one that stands still this long is a dummy. Virtual
# machines show such events.
_ALIVE_S, _ALIVE_LOOKS = 0.3, 10


@dataclass(slots=True)
class _Event:
    """One opened event of one package; `last` is what it read last, in units."""

    input: str
    cpu: int
    package: int
    joules_per_unit: float
    descriptor: int
    last: int = 0

    def read(self) -> int:
        return int.from_bytes(os.read(self.descriptor, 8), "little")


class RaplPerf:
    """Reads the energy events below `root`, which plays /sys; a context manager.

    Raises:
        NotAvailable: the kernel has no such events, or this user may not open them.

    """

    since_previous = False
    mode = "perf"

    def __init__(
        self,
        root: Path = Path("/sys"),
        *,
        id: str = "rapl-perf",
        cadence_s: float = 0.1,
        now_ns: Callable[[], int] = time.monotonic_ns,
        sleep: Callable[[float], None] = time.sleep,
        open_event: Callable[[int, int, int], int] | None = None,
    ) -> None:
        self.id, self.cadence_s, self._now_ns = id, cadence_s, now_ns
        self._folder = root / "bus" / "event_source" / "devices" / "power"
        self._events: list[_Event] = []
        try:
            self._open(root, open_event or open_perf_event)
            self._dead = self._drop_dead(sleep)
        except BaseException:
            self.close()
            raise
        self._t_last_ns = now_ns()
        self._sums_j = dict.fromkeys((e.input for e in self._events), 0.0)

    def __enter__(self) -> RaplPerf:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def descriptor(self) -> Descriptor:
        """Return what the channels mean: energy of each domain since it was opened."""
        return Descriptor(
            stream=self.id,
            role="estimator",
            source="RAPL, perf events",
            channels=tuple(
                ChannelInfo(
                    name=f"{i}_j",
                    quantity="energy",
                    unit="J",
                    kind="counter",
                    resolution=max(e.joules_per_unit for e in self._events if e.input == i),
                    input=i,
                )
                for i in self._sums_j
            ),
            cadence_s=self.cadence_s,
            mode=self.mode,
            scope=tuple(f"{e.input} of package {e.package}" for e in self._events),
            configuration={
                "folder": str(self._folder),
                "kernel": platform.release(),
                "joules_per_unit": {e.input: e.joules_per_unit for e in self._events},
                "without_a_count": list(self._dead),
                "cpus": sorted({e.cpu for e in self._events}),
            },
        )

    def read(self) -> Reading:
        """Take one reading of all domains, J; a fault says what went wrong, and with which."""
        t_request_ns = self._now_ns()
        try:
            units = [e.read() for e in self._events]
        except OSError:
            return Reading(t_request_ns, self._now_ns(), fault="unreadable")
        t_reply_ns = self._now_ns()
        elapsed_s = max(t_reply_ns - self._t_last_ns, 0) / 1e9
        self._t_last_ns = t_request_ns
        lost = []
        for event, now in zip(self._events, units, strict=True):
            step_j = (now - event.last) * event.joules_per_unit
            event.last = now
            if 0 <= step_j <= _MOST_W * (elapsed_s + _RENEWAL_S):
                self._sums_j[event.input] += step_j
            else:
                lost.append(event)
        if lost:
            for event in lost:
                self._sums_j[event.input] = 0.0
            which = ", ".join(f"reset {e.input} of package {e.package}" for e in lost)
            return Reading(t_request_ns, t_reply_ns, fault=which)
        return Reading(t_request_ns, t_reply_ns, {f"{i}_j": v for i, v in self._sums_j.items()})

    def close(self) -> None:
        """Close the events."""
        while self._events:
            os.close(self._events.pop().descriptor)

    def _drop_dead(self, sleep: Callable[[float], None]) -> tuple[str, ...]:
        """Close the domains whose counters do not move, and return their inputs."""
        first, still = [e.read() for e in self._events], set(range(len(self._events)))
        for _ in range(_ALIVE_LOOKS):
            if not still:
                break
            sleep(_ALIVE_S / _ALIVE_LOOKS)
            for index, event in enumerate(self._events):
                event.last = event.read()
                if event.last != first[index]:
                    still.discard(index)
        dead = sorted({self._events[i].input for i in still})
        for event in [e for e in self._events if e.input in dead]:
            os.close(event.descriptor)
            self._events.remove(event)
        if not self._events:
            raise NotAvailable(
                f"The kernel shows {', '.join(dead)} in {self._folder}, but nothing counts there, "
                "as in virtual machines. Record on the host, or put a meter in front of it."
            )
        return tuple(dead)

    def _open(self, root: Path, open_event: Callable[[int, int, int], int]) -> None:
        kind = _text(self._folder / "type")
        if not kind.isdigit():
            raise NotAvailable(
                f"Expected the RAPL events of the kernel under {self._folder}; there are none. "
                "Virtual machines rarely have them; the estimator rapl reads powercap instead."
            )
        packages: dict[int, int] = {}
        for cpu in _cpus(_text(self._folder / "cpumask")):
            topology = root / "devices" / "system" / "cpu" / f"cpu{cpu}" / "topology"
            package = int(_text(topology / "physical_package_id") or 0)
            if package in packages.values():
                # Counters that begin at 0 together do not tell a mirror from a twin.
                raise NotAvailable(
                    f"The kernel opens RAPL once per die, and package {package} has several: "
                    "these may be one counter shown twice. Use the estimator rapl, which can tell."
                )
            packages[cpu] = package
        for name, input_id in _EVENTS.items():
            event = _EVENT.fullmatch(_text(self._folder / "events" / name))
            if event is None:
                continue
            unit = _text(self._folder / "events" / f"{name}.unit")
            try:
                scale = float(_text(self._folder / "events" / f"{name}.scale"))
            except ValueError:
                scale = 0.0
            if unit != "Joules" or not scale > 0:
                raise NotAvailable(
                    f"Expected the unit Joules and a scale for {name} in {self._folder}; got "
                    f"{unit!r} and {scale!r}. Without them nobody knows what is counted."
                )
            for cpu, package in packages.items():
                try:
                    descriptor = open_event(int(kind), int(event[1], 0), cpu)
                except OSError as error:
                    raise _refused(error, name) from None
                self._events.append(_Event(input_id, cpu, package, scale, descriptor))
        if not self._events:
            raise NotAvailable(f"Expected energy-pkg or another event in {self._folder}; none.")


def open_perf_event(kind: int, config: int, cpu: int) -> int:
    """Open one counting event of one CPU for all processes; return its file descriptor.

    Raises:
        OSError: the kernel does not allow it, or has no such event.

    """
    number = _SYSCALL.get(platform.machine())
    if number is None:
        raise OSError(errno.ENOSYS, f"no perf_event_open known for {platform.machine()}")
    library = ctypes.CDLL(None, use_errno=True)
    attributes = ctypes.create_string_buffer(_ATTRIBUTES.pack(kind, _ATTRIBUTES.size, config))
    descriptor = int(
        library.syscall(
            ctypes.c_long(number), attributes, ctypes.c_int(-1), ctypes.c_int(cpu),
            ctypes.c_int(-1), ctypes.c_ulong(_CLOSE_ON_EXEC),
        )
    )  # fmt: skip
    if descriptor < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return descriptor


def _refused(error: OSError, name: str) -> NotAvailable:
    if error.errno in (errno.EACCES, errno.EPERM):
        return NotAvailable(
            f"The kernel does not let this user open {name} ({error.strerror}). Until the next "
            "start of the machine this opens it: sudo sysctl kernel.perf_event_paranoid=0"
        )
    return NotAvailable(f"The kernel cannot open {name}: {error.strerror}.")


def _cpus(mask: str) -> tuple[int, ...]:
    """Return the CPUs of a list like `0,18-19`."""
    found: list[int] = []
    for part in filter(None, mask.split(",")):
        first, _, last = part.partition("-")
        if not (first.isdigit() and (last or first).isdigit()):
            return ()
        found.extend(range(int(first), int(last or first) + 1))
    return tuple(found)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return ""
