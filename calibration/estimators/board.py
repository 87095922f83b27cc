"""A board's own power sensor (BMC) as an estimator: whole watts of somebody else's averaging.

What its controller shows is a number of the power supply, averaged over 1 to 60 s by firmware that
nobody has seen. So it is an estimator like the others. As a reference it serves only where somebody
says so (`--reference bmc`), and then nothing that is made with it is more than a statement of
error, traceable to nobody.

How often the number is renewed is measured when it is opened; over how long it averages a step of
the load tells (`analysis.averaging`); what the sensor says of itself stands beside it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from ..errors import NotAvailable
from ..instruments import Reading
from ..recording.documents import ChannelInfo, Descriptor
from .board_sources import NoAnswer, Source
from .renewal import looks, update_period_s

__all__ = ["BoardPower"]

_LOOK_EVERY_S: Final = 0.1
# A step in a whole watt is what most controllers show; the ACPI meter shows microwatts.
_WATT: Final = 1.0


class BoardPower:
    """Reads one `source`; a context manager.

    `look_s` is how long it may look for the update period when it is opened (0: not).

    Raises:
        NotAvailable: the source gives no number at all.

    """

    since_previous = False

    def __init__(
        self,
        source: Source,
        *,
        id: str = "bmc",
        cadence_s: float = 1.0,
        look_s: float = 8.0,
        now_ns: Callable[[], int] = time.monotonic_ns,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.id, self.cadence_s = id, cadence_s
        self._source, self._now_ns = source, now_ns
        try:
            self._channels = tuple(source.read_w())
        except NoAnswer as error:
            source.close()
            raise NotAvailable(
                f"Expected a first reading of the {source.name}; got: {error}."
            ) from None
        self.update_period_s = update_period_s(
            *looks(self._power_w, last_s=look_s, every_s=_LOOK_EVERY_S, now_ns=now_ns, sleep=sleep)
        )

    def __enter__(self) -> BoardPower:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def descriptor(self) -> Descriptor:
        """Return what the channels mean: a mean where its window is stated, else an instant."""
        window_s = self._source.facts.get("stated_interval_s")
        return Descriptor(
            stream=self.id,
            role="estimator",
            source=f"BMC, {self._source.name}",
            channels=tuple(
                ChannelInfo(
                    name=name,
                    quantity="power",
                    unit="W",
                    kind="mean" if window_s and name == "power_w" else "instant",
                    window_s=window_s if name == "power_w" else None,
                    resolution=_WATT,
                    input="bmc" if name == "power_w" else None,
                    assumed=("resolution",),
                )
                for name in self._channels
            ),
            cadence_s=self.cadence_s,
            mode=self._source.name,
            scope=("the board's power supplies, as its controller sees them",),
            configuration={
                **self._source.facts,
                "update_period_s": self.update_period_s,
            },
        )

    def read(self) -> Reading:
        """Take one reading, W; a fault says why there is none."""
        t_request_ns = self._now_ns()
        try:
            values = self._source.read_w()
        except NoAnswer as error:
            return Reading(t_request_ns, self._now_ns(), fault=str(error))
        return Reading(t_request_ns, self._now_ns(), values)

    def close(self) -> None:
        """Give the source back."""
        self._source.close()

    def _power_w(self) -> float | None:
        try:
            return self._source.read_w()["power_w"]
        except NoAnswer:
            return None
