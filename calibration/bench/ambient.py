"""The temperature of the room: a file of the kernel's hwmon, in thousandths of a degree Celsius.

Source: Linux Documentation/hwmon/sysfs-interface.rst, `temp[1-*]_input`: millidegree Celsius.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from ..errors import NotAvailable
from ..instruments import Reading
from ..recording.documents import ChannelInfo, Descriptor

__all__ = ["PLAUSIBLE_C", "AmbientSensor"]

PLAUSIBLE_C = (-20.0, 60.0)
"""A room that people and computers work in, °C; anything else is another unit or a broken wire."""


class AmbientSensor:
    """Reads a temperature file every ten seconds; its stream is `ambient`."""

    id = "ambient"
    cadence_s = 10.0
    since_previous = False

    def __init__(self, path: Path, *, now_ns: Callable[[], int] = time.monotonic_ns) -> None:
        self._path, self._now_ns = path, now_ns
        if self.read().fault is not None:
            raise NotAvailable(
                f"Expected the room's temperature in {path}, in thousandths of a degree between "
                f"{PLAUSIBLE_C[0]:g} and {PLAUSIBLE_C[1]:g} °C; it does not hold that. Correct "
                "ambient in lab.toml, or say --ambient-c."
            )

    def descriptor(self) -> Descriptor:
        """Return what the one channel means."""
        channel = ChannelInfo(
            name="ambient_c", quantity="temperature", unit="degC", kind="instant",
            resolution=0.001, plausible=PLAUSIBLE_C,
        )  # fmt: skip
        return Descriptor(
            stream=self.id, role="sensor", source=str(self._path), channels=(channel,),
            cadence_s=self.cadence_s,
        )  # fmt: skip

    def read(self) -> Reading:
        """Return the temperature in °C, or the fault `unreadable` or `implausible`."""
        t_request_ns = self._now_ns()
        try:
            value = float(self._path.read_text(encoding="ascii")) / 1000.0
        except (OSError, ValueError):
            return Reading(t_request_ns, self._now_ns(), fault="unreadable")
        if not PLAUSIBLE_C[0] <= value <= PLAUSIBLE_C[1]:
            return Reading(t_request_ns, self._now_ns(), fault="implausible")
        return Reading(t_request_ns, self._now_ns(), {"ambient_c": value})

    def close(self) -> None:
        """Do nothing: no file stays open."""
